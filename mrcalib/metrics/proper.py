"""Proper scores over pairs of a voxel and a rater: Brier score with its CORP decomposition, and log loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mrcalib.inputs import check_choice
from mrcalib.metrics.base import FloatArray, Metric, ratio, rows_by_case
from mrcalib.metrics.bins import Weighting, concatenated, weight_and_votes
from mrcalib.metrics.catalogue import register_metric
from mrcalib.responses import Responses

__all__ = ["EPS", "CorpDecomposition", "brier_score", "check_eps", "corp_decomposition", "log_loss"]

EPS = 2.0**-24  # the largest float32 short of 1 is 1 - EPS


def check_eps(eps: float) -> None:
    """Raise ValueError unless probabilities can be clipped to [eps, 1 - eps]."""
    if not 0 < eps < 0.5:
        msg = f"eps must lie between 0 and 1/2; got {eps}."
        raise ValueError(msg)


@dataclass(frozen=True)
class BrierScore(Metric):
    """Mean squared difference of probability and answer over all pairs of a voxel and a rater who answered there.

    It is least at the mean human response. An averaged target t in [0, 1] counts as a share t of raters who marked the
    voxel: ``t (1 - p)**2 + (1 - t) p**2``, which exceeds ``(p - t)**2`` by ``t (1 - t)``.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    weighting : {"pairs", "voxels"}, default="pairs"
        Whether a voxel counts once for each rater who answered, or once with its raters' mean. These differ only where
        raters are missing.

    Returns
    -------
    float
        In [0, 1], 0 is best.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered.

    Notes
    -----
    Of a tally on the standard grid it is off by at most 0.4 % of the mean of ``min(p, 1 - p)`` (1.6 % where raters are
    missing): each voxel counts at the mean probability of its bin, whose width is at most 2**-7 of ``min(p, 1 - p)``.

    References
    ----------
    .. [1] Brier, "Verification of forecasts expressed in terms of probability", 1950,
       doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Examples
    --------
    >>> brier_score([0.5, 1.0], [[0, 1], [1, 1]])
    0.125
    """

    name = "brier"
    label = "Brier"
    function_name = "brier_score"

    weighting: Weighting = "pairs"

    def check_options(self) -> None:
        check_choice("weighting", self.weighting, ("pairs", "voxels"))

    def sums(self, responses: Responses) -> FloatArray:
        p, answers = responses.distinct()
        weight, votes = weight_and_votes(answers, self.weighting)
        return np.array([weight.sum(), (votes * (1 - p) ** 2 + (weight - votes) * p**2).sum()])

    def value(self, sums: FloatArray) -> FloatArray:
        return ratio(sums[..., 1], sums[..., 0])


@dataclass(frozen=True)
class LogLoss(Metric):
    """Mean negative log-likelihood over all pairs of a voxel and a rater who answered there, in nats.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    eps : float, default=2**-24
        Probabilities are clipped to [eps, 1 - eps], so that a wrong 0 or 1 costs ``-log(eps)``, 16.6 by default.
    weighting : {"pairs", "voxels"}, default="pairs"
        As in `brier_score`.

    Returns
    -------
    float
        At least 0, which is best.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or ``eps`` is not in (0, 1/2).

    Notes
    -----
    Of a tally on the standard grid it is off by at most 0.004 nats (0.016 where raters are missing): each voxel counts at the
    mean probability of its bin, whose width is at most 2**-7 of ``min(p, 1 - p)``.

    References
    ----------
    .. [1] Good, "Rational decisions", 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    Examples
    --------
    >>> round(log_loss([0.5, 0.5], [[0, 1], [1, 1]]), 4)
    0.6931
    """

    name = "log_loss"
    label = "log loss"

    eps: float = EPS
    weighting: Weighting = "pairs"

    def check_options(self) -> None:
        check_eps(self.eps)
        check_choice("weighting", self.weighting, ("pairs", "voxels"))

    def sums(self, responses: Responses) -> FloatArray:
        prob, answers = responses.distinct()
        p = np.clip(prob, self.eps, 1 - self.eps)
        weight, votes = weight_and_votes(answers, self.weighting)
        return np.array([weight.sum(), -(votes * np.log(p) + (weight - votes) * np.log1p(-p)).sum()])

    def value(self, sums: FloatArray) -> FloatArray:
        return ratio(sums[..., 1], sums[..., 0])


brier_score = register_metric(BrierScore(), compared=True)
log_loss = register_metric(LogLoss(), compared=True)


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
        """The decomposition of the rows of a case; NaN without voxels."""
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
    probs: Any,
    raters: Any = None,
    *,
    roi: Any = None,
    sample_weight: Any = None,
    rater_axis: int | None = None,
) -> CorpDecomposition:
    """Split the Brier score over pairs of a voxel and a rater into miscalibration, discrimination and uncertainty [1]_.

    Pairs include how much raters differ within a voxel. Against the mean response itself, score and uncertainty would
    be smaller by that variance; miscalibration and discrimination are the same.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis
        As in `Metric`; of several cases it is the decomposition over all their voxels.

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
    cases = rows_by_case(probs, raters, roi=roi, sample_weight=sample_weight, rater_axis=rater_axis)
    return CorpDecomposition.from_responses(concatenated(cases))
