"""An image in memory: its voxels, and where they lie if the file said so."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mrcalib.io.geometry import Geometry

__all__ = ["Source", "Volume"]

Source: TypeAlias = str | Path | npt.NDArray[np.generic]
"""A file, or voxels in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels in ``(x, y, z)`` order and their geometry.

    Parameters
    ----------
    data : ndarray of shape S or (*S, n_channels)
        The values as stored (scaled where the header says so); channels, if any, are last.
    geometry : Geometry or None
        None where the source has no header (arrays, ``.npy``, ``.npz``); then `data` has no channel axis.
    """

    data: npt.NDArray[np.generic]
    geometry: Geometry | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, channels left out."""
        return self.data.shape if self.geometry is None else self.geometry.shape

    @property
    def has_channels(self) -> bool:
        """Whether the last axis of `data` counts channels."""
        return self.data.ndim > len(self.shape)
