"""Calibrators, one method a file: each makes a monotone map of the pooled answers of the raters."""

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._count_base import CountCalibrator
from mrcalib.calibrators.beta import BetaCalibrator
from mrcalib.calibrators.beta_binomial import BetaBinomialCalibrator
from mrcalib.calibrators.case_adaptive import CaseAdaptiveCalibrator
from mrcalib.calibrators.hard_label import HardLabelCalibrator
from mrcalib.calibrators.histogram import HistogramBinningCalibrator
from mrcalib.calibrators.identity import IdentityCalibrator
from mrcalib.calibrators.mhr import MHRIsotonicCalibrator
from mrcalib.calibrators.one_vs_rest import OneVsRestCalibrator
from mrcalib.calibrators.ordinal import OrdinalCalibrator
from mrcalib.calibrators.platt import PlattCalibrator
from mrcalib.calibrators.single_rater import SingleRaterCalibrator
from mrcalib.calibrators.temperature import TemperatureScalingCalibrator

__all__ = [
    "BetaBinomialCalibrator",
    "BetaCalibrator",
    "CaseAdaptiveCalibrator",
    "CountCalibrator",
    "HardLabelCalibrator",
    "HistogramBinningCalibrator",
    "IdentityCalibrator",
    "MHRIsotonicCalibrator",
    "OneVsRestCalibrator",
    "OrdinalCalibrator",
    "PlattCalibrator",
    "SingleRaterCalibrator",
    "TemperatureScalingCalibrator",
    "VoteCalibrator",
]
