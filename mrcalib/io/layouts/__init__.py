"""Published data sets as they lie on disk; one file a layout.

Where a case is a file or a folder, cases are found by names and nothing is read (`scan_layout`); `read_annotated` reads images
and masks of what was found. Data sets in one file for all cases have a reader of their own.
"""

from mrcalib.io.layouts.annotated import AnnotatedImage
from mrcalib.io.layouts.cocahis import read_cocahis
from mrcalib.io.layouts.images import read_annotated, read_image_folder
from mrcalib.io.layouts.longciu import read_longciu
from mrcalib.io.layouts.model import Defect, LayoutCase, LayoutFolder, LayoutInfo
from mrcalib.io.layouts.reading import layout_info, read_layout, recognise_layout, scan_layout
from mrcalib.io.layouts.stacks import read_image_stack

__all__ = [
    "AnnotatedImage",
    "Defect",
    "LayoutCase",
    "LayoutFolder",
    "LayoutInfo",
    "layout_info",
    "read_annotated",
    "read_cocahis",
    "read_image_folder",
    "read_image_stack",
    "read_layout",
    "read_longciu",
    "recognise_layout",
    "scan_layout",
]
