"""Spatially varying label smoothing: a voxel's response mixed with that of its direct neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._neighbours import filter_known
from mrcalib.fusion._patterns import Raters
from mrcalib.fusion._soft import soft

__all__ = ["svls"]

FloatArray = NDArray[np.float64]


def svls(
    raters: Raters,
    sigma: float = 1.0,
    *,
    rater_axis: int = 0,
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
    if not 0 < sigma < np.inf:
        msg = f"sigma must be a positive number of voxels; got {sigma!r}."
        raise ValueError(msg)
    response = soft(raters, rater_axis=rater_axis, positive=positive)
    if response.ndim not in (2, 3):
        msg = f"SVLS is defined for masks of two or three axes; got the shape {response.shape}."
        raise ValueError(msg)
    return filter_known(response, lambda field: _mix(field, sigma))


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
