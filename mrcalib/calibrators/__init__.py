"""Calibrators, one method a file: each makes a monotone map of the pooled answers of the raters."""

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators.beta import BetaCalibrator
from mrcalib.calibrators.hard_label import HardLabelCalibrator
from mrcalib.calibrators.histogram import HistogramBinningCalibrator
from mrcalib.calibrators.identity import IdentityCalibrator
from mrcalib.calibrators.mhr import MHRIsotonicCalibrator
from mrcalib.calibrators.platt import PlattCalibrator
from mrcalib.calibrators.single_rater import SingleRaterCalibrator
from mrcalib.calibrators.temperature import TemperatureScalingCalibrator

__all__ = [
    "BetaCalibrator",
    "HardLabelCalibrator",
    "HistogramBinningCalibrator",
    "IdentityCalibrator",
    "MHRIsotonicCalibrator",
    "PlattCalibrator",
    "SingleRaterCalibrator",
    "TemperatureScalingCalibrator",
    "VoteCalibrator",
]
