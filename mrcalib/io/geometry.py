"""Where the voxels of an image lie in the world, and whether two images share them.

Affines map voxel indices ``(x, y, z)`` to RAS+ millimetres, as nibabel does. Nothing here reads a file or resamples.
"""

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mrcalib.exceptions import GeometryError

__all__ = ["CommonGrid", "Geometry", "require_match", "voxel_volume_ml"]

TOLERANCE = 0.01
"""Largest displacement of a corner that still counts as the same place, as a fraction of the smallest voxel edge."""

_AXES = "xyz"


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The voxel grid of an image.

    Parameters
    ----------
    shape : tuple of int
        Two or three spatial sizes, in voxels.
    affine : ndarray of shape (4, 4)
        Voxel indices to world millimetres, RAS+. Stored as a read-only float64 copy.

    Raises
    ------
    ValueError
        If `shape` has not two or three positive sizes, or `affine` is not an invertible finite 4 x 4 matrix.

    Examples
    --------
    >>> stored = Geometry((64, 64, 10), np.diag([0.5, 0.5, 2.0, 1.0]))
    >>> stored.spacing, stored.voxel_volume_ml
    ((0.5, 0.5, 2.0), 0.0005)
    """

    shape: tuple[int, ...]
    affine: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        if len(shape) not in (2, 3) or min(shape) < 1:
            msg = f"An image has two or three positive sizes; got shape {shape}."
            raise ValueError(msg)
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
            msg = f"An affine is an invertible 4 x 4 matrix of finite numbers; got {affine.tolist()}."
            raise ValueError(msg)
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel edges in mm, one for each axis of `shape`."""
        edges = np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0)
        return tuple(float(edge) for edge in edges)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of a voxel in mL; a 2-D image takes its slice thickness from the affine's third column."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def displacement_mm(self, other: "Geometry") -> float:
        """Largest distance in mm between equal corner voxels' centres under the two affines.

        Parameters
        ----------
        other : Geometry
            A geometry of the same shape.

        Returns
        -------
        float
            0 where the grids coincide; symmetric in its arguments.

        Raises
        ------
        GeometryError
            If the shapes differ.

        Examples
        --------
        >>> here = Geometry((64, 64, 10), np.eye(4))
        >>> here.displacement_mm(Geometry((64, 64, 10), np.diag([1.0, 1.0, 1.5, 1.0])))
        4.5
        """
        if self.shape != other.shape:
            msg = f"Displacements need images of one shape; got {self.shape} and {other.shape}."
            raise GeometryError(msg)
        corners = np.array(list(product(*((0, size - 1) for size in self.shape))), dtype=np.float64)
        difference = other.affine - self.affine
        moved = corners @ difference[:3, : len(self.shape)].T + difference[:3, 3]
        return float(np.linalg.norm(moved, axis=1).max())

    def describe_difference(self, other: "Geometry") -> str:
        """Say in words how `other` differs: order and direction of the axes, spacing, place.

        Examples
        --------
        >>> here = Geometry((64, 64, 10), np.eye(4))
        >>> moved = np.eye(4)
        >>> moved[0, 3] = 4.0
        >>> here.describe_difference(Geometry((64, 64, 10), moved))
        'shifted by 4.0 mm along x'
        """
        if self.shape != other.shape:
            return f"shape {_times(self.shape)} against {_times(other.shape)}"
        words = [*_axes_in_words(self, other)]
        spacings = list(zip(self.spacing, other.spacing, strict=True))
        resized = [pair for pair in spacings if abs(pair[0] - pair[1]) > 1e-3 * min(pair)]
        words += [f"spacing {a:.3g} against {b:.3g} mm" for a, b in dict.fromkeys(resized)]
        if not resized:
            words += _shift_in_words(_centre(other) - _centre(self), TOLERANCE * min(self.spacing))
        return ", ".join(words) or f"less than {TOLERANCE:.0%} of a voxel apart"


