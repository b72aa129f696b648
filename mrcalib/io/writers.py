"""Images written whole or slab by slab; the suffix chooses the format, probabilities are always float32."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib._files import atomic_write
from mrcalib.io.deflating import FASTEST, check_compression
from mrcalib.io.formats import format_of, writable
from mrcalib.io.geometry import Geometry
from mrcalib.io.image import Order, order_of

__all__ = ["write_labels", "write_probability", "write_slabs"]

_BYTES = 1 << 22
"""Of a slab that is cut from a whole image."""
_LINE = 16
"""Sections that are at least taken at a time: 16 float32 fill a line of the processor's cache."""


def write_probability(
    path: str | Path,
    data: npt.ArrayLike,
    geometry: Geometry | None,
    *,
    compression: int = FASTEST,
    n_jobs: int | None = None,
) -> None:
    """Write a probability map as float32, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Ends in ``.nii.gz``, ``.nii``, ``.mha``, ``.nrrd``, ``.npy``, ``.npz`` (key ``probs``), or what a plugin writes.
    data : array-like of shape S
        Probabilities.
    geometry : Geometry or None
        Where the voxels lie; ``.npy`` and ``.npz`` cannot hold it and may go without.
    compression : int
        1 (fast; by the package ``isal`` where it is installed) to 9 (small), of the formats that are compressed.
    n_jobs : int, optional
        Threads that compress; as many as processors by default. The file does not depend on it.

    Raises
    ------
    ValueError
        If the suffix is unknown or not one to write, the shape is not the geometry's, or a format with a header
        gets no geometry.
    ImportError
        If the suffix needs SimpleITK and it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.io import read_volume
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "calibrated.nii.gz"
    >>> write_probability(path, np.full((2, 3, 4), 0.25), Geometry((2, 3, 4), np.eye(4)))
    >>> read_volume(path).data.dtype == np.float32
    True
    >>> folder.cleanup()
    """
    array = np.asarray(data)
    order = order_of(array)
    order = getattr(format_of(path), "order", None) or order
    write_slabs(path, _cut(array, order), array.shape, geometry, order=order, compression=compression, n_jobs=n_jobs)


def write_slabs(
    path: str | Path,
    slabs: Iterable[npt.ArrayLike],
    shape: tuple[int, ...],
    geometry: Geometry | None,
    *,
    order: Order = "F",
    compression: int = FASTEST,
    n_jobs: int | None = None,
) -> None:
    """Write a probability map slab by slab as float32, whole or not at all.

    In memory are the slab that is written and the few megabytes that are being compressed, whatever the size of the image.
    Only ``.mha`` and ``.nrrd``, which SimpleITK writes, and a NIfTI file of slabs in C order are gathered first. The file is
    that of `write_probability`, however the image was cut.

    Parameters
    ----------
    path : str or Path
        As for `write_probability`.
    slabs : iterable of array-like
        Probabilities, in order: parts of the image along its last axis (order "F") or its first (order "C"), with all of
        the other axes. A slab must not be changed after it was given. What the iterable raises is raised, and no file is
        left.
    shape : tuple of int
        Of the whole image.
    geometry : Geometry or None
        As for `write_probability`.
    order : {"F", "C"}
        How slabs are cut, and how ``.npy`` and ``.npz`` keep the voxels.
    compression, n_jobs
        As for `write_probability`.

    Raises
    ------
    ValueError
        As `write_probability`, or if the slabs are not parts of the image or there are too few or too many.
    ImportError
        If the suffix needs SimpleITK and it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_slabs(f"{folder}/map.npy", (np.full((3, 2), z / 4) for z in range(2)), (3, 4), None)
    ...     np.load(f"{folder}/map.npy")[0]
    array([0.  , 0.  , 0.25, 0.25], dtype=float32)
    """
    path = Path(path)
    shape = tuple(shape)
    if order not in ("F", "C"):
        msg = f"order must be 'F' or 'C'; got {order!r}."
        raise ValueError(msg)
    _check_geometry(path, shape, geometry, "probabilities")
    _write(path, slabs, shape, geometry, np.float32, order=order, compression=compression, n_jobs=n_jobs)


def write_labels(
    path: str | Path,
    data: npt.ArrayLike,
    geometry: Geometry | None,
    *,
    compression: int = FASTEST,
    n_jobs: int | None = None,
) -> None:
    """Write a label map as the smallest of uint8, int16 and int32 that holds it, whole or not at all.

    Parameters
    ----------
    path : str or Path
        As for `write_probability`.
    data : array-like of shape S, int
        Labels from 0 on.
    geometry : Geometry or None
        As for `write_probability`.
    compression, n_jobs
        As for `write_probability`.

    Raises
    ------
    ValueError
        As `write_probability`, or if ``data`` are not whole numbers from 0 on.
    ImportError
        If the suffix needs SimpleITK and it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.io import read_labels
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_labels(f"{folder}/labels.nii.gz", np.full((2, 3, 4), 3), Geometry((2, 3, 4), np.eye(4)))
    ...     read_labels(f"{folder}/labels.nii.gz").data.dtype
    dtype('uint8')
    """
    path = Path(path)
    labels = np.asarray(data)
    _check_geometry(path, labels.shape, geometry, "labels")
    if labels.dtype.kind not in "biu" or labels.min(initial=0) < 0:
        msg = f"{path}: labels must be whole numbers from 0 on; got {labels.dtype} values from {labels.min(initial=0)}."
        raise ValueError(msg)
    highest = int(labels.max(initial=0))
    dtype = next(kind for kind in (np.uint8, np.int16, np.int32) if highest <= np.iinfo(kind).max)
    order: Order = getattr(format_of(path), "order", None) or order_of(labels)
    slabs = _cut(labels, order)
    _write(path, slabs, labels.shape, geometry, dtype, order=order, compression=compression, n_jobs=n_jobs)


