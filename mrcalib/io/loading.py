"""Reading a case: every source admitted to one voxel grid, every refusal naming the case, the role and the file."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from mrcalib.exceptions import GeometryError
from mrcalib.io.agreement import Overlaps, all_agree, require_agreement
from mrcalib.io.channels import foreground_of, from_logits, single
from mrcalib.io.geometry import TOLERANCE, Geometry, require_match, require_shape
from mrcalib.io.loaded import LoadedCase, LoadOptions
from mrcalib.io.masks import as_labels, as_votes
from mrcalib.io.png import refuse_beside_header
from mrcalib.io.pooling import pool
from mrcalib.io.readers import read_labels, read_probability, read_volume
from mrcalib.io.region import region_of
from mrcalib.io.volume import Source, Volume
from mrcalib.roi import roi_recall

if TYPE_CHECKING:
    from mrcalib.io.annotations import Annotations, LoadedAnnotations
    from mrcalib.io.case import Case

__all__ = [
    "Frame",
    "coarse_of",
    "from_array",
    "in_case",
    "labels_of",
    "load_annotations",
    "load_case",
    "name_of",
    "require_weights",
    "role_of",
    "spacing_of",
    "voxel_volume_ml_of",
]


class _Placed(Protocol):
    """What has a shape and may have a geometry."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def geometry(self) -> Geometry | None: ...


class Frame:
    """The voxel grid of a case: the shape of its first image, the geometry of its first image with a header."""

    def __init__(self, case_id: str) -> None:
        self.case_id = case_id
        self.shape: tuple[int, ...] | None = None
        self.geometry: Geometry | None = None
        self._shape_of = self._geometry_of = ""

    def admit(self, volume: _Placed, what: str, *, by_index: bool = False) -> None:
        """Take the first image as the reference, and refuse any other that does not lie on its voxels.

        ``by_index`` takes an image whose header is known to be wrong as it lies, and warns where it is.
        """
        name = f"{what} of case {self.case_id!r}"
        if self.shape is None:
            self.shape, self._shape_of = volume.shape, what
        require_shape(volume.shape, name, self.shape, self._shape_of)
        if volume.geometry is None or (by_index and self.geometry is None):
            return
        if self.geometry is None:
            self.geometry, self._geometry_of = volume.geometry, what
        try:
            require_match(volume.geometry, name, self.geometry, self._geometry_of)
        except GeometryError:
            if not by_index:
                raise
            difference = self.geometry.describe_difference(volume.geometry)
            msg = f"The header of {name} is known to be wrong and is ignored ({difference}); its voxels are taken by index."
            warnings.warn(msg, UserWarning, stacklevel=2)


def load_case(case: "Case", options: LoadOptions) -> LoadedCase:
    """Read a case; see `Case.load`."""
    frame = Frame(case.id)
    probs = _probabilities(case, options, frame)
    raters, names = _votes(case, options.positive, frame)
    roi = None if case.roi is None else _labels(case.roi, name_of("the ROI", case.roi), frame) != 0
    coarse = None if case.coarse is None else coarse_of(case.coarse, frame)
    vessels = None if case.vessels is None else _labels(case.vessels, name_of("the vessels", case.vessels), frame)
    if frame.geometry is not None:
        refuse_beside_header((*case.members, *case.masks.values(), case.roi, case.coarse, case.vessels), case.id)
    spacing = spacing_of(case, frame)
    if options.check_agreement:
        _require_agreement(case, raters, names, spacing)
    region = region_of(case.id, roi, coarse, options, spacing)
    recall = None if region is None or all(mask is None for mask in raters) else roi_recall(region, raters)
    if region is not None and options.outside == "zero":
        probs = np.where(region, probs, probs.dtype.type(0))
    return LoadedCase(
        id=case.id,
        group=case.group or case.id,
        probs=probs,
        raters=tuple(raters),
        rater_names=case.rater_names,
        roi=region if options.outside == "ignore" else None,
        geometry=frame.geometry,
        voxel_volume_ml=voxel_volume_ml_of(frame.geometry, spacing),
        vessels=vessels,
        spacing=spacing,
        region=region,
        roi_recall=None if recall is None else recall.union,
        rater_recalls=None if recall is None else recall.per_rater,
    )


def load_annotations(
    case: "Annotations", positive: tuple[int, ...] | None, *, check_agreement: bool
) -> "LoadedAnnotations":
    """Read the masks of a case; see `Annotations.load`."""
    from mrcalib.io.annotations import LoadedAnnotations

    frame = Frame(case.id)
    raters, names = _votes(case, positive, frame)
    if frame.geometry is not None:
        refuse_beside_header(tuple(case.masks.values()), case.id)
    spacing = spacing_of(case, frame)
    if check_agreement:
        _require_agreement(case, raters, names, spacing)
    return LoadedAnnotations(case.id, tuple(raters), case.rater_names, frame.geometry, spacing)


def _require_agreement(
    case: "Case | Annotations",
    raters: list[npt.NDArray[np.uint8] | None],
    names: list[str],
    spacing: tuple[float, ...] | None,
) -> None:
    """As `require_agreement`, which is asked only where the overlaps leave something to ask."""
    overlaps = Overlaps(len(raters))
    overlaps.add(raters)
    if not all_agree(overlaps.shared):
        with in_case(case):
            require_agreement(raters, names, spacing)


