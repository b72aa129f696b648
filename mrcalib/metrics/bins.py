"""Bins of probability, and the sums over each bin that every calibration error is made of.

Bins are closed on the left, on float32 probabilities; the last one holds 1 too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import ProbabilityGrid, edge_above, edges_of_uniform_bins
from mrcalib.responses import AnswerSums, FloatArray, Responses
from mrcalib.tallies import Tally

__all__ = [
    "TINY",
    "Weighting",
    "bin_edges",
    "bin_sums",
    "concatenated",
    "equal_mass_edges",
    "grid_of_uniform_bins",
    "locate",
    "rows_of_raters",
    "sums_by_bin",
    "top_label",
    "weight_and_votes",
]

Weighting = Literal["pairs", "voxels"]

TINY = float(np.finfo(np.float32).tiny)
"""Where the bin of exact 0 ends."""
_LOGIT_END = 6.0  # decades towards 0 and towards 1 that logit bins cut


@lru_cache(maxsize=64)
def bin_edges(n_bins: int, strategy: str, *, ends_apart: bool = False) -> tuple[float, ...]:
    """Inner edges of ``n_bins`` bins of equal width in the probability ("uniform") or in its logit ("logit").

    Logit bins lie between 1e-6 and 1 - 1e-6, with a bin each for exact 0 and exact 1; ``ends_apart`` gives uniform bins
    these two as well.
    """
    if strategy == "uniform":
        inner = edges_of_uniform_bins(n_bins)
        return (TINY, *inner, 1.0) if ends_apart else inner
    z = np.linspace(-_LOGIT_END, _LOGIT_END, n_bins + 1)[1:-1]
    return (TINY, *(float(np.float32(p)) for p in 1 / (1 + 10.0**-z)), 1.0)


def locate(prob: FloatArray, edges: tuple[float, ...]) -> NDArray[np.intp]:
    """Bin of each probability among the bins that these inner edges separate."""
    return np.searchsorted(_in_float32(edges), prob.astype(np.float32), side="right")


def weight_and_votes(answers: AnswerSums, weighting: Weighting) -> tuple[FloatArray, FloatArray]:
    """Weight and weighted responses at each distinct probability."""
    return (answers.pairs, answers.votes) if weighting == "pairs" else (answers.count, answers.responses)


def bin_sums(responses: Responses, edges: tuple[float, ...], weighting: Weighting = "pairs") -> FloatArray:
    """Weight, sum of probabilities and sum of responses of each bin; shape (3, n_bins).

    ``weighting="pairs"`` counts (voxel, rater) pairs; "voxels" counts each voxel once, with its raters' mean response.
    """
    prob, answers = responses.distinct()
    weight, votes = weight_and_votes(answers, weighting)
    return sums_by_bin(prob, edges)(np.stack([weight, weight * prob, votes]))


def sums_by_bin(prob: FloatArray, edges: tuple[float, ...]) -> Callable[[FloatArray], FloatArray]:
    """A function that adds up values (k, n) at these probabilities (n,) by the bin of each; it returns (k, n_bins)."""
    # A monotone map leaves the probabilities of a tally in ascending order, and confidences max(p, 1 - p) fall before they
    # rise. Such runs are cut where they pass an edge, which costs a search per edge instead of one per probability.
    inner, single = _in_float32(edges), prob.astype(np.float32)
    n_bins, lowest = inner.size + 1, int(single.argmin()) if single.size else 0
    if not ((single[1 : lowest + 1] <= single[:lowest]).all() and (single[lowest + 1 :] >= single[lowest:-1]).all()):
        index = np.searchsorted(inner, single, side="right")
        return lambda rows: np.stack([np.bincount(index, row, n_bins) for row in rows])
    runs = [(order, _cut(single[order], inner)) for order in (slice(lowest, None), slice(lowest)) if single[order].size]

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
    """A coarse grid that is cut at the edges of these bins; for confidences also where 1 - p passes an edge."""
    edges = set(edges_of_uniform_bins(n_bins))
    if kind == "top-label":
        # 1 - p is rounded to float32, up to the edge from as far as half a step beyond it: cut on both sides of that.
        passing = [1 - edge + 2.0**-25 for edge in edges if edge >= 0.5]
        edges |= {e for t in passing for e in (t, edge_above(t))}
    return ProbabilityGrid(6, tuple(sorted(edges)))  # 6 bits: a table this small stays in the processor's cache


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


def concatenated(parts: Sequence[Responses]) -> Responses:
    """All rows of several cases with the same raters."""
    names = ("prob", "count", "answers", "votes", "present", "marked")
    columns = {name: [getattr(part, name) for part in parts] for name in names}
    whole = {name: None if values[0] is None else np.concatenate(values) for name, values in columns.items()}
    return Responses(n_raters=parts[0].n_raters, **whole)  # type: ignore[arg-type]
