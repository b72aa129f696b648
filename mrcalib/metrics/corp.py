"""The CORP decomposition of the Brier score: what miscalibration costs, without bins to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.metrics._door import responses_of
from mrcalib.metrics._metric import FloatArray
from mrcalib.responses import Responses

__all__ = ["CorpDecomposition", "corp_decomposition"]


@dataclass(frozen=True, slots=True)
class CorpDecomposition:
    """Parts of the Brier score: ``score = miscalibration - discrimination + uncertainty``.

    Attributes
    ----------
    miscalibration : float
        What isotonic recalibration to the mean response would save; at least 0, 0 is best.
    discrimination : float
        What the recalibrated map gains over one constant probability; at least 0, higher is better.
    uncertainty : float
        The score of the best constant, that is of the mean response.
    score : float
        The Brier score over (voxel, rater) pairs.
    """

    miscalibration: float
    discrimination: float
    uncertainty: float
    score: float

    @classmethod
    def from_responses(cls, responses: Responses) -> CorpDecomposition:
        """The decomposition of these responses; NaN without voxels."""
        from scipy.optimize import isotonic_regression

        prob, index = np.unique(responses.prob, return_inverse=True)
        weight = np.bincount(index, responses.count * responses.answers, prob.size)
        votes = np.bincount(index, responses.count * responses.votes, prob.size)
        here = weight > 0
        if not here.any():
            return cls(np.nan, np.nan, np.nan, np.nan)
        weight, response = weight[here], votes[here] / weight[here]
        pairs = float(weight.sum())

        def brier(p: FloatArray | float) -> float:
            return float(weight @ (response * (1 - p) ** 2 + (1 - response) * p**2)) / pairs

        score, best = brier(prob[here]), brier(isotonic_regression(response, weights=weight).x)
        constant = brier(float(weight @ response) / pairs)
        return cls(score - best, constant - best, constant, score)


def corp_decomposition(
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> CorpDecomposition:
    """Split the Brier score over (voxel, rater) pairs into miscalibration, discrimination and uncertainty [1]_.

    Pairs include how much raters differ within a voxel. Against the mean response itself, score and uncertainty would
    be smaller by that variance; miscalibration and discrimination are the same.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    roi, rater_axis, sample_weight
        As in `expected_calibration_error`.

    Returns
    -------
    CorpDecomposition

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered.

    References
    ----------
    .. [1] Dimitriadis, Gneiting and Jordan, "Stable reliability diagrams for probabilistic classifiers", PNAS 2021,
       doi:10.1073/pnas.2016191118.

    Examples
    --------
    >>> parts = corp_decomposition([0.5, 0.5, 1.0, 1.0], [0, 0, 1, 1])
    >>> parts.miscalibration, parts.discrimination, parts.uncertainty, parts.score
    (0.125, 0.25, 0.25, 0.125)
    """
    responses = responses_of(probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)
    return CorpDecomposition.from_responses(responses)
