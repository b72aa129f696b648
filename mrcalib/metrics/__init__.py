"""Scores of segmentation probabilities against several raters: calibration, proper scores, overlap, volume, ranking.

Functions take arrays, (probs, raters); a `Metric` takes responses, of voxels or of a tally, and knows nothing of files,
studies or resampling. The probability of a voxel is that of foreground.
"""

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
from mrcalib.metrics.curve_metric import reliability_metric
from mrcalib.metrics.ordinal import binomial_count_probs, ranked_probability_score
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
from mrcalib.metrics.volume import (
    gaussian_crps,
    volume_bias,
    volume_bias_metric,
    volume_crps,
    volume_crps_metric,
    volume_error,
    volume_error_metric,
)

__all__ = [
    "CorpDecomposition",
    "Metric",
    "ReliabilityCurve",
    "auc",
    "auc_metric",
    "average_calibration_error",
    "binomial_count_probs",
    "brier_metric",
    "brier_score",
    "corp_decomposition",
    "default_metrics",
    "ece_metric",
    "expected_calibration_error",
    "gaussian_crps",
    "get_metric",
    "log_loss",
    "log_loss_metric",
    "majority_dice",
    "majority_dice_metric",
    "maximum_calibration_error",
    "mean_rater_ece",
    "multirater",
    "multirater_ece",
    "ranked_probability_score",
    "reliability_curve",
    "reliability_metric",
    "soft_dice",
    "soft_dice_metric",
    "threshold_dice",
    "threshold_dice_metric",
    "volume_bias",
    "volume_bias_metric",
    "volume_crps",
    "volume_crps_metric",
    "volume_error",
    "volume_error_metric",
]
