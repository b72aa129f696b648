"""Calibrators: each makes a monotone map of the pooled answers of the raters, and is registered under a method's name."""

import importlib
import pkgutil

from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import CalibrationData, CaseSums, Needs, data_of_cohort
from mrcalib.calibrators._fitted import SCHEMA
from mrcalib.calibrators._registry import CALIBRATORS, Method, class_named, get_method, register_calibrator
from mrcalib.calibrators.baselines import HistogramBinningCalibrator, IdentityCalibrator
from mrcalib.calibrators.beta_binomial import BetaBinomialCalibrator
from mrcalib.calibrators.case_adaptive import CaseAdaptiveCalibrator
from mrcalib.calibrators.counts import CountCalibrator
from mrcalib.calibrators.isotonic import HardLabelCalibrator, MHRIsotonicCalibrator, SingleRaterCalibrator
from mrcalib.calibrators.logistic import BetaCalibrator, PlattCalibrator, TemperatureScalingCalibrator
from mrcalib.calibrators.one_vs_rest import OneVsRestCalibrator
from mrcalib.calibrators.ordinal import OrdinalCalibrator

__all__ = [
    "CALIBRATORS",
    "SCHEMA",
    "BetaBinomialCalibrator",
    "BetaCalibrator",
    "CalibrationData",
    "Calibrator",
    "CaseAdaptiveCalibrator",
    "CaseSums",
    "CountCalibrator",
    "HardLabelCalibrator",
    "HistogramBinningCalibrator",
    "IdentityCalibrator",
    "MHRIsotonicCalibrator",
    "Method",
    "Needs",
    "OneVsRestCalibrator",
    "OrdinalCalibrator",
    "PlattCalibrator",
    "SingleRaterCalibrator",
    "TemperatureScalingCalibrator",
    "class_named",
    "data_of_cohort",
    "get_method",
    "register_calibrator",
]

for _module in pkgutil.iter_modules(__path__):  # a method in a new file registers itself
    importlib.import_module(f"{__name__}.{_module.name}")
