"""NIfTI-1 and NIfTI-2 files, through nibabel. World coordinates are nibabel's own: RAS+ mm."""

import warnings
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

from mrcalib.io.bytestream import FileBytes, InflatedBytes
from mrcalib.io.geometry import TOLERANCE, Geometry
from mrcalib.io.stored import StoredVoxels
from mrcalib.io.volume import Volume

__all__ = ["header_of", "open_stored", "quantisation", "read"]


def read(path: Path) -> Volume:
    """Read a NIfTI file with the values it states: integers as stored, scaled ones as float32.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file; two or three spatial axes, further ones are flattened into channels (last).

    Returns
    -------
    Volume
        `data` in native byte order and Fortran order, as on disk.

    Raises
    ------
    ValueError
        If the file is damaged or truncated, or does not hold plain numbers.

    Warns
    -----
    UserWarning
        If qform and sform are both set and place the voxels differently; the sform is used.
    """
    stored = open_stored(path)
    data = stored.whole()
    if data.ndim > 3:
        data = data.reshape((*data.shape[:3], -1), order="F")
    return Volume(data, stored.geometry)


def open_stored(path: Path, *, digest: bool = False) -> StoredVoxels:
    """The voxels of a NIfTI file, to be read in order.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    digest : bool
        Whether SHA-256 of the file is taken on the way.

    Raises
    ------
    ValueError
        If the header is damaged, or voxels are no plain numbers.

    Warns
    -----
    UserWarning
        As `read`.
    """
    with _worded(path):
        image = _open(path)
        if image.get_data_dtype().kind not in "iuf":
            msg = f"{path} holds {image.get_data_dtype()} voxels; expected integers or real numbers."
            raise ValueError(msg)
        array = image.dataobj
        geometry = _geometry(image, array.shape[:3], path)
        scale = None if _step(array) is None else partial(_scaled, slope=array.slope, inter=array.inter)
        file = FileBytes(Path(image.file_map["image"].filename), digest=digest)
        content = InflatedBytes(file) if path.name.lower().endswith(".gz") else file
        try:
            content.skip(array.offset)
            stored = StoredVoxels(path, content, array.shape, array.dtype, "F", geometry, scale)
        except BaseException:
            file.close()
            raise
    return replace(stored, worded=partial(_worded, path))


def _scaled(stored: npt.NDArray[Any], *, slope: float, inter: float) -> npt.NDArray[np.float32]:
    """The values that nibabel makes of stored numbers."""
    if not stored.size:
        return np.empty(stored.shape, np.float32)
    made_of = _nibabel().arrayproxy.ArrayProxy(
        BytesIO(stored.tobytes(order="F")), (stored.shape, stored.dtype, 0, slope, inter), mmap=False
    )
    return np.asarray(made_of, dtype=np.float32)


def quantisation(path: Path) -> float | None:
    """Step between neighbouring values of a file stored as scaled integers; None for any other file.

    Raises
    ------
    ValueError
        If the header cannot be read.
    """
    with _worded(path):
        image = _open(path)
        return _step(image.dataobj) if image.get_data_dtype().kind in "iu" else None


def header_of(shape: tuple[int, ...], geometry: Geometry, dtype: npt.DTypeLike = np.float32) -> bytes:
    """What a NIfTI-1 file begins with, up to its voxels: a fresh header for plain numbers of ``dtype``.

    A header copied from a mask would store probabilities as its integers, to 1/255 at best, without a word.

    Parameters
    ----------
    shape : tuple of int
        Of the image.
    geometry : Geometry
        Where the voxels lie.
    dtype : data type
        Of the file.
    """
    nib = _nibabel()
    image = nib.Nifti1Image(np.broadcast_to(np.zeros((), dtype), shape), geometry.affine)
    image.header.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm")
    image.update_header()
    image.header.set_slope_inter(1, 0)
    start = BytesIO()
    image.header.write_to(start)
    return start.getvalue()


def _nibabel() -> Any:
    import nibabel

    return nibabel


def _open(path: Path) -> Any:
    return _nibabel().load(path, mmap=False)


@contextmanager
def _worded(path: Path) -> Iterator[None]:
    nib = _nibabel()
    bad_header = (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError)
    try:
        yield
    except (OSError, EOFError, zlib.error, *bad_header) as error:
        msg = f"{path} cannot be read as NIfTI: {error}. The file is damaged or truncated; export or copy it again."
        raise ValueError(msg) from error


def _step(stored: Any) -> float | None:
    return None if (stored.slope, stored.inter) == (1.0, 0.0) else float(stored.slope)


def _geometry(image: Any, shape: tuple[int, ...], path: Path) -> Geometry:
    try:
        geometry = Geometry(shape, image.affine)
    except ValueError as error:
        msg = f"{path} does not say where its voxels lie. {error} Correct its header."
        raise ValueError(msg) from error
    qform, sform = image.header.get_qform(coded=True)[0], image.header.get_sform(coded=True)[0]
    if qform is not None and sform is not None:
        apart = geometry.displacement_mm(Geometry(shape, qform))
        if apart > TOLERANCE * min(geometry.spacing):
            msg = (
                f"{path}: its two placements (qform and sform) lie up to {apart:.3g} mm apart. "
                "The sform is used; other programs may use the qform."
            )
            warnings.warn(msg, UserWarning, stacklevel=3)
    return geometry