def _votes(
    case: "Case | Annotations", positive: tuple[int, ...] | None, frame: Frame
) -> tuple[list[npt.NDArray[np.uint8] | None], list[str]]:
    """Each rater's votes, None where the rater is missing, and what each mask is, for errors."""
    raters: list[npt.NDArray[np.uint8] | None] = []
    names = [name_of(f"rater {rater!r}", source) for rater, source in case.masks.items()]
    for (rater, source), name in zip(case.masks.items(), names, strict=True):
        if source is None:
            raters.append(None)
            continue
        labels = _labels(source, name, frame, by_index=rater in case.index_aligned)
        with in_case(case):
            raters.append(as_votes(labels, positive, name))
    return raters, names


def _probabilities(case: "Case", options: LoadOptions, frame: Frame) -> npt.NDArray[np.floating]:
    require_weights(case, options)
    members = _members(case, options, frame)
    return next(members) if len(case.members) == 1 else pool(members, options.pooling, options.weights)


def require_weights(case: "Case", options: LoadOptions) -> None:
    """Refuse weights that are not one for each ensemble member.

    Raises
    ------
    ValueError
        If there are more or fewer.
    """
    if options.weights is not None and len(options.weights) != len(case.members):
        msg = (
            f"weights must hold one number for each ensemble member: case {case.id!r} has {len(case.members)} members, "
            f"weights={options.weights}."
        )
        raise ValueError(msg)


def role_of(case: "Case", member: int) -> str:
    """What errors call a source of probabilities; members are counted from 1."""
    return "the probabilities" if len(case.members) == 1 else f"probability member {member}"


def _members(case: "Case", options: LoadOptions, frame: Frame) -> Iterator[npt.NDArray[np.floating]]:
    for number, source in enumerate(case.members, start=1):
        role = role_of(case, number)
        with in_case(case, role):
            volume = (
                from_array(source, options)
                if isinstance(source, np.ndarray)
                else read_probability(source, options.foreground, merge=options.merge, values=options.values)
            )
        frame.admit(volume, name_of(role, source))
        yield volume.data  # type: ignore[misc]


def from_array(array: npt.NDArray[np.generic], options: LoadOptions) -> Volume:
    """Probabilities of an array in memory.

    Raises
    ------
    ValueError
        If it holds no real numbers, or no logits where they are asked for.
    """
    stored = _as_probability(array)
    if options.values == "probabilities":
        return Volume(stored, None)
    told = from_logits(Volume(stored, None), "the array", options.merge)
    return Volume(told.data.astype(stored.dtype, copy=False), None)


def coarse_of(source: Source, frame: Frame) -> npt.NDArray[np.generic]:
    """A coarse mask or probability map as it is stored; of two classes, the second."""
    name = name_of("the coarse segmentation", source)
    with in_case(frame.case_id, name):
        volume = Volume(source, None) if isinstance(source, np.ndarray) else read_volume(source)
        two_classes = volume.has_channels and volume.data.shape[-1] == 2
        volume = foreground_of(volume, None, name) if two_classes else single(volume, name)
    frame.admit(volume, name)
    return volume.data


def _as_probability(array: npt.NDArray[np.generic]) -> npt.NDArray[np.floating]:
    if not np.issubdtype(array.dtype, np.floating):
        msg = f"probabilities are real numbers in [0, 1]; got an array of {array.dtype}. Are they a mask?"
        raise ValueError(msg)
    if array.dtype == np.float64:
        return array  # type: ignore[return-value]
    return array.astype(np.float32, copy=False)


def _labels(source: Source, name: str, frame: Frame, *, by_index: bool = False) -> npt.NDArray[np.integer]:
    with in_case(frame.case_id, name):
        volume = labels_of(source, name)
    frame.admit(volume, name, by_index=by_index)
    return volume.data  # type: ignore[return-value]


def labels_of(source: Source, name: str) -> Volume:
    """Integer labels of a file or an array.

    Raises
    ------
    ValueError
        If a value is no label, or as `read_labels`.
    """
    return Volume(as_labels(source, name), None) if isinstance(source, np.ndarray) else read_labels(source)


def name_of(role: str, source: Source | None) -> str:
    """What errors call a source: its role and its file."""
    where = "array" if isinstance(source, np.ndarray) else source
    return f"{role} ({where})"


@contextmanager
def in_case(case: "Case | Annotations | str", what: str = "") -> Iterator[None]:
    """Put the name of the case, and of the source, before what a reader says."""
    name = case if isinstance(case, str) else case.id
    prefix = f"Case {name!r}, {what}: " if what else f"Case {name!r}: "
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        msg = f"{prefix}{error}"
        raise type(error)(msg) from error


def spacing_of(case: "Case | Annotations", frame: Frame) -> tuple[float, ...] | None:
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


def voxel_volume_ml_of(geometry: Geometry | None, spacing: tuple[float, ...] | None) -> float | None:
    if geometry is not None:
        return geometry.voxel_volume_ml
    if spacing is None or len(spacing) != 3:
        return None
    return float(np.prod(spacing)) / 1000.0
