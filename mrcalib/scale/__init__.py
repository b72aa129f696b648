"""Schedulers: from cases to a cohort of tallies, over threads. They know files and tallies, never statistics."""

from mrcalib.scale.cases import Progress, reading_of, tally_case, tally_cases, voxels_of_case

__all__ = ["Progress", "reading_of", "tally_case", "tally_cases", "voxels_of_case"]
