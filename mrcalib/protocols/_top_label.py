"""The estimator of top-label calibration error that the CURVAS programs call: torchmetrics', in float32, 50 bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["official_top_label_ece"]

_N_BINS = 50
_FLOOR = np.float32(1e-8)


def official_top_label_ece(probs: NDArray[Any], mask: NDArray[Any]) -> float:
    """Top-label ECE of one annotation; NaN without voxels.

    Both classes' probabilities are raised to at least 1e-8 and divided by their sum, in float32, so that confidences
    beyond 1 - 3e-8 become 1 exactly, which has a 51st bin of its own. Bins are closed on the left; equal classes are
    background. Sums are float32, one voxel after another, so they round, and stop growing at 2**24 voxels of a bin.
    """
    if probs.size == 0:
        return float("nan")
    p = probs.astype(np.float32).ravel()
    background, foreground = np.maximum(1 - p, _FLOOR), np.maximum(p, _FLOOR)
    confidence = np.maximum(background, foreground) / (background + foreground)
    correct = (foreground > background) == mask.astype(bool).ravel()
    index = np.searchsorted(_edges(), confidence, side="right") - 1
    count, confident, right = (_float32_sums(index, values) for values in (np.ones_like(p), confidence, correct))
    occupied = count > 0
    gap = np.abs(right[occupied] / count[occupied] - confident[occupied] / count[occupied])
    return float(gap @ (count[occupied] / count.sum()))


def _float32_sums(index: NDArray[np.intp], values: NDArray[Any]) -> NDArray[np.float32]:
    sums = np.zeros(_N_BINS + 1, dtype=np.float32)
    np.add.at(sums, index, values.astype(np.float32))
    return sums


def _edges() -> NDArray[np.float32]:
    """Edges from 0 to 1 as torch.linspace rounds them: from the nearer end, in float32."""
    step = np.float32(1 / _N_BINS)
    k = np.arange(_N_BINS + 1, dtype=np.float32)
    return np.where(k <= _N_BINS // 2, k * step, 1 - (_N_BINS - k) * step).astype(np.float32)
