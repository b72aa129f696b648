"""Means over neighbours that leave out the voxels which nobody answered."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["filter_known"]

FloatArray = NDArray[np.float64]


def filter_known(response: FloatArray, smooth: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """``smooth(response)``, a linear mean with non-negative weights, over the voxels that are not NaN; NaN stays NaN."""
    missing = np.isnan(response)
    if not missing.any():
        return np.clip(smooth(response), 0.0, 1.0)
    known = (~missing).astype(np.float64)
    total, weight = smooth(np.where(missing, 0.0, response)), smooth(known)
    mean = np.clip(total / np.where(weight > 0, weight, 1.0), 0.0, 1.0)
    return np.where(missing, np.nan, mean)
