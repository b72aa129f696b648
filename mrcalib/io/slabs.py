"""A case read slab by slab: what `Case.load` gives and checks, without a whole volume in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.agreement import Overlaps, all_agree, require_agreement
from mrcalib.io.fingerprint import fingerprint
from mrcalib.io.geometry import Geometry
from mrcalib.io.loaded import LoadOptions
from mrcalib.io.loading import (
    Frame,
    coarse_of,
    from_array,
    in_case,
    labels_of,
    name_of,
    require_weights,
    role_of,
    spacing_of,
    voxel_volume_ml_of,
)
from mrcalib.io.parts import Labels, Part, Probabilities, Votes, bounding_box, box_of
from mrcalib.io.png import refuse_beside_header
from mrcalib.io.pooling import pool
from mrcalib.io.readers import open_stored, read_probability, warn_of_steps
from mrcalib.io.region import region_of
from mrcalib.io.stored import Box, Order, StoredVoxels
from mrcalib.io.volume import Source, Volume

if TYPE_CHECKING:
    from mrcalib.io.case import Case

__all__ = ["SLAB", "OpenCase", "Slab", "open_case"]

SLAB = 1 << 20
"""Voxels of a slab: of five raters and a float32 map they are 18 MiB."""

_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Slab:
    """Sections of a case that lie next to each other, or of them what lies in the box of the region of interest.

    Parameters
    ----------
    index : tuple of slice
        Where the voxels lie in the volume; all arrays have the shape of this box.
    probs : ndarray, float32 or float64
        As `LoadedCase.probs`.
    raters : tuple of ndarray, uint8, or None
        As `LoadedCase.raters`.
    roi, region : ndarray, bool, or None
        As in `LoadedCase`.
    """

    index: Box
    probs: npt.NDArray[np.floating]
    raters: tuple[npt.NDArray[np.uint8] | None, ...]
    roi: _Mask | None
    region: _Mask | None


class OpenCase:
    """A case whose files are open, to be read once from the first slab to the last; see `Case.open`.

    Parameters
    ----------
    case : Case
        What is opened.
    options : LoadOptions
        As for `Case.load`.
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
    dtype : data type
        Of the probabilities: float32, or float64 where the only source stores float64.
    rater_names : tuple of str
        All raters, missing ones included.
    geometry : Geometry or None
        None if no source has a header.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Case.spacing`.
    voxel_volume_ml : float or None
        None if neither a header nor `Case.spacing` tells it.
    box : tuple of slice
        What the slabs cover: the volume, or the bounding box of the region of interest.
    roi_recall, rater_recalls : float and tuple of float, or None
        As in `LoadedCase`; None until the last slab has been read.
    """

    id: str
    group: str
    shape: tuple[int, ...]
    axis: int
    dtype: np.dtype[Any]
    rater_names: tuple[str, ...]
    geometry: Geometry | None
    spacing: tuple[float, ...] | None
    voxel_volume_ml: float | None
    box: Box
    roi_recall: float | None = None
    rater_recalls: tuple[float, ...] | None = None

    def __init__(self, case: Case, options: LoadOptions, *, crop: bool, digest: bool = False) -> None:
        self.id, self.group, self.rater_names = case.id, case.group or case.id, case.rater_names
        self._case, self._options, self._digest = case, options, digest
        self._opened, self._read = ExitStack(), False
        with ExitStack() as unless_done:
            unless_done.callback(self.close)
            self._open(case, options)
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
        self._opened.close()

    @property
    def has_region(self) -> bool:
        """Whether the case has a region of interest."""
        return self._part_of_roi is not None or self._region is not None

    def slabs(self, n_voxels: int | None = None, *, n_jobs: int = 1, overlaps: bool = True) -> Iterator[Slab]:
        """Read slab after slab, once; then the checks follow that need the whole case.

        Parameters
        ----------
        n_voxels : int, optional
            Of a slab, about two million by default; a slab has one section along `axis` at least.
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
        if self._read:
            msg = f"The slabs of case {self.id!r} were read already; open the case again."
            raise ValueError(msg)
        self._read = True
        counted = Overlaps(len(self._raters))
        overlaps = overlaps and self._options.check_agreement
        recall = _Recall(len(self._raters)) if self.has_region else None
        runs = self._runs(SLAB if n_voxels is None else n_voxels)
        with ThreadPoolExecutor(max(1, n_jobs)) as threads:  # starts none before it is given work
            come = _in_turn(runs, self._tasks) if n_jobs == 1 else _ahead(runs, self._tasks, threads)
            for index, found in come:
                n_members = len(self._members)
                masks: Sequence[npt.NDArray[np.uint8] | None] = found[n_members : n_members + len(self._raters)]
                if overlaps:
                    counted.add(masks)
                if index[self.axis].start in range(self.box[self.axis].start, self.box[self.axis].stop):
                    slab = self._slab(index, found[:n_members], masks, found[n_members + len(self._raters)])
                    if recall is not None:
                        recall.add(masks, slab)
                    yield slab
                elif recall is not None:
                    recall.add(masks, None)
        for part in self._parts:
            part.finish()
        if overlaps:
            self.require_agreement(counted.shared)
        if recall is not None and any(part is not None for part in self._raters):
            self.roi_recall, self.rater_recalls = recall.shares([part is not None for part in self._raters])

    def _open(self, case: Case, options: LoadOptions) -> None:
        require_weights(case, options)
        frame = Frame(case.id)
        self._order: Order | None = None
        self._members = [self._member(source, number, frame) for number, source in enumerate(case.members, start=1)]
        self._raters = [None if mask is None else self._votes(rater, mask, frame) for rater, mask in case.masks.items()]
        self._part_of_roi = None if case.roi is None else self._labels("the ROI", case.roi, frame)
        coarse = None if case.coarse is None else coarse_of(case.coarse, frame)
        vessels = None if case.vessels is None else self._labels("the vessels", case.vessels, frame)
        self._others = [] if vessels is None else [vessels]
        if frame.geometry is not None:
            refuse_beside_header((*case.members, *case.masks.values(), case.roi, case.coarse, case.vessels), case.id)
        assert frame.shape is not None
        self.shape, self.geometry = frame.shape, frame.geometry
        if not self.shape:
            msg = f"Case {case.id!r} must have an array of voxels; got a single number."
            raise ValueError(msg)
        if self._order is None:
            self._order = self._members[0].order
        for part in self._parts:
            part.order = self._order
        self.axis = self._members[0].axis
        self.spacing = spacing_of(case, frame)
        self.voxel_volume_ml = voxel_volume_ml_of(frame.geometry, self.spacing)
        self.dtype = self._members[0].dtype if len(self._members) == 1 else np.dtype(np.float32)
        self._whole: Box = tuple(slice(0, size) for size in self.shape)
        self._region: _Mask | None = None
        if coarse is None:
            region_of(case.id, None if case.roi is None else np.empty(0, dtype=bool), None, options, self.spacing)
            return
        roi = None
        if self._part_of_roi is not None:
            roi = self._part_of_roi.take(self.shape[self.axis]) != 0
            self._part_of_roi.finish()
            self._part_of_roi = None
        self._region = region_of(case.id, roi, coarse, options, self.spacing)

    def _member(self, source: Source, number: int, frame: Frame) -> Part:
        role = role_of(self._case, number)
        context = partial(in_case, self._case, role)
        part: Part
        with context():
            stored = self._stored(source)
            if stored is not None:
                part = Probabilities(stored, context, self._options)
                warn_of_steps(stored.path)
            else:
                part = Part(self._volume(source), context)
        frame.admit(part, name_of(role, source))
        return part

    def _volume(self, source: Source) -> Volume:
        options = self._options
        if isinstance(source, np.ndarray):
            return from_array(source, options)
        return read_probability(source, options.foreground, merge=options.merge, values=options.values)

    def _votes(self, rater: str, source: Source, frame: Frame) -> Part:
        name = name_of(f"rater {rater!r}", source)
        context = partial(in_case, self._case)
        by_index = rater in self._case.index_aligned
        part = Votes(self._source_of(source, name), context, name, self._options.positive)
        frame.admit(part, name, by_index=by_index)
        return part

    def _labels(self, role: str, source: Source, frame: Frame) -> Part:
        name = name_of(role, source)
        part = Labels(self._source_of(source, name), partial(in_case, self._case, name), name)
        frame.admit(part, name)
        return part

    def _source_of(self, source: Source, name: str) -> StoredVoxels | Volume:
        with in_case(self._case, name):
            return self._stored(source) or labels_of(source, name)

    def _stored(self, source: Source) -> StoredVoxels | None:
        """A file to be read in order, if it can be and its order is that of the case, which the first such file decides."""
        if isinstance(source, np.ndarray):
            return None
        stored = open_stored(source, digest=self._digest)
        if stored is None:
            return None
        self._opened.callback(stored.close)
        if self._order is None:
            self._order = stored.order
        if stored.order != self._order and len(stored.shape) > 1:
            stored.close()
            return None
        return stored

    @property
    def _parts(self) -> list[Part]:
        parts = [*self._members, *self._raters, self._part_of_roi, *self._others]
        return [part for part in parts if part is not None]

    def _n_sections(self, n_voxels: int) -> int:
        section = prod(size for axis, size in enumerate(self.shape) if axis != self.axis)
        return max(1, n_voxels // max(1, section))

    def _box_of_region(self) -> Box:
        """The box in which voxels count; a ROI file is read for it by itself."""
        if self._region is not None:
            axes = range(len(self.shape))
            return box_of([np.asarray(self._region.any(axis=tuple(b for b in axes if b != a))) for a in axes])
        if self._part_of_roi is None:
            return self._whole
        assert self._case.roi is not None
        again = self._labels("the ROI", self._case.roi, Frame(self.id))
        again.order = self._part_of_roi.order
        box = bounding_box(again, self._n_sections(SLAB))
        again.close()
        return box

    def _runs(self, n_voxels: int) -> Iterator[Box]:
        """Boxes of full sections that cover the volume; the box of the region begins and ends with one of them."""
        step = self._n_sections(n_voxels)
        end, inside = self.shape[self.axis], self.box[self.axis]
        edges = sorted({0, inside.start, inside.stop, end})
        for first, last in pairwise(edges):
            for start in range(first, last, step):
                run = list(self._whole)
                run[self.axis] = slice(start, min(start + step, last))
                yield tuple(run)

    def _tasks(self, index: Box) -> list[Callable[[], Any]]:
        """What is to be read of some sections: of the members and the ROI only what lies in the box; masks for checks too."""
        where = index[self.axis]
        n = where.stop - where.start
        counts = self.box[self.axis].start <= where.start < self.box[self.axis].stop
        box = None if self.box == self._whole else self.box

        def cropped(part: Part | None) -> Callable[[], Any]:
            if part is None:
                return _nothing
            return partial(part.take, n, box) if counts else partial(part.skip, n)

        def full(part: Part | None) -> Callable[[], Any]:
            return _nothing if part is None else partial(part.take, n)

        return [
            *map(cropped, self._members),
            *map(full, self._raters),
            cropped(self._part_of_roi),
            *(partial(_checked, part, n) for part in self._others),
        ]

    def _slab(
        self,
        index: Box,
        members: Sequence[npt.NDArray[np.floating]],
        masks: Sequence[npt.NDArray[np.uint8] | None],
        labels: npt.NDArray[np.integer] | None,
    ) -> Slab:
        options, order = self._options, self._order
        part, inner = list(self.box), list(self.box)
        part[self.axis], inner[self.axis] = index[self.axis], slice(None)
        if self.box != self._whole:
            masks = [None if mask is None else np.asarray(mask[tuple(inner)], order=order) for mask in masks]
        region: _Mask | None = None if labels is None else labels != 0
        if self._region is not None:
            region = np.asarray(self._region[tuple(part)], order=order)
        probs = members[0] if len(members) == 1 else pool(members, options.pooling, options.weights)
        if region is not None and options.outside == "zero":
            probs = np.where(region, probs, probs.dtype.type(0))
        return Slab(tuple(part), probs, tuple(masks), region if options.outside == "ignore" else None, region)

    def fingerprint(self) -> str:
        """As `Case.fingerprint`, after the last slab; files whose digest was taken on the way are not read again."""
        found = ((part.path, part.digest()) for part in self._parts)
        return fingerprint(
            self._case, {path: digest for path, digest in found if path is not None and digest is not None}
        )

    def require_agreement(self, shared: npt.NDArray[np.int64]) -> None:
        """Refuse a rater who agrees with the others only after a flip or a shift, if ``check_agreement`` is on.

        Masks are read once more, one at a time, if the overlaps leave something to ask.

        Parameters
        ----------
        shared : ndarray of shape (R, R), int
            Voxels that two raters marked both, and on the diagonal those that one marked, of the whole volume.

        Raises
        ------
        GeometryError
            If a flip or a shift explains the disagreement.
        """
        if not self._options.check_agreement or all_agree(shared):
            return
        names = [name_of(f"rater {rater!r}", source) for rater, source in self._case.masks.items()]

        def masks() -> Iterator[npt.NDArray[np.uint8] | None]:
            for rater, source in self._case.masks.items():
                if source is None:
                    yield None
                    continue
                again = self._votes(rater, source, Frame(self.id))
                yield again.take(self.shape[again.axis])
                again.close()

        with in_case(self._case):
            require_agreement(masks(), names, self.spacing)


def open_case(case: Case, options: LoadOptions, *, crop: bool, digest: bool = False) -> OpenCase:
    """Open a case; see `Case.open`. With ``digest`` its fingerprint is taken on the way, and files are read to their ends."""
    return OpenCase(case, options, crop=crop, digest=digest)


class _Recall:
    """What raters marked, and how much of it lies in the region, counted slab by slab; the last row is the union."""

    def __init__(self, n_raters: int) -> None:
        self._marked = np.zeros((2, n_raters + 1), dtype=np.int64)

    def add(self, masks: Sequence[npt.NDArray[np.uint8] | None], slab: Slab | None) -> None:
        self._marked[0] += _counts(masks, None)
        if slab is not None:
            self._marked[1] += _counts(slab.raters, slab.region)

    def shares(self, there: Sequence[bool]) -> tuple[float, tuple[float, ...]]:
        total, inside = self._marked.tolist()
        shares = [part / whole if whole else float("nan") for part, whole in zip(inside, total, strict=True)]
        return shares[-1], tuple(
            share if known else float("nan") for share, known in zip(shares[:-1], there, strict=True)
        )


def _counts(masks: Sequence[npt.NDArray[np.uint8] | None], region: _Mask | None) -> npt.NDArray[np.int64]:
    found = np.zeros(len(masks) + 1, dtype=np.int64)
    union: _Mask | None = None
    for rater, mask in enumerate(masks):
        if mask is None:
            continue
        marked = mask.view(np.bool_) if region is None else mask.view(np.bool_) & region
        found[rater] = np.count_nonzero(marked)
        union = marked if union is None else union | marked
    found[-1] = 0 if union is None else np.count_nonzero(union)
    return found


def _nothing() -> None:
    return None


def _checked(part: Part, n_sections: int) -> None:
    part.take(n_sections)


def _in_turn(runs: Iterable[Box], tasks: Callable[[Box], list[Callable[[], Any]]]) -> Iterator[tuple[Box, list[Any]]]:
    """What the tasks of each run give, in order."""
    for index in runs:
        yield index, [task() for task in tasks(index)]


def _ahead(
    runs: Iterable[Box], tasks: Callable[[Box], list[Callable[[], Any]]], threads: ThreadPoolExecutor
) -> Iterator[tuple[Box, list[Any]]]:
    """As `_in_turn`; while a run is at work with the caller, threads do the tasks of the next one."""
    waiting: tuple[Box, list[Future[Any]]] | None = None
    for index in (*runs, None):
        found = None if waiting is None else (waiting[0], [future.result() for future in waiting[1]])
        if index is not None:
            waiting = index, [threads.submit(task) for task in tasks(index)]
        if found is not None:
            yield found
