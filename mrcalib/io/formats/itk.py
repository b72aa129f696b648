"""MetaImage and NRRD files, through SimpleITK (an optional extra).

ITK arrays run ``(z, y, x)`` and its world is LPS; everything that leaves this file is ``(x, y, z)`` and RAS+.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats._registry import register_format
from mrcalib.io.geometry import Geometry
from mrcalib.io.image import Volume

__all__ = ["Itk", "ItkHeader"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@register_format(".mhd")
class ItkHeader:
    """MetaImage headers, whose voxels are in another file; they are only read."""

    has_header = True
    why_only_read = ".mhd keeps its voxels in a second file, so it cannot be written in one step; write .mha instead"

    def open(self, path: Path) -> Volume:
        """A 2-D or 3-D image, scalar or with several components per voxel, or a 4-D one whose last axis counts channels.

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
            msg = f"{path} cannot be read by SimpleITK: {reason}. The file is damaged or incomplete; export or copy it again."
            raise ValueError(msg) from error
        array = sitk.GetArrayFromImage(image)
        n = image.GetDimension()
        data = array.transpose(*reversed(range(n)), *range(n, array.ndim))
        return Volume(data, _geometry(image))

    def companions(self, path: Path) -> list[Path]:
        """The file of the voxels, which the header names."""
        entries = dict(line.split("=", 1) for line in path.read_text("latin-1").splitlines() if "=" in line)
        named = {key.strip(): value.strip() for key, value in entries.items()}.get("ElementDataFile", "LOCAL")
        return [path.parent / named] if (path.parent / named).is_file() else []


@register_format(".mha", ".nrrd")
class Itk(ItkHeader):
    """MetaImage and NRRD images in one file."""

    def companions(self, path: Path) -> list[Path]:
        """None."""
        return []

    def write(self, path: Path, data: npt.NDArray[Any], geometry: Geometry, *, compression: int) -> None:
        """Write an image, compressed.

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
            msg = "The image's axes are not perpendicular, which this format cannot hold; write .nii.gz instead."
            raise ValueError(msg)
        image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:n, 3].tolist())
        image.SetDirection(direction.ravel().tolist())
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=compression)


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
