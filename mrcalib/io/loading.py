"""Reading a case: every source admitted to one voxel grid, every refusal naming the case, the role and the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mrcalib.exceptions import GeometryError
from mrcalib.io.agreement import require_agreement
from mrcalib.io.geometry import TOLERANCE, Geometry, require_match, require_shape
from mrcalib.io.loaded import LoadedCase, LoadOptions
from mrcalib.io.masks import as_labels, as_votes
from mrcalib.io.pooling import pool
from mrcalib.io.readers import read_labels, read_probability
from mrcalib.io.volume import Source, Volume

if TYPE_CHECKING:
    from mrcalib.io.case import Case

__all__ = ["load_case"]


class _Frame:
    """The voxel grid of a case: the shape of its first image, the geometry of its first image with a header."""

    def __init__(self, case_id: str) -> None:
        self.case_id = case_id
        self.shape: tuple[int, ...] | None = None
        self.geometry: Geometry | None = None
        self._shape_of = self._geometry_of = ""

    def admit(self, volume: Volume, what: str) -> None:
        """Take the first image as the reference, and refuse any other that does not lie on its voxels."""
        name = f"{what} of case {self.case_id!r}"
        if self.shape is None:
            self.shape, self._shape_of = volume.shape, what
        require_shape(volume.shape, name, self.shape, self._shape_of)
        if volume.geometry is None:
            return
        if self.geometry is None:
            self.geometry, self._geometry_of = volume.geometry, what
        require_match(volume.geometry, name, self.geometry, self._geometry_of)


def load_case(case: "Case", options: LoadOptions) -> LoadedCase:
    """Read a case; see `Case.load`."""
    frame = _Frame(case.id)
    probs = _probabilities(case, options, frame)
    raters: list[npt.NDArray[np.uint8] | None] = []
    names = [_name(f"rater {rater!r}", source) for rater, source in case.masks.items()]
    for source, name in zip(case.masks.values(), names, strict=True):
        if source is None:
            raters.append(None)
            continue
        labels = _labels(source, name, frame)
        with _in_case(case):
            raters.append(as_votes(labels, options.positive, name))
    roi = None if case.roi is None else _labels(case.roi, _name("the ROI", case.roi), frame) != 0
    vessels = None if case.vessels is None else _labels(case.vessels, _name("the vessels", case.vessels), frame)
    spacing = _spacing(case, frame)
    if options.check_agreement:
        with _in_case(case):
            require_agreement(raters, names, spacing)
    return LoadedCase(
        id=case.id,
        group=case.group or case.id,
        probs=probs,
        raters=tuple(raters),
        rater_names=case.rater_names,
        roi=roi,
        geometry=frame.geometry,
        voxel_volume_ml=_voxel_volume_ml(frame.geometry, spacing),
        vessels=vessels,
        spacing=spacing,
    )


def _probabilities(case: "Case", options: LoadOptions, frame: _Frame) -> npt.NDArray[np.floating]:
    members = _members(case, options, frame)
    return next(members) if len(case.members) == 1 else pool(members, options.pooling)


def _members(case: "Case", options: LoadOptions, frame: _Frame) -> Iterator[npt.NDArray[np.floating]]:
    for number, source in enumerate(case.members, start=1):
        role = "the probabilities" if len(case.members) == 1 else f"probability member {number}"
        with _in_case(case, role):
            volume = (
                Volume(_as_probability(source), None)
                if isinstance(source, np.ndarray)
                else read_probability(source, options.foreground)
            )
        frame.admit(volume, _name(role, source))
        yield volume.data  # type: ignore[misc]


def _as_probability(array: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    if not np.issubdtype(array.dtype, np.floating):
        msg = f"probabilities are real numbers in [0, 1]; got an array of {array.dtype}. Are they a mask?"
        raise ValueError(msg)
    if array.dtype == np.float64:
        return array  # type: ignore[return-value]
    return array.astype(np.float32, copy=False)


def _labels(source: Source, name: str, frame: _Frame) -> npt.NDArray[np.integer]:
    with _in_case(frame.case_id, name):
        volume = Volume(as_labels(source, name), None) if isinstance(source, np.ndarray) else read_labels(source)
    frame.admit(volume, name)
    return volume.data  # type: ignore[return-value]


def _name(role: str, source: Source | None) -> str:
    where = "array" if isinstance(source, np.ndarray) else source
    return f"{role} ({where})"


@contextmanager
def _in_case(case: "Case | str", what: str = "") -> Iterator[None]:
    """Put the name of the case, and of the source, before what a reader says."""
    name = case if isinstance(case, str) else case.id
    prefix = f"Case {name!r}, {what}: " if what else f"Case {name!r}: "
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        msg = f"{prefix}{error}"
        raise type(error)(msg) from error


def _spacing(case: "Case", frame: _Frame) -> tuple[float, ...] | None:
    """Voxel edges from the header, else from the case; the two must not contradict each other."""
    stated = case.spacing
    if stated is not None and frame.shape is not None and len(stated) != len(frame.shape):
        msg = f"spacing of case {case.id!r} must have {len(frame.shape)} numbers, one for each axis; got {stated}."
        raise ValueError(msg)
    if frame.geometry is None:
        return stated
    header = frame.geometry.spacing
    if stated is not None and any(abs(a - b) > TOLERANCE * b for a, b in zip(stated, header, strict=True)):
        msg = (
            f"spacing of case {case.id!r} is given as {stated} mm, but its files say {header} mm. "
            "Correct the headers, or leave spacing out: it is for sources without a header."
        )
        raise GeometryError(msg)
    return header


def _voxel_volume_ml(geometry: Geometry | None, spacing: tuple[float, ...] | None) -> float | None:
    if geometry is not None:
        return geometry.voxel_volume_ml
    if spacing is None or len(spacing) != 3:
        return None
    return float(np.prod(spacing)) / 1000.0
