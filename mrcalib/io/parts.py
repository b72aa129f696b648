"""The sources of a case, opened and read box by box: probabilities of members, raters' votes, labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import as_array
from mrcalib.io.formats import open_image
from mrcalib.io.formats.nifti import image_of
from mrcalib.io.geometry import Geometry
from mrcalib.io.image import Box, Image, Order, Volume, in_memory, whole_box
from mrcalib.io.masks import LabelReader, VoteReader, single_channel
from mrcalib.io.probabilities import ForegroundReader, require_real
from mrcalib.io.sources import Source, is_path
from mrcalib.options import LoadOptions

__all__ = [
    "LabelPart",
    "MemberPart",
    "Part",
    "VotePart",
    "bounding_box",
    "box_of",
    "nothing",
    "one_by_one",
    "open_masks",
    "open_source",
    "reading_ahead",
]

_Array = npt.NDArray[Any]
_Context = Callable[[], AbstractContextManager[None]]
SPATIAL_AXES = 3


def open_source(source: Source, *, digest: bool = False) -> Image:
    """A file opened, or voxels in memory as an image; a nibabel image keeps its geometry.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or voxels are masked.
    """
    if is_path(source):
        return open_image(source, digest=digest)
    if hasattr(source, "dataobj") and hasattr(source, "affine"):
        return image_of(source)
    array = as_array(source)
    if np.ma.is_masked(array):
        msg = "the array has masked voxels, which a case does not have; fill them, or leave them out by a region of interest."
        raise ValueError(msg)
    return Volume(array)


def _with_axis(image: Image, axis: int | None, option: str, advice: str) -> Image:
    """An image without a header whose ``axis`` counts what comes last; one of more than three axes needs that option."""
    if image.geometry is not None or image.n_channels is not None:
        return image
    n_axes = len(image.shape)
    if axis is None and n_axes <= SPATIAL_AXES:
        return image
    if axis is None or not -n_axes <= axis < n_axes or n_axes < 2:
        found = f"an image without a header has up to three axes; this has {n_axes}, of shape {image.shape}"
        msg = f"{found}. {advice}" if axis is None else f"{option}={axis} does not fit an array of shape {image.shape}."
        raise ValueError(msg)
    whole = in_memory(image)
    return Volume(np.moveaxis(whole.data, axis, -1), channels=True, digest=whole.digest())


class Part:
    """One source of a case, read box by box along the slowest axis of the case.

    Parameters
    ----------
    image : Image
        The source, opened.
    context : callable
        Makes a context that adds the name of the case and of the source to errors.
    path : Path or None
        The file.
    """

    def __init__(self, image: Image, context: _Context = nullcontext, path: Path | None = None) -> None:
        self._image, self._context, self.path = image, context, path
        self.shape = tuple(image.shape)
        self.geometry: Geometry | None = image.geometry
        self.order: Order = image.order

    @property
    def streamed(self) -> bool:
        """Whether voxels are read from a file as they are wanted, in the order of the file only."""
        return not isinstance(self._image, Volume)

    @property
    def axis(self) -> int:
        """The slowest axis, along which sections are cut."""
        return 0 if self.order == "C" else len(self.shape) - 1

    @property
    def needs_all(self) -> bool:
        """Whether every voxel must be read for the checks, wanted or not."""
        return False

    def set_order(self, order: Order) -> None:
        """Take the order of the case; a file of another order is read whole."""
        if self.streamed and self.order != order and len(self.shape) > 1:
            with self._context():
                self._image = in_memory(self._image)
        self.order = order

    def read(self, run: Box, wanted: Box | None) -> _Array | None:
        """The values in ``wanted``, a part of the sections ``run``, contiguous in the order of the case; None if nothing is."""
        with self._context():
            if self.needs_all:
                found = self._values(self._image.read(run))
                return None if wanted is None else self._ordered(found[self._inside(run, wanted)])
            if wanted is None:
                return None
            return self._ordered(self._values(self._image.read(wanted)))

    def whole(self) -> _Array:
        """All values, checked; the file is closed."""
        everything = whole_box(self.shape)
        found = self.read(everything, everything)
        self.finish()
        self.close()
        assert found is not None
        return found

    def finish(self) -> None:
        """Check what can only be checked at the end."""
        with self._context():
            self._image.finish()
            self._check()

    def digest(self) -> bytes | None:
        """SHA-256 of the file; None where it was not taken on the way."""
        take = getattr(self._image, "digest", None)
        return None if take is None else take()

    def close(self) -> None:
        """Close the file."""
        self._image.close()

    def _values(self, found: _Array) -> _Array:
        return found

    def _check(self) -> None:
        """Refuse what was found on the way."""

    def _ordered(self, found: _Array) -> _Array:
        return np.asarray(found, order=self.order)

    def _inside(self, run: Box, wanted: Box) -> tuple[Any, ...]:
        inner: list[Any] = list(wanted)
        inner[self.axis] = slice(
            wanted[self.axis].start - run[self.axis].start, wanted[self.axis].stop - run[self.axis].start
        )
        return tuple(inner)


def _one_channel(image: Image, context: _Context) -> Image:
    """The image without a channel axis; ValueError if it has several channels."""
    if image.n_channels is None:
        return image
    with context():
        return single_channel(in_memory(image), "it")


class LabelPart(Part):
    """Integer labels of shape S; with ``check_all`` also those are checked that are not wanted."""

    def __init__(self, image: Image, context: _Context, path: Path | None = None, *, check_all: bool = True) -> None:
        super().__init__(_one_channel(image, context), context, path)
        self._reader = LabelReader("it")
        self._check_all = check_all

    @property
    def needs_all(self) -> bool:
        """Whether all labels are checked."""
        return self._check_all

    def _values(self, found: _Array) -> _Array:
        return self._reader.labels(found)

    def _check(self) -> None:
        self._reader.finish()


class _ByClass(Part):
    """A source of which each voxel has a value for each class: what is read has shape (n_classes, *S)."""

    def _ordered(self, found: _Array) -> _Array:
        if len(found) == 1:
            return np.asarray(found[0], order=self.order)[np.newaxis]
        if self.order == "C":
            return np.ascontiguousarray(found)
        axes = (0, *range(found.ndim - 1, 0, -1))
        return np.ascontiguousarray(found.transpose(axes)).transpose(axes)

    def _inside(self, run: Box, wanted: Box) -> tuple[Any, ...]:
        return (slice(None), *super()._inside(run, wanted))


class VotePart(_ByClass):
    """One rater's votes for each class."""

    def __init__(
        self,
        image: Image,
        context: _Context,
        positive: Sequence[tuple[int, ...] | None],
        classes: Mapping[str, int] | None = None,
        path: Path | None = None,
    ) -> None:
        super().__init__(_one_channel(image, context), context, path)
        self._reader = VoteReader("it", positive, classes)

    def _values(self, found: _Array) -> _Array:
        return self._reader.votes(found)

    def _check(self) -> None:
        self._reader.finish()


