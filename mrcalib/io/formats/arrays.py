"""NumPy files: voxels without a header."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.bytestream import ByteStream, FileBytes, member_bytes
from mrcalib.io.deflating import PlainSink, Sink, ZipSink
from mrcalib.io.formats._registry import open_image, register_format
from mrcalib.io.formats.nnunet import find_segmentation, orient, refuse_softmax
from mrcalib.io.geometry import Geometry
from mrcalib.io.image import Image, Order, StoredVoxels, Volume, in_memory
from mrcalib.io.masks import as_labels, single_channel

__all__ = ["Npy", "Npz"]

_KEYS = ("probs", "probabilities", "mask", "softmax")


@register_format(".npy")
class Npy:
    """NumPy arrays; pickles are refused."""

    def open(self, path: Path, *, digest: bool = False) -> Image:
        """The voxels, to be read in order.

        Raises
        ------
        ValueError
            If the header is damaged, or voxels are no plain numbers.
        """
        errors = partial(_file_errors, path, "array", "numpy.save")
        with errors():
            stored = _stored(path, FileBytes(path, digest=digest))
            stored.errors = errors
        return stored

    def header(self, shape: tuple[int, ...], geometry: Geometry | None, dtype: npt.DTypeLike, order: Order) -> bytes:
        """What a ``.npy`` file begins with, up to its voxels, as ``numpy.save`` writes it; of a line, both orders are "C"."""
        content = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
            "fortran_order": order == "F" and 0 not in shape and sum(size != 1 for size in shape) > 1,
            "shape": shape,
        }
        start = BytesIO()
        np.lib.format.write_array_header_1_0(start, content)
        return start.getvalue()

    def sink(self, file: IO[bytes], level: int, n_threads: int) -> Sink:
        """Where the bytes of a new file go."""
        return PlainSink(file)


@register_format(".npz")
class Npz(Npy):
    """NumPy archives with one array, or with ``probs``, ``probabilities`` or ``mask``; nnU-Net's exports among them."""

    def open(self, path: Path, *, digest: bool = False) -> Image:
        """The voxels, to be read in order; those of an nnU-Net export whole, with the geometry of the segmentation beside it.

        Raises
        ------
        ValueError
            If the archive is damaged, holds Python objects, or has several keys and none of the known ones; or if it is an
            export of nnU-Net whose axes cannot be proved.
        """
        errors = partial(_file_errors, path, "archive", "numpy.savez_compressed")
        with errors(), zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        keys = list(members)
        key = next((known for known in _KEYS if known in keys), keys[0] if len(keys) == 1 else None)
        if key == "softmax":
            refuse_softmax(path)
        if key is None:
            msg = f"{path} must hold its image under the key 'probs', 'probabilities' or 'mask', or one key only; got {keys}."
            raise ValueError(msg)
        with errors():
            stored = _stored(path, member_bytes(path, members[key], digest=digest))
            stored.errors = errors
        if key != "probabilities" or len(stored.shape) != 4:
            return stored
        beside = find_segmentation(path)
        if beside is None:
            stored.close()
            msg = (
                f"{path} looks like an nnU-Net export, which has no geometry of its own; expected the segmentation of the "
                f"same name ({path.name.removesuffix('.npz')}.nii.gz, .nii, .mha or .nrrd) beside it."
            )
            raise ValueError(msg)
        whole = in_memory(stored)
        probabilities = whole.data.astype(np.float32, copy=False)
        segmentation = single_channel(in_memory(open_image(beside)), str(beside))
        labels = Volume(as_labels(segmentation.data, str(beside)), segmentation.geometry)
        oriented = orient(probabilities, labels, path)
        return Volume(oriented.data, oriented.geometry, digest=whole.digest())

    def companions(self, path: Path) -> list[Path]:
        """The segmentation beside an nnU-Net export."""
        segmentation = find_segmentation(path)
        return [] if segmentation is None else [segmentation]

    def sink(self, file: IO[bytes], level: int, n_threads: int) -> Sink:
        """Where the bytes of a new file go."""
        return ZipSink(file, level, n_threads, "probs.npy")


def _stored(path: Path, content: ByteStream) -> StoredVoxels:
    try:
        shape, in_columns, dtype = _header(content)
        if dtype.hasobject:
            msg = "Object arrays cannot be loaded when allow_pickle=False"
            raise ValueError(msg)
        return StoredVoxels(path, content, shape, dtype, "F" if in_columns else "C")
    except BaseException:
        content.close()
        raise


def _header(content: ByteStream) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether the first axis varies fastest, and data type, as the header of the ``.npy`` format says."""
    start = content.read(8)
    if start[:6] != b"\x93NUMPY":
        msg = f"the magic string is not correct; expected b'\\x93NUMPY', got {start[:6]!r}"
        raise ValueError(msg)
    size = content.read(2 if start[6] == 1 else 4)
    file = BytesIO(start + size + content.read(int.from_bytes(size, "little")))
    version = np.lib.format.read_magic(file)
    read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header: tuple[tuple[int, ...], bool, np.dtype[Any]] = read(file)
    return header


@contextmanager
def _file_errors(path: Path, what: str, with_what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        msg = f"{path} cannot be read as a NumPy {what}: {error}. Save plain numbers with {with_what}."
        raise ValueError(msg) from error
