"""Isotonic maps from pooled responses: on the grid's bins, exactly, or on bins of equal mass.

Isotonic regression is the slope of the greatest convex minorant of the points (cumulated weight, cumulated response).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.pava import pool_adjacent_violators
from mrcalib.calibrators._source import Source
from mrcalib.exceptions import SaturationWarning, warn_caller
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap
from mrcalib.responses import PooledResponses

__all__ = ["BINNINGS", "EXACT_GRID_BITS", "Binning", "fit_isotonic", "isotonic", "map_of_blocks", "warn_if_saturated"]

FloatArray = NDArray[np.float64]
Binning = Literal["grid", "exact", "equal-mass", "equal-votes"]
BINNINGS = ("grid", "exact", "equal-mass", "equal-votes")
EXACT_GRID_BITS = 10  # a finer grid opens fewer bins, and costs cache


def isotonic(response: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted least-squares non-decreasing fit, by pooling adjacent violators.

    Parameters
    ----------
    response, weight : ndarray of shape (n,)
        Responses in the order of probability, and positive weights.

    Returns
    -------
    ndarray of shape (n,)
    """
    fitted = np.empty(response.size)
    pool_adjacent_violators(
        np.ascontiguousarray(response, dtype=np.float64), np.ascontiguousarray(weight, dtype=np.float64), fitted
    )
    return fitted


def fit_isotonic(
    source: Source, rater_weight: FloatArray | None, *, binning: Binning, n_bins: int, keep_zero: bool
) -> PiecewiseLinearMap:
    """The isotonic map to the mean response of the raters, weighted by ``rater_weight``."""
    if binning == "exact":
        pooled = source.open_bins(*_bins_to_open(source.pooled, rater_weight), rater_weight=rater_weight)
    elif binning == "equal-mass":
        pooled = _equal_bins(source, rater_weight, n_bins, of_votes=False)
    elif binning == "equal-votes":
        pooled = _equal_bins(source, rater_weight, n_bins, of_votes=True)
    else:
        pooled = source.pooled
    prob, weight, response = pooled.mean_response(rater_weight)
    fitted_map = map_of_blocks(prob, isotonic(response, weight), keep_zero=keep_zero)
    if binning in ("equal-mass", "equal-votes"):
        warn_if_saturated(fitted_map, source.pooled, rater_weight)
    return fitted_map


def map_of_blocks(prob: FloatArray, fitted: FloatArray, *, keep_zero: bool) -> PiecewiseLinearMap:
    """The map that takes the fitted values at these probabilities, with knots at both ends of each block only."""
    ends = np.flatnonzero(np.diff(fitted) != 0)
    knots = np.unique(np.concatenate([[0], ends, ends + 1, [fitted.size - 1]]))
    return PiecewiseLinearMap(prob[knots], np.maximum.accumulate(np.clip(fitted[knots], 0, 1)), keep_zero=keep_zero)


def _bins_to_open(
    pooled: PooledResponses, rater_weight: FloatArray | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Bins that may hold a vertex of the exact minorant inside, or that border a block of the coarse one.

    The path through a bin is lowest where all that was not marked comes first; if even that corner is not below the coarse
    minorant, no voxel in the bin can be a vertex. The exact minorant lies below the coarse one, so where it turns at a bin's
    edge the coarse one turns too: the extremes of the bins on both sides are the exact ends of its blocks.
    """
    weight, votes = (pooled.over_raters(sums, rater_weight) for sums in (pooled.weight, pooled.votes))
    occupied = weight > 0
    w, v = weight[occupied], votes[occupied]
    fitted = isotonic(v / w, w)
    minorant = np.concatenate([[0.0], np.cumsum(fitted * w)])
    votes_before = np.concatenate([[0.0], np.cumsum(v)[:-1]])
    slack = 1e-9 * max(1.0, votes_before[-1])
    below = votes_before < minorant[:-1] + fitted * (w - v) + slack
    inside = below & (v > 0) & (v < w)
    turns = np.diff(fitted) != 0
    border = np.append(turns, True) | np.append(True, turns)
    opened, extremes = np.zeros((2, weight.size), dtype=bool)
    opened[occupied], extremes[occupied] = inside, border
    return opened, extremes


def _equal_bins(source: Source, rater_weight: FloatArray | None, n_bins: int, *, of_votes: bool) -> PooledResponses:
    """Sums over about ``n_bins`` bins of equal weight (or of equal votes); equal probabilities are never split.

    Bin k starts at the probability of rank k / n_bins. From tallies alone, it starts at the grid's bin that holds this rank.
    """

    def cumulated(pooled: PooledResponses) -> FloatArray:
        return np.cumsum(pooled.over_raters(pooled.votes if of_votes else pooled.weight, rater_weight))

    coarse = cumulated(source.pooled)
    ranks = np.arange(1, n_bins) * coarse[-1] / n_bins
    holding = np.zeros(coarse.size, dtype=bool)
    holding[np.minimum(np.searchsorted(coarse, ranks, side="right"), coarse.size - 1)] = True
    fine = source.open_bins(holding, rater_weight=rater_weight)
    starts = np.unique(np.append(0, np.searchsorted(cumulated(fine), ranks, side="right")))
    starts = starts[starts < fine.bins.size]
    sums = [np.add.reduceat(values, starts, axis=1) for values in (fine.weight, fine.prob_sum, fine.votes)]
    return PooledResponses(np.arange(starts.size), *sums)


def warn_if_saturated(fitted: CalibrationMap, pooled: PooledResponses, rater_weight: FloatArray | None) -> None:
    """Warn where bins are so coarse that the map stays far below what the grid's bins show to be the response.

    The comparison is with the isotonic fit on the grid, at the probability above which 1 % of the votes lie.
    """
    _, weight, response = pooled.mean_response(rater_weight)
    votes_above = np.cumsum((weight * response)[::-1])[::-1]
    if votes_above[0] == 0:
        return
    resolved = isotonic(response, weight)[np.flatnonzero(votes_above >= 0.01 * votes_above[0])[-1]]
    reachable = fitted.reachable[1]
    if reachable < 0.9 * resolved:
        prevalence = votes_above[0] / weight.sum()
        msg = (
            f"The map saturates: it cannot exceed {reachable:.3g}, though raters answer {resolved:.3g} on average at the "
            f"highest probabilities. Foreground ({prevalence:.2g} of the voxels) is too rare for bins of this size. Use "
            "binning='grid', more bins, or fit in a region of interest."
        )
        warn_caller(msg, SaturationWarning)
