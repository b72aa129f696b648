"""Frozen monotone maps from probability to probability: what a fitted calibrator keeps, evaluates and saves.

A map does not depend on how it was fitted. It is evaluated elementwise, keeps shape and float dtype, and is written to JSON
without loss.
"""

from mrcalib.maps.base import CalibrationMap, map_from_dict
from mrcalib.maps.curves import CLIP, BetaMap, LogitMap
from mrcalib.maps.segments import PiecewiseLinearMap, StepMap, mean_of_maps

__all__ = [
    "CLIP",
    "BetaMap",
    "CalibrationMap",
    "LogitMap",
    "PiecewiseLinearMap",
    "StepMap",
    "map_from_dict",
    "mean_of_maps",
]
