"""Vessels cut out of a volume with the masks around them packed into bits, so that slices are walked once for all masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import as_array

__all__ = ["BITS", "VesselCrop", "check_vessel_labels", "check_vessels", "crop_vessels"]

BITS = 32
"""Masks that one packed volume holds."""


@dataclass(frozen=True, slots=True, eq=False)
class VesselCrop:
    """The box around some vessels: ``code`` is 1, 2, ... at the vessels of ``names`` and 0 elsewhere."""

    names: tuple[tuple[str, ...], ...]
    code: NDArray[np.int16]
    box: tuple[slice, ...]

    def pack(self, masks: Sequence[Callable[[tuple[slice, ...]], NDArray[np.bool_]]]) -> NDArray[np.uint32]:
        """Bit m of each voxel of the box: whether the m-th mask, a function of the box, holds it."""
        bits = np.zeros(self.code.shape, dtype=np.uint32)
        for m, mask in enumerate(masks):
            bits |= mask(self.box).astype(np.uint32) << np.uint32(m)
        return bits


def check_vessels(vessels: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """``vessels`` as an array of whole numbers of the shape of the probabilities."""
    labels = np.ma.getdata(as_array(vessels))
    if labels.dtype.kind not in "biuf":
        msg = f"vessels must be a map of whole-number labels, 0 for no vessel; got {labels.dtype}."
        raise TypeError(msg)
    if labels.shape != shape:
        msg = f"vessels must have the shape of the masks, {shape}; got {labels.shape}. Give one map of labels."
        raise ValueError(msg)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
            msg = "vessels must hold whole numbers, 0 for no vessel; got fractions or NaN. Was the map resampled?"
            raise ValueError(msg)
        labels = labels.astype(np.int64)
    return labels.view(np.uint8) if labels.dtype == np.bool_ else labels


def check_vessel_labels(vessel_labels: Mapping[str, Any]) -> dict[str, int]:
    """Labels by name; ValueError unless they are whole numbers other than 0, which is no vessel."""
    wanted = {}
    for name, label in vessel_labels.items():
        if isinstance(label, bool) or not isinstance(label, int | np.integer) or label == 0:
            msg = f"vessel_labels must give each vessel a whole number other than 0; got {label!r} for {name!r}."
            raise ValueError(msg)
        wanted[str(name)] = int(label)
    if not wanted:
        msg = "vessel_labels must name at least one vessel; leave it out for the default."
        raise ValueError(msg)
    return wanted


def crop_vessels(labels: NDArray[Any], wanted: Mapping[str, int], margin: Sequence[int]) -> VesselCrop | None:
    """Cut the wanted vessels out, with ``margin`` voxels around them; None where there is none."""
    by_label: dict[int, list[str]] = {}
    for name, label in wanted.items():
        by_label.setdefault(int(label), []).append(name)
    is_wanted = np.isin(labels, list(by_label))
    if not is_wanted.any():
        return None
    box = []
    for axis, size in enumerate(labels.shape):
        others = tuple(a for a in range(labels.ndim) if a != axis)
        found = np.flatnonzero(is_wanted.any(axis=others))
        box.append(slice(max(int(found[0]) - margin[axis], 0), min(int(found[-1]) + margin[axis] + 1, size)))
    inside = labels[tuple(box)]
    code = np.zeros(inside.shape, dtype=np.int16)
    for k, label in enumerate(by_label, start=1):
        code[inside == label] = k
    return VesselCrop(tuple(tuple(names) for names in by_label.values()), code, tuple(box))
