"""Schedulers: from cases to a cohort of tallies, over threads or a Dask cluster. They know no statistics."""

from mrcalib.scale.applying import apply_case
from mrcalib.scale.blocks import tally_blocks
from mrcalib.scale.cases import Progress, reading_of, tally_case, tally_cases, voxels_of_case
from mrcalib.scale.each_class import for_each_class

__all__ = [
    "Progress",
    "apply_case",
    "for_each_class",
    "reading_of",
    "tally_blocks",
    "tally_case",
    "tally_cases",
    "voxels_of_case",
]
