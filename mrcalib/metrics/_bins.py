"""Bins of probability, and the sums over each that every calibration error is made of.

Bins are closed on the left, on float32 probabilities; the last holds 1 too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import ProbabilityGrid, edge_above, edges_of_uniform_bins
from mrcalib.responses import FloatArray, Responses
from mrcalib.tallies import Tally

__all__ = [
    "Weighting",
    "bin_sums",
    "equal_mass_edges",
    "grid_of_uniform_bins",
    "locate",
    "rows_of_raters",
    "stack",
    "sums_by_bin",
    "top_label",
]

Weighting = Literal["pairs", "voxels"]


def locate(prob: FloatArray, edges: tuple[float, ...]) -> NDArray[np.intp]:
    """Bin of each probability among the bins that these inner edges separate."""
    return np.searchsorted(_in_float32(edges), prob.astype(np.float32), side="right")


def bin_sums(responses: Responses, edges: tuple[float, ...], weighting: Weighting = "pairs") -> FloatArray:
    """Weight, sum of probabilities and sum of responses of each bin; shape (3, n_bins).

    ``weighting="pairs"`` counts (voxel, rater) pairs; "voxels" counts each voxel once, with its raters' mean response.
    """
    prob, answers = responses.distinct()
    weight, votes = (answers.pairs, answers.votes) if weighting == "pairs" else (answers.count, answers.responses)
    return sums_by_bin(prob, edges)(np.stack([weight, weight * prob, votes]))


def sums_by_bin(prob: FloatArray, edges: tuple[float, ...]) -> Callable[[FloatArray], FloatArray]:
    """The function that adds up values at these probabilities (k, n) by the bin that each is in (k, n_bins).

    Probabilities that rise, as monotone maps leave those of a tally, are cut at the edges instead of being looked up; so are
    those that fall before they rise, as confidences do.
    """
    inner, single = _in_float32(edges), prob.astype(np.float32)
    n_bins, turn = inner.size + 1, int(single.argmin()) if single.size else 0
    if not ((single[1 : turn + 1] <= single[:turn]).all() and (single[turn + 1 :] >= single[turn:-1]).all()):
        index = np.searchsorted(inner, single, side="right")
        return lambda rows: np.stack([np.bincount(index, row, n_bins) for row in rows])
    runs = [(order, _cut(single[order], inner)) for order in (slice(turn, None), slice(turn)) if single[order].size]

    def add(rows: FloatArray) -> FloatArray:
        sums = np.zeros((len(rows), n_bins))
        for order, (starts, occupied) in runs:
            sums[:, occupied] += np.add.reduceat(rows[:, order], starts, axis=1)
        return sums

    return add


def _cut(prob: NDArray[np.float32], edges: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where each occupied bin begins among probabilities that rise or fall, and the bins, both in that order."""
    if prob[0] > prob[-1]:
        ends = prob.size - np.searchsorted(prob[::-1], edges[::-1])
        bounds, bins = np.concatenate([[0], ends, [prob.size]]), np.arange(edges.size, -1, -1)
    else:
        bounds, bins = np.concatenate([[0], np.searchsorted(prob, edges), [prob.size]]), np.arange(edges.size + 1)
    occupied = bounds[1:] > bounds[:-1]
    return bounds[:-1][occupied], bins[occupied]


@lru_cache(maxsize=16)
def _in_float32(edges: tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(edges, dtype=np.float32)


def equal_mass_edges(responses: Responses, n_bins: int, weighting: Weighting = "pairs") -> tuple[float, ...]:
    """Inner edges of at most ``n_bins`` bins of equal weight; equal probabilities are never split.

    A probability goes to the bin in which the weight below it ends, so bins that ties have swallowed are left out.
    """
    weight = responses.count * responses.answers if weighting == "pairs" else responses.count
    prob, index = np.unique(responses.prob.astype(np.float32), return_inverse=True)
    mass = np.bincount(index, weight, prob.size)
    prob, mass = prob[mass > 0], mass[mass > 0]
    below = np.cumsum(mass) - mass
    bins = np.floor(below * n_bins / mass.sum())
    return tuple(float(edge) for edge in prob[1:][np.diff(bins) > 0])


def top_label(responses: Responses) -> Responses:
    """Confidence max(p, 1 - p) in the more probable label (background at 1/2), and who agrees with that label."""
    foreground = responses.prob > 0.5
    marked = responses.marked
    if marked is not None and responses.present is not None:
        marked = np.where(foreground, marked, responses.present & ~marked)
    return replace(
        responses,
        prob=np.maximum(responses.prob, 1 - responses.prob),
        votes=np.where(foreground, responses.votes, responses.answers - responses.votes),
        marked=marked,
    )


@lru_cache(maxsize=8)
def grid_of_uniform_bins(n_bins: int, kind: str) -> ProbabilityGrid:
    """A grid cut so that a tally tells these bins apart exactly; for confidences, where 1 - p passes an edge, too."""
    edges = set(edges_of_uniform_bins(n_bins))
    if kind == "top-label":
        # 1 - p rounds up to the edge as far as half a float32 step beyond it, or just short of that.
        turning = [1 - edge + 2.0**-25 for edge in edges if edge >= 0.5]
        edges |= {e for t in turning for e in (t, edge_above(t))}
    return ProbabilityGrid(6, tuple(sorted(edges)))  # coarse: the table stays near the processor


def rows_of_raters(tally: Tally) -> list[Responses]:
    """Each rater's answers by bin of the grid: exact sums, even where raters answered at different voxels of a bin."""
    pooled = tally.pooled()
    rows = []
    for weight, prob_sum, votes in zip(pooled.weight, pooled.prob_sum, pooled.votes, strict=True):
        here = weight > 0
        n = weight[here]
        prob = np.clip(prob_sum[here] / n, 0.0, 1.0)
        rows.append(Responses(prob, n, np.ones(n.size), votes[here] / n, 1))
    return rows


def stack(rows: list[Responses]) -> Responses:
    """The rows of several raters as those of one."""
    prob, count, answers, votes = (
        np.concatenate([getattr(row, name) for row in rows]) for name in ("prob", "count", "answers", "votes")
    )
    return Responses(prob, count, answers, votes, 1)
