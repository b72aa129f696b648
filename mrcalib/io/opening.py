"""The sources of a case, opened one by one, each on the voxel grid that all of them share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt

from mrcalib.exceptions import GeometryError
from mrcalib.io.classes import ImageClass, check_classes
from mrcalib.io.geometry import TOLERANCE, CommonGrid
from mrcalib.io.image import Image, in_memory
from mrcalib.io.masks import single_channel
from mrcalib.io.parts import LabelPart, MemberPart, VotePart, open_masks, open_source
from mrcalib.io.probabilities import foreground_of
from mrcalib.io.sources import Source, Sources, in_case, is_path, name_of
from mrcalib.options import LoadOptions

__all__ = ["SourceOpener"]


class SourceOpener:
    """Opens the sources of a case; errors name the case, the role and the file.

    Parameters
    ----------
    case : Case or Annotations
        Whose sources are opened.
    options : LoadOptions
        How they are read.
    classes : sequence of ImageClass or None
        The classes that are read in one pass; None for one foreground.
    digest : bool
        Whether SHA-256 of the files is taken on the way.
    files : ExitStack
        Closes the files.

    Attributes
    ----------
    n_classes : int
        Length of the class axis; 0 for a case without probabilities.
    rater_names : tuple of str
        All raters, missing ones included; known once `raters` has given the last one.
    """

    def __init__(
        self,
        case: Sources,
        options: LoadOptions,
        *,
        classes: Sequence[ImageClass] | None,
        digest: bool,
        files: ExitStack,
    ) -> None:
        if options.weights is not None and len(options.weights) != len(case.members):
            msg = (
                f"weights must hold one number for each ensemble member: case {case.id!r} has {len(case.members)} members, "
                f"weights={options.weights}."
            )
            raise ValueError(msg)
        self._case, self._options, self._digest, self._files = case, options, digest, files
        self._named = None if classes is None else check_classes(classes, options, case.id)
        self._foreground = (options.foreground,) if classes is None else tuple((one.position,) for one in classes)
        self._positive = (options.positive,) if classes is None else tuple((one.label,) for one in classes)
        self.n_classes = len(self._foreground) if case.members else 0
        self.n_labels = len(self._positive)
        self.rater_names: tuple[str, ...] = ()

    def members(self, grid: CommonGrid) -> Iterator[MemberPart]:
        """The members of the ensemble, or the one source of probabilities."""
        for number, source in enumerate(self._case.members, start=1):
            role = "the probabilities" if len(self._case.members) == 1 else f"probability member {number}"
            context = partial(in_case, self._case.id, role)
            image, path = self._open(source, context, digest=self._digest)
            part = MemberPart(
                image,
                "the array" if path is None else str(path),
                self._options,
                self._foreground,
                classes=self._named is not None,
                context=context,
                path=path,
            )
            grid.add(part, name_of(role, source))
            yield part

    def raters(self, grid: CommonGrid, *, digest: bool | None = None) -> Iterator[VotePart | None]:
        """The raters' masks, None for a missing rater; with ``rater_axis`` those that one source holds."""
        axis = self._options.rater_axis
        masks = self._case.masks if axis is None else self._stack(axis)
        names: list[str] = []
        for rater, source in masks.items():
            if source is None:
                names.append(rater)
                yield None
                continue
            role = name_of(f"rater {rater!r}" if axis is None else "the raters", source)
            context = partial(in_case, self._case.id, role)
            image, path = self._open(source, context, digest=self._digest if digest is None else digest)
            with context():
                found = open_masks(image, axis)
            for number, mask in enumerate(found, start=1):
                names.append(rater if axis is None else str(number))
                what = role if axis is None else name_of(f"rater '{number}'", source)
                part = VotePart(mask, partial(in_case, self._case.id, what), self._positive, self._named, path)
                grid.add(part, what, by_index=rater in self._case.index_aligned)
                yield part
        self.rater_names = tuple(names)

    def labels(self, role: str, source: Source | None, grid: CommonGrid, *, check_all: bool = True) -> LabelPart | None:
        """A source of labels, such as the ROI; None if there is none."""
        if source is None:
            return None
        name = name_of(role, source)
        context = partial(in_case, self._case.id, name)
        image, path = self._open(source, context, digest=self._digest)
        part = LabelPart(image, context, path, check_all=check_all)
        grid.add(part, name)
        return part

    def coarse(self, grid: CommonGrid) -> npt.NDArray[Any] | None:
        """The coarse mask or probability map as it is stored, of two classes the second; None if there is none."""
        source = self._case.coarse
        if source is None:
            return None
        name = name_of("the coarse segmentation", source)
        with in_case(self._case.id, name):
            volume = in_memory(open_source(source))
            volume = foreground_of(volume, None, name) if volume.n_channels == 2 else single_channel(volume, name)
        grid.add(volume, name)
        return volume.data

    def spacing(self, grid: CommonGrid) -> tuple[float, ...] | None:
        """Voxel edges from the header, else from the case; the two must not contradict each other."""
        stated = self._case.spacing
        if stated is not None and grid.shape is not None and len(stated) != len(grid.shape):
            msg = f"spacing of case {self._case.id!r} must have {len(grid.shape)} numbers, one for each axis; got {stated}."
            raise ValueError(msg)
        if grid.geometry is None:
            return stated
        header = grid.geometry.spacing
        if stated is not None and any(abs(a - b) > TOLERANCE * b for a, b in zip(stated, header, strict=True)):
            msg = (
                f"spacing of case {self._case.id!r} is given as {stated} mm, but its files say {header} mm. "
                "Correct the headers, or leave spacing out: it is for sources without a header."
            )
            raise GeometryError(msg)
        return header

    def _stack(self, axis: int) -> Mapping[str, Source | None]:
        """The one source that holds the masks of all raters."""
        whole = getattr(self._case, "raters", None)
        masks: Mapping[str, Source | None] = {"": whole} if hasattr(whole, "shape") else self._case.masks
        if len(masks) != 1:
            msg = (
                f"rater_axis={axis} is for one mask that holds all raters; case {self._case.id!r} has {len(masks)} "
                f"({', '.join(masks)}). Leave it out."
            )
            raise ValueError(msg)
        return masks

    def _open(self, source: Source, context: Any, *, digest: bool) -> tuple[Image, Path | None]:
        with context():
            image = open_source(source, digest=digest)
            self._files.callback(image.close)
            return image, Path(source) if is_path(source) else None
