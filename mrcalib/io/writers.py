"""The door through which probability maps go out; the suffix chooses the format, the values are always float32."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib.io import arrays, itk, nifti
from mrcalib.io.geometry import Geometry
from mrcalib.io.readers import suffix_of

__all__ = ["write_labels", "write_probability"]


def write_probability(path: str | Path, data: npt.ArrayLike, geometry: Geometry | None) -> None:
    """Write a probability map as float32, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Ends in ``.nii.gz``, ``.nii``, ``.mha``, ``.nrrd``, ``.npy`` or ``.npz`` (key ``probs``).
    data : array-like of shape S
        Probabilities.
    geometry : Geometry or None
        Where the voxels lie; ``.npy`` and ``.npz`` cannot hold it and may go without.

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
    path = Path(path)
    suffix = suffix_of(path)
    shape = np.shape(data)
    if geometry is not None and shape != geometry.shape:
        msg = f"{path}: the probabilities have shape {shape}, the geometry {geometry.shape}; they must be equal."
        raise ValueError(msg)
    if suffix in (".npy", ".npz"):
        arrays.write_probability(path, data)
    elif suffix == ".png":
        msg = f"{path}: .png holds 256 grey values, too few for probabilities; write .npy or .nii.gz instead."
        raise ValueError(msg)
    elif suffix == ".mhd":
        msg = (
            f"{path}: .mhd keeps its voxels in a second file, so it cannot be written in one step; write .mha instead."
        )
        raise ValueError(msg)
    elif geometry is None:
        msg = (
            f"{path}: {suffix} states where the voxels lie, but the geometry is not known; write .npy or .npz instead."
        )
        raise ValueError(msg)
    else:
        writer = nifti if suffix in (".nii", ".nii.gz") else itk
        writer.write_probability(path, data, geometry)


def write_labels(path: str | Path, data: npt.ArrayLike, geometry: Geometry) -> None:
    """Write a label map as the smallest of uint8, int16 and int32 that holds it, whole or not at all.

    Parameters
    ----------
    path : str or Path
        Ends in ``.nii.gz``, ``.nii``, ``.mha`` or ``.nrrd``.
    data : array-like of shape S, int
        Labels from 0 on.
    geometry : Geometry
        Where the voxels lie.

    Raises
    ------
    ValueError
        If the suffix is not one of these, the shape is not the geometry's, or ``data`` are not whole numbers from 0 on.
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
    suffix = suffix_of(path)
    labels = np.asarray(data)
    if suffix not in (".nii.gz", ".nii", ".mha", ".nrrd"):
        msg = f"{path}: label maps are written as .nii.gz, .nii, .mha or .nrrd."
        raise ValueError(msg)
    if labels.shape != geometry.shape:
        msg = f"{path}: the labels have shape {labels.shape}, the geometry {geometry.shape}; they must be equal."
        raise ValueError(msg)
    if labels.dtype.kind not in "biu" or labels.min(initial=0) < 0:
        msg = f"{path}: labels must be whole numbers from 0 on; got {labels.dtype} values from {labels.min(initial=0)}."
        raise ValueError(msg)
    highest = int(labels.max(initial=0))
    dtype = next(kind for kind in (np.uint8, np.int16, np.int32) if highest <= np.iinfo(kind).max)
    writer = nifti if suffix in (".nii", ".nii.gz") else itk
    writer.write_probability(path, labels, geometry, dtype)
