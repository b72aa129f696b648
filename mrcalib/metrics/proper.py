"""Proper scores over (voxel, rater) pairs: Brier score and log loss."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.metrics._door import score_arrays
from mrcalib.metrics._metric import FloatArray, Metric, ratio
from mrcalib.responses import Responses

__all__ = ["brier_metric", "brier_score", "log_loss", "log_loss_metric"]

EPS = 2.0**-24  # the largest float32 short of 1 is 1 - EPS


def brier_metric() -> Metric:
    """The Brier score as a metric; range [0, 1], lower is better.

    On a tally's cells it lacks the variance of p within a bin of the grid, at most 1.6e-5 of ``min(p, 1 - p)**2``.
    """
    return Metric("brier", "Brier", "lower", "", _brier_sums, _mean)


def log_loss_metric(*, eps: float = EPS) -> Metric:
    """The log loss as a metric; in nats, lower is better. Probabilities are clipped to [eps, 1 - eps]."""
    return Metric("log_loss", "log loss", "lower", "", partial(_log_sums, eps=eps), _mean)


def _brier_sums(responses: Responses) -> FloatArray:
    p, answers = responses.distinct()
    pairs, votes = answers.pairs, answers.votes
    return np.array([pairs.sum(), (votes * (1 - p) ** 2 + (pairs - votes) * p**2).sum()])


def _log_sums(responses: Responses, *, eps: float) -> FloatArray:
    prob, answers = responses.distinct()
    p, pairs, votes = np.clip(prob, eps, 1 - eps), answers.pairs, answers.votes
    return np.array([pairs.sum(), -(votes * np.log(p) + (pairs - votes) * np.log1p(-p)).sum()])


def _mean(statistics: FloatArray) -> FloatArray:
    return ratio(statistics[..., 1], statistics[..., 0])


def brier_score(
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean squared difference of probability and answer over all pairs of a voxel and a rater who answered there.

    It is least at the mean human response. A soft target t in [0, 1] counts as a share t of raters who marked the
    voxel: ``t (1 - p)**2 + (1 - t) p**2``, which exceeds ``(p - t)**2`` by ``t (1 - t)``.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.

    Returns
    -------
    float
        In [0, 1], 0 is best.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered.

    References
    ----------
    .. [1] Brier, "Verification of forecasts expressed in terms of probability", 1950,
       doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    Examples
    --------
    >>> brier_score([0.5, 1.0], [[0, 1], [1, 1]])
    0.125
    """
    return score_arrays(brier_metric(), probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)


def log_loss(
    probs: ArrayLike,
    raters: Any,
    *,
    eps: float = EPS,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean negative log-likelihood over all pairs of a voxel and a rater who answered there, in nats.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    eps : float, default=2**-24
        Probabilities are clipped to [eps, 1 - eps], so that a wrong 0 or 1 costs ``-log(eps)``, 16.6 by default.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.

    Returns
    -------
    float
        At least 0, which is best.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or ``eps`` is not in (0, 1/2).

    References
    ----------
    .. [1] Good, "Rational decisions", 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    Examples
    --------
    >>> round(log_loss([0.5, 0.5], [[0, 1], [1, 1]]), 4)
    0.6931
    """
    if not 0 < eps < 0.5:
        msg = f"eps must lie between 0 and 1/2; got {eps}."
        raise ValueError(msg)
    metric = log_loss_metric(eps=eps)
    return score_arrays(metric, probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)