class _Placed(Protocol):
    """What has a shape and may have a geometry."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def geometry(self) -> Geometry | None: ...


class CommonGrid:
    """The voxel grid of a case: the shape of its first image, and the geometry of its first image with a header.

    Parameters
    ----------
    case_id : str
        Named in errors.
    """

    def __init__(self, case_id: str) -> None:
        self._case_id = case_id
        self.shape: tuple[int, ...] | None = None
        self.geometry: Geometry | None = None
        self._shape_of = self._geometry_of = ""

    def add(self, image: _Placed, what: str, *, by_index: bool = False) -> None:
        """Take the first image as the reference, and check that any other lies on its voxels.

        Parameters
        ----------
        image : Image
            What is checked.
        what : str
            What it is, for errors.
        by_index : bool
            Whether its header is known to be wrong: its voxels are taken as they lie, with a warning where it differs.

        Raises
        ------
        GeometryError
            If it has another shape, or lies elsewhere.
        """
        name = f"{what} of case {self._case_id!r}"
        if self.shape is None:
            self.shape, self._shape_of = image.shape, what
        require_shape(image.shape, name, self.shape, self._shape_of)
        if image.geometry is None or (by_index and self.geometry is None):
            return
        if self.geometry is None:
            self.geometry, self._geometry_of = image.geometry, what
        try:
            require_match(image.geometry, name, self.geometry, self._geometry_of)
        except GeometryError:
            if not by_index:
                raise
            difference = self.geometry.describe_difference(image.geometry)
            msg = f"The header of {name} is known to be wrong and is ignored ({difference}); its voxels are taken by index."
            warnings.warn(msg, UserWarning, stacklevel=2)


def voxel_volume_ml(geometry: Geometry | None, spacing: tuple[float, ...] | None) -> float | None:
    """The volume of a voxel in mL, from a header or from three voxel edges in mm; None if neither is known."""
    if geometry is not None:
        return geometry.voxel_volume_ml
    if spacing is None or len(spacing) != 3:
        return None
    return float(np.prod(spacing)) / 1000.0


def require_match(geometry: Geometry, name: str, reference: Geometry, reference_name: str) -> None:
    """Refuse `geometry` unless its corners lie within 1 % of a voxel edge of the corners of `reference`.

    Parameters
    ----------
    geometry, reference : Geometry
        The grid to check, and the one that it must equal.
    name, reference_name : str
        What they are, for the error.

    Raises
    ------
    GeometryError
        If the shapes differ or a corner lies elsewhere; says how they differ.
    """
    require_shape(geometry.shape, name, reference.shape, reference_name)
    displacement = reference.displacement_mm(geometry)
    if displacement > TOLERANCE * min(reference.spacing):
        msg = (
            f"{name} differs from {reference_name} by up to {displacement:.3g} mm "
            f"({reference.describe_difference(geometry)}). Nothing is resampled silently: "
            "correct the header if the voxels do match, else resample the file to the probabilities' grid."
        )
        raise GeometryError(msg)


def require_shape(shape: tuple[int, ...], name: str, reference: tuple[int, ...], reference_name: str) -> None:
    """Refuse an image whose shape is not that of the reference.

    Raises
    ------
    GeometryError
        If the shapes differ; says so where one is the other backwards.
    """
    if shape != reference:
        hint = " The axes seem reversed: transpose the array to (x, y, z)." if shape == reference[::-1] else ""
        msg = (
            f"{name} has shape {_times(shape)}, but {reference_name} has shape {_times(reference)}. "
            f"All images of a case must share one voxel grid; nothing is resampled silently.{hint}"
        )
        raise GeometryError(msg)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _centre(geometry: Geometry) -> npt.NDArray[np.float64]:
    index = np.zeros(3)
    index[: len(geometry.shape)] = (np.array(geometry.shape) - 1) / 2
    centre: npt.NDArray[np.float64] = geometry.affine[:3, :3] @ index + geometry.affine[:3, 3]
    return centre


def _axes_in_words(self: Geometry, other: Geometry) -> list[str]:
    n = len(self.shape)
    cosines = [g.affine[:3, :n] / np.array(g.spacing) for g in (self, other)]
    between = cosines[0].T @ cosines[1]
    order = [int(axis) for axis in np.abs(between).argmax(axis=0)]
    facing = between[order, range(n)]
    words = []
    if sorted(order) == list(range(n)) and order != list(range(n)):
        words.append("axes in the order " + ", ".join(_AXES[axis] for axis in order))
    words += [f"axis {_AXES[axis]} flipped" for axis, cosine in enumerate(facing) if cosine < 0]
    tilt = float(np.degrees(np.arccos(min(1.0, np.abs(facing).min()))))
    if tilt > 0.01:
        words.append(f"tilted by {tilt:.3g} degrees")
    return words


def _shift_in_words(shift: npt.NDArray[np.float64], tolerance: float) -> list[str]:
    parts = [f"{abs(mm):.1f} mm along {axis}" for mm, axis in zip(shift, _AXES, strict=True) if abs(mm) > tolerance]
    return ["shifted by " + " and ".join(parts)] if parts else []
