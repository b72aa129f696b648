"""The sources of a case, each giving its voxels section by section: from a file in order, or cut from memory."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.channels import extremes, foreground_of, inverse_logit, require_logits
from mrcalib.io.geometry import Geometry
from mrcalib.io.loaded import LoadOptions
from mrcalib.io.masks import as_labels, as_votes
from mrcalib.io.readers import require_real
from mrcalib.io.stored import Box, Order, StoredVoxels
from mrcalib.io.volume import Volume

__all__ = ["Labels", "Part", "Probabilities", "Votes", "bounding_box", "box_of"]

_Array = npt.NDArray[Any]
_Context = Callable[[], AbstractContextManager[None]]


class Part:
    """One source of a case, section by section along the slowest axis.

    Parameters
    ----------
    source : StoredVoxels or Volume
        A file whose voxels come in order, or an image in memory.
    context : callable
        Makes a context in which errors are told with the name of the case and of the source.
    """

    def __init__(self, source: StoredVoxels | Volume, context: _Context) -> None:
        self.shape: tuple[int, ...] = source.shape
        self.geometry: Geometry | None = source.geometry
        self.order: Order = source.order if isinstance(source, StoredVoxels) else order_of(source.data)
        self._source, self._context = source, context
        self._at = 0

    @property
    def axis(self) -> int:
        """The slowest axis, along which sections are cut."""
        return 0 if self.order == "C" else len(self.shape) - 1

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the sections that `take` gives."""
        source = self._source
        return self._values(np.empty(0, source.dtype if isinstance(source, StoredVoxels) else source.data.dtype)).dtype

    def take(self, n_sections: int, box: Box | None = None) -> _Array:
        """The next sections, or of each the part in ``box``, contiguous in the order of the case."""
        with self._context():
            return self._values(self._next(n_sections, box))

    def skip(self, n_sections: int) -> None:
        """Pass over the next sections."""
        with self._context():
            self._at += n_sections
            if isinstance(self._source, StoredVoxels):
                self._source.skip(n_sections)

    def finish(self) -> None:
        """Check what can only be checked at the end of the file."""
        if isinstance(self._source, StoredVoxels):
            with self._context():
                self._source.finish()

    @property
    def path(self) -> Path | None:
        """The file that is read in order, if there is one."""
        return self._source.path if isinstance(self._source, StoredVoxels) else None

    def digest(self) -> bytes | None:
        """SHA-256 of the file; None where it was not taken."""
        return self._source.bytes.digest() if isinstance(self._source, StoredVoxels) else None

    def close(self) -> None:
        """Close the file."""
        if isinstance(self._source, StoredVoxels):
            self._source.close()

    def _next(self, n_sections: int, box: Box | None) -> _Array:
        start, self._at = self._at, self._at + n_sections
        if isinstance(self._source, StoredVoxels):
            return self._source.read(n_sections, box)
        wanted = [slice(None)] * len(self.shape) if box is None else list(box)
        wanted[self.axis] = slice(start, self._at)
        return np.asarray(self._source.data[tuple(wanted)], order=self.order)

    def _values(self, found: _Array) -> _Array:
        return found


class Labels(Part):
    """Integer labels; ``name`` is told in errors."""

    def __init__(self, source: StoredVoxels | Volume, context: _Context, name: str) -> None:
        super().__init__(source, context)
        self._name = name

    def _values(self, found: _Array) -> _Array:
        return as_labels(found, self._name)


class Votes(Labels):
    """One rater's votes."""

    def __init__(
        self, source: StoredVoxels | Volume, context: _Context, name: str, positive: tuple[int, ...] | None
    ) -> None:
        super().__init__(source, context, name)
        self._positive = positive

    def _values(self, found: _Array) -> _Array:
        return as_votes(found, self._positive, self._name)


class Probabilities(Part):
    """The foreground's probability in a file of one value a voxel."""

    def __init__(self, source: StoredVoxels, context: _Context, options: LoadOptions) -> None:
        super().__init__(source, context)
        require_real(source.dtype, source.path)
        self._options, self._name = options, str(source.path)
        self._kept = np.float64 if source.dtype == np.float64 else np.float32
        self._low, self._high = np.inf, -np.inf

    def take(self, n_sections: int, box: Box | None = None) -> _Array:
        if box is None or self._options.values == "probabilities":
            return super().take(n_sections, box)
        logits = super().take(n_sections)  # whether they are logits is told from all of them
        wanted = list(box)
        wanted[self.axis] = slice(None)
        return np.asarray(logits[tuple(wanted)], order=self.order)

    def skip(self, n_sections: int) -> None:
        if self._options.values == "logits":
            self.take(n_sections)
        else:
            super().skip(n_sections)

    def finish(self) -> None:
        super().finish()
        if self._options.values == "logits":
            with self._context():
                require_logits(self._low, self._high, self._name)

    def _values(self, found: _Array) -> _Array:
        volume = Volume(found, None)
        if self._options.values == "logits":
            low, high = extremes(found)
            self._low, self._high = min(self._low, low), max(self._high, high)
            volume = inverse_logit(volume)
        chosen = foreground_of(volume, self._options.foreground, self._name, self._options.merge)
        return chosen.data.astype(self._kept, copy=False)


def order_of(data: _Array) -> Order:
    """The order in which an array lies in memory, "C" where it lies in neither."""
    return "F" if data.flags.f_contiguous and not data.flags.c_contiguous else "C"


def bounding_box(part: Part, n_sections: int) -> Box:
    """Where labels that are not 0 lie; all slices are empty if there are none."""
    n_axes, axis = len(part.shape), part.axis
    occupied = [np.zeros(size, dtype=bool) for size in part.shape]
    for start in range(0, part.shape[axis], n_sections):
        stop = min(start + n_sections, part.shape[axis])
        inside = part.take(stop - start) != 0
        for along in range(n_axes):
            across = tuple(other for other in range(n_axes) if other != along)
            where = slice(start, stop) if along == axis else slice(None)
            occupied[along][where] |= inside.any(axis=across)
    part.finish()
    return box_of(occupied)


def box_of(occupied: list[npt.NDArray[np.bool_]]) -> Box:
    """The smallest box with all occupied places; all slices are empty if there are none."""
    found = [np.flatnonzero(places) for places in occupied]
    if not all(places.size for places in found):
        return (slice(0, 0),) * len(found)
    return tuple(slice(int(places[0]), int(places[-1]) + 1) for places in found)
