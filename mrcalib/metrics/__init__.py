"""Scores of segmentation probabilities against several raters: calibration, proper scores, overlap, volume, ranking.

Functions take arrays, (probs, raters); a `Metric` takes responses, of voxels or of a tally, and knows nothing of files,
studies or resampling. The probability of a voxel is that of foreground.
"""

from __future__ import annotations

import importlib
from typing import Any

from mrcalib.metrics._metric import Metric
from mrcalib.metrics.calibration import (
    average_calibration_error,
    ece_metric,
    expected_calibration_error,
    maximum_calibration_error,
    mean_rater_ece,
    multirater_ece,
)
from mrcalib.metrics.catalogue import default_metrics, get_metric
from mrcalib.metrics.corp import CorpDecomposition, corp_decomposition
from mrcalib.metrics.count_calibration import (
    VoteCoverage,
    pit_histogram,
    pit_metric,
    vote_coverage_metric,
    vote_interval,
    vote_interval_coverage,
)
from mrcalib.metrics.counts import (
    count_level_responses,
    count_log_loss,
    count_log_loss_metric,
    count_responses,
    rps_metric,
)
from mrcalib.metrics.curve_metric import reliability_metric
from mrcalib.metrics.multiclass import multiclass_report
from mrcalib.metrics.ordinal import binomial_count_probs, count_readout, orc_labels, ranked_probability_score
from mrcalib.metrics.overlap import (
    majority_dice,
    majority_dice_metric,
    soft_dice,
    soft_dice_metric,
    threshold_dice,
    threshold_dice_metric,
)
from mrcalib.metrics.pairs import multirater
from mrcalib.metrics.proper import brier_metric, brier_score, log_loss, log_loss_metric
from mrcalib.metrics.ranking import auc, auc_metric
from mrcalib.metrics.reliability import ReliabilityCurve, reliability_curve
from mrcalib.metrics.vascular import PlaneContact, VascularInvasion, vascular_contact, vascular_invasion
from mrcalib.metrics.volume import (
    gaussian_crps,
    volume_bias,
    volume_bias_metric,
    volume_crps,
    volume_crps_metric,
    volume_error,
    volume_error_metric,
)

_DETECTION = (
    "DetectionScore",
    "RaterAgreement",
    "average_precision",
    "average_recall",
    "detection_calibration",
    "detection_ece",
    "laece0",
    "lrp",
    "rater_agreement",
)
"""What ``mrcalib.detection`` defines, and is found here too."""

__all__ = [
    "CorpDecomposition",
    "DetectionScore",
    "Metric",
    "PlaneContact",
    "RaterAgreement",
    "ReliabilityCurve",
    "VascularInvasion",
    "VoteCoverage",
    "auc",
    "auc_metric",
    "average_calibration_error",
    "average_precision",
    "average_recall",
    "binomial_count_probs",
    "brier_metric",
    "brier_score",
    "corp_decomposition",
    "count_level_responses",
    "count_log_loss",
    "count_log_loss_metric",
    "count_readout",
    "count_responses",
    "default_metrics",
    "detection_calibration",
    "detection_ece",
    "ece_metric",
    "expected_calibration_error",
    "gaussian_crps",
    "get_metric",
    "laece0",
    "log_loss",
    "log_loss_metric",
    "lrp",
    "majority_dice",
    "majority_dice_metric",
    "maximum_calibration_error",
    "mean_rater_ece",
    "multiclass_report",
    "multirater",
    "multirater_ece",
    "orc_labels",
    "pit_histogram",
    "pit_metric",
    "ranked_probability_score",
    "rater_agreement",
    "reliability_curve",
    "reliability_metric",
    "rps_metric",
    "soft_dice",
    "soft_dice_metric",
    "threshold_dice",
    "threshold_dice_metric",
    "vascular_contact",
    "vascular_invasion",
    "volume_bias",
    "volume_bias_metric",
    "volume_crps",
    "volume_crps_metric",
    "volume_error",
    "volume_error_metric",
    "vote_coverage_metric",
    "vote_interval",
    "vote_interval_coverage",
]


def __getattr__(name: str) -> Any:
    if name in _DETECTION:
        return getattr(importlib.import_module("mrcalib.detection"), name)
    msg = f"module 'mrcalib.metrics' has no attribute {name!r}"
    raise AttributeError(msg)
