"""The metrics by name, and those that a comparison reports unless it is told otherwise."""

from __future__ import annotations

from mrcalib.metrics._metric import Metric
from mrcalib.metrics.calibration import ece_metric
from mrcalib.metrics.count_calibration import pit_metric, vote_coverage_metric
from mrcalib.metrics.counts import count_log_loss_metric, rps_metric
from mrcalib.metrics.overlap import majority_dice_metric, soft_dice_metric, threshold_dice_metric
from mrcalib.metrics.proper import brier_metric, log_loss_metric
from mrcalib.metrics.ranking import auc_metric
from mrcalib.metrics.volume import volume_bias_metric, volume_crps_metric, volume_error_metric

__all__ = ["default_metrics", "get_metric"]


def default_metrics() -> tuple[Metric, ...]:
    """The metrics of a comparison: calibration (50 bins of equal width), proper scores, overlap, volume and ranking.

    Examples
    --------
    >>> [metric.name for metric in default_metrics()][:4]
    ['mr_ece', 'mean_rater_ece', 'mean_rater_top_label_ece', 'brier']
    """
    return (
        ece_metric(),
        ece_metric(target="per-rater"),
        ece_metric(target="per-rater", kind="top-label"),
        brier_metric(),
        log_loss_metric(),
        threshold_dice_metric(),
        majority_dice_metric(),
        soft_dice_metric(),
        volume_crps_metric(),
        volume_bias_metric(),
        auc_metric(),
    )


def get_metric(name: str) -> Metric:
    """The metric of this name, with its default options.

    Parameters
    ----------
    name : str
        Such as "mr_ece" or "tdsc_qubiq"; an unknown name is answered with all of them.

    Returns
    -------
    Metric

    Raises
    ------
    ValueError
        If there is no metric of this name.

    Examples
    --------
    >>> get_metric("brier").label
    'Brier'
    """
    others = (
        ece_metric(norm="average"),
        ece_metric(norm="maximum"),
        ece_metric(kind="top-label"),
        threshold_dice_metric(thresholds="qubiq"),
        threshold_dice_metric(thresholds="mrnet"),
        volume_crps_metric(reference="empirical"),
        volume_error_metric(),
        auc_metric(label="majority"),
        rps_metric(),
        count_log_loss_metric(),
        vote_coverage_metric(),
        pit_metric(),
    )
    metrics = {metric.name: metric for metric in (*default_metrics(), *others)}
    if name not in metrics:
        msg = f"There is no metric {name!r}; there are {', '.join(metrics)}."
        raise ValueError(msg)
    return metrics[name]
