"""Cells of probability that can be cut ever finer, each with its sums, and how a kernel finds the cell of a voxel.

Cells are given by the ordinals of probabilities in float32 (``_kernels/second_pass.py``), which grow with p.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.second_pass import FIRST_LEVEL, HALF, INVALID, LAST, SKIPPED
from mrcalib.grid import ProbabilityGrid
from mrcalib.responses import PooledResponses

__all__ = ["Partition", "lookup", "ordinals_of", "probs_of", "spacing_at"]

FloatArray = NDArray[np.float64]
LOW_BITS = 16  # of an ordinal, those below what ``roots`` are looked up by
MOST_ENTRIES = 1 << 22  # of the table of codes, about
LOW_MASK = (1 << LOW_BITS) - 1
OCTAVE = 1 << 23  # ordinals from one power of 2 to the next, in which probabilities are evenly spaced


def ordinals_of(probs: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The ordinals of probabilities in float32; INVALID for what is none."""
    complement = np.float32(1) - probs
    bits = (np.minimum(probs, complement) + np.float32(0)).view(np.uint32)
    ordinals: NDArray[np.uint32] = np.where(probs > np.float32(0.5), np.uint32(LAST) - bits, bits)
    return np.where(bits > HALF, np.uint32(INVALID), ordinals)


def _folded_bits(ordinals: NDArray[Any]) -> NDArray[np.uint32]:
    """The bits of min(p, 1 - p)."""
    return np.where(ordinals > HALF, LAST - ordinals.astype(np.int64), ordinals).astype(np.uint32)


def probs_of(ordinals: NDArray[Any]) -> FloatArray:
    """The probabilities of ordinals, in float64."""
    folded = _folded_bits(ordinals).view(np.float32).astype(np.float64)
    return np.where(ordinals > HALF, 1 - folded, folded)


def spacing_at(ordinals: NDArray[Any]) -> FloatArray:
    """By how much p grows from an ordinal to the next, up to the next power of 2."""
    exponent = np.maximum(1, _folded_bits(ordinals) >> 23).astype(np.int64)
    spacing: FloatArray = np.ldexp(1.0, exponent - 150)
    return spacing


def _bounds_of(lower: NDArray[np.float32]) -> NDArray[np.int64]:
    """Where cells that open with these probabilities may start: at the roundest ordinal after the float32 before."""
    here = ordinals_of(lower).astype(np.int64)
    before = ordinals_of(np.nextafter(lower, np.float32(0))).astype(np.int64)
    before[0] = -1
    free = np.exp2(np.floor(np.log2(np.maximum(1, here ^ before)))).astype(np.int64)
    bounds: NDArray[np.int64] = here & -free
    return bounds


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The different values in order; `np.unique` hashes whole numbers, and is slow."""
    ordered = np.sort(values)
    different: NDArray[np.int64] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return different


def _spread(starts: NDArray[np.int64], steps: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """``start, start + step, ...``, each as often as its count says, one after the other."""
    before = np.cumsum(counts) - counts
    inside = np.arange(counts.sum()) - np.repeat(before, counts)
    values: NDArray[np.int64] = np.repeat(starts, counts) + inside * np.repeat(steps, counts)
    return values


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """Cells in the order of probability, with sums over all included raters.

    Attributes
    ----------
    starts, ends : ndarray of shape (n_cells,), int64
        Ordinals from which (included) to which (not included) a cell reaches; none overlap, and where no voxel is there may be
        gaps.
    weight, prob_sum, votes : ndarray of shape (n_cells,), float64
        As in ``PooledResponses``, over raters.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    weight: FloatArray
    prob_sum: FloatArray
    votes: FloatArray

    @classmethod
    def of_bins(cls, pooled: PooledResponses, grid: ProbabilityGrid, rater_weight: FloatArray | None) -> Partition:
        """The bins of a grid in which a rater of positive weight answered."""
        bounds = np.append(_bounds_of(grid.lower), LAST + 1)
        sums = (pooled.over_raters(s, rater_weight) for s in (pooled.weight, pooled.prob_sum, pooled.votes))
        whole = cls(bounds[pooled.bins], bounds[pooled.bins + 1], *sums)
        return whole.where(whole.weight > 0)

    def where(self, which: NDArray[np.bool_]) -> Partition:
        """Some of the cells."""
        sums = (self.weight[which], self.prob_sum[which], self.votes[which])
        return Partition(self.starts[which], self.ends[which], *sums)

    def __add__(self, other: Partition) -> Partition:
        """The cells of both, in order."""
        order = np.argsort(np.concatenate([self.starts, other.starts]), kind="stable")

        def joined(mine: NDArray[Any], theirs: NDArray[Any]) -> NDArray[Any]:
            both: NDArray[Any] = np.concatenate([mine, theirs])[order]
            return both

        return Partition(
            joined(self.starts, other.starts),
            joined(self.ends, other.ends),
            joined(self.weight, other.weight),
            joined(self.prob_sum, other.prob_sum),
            joined(self.votes, other.votes),
        )

    @property
    def mean(self) -> FloatArray:
        """Mean probability of each cell."""
        return self.prob_sum / self.weight

    def cut(self, n_pieces: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Starts and ends of about ``n_pieces`` pieces of these cells, more of the heavier ones, and at every power of 2."""
        wanted = np.maximum(2, self.weight * (n_pieces / self.weight.sum()))
        n_roots = _distinct(self.starts >> LOW_BITS).size
        finest = max(1, (n_roots << LOW_BITS) // MOST_ENTRIES)
        step = np.exp2(np.floor(np.log2(np.maximum(finest, (self.ends - self.starts) / wanted)))).astype(np.int64)
        pieces = [self.starts]
        for each in (np.minimum(step, OCTAVE), np.full(step.size, OCTAVE)):
            first = (self.starts // each + 1) * each
            pieces.append(_spread(first, each, np.maximum(0, -((first - self.ends) // each))))
        starts = _distinct(np.concatenate(pieces))
        inside = np.searchsorted(self.starts, starts, side="right") - 1
        ends = np.append(starts[1:], LAST + 1)
        return starts, np.minimum(ends, self.ends[inside])


def lookup(
    starts: NDArray[np.int64], ends: NDArray[np.int64], codes: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The tables by which the kernels find the code of a voxel's cell; outside the cells it is SKIPPED.

    The table of codes tells the lower bits of an ordinal apart only as far as cells are bounded there.
    """
    roots_start = np.arange(FIRST_LEVEL, dtype=np.int64) << LOW_BITS
    bounds = _distinct(np.concatenate([roots_start, starts, ends]))
    cell = np.searchsorted(starts, bounds, side="right")  # the first is one before all cells
    code = np.where(bounds < np.append(0, ends)[cell], np.append(np.int32(SKIPPED), codes)[cell], np.int32(SKIPPED))
    root = bounds >> LOW_BITS
    first = np.flatnonzero(bounds & LOW_MASK == 0)
    opened = np.maximum.reduceat(code, first) != SKIPPED
    lowest_bit = np.where(bounds & LOW_MASK, bounds & -bounds, 1 << LOW_BITS)
    finest = np.minimum.reduceat(lowest_bit, first)
    n_entries = np.where(opened, (1 << LOW_BITS) // finest, 0)
    before = np.cumsum(n_entries) - n_entries
    roots = np.where(opened, before << 5 | np.log2(finest).astype(np.int64), SKIPPED).astype(np.int32)
    length = np.diff(bounds, append=FIRST_LEVEL << LOW_BITS) // finest[root]
    return roots, np.repeat(code, np.where(opened[root], length, 0))
