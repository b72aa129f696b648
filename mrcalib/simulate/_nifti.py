"""NIfTI files of phantoms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write_nifti(path: Path, array: NDArray[Any], spacing: tuple[float, float, float]) -> None:
    """Write an array with RAS+ axes and the world's origin in its middle, whole or not at all."""
    import nibabel as nib

    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * np.multiply(spacing, np.subtract(array.shape, 1))
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    nib.save(image, unfinished)
    unfinished.replace(path)
