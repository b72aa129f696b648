"""What the calibrators of vote counts share: a distribution at every voxel, for as many raters as one asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import CalibrationData, Needs
from mrcalib.cohort import Cohort
from mrcalib.grid import ProbabilityGrid
from mrcalib.responses import Responses
from mrcalib.tallies import Tally, VoteCounts

__all__ = ["CountCalibrator", "FloatArray", "counts_by_bin", "refuse_rater_weight"]

FloatArray = NDArray[np.float64]


class CountCalibrator(Calibrator):
    """Base of the calibrators that predict how many raters mark a voxel.

    Attributes
    ----------
    n_counted_ : int
        The number of raters K whose votes ``predict_counts`` predicts unless another number is given.
    """

    n_counted_: int

    @property
    def needs(self) -> Needs:
        """How many voxels of each bin had how many votes."""
        return Needs(ProbabilityGrid.standard(), votes=True)

    def _count_probs(self, probs: Any, n_raters: int) -> NDArray[Any]:
        """The distributions for unmasked probabilities."""
        raise NotImplementedError

    def predict_counts(self, probs: ArrayLike, *, n_raters: int | None = None) -> NDArray[Any]:
        """The distribution of the number of raters who mark each voxel.

        Parameters
        ----------
        probs : array_like of float, shape S
            Probabilities in [0, 1]; NaN stays NaN, and what is masked stays masked.
        n_raters : int, optional
            Number of raters; ``n_counted_`` by default.

        Returns
        -------
        ndarray of shape (*S, n_raters + 1), of the float dtype of ``probs``
            Probability of 0, 1, ... votes; sums to 1.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For values outside [0, 1], or a number of raters that cannot be predicted.
        """
        check_is_fitted(self, "map_")
        self._check_columns(probs, reset=False)
        table: Any = probs
        n = self._check_n_raters(self.n_counted_ if n_raters is None else n_raters)
        if np.ma.isMaskedArray(table):
            hidden = np.repeat(np.ma.getmaskarray(table)[..., np.newaxis], n + 1, axis=-1)
            return np.ma.MaskedArray(self._count_probs(np.ma.filled(table, 0.0), n), hidden)
        return self._count_probs(table, n)

    def _check_n_raters(self, n_raters: int) -> int:
        return check_n_raters(n_raters)

    def calibrate_rows(self, rows: Responses) -> Responses:
        """Uncalibrated rows at their calibrated probabilities, with the predicted distributions of votes.

        Parameters
        ----------
        rows : Responses
            Such as ``Cohort.responses`` gives.

        Returns
        -------
        Responses
        """
        calibrated = rows.map(self.map_of_case(rows.prob, rows.count))
        return calibrated.with_count_probs(self.predict_counts(rows.prob))

    def count_responses(self, tally: Tally | Cohort) -> list[Responses]:
        """The rows of each case with the predicted distributions of votes, for count metrics and displays.

        Parameters
        ----------
        tally : Tally or Cohort
            Other cases than those of the fit, if the numbers are to hold for new ones.

        Returns
        -------
        list of Responses
            One for each case.
        """
        cohort = tally if isinstance(tally, Cohort) else Cohort([tally])
        return [self.calibrate_rows(cohort.responses(case)) for case in range(len(cohort))]


def check_n_raters(n_raters: object) -> int:
    """``n_raters`` as an int; ValueError unless it is a whole number of at least 1."""
    if isinstance(n_raters, bool) or not isinstance(n_raters, int | np.integer) or n_raters < 1:
        msg = f"n_raters must be a whole number of at least 1; got {n_raters!r}."
        raise ValueError(msg)
    return int(n_raters)


def refuse_rater_weight(rater_weight: FloatArray | None, who: Sequence[str]) -> None:
    """Raise where raters weigh differently: a number of votes counts them alike."""
    if rater_weight is not None and np.ptp(rater_weight) > 0:
        msg = (
            f"rater_weight must be the same for all of the raters {', '.join(who)}: a number of votes counts raters alike. "
            "Leave a rater out with None in the list of masks."
        )
        raise ValueError(msg)


def counts_by_bin(data: CalibrationData) -> tuple[FloatArray, VoteCounts]:
    """Mean probability of each bin, strictly ascending, and the counts with positions among these as bins."""
    counts, pooled = data.vote_counts, data.pooled
    assert counts is not None  # every way of fitting a method that counts votes brings them
    used = np.isin(pooled.bins, counts.bins)
    weight, prob_sum = pooled.weight.sum(axis=0)[used], pooled.prob_sum.sum(axis=0)[used]
    prob = np.maximum.accumulate(np.clip(prob_sum / weight, 0.0, 1.0))
    prob, merged = np.unique(prob, return_inverse=True)
    where = merged[np.searchsorted(pooled.bins[used], counts.bins)]
    return prob, VoteCounts.from_rows(where, counts.answers, counts.votes, counts.weight)
