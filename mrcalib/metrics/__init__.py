"""Scores of segmentation probabilities against several raters: calibration, proper scores, overlap, volume, ranking.

Each score is a `Metric`, which is called on arrays, ``metric(probs, raters)``, on a tally, a cohort or a list of cases. It
knows nothing of files, studies or resampling. The probability of a voxel is that of foreground.
"""

import importlib
import pkgutil
import warnings
from typing import Any

# isort: off
# Metrics register themselves, so the order of these imports is that of the columns of a comparison.
from mrcalib.metrics.calibration import (
    average_calibration_error,
    expected_calibration_error,
    maximum_calibration_error,
    mean_rater_ece,
    multirater_ece,
)
from mrcalib.metrics.proper import CorpDecomposition, brier_score, corp_decomposition, log_loss
from mrcalib.metrics.overlap import majority_dice, soft_dice, threshold_dice
from mrcalib.metrics.volume import gaussian_crps, volume_bias, volume_crps, volume_error
from mrcalib.metrics.ranking import auc

# isort: on
from mrcalib.metrics.base import Metric
from mrcalib.metrics.catalogue import METRICS, default_metrics, get_metric, multirater, register_metric
from mrcalib.metrics.count_calibration import (
    VoteCoverage,
    pit_deviation,
    pit_histogram,
    vote_coverage_bias,
    vote_interval,
    vote_interval_coverage,
)
from mrcalib.metrics.count_scores import count_log_loss, ranked_probability_score
from mrcalib.metrics.counts import (
    binomial_count_probs,
    count_readout,
    count_responses,
    orc_labels,
)
from mrcalib.metrics.multiclass import multiclass_report
from mrcalib.metrics.reliability import ReliabilityCurve, count_level_responses, reliability_curve
from mrcalib.metrics.vascular import PlaneContact, VascularInvasion, vascular_contact, vascular_invasion

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
    "METRICS",
    "CorpDecomposition",
    "DetectionScore",
    "Metric",
    "PlaneContact",
    "RaterAgreement",
    "ReliabilityCurve",
    "VascularInvasion",
    "VoteCoverage",
    "auc",
    "average_calibration_error",
    "average_precision",
    "average_recall",
    "binomial_count_probs",
    "brier_score",
    "corp_decomposition",
    "count_level_responses",
    "count_log_loss",
    "count_readout",
    "count_responses",
    "default_metrics",
    "detection_calibration",
    "detection_ece",
    "expected_calibration_error",
    "gaussian_crps",
    "get_metric",
    "laece0",
    "log_loss",
    "lrp",
    "majority_dice",
    "maximum_calibration_error",
    "mean_rater_ece",
    "multiclass_report",
    "multirater",
    "multirater_ece",
    "orc_labels",
    "pit_deviation",
    "pit_histogram",
    "ranked_probability_score",
    "rater_agreement",
    "register_metric",
    "reliability_curve",
    "soft_dice",
    "threshold_dice",
    "vascular_contact",
    "vascular_invasion",
    "volume_bias",
    "volume_crps",
    "volume_error",
    "vote_coverage_bias",
    "vote_interval",
    "vote_interval_coverage",
]

for _module in pkgutil.iter_modules(__path__):  # a metric in a new file registers itself
    importlib.import_module(f"{__name__}.{_module.name}")

_FACTORIES = {  # of the version before: functions that made the metric of the function of nearly the same name
    "auc_metric": auc,
    "brier_metric": brier_score,
    "count_log_loss_metric": count_log_loss,
    "ece_metric": expected_calibration_error,
    "log_loss_metric": log_loss,
    "majority_dice_metric": majority_dice,
    "pit_metric": pit_deviation,
    "reliability_metric": mean_rater_ece.with_options(strategy="logit"),
    "rps_metric": ranked_probability_score,
    "soft_dice_metric": soft_dice,
    "threshold_dice_metric": threshold_dice,
    "volume_bias_metric": volume_bias,
    "volume_crps_metric": volume_crps,
    "volume_error_metric": volume_error,
    "vote_coverage_metric": vote_coverage_bias,
}


def __getattr__(name: str) -> Any:
    if name in _DETECTION:
        return getattr(importlib.import_module("mrcalib.detection"), name)
    if name not in _FACTORIES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    metric = _FACTORIES[name]
    msg = f"{name}(...) is now mrcalib.metrics.{metric.__name__}.with_options(...); the old name goes in the next version."
    warnings.warn(msg, DeprecationWarning, stacklevel=2)
    return metric.with_options
