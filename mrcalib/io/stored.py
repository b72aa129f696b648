"""Voxels as they lie in a file: read section by section along the slowest axis, or all at once, through one door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcalib.io.bytestream import ByteStream, FileBytes
from mrcalib.io.geometry import Geometry

__all__ = ["Box", "Order", "StoredVoxels"]

Order = Literal["C", "F"]
Box = tuple[slice, ...]
"""Where voxels lie: a slice with start and stop for each axis."""

_Array = npt.NDArray[Any]


@contextmanager
def _as_is() -> Iterator[None]:
    yield


@dataclass(slots=True, eq=False)
class StoredVoxels:
    """An image in a file whose voxels come in order: one value a voxel, or all channels after one another.

    Parameters
    ----------
    path : Path
        The file.
    bytes : ByteStream
        At the first voxel.
    shape : tuple of int
        Of the array in the file.
    stored : data type
        Of the numbers in the file, byte order included.
    order : {"C", "F"}
        Whether the last axis varies fastest ("C") or the first ("F").
    geometry : Geometry or None
        Where the voxels lie, if the file says so.
    scale : callable or None
        From stored numbers to the values that the header states.
    worded : callable
        Makes a context in which errors of reading are told with the name of the file and a remedy.
    """

    path: Path
    bytes: ByteStream
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    order: Order
    geometry: Geometry | None = None
    scale: Callable[[_Array], _Array] | None = None
    worded: Callable[[], AbstractContextManager[None]] = _as_is
    _passed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.bytes, FileBytes):
            with self.worded():
                self.bytes.require(self.stored.itemsize * prod(self.shape))

    @property
    def axis(self) -> int:
        """The slowest axis, along which sections are cut."""
        return 0 if self.order == "C" else len(self.shape) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        native = self.stored.newbyteorder("=")
        return native if self.scale is None else self.scale(np.empty(0, native)).dtype

    def read(self, n_sections: int, box: Box | None = None) -> _Array:
        """The next sections.

        Parameters
        ----------
        n_sections : int
            How many, along `axis`.
        box : tuple of slice, optional
            What of each section is wanted; the slice of `axis` is not looked at. Nothing else is converted, and lines of
            an uncompressed file that lie outside are not read.

        Returns
        -------
        ndarray
            In native byte order, contiguous in `order`.

        Raises
        ------
        ValueError
            If the file is damaged or ends early.
        """
        self._passed += n_sections
        shape = _with(self.shape, self.axis, n_sections)
        middle = self._middle(box)
        with self.worded():
            found = self._fill(shape) if middle is None else self._fill_lines(shape, *middle)
        if box is not None:
            wanted = list(box)
            wanted[self.axis] = slice(None)
            if middle is not None:
                wanted[middle[0]] = slice(None)
            found = np.asarray(found[tuple(wanted)], order=self.order)
        return self._values(found)

    def skip(self, n_sections: int) -> None:
        """Pass over the next sections; an uncompressed file is not read there."""
        self._passed += n_sections
        with self.worded():
            self.bytes.skip(n_sections * self._section_bytes())

    def whole(self) -> _Array:
        """All voxels at once; the file is closed."""
        with self.bytes:
            found = self.read(self.shape[self.axis]) if self.shape else self._scalar()
            self.finish()
        return found

    def finish(self) -> None:
        """Pass over what is left, and check that the compressed data end and their CRC."""
        left = (self.shape[self.axis] if self.shape else 0) - self._passed
        with self.worded():
            if left:
                self.skip(left)
            self.bytes.finish()

    def close(self) -> None:
        """Close the file."""
        self.bytes.close()

    def _scalar(self) -> _Array:
        with self.worded():
            return self._values(self._fill(()))

    def _section_bytes(self) -> int:
        return self.stored.itemsize * prod(_with(self.shape, self.axis, 1))

    def _values(self, found: _Array) -> _Array:
        if not found.dtype.isnative:
            found = found.byteswap(inplace=True).view(found.dtype.newbyteorder("="))
        return found if self.scale is None else self.scale(found)

    def _fill(self, shape: tuple[int, ...]) -> _Array:
        found = np.empty(shape, self.stored, order=self.order)
        self.bytes.fill(_bytes_of(found))
        return found

    def _middle(self, box: Box | None) -> tuple[int, int, int] | None:
        """The axis between the slowest and the fastest, and its part that is wanted, where the rest can stay unread."""
        if box is None or len(self.shape) != 3 or not isinstance(self.bytes, FileBytes) or self.bytes.sees_all:
            return None
        start, stop, _ = box[1].indices(self.shape[1])
        return (1, start, stop) if stop - start < self.shape[1] else None

    def _fill_lines(self, shape: tuple[int, ...], axis: int, start: int, stop: int) -> _Array:
        found = np.empty(_with(shape, axis, stop - start), self.stored, order=self.order)
        across = self._section_bytes() // shape[axis]
        for section in np.moveaxis(found, self.axis, 0):
            self.bytes.skip(start * across)
            self.bytes.fill(_bytes_of(section))
            self.bytes.skip((shape[axis] - stop) * across)
        return found


def _bytes_of(array: _Array) -> memoryview:
    """The bytes of a contiguous array, in the order in which they lie."""
    flat: Any = array.ravel(order="K").view(np.uint8)
    return memoryview(flat) if array.size else memoryview(bytearray())


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])
