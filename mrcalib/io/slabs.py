"""A case, opened: read slab by slab in bounded memory, or whole as one slab, by one code and with one set of checks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.agreement import Overlaps, all_agree, require_agreement
from mrcalib.io.classes import ImageClass
from mrcalib.io.geometry import CommonGrid, Geometry, voxel_volume_ml
from mrcalib.io.image import Box, Order, whole_box
from mrcalib.io.opening import SourceOpener
from mrcalib.io.parts import Part, bounding_box, box_of, nothing, one_by_one, reading_ahead
from mrcalib.io.probabilities import pool
from mrcalib.io.region import region_of
from mrcalib.io.sources import Sources, fingerprint, in_case, name_of, refuse_beside_header
from mrcalib.options import LoadOptions
from mrcalib.roi import RecallCounts, RoiRecall

__all__ = ["SLAB", "OpenCase", "Slab"]

SLAB = 1 << 20
"""Voxels of a slab: of five raters and a float32 map they are 18 MiB."""

_Mask = npt.NDArray[np.bool_]
_Votes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Sections of a case that lie next to each other, or of them what lies in the box of the region of interest.

    Parameters
    ----------
    index : tuple of slice
        Where the voxels lie in the volume; S is the shape of this box.
    probs : ndarray of shape (n_classes, *S), float32 or float64
        As `LoadedCase.probs`, by class: one without ``classes``, none of a case without probabilities.
    raters : tuple of (ndarray of shape (n_classes, *S), uint8) or None
        As `LoadedCase.raters`, by class.
    roi, region : ndarray of shape S, bool, or None
        As in `LoadedCase`.
    vessels : ndarray of shape S, int, or None
        Vessel labels.
    """

    index: Box
    probs: npt.NDArray[np.floating]
    raters: tuple[_Votes | None, ...]
    roi: _Mask | None
    region: _Mask | None
    vessels: npt.NDArray[np.integer] | None = None


