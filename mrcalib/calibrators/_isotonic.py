"""Isotonic maps from pooled responses: on the grid's bins, exactly, or on bins of equal mass.

Isotonic regression is the slope of the greatest convex minorant of the points (cumulated weight, cumulated response).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.pava import pool_adjacent_violators
from mrcalib.calibrators._source import Source
from mrcalib.exceptions import SaturationWarning, warn_caller
from mrcalib.grid import ProbabilityGrid
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap
from mrcalib.responses import PooledResponses

__all__ = ["BINNINGS", "Binning", "exact_grid", "fit_isotonic", "isotonic", "map_of_blocks", "warn_if_saturated"]

FloatArray = NDArray[np.float64]
Binning = Literal["grid", "exact", "equal-mass", "equal-votes"]
PIECES_A_RANK = 64  # into which a bin that holds the rank is cut
BINNINGS = ("grid", "exact", "equal-mass", "equal-votes")


@lru_cache(maxsize=1)
def exact_grid() -> ProbabilityGrid:
    """What exact fits are tallied on: without edges, so that the second pass finds bins by the bits of a probability.

    A finer grid opens fewer bins, but costs cache.
    """
    return ProbabilityGrid(7)


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
        pooled, weights = source.open_bins(cells_to_open, rater_weight=rater_weight, pool=True), None
    elif binning == "equal-mass":
        pooled, weights = _equal_bins(source, rater_weight, n_bins, of_votes=False), None
    elif binning == "equal-votes":
        pooled, weights = _equal_bins(source, rater_weight, n_bins, of_votes=True), None
    else:
        pooled, weights = source.pooled, rater_weight
    prob, weight, response = pooled.mean_response(weights)
    fitted_map = map_of_blocks(prob, isotonic(response, weight), keep_zero=keep_zero)
    if binning in ("equal-mass", "equal-votes"):
        warn_if_saturated(fitted_map, source.pooled, rater_weight)
    return fitted_map


def map_of_blocks(prob: FloatArray, fitted: FloatArray, *, keep_zero: bool) -> PiecewiseLinearMap:
    """The map that takes the fitted values at these probabilities, with knots at both ends of each block only."""
    ends = np.flatnonzero(np.diff(fitted) != 0)
    knots = np.unique(np.concatenate([[0], ends, ends + 1, [fitted.size - 1]]))
    return PiecewiseLinearMap(prob[knots], np.maximum.accumulate(np.clip(fitted[knots], 0, 1)), keep_zero=keep_zero)


def cells_to_open(weight: FloatArray, votes: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cells that may hold a vertex of the exact minorant inside, and those that border a block of the coarse one.

    The path through a cell is lowest where all that was not marked comes first; if even that corner is not below the coarse
    minorant, no voxel in the cell can be a vertex. The exact minorant lies below the coarse one, so where it turns at a cell's
    edge the coarse one turns too: the extremes of the cells on both sides are the exact ends of its blocks.
    """
    fitted = isotonic(votes / weight, weight)
    minorant = np.concatenate([[0.0], np.cumsum(fitted * weight)])
    votes_before = np.concatenate([[0.0], np.cumsum(votes)[:-1]])
    slack = 1e-9 * max(1.0, votes_before[-1])
    below = votes_before < minorant[:-1] + fitted * (weight - votes) + slack
    turns = np.diff(fitted) != 0
    border = np.append(turns, True) | np.append(True, turns)
    return below & (votes > 0) & (votes < weight), border


def _equal_bins(source: Source, rater_weight: FloatArray | None, n_bins: int, *, of_votes: bool) -> PooledResponses:
    """Sums over about ``n_bins`` bins of equal weight (or of equal votes); equal probabilities are never split.

    Bin k starts at the probability of rank k / n_bins. From tallies alone, it starts at the grid's bin that holds this rank.
    """

    def ranks(cumulated: FloatArray) -> FloatArray:
        wanted: FloatArray = np.arange(1, n_bins) * cumulated[-1] / n_bins
        return wanted

    def holding(weight: FloatArray, votes: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        cumulated = np.cumsum(votes if of_votes else weight)
        inside = np.zeros(weight.size, dtype=bool)
        inside[np.minimum(np.searchsorted(cumulated, ranks(cumulated), side="right"), weight.size - 1)] = True
        return inside, np.zeros_like(inside)

    fine = source.open_bins(holding, rater_weight=rater_weight, most_pieces=PIECES_A_RANK * n_bins)
    cumulated = np.cumsum((fine.votes if of_votes else fine.weight)[0])
    starts = np.unique(np.append(0, np.searchsorted(cumulated, ranks(cumulated), side="right")))
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