class MemberPart(_ByClass):
    """An ensemble member's probability of each class."""

    def __init__(
        self,
        image: Image,
        name: str,
        options: LoadOptions,
        foreground: Sequence[tuple[int, ...] | None],
        *,
        classes: bool = False,
        context: _Context = nullcontext,
        path: Path | None = None,
    ) -> None:
        with context():
            image = _with_axis(image, options.channel_axis, "channel_axis", _CHANNELS)
            require_real(np.dtype(image.dtype), name)
            self._reader = ForegroundReader(
                image.n_channels,
                np.dtype(image.dtype),
                foreground,
                merge=options.merge,
                values=options.values,
                name=name,
                classes=classes,
            )
            _warn_of_steps(image, name)
        super().__init__(image, context, path)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the probabilities."""
        return self._reader.dtype

    @property
    def needs_all(self) -> bool:
        """Whether logits or the sums of channels are checked."""
        return self._reader.needs_all

    def _values(self, found: _Array) -> _Array:
        return self._reader.probabilities(found)

    def _check(self) -> None:
        self._reader.finish()


_CHANNELS = (
    "If one axis counts channels, say which, for example channel_axis=0 (LoadOptions; --channel-axis 0); else save one "
    "channel a file."
)
_RATERS = (
    "If one axis counts raters, say which, for example rater_axis=0 (LoadOptions; --rater-axis 0); else save one mask a "
    "rater, with labels and not one channel a class."
)


def open_masks(image: Image, rater_axis: int | None) -> list[Image]:
    """The raters' masks in one source: one, or those that lie along the rater axis."""
    stack = _with_axis(image, rater_axis, "rater_axis", _RATERS)
    if rater_axis is None or stack.n_channels is None:
        return [stack]
    whole = in_memory(stack)  # a file with a header has its raters where others have channels
    masks = np.moveaxis(whole.data, -1, 0)
    return [Volume(mask, whole.geometry, channels=False, digest=whole.digest()) for mask in masks]


def _warn_of_steps(image: Image, name: str) -> None:
    step = getattr(image, "step", None)
    if step is not None:
        fraction = f"1/{round(1 / step)}" if 0 < step < 1 else f"{step:.3g}"
        msg = (
            f"{name} stores its probabilities as scaled integers: they are quantised to {fraction}, "
            "and smaller ones are lost. Write float32 if you can."
        )
        warn(msg, UserWarning, stacklevel=3)


def bounding_box(part: LabelPart, n_sections: int) -> Box:
    """Where labels that are not 0 lie; all slices are empty if there are none."""
    n_axes, axis = len(part.shape), part.axis
    occupied = [np.zeros(size, dtype=bool) for size in part.shape]
    run = [slice(0, size) for size in part.shape]
    for start in range(0, part.shape[axis], n_sections):
        run[axis] = slice(start, min(start + n_sections, part.shape[axis]))
        found = part.read(tuple(run), tuple(run))
        assert found is not None
        for along in range(n_axes):
            across = tuple(other for other in range(n_axes) if other != along)
            where = run[axis] if along == axis else slice(None)
            occupied[along][where] |= (found != 0).any(axis=across)
    part.finish()
    return box_of(occupied)


def box_of(occupied: list[npt.NDArray[np.bool_]]) -> Box:
    """The smallest box with all occupied places; all slices are empty if there are none."""
    found = [np.flatnonzero(places) for places in occupied]
    if not all(places.size for places in found):
        return (slice(0, 0),) * len(found)
    return tuple(slice(int(places[0]), int(places[-1]) + 1) for places in found)


def nothing() -> None:
    """What is read of a source that is missing."""


def one_by_one(runs: Iterable[Box], tasks: Callable[[Box], list[Callable[[], Any]]]) -> Iterator[tuple[Box, list[Any]]]:
    """What the tasks of each run give, in order."""
    for run in runs:
        yield run, [task() for task in tasks(run)]


def reading_ahead(
    runs: Iterable[Box], tasks: Callable[[Box], list[Callable[[], Any]]], threads: ThreadPoolExecutor
) -> Iterator[tuple[Box, list[Any]]]:
    """As `one_by_one`; while the caller works on a run, threads do the tasks of the next one."""
    waiting: tuple[Box, list[Future[Any]]] | None = None
    for run in (*runs, None):
        found = None if waiting is None else (waiting[0], [future.result() for future in waiting[1]])
        if run is not None:
            waiting = run, [threads.submit(task) for task in tasks(run)]
        if found is not None:
            yield found
