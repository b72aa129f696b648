"""What a calibrator is fitted to: pooled sums, and the voxels behind them where they can be read a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.opening import BORDER, OPENED, visit_bins
from mrcalib._kernels.tallying import find_keys
from mrcalib._refusals import refuse_probs
from mrcalib._voxels import Chunk, Voxels, bit_masks
from mrcalib.calibrators._case_sums import CaseSums
from mrcalib.calibrators._vote_counts import VoteCounts
from mrcalib.grid import ProbabilityGrid
from mrcalib.responses import PooledResponses
from mrcalib.tallies import Tally

__all__ = ["ZERO_BIN", "Source", "pool_weighted", "voxels_at_zero"]

FloatArray = NDArray[np.float64]
ZERO_BIN = 0
"""Of every grid: the bin of exact zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Pooled sums on a grid; ``voxels`` yields the voxels again with a weight each case, or is None (tallies only).

    ``n_voxels`` counts the voxels behind the sums, ``n_zeros`` those of them in the bin of exact zeros.
    ``by_case`` holds the sums of each case for the methods that tell cases apart, zeros included; ``counts`` how many voxels
    had how many votes, for the methods that need it.
    """

    grid: ProbabilityGrid
    pooled: PooledResponses
    n_voxels: float
    voxels: Callable[[], Iterable[tuple[Voxels, float]]] | None = None
    n_zeros: float = 0.0
    by_case: CaseSums | None = None
    counts: VoteCounts | None = None

    def without_zeros(self) -> Source:
        """The same without the bin of exact zeros (with which goes what lies below 2**-133)."""
        positive = self.pooled.bins != ZERO_BIN
        sums = (self.pooled.weight, self.pooled.prob_sum, self.pooled.votes)
        pooled = PooledResponses(self.pooled.bins[positive], *(values[:, positive] for values in sums))
        counts = None if self.counts is None else self.counts.where(self.counts.bins != ZERO_BIN)
        n_voxels = self.n_voxels - self.n_zeros
        return Source(self.grid, pooled, n_voxels, self.voxels, by_case=self.by_case, counts=counts)

    def open_bins(
        self,
        inside: NDArray[np.bool_],
        border: NDArray[np.bool_] | None = None,
        *,
        rater_weight: FloatArray | None = None,
    ) -> PooledResponses:
        """The sums with some bins taken apart: the second pass.

        Parameters
        ----------
        inside : ndarray of shape (n_bins,), bool
            Of the bins of ``pooled``, those to take apart into the different probabilities that occur in them.
        border : ndarray of shape (n_bins,), bool, optional
            Those of which only the smallest and the largest probability matter: each gets half of the bin's sums.
        rater_weight : ndarray of shape (n_raters,), optional
            Voxels that no rater of positive weight answered do not count.
        """
        if self.voxels is None:
            return self.pooled
        bins = self.pooled.bins
        state = np.zeros(self.grid.n_bins, dtype=np.uint8)
        if border is not None:
            state[bins[border]] = BORDER
        state[bins[inside]] = OPENED
        state[ZERO_BIN] = 0  # what it holds besides lies below 2**-133
        extremes = np.full(self.grid.n_bins, np.inf), np.full(self.grid.n_bins, -np.inf)
        found: list[tuple[FloatArray, FloatArray]] = []
        for voxels, case_weight in self.voxels():
            for chunk in _opened(voxels, self.grid, state, extremes, rater_weight):
                prob, sums = _sums_by_probability(voxels, chunk)
                found.append((prob, case_weight * sums))
            found = [_merge(found)] if found else []
        parts = [self._closed(state[bins] == 0), self._halves(state[bins] == BORDER, *extremes)]
        if found:
            prob, (weight, votes) = found[0]
            parts.append((prob, weight, weight * prob, votes))
        prob = np.concatenate([part[0] for part in parts])
        order = np.argsort(prob, kind="stable")
        columns = [np.concatenate([part[i] for part in parts], axis=1)[:, order] for i in (1, 2, 3)]
        return PooledResponses(np.arange(order.size), *columns)

    def _closed(self, which: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Bins as they are, at their mean probability."""
        weight, prob_sum, votes = (c[:, which] for c in (self.pooled.weight, self.pooled.prob_sum, self.pooled.votes))
        return prob_sum.sum(axis=0) / weight.sum(axis=0), weight, prob_sum, votes

    def _halves(
        self, which: NDArray[np.bool_], lowest: FloatArray, highest: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Bins as two points, at their smallest and largest probability, or one if these are equal."""
        _, weight, _, votes = self._closed(which)
        low, high = lowest[self.pooled.bins[which]], highest[self.pooled.bins[which]]
        two = high > low
        prob = np.concatenate([low, high[two]])
        share = np.where(two, 0.5, 1.0)
        weight = np.concatenate([weight * share, weight[:, two] * 0.5], axis=1)
        votes = np.concatenate([votes * share, votes[:, two] * 0.5], axis=1)
        return prob, weight, weight * prob, votes


def _opened(
    voxels: Voxels,
    grid: ProbabilityGrid,
    state: NDArray[np.uint8],
    extremes: tuple[FloatArray, FloatArray],
    rater_weight: FloatArray | None,
) -> Iterator[Chunk]:
    """The voxels in opened bins, a chunk at a time; the extremes of border bins are kept on the way."""
    for whole in voxels.chunks():
        chunk = _that_count(voxels, whole, rater_weight)
        p = chunk.probs if chunk.probs.dtype in (np.float32, np.float64) else chunk.single()
        keys, excess, found = np.empty(p.size, np.int32), np.empty(p.size, np.int32), np.empty(p.size, np.int64)
        find_keys(chunk.single(), grid.mantissa_bits, keys, excess)
        n = visit_bins(p, keys, grid.first, grid.lower, state, found, *extremes)
        if n:
            yield chunk.take(found[:n])


def _that_count(voxels: Voxels, chunk: Chunk, rater_weight: FloatArray | None) -> Chunk:
    """The voxels of positive weight that a rater of positive weight answered."""
    heard = [r for r in range(voxels.n_raters) if rater_weight is None or rater_weight[r] > 0]
    complete = chunk.soft is not None or any(chunk.masks[r].size and not chunk.present[r].size for r in heard)
    if complete and chunk.sample_weight is None:
        return chunk
    present, _ = bit_masks(voxels, chunk)
    counts = (present & sum(1 << r for r in heard)) != 0
    if chunk.sample_weight is not None:
        counts &= chunk.sample_weight > 0
    return chunk.take(np.flatnonzero(counts))


def _sums_by_probability(voxels: Voxels, chunk: Chunk) -> tuple[FloatArray, FloatArray]:
    """The different probabilities of a chunk, with (weight, votes) by rater, of shape (2, R, n)."""
    present, marked = bit_masks(voxels, chunk)
    prob, index = np.unique(chunk.probs.astype(np.float64), return_inverse=True)
    weight = np.ones(index.size) if chunk.sample_weight is None else chunk.sample_weight
    sums = np.empty((2, voxels.n_raters, prob.size))
    for r in range(voxels.n_raters):
        answered = ((present >> r) & 1) * weight
        sums[0, r] = np.bincount(index, answered, prob.size)
        sums[1, r] = np.bincount(
            index, answered * (((marked >> r) & 1) if chunk.soft is None else chunk.soft), prob.size
        )
    return prob, sums


def _merge(found: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Add up sums of equal probabilities."""
    if len(found) == 1:
        return found[0]
    prob = np.concatenate([p for p, _ in found])
    order = np.argsort(prob, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(prob[order]) > 0))
    sums = np.concatenate([s for _, s in found], axis=2)[:, :, order]
    return prob[order][starts], np.add.reduceat(sums, starts, axis=2)


