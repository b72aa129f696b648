"""Volumes: the sum of probabilities against the volumes that raters marked.

A rater counts who answered at every voxel that some rater answered; over less, a volume is not that of the structure.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.inputs import check_choice
from mrcalib.metrics._door import responses_of
from mrcalib.metrics._metric import FloatArray, Metric, mean_defined, ratio
from mrcalib.responses import Responses

__all__ = [
    "gaussian_crps",
    "volume_bias",
    "volume_bias_metric",
    "volume_crps",
    "volume_crps_metric",
    "volume_error",
    "volume_error_metric",
]

Reference = Literal["gaussian", "empirical"]


def volume_crps_metric(*, reference: Reference = "gaussian", ddof: int = 0) -> Metric:
    """The volume's CRPS as a metric: in mL, lower is better, a mean over cases only; options as in `volume_crps`.

    Raters who answered at part of the voxels only are left out.
    """
    check_choice("reference", reference, ("gaussian", "empirical"))
    gaussian = reference == "gaussian"
    return Metric(
        name="volume_crps" if gaussian else "volume_crps_empirical",
        label="volume CRPS" if gaussian else "volume CRPS (empirical)",
        better="lower",
        unit="mL",
        statistics=volume_sums,
        value=partial(_gaussian, ddof=ddof) if gaussian else _empirical,
        poolable=False,
    )


def volume_bias_metric() -> Metric:
    """Predicted minus mean rater volume as a metric: in mL, best at zero, a mean over cases only."""
    return Metric("volume_bias", "volume bias", "zero", "mL", volume_sums, _bias, poolable=False)


def volume_error_metric() -> Metric:
    """``|predicted - mean rater volume| / mean rater volume`` as a metric: lower is better, a mean over cases only."""
    return Metric("volume_error", "relative volume error", "lower", "", volume_sums, _error, poolable=False)


def volume_sums(responses: Responses) -> FloatArray:
    """Predicted volume and number of voxels, then those of each rater; shape (2 (1 + n_raters),)."""
    prob, answers = responses.distinct()
    n_voxels = answers.count.sum()
    rows = [((answers.count * prob).sum(), n_voxels)]
    if responses.present is None:
        rows += [(answers.votes.sum(), n_voxels)]
    else:
        given = [answers.rater(r) for r in range(responses.n_raters)]
        rows += [(marked.sum(), answered.sum()) for answered, marked in given]
    return np.array([(volume * responses.voxel_volume, n) for volume, n in rows]).ravel()


def _volumes(statistics: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predicted volume (...), and rater volumes (..., n_raters) with NaN for raters who do not count."""
    pairs = statistics.reshape(*statistics.shape[:-1], -1, 2)
    volume, n = pairs[..., 0], pairs[..., 1]
    everywhere = (n[..., 1:] > n[..., :1] * (1 - 1e-9)) & (n[..., :1] > 0)
    return volume[..., 0], np.where(everywhere, volume[..., 1:], np.nan)


def _gaussian(statistics: FloatArray, *, ddof: int) -> FloatArray:
    predicted, volumes = _volumes(statistics)
    mean = mean_defined(volumes)
    deviation = np.where(np.isnan(volumes), 0.0, volumes - mean[..., None])
    n = (~np.isnan(volumes)).sum(axis=-1)
    variance = ratio((deviation**2).sum(axis=-1), np.maximum(n - ddof, 0).astype(np.float64))
    return gaussian_crps(predicted, mean, np.sqrt(variance))


def gaussian_crps(value: ArrayLike, mean: ArrayLike, std: ArrayLike) -> FloatArray:
    """CRPS between a normal distribution and a value; ``|value - mean|`` where ``std`` is 0, NaN where anything is NaN.

    Parameters
    ----------
    value, mean, std : array_like of float
        Of shapes that broadcast.

    Returns
    -------
    ndarray of float64

    References
    ----------
    .. [1] Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007, equation 21,
       doi:10.1198/016214506000001437.

    Examples
    --------
    >>> gaussian_crps(3.0, 1.0, 0.0)
    array(2.)
    >>> gaussian_crps(0.0, 0.0, 1.0).round(4)
    np.float64(0.2337)
    """
    from scipy.special import ndtr

    value, mean, std = (np.asarray(a, dtype=np.float64) for a in (value, mean, std))
    gap = value - mean
    z = np.where(std == 0, 0.0, ratio(gap, std))
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    spread = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return np.where(std == 0, np.abs(gap), spread)


def _empirical(statistics: FloatArray) -> FloatArray:
    predicted, volumes = _volumes(statistics)
    to_raters = mean_defined(np.abs(volumes - predicted[..., None]))
    among = np.abs(volumes[..., :, None] - volumes[..., None, :])
    return to_raters - 0.5 * mean_defined(among.reshape(*predicted.shape, -1))


