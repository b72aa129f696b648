"""NumPy files: voxels without a header."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.bytestream import ByteStream, FileBytes, member_bytes
from mrcalib.io.stored import Order, StoredVoxels

__all__ = ["header_of", "open_stored", "open_stored_npz", "read", "read_npz"]

_KEYS = ("probs", "probabilities", "mask", "softmax")


def read(path: Path) -> npt.NDArray[np.generic]:
    """Read a ``.npy`` array, in native byte order; pickles are refused.

    Raises
    ------
    ValueError
        If the file is damaged or holds Python objects.
    """
    return open_stored(path).whole()


def open_stored(path: Path, *, digest: bool = False) -> StoredVoxels:
    """The voxels of a ``.npy`` file, to be read in order.

    Parameters
    ----------
    path : Path
        The file.
    digest : bool
        Whether SHA-256 of the file is taken on the way.

    Raises
    ------
    ValueError
        If the header is damaged, or voxels are no plain numbers.
    """
    worded = partial(_worded, path, "array", "numpy.save")
    with worded():
        return replace(_stored(path, FileBytes(path, digest=digest)), worded=worded)


def read_npz(path: Path) -> tuple[str, npt.NDArray[np.generic]]:
    """Read the image of a ``.npz`` archive, in native byte order, and the key it lies under; pickles are refused.

    Parameters
    ----------
    path : Path
        An archive with a key ``probs``, ``probabilities`` or ``mask`` (the first that is there), or with one key.

    Returns
    -------
    key : str
    array : ndarray

    Raises
    ------
    ValueError
        If the archive is damaged, holds Python objects, or has several keys and none of the known ones.
    """
    key, stored = open_stored_npz(path)
    return key, stored.whole()


def open_stored_npz(path: Path, *, digest: bool = False) -> tuple[str, StoredVoxels]:
    """The key of a ``.npz`` archive's image and its voxels, to be read in order; as `read_npz`."""
    worded = partial(_worded, path, "archive", "numpy.savez_compressed")
    with worded():
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        keys = list(members)
        key = next((known for known in _KEYS if known in keys), keys[0] if len(keys) == 1 else None)
        if key is not None:
            stored = _stored(path, member_bytes(path, members[key], digest=digest))
            return key, replace(stored, worded=worded)
    msg = f"{path} must hold its image under the key 'probs', 'probabilities' or 'mask', or one key only; got {keys}."
    raise ValueError(msg)


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
def _worded(path: Path, what: str, with_what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        msg = f"{path} cannot be read as a NumPy {what}: {error}. Save plain numbers with {with_what}."
        raise ValueError(msg) from error


def header_of(shape: tuple[int, ...], order: Order, dtype: npt.DTypeLike = np.float32) -> bytes:
    """What a ``.npy`` file begins with, up to its voxels, as ``numpy.save`` writes it.

    Parameters
    ----------
    shape : tuple of int
        Of the array.
    order : {"C", "F"}
        In which its voxels lie; of a line of voxels both are "C".
    dtype : data type
        Of the file.
    """
    content = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": order == "F" and 0 not in shape and sum(size != 1 for size in shape) > 1,
        "shape": shape,
    }
    start = BytesIO()
    np.lib.format.write_array_header_1_0(start, content)
    return start.getvalue()
