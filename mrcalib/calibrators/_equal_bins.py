"""Bins of equally many voxels or votes: from the voxels exactly; from tallies alone with a bound on what is lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._data import CalibrationData
from mrcalib.calibrators._opening import open_bins
from mrcalib.calibrators._partition import Partition, probs_of
from mrcalib.responses import PooledResponses

__all__ = ["equal_bins", "error_of_tallied_bins"]

FloatArray = NDArray[np.float64]
PIECES_A_RANK = 64  # into which a bin that holds the rank is cut


def equal_bins(
    data: CalibrationData, rater_weight: FloatArray | None, n_bins: int, *, of_votes: bool
) -> PooledResponses:
    """Sums over about ``n_bins`` bins of equal weight (or of equal votes); equal probabilities are never split.

    Bin k starts at the probability of rank k / n_bins. From tallies alone, it starts at the grid's bin that holds this rank.
    """

    def holding(weight: FloatArray, votes: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        inside = np.zeros(weight.size, dtype=bool)
        inside[_cells_of_ranks(votes if of_votes else weight, n_bins)] = True
        return inside, np.zeros_like(inside)

    fine = open_bins(data, holding, rater_weight=rater_weight, most_pieces=PIECES_A_RANK * n_bins)
    mass = (fine.votes if of_votes else fine.weight)[0]
    starts = np.unique(np.append(0, np.searchsorted(np.cumsum(mass), _ranks(mass, n_bins), side="right")))
    starts = starts[starts < fine.bins.size]
    sums = [np.add.reduceat(values, starts, axis=1) for values in (fine.weight, fine.prob_sum, fine.votes)]
    return PooledResponses(np.arange(starts.size), *sums)


def _ranks(mass: FloatArray, n_bins: int) -> FloatArray:
    ranks: FloatArray = np.arange(1, n_bins) * np.cumsum(mass)[-1] / n_bins
    return ranks


def _cells_of_ranks(mass: FloatArray, n_bins: int) -> NDArray[np.intp]:
    """The cell that holds each rank: the first one up to whose end more lies than the rank."""
    return np.minimum(np.searchsorted(np.cumsum(mass), _ranks(mass, n_bins), side="right"), mass.size - 1)


def error_of_tallied_bins(
    data: CalibrationData, rater_weight: FloatArray | None, n_bins: int, *, of_votes: bool
) -> float:
    """How far the isotonic map of bins from tallies alone can be from that of the voxels, at most, at any probability.

    A bin of equal mass starts somewhere inside the cell of the grid that holds its rank; from a tally it starts where the cell
    does. So of a union of bins all cells are known but for parts of the first and of the last one, and its mean response lies
    between the two means where these parts hold nothing but unmarked or nothing but marked voxels. Isotonic regression is
    ``max over a <= k of min over b >= k`` of the means of the bins from a to b, so that bounds of means are bounds of the fit.
    Both maps lie between the lines through these bounds, drawn at the bounds of the bins' mean probabilities.
    """
    cells = Partition.of_bins(data.pooled, data.grid, rater_weight)
    low, high = probs_of(cells.starts), probs_of(np.maximum(cells.ends - 1, cells.starts))
    mass = cells.votes if of_votes else cells.weight
    if not mass.any():
        return 0.0
    rank_cells = _cells_of_ranks(mass, n_bins)
    # Bin k reaches from boundary k to boundary k + 1. A boundary is a cell that is shared out; the ends share out nothing.
    first, last = np.append(-1, rank_cells), np.append(rank_cells, cells.weight.size)

    def before(values: FloatArray) -> FloatArray:
        return np.concatenate([[0.0], np.cumsum(values)])

    def part(values: FloatArray, cell: NDArray[np.intp]) -> FloatArray:
        """What a shared cell holds; nothing at the ends."""
        return np.where((cell >= 0) & (cell < values.size), values[np.clip(cell, 0, values.size - 1)], 0.0)

    votes, others = cells.votes, cells.weight - cells.votes
    sums_of_votes, sums_of_others = before(votes), before(others)
    lowest, highest = np.full(n_bins, -np.inf), np.full(n_bins, -np.inf)
    for a in range(n_bins):
        whole = slice(a, n_bins)
        start = first[a] + 1
        ends = np.maximum(last[whole], start)
        inner_votes = sums_of_votes[ends] - sums_of_votes[start]
        inner_others = sums_of_others[ends] - sums_of_others[start]
        edge_votes = part(votes, first[a : a + 1]) + part(votes, last[whole])
        edge_others = part(others, first[a : a + 1]) + part(others, last[whole])
        within_one = (first[a] >= 0) & (last[whole] == first[a])  # the cell is counted once
        edge_votes = np.where(within_one, part(votes, last[whole]), edge_votes)
        edge_others = np.where(within_one, part(others, last[whole]), edge_others)
        least = _share(inner_votes, inner_others + edge_others)
        most = 1 - _share(inner_others, inner_votes + edge_votes)
        least, most = (
            np.where(inner_votes + edge_votes > 0, least, 0.0),
            np.where(inner_others + edge_others > 0, most, 1.0),
        )
        lowest[whole] = np.maximum(lowest[whole], np.minimum.accumulate(least[::-1])[::-1])
        highest[whole] = np.maximum(highest[whole], np.minimum.accumulate(most[::-1])[::-1])
    weights, prob_sums = before(cells.weight), before(cells.prob_sum)
    starts, ends = first + 1, np.maximum(last, first + 1)
    weight, prob_sum = weights[ends] - weights[starts], prob_sums[ends] - prob_sums[starts]
    tail, head = part(cells.weight, first), part(cells.weight, last)
    tail_low, head_high = part(low, first), part(high, last)
    low_mean = np.where(weight + tail > 0, (prob_sum + tail * tail_low) / np.maximum(weight + tail, 1e-300), head_high)
    high_mean = np.where(weight + head > 0, (prob_sum + head * head_high) / np.maximum(weight + head, 1e-300), tail_low)
    may_be_empty = weight <= 0
    low_mean = np.where(may_be_empty, tail_low, low_mean)
    high_mean = np.where(may_be_empty, part(high, np.minimum(last, cells.weight.size - 1)), high_mean)
    # A bin that may hold nothing has no knot then: its neighbours' bounds stand for it.
    for k in range(n_bins - 2, -1, -1):
        if may_be_empty[k]:
            highest[k] = highest[k + 1]
    for k in range(1, n_bins):
        if may_be_empty[k]:
            lowest[k] = lowest[k - 1]
    low_mean = np.minimum.accumulate(low_mean[::-1])[::-1]
    high_mean = np.maximum.accumulate(high_mean)
    probs = np.unique(np.concatenate([low_mean, high_mean]))
    above = _after_steps(probs, low_mean, np.maximum.accumulate(highest))
    below = _before_steps(probs, high_mean, np.maximum.accumulate(lowest))
    return float(np.clip(above - below, 0.0, 1.0).max())


def _share(part: FloatArray, rest: FloatArray) -> FloatArray:
    """``part / (part + rest)``; 0 where both are 0."""
    total = part + rest
    share: FloatArray = np.divide(part, total, out=np.zeros(total.size), where=total > 0)
    return share


def _after_steps(probs: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """The line through (x, y) at ``probs``; where several knots have one x, the highest of their values."""
    last = np.append(np.diff(x) > 0, True)
    line: FloatArray = np.interp(probs, x[last], y[last])
    return line


def _before_steps(probs: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """The line through (x, y) at ``probs``; where several knots have one x, the lowest of their values."""
    first = np.append(True, np.diff(x) > 0)
    line: FloatArray = np.interp(probs, x[first], y[first])
    return line