def _bias(statistics: FloatArray) -> FloatArray:
    predicted, volumes = _volumes(statistics)
    return predicted - mean_defined(volumes)


def _error(statistics: FloatArray) -> FloatArray:
    predicted, volumes = _volumes(statistics)
    mean = mean_defined(volumes)
    return ratio(np.abs(predicted - mean), mean)


def _evaluate(
    value: Callable[[FloatArray], FloatArray],
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None,
    rater_axis: int | None,
    voxel_volume: float = 1.0,
) -> float:
    """The value of one case; ValueError where a rater answered at part of the voxels, or raters are not told apart."""
    if not (math.isfinite(voxel_volume) and voxel_volume > 0):
        msg = f"voxel_volume must be a positive number of mL; got {voxel_volume}."
        raise ValueError(msg)
    responses = responses_of(probs, raters, roi=roi, rater_axis=rater_axis)
    responses.rater(0)  # words the refusal of soft targets
    statistics = volume_sums(replace(responses, voxel_volume=voxel_volume))
    n_voxels, answered = statistics[1], statistics[3::2]
    part = np.flatnonzero((answered > 0) & (answered < n_voxels))
    if part.size:
        msg = (
            f"Rater {part[0]} answered at {answered[part[0]]:.0f} of {n_voxels:.0f} voxels, so that rater's volume is "
            "not known. Leave the rater out (None), or pass a roi= that all have answered."
        )
        raise ValueError(msg)
    return float(value(statistics))


def volume_crps(
    probs: ArrayLike,
    raters: Any,
    *,
    reference: Reference = "gaussian",
    voxel_volume: float = 1.0,
    ddof: int = 0,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> float:
    """CRPS between the predicted volume ``sum(p)`` and the distribution of the raters' volumes.

    Gaussian, with z = (v - mean) / std: ``std * (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))``. Empirical:
    ``mean |X - v| - mean |X - X'| / 2`` over all ordered pairs of raters, ``X = X'`` included.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks, as in `expected_calibration_error`. Missing raters (None) are left out of the distribution.
    reference : {"gaussian", "empirical"}, default="gaussian"
        The normal distribution with the mean and standard deviation of the raters' volumes, or these volumes
        themselves.
    voxel_volume : float, default=1.0
        In mL; 1 gives the score in voxels.
    ddof : int, default=0
        The variance is the sum of squares over ``n_raters - ddof``; 0 in CURVAS. With no more than ``ddof`` raters the
        score is NaN.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Returns
    -------
    float
        In mL (or voxels), at least 0, which is best. Where all raters give one volume it is the distance to that.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, a rater answered at part of the voxels only, raters are not told
        apart (a soft target), or an option is unknown.

    References
    ----------
    .. [1] Gneiting and Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007, equations 20 and 21,
       doi:10.1198/016214506000001437.

    Examples
    --------
    >>> masks = [[1, 1, 1, 0], [1, 0, 0, 0]]
    >>> round(volume_crps([1.0, 1.0, 0.0, 0.0], masks), 4)
    0.2337
    >>> volume_crps([1.0, 1.0, 0.0, 0.0], masks, reference="empirical")
    0.5
    """
    value = volume_crps_metric(reference=reference, ddof=ddof).value
    return _evaluate(value, probs, raters, roi=roi, rater_axis=rater_axis, voxel_volume=voxel_volume)


def volume_bias(
    probs: ArrayLike,
    raters: Any,
    *,
    voxel_volume: float = 1.0,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> float:
    """Predicted volume ``sum(p)`` minus the mean of the raters' volumes.

    Parameters
    ----------
    probs, raters, voxel_volume, roi, rater_axis
        As in `volume_crps`.

    Returns
    -------
    float
        In mL (or voxels); positive where the prediction is too large.

    Raises
    ------
    ValueError
        As in `volume_crps`.

    Examples
    --------
    >>> volume_bias([1.0, 0.5, 0.0], [[1, 1, 1], [1, 0, 0]])
    -0.5
    """
    return _evaluate(_bias, probs, raters, roi=roi, rater_axis=rater_axis, voxel_volume=voxel_volume)


def volume_error(
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> float:
    """Absolute difference of predicted and mean rater volume, relative to the latter.

    Parameters
    ----------
    probs, raters, roi, rater_axis
        As in `volume_crps`.

    Returns
    -------
    float
        At least 0, which is best; NaN where no rater marked a voxel.

    Raises
    ------
    ValueError
        As in `volume_crps`.

    Examples
    --------
    >>> volume_error([1.0, 0.5, 0.0], [[1, 1, 1], [1, 0, 0]])
    0.25
    """
    return _evaluate(_error, probs, raters, roi=roi, rater_axis=rater_axis)
