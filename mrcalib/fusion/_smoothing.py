"""The fraction of raters, smoothed: by a Gaussian, or with each voxel's direct neighbours (SVLS)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._patterns import Raters
from mrcalib.fusion._votes import soft
from mrcalib.inputs import check_choice, check_positive, check_spacing

__all__ = ["soft_gaussian", "svls"]

FloatArray = NDArray[np.float64]


def soft_gaussian(
    raters: Raters,
    sigma: float | Sequence[float],
    *,
    unit: Literal["mm", "voxels"],
    spacing: Sequence[float] | None = None,
    truncate: float = 4.0,
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Fraction of raters, smoothed by a Gaussian.

    Beyond the border the outermost voxels are repeated; voxels that no rater answered are left out of the mean.

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`.
    sigma : float or sequence of float
        Standard deviation of the Gaussian, of all axes or of each, at least 0. There is no default: published comparisons
        chose it on validation data.
    unit : {"mm", "voxels"}
        Unit of ``sigma``.
    spacing : sequence of float, optional
        Voxel edges in mm, one for each axis; needed for ``unit="mm"``.
    truncate : float, default=4.0
        Standard deviations after which the Gaussian is cut off.

    Returns
    -------
    ndarray of shape S, float64
        In [0, 1]; NaN where no rater answered.

    Raises
    ------
    ValueError
        If ``sigma``, ``spacing`` or ``truncate`` are out of range or do not fit the axes, or as `soft`.

    Examples
    --------
    >>> soft_gaussian([[0, 0, 0, 1, 1, 1]], 1.4, unit="mm", spacing=(2.0,)).round(2)
    array([0.  , 0.01, 0.22, 0.78, 0.99, 1.  ])
    """
    check_choice("unit", unit, ("mm", "voxels"))
    response = soft(raters, rater_axis=rater_axis, positive=positive)
    widths = _widths(sigma, response.ndim)
    check_positive("truncate", truncate)
    if unit == "mm":
        if spacing is None:
            msg = f"unit='mm' needs spacing, a voxel edge in mm for each of {response.ndim} axes."
            raise ValueError(msg)
        widths = widths / np.array(check_spacing(spacing, response.ndim))
    from scipy.ndimage import gaussian_filter

    return _filter_known(response, lambda field: gaussian_filter(field, widths, mode="nearest", truncate=truncate))


def _widths(sigma: float | Sequence[float], n_axes: int) -> NDArray[np.float64]:
    widths = np.array(sigma, dtype=np.float64)
    if widths.shape not in ((), (n_axes,)) or not (np.isfinite(widths).all() and (widths >= 0).all()):
        msg = f"sigma must be one number of at least 0, or one for each of {n_axes} axes; got {sigma!r}."
        raise ValueError(msg)
    return np.broadcast_to(widths, n_axes).copy()


def svls(
    raters: Raters,
    sigma: float = 1.0,
    *,
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
) -> NDArray[np.float64]:
    """Spatially varying label smoothing [1]_ of several raters.

    Half of the voxel's own response and half of the mean of its 8 (2-D) or 26 (3-D) neighbours, which are weighted by a
    Gaussian of their distance. This closed form is what the published kernel, its centre weight set to the sum of all
    others, amounts to. It is linear, so smoothing each rater's mask and averaging, or averaging first, is the same. The border
    is repeated outwards; neighbours that nobody answered are left out. Homogeneous neighbourhoods stay 0 or 1.

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`; masks of two or three axes.
    sigma : float, default=1.0
        Standard deviation of the Gaussian, in voxels, positive. The neighbourhood stays 3 voxels wide.

    Returns
    -------
    ndarray of shape S, float64
        In [0, 1]; NaN where no rater answered.

    Raises
    ------
    ValueError
        If masks have not two or three axes, ``sigma`` is not positive, or as `soft`.

    References
    ----------
    .. [1] Islam and Glocker, "Spatially varying label smoothing: capturing uncertainty from expert annotations", IPMI 2021.

    Examples
    --------
    >>> mask = np.zeros((3, 4), int)
    >>> mask[:, 2:] = 1
    >>> svls([mask])[1].round(3)
    array([0.   , 0.172, 0.828, 1.   ])
    """
    check_positive("sigma", sigma)
    response = soft(raters, rater_axis=rater_axis, positive=positive)
    if response.ndim not in (2, 3):
        msg = f"SVLS is defined for masks of two or three axes; got the shape {response.shape}."
        raise ValueError(msg)
    return _filter_known(response, lambda field: _mix(field, sigma))


def _mix(field: FloatArray, sigma: float) -> FloatArray:
    """Half of the field and half of its neighbours' mean; the Gaussian is separable, of which the centre is taken off."""
    from scipy.ndimage import correlate1d

    side = np.exp(-0.5 / sigma**2)
    taps = np.array([side, 1.0, side])
    around = field
    for axis in range(field.ndim):
        around = correlate1d(around, taps, axis=axis, mode="nearest")
    weight = (1 + 2 * side) ** field.ndim - 1
    mixed: FloatArray = 0.5 * field + 0.5 * (around - field) / weight
    return mixed


def _filter_known(response: FloatArray, smooth: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """``smooth(response)``, a linear mean with non-negative weights, over the voxels that are not NaN; NaN stays NaN."""
    missing = np.isnan(response)
    if not missing.any():
        return np.clip(smooth(response), 0.0, 1.0)
    known = (~missing).astype(np.float64)
    total, weight = smooth(np.where(missing, 0.0, response)), smooth(known)
    mean = np.clip(total / np.where(weight > 0, weight, 1.0), 0.0, 1.0)
    return np.where(missing, np.nan, mean)