def voxels_at_zero(tally: Tally) -> int:
    """How many voxels of a tally have probability 0."""
    return int(tally.cells.voxels[tally.cells.bin == ZERO_BIN].sum())


def pool_weighted(voxels: Voxels, grid: ProbabilityGrid, *, invalid: str = "raise") -> Source:
    """Pooled sums and total weight in floating point, where weights or soft targets leave a tally's whole numbers."""
    n_voxels = n_zeros = 0.0
    sums = np.zeros((3, voxels.n_raters, grid.n_bins))
    shift = np.arange(voxels.n_raters)[:, np.newaxis]
    refused = 0
    for chunk in voxels.chunks():
        single = chunk.single()
        bins = grid.locate(single)
        refused += int(np.count_nonzero(bins < 0))
        present, marked = bit_masks(voxels, chunk)
        good = bins >= 0
        b, p = bins[good], single[good].astype(np.float64)  # in float32, as a tally sums
        weight = np.ones(b.size) if chunk.sample_weight is None else chunk.sample_weight[good]
        answered = present[good] != 0
        n_voxels += float(weight[answered].sum())
        n_zeros += float(weight[answered & (b == ZERO_BIN)].sum())
        for r, here in enumerate(((present[good] >> shift) & 1) * weight):
            voted = here * (((marked[good] >> r) & 1) if chunk.soft is None else chunk.soft[good])
            for row, values in enumerate((here, here * p, voted)):
                sums[row, r] += np.bincount(b, values, grid.n_bins)
    if refused and invalid == "raise":
        refuse_probs(voxels.probs if voxels.roi is None else voxels.probs[voxels.roi], refused, voxels.case)
    used = np.flatnonzero(sums[0].any(axis=0))
    return Source(grid, PooledResponses(used, *sums[:, :, used]), n_voxels, n_zeros=n_zeros)
