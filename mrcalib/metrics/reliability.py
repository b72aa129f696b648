"""The reliability curve: mean response against mean probability, bin by bin; and vote counts as answers that it can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.metrics.base import FloatArray, ratio, rows_by_case
from mrcalib.metrics.bins import Weighting, bin_edges, bin_sums, concatenated, equal_mass_edges, top_label
from mrcalib.metrics.counts import predicted_counts
from mrcalib.responses import Responses

__all__ = ["ReliabilityCurve", "count_level_responses", "reliability_curve"]


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityCurve:
    """Mean probability and mean response of bins of probability; NaN where a bin is empty.

    Attributes
    ----------
    edges : ndarray of shape (n_bins + 1,)
        From 0 to 1; bins are closed on the left, the last on both sides.
    mean_prob, response : ndarray of shape (n_bins,)
        Over the (voxel, rater) pairs of each bin.
    count : ndarray of shape (n_bins,)
        Pairs in each bin, or their weight.
    rater_response, rater_count : ndarray of shape (n_raters, n_bins)
        The same of each rater alone; no rows for soft targets.
    """

    edges: FloatArray
    mean_prob: FloatArray
    response: FloatArray
    count: FloatArray
    rater_response: FloatArray
    rater_count: FloatArray

    @classmethod
    def from_responses(
        cls,
        *cases: Responses,
        edges: tuple[float, ...],
        kind: Literal["foreground", "top-label"] = "foreground",
        weighting: Weighting = "pairs",
    ) -> ReliabilityCurve:
        """The curve of one case or of several pooled, with these inner edges.

        Raises
        ------
        ValueError
            If there is no case, or the cases differ in the number of raters.
        """
        if not cases or len({case.n_raters for case in cases}) > 1:
            msg = "A reliability curve needs at least one case, and the same number of raters in all."
            raise ValueError(msg)
        shown = [top_label(case) if kind == "top-label" else case for case in cases]
        count, prob, votes = np.sum([bin_sums(rows, edges, weighting) for rows in shown], axis=0)
        own = np.sum([_sums_of_raters(rows, edges) for rows in shown], axis=0)
        return cls(
            edges=np.array([0.0, *edges, 1.0]),
            mean_prob=ratio(prob, count),
            response=ratio(votes, count),
            count=count,
            rater_response=ratio(own[:, 2], own[:, 0]),
            rater_count=own[:, 0],
        )


def _sums_of_raters(responses: Responses, edges: tuple[float, ...]) -> FloatArray:
    """The sums of each rater alone; shape (n_raters, 3, n_bins)."""
    raters = range(0 if responses.present is None else responses.n_raters)
    return np.array([bin_sums(responses.rater(r), edges) for r in raters]).reshape(-1, 3, len(edges) + 1)


def reliability_curve(
    probs: Any,
    raters: Any = None,
    *,
    n_bins: int = 15,
    strategy: Literal["uniform", "logit", "equal-mass"] = "uniform",
    kind: Literal["foreground", "top-label"] = "foreground",
    weighting: Weighting = "pairs",
    roi: Any = None,
    sample_weight: Any = None,
    rater_axis: int | None = None,
) -> ReliabilityCurve:
    """Mean probability and mean response of bins, over all raters and of each; of several cases over all their voxels.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis
        As in `Metric`.
    n_bins : int, default=15
        Number of bins: fewer than of a calibration error, so that each can be seen.
    strategy, kind, weighting
        As in `expected_calibration_error`.

    Returns
    -------
    ReliabilityCurve
        ``sum(count * |mean_prob - response|) / sum(count)`` over occupied bins is the expected calibration error of the same
        bins.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or an option is unknown.

    Examples
    --------
    >>> curve = reliability_curve([0.2, 0.2, 0.7], [[0, 1, 1], [0, 0, 1]], n_bins=2)
    >>> curve.response.tolist(), curve.count.tolist()
    ([0.25, 1.0], [4.0, 2.0])
    """
    check_choice("strategy", strategy, ("uniform", "logit", "equal-mass"))
    check_choice("kind", kind, ("foreground", "top-label"))
    check_choice("weighting", weighting, ("pairs", "voxels"))
    n_bins = check_n_bins(n_bins)
    cases = rows_by_case(probs, raters, roi=roi, sample_weight=sample_weight, rater_axis=rater_axis)
    if strategy == "equal-mass":
        together = concatenated(cases)
        edges = equal_mass_edges(top_label(together) if kind == "top-label" else together, n_bins, weighting)
    else:
        edges = bin_edges(n_bins, strategy)
    return ReliabilityCurve.from_responses(*cases, edges=edges, kind=kind, weighting=weighting)


def count_level_responses(responses: Responses, votes: int, *, n_raters: int | None = None) -> Responses:
    """Whether at least so many raters mark a voxel, as the answer of one rater at the predicted probability of it.

    With these rows every binary metric and diagram shows one level of the counts, such as ``multirater_ece`` or
    ``mrcalib.plots.ReliabilityDisplay``. Voxels at which not all raters answered do not tell, and are left out.

    Parameters
    ----------
    responses : Responses
        Of `count_responses`, or of a count calibrator (``OrdinalCalibrator.count_responses``); others are taken as
        binomial.
    votes : int
        From 1 to the number of raters.
    n_raters : int, optional
        Number of raters who must have answered; by default K of ``count_probs``, else the raters of the study.

    Returns
    -------
    Responses
        Of one rater; without rows where no voxel is complete.

    Raises
    ------
    ValueError
        If ``votes`` does not lie between 1 and the number of raters.

    Examples
    --------
    >>> from mrcalib.metrics import count_responses
    >>> rows = count_responses([[0.5, 0.25, 0.25]] * 2, [[1, 1], [0, 1]])
    >>> level = count_level_responses(rows, 2)
    >>> level.prob.tolist(), level.votes.tolist()
    ([0.25, 0.25], [0.0, 1.0])
    """
    known = responses.n_raters if responses.count_probs is None else responses.count_probs.shape[1] - 1
    n = known if n_raters is None else n_raters
    if not 1 <= votes <= n:
        msg = f"votes must lie between 1 and {n}, the number of raters; got {votes}."
        raise ValueError(msg)
    for dist, count, marked in predicted_counts(responses):
        if dist.shape[1] == n + 1:
            prob = np.clip(dist[:, votes:].sum(axis=1), 0.0, 1.0)
            reached = marked >= votes
            ones = np.ones(prob.size, dtype=np.int64)
            return Responses(
                prob, count, np.ones(prob.size), reached.astype(np.float64), 1, ones, reached.astype(np.int64)
            )
    none, bits = np.empty(0), np.empty(0, np.int64)
    return Responses(none, none, none, none, 1, bits, bits)
