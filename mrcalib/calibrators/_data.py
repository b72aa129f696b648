"""What a calibrator is fitted to: sums of answers by bin of probability, and the voxels behind them where they can be read.

All ways of fitting make a cohort of tallies (or weighted sums), and ``data_of_cohort`` makes of it what a method needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mrcalib.cohort import Cohort
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, bit_masks
from mrcalib.responses import PooledResponses
from mrcalib.tallies import VoteCounts

__all__ = ["ZERO_BIN", "CalibrationData", "CaseSums", "Needs", "data_of_cohort", "pool_weighted"]

FloatArray = NDArray[np.float64]
ZERO_BIN = 0
"""Of every grid: the bin of exact zeros."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method must know about the voxels that it is fitted to.

    Attributes
    ----------
    grid : ProbabilityGrid
        The bins that voxels are tallied in.
    second_pass : bool
        Whether reading the voxels a second time makes the map exact. It is done wherever the voxels can be read again.
    voxels : bool
        Whether the method cannot be fitted to a tally alone: there must be a second pass.
    cases : bool
        Whether the sums of each case are needed, and not only those of all cases together.
    votes : bool
        Whether the number of voxels by numbers of answers and votes is needed, and not only each rater's sums.
    marked : bool
        Whether the sum of the probabilities of the marked voxels is needed apart from that of all voxels.
    """

    grid: ProbabilityGrid
    second_pass: bool = False
    voxels: bool = False
    cases: bool = False
    votes: bool = False
    marked: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CalibrationData:
    """Sums of answers by bin, which every calibrator is fitted to.

    Attributes
    ----------
    grid : ProbabilityGrid
        The bins.
    pooled : PooledResponses
        Each rater's sums over all cases, weighted.
    n_voxels, n_zeros : float
        Number of voxels (or their weight) behind the sums, and of those in the bin of exact zeros.
    voxels : callable or None
        Yields the voxels of each case again, with the weight of the case; None where only sums are left.
    by_case : CaseSums or None
        The sums of each case, zeros included, for methods with ``Needs(cases=True)``.
    vote_counts : VoteCounts or None
        How many voxels had how many votes, for methods with ``Needs(votes=True)``.
    in_memory : bool
        Whether reading the voxels again is cheap.
    """

    grid: ProbabilityGrid
    pooled: PooledResponses
    n_voxels: float
    n_zeros: float = 0.0
    voxels: Callable[[], Iterable[tuple[Voxels, float]]] | None = None
    by_case: CaseSums | None = None
    vote_counts: VoteCounts | None = None
    in_memory: bool = False

    def without_zeros(self) -> CalibrationData:
        """The same without the bin of exact zeros (with which goes what lies below 2**-133)."""
        counts = self.vote_counts
        return replace(
            self,
            pooled=self.pooled.where(self.pooled.bins != ZERO_BIN),
            n_voxels=self.n_voxels - self.n_zeros,
            n_zeros=0.0,
            vote_counts=None if counts is None else counts.where(counts.bins != ZERO_BIN),
        )

    def __add__(self, other: CalibrationData) -> CalibrationData:
        """The data of the voxels of both, which cannot be read again."""
        both = [part.vote_counts for part in (self, other) if part.vote_counts is not None]
        return CalibrationData(
            self.grid,
            self.pooled + other.pooled,
            self.n_voxels + other.n_voxels,
            self.n_zeros + other.n_zeros,
            vote_counts=VoteCounts.merge(both) if both else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class CaseSums:
    """The sums of several cases on common bins, and how much each case counts.

    Attributes
    ----------
    bins : ndarray of shape (n_bins,), int64
    sums : ndarray of shape (n_cases, 3, n_raters, n_bins)
        Weight, sum of probabilities and votes, as in ``PooledResponses``.
    pairs : ndarray of shape (n_cases, 3, n_bins)
        The same over all raters.
    totals : ndarray of shape (n_cases, 3)
        Of ``pairs``, over all bins.
    n_voxels, weight : ndarray of shape (n_cases,)
        Voxels of the case (those of the rater who answered most), and the factor of its counts; 0 leaves it out.
    order : ndarray of shape (n_cases,), int
        Which case of the cohort is at each place: the order depends on the sums alone.
    """

    bins: NDArray[np.int64]
    sums: FloatArray
    pairs: FloatArray
    totals: FloatArray
    n_voxels: FloatArray
    weight: FloatArray
    order: NDArray[np.intp]

    @classmethod
    def of(cls, bins: NDArray[np.int64], sums: FloatArray) -> CaseSums:
        """Cases that all count once, from their sums on common bins."""
        pairs = sums.sum(axis=2)
        totals = pairs.sum(axis=-1)
        order = np.lexsort(totals.T)
        n_voxels = sums[order, 0].sum(axis=-1).max(axis=1)
        return cls(bins, sums[order], pairs[order], totals[order], n_voxels, np.ones(len(sums)), order)

    @classmethod
    def of_cohort(cls, cohort: Cohort) -> CaseSums:
        """The sums of a cohort's cases."""
        return cls.of(*cohort.sums_by_case())

    def weighted(self, weight: FloatArray) -> CaseSums:
        """The same cases with other factors, which are given in the order of the cohort."""
        return replace(self, weight=weight[self.order])

    def for_raters(self, rater_weight: FloatArray | None) -> CaseSums:
        """The same cases with ``pairs`` and ``totals`` under these weights of the raters, in the order that these give."""
        if rater_weight is None:
            return self
        pairs: FloatArray = np.einsum("r,nkrb->nkb", rater_weight, self.sums)
        totals = pairs.sum(axis=-1)
        order = np.lexsort(totals.T)
        return CaseSums(
            self.bins,
            self.sums,
            pairs[order],
            totals[order],
            self.n_voxels[order],
            self.weight[order],
            self.order[order],
        )


