"""Input checks of protocols with several classes: probabilities with classes first, and raters' label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import as_array, check_probs, refuse_probs, split_missing, split_raters

__all__ = ["check_class_probs", "check_labels", "label_map"]

_NEARLY = 0.01  # NIfTI scaling turns labels into near-integers


def check_class_probs(probs: ArrayLike, n_classes: int) -> NDArray[Any]:
    """Probabilities of background and classes, or of the classes alone: shape (C, *S), each in [0, 1].

    Raises
    ------
    ValueError
        If there are other than ``n_classes`` or ``n_classes + 1`` of them, no voxel, or values outside [0, 1].
    """
    array = check_probs(probs)
    if array.ndim not in (3, 4) or array.shape[0] not in (n_classes, n_classes + 1):
        msg = (
            f"probs must have the classes first: ({n_classes}, *S), or ({n_classes + 1}, *S) with the background before "
            f"them, for images S of two or three axes; got {array.shape}."
        )
        raise ValueError(msg)
    if array[0].size == 0:
        msg = f"There is no voxel to score: probs have the shape {array.shape}."
        raise ValueError(msg)
    for channel in array:
        n_bad = int(np.count_nonzero(~((channel >= 0) & (channel <= 1))))
        if n_bad:
            refuse_probs(channel.ravel(), n_bad, None)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def check_labels(raters: Any, shape: tuple[int, ...], labels: Sequence[int]) -> list[NDArray[np.uint8] | None]:
    """Each rater's label map, None where missing.

    Raises
    ------
    ValueError
        If a map has another shape or other labels, or all raters are missing.
    """
    maps = split_raters(raters, shape, arguments=())
    return [None if one is None else label_map(one, shape, labels, f"Rater {r}") for r, one in enumerate(maps)]


def label_map(values: ArrayLike, shape: tuple[int, ...], labels: Sequence[int], name: str) -> NDArray[np.uint8]:
    """A map of 0 and ``labels``; values within 0.01 of a whole number are rounded.

    Raises
    ------
    ValueError
        If its shape is another, or it holds anything else.
    """
    array, known = split_missing(as_array(values))
    if known is not None:
        msg = f"{name} must have a label at every voxel; {np.count_nonzero(~known)} are NaN or masked."
        raise ValueError(msg)
    if array.shape != shape:
        msg = f"{name} must be a label map of the shape {shape}, that of a class of probs; got {array.shape}."
        raise ValueError(msg)
    if array.dtype.kind not in "biuf":
        msg = f"{name} must be a map of whole-number labels; got {array.dtype}."
        raise ValueError(msg)
    rounded = np.rint(array) if array.dtype.kind == "f" else array
    known = np.isin(rounded, (0, *labels))
    if array.dtype.kind == "f":
        known &= np.abs(array - rounded) <= _NEARLY
    if not known.all():
        msg = f"{name} must hold 0 and the labels {', '.join(map(str, labels))} only; got {array[~known][0]:.6g}."
        raise ValueError(msg)
    return rounded.astype(np.uint8)
