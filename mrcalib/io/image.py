"""Images: voxels in memory, or in a file that is read section by section along its slowest axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import as_array
from mrcalib.io.bytestream import ByteStream, FileBytes
from mrcalib.io.geometry import Geometry

__all__ = ["Box", "Image", "Order", "StoredVoxels", "Volume", "in_memory", "order_of", "whole_box"]

Order = Literal["C", "F"]
Box = tuple[slice, ...]
"""Where voxels lie: a slice with start and stop for each axis."""

_Array = npt.NDArray[Any]


class Image(Protocol):
    """What a format's ``open`` returns: an image whose voxels are read box by box.

    Attributes
    ----------
    shape : tuple of int
        Sizes of the spatial axes.
    n_channels : int or None
        Values of each voxel, on a last axis of what is read; None where a voxel has one value and there is no such axis.
    dtype : data type
        Of the values that are read.
    geometry : Geometry or None
        Where the voxels lie; None where the source has no header.
    order : {"C", "F"}
        Whether the first axis is the slowest in the file ("C") or the last ("F"). Boxes are cut along it.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def n_channels(self) -> int | None: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def geometry(self) -> Geometry | None: ...
    @property
    def order(self) -> Order: ...

    def read(self, box: Box) -> _Array:
        """The values in a box, in native byte order; boxes come in ascending order along the slowest axis."""
        ...

    def finish(self) -> None:
        """Check what can only be checked at the end of the file, such as a checksum."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


def whole_box(shape: tuple[int, ...]) -> Box:
    """The box of all voxels."""
    return tuple(slice(0, size) for size in shape)


def order_of(data: _Array) -> Order:
    """The order in which an array lies in memory; "C" where it lies in neither."""
    return "F" if data.flags.f_contiguous and not data.flags.c_contiguous else "C"


class Volume:
    """An image in memory, in ``(x, y, z)`` order where it has a geometry.

    Parameters
    ----------
    data : array_like of shape S or (*S, n_channels)
        The values as stored (scaled where the header says so); channels, if any, are last. Tensors and other containers of
        arrays become NumPy arrays.
    geometry : Geometry or None
        None where the source has no header.
    channels : bool, optional
        Whether the last axis counts channels; by default it does where ``data`` has more axes than the geometry.
    step : float, optional
        Between neighbouring values of a file that stores scaled integers.
    digest : bytes, optional
        SHA-256 of the file.

    Examples
    --------
    >>> image = Volume(np.zeros((4, 5, 6, 2)), None, channels=True)
    >>> image.shape, image.n_channels
    ((4, 5, 6), 2)
    """

    def __init__(
        self,
        data: Any,
        geometry: Geometry | None = None,
        *,
        channels: bool | None = None,
        step: float | None = None,
        digest: bytes | None = None,
    ) -> None:
        self.data: _Array = np.asarray(as_array(data))
        self.geometry = geometry
        self.step = step
        self._digest = digest
        self.has_channels = (
            geometry is not None and self.data.ndim > len(geometry.shape) if channels is None else channels
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, channels left out."""
        return self.data.shape[:-1] if self.has_channels else self.data.shape

    @property
    def n_channels(self) -> int | None:
        """Length of the channel axis; None if there is none."""
        return self.data.shape[-1] if self.has_channels else None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        return self.data.dtype

    @property
    def order(self) -> Order:
        """The order of the spatial axes in memory."""
        return order_of(self.data[..., 0] if self.n_channels else self.data)

    def read(self, box: Box) -> _Array:
        """A view of the values in a box."""
        found: _Array = self.data[box]
        return found

    def finish(self) -> None:
        """Nothing is left to check."""

    def close(self) -> None:
        """Nothing is open."""

    def digest(self) -> bytes | None:
        """SHA-256 of the file; None where it was not taken."""
        return self._digest


@contextmanager
def _unchanged_errors() -> Iterator[None]:
    yield


