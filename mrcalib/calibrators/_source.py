"""What a calibrator is fitted to: pooled sums, and the voxels behind them where they can be read a second time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._case_sums import CaseSums
from mrcalib.calibrators._partition import Partition
from mrcalib.calibrators._second_pass import Reader, count_pieces, look_into, two_points
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, bit_masks, refuse_probs
from mrcalib.responses import PooledResponses
from mrcalib.tallies import VoteCounts

__all__ = ["ZERO_BIN", "Source", "pool_weighted"]

FloatArray = NDArray[np.float64]
Choice = Callable[[FloatArray, FloatArray], tuple[NDArray[np.bool_], NDArray[np.bool_]]]
ZERO_BIN = 0
"""Of every grid: the bin of exact zeros."""
PIECE = 8  # voxels in a piece into which bins are cut, about, within the next bounds
FEWEST_PIECES, MOST_PIECES = 1 << 12, 1 << 17
FEW, MANY = 1 << 16, 1 << 26  # voxels: so few are taken apart at once; so many are if reading again means loading again
SHARE, SHARE_POOLED = 64, 16  # of voxels in memory, one in so many is taken apart at once


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Pooled sums on a grid; ``voxels`` yields the voxels again with a weight each case, or is None (tallies only).

    ``n_voxels`` counts the voxels behind the sums, ``n_zeros`` those of them in the bin of exact zeros.
    ``by_case`` holds the sums of each case for the methods that tell cases apart, zeros included; ``counts`` how many voxels
    had how many votes, for the methods that need it. ``in_memory`` says that reading the voxels again is cheap.
    """

    grid: ProbabilityGrid
    pooled: PooledResponses
    n_voxels: float
    voxels: Callable[[], Iterable[tuple[Voxels, float]]] | None = None
    n_zeros: float = 0.0
    by_case: CaseSums | None = None
    counts: VoteCounts | None = None
    in_memory: bool = False

    def without_zeros(self) -> Source:
        """The same without the bin of exact zeros (with which goes what lies below 2**-133)."""
        positive = self.pooled.bins != ZERO_BIN
        pooled = self.pooled.where(positive)
        counts = None if self.counts is None else self.counts.where(self.counts.bins != ZERO_BIN)
        n_voxels = self.n_voxels - self.n_zeros
        return replace(self, pooled=pooled, n_voxels=n_voxels, n_zeros=0.0, counts=counts)

    def open_bins(
        self,
        choose: Choice,
        *,
        rater_weight: FloatArray | None = None,
        pool: bool = False,
        most_pieces: int = MOST_PIECES,
    ) -> PooledResponses:
        """The sums over raters with some bins taken apart: the second pass.

        Where the bins to take apart hold many voxels, they are cut into smaller cells first, of which few need be taken apart.

        Parameters
        ----------
        choose : callable
            Of the weight and the votes of each cell, to two arrays of bool: the cells to take apart into the different
            probabilities that occur in them; and those of which only the smallest and the largest probability matter, each of
            which gets half of the cell's sums.
        rater_weight : ndarray of shape (n_raters,), optional
            Voxels that no rater of positive weight answered do not count.
        pool : bool, default=False
            Whether violators of isotonic regression may be pooled as they are found, which changes no isotonic fit.
        most_pieces : int, optional
            Into how many cells bins are cut at most, at a time.

        Returns
        -------
        PooledResponses
            Of one rater.
        """
        cells = Partition.of_bins(self.pooled, self.grid, rater_weight)
        if self.voxels is None:
            return _as_pooled(cells.mean, cells.weight, cells.prob_sum, cells.votes)
        share = self.n_voxels / max(cells.weight.sum(), np.finfo(float).tiny)
        most = max(FEW, self.n_voxels / (SHARE_POOLED if pool else SHARE) if self.in_memory else MANY)
        n_before = np.inf
        while True:
            inside, border = self._chosen(cells, choose)
            n_inside = share * cells.weight[inside].sum()
            if n_inside <= most or n_inside > 0.8 * n_before:
                break
            wanted = int(min(max(n_inside / PIECE, FEWEST_PIECES), most_pieces))
            pieces = count_pieces(self._readers(rater_weight), cells.where(inside), wanted)
            cells, n_before = cells.where(~inside) + pieces, n_inside
        border &= ~inside
        readers = self._readers(rater_weight) if inside.any() or border.any() else iter(())
        points, lowest, highest = look_into(readers, cells, inside, border, pool=pool)
        closed, halved = cells.where(~inside & ~border), cells.where(border)
        halves = two_points(lowest, highest, halved.weight, halved.votes)
        return _as_pooled(
            np.concatenate([closed.mean, halves.prob, points.prob]),
            np.concatenate([closed.weight, halves.weight, points.weight]),
            np.concatenate([closed.prob_sum, halves.weight * halves.prob, points.weight * points.prob]),
            np.concatenate([closed.votes, halves.votes, points.votes]),
        )

    def _readers(self, rater_weight: FloatArray | None) -> Iterator[Reader]:
        assert self.voxels is not None
        return (Reader(voxels, rater_weight, float(factor)) for voxels, factor in self.voxels())

    def _chosen(self, cells: Partition, choose: Choice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        inside, border = choose(cells.weight, cells.votes)
        apart = cells.starts != 0  # what the bin of exact zeros holds besides lies below 2**-133
        return inside & apart, border & apart


def _as_pooled(prob: FloatArray, *sums: FloatArray) -> PooledResponses:
    """Sums as those of one rater, in the order of probability."""
    order = np.argsort(prob, kind="stable")
    return PooledResponses(np.arange(order.size), *(values[np.newaxis, order] for values in sums))


def pool_weighted(voxels: Voxels, grid: ProbabilityGrid, *, invalid: str = "raise") -> Source:
    """Pooled sums and total weight in floating point, where weights or soft targets leave a tally's whole numbers."""
    n_voxels = n_zeros = 0.0
    sums = np.zeros((4, voxels.n_raters, grid.n_bins))
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
            for row, values in enumerate((here, here * p, voted, voted * p)):
                sums[row, r] += np.bincount(b, values, grid.n_bins)
    if refused and invalid == "raise":
        refuse_probs(voxels.probs if voxels.roi is None else voxels.probs[voxels.roi], refused, voxels.case)
    used = np.flatnonzero(sums[0].any(axis=0))
    return Source(grid, PooledResponses(used, *sums[:, :, used]), n_voxels, n_zeros=n_zeros)
