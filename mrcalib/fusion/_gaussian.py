"""Soft consensus, smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._neighbours import filter_known
from mrcalib.fusion._patterns import Raters
from mrcalib.fusion._soft import soft
from mrcalib.inputs import check_choice

__all__ = ["soft_gaussian"]


def soft_gaussian(
    raters: Raters,
    sigma: float | Sequence[float],
    *,
    unit: Literal["mm", "voxels"],
    spacing: Sequence[float] | None = None,
    truncate: float = 4.0,
    rater_axis: int = 0,
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
    if not 0 < truncate < np.inf:
        msg = f"truncate must be a positive number; got {truncate!r}."
        raise ValueError(msg)
    if unit == "mm":
        widths = widths / _edges(spacing, response.ndim)
    from scipy.ndimage import gaussian_filter

    return filter_known(response, lambda field: gaussian_filter(field, widths, mode="nearest", truncate=truncate))


def _edges(spacing: Sequence[float] | None, n_axes: int) -> NDArray[np.float64]:
    edges = np.array([] if spacing is None else spacing, dtype=np.float64)
    if edges.shape != (n_axes,) or not (np.isfinite(edges).all() and (edges > 0).all()):
        msg = f"unit='mm' needs spacing, {n_axes} positive voxel edges in mm; got {spacing!r}."
        raise ValueError(msg)
    return edges


def _widths(sigma: float | Sequence[float], n_axes: int) -> NDArray[np.float64]:
    widths = np.array(sigma, dtype=np.float64)
    if widths.shape not in ((), (n_axes,)) or not (np.isfinite(widths).all() and (widths >= 0).all()):
        msg = f"sigma must be one number of at least 0, or one for each of {n_axes} axes; got {sigma!r}."
        raise ValueError(msg)
    return np.broadcast_to(widths, n_axes).copy()
