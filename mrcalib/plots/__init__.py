"""Pictures of what was computed, in the shape of scikit-learn's displays.

A display holds arrays and draws them: constructors ``from_*`` compute, ``plot`` draws and returns the display. Matplotlib is
imported when something is drawn; its global state (rcParams, pyplot's figures) is left alone, and no screen is needed.
"""

from __future__ import annotations

import importlib
from typing import Any

from mrcalib.plots._case import CaseDisplay
from mrcalib.plots._cases import CasesDisplay, choose_cases, disagreement_of_raters
from mrcalib.plots._count_reliability import CountReliabilityDisplay
from mrcalib.plots._maps import CalibrationMapDisplay
from mrcalib.plots._metrics import MetricDisplay
from mrcalib.plots._pit import PITDisplay
from mrcalib.plots._reliability import ReliabilityDisplay
from mrcalib.plots._save import save_study_figures
from mrcalib.plots._vote_coverage import VoteCoverageDisplay

_DETECTION = ("DetectionCalibrationDisplay", "EnsembleSizeDisplay", "RaterAgreementDisplay")
"""What ``mrcalib.detection.plots`` defines, and is found here too."""

__all__ = [
    "CalibrationMapDisplay",
    "CaseDisplay",
    "CasesDisplay",
    "CountReliabilityDisplay",
    "DetectionCalibrationDisplay",
    "EnsembleSizeDisplay",
    "MetricDisplay",
    "PITDisplay",
    "RaterAgreementDisplay",
    "ReliabilityDisplay",
    "VoteCoverageDisplay",
    "choose_cases",
    "disagreement_of_raters",
    "save_study_figures",
]


def __getattr__(name: str) -> Any:
    if name in _DETECTION:
        return getattr(importlib.import_module("mrcalib.detection.plots"), name)
    msg = f"module 'mrcalib.plots' has no attribute {name!r}"
    raise AttributeError(msg)
