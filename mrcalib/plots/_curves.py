"""What a reliability diagram shows, from the sums that calibration errors keep of each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mrcalib.metrics import ReliabilityCurve
from mrcalib.resampling import percentile_interval
from mrcalib.responses import Responses

__all__ = [
    "FEW_GROUPS",
    "CurveBand",
    "band_of",
    "curve_of",
    "split_rows",
]

FloatArray = NDArray[np.float64]

FEW_GROUPS = 5
"""A bin that fewer groups reach is drawn hollow and without an interval: a bootstrap of so few says nothing."""


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
            count_probs=None if rows.count_probs is None else rows.count_probs[part],
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
