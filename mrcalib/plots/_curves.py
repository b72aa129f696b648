"""What a reliability diagram shows, from the sums that calibration errors keep of each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib._validation import check_choice
from mrcalib.grid import edges_of_uniform_bins
from mrcalib.metrics import Metric, ReliabilityCurve, ece_metric
from mrcalib.resampling import percentile_interval
from mrcalib.responses import Responses

__all__ = [
    "FEW_GROUPS",
    "NAME",
    "TINY",
    "CurveBand",
    "Strategy",
    "band_of",
    "bin_edges",
    "curve_of",
    "reliability_metric",
    "split_rows",
]

FloatArray = NDArray[np.float64]
Strategy = Literal["uniform", "logit"]

NAME = "reliability"
FEW_GROUPS = 5
"""A bin that fewer groups reach is drawn hollow and without an interval: a bootstrap of so few says nothing."""
TINY = float(np.finfo(np.float32).tiny)
"""The bin of exact 0 ends here."""
_LOGIT_END = 6.0  # decades towards 0 and towards 1 that logit bins cut


def bin_edges(n_bins: int, strategy: str) -> tuple[float, ...]:
    """Inner edges of ``n_bins`` bins of equal width, in p or in its logit, and a bin each for exact 0 and exact 1."""
    check_choice("strategy", strategy, ("uniform", "logit"))
    if n_bins < 1:
        msg = f"n_bins must be at least 1; got {n_bins}."
        raise ValueError(msg)
    inner: Sequence[float] = edges_of_uniform_bins(n_bins)
    if strategy == "logit":
        z = np.linspace(-_LOGIT_END, _LOGIT_END, n_bins + 1)[1:-1]
        inner = [float(np.float32(p)) for p in 1 / (1 + 10.0**-z)]
    return (TINY, *inner, 1.0)


def reliability_metric(n_bins: int = 50, strategy: Strategy = "logit") -> Metric:
    """The sums that a reliability diagram of a study needs, as a metric for ``compare``.

    Most voxels of a segmentation lie within 0.02 of 0 or 1, where the 50 bins of equal width of the usual metrics see a
    single bin each. A study that is given this metric as well is drawn from its bins instead.

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
    >>> from mrcalib.metrics import default_metrics
    >>> metrics = [*default_metrics(), reliability_metric()]
    >>> metrics[-1].label
    'mean rater ECE (logit bins)'
    """
    metric = ece_metric(edges=bin_edges(n_bins, strategy), target="per-rater")
    return replace(metric, name=NAME, label=f"{metric.label} ({strategy} bins)")


@dataclass(frozen=True, slots=True, eq=False)
class CurveBand:
    """Interval of each bin's response, and how many groups it rests on.

    Attributes
    ----------
    low, high : ndarray of shape (n_bins,)
        NaN where there is no interval.
    n_groups : ndarray of shape (n_bins,)
        Groups with an answer in the bin.
    """

    low: FloatArray
    high: FloatArray
    n_groups: NDArray[np.int64]


def split_rows(rows: Responses, code: NDArray[np.intp], n_groups: int) -> list[Responses]:
    """The rows of each group, each voxel counted once."""
    order = np.argsort(code, kind="stable")
    parts = np.split(order, np.searchsorted(code[order], np.arange(1, n_groups)))

    def of(part: NDArray[np.intp]) -> Responses:
        return replace(
            rows,
            prob=rows.prob[part],
            count=np.ones(part.size),
            answers=rows.answers[part],
            votes=rows.votes[part],
            present=None if rows.present is None else rows.present[part],
            marked=None if rows.marked is None else rows.marked[part],
        )

    return [of(part) for part in parts]


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    undefined: FloatArray = np.full(np.shape(denominator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def curve_of(pooled: FloatArray, own: FloatArray, edges: tuple[float, ...]) -> ReliabilityCurve:
    count, prob, votes = pooled
    return ReliabilityCurve(
        edges=np.array([0.0, *edges, 1.0]),
        mean_prob=np.clip(_ratio(prob, count), 0.0, 1.0),
        response=_ratio(votes, count),
        count=count,
        rater_response=_ratio(own[:, 2], own[:, 0]),
        rater_count=own[:, 0],
    )


def band_of(pooled: FloatArray, groups: Sequence[str], counts: FloatArray, level: float) -> CurveBand:
    """Percentile interval of each bin's response under resampling of groups, where enough groups answered."""
    names = list(dict.fromkeys(groups))
    member = np.array([[g == name for g in groups] for name in names])
    n_groups = ((member @ (pooled[:, 0] > 0)) > 0).sum(axis=0)
    samples = _ratio(counts @ pooled[:, 2], counts @ pooled[:, 0])
    low, high = percentile_interval(samples, level)
    enough = n_groups >= FEW_GROUPS
    return CurveBand(np.where(enough, low, np.nan), np.where(enough, high, np.nan), n_groups.astype(np.int64))
