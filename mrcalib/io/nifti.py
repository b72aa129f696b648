"""NIfTI-1 and NIfTI-2 files, through nibabel. World coordinates are nibabel's own: RAS+ mm."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib._files import atomic_write
from mrcalib.io.geometry import TOLERANCE, Geometry
from mrcalib.io.volume import Volume

__all__ = ["quantisation", "read", "write_probability"]


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
    with _worded(path):
        image = _open(path)
        if image.get_data_dtype().kind not in "iuf":
            msg = f"{path} holds {image.get_data_dtype()} voxels; expected integers or real numbers."
            raise ValueError(msg)
        stored = image.dataobj
        data = np.asarray(stored) if _step(stored) is None else np.asarray(stored, dtype=np.float32)
        shape = data.shape[:3]
        geometry = _geometry(image, shape, path)
    data = data.astype(data.dtype.newbyteorder("="), copy=False)
    if data.ndim > 3:
        data = data.reshape((*shape, -1), order="F")
    return Volume(data, geometry)


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


def write_probability(path: Path, data: npt.ArrayLike, geometry: Geometry, dtype: npt.DTypeLike = np.float32) -> None:
    """Write probabilities as float32, or labels as ``dtype``, under a fresh header, whole or not at all.

    A header copied from a mask would store the probabilities as its integers, to 1/255 at best, without a word.

    Parameters
    ----------
    path : Path
        A ``.nii`` or ``.nii.gz`` file.
    data : array-like of shape `geometry.shape`
        Probabilities.
    geometry : Geometry
        Where the voxels lie.
    dtype : data type
        Of the file.
    """
    nib = _nibabel()
    image = nib.Nifti1Image(np.asarray(data, dtype=dtype), geometry.affine)
    image.header.set_data_dtype(dtype)
    image.header.set_xyzt_units("mm")
    with atomic_write(path) as temporary:
        nib.save(image, temporary)


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