class OpenCase:
    """A case whose files are open, to be read once from the first slab to the last; see `Case.open`.

    Parameters
    ----------
    case : Case or Annotations
        What is opened.
    options : LoadOptions
        How it is read.
    classes : sequence of ImageClass or None
        The classes that are read in one pass; None for one foreground.
    crop : bool
        Whether voxels outside the bounding box of the region of interest are left out.
    digest : bool
        Whether the case's fingerprint is taken on the way.

    Attributes
    ----------
    id, group : str
        The case, and the patient or site it belongs to.
    shape : tuple of int
        Of the volume.
    axis : int
        The slowest axis of the files, along which slabs follow each other: the last of NIfTI files and of Fortran order, the
        first of C order.
    n_classes : int
        Length of the class axis.
    dtype : data type
        Of the probabilities: float32, or float64 where the only source stores float64.
    rater_names : tuple of str
        All raters, missing ones included.
    geometry : Geometry or None
        None if no source has a header.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Case.spacing`.
    voxel_volume_ml : float or None
        None if neither a header nor `Case.spacing` states it.
    box : tuple of slice
        What the slabs cover: the volume, or the bounding box of the region of interest.
    recall : RoiRecall or None
        How much of what the raters marked, as any class, lies in the region of interest; None until the last slab has been
        read, and without a region or raters.
    """

    id: str
    group: str
    shape: tuple[int, ...]
    axis: int
    n_classes: int
    dtype: np.dtype[Any]
    rater_names: tuple[str, ...]
    geometry: Geometry | None
    spacing: tuple[float, ...] | None
    voxel_volume_ml: float | None
    box: Box
    recall: RoiRecall | None = None

    def __init__(
        self,
        case: Sources,
        options: LoadOptions,
        *,
        classes: Sequence[ImageClass] | None = None,
        crop: bool = False,
        digest: bool = False,
    ) -> None:
        self.id, self.group = case.id, case.group or case.id
        self._case, self._options = case, options
        self._files, self._was_read = ExitStack(), False
        self._opener = SourceOpener(case, options, classes=classes, digest=digest, files=self._files)
        self.n_classes = self._opener.n_classes
        with ExitStack() as unless_done:
            unless_done.callback(self.close)
            self._open(CommonGrid(case.id))
            self.box = self._whole
            if crop and options.outside == "ignore":
                self.box = self._box_of_region()
            unless_done.pop_all()

    def __enter__(self) -> OpenCase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all files."""
        self._files.close()

    @property
    def has_region(self) -> bool:
        """Whether the case has a region of interest."""
        return self._roi is not None or self._region is not None

    def slabs(self, n_voxels: int | None = None, *, n_jobs: int = 1, overlaps: bool = True) -> Iterator[Slab]:
        """Read slab after slab, once; then the checks follow that need the whole case.

        Parameters
        ----------
        n_voxels : int, optional
            Of a slab, about one million by default; a slab has one section along `axis` at least.
        n_jobs : int
            Threads that read. With several, files are read beside each other, one slab ahead of the caller.
        overlaps : bool
            Whether overlaps of raters are counted here for ``check_agreement``. A caller who counts them anyway leaves them
            out, and calls `require_agreement` after the last slab.

        Yields
        ------
        Slab
            In ascending order; none where the region of interest is empty.

        Raises
        ------
        GeometryError
            After the last slab (with `overlaps`), if a rater agrees with the others only after a flip or a shift.
        ValueError
            If a file is damaged, or holds something else than its role says; or if slabs were read before.
        """
        if self._was_read:
            msg = f"The slabs of case {self.id!r} were read already; open the case again."
            raise ValueError(msg)
        self._was_read = True
        counted = [Overlaps(len(self._raters)) for _ in range(self._opener.n_labels)]
        overlaps = overlaps and self._options.check_agreement
        recall = RecallCounts(len(self._raters)) if self.has_region else None
        runs = self._runs(SLAB if n_voxels is None else n_voxels)
        with ThreadPoolExecutor(max(1, n_jobs)) as threads:  # starts none before it is given work
            come = one_by_one(runs, self._tasks) if n_jobs == 1 else reading_ahead(runs, self._tasks, threads)
            for run, found in come:
                n_members, n_raters = len(self._members), len(self._raters)
                masks: Sequence[_Votes | None] = found[n_members : n_members + n_raters]
                if overlaps:
                    for place, one in enumerate(counted):
                        one.add([None if mask is None else mask[place] for mask in masks])
                slab = None
                if self._counts(run):
                    slab = self._slab(run, found[:n_members], masks, *found[n_members + n_raters :])
                if recall is not None:
                    recall.add(_any_class(masks), None if slab is None else (_any_class(slab.raters), slab.region))
                if slab is not None:
                    yield slab
        for part in self._parts:
            part.finish()
        if overlaps:
            self.require_agreement([one.shared for one in counted])
        if recall is not None and any(part is not None for part in self._raters):
            self.recall = recall.recall()

    def whole(self) -> Slab:
        """The whole case as one slab, with all checks; for a case that was opened without ``crop``."""
        (slab,) = self.slabs(max(1, prod(self.shape)))
        return slab

    def fingerprint(self, *, counted_only: bool = False) -> str:
        """As `Case.fingerprint`, after the last slab; files whose digest was taken on the way are not read again."""
        found = ((part.path, part.digest()) for part in self._parts)
        known = {path: digest for path, digest in found if path is not None and digest is not None}
        return fingerprint(self._case, known, counted_only=counted_only)

    def require_agreement(self, shared: Sequence[npt.NDArray[np.int64]]) -> None:
        """Refuse a rater who agrees with the others only after a flip or a shift, if ``check_agreement`` is on.

        Masks are read once more, one at a time, if their overlaps do not show that all raters agree.

        Parameters
        ----------
        shared : sequence of ndarray of shape (R, R), int
            Of each class the voxels that two raters marked both, and on the diagonal those that one marked, of the whole
            volume.

        Raises
        ------
        GeometryError
            If a flip or a shift explains the disagreement.
        """
        if not self._options.check_agreement:
            return
        for place, of_class in enumerate(shared):
            if not all_agree(of_class):
                self._require_agreement(place)

    def _require_agreement(self, place: int) -> None:
        names = [name_of(f"rater {rater!r}", source) for rater, source in self._case.masks.items()]
        names = names if len(names) == len(self._raters) else [f"rater {rater!r}" for rater in self.rater_names]

        def masks() -> Iterator[_Votes | None]:
            for part in self._opener.raters(CommonGrid(self.id), digest=False):
                if part is None:
                    yield None
                    continue
                assert self._order is not None
                part.set_order(self._order)
                yield part.whole()[place]

        with in_case(self.id):
            require_agreement(masks(), names, self.spacing)

    # Opening ----------------------------------------------------------------------------------------------------------

    def _open(self, grid: CommonGrid) -> None:
        case, options, opener = self._case, self._options, self._opener
        self._members = list(opener.members(grid))
        self._raters = list(opener.raters(grid))
        self.rater_names = opener.rater_names
        # Where the box of the ROI is cut out, the ROI is checked when its box is looked for.
        self._roi = opener.labels("the ROI", case.roi, grid, check_all=False)
        coarse = opener.coarse(grid)
        self._vessels = opener.labels("the vessels", case.vessels, grid)
        if grid.geometry is not None:
            masks = tuple(case.masks.values())
            refuse_beside_header((*case.members, *masks, case.roi, case.coarse, case.vessels), case.id)
        assert grid.shape is not None
        self.shape, self.geometry = grid.shape, grid.geometry
        if not self.shape:
            msg = f"Case {case.id!r} must have an array of voxels; got a single number."
            raise ValueError(msg)
        parts = self._parts
        self._order: Order = next((part.order for part in parts if part.streamed), parts[0].order)
        for part in parts:
            part.set_order(self._order)
        self.axis = parts[0].axis
        self.spacing = opener.spacing(grid)
        self.voxel_volume_ml = voxel_volume_ml(grid.geometry, self.spacing)
        self.dtype = self._members[0].dtype if len(self._members) == 1 else np.dtype(np.float32)
        self._whole = whole_box(self.shape)
        self._region: _Mask | None = None
        if coarse is None:
            region_of(case.id, None if case.roi is None else np.empty(0, dtype=bool), None, options, self.spacing)
            return
        roi = None
        if self._roi is not None:
            roi, self._roi = self._roi.whole() != 0, None
        self._region = region_of(case.id, roi, coarse, options, self.spacing)

    def _box_of_region(self) -> Box:
        """The box in which voxels count; a ROI file is read for it by itself."""
        if self._region is not None:
            axes = range(len(self.shape))
            return box_of([np.asarray(self._region.any(axis=tuple(b for b in axes if b != a))) for a in axes])
        if self._roi is None:
            return self._whole
        again = self._opener.labels("the ROI", self._case.roi, CommonGrid(self.id))
        assert again is not None
        again.set_order(self._order)
        box = bounding_box(again, self._n_sections(SLAB))
        again.close()
        return box

    # Reading ----------------------------------------------------------------------------------------------------------

    @property
    def _parts(self) -> list[Part]:
        parts = [*self._members, *self._raters, self._roi, self._vessels]
        return [part for part in parts if part is not None]

    def _n_sections(self, n_voxels: int) -> int:
        section = prod(size for axis, size in enumerate(self.shape) if axis != self.axis)
        return max(1, n_voxels // max(1, section))

    def _runs(self, n_voxels: int) -> Iterator[Box]:
        """Boxes of full sections that cover the volume; the box of the region begins and ends with one of them."""
        if 0 in self.shape:
            yield self._whole
            return
        step = self._n_sections(n_voxels)
        end, inside = self.shape[self.axis], self.box[self.axis]
        edges = sorted({0, inside.start, inside.stop, end})
        for first, last in pairwise(edges):
            for start in range(first, last, step):
                run = list(self._whole)
                run[self.axis] = slice(start, min(start + step, last))
                yield tuple(run)

    def _counts(self, run: Box) -> bool:
        """Whether a run lies in the box, as a whole; else it lies outside."""
        inside = self.box[self.axis]
        return 0 in self.shape or inside.start <= run[self.axis].start < inside.stop

    def _tasks(self, run: Box) -> list[Callable[[], Any]]:
        """What is to be read of some sections: what lies in the box, and the raters' masks whole for the checks."""
        wanted: Box | None = None
        if self._counts(run):
            part = list(self.box)
            part[self.axis] = run[self.axis]
            wanted = tuple(part)
        return [
            *(partial(member.read, run, wanted) for member in self._members),
            *(nothing if rater is None else partial(rater.read, run, run) for rater in self._raters),
            *(
                nothing if labels is None else partial(labels.read, run, wanted)
                for labels in (self._roi, self._vessels)
            ),
        ]

    def _slab(
        self,
        run: Box,
        members: Sequence[npt.NDArray[np.floating]],
        masks: Sequence[_Votes | None],
        roi: npt.NDArray[np.integer] | None,
        vessels: npt.NDArray[np.integer] | None,
    ) -> Slab:
        options = self._options
        index, inner = list(self.box), list(self.box)
        index[self.axis], inner[self.axis] = run[self.axis], slice(None)
        if self.box != self._whole:
            masks = [None if mask is None else self._ordered(mask[(slice(None), *inner)]) for mask in masks]
        region: _Mask | None = None if roi is None else roi != 0
        if self._region is not None:
            region = np.asarray(self._region[tuple(index)], order=self._order)
        if not members:
            probs = np.empty((0, *(part.stop - part.start for part in index)), np.float32)
        else:
            probs = members[0] if len(members) == 1 else pool(members, options.pooling, options.weights)
        if region is not None and options.outside == "zero":
            probs = np.where(region, probs, probs.dtype.type(0))
        counted = region if options.outside == "ignore" else None
        return Slab(tuple(index), probs, tuple(masks), counted, region, vessels)

    def _ordered(self, mask: _Votes) -> _Votes:
        """Masks by class, each contiguous in the order of the case."""
        if self._order == "C":
            return np.ascontiguousarray(mask)
        axes = (0, *range(mask.ndim - 1, 0, -1))
        return np.ascontiguousarray(mask.transpose(axes)).transpose(axes)


def _any_class(masks: Sequence[_Votes | None]) -> list[_Mask | None]:
    """What each rater marked as any class."""

    def together(votes: _Votes) -> _Mask:
        marked: _Mask = votes.view(np.bool_)
        return marked[0] if len(marked) == 1 else np.asarray(marked.any(axis=0))

    return [None if mask is None else together(mask) for mask in masks]
