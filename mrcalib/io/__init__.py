"""Cases and their files: geometry, formats, manifests. This package knows nothing of tallies, bins or calibrators.

Voxels are in ``(x, y, z)`` order and the world is RAS+ mm throughout; nothing is resampled. nibabel and SimpleITK are
imported when a file needs them.
"""

from mrcalib._files import atomic_write
from mrcalib.io.case import Annotations, Case
from mrcalib.io.classes import ImageClass
from mrcalib.io.formats import FORMATS, ImageFormat, register_format
from mrcalib.io.geometry import Geometry
from mrcalib.io.grand_challenge import write_metrics_json
from mrcalib.io.image import Image, Volume
from mrcalib.io.layouts import (
    Defect,
    LayoutCase,
    LayoutFolder,
    LayoutInfo,
    layout_info,
    read_layout,
    recognise_layout,
    scan_layout,
)
from mrcalib.io.loaded import LoadedAnnotations, LoadedCase, LoadedClasses, load_classes, require_classes
from mrcalib.io.manifest import read_annotations, read_manifest, write_manifest
from mrcalib.io.patterns import discover, discover_annotations
from mrcalib.io.readers import read_labels, read_probability, read_volume
from mrcalib.io.slabs import OpenCase, Slab
from mrcalib.io.sources import Source
from mrcalib.io.writers import write_labels, write_probability, write_slabs
from mrcalib.options import LoadOptions

__all__ = [
    "FORMATS",
    "Annotations",
    "Case",
    "Defect",
    "Geometry",
    "Image",
    "ImageClass",
    "ImageFormat",
    "LayoutCase",
    "LayoutFolder",
    "LayoutInfo",
    "LoadOptions",
    "LoadedAnnotations",
    "LoadedCase",
    "LoadedClasses",
    "OpenCase",
    "Slab",
    "Source",
    "Volume",
    "atomic_write",
    "discover",
    "discover_annotations",
    "layout_info",
    "load_classes",
    "read_annotations",
    "read_labels",
    "read_layout",
    "read_manifest",
    "read_probability",
    "read_volume",
    "recognise_layout",
    "register_format",
    "require_classes",
    "scan_layout",
    "write_labels",
    "write_manifest",
    "write_metrics_json",
    "write_probability",
    "write_slabs",
]