def data_of_cohort(
    cohort: Cohort,
    weights: FloatArray,
    needs: Needs,
    *,
    included: FloatArray | None = None,
    case_sums: CaseSums | None = None,
    voxels: Callable[[FloatArray], Iterable[tuple[Voxels, float]]] | None = None,
    in_memory: bool = False,
) -> list[CalibrationData]:
    """The data of a fit for each row of weights of the cases: what every way of fitting makes of its tallies.

    Parameters
    ----------
    cohort : Cohort
        Tallies on the grid of the method.
    weights : ndarray of shape (n_fits, n_cases)
        Factor of each case's counts.
    needs : Needs
        What the method needs to know.
    included : ndarray of shape (n_fits, n_cases), optional
        1 for the cases whose voxels are counted in ``n_voxels``, else 0; all by default.
    case_sums : CaseSums, optional
        The sums of the cohort's cases, where they are made already.
    voxels : callable, optional
        Of the weights of the cases, to their voxels with the weight of each case, for a second pass.
    in_memory : bool, default=False
        Whether reading these voxels is cheap.
    """
    counted = np.ones_like(weights) if included is None else included
    one = len(weights) == 1
    pooled = [cohort.pooled(weights[0])] if one else cohort.pooled_many(weights, marked=needs.marked)
    if needs.cases and case_sums is None:
        case_sums = CaseSums.of_cohort(cohort)
    return [
        CalibrationData(
            cohort.grid,
            sums,
            float(here @ cohort.n_voxels),
            float(here @ cohort.n_zeros),
            None if voxels is None else partial(voxels, weight),
            None if case_sums is None else case_sums.weighted(weight),
            cohort.vote_counts(weight) if needs.votes else None,
            in_memory,
        )
        for weight, here, sums in zip(weights, counted, pooled, strict=True)
    ]


def pool_weighted(
    voxels: Voxels, needs: Needs, *, grid: ProbabilityGrid | None = None, invalid: str = "raise"
) -> CalibrationData:
    """Sums in floating point, of voxels whose weights or soft targets are not whole numbers, so that no tally holds them."""
    grid = grid or needs.grid
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
        voxels.refuse_probs(refused)
    used = np.flatnonzero(sums[0].any(axis=0))
    counts = VoteCounts.from_voxels(voxels, grid) if needs.votes else None
    return CalibrationData(grid, PooledResponses(used, *sums[:, :, used]), n_voxels, n_zeros, vote_counts=counts)
