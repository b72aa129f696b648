"""Published data sets as they lie on disk; one file a layout.

Cases are found by the names of their files and folders, and nothing is read (`scan_layout`).
"""

from mrcalib.io.layouts.model import Defect, LayoutCase, LayoutFolder, LayoutInfo
from mrcalib.io.layouts.reading import layout_info, read_layout, recognise_layout, scan_layout

__all__ = [
    "Defect",
    "LayoutCase",
    "LayoutFolder",
    "LayoutInfo",
    "layout_info",
    "read_layout",
    "recognise_layout",
    "scan_layout",
]
