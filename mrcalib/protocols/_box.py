"""The box around all annotations in which CURVAS-PDACVI measures calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "annotation_box", "wraps"]

Box = tuple[tuple[int, int], ...]

_MARGIN = 20  # voxels


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
