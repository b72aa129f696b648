"""MetaImage and NRRD files, through SimpleITK (an optional extra).

ITK arrays run ``(z, y, x)`` and its world is LPS; everything that leaves this file is ``(x, y, z)`` and RAS+.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib._files import atomic_write
from mrcalib.io.geometry import Geometry
from mrcalib.io.volume import Volume

__all__ = ["read", "write"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def read(path: Path) -> Volume:
    """Read a ``.mha``, ``.mhd`` or ``.nrrd`` image.

    Parameters
    ----------
    path : Path
        A 2-D or 3-D image, scalar or with several components per voxel, or a 4-D one whose last axis counts channels.

    Returns
    -------
    Volume
        Channels, if any, last.

    Raises
    ------
    ImportError
        If SimpleITK is not installed.
    ValueError
        If the file is damaged.
    """
    sitk = _simpleitk()
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        msg = (
            f"{path} cannot be read by SimpleITK: {reason}. The file is damaged or incomplete; export or copy it again."
        )
        raise ValueError(msg) from error
    array = sitk.GetArrayFromImage(image)
    n = image.GetDimension()
    data = array.transpose(*reversed(range(n)), *range(n, array.ndim))
    return Volume(data, _geometry(image))


def write(
    path: Path, data: npt.ArrayLike, geometry: Geometry, dtype: npt.DTypeLike = np.float32, compression: int = -1
) -> None:
    """Write probabilities as float32, or labels as ``dtype``, compressed, whole or not at all.

    Parameters
    ----------
    path : Path
        A ``.mha`` or ``.nrrd`` file.
    data : array-like of shape `geometry.shape`
        Probabilities.
    geometry : Geometry
        Where the voxels lie.
    dtype : data type
        Of the file.
    compression : int
        1 (fast) to 9 (small); -1 is ITK's own choice.

    Raises
    ------
    ImportError
        If SimpleITK is not installed.
    ValueError
        If the axes are not perpendicular: ITK cannot say so in a header.
    """
    sitk = _simpleitk()
    n = len(geometry.shape)
    spacing = np.array(geometry.spacing)
    lps = _LPS_TO_RAS @ geometry.affine[:3]
    direction = lps[:n, :n] / spacing
    if not np.allclose(direction.T @ direction, np.eye(n), atol=1e-4):
        msg = f"{path}: the image's axes are not perpendicular, which this format cannot hold; write .nii.gz instead."
        raise ValueError(msg)
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.asarray(data, dtype=dtype).T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:n, 3].tolist())
    image.SetDirection(direction.ravel().tolist())
    with atomic_write(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True, compressionLevel=compression)


def _simpleitk() -> Any:
    try:
        import SimpleITK
    except ImportError as error:
        msg = "Reading and writing .mha, .mhd and .nrrd needs SimpleITK: pip install 'mrcalib[itk]'."
        raise ImportError(msg) from error
    return SimpleITK


def _geometry(image: Any) -> Geometry:
    stored = image.GetDimension()
    n = min(stored, 3)
    direction = np.array(image.GetDirection()).reshape(stored, stored)[:n, :n]
    affine = np.eye(4)
    affine[:n, :n] = direction * np.array(image.GetSpacing()[:n])
    affine[:n, 3] = image.GetOrigin()[:n]
    affine[:3] = _LPS_TO_RAS @ affine[:3]
    return Geometry(image.GetSize()[:n], affine)
