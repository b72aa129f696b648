"""What raters answered at which probability: the rows that every calibrator and every metric is computed from.

A row stands for one voxel or for many: those of a tally's cell, which share a bin of probability and a vote pattern. The
algebra is the same, so a metric is written once, is exact on voxels, and costs no second pass on a tally.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PooledResponses", "Responses"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Rows of (probability, how many voxels, which raters answered, which of them marked the voxel).

    Attributes
    ----------
    prob : ndarray of shape (n_rows,), float64
        Probability that the map gives, in [0, 1].
    count : ndarray of shape (n_rows,), float64
        Voxels in the row (or their total sample weight).
    answers : ndarray of shape (n_rows,), float64
        Raters who answered at each of these voxels; at least 1.
    votes : ndarray of shape (n_rows,), float64
        Of these, how many marked the voxel; for soft targets the target itself, with ``answers`` 1.
    n_raters : int
        Number of raters of the study, missing ones included.
    present, marked : ndarray of shape (n_rows,), int64, or None
        The same as bit masks: bit r is rater r. None for soft targets, which do not tell raters apart.
    voxel_volume : float
        Volume of one voxel, in mL; 1.0 where it is not known, and volumes are then in voxels.
    count_probs : ndarray of shape (n_rows, K + 1), float64, or None
        Predicted probability of each number of votes of K raters, where a method predicts one.
    """

    prob: FloatArray
    count: FloatArray
    answers: FloatArray
    votes: FloatArray
    n_raters: int
    present: NDArray[np.int64] | None = None
    marked: NDArray[np.int64] | None = None
    voxel_volume: float = 1.0
    count_probs: FloatArray | None = None

    @property
    def n_rows(self) -> int:
        return int(self.prob.size)

    def map(self, function: Callable[[FloatArray], FloatArray]) -> Responses:
        """The same answers at the probabilities that ``function`` makes of these."""
        return replace(self, prob=np.asarray(function(self.prob), dtype=np.float64), count_probs=None)

    def rater(self, index: int) -> Responses:
        """The answers of one rater alone; rows where that rater is missing are left out.

        Raises
        ------
        ValueError
            If the raters are not told apart (soft targets), or there is no such rater.
        """
        if self.present is None or self.marked is None:
            msg = "This needs each rater's answers, but the raters were given as one averaged (soft) target."
            raise ValueError(msg)
        if not 0 <= index < self.n_raters:
            msg = f"rater must lie between 0 and {self.n_raters - 1}; got {index}."
            raise ValueError(msg)
        bit = np.int64(1) << index
        here = (self.present & bit) != 0
        marked = (self.marked[here] & bit) != 0
        return Responses(
            self.prob[here],
            self.count[here],
            np.ones(marked.size),
            marked.astype(np.float64),
            1,
            np.ones(marked.size, dtype=np.int64),
            marked.astype(np.int64),
            self.voxel_volume,
        )

    def answered_raters(self) -> list[int]:
        """Indices of the raters who answered at one voxel at least."""
        if self.present is None:
            return []
        seen = int(np.bitwise_or.reduce(self.present, initial=0))
        return [r for r in range(self.n_raters) if seen >> r & 1]


@dataclass(frozen=True, slots=True, eq=False)
class PooledResponses:
    """Each rater's answers summed by bin of probability, over voxels and cases: what calibrators are fitted to.

    Sums add: ``a + b`` holds what both hold. Bins are in the order of probability.

    Attributes
    ----------
    bins : ndarray of shape (n_bins,), int64
        Identifiers of the bins, ascending.
    weight, prob_sum, votes : ndarray of shape (n_raters, n_bins), float64
        Over the voxels at which the rater answered: their number (or weight), the sum of their probabilities, and how many
        the rater marked. Soft targets are one rater, whose votes are the sum of the targets.
    """

    bins: NDArray[np.int64]
    weight: FloatArray
    prob_sum: FloatArray
    votes: FloatArray

    @property
    def n_raters(self) -> int:
        return int(self.weight.shape[0])

    def __add__(self, other: PooledResponses) -> PooledResponses:
        if self.n_raters != other.n_raters:
            msg = f"Cannot add responses of {self.n_raters} and {other.n_raters} raters."
            raise ValueError(msg)
        bins = np.union1d(self.bins, other.bins)

        def total(a: FloatArray, b: FloatArray) -> FloatArray:
            out = np.zeros((self.n_raters, bins.size))
            out[:, np.searchsorted(bins, self.bins)] += a
            out[:, np.searchsorted(bins, other.bins)] += b
            return out

        return PooledResponses(
            bins,
            total(self.weight, other.weight),
            total(self.prob_sum, other.prob_sum),
            total(self.votes, other.votes),
        )

    def over_raters(self, sums: FloatArray, rater_weight: FloatArray | None = None) -> FloatArray:
        """``sums`` (n_raters, n_bins) added over raters, weighted; without BLAS, whose threads go on spinning afterwards."""
        total: FloatArray = sums.sum(axis=0) if rater_weight is None else np.einsum("r,rb->b", rater_weight, sums)
        return total

    def mean_response(self, rater_weight: FloatArray | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean probability, weight and mean response of each occupied bin, over (voxel, rater) pairs.

        Parameters
        ----------
        rater_weight : ndarray of shape (n_raters,), optional
            Weight of each rater's answers; 1 for all by default. A one-hot weight gives one rater's own answers.

        Returns
        -------
        prob, weight, response : ndarray of shape (n_occupied,)
            Probabilities strictly ascending.

        Raises
        ------
        ValueError
            If no rater of positive weight answered anywhere.
        """
        weight = self.over_raters(self.weight, rater_weight)
        occupied = weight > 0
        if not occupied.any():
            msg = "There is nothing to fit: no rater of positive weight answered at any voxel."
            raise ValueError(msg)
        weight = weight[occupied]
        prob = np.clip(self.over_raters(self.prob_sum, rater_weight)[occupied] / weight, 0.0, 1.0)
        response = np.clip(self.over_raters(self.votes, rater_weight)[occupied] / weight, 0.0, 1.0)
        if np.any(np.diff(prob) <= 0):  # neighbouring bins whose means are equal up to rounding
            prob, index = np.unique(np.maximum.accumulate(prob), return_inverse=True)
            merged, votes = np.bincount(index, weight), np.bincount(index, weight * response)
            return prob, merged.astype(np.float64), votes / merged
        return prob, weight, response
