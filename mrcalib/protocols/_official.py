"""What the CURVAS programs compute in ways of their own: calibration error, CRPS, Dice of rows, box around annotations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import edges_of_uniform_bins

__all__ = [
    "Box",
    "annotation_box",
    "corrected_confidence_error",
    "official_confidence_error",
    "official_top_label_ece",
    "row_dice",
    "truncated_crps",
    "wraps",
]

_N_BINS = 50
_FLOOR = np.float32(1e-8)
_N_POINTS = 100  # of the tabulated distribution function
_MARGIN = 20  # voxels around the annotations

Box = tuple[tuple[int, int], ...]


def official_top_label_ece(probs: NDArray[Any], mask: NDArray[Any]) -> float:
    """Top-label ECE of one annotation, as torchmetrics' estimator gives it in float32; NaN without voxels.

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


def corrected_confidence_error(confidence: NDArray[Any], correct: NDArray[np.bool_]) -> float:
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


def truncated_crps(value: float, mean: float, std: float) -> float:
    """CRPS over mean ± 3 std only; it saturates at 2.44 std, and is 0 where std is 0, whatever the value.

    The distribution function is tabulated at 100 points between its 1 % and 99 % quantiles and is 0 or 1 beyond; the
    integral is adaptive quadrature across the jumps, as in the program: off by 0.1 % on average, and by up to 1.2 %.
    """
    from scipy.integrate import quad
    from scipy.special import ndtr, ndtri

    if std == 0:
        return 0.0
    points = np.linspace(mean + std * ndtri(0.01), mean + std * ndtri(0.99), _N_POINTS)
    table = ndtr((points - mean) / std)

    def integrand(x: float) -> float:
        predicted = np.heaviside(x - value, 0.5)
        return float((np.interp(x, points, table, left=0.0, right=1.0) - predicted) ** 2)

    # full_output keeps quad from warning of the jumps.
    return float(quad(integrand, mean - 3 * std, mean + 3 * std, full_output=1)[0])


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


def annotation_box(annotated: NDArray[Any], *, clamp: bool) -> Box | None:
    """First index and end of each axis: 20 voxels below what is annotated, to 19 beyond; None where nothing is.

    Without ``clamp`` a box may start at a negative index, which slicing counts from the far end of the axis.
    """
    if not annotated.any():
        return None
    box = []
    for axis, size in enumerate(annotated.shape):
        others = tuple(a for a in range(annotated.ndim) if a != axis)
        found = np.flatnonzero(annotated.any(axis=others))
        start, stop = int(found[0]) - _MARGIN, int(found[-1]) + _MARGIN
        box.append((max(start, 0), min(stop, size)) if clamp else (start, stop))
    return tuple(box)


def wraps(box: Box | None) -> bool:
    """Whether the box starts before the volume on an axis, so that slicing by it takes other voxels than meant."""
    return box is not None and any(start < 0 for start, _ in box)
