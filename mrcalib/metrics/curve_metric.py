"""The sums of a reliability diagram, for studies: bins that resolve what lies near 0 and near 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mrcalib.grid import edges_of_uniform_bins
from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.metrics._metric import Metric
from mrcalib.metrics.calibration import ece_metric

__all__ = ["TINY", "Strategy", "curve_edges", "reliability_metric"]

Strategy = Literal["uniform", "logit"]

TINY = float(np.finfo(np.float32).tiny)
"""The bin of exact 0 ends here."""
_LOGIT_END = 6.0  # decades towards 0 and towards 1 that logit bins cut


def curve_edges(n_bins: int, strategy: str) -> tuple[float, ...]:
    """Inner edges of ``n_bins`` bins of equal width, in p or in its logit, and a bin each for exact 0 and exact 1."""
    check_choice("strategy", strategy, ("uniform", "logit"))
    n_bins = check_n_bins(n_bins)
    inner: Sequence[float] = edges_of_uniform_bins(n_bins)
    if strategy == "logit":
        z = np.linspace(-_LOGIT_END, _LOGIT_END, n_bins + 1)[1:-1]
        inner = [float(np.float32(p)) for p in 1 / (1 + 10.0**-z)]
    return (TINY, *inner, 1.0)


def reliability_metric(n_bins: int = 50, strategy: Strategy = "logit") -> Metric:
    """The sums that a reliability diagram of a study needs.

    Most voxels of a segmentation lie within 0.02 of 0 or 1, where the 50 bins of equal width of the usual metrics see a
    single bin each. ``compare`` keeps these sums for every study, beside its metrics.

    Parameters
    ----------
    n_bins : int, default=50
        Bins of equal width in the logit between 1e-6 and 1 - 1e-6, next to one for exact 0 and one for exact 1.
    strategy : {"logit", "uniform"}, default="logit"
        Equal widths in the logit, or in the probability.

    Returns
    -------
    Metric
        Named "reliability"; its value is the raters' mean ECE with these bins.

    Examples
    --------
    >>> reliability_metric().label
    'mean rater ECE (logit bins)'
    """
    metric = ece_metric(edges=curve_edges(n_bins, strategy), target="per-rater")
    return replace(metric, name="reliability", label=f"{metric.label} ({strategy} bins)")
