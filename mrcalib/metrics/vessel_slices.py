"""Vessels in slices: the planes that cut them, the masks around them packed into bits, and degrees of contact in each plane.

Masks are bits of one volume, so that slices are walked once for all raters and thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.contact import largest_contact
from mrcalib.exceptions import GeometryError
from mrcalib.inputs import as_array, check_spacing

__all__ = [
    "BITS",
    "ContactRule",
    "MaskOf",
    "SlicePlane",
    "VesselCrop",
    "check_vessel_labels",
    "check_vessels",
    "crop_vessels",
    "degrees_of_contact",
    "planes_of",
]

MaskOf = Callable[[tuple[slice, ...]], NDArray[np.bool_]]
"""A mask within a box of the volume."""

_ANATOMY = ("sagittal", "coronal", "axial")  # planes whose normals point along x, y and z of RAS+

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


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """Slices stacked along ``axis``; ``edges`` are a pixel's height and width in mm, along the other axes in order."""

    name: str
    axis: int
    edges: tuple[float, float]

    def stack(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array with its slices first."""
        volume = array if array.ndim == 3 else array[..., None]
        return np.ascontiguousarray(np.moveaxis(volume, self.axis, 0))


@dataclass(frozen=True, slots=True)
class ContactRule:
    """What counts as contact, and which cross-sections of a vessel count; ValueError for lengths that are none."""

    contact_mm: float
    min_area_mm2: float
    max_elongation: float

    def __post_init__(self) -> None:
        for name in ("contact_mm", "min_area_mm2"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                msg = f"{name} must be a finite number, not negative; got {value!r}."
                raise ValueError(msg)
        if not self.max_elongation >= 1:
            msg = (
                "max_elongation is a cross-section's length over its width, at least 1 (inf for any); got "
                f"{self.max_elongation!r}."
            )
            raise ValueError(msg)


def planes_of(shape: tuple[int, ...], spacing: Sequence[float] | None, affine: ArrayLike | None) -> list[SlicePlane]:
    """The planes in which a volume is sliced, with the edges of their pixels; ValueError for lengths that are none."""
    n = len(shape)
    if n not in (2, 3):
        msg = f"Contact needs volumes (X, Y, Z) or images (X, Y); got an array of shape {shape}."
        raise ValueError(msg)
    if math.prod(shape) == 0:
        msg = f"There is no voxel to look at: the shape is {shape}."
        raise ValueError(msg)
    axes = None if affine is None else _axes_of(affine)
    lengths = (1.0,) * n if axes is None else tuple(np.linalg.norm(axes[:, :n], axis=0).tolist())
    if spacing is not None:
        edges = check_spacing(spacing, n)
        if axes is not None and not np.allclose(edges, lengths, rtol=1e-3):
            msg = f"spacing {edges} contradicts the affine, whose edges are {lengths}. Pass one of them."
            raise ValueError(msg)
        lengths = edges if axes is None else lengths
    if n == 2:
        return [SlicePlane("slice", 2, (lengths[0], lengths[1]))]
    names = [f"axis {k}" for k in range(3)] if axes is None else _anatomical_names(axes / lengths)
    others = [(1, 2), (0, 2), (0, 1)]
    return [SlicePlane(names[k], k, (lengths[a], lengths[b])) for k, (a, b) in enumerate(others)]


def _axes_of(affine: ArrayLike) -> NDArray[np.float64]:
    """The affine's columns: where a step along each array axis leads, in mm."""
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) == 0:
        msg = f"affine must be an invertible 4 x 4 matrix of finite numbers; got {matrix.tolist()}."
        raise ValueError(msg)
    axes: NDArray[np.float64] = matrix[:3, :3]
    unit = axes / np.linalg.norm(axes, axis=0)
    if np.abs(unit.T @ unit - np.eye(3)).max() > 0.01:
        msg = "Distances in a slice need axes at right angles; the affine is sheared. Resample the images first."
        raise GeometryError(msg)
    return axes


def _anatomical_names(unit: NDArray[np.float64]) -> list[str]:
    """Name each array axis after the anatomical plane whose normal it is nearest to, each name once."""
    closeness = np.abs(unit)
    order = max(permutations(range(3)), key=lambda world: sum(closeness[w, k] for k, w in enumerate(world)))
    return [_ANATOMY[w] for w in order]


def degrees_of_contact(
    sources: Sequence[MaskOf],
    labels: NDArray[Any],
    wanted: Mapping[str, int],
    planes: Sequence[SlicePlane],
    rule: ContactRule,
) -> NDArray[np.float64]:
    """Degrees of contact, of shape (planes, vessels, masks); NaN where no cross-section of the vessel counts."""
    degrees = np.full((len(planes), len(wanted), len(sources)), np.nan)
    offsets = [_offsets(plane.edges, rule.contact_mm) for plane in planes]
    margin = int(max((np.abs(found).max() for found, _ in offsets), default=1))
    crop = crop_vessels(labels, wanted, (margin,) * labels.ndim)
    if crop is None:
        return degrees
    rows = {name: c for c, names in enumerate(crop.names, start=1) for name in names}
    order = [rows[name] for name in wanted]
    for first in range(0, len(sources), BITS):
        some = slice(first, first + BITS)
        bits = crop.pack(sources[some])
        for k, plane in enumerate(planes):
            share = np.full((len(crop.names) + 1, len(sources[some])), -1.0)
            smallest = math.ceil(rule.min_area_mm2 / math.prod(plane.edges) * (1 - 1e-9))
            slices, code = (plane.stack(volume) for volume in (bits, crop.code))
            longest = rule.max_elongation * (1 + 1e-9)
            largest_contact(slices, code, np.array(plane.edges), smallest, longest, *offsets[k], share)
            degrees[k, :, some] = np.where(share < 0, np.nan, 360 * share)[order]
    return degrees


def _offsets(edges: tuple[float, float], contact_mm: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels within ``contact_mm`` of the faces of pixel (0, 0) down, up, right and left, one face after the other.

    Also where the pixels of each face begin, for the kernel.
    """
    limit = contact_mm * (1 + 1e-9)
    reach = [math.ceil(contact_mm / edge) + 1 for edge in edges]
    pixels = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 2)
    found = []
    for direction in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        away = np.maximum(np.abs(pixels - 0.5 * np.array(direction)) - 0.5, 0) * edges
        found.append(pixels[np.hypot(*away.T) <= limit])
    starts = np.cumsum([0, *map(len, found)])
    return np.concatenate(found).astype(np.int64), starts.astype(np.int64)
