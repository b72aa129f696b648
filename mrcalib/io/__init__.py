"""Cases and their files: geometry, formats, manifests. Knows nothing of tallies, bins or calibrators.

Voxels are in ``(x, y, z)`` order and the world is RAS+ mm throughout; nothing is resampled. nibabel and SimpleITK are
imported when a file needs them.
"""

from mrcalib._files import atomic_write
from mrcalib.io.case import Case
from mrcalib.io.geometry import Geometry
from mrcalib.io.loaded import LoadedCase, LoadOptions
from mrcalib.io.manifest import read_manifest, write_manifest
from mrcalib.io.patterns import discover
from mrcalib.io.readers import read_labels, read_probability, read_volume
from mrcalib.io.volume import Source, Volume
from mrcalib.io.writers import write_probability

__all__ = [
    "Case",
    "Geometry",
    "LoadOptions",
    "LoadedCase",
    "Source",
    "Volume",
    "atomic_write",
    "discover",
    "read_labels",
    "read_manifest",
    "read_probability",
    "read_volume",
    "write_manifest",
    "write_probability",
]