def _write(
    path: Path,
    slabs: Iterable[npt.ArrayLike],
    shape: tuple[int, ...],
    geometry: Geometry | None,
    dtype: npt.DTypeLike,
    *,
    order: Order,
    compression: int,
    n_jobs: int | None,
) -> None:
    """Write an image whose arguments fit together: as a stream of bytes, or gathered first."""
    kind = _format_to_write(path)
    level = check_compression(compression)
    parts = _parts(path, slabs, shape, dtype, order)
    if not hasattr(kind, "header"):
        whole = _gathered(parts, shape, dtype, order)
        with atomic_write(path) as temporary, _naming(path):
            kind.write(temporary, whole, geometry, compression=level)
        return
    only: Order | None = getattr(kind, "order", None)
    if only is not None and order != only:
        parts, order = _cut(_gathered(parts, shape, dtype, order), only), only
    header = kind.header(shape, geometry, dtype, order)
    with (
        atomic_write(path) as temporary,
        temporary.open("xb", buffering=0) as file,
        kind.sink(file, level, _n_threads(n_jobs)) as sink,
    ):
        sink.write(memoryview(header))
        for part in parts:
            sink.write(_bytes_of(part, order))


def _check_geometry(path: Path, shape: tuple[int, ...], geometry: Geometry | None, what: str) -> None:
    """Refuse a geometry of another shape, and none where the format needs one."""
    if geometry is not None and shape != geometry.shape:
        msg = f"{path}: the {what} have shape {shape}, the geometry {geometry.shape}; they must be equal."
        raise ValueError(msg)
    if geometry is None and getattr(_format_to_write(path), "has_header", False):
        msg = f"{path}: its format states where the voxels lie, but the geometry is not known; write .npy or .npz instead."
        raise ValueError(msg)


def _format_to_write(path: Path) -> Any:
    """The format of a path; ValueError if it is only read."""
    kind = format_of(path)
    if not (hasattr(kind, "header") or hasattr(kind, "write")):
        why = getattr(kind, "why_only_read", f"the format is only read; write {', '.join(writable())}")
        msg = f"{path}: {why}."
        raise ValueError(msg)
    return kind


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the path before errors of a format."""
    try:
        yield
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ValueError(msg) from error


def _n_threads(n_jobs: int | None) -> int:
    if n_jobs is not None and n_jobs > 0:
        return n_jobs
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _parts(
    path: Path, slabs: Iterable[npt.ArrayLike], shape: tuple[int, ...], dtype: npt.DTypeLike, order: Order
) -> Iterator[npt.NDArray[Any]]:
    """The slabs, refused where they are not the image's parts."""
    axis = 0 if order == "C" else len(shape) - 1
    total = shape[axis] if shape else 1
    done = 0
    for slab in slabs:
        part = np.asarray(slab, dtype=dtype)
        n_sections = part.shape[axis] if part.ndim and part.ndim == len(shape) else 1
        fits = part.shape == _with(shape, axis, n_sections) and done + n_sections <= total
        if not fits:
            msg = (
                f"{path}: a slab has shape {part.shape}, where {total - done} of {total} sections along axis {axis} of an "
                f"image of shape {shape} are still missing."
            )
            raise ValueError(msg)
        done += n_sections
        yield part
    if done < total and 0 not in shape:
        msg = f"{path}: the slabs hold {done} of the {total} sections along axis {axis} of an image of shape {shape}."
        raise ValueError(msg)


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :]) if shape else ()


def _gathered(
    parts: Iterable[npt.NDArray[Any]], shape: tuple[int, ...], dtype: npt.DTypeLike, order: Order
) -> npt.NDArray[Any]:
    """The whole image."""
    axis = 0 if order == "C" else len(shape) - 1
    whole = np.empty(shape, dtype, order=order)
    start = 0
    for part in parts:
        np.moveaxis(whole, axis, 0)[start : start + part.shape[axis]] = np.moveaxis(part, axis, 0)
        start += part.shape[axis]
    return whole


def _cut(array: npt.NDArray[Any], order: Order) -> Iterator[npt.NDArray[Any]]:
    """Slabs of a whole image, of a few megabytes each."""
    if not array.size:
        return
    if array.ndim == 0:
        yield array
        return
    sections = np.moveaxis(array, 0 if order == "C" else -1, 0)
    section_bytes = array.itemsize * prod(sections.shape[1:])
    step = max(1, _BYTES // section_bytes)
    if order != order_of(array):
        step = max(step, _LINE)
    for start in range(0, len(sections), step):
        yield np.moveaxis(sections[start : start + step], 0, 0 if order == "C" else -1)


def _bytes_of(part: npt.NDArray[Any], order: Order) -> memoryview:
    flat = np.ravel(part, order=order)
    return memoryview(flat.view(np.uint8)) if flat.size else memoryview(b"")  # type: ignore[arg-type]
