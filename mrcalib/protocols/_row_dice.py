"""The Dice of the CURVAS 2024 program, which hands slices to a function that expects a batch with a channel axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["row_dice"]


def row_dice(predicted: NDArray[np.bool_], given: NDArray[np.bool_]) -> float:
    """Mean over slices of the mean Dice of their rows; slices are the last axis, rows the first.

    Slices are taken for images and rows for classes: the first row is left out as background, a row without reference
    does not count, nor does a slice without such a row. NaN where no row counts.
    """
    overlap = (predicted & given)[1:].sum(axis=1, dtype=np.float64)
    reference = given[1:].sum(axis=1, dtype=np.float64)
    total = predicted[1:].sum(axis=1, dtype=np.float64) + reference
    counts = reference > 0
    dice = np.divide(2 * overlap, total, out=np.zeros_like(total), where=counts)
    rows = counts.sum(axis=0)
    slices = dice[:, rows > 0].sum(axis=0) / rows[rows > 0]
    return float(slices.mean()) if slices.size else float("nan")
