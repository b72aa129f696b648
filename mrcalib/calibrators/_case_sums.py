"""Each case's own sums: what a calibrator is fitted to that must tell cases apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrcalib.responses import PooledResponses

if TYPE_CHECKING:
    from mrcalib.cohort import Cohort

__all__ = ["CaseSums"]

FloatArray = NDArray[np.float64]


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
    """

    bins: NDArray[np.int64]
    sums: FloatArray
    pairs: FloatArray
    totals: FloatArray
    n_voxels: FloatArray
    weight: FloatArray

    @classmethod
    def _of(cls, bins: NDArray[np.int64], sums: FloatArray, weight: FloatArray) -> CaseSums:
        pairs = sums.sum(axis=2)
        return cls(bins, sums, pairs, pairs.sum(axis=-1), sums[:, 0].sum(axis=-1).max(axis=1), weight)

    @classmethod
    def of_cohort(cls, cohort: Cohort, weight: FloatArray) -> CaseSums:
        """Those of a cohort, which keeps them."""
        return cls._of(*cohort.sums_by_case(), weight)

    @classmethod
    def of_parts(cls, parts: Sequence[PooledResponses], weight: FloatArray) -> CaseSums:
        """Those of cases that were pooled one by one."""
        bins = np.unique(np.concatenate([part.bins for part in parts]))
        sums = np.zeros((len(parts), 3, parts[0].n_raters, bins.size))
        for case, part in zip(sums, parts, strict=True):
            for row, values in zip(case, (part.weight, part.prob_sum, part.votes), strict=True):
                row[:, np.searchsorted(bins, part.bins)] = values
        return cls._of(bins, sums, weight)

    def weighted(self, weight: FloatArray) -> CaseSums:
        """The same cases with other factors."""
        return replace(self, weight=weight)

    def over_raters(self, rater_weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Sums over raters, of shape (n_cases, 3, n_bins), and over bins, too, of shape (n_cases, 3)."""
        if rater_weight is None:
            return self.pairs, self.totals
        pairs: FloatArray = np.einsum("r,nkrb->nkb", rater_weight, self.sums)
        return pairs, pairs.sum(axis=-1)

    def parts(self) -> list[PooledResponses]:
        """Each case's sums."""
        return [PooledResponses(self.bins, *case) for case in self.sums]
