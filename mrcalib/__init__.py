"""mrcalib: segmentation probabilities that mean something when experts disagree.

From a segmenter's probabilities and the masks of several raters to *the expected fraction of raters who would mark this
voxel*, and to how good that is. Names are imported when they are first used, so that ``import mrcalib`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__

if TYPE_CHECKING:
    from mrcalib import detection, fusion, io, metrics, plots, protocols, roi, simulate
    from mrcalib.calibrators import (
        BetaBinomialCalibrator,
        BetaCalibrator,
        CaseAdaptiveCalibrator,
        HardLabelCalibrator,
        HistogramBinningCalibrator,
        IdentityCalibrator,
        MHRIsotonicCalibrator,
        OneVsRestCalibrator,
        OrdinalCalibrator,
        PlattCalibrator,
        SingleRaterCalibrator,
        TemperatureScalingCalibrator,
        register_calibrator,
    )
    from mrcalib.cohort import Cohort
    from mrcalib.exceptions import GeometryError, SaturationWarning
    from mrcalib.grid import ProbabilityGrid
    from mrcalib.io import Case, register_format
    from mrcalib.metrics import register_metric
    from mrcalib.persistence import load
    from mrcalib.scale import tally_cases
    from mrcalib.study import Study, compare
    from mrcalib.tallies import Tally, tally

_HOME = {
    "BetaBinomialCalibrator": "calibrators",
    "BetaCalibrator": "calibrators",
    "Case": "io",
    "CaseAdaptiveCalibrator": "calibrators",
    "Cohort": "cohort",
    "GeometryError": "exceptions",
    "HardLabelCalibrator": "calibrators",
    "HistogramBinningCalibrator": "calibrators",
    "IdentityCalibrator": "calibrators",
    "MHRIsotonicCalibrator": "calibrators",
    "OneVsRestCalibrator": "calibrators",
    "OrdinalCalibrator": "calibrators",
    "PlattCalibrator": "calibrators",
    "ProbabilityGrid": "grid",
    "SaturationWarning": "exceptions",
    "SingleRaterCalibrator": "calibrators",
    "Study": "study",
    "Tally": "tallies",
    "TemperatureScalingCalibrator": "calibrators",
    "compare": "study",
    "load": "persistence",
    "register_calibrator": "calibrators",
    "register_format": "io",
    "register_metric": "metrics",
    "tally": "tallies",
    "tally_cases": "scale",
}
_ROOMS = ("detection", "fusion", "io", "metrics", "plots", "protocols", "roi", "simulate")

__all__ = [
    "BetaBinomialCalibrator",
    "BetaCalibrator",
    "Case",
    "CaseAdaptiveCalibrator",
    "Cohort",
    "GeometryError",
    "HardLabelCalibrator",
    "HistogramBinningCalibrator",
    "IdentityCalibrator",
    "MHRIsotonicCalibrator",
    "OneVsRestCalibrator",
    "OrdinalCalibrator",
    "PlattCalibrator",
    "ProbabilityGrid",
    "SaturationWarning",
    "SingleRaterCalibrator",
    "Study",
    "Tally",
    "TemperatureScalingCalibrator",
    "__version__",
    "compare",
    "detection",
    "fusion",
    "io",
    "load",
    "metrics",
    "plots",
    "protocols",
    "register_calibrator",
    "register_format",
    "register_metric",
    "roi",
    "simulate",
    "tally",
    "tally_cases",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mrcalib.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return importlib.import_module(f"mrcalib.{name}")
    msg = f"module 'mrcalib' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return __all__
