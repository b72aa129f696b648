"""NIfTI-1 and NIfTI-2 files, through nibabel. World coordinates are nibabel's own: RAS+ mm."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.bytestream import FileBytes, InflatedBytes
from mrcalib.io.deflating import GzipSink, PlainSink, Sink
from mrcalib.io.formats._registry import register_format
from mrcalib.io.geometry import TOLERANCE, Geometry
from mrcalib.io.image import Image, Order, StoredVoxels, Volume, in_memory

__all__ = ["CompressedNifti", "Nifti", "image_of"]


@register_format(".nii")
class Nifti:
    """NIfTI files: two or three spatial axes; further axes are read as channels, whole."""

    has_header = True
    order: Order = "F"
    """The only order in which this format keeps voxels."""

    def open(self, path: Path, *, digest: bool = False) -> Image:
        """The voxels with the values that the header states: integers as stored, scaled ones as float32.

        Raises
        ------
        ValueError
            If the header is damaged, or voxels are no plain numbers.

        Warns
        -----
        UserWarning
            If qform and sform are both set and place the voxels differently; the sform is used.
        """
        stored = _open_stored(path, digest=digest)
        while len(stored.shape) > 3 and stored.shape[-1] == 1:
            stored.shape = stored.shape[:-1]
        if len(stored.shape) <= 3:
            return stored
        whole = in_memory(stored)  # the channels lie one after the other in the file
        data = whole.data.reshape((*whole.shape[:3], -1), order="F")
        return Volume(data, stored.geometry, step=stored.step, digest=whole.digest())

    def header(self, shape: tuple[int, ...], geometry: Geometry, dtype: npt.DTypeLike, order: Order) -> bytes:
        """What a NIfTI-1 file begins with, up to its voxels: a fresh header for plain numbers of ``dtype``.

        A header copied from a mask would store probabilities as the mask's integers, in steps of 1/255 at best, unnoticed.
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

    def sink(self, file: IO[bytes], level: int, n_threads: int) -> Sink:
        """Where the bytes of a new file go."""
        return PlainSink(file)


@register_format(".nii.gz")
class CompressedNifti(Nifti):
    """NIfTI files, gzipped."""

    def sink(self, file: IO[bytes], level: int, n_threads: int) -> Sink:
        """Where the bytes of a new file go."""
        return GzipSink(file, level, n_threads)


def image_of(image: Any) -> Volume:
    """A nibabel image in memory, with its geometry; axes after the third are channels."""
    data = np.asanyarray(image.dataobj)
    if data.ndim > 3:
        data = data.reshape((*data.shape[:3], -1), order="F")
        data = data[..., 0] if data.shape[-1] == 1 else data
    return Volume(data, Geometry(data.shape[:3], image.affine))


def _open_stored(path: Path, *, digest: bool) -> StoredVoxels:
    with _file_errors(path):
        image = _open(path)
        if image.get_data_dtype().kind not in "iuf":
            msg = f"{path} holds {image.get_data_dtype()} voxels; expected integers or real numbers."
            raise ValueError(msg)
        array = image.dataobj
        geometry = _geometry(image, array.shape[:3], path)
        step = None if (array.slope, array.inter) == (1.0, 0.0) else float(array.slope)
        scale = None if step is None else partial(_scaled, slope=array.slope, inter=array.inter)
        file = FileBytes(Path(image.file_map["image"].filename), digest=digest)
        content = InflatedBytes(file) if path.name.lower().endswith(".gz") else file
        try:
            content.skip(array.offset)
            stored = StoredVoxels(path, content, array.shape, array.dtype, "F", geometry, scale)
        except BaseException:
            file.close()
            raise
    stored.errors = partial(_file_errors, path)
    stored.step = step if array.dtype.kind in "iu" else None
    return stored


def _scaled(stored: npt.NDArray[Any], *, slope: float, inter: float) -> npt.NDArray[np.float32]:
    """The values that nibabel makes of stored numbers."""
    if not stored.size:
        return np.empty(stored.shape, np.float32)
    made_of = _nibabel().arrayproxy.ArrayProxy(
        BytesIO(stored.tobytes(order="F")), (stored.shape, stored.dtype, 0, slope, inter), mmap=False
    )
    return np.asarray(made_of, dtype=np.float32)


def _nibabel() -> Any:
    import nibabel

    return nibabel


def _open(path: Path) -> Any:
    return _nibabel().load(path, mmap=False)


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    nib = _nibabel()
    bad_header = (nib.filebasedimages.ImageFileError, nib.spatialimages.HeaderDataError)
    try:
        yield
    except (OSError, EOFError, zlib.error, *bad_header) as error:
        msg = f"{path} cannot be read as NIfTI: {error}. The file is damaged or truncated; export or copy it again."
        raise ValueError(msg) from error


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
