"""Volumes: the sum of probabilities against the volumes that raters marked.

A rater counts who answered at every voxel that some rater answered; over less, a volume is not that of the structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.inputs import check_choice, check_voxel_volume
from mrcalib.metrics.base import FloatArray, Metric, mean_defined, ratio
from mrcalib.metrics.catalogue import register_metric
from mrcalib.responses import Responses

__all__ = ["gaussian_crps", "volume_bias", "volume_crps", "volume_error"]

Reference = Literal["gaussian", "empirical"]


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
    if (std < 0).any():
        msg = f"std must not be negative; got {std.min():g}."
        raise ValueError(msg)
    gap = value - mean
    z = np.where(std == 0, 0.0, ratio(gap, std))
    density = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    spread = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / math.sqrt(math.pi))
    return np.where(std == 0, np.abs(gap), spread)


@dataclass(frozen=True)
class _VolumeMetric(Metric):
    """A score of the predicted volume and of each rater's."""

    unit = "mL"
    poolable = False
    array_options = {"voxel_volume": 1.0}  # noqa: RUF012

    def sums(self, responses: Responses) -> FloatArray:
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

    def of_arrays(self, probs: Any, raters: Any, **where: Any) -> float:
        if where.get("voxel_volume") is not None:
            check_voxel_volume(where["voxel_volume"])
        return super().of_arrays(probs, raters, **where)

    def check_sums(self, sums: FloatArray, responses: Responses) -> None:
        responses.check_rater(0)  # ValueError for an averaged target
        n_voxels, answered = sums[1], sums[3::2]
        part = np.flatnonzero((answered > 0) & (answered < n_voxels * (1 - 1e-9)))
        if part.size:
            msg = (
                f"Rater {part[0]} answered at {answered[part[0]]:.0f} of {n_voxels:.0f} voxels, so that rater's volume is "
                "not known. Leave the rater out (None), or pass a roi= that all have answered."
            )
            raise ValueError(msg)


def _volumes(sums: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Predicted volume (...), and rater volumes (..., n_raters) with NaN for raters who do not count."""
    pairs = sums.reshape(*sums.shape[:-1], -1, 2)
    volume, n = pairs[..., 0], pairs[..., 1]
    everywhere = (n[..., 1:] > n[..., :1] * (1 - 1e-9)) & (n[..., :1] > 0)
    return volume[..., 0], np.where(everywhere, volume[..., 1:], np.nan)


@dataclass(frozen=True)
class VolumeCRPS(_VolumeMetric):
    """CRPS between the predicted volume ``sum(p)`` and the distribution of the raters' volumes.

    Gaussian, with z = (v - mean) / std: ``std * (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))``. Empirical:
    ``mean |X - v| - mean |X - X'| / 2`` over all ordered pairs of raters, ``X = X'`` included.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`. Missing raters (None) are left out of the distribution. Several cases can only be averaged.
    reference : {"gaussian", "empirical"}, default="gaussian"
        The normal distribution with the mean and standard deviation of the raters' volumes, or these volumes
        themselves.
    ddof : int, default=0
        The variance is the sum of squares over ``n_raters - ddof``; 0 in CURVAS. With no more than ``ddof`` raters the
        score is NaN.
    voxel_volume : float, default=1.0
        In mL; 1 gives the score in voxels. Of several cases one number, or one a case.

    Returns
    -------
    float
        In mL (or voxels), at least 0, which is best. Where all raters give one volume it is the distance to that. Exact of a
        tally, which keeps the sum of probabilities.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, a rater answered at part of the voxels only, raters are not told
        apart (an averaged target), or an option is unknown. Of a tally, a rater of part of the voxels is left out.

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

    name = "volume_crps"
    label = "volume CRPS"
    named_options = ("reference",)

    reference: Reference = "gaussian"
    ddof: int = 0

    def check_options(self) -> None:
        check_choice("reference", self.reference, ("gaussian", "empirical"))

    def named(self) -> tuple[str, str]:
        if self.reference == "gaussian":
            return self.name, self.label
        return f"{self.name}_empirical", f"{self.label} (empirical)"

    def value(self, sums: FloatArray) -> FloatArray:
        predicted, volumes = _volumes(sums)
        if self.reference == "empirical":
            to_raters = mean_defined(np.abs(volumes - predicted[..., None]))
            among = np.abs(volumes[..., :, None] - volumes[..., None, :])
            return to_raters - 0.5 * mean_defined(among.reshape(*predicted.shape, -1))
        mean = mean_defined(volumes)
        deviation = np.where(np.isnan(volumes), 0.0, volumes - mean[..., None])
        n = (~np.isnan(volumes)).sum(axis=-1)
        variance = ratio((deviation**2).sum(axis=-1), np.maximum(n - self.ddof, 0).astype(np.float64))
        return gaussian_crps(predicted, mean, np.sqrt(variance))


@dataclass(frozen=True)
class VolumeBias(_VolumeMetric):
    """Predicted volume ``sum(p)`` minus the mean of the raters' volumes.

    Parameters
    ----------
    probs, raters, voxel_volume, roi, sample_weight, rater_axis, average
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

    name = "volume_bias"
    label = "volume bias"
    better = "zero"

    def value(self, sums: FloatArray) -> FloatArray:
        predicted, volumes = _volumes(sums)
        return predicted - mean_defined(volumes)


@dataclass(frozen=True)
class VolumeError(_VolumeMetric):
    """Absolute difference of predicted and mean rater volume, relative to the latter.

    Parameters
    ----------
    probs, raters, voxel_volume, roi, sample_weight, rater_axis, average
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

    name = "volume_error"
    label = "relative volume error"
    unit = ""

    def value(self, sums: FloatArray) -> FloatArray:
        predicted, volumes = _volumes(sums)
        mean = mean_defined(volumes)
        return ratio(np.abs(predicted - mean), mean)


volume_crps = register_metric(VolumeCRPS(), compared=True)
volume_bias = register_metric(VolumeBias(), compared=True)
register_metric(volume_crps.with_options(reference="empirical"))
volume_error = register_metric(VolumeError())