@dataclass(slots=True, eq=False)
class StoredVoxels:
    """An image in a file whose voxels are read in the order in which they lie, one value a voxel.

    Parameters
    ----------
    path : Path
        The file.
    content : ByteStream
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
    step : float or None
        Between neighbouring values, where integers are stored and scaled.
    errors : callable
        Makes a context that adds the name of the file and a remedy to errors of reading.
    """

    path: Path
    content: ByteStream
    shape: tuple[int, ...]
    stored: np.dtype[Any]
    order: Order
    geometry: Geometry | None = None
    scale: Callable[[_Array], _Array] | None = None
    step: float | None = None
    errors: Callable[[], AbstractContextManager[None]] = _unchanged_errors
    n_channels: None = field(default=None, init=False)
    _at: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.content, FileBytes):
            with self.errors():
                self.content.require(self.stored.itemsize * prod(self.shape))

    @property
    def axis(self) -> int:
        """The slowest axis, along which sections are cut."""
        return 0 if self.order == "C" else len(self.shape) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        native = self.stored.newbyteorder("=")
        return native if self.scale is None else self.scale(np.empty(0, native)).dtype

    def read(self, box: Box) -> _Array:
        """The values in a box, contiguous in `order`; lines of an uncompressed file that lie outside are not read.

        Raises
        ------
        ValueError
            If the file is damaged or ends early, or the box lies before what was read already.
        """
        if not self.shape:
            with self.errors():
                return self._values(self._fill(()))
        start, stop = box[self.axis].start, box[self.axis].stop
        if start < self._at:
            msg = f"{self.path} is read from its beginning to its end; section {start} was passed already."
            raise ValueError(msg)
        if start > self._at:
            self._skip(start - self._at)
        self._at = stop
        shape = _resized(self.shape, self.axis, stop - start)
        middle = self._middle(box)
        with self.errors():
            found = self._fill(shape) if middle is None else self._fill_lines(shape, *middle)
        inner = list(box)
        inner[self.axis] = slice(None)
        if middle is not None:
            inner[middle[0]] = slice(None)
        return self._values(np.asarray(found[tuple(inner)], order=self.order))

    def finish(self) -> None:
        """Pass over what is left, and check that the compressed data end there with the right checksum."""
        left = (self.shape[self.axis] if self.shape else 0) - self._at
        if left:
            self._skip(left)
        with self.errors():
            self.content.finish()

    def close(self) -> None:
        """Close the file."""
        self.content.close()

    def digest(self) -> bytes | None:
        """SHA-256 of the whole file; None where it was not asked for."""
        return self.content.digest()

    def _skip(self, n_sections: int) -> None:
        """Pass over the next sections; an uncompressed file is not read there."""
        self._at += n_sections
        with self.errors():
            self.content.skip(n_sections * self._section_bytes())

    def _section_bytes(self) -> int:
        return self.stored.itemsize * prod(_resized(self.shape, self.axis, 1))

    def _values(self, found: _Array) -> _Array:
        if not found.dtype.isnative:
            found = found.byteswap(inplace=True).view(found.dtype.newbyteorder("="))
        return found if self.scale is None else self.scale(found)

    def _fill(self, shape: tuple[int, ...]) -> _Array:
        found = np.empty(shape, self.stored, order=self.order)
        self.content.fill(_bytes_of(found))
        return found

    def _middle(self, box: Box) -> tuple[int, int, int] | None:
        """The axis between the slowest and the fastest, and its part that is wanted, where the rest can stay unread."""
        if len(self.shape) != 3 or not isinstance(self.content, FileBytes) or self.content.sees_all:
            return None
        start, stop = box[1].start, box[1].stop
        return (1, start, stop) if stop - start < self.shape[1] else None

    def _fill_lines(self, shape: tuple[int, ...], axis: int, start: int, stop: int) -> _Array:
        found = np.empty(_resized(shape, axis, stop - start), self.stored, order=self.order)
        line_bytes = self._section_bytes() // shape[axis]
        for section in np.moveaxis(found, self.axis, 0):
            self.content.skip(start * line_bytes)
            self.content.fill(_bytes_of(section))
            self.content.skip((shape[axis] - stop) * line_bytes)
        return found


def _bytes_of(array: _Array) -> memoryview:
    """The bytes of a contiguous array, in the order in which they lie."""
    flat: Any = array.ravel(order="K").view(np.uint8)
    return memoryview(flat) if array.size else memoryview(bytearray())


def _resized(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def in_memory(image: Image) -> Volume:
    """An image read whole; its file is closed."""
    if isinstance(image, Volume):
        return image
    try:
        data = image.read(whole_box(image.shape))
        image.finish()
        take_digest = getattr(image, "digest", None)
        return Volume(
            data,
            image.geometry,
            channels=image.n_channels is not None,
            step=getattr(image, "step", None),
            digest=None if take_digest is None else take_digest(),
        )
    finally:
        image.close()
