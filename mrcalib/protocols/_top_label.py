"""The estimator of top-label calibration error that the CURVAS programs call: torchmetrics', in float32, 50 bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import edges_of_uniform_bins

__all__ = ["official_confidence_error", "official_top_label_ece", "sound_confidence_error"]

_N_BINS = 50
_FLOOR = np.float32(1e-8)


def official_top_label_ece(probs: NDArray[Any], mask: NDArray[Any]) -> float:
    """Top-label ECE of one annotation; NaN without voxels.

    Both classes' probabilities are raised to at least 1e-8 and divided by their sum, in float32, so that confidences
    beyond 1 - 3e-8 become 1 exactly, which has a 51st bin of its own. Bins are closed on the left; equal classes are
    background. Sums are float32, one voxel after another, so they round, and stop growing at 2**24 voxels of a bin.
    """
    p = probs.astype(np.float32).ravel()
    background, foreground = np.maximum(1 - p, _FLOOR), np.maximum(p, _FLOOR)
    confidence = np.maximum(background, foreground) / (background + foreground)
    return official_confidence_error(confidence, (foreground > background) == mask.astype(bool).ravel())


def official_confidence_error(confidence: NDArray[Any], correct: NDArray[np.bool_]) -> float:
    """Calibration error of flat confidences, in the bins and with the sums of the program; NaN without voxels."""
    if confidence.size == 0:
        return float("nan")
    index = np.searchsorted(_edges(), confidence, side="right") - 1
    count, confident, right = (
        _float32_sums(index, values) for values in (np.ones_like(confidence), confidence, correct)
    )
    occupied = count > 0
    gap = np.abs(right[occupied] / count[occupied] - confident[occupied] / count[occupied])
    return float(gap @ (count[occupied] / count.sum()))


def sound_confidence_error(confidence: NDArray[Any], correct: NDArray[np.bool_]) -> float:
    """The same in float64, with confidences of 1 in the last of the 50 bins; NaN without voxels."""
    if confidence.size == 0:
        return float("nan")
    edges = np.array(edges_of_uniform_bins(_N_BINS), dtype=np.float32)
    index = np.searchsorted(edges, confidence.astype(np.float32), side="right")
    confident, right = (np.bincount(index, values, _N_BINS) for values in (confidence, correct))
    return float(np.abs(confident - right).sum() / confidence.size)


def _float32_sums(index: NDArray[np.intp], values: NDArray[Any]) -> NDArray[np.float32]:
    sums = np.zeros(_N_BINS + 1, dtype=np.float32)
    np.add.at(sums, index, values.astype(np.float32))
    return sums


def _edges() -> NDArray[np.float32]:
    """Edges from 0 to 1 as torch.linspace rounds them: from the nearer end, in float32."""
    step = np.float32(1 / _N_BINS)
    k = np.arange(_N_BINS + 1, dtype=np.float32)
    return np.where(k <= _N_BINS // 2, k * step, 1 - (_N_BINS - k) * step).astype(np.float32)
