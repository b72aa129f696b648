"""The reliability curve: mean response against mean probability, bin by bin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.grid import edges_of_uniform_bins
from mrcalib.inputs import check_choice
from mrcalib.metrics._bins import bin_sums, equal_mass_edges, top_label
from mrcalib.metrics._door import responses_of
from mrcalib.metrics._metric import FloatArray, ratio
from mrcalib.responses import Responses

__all__ = ["ReliabilityCurve", "reliability_curve"]


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
        cls, *cases: Responses, edges: tuple[float, ...], kind: Literal["foreground", "top-label"] = "foreground"
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
        pooled = np.sum([_sums(top_label(case) if kind == "top-label" else case, edges) for case in cases], axis=0)
        (count, prob, votes), own = pooled[0], pooled[1:]
        return cls(
            edges=np.array([0.0, *edges, 1.0]),
            mean_prob=ratio(prob, count),
            response=ratio(votes, count),
            count=count,
            rater_response=ratio(own[:, 2], own[:, 0]),
            rater_count=own[:, 0],
        )


def _sums(responses: Responses, edges: tuple[float, ...]) -> FloatArray:
    """Sums of all pairs, then of each rater; shape (1 + n_raters, 3, n_bins)."""
    own = [] if responses.present is None else [responses.rater(r) for r in range(responses.n_raters)]
    return np.stack([bin_sums(rows, edges) for rows in (responses, *own)])


def reliability_curve(
    probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 15,
    strategy: Literal["uniform", "equal-mass"] = "uniform",
    kind: Literal["foreground", "top-label"] = "foreground",
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> ReliabilityCurve:
    """Mean probability and mean response of bins, over all raters and of each.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks, as in `expected_calibration_error`.
    n_bins : int, default=15
        Number of bins.
    strategy, kind, roi, rater_axis, sample_weight
        As in `expected_calibration_error`.

    Returns
    -------
    ReliabilityCurve
        ``sum(count * |mean_prob - response|) / sum(count)`` over occupied bins is the expected calibration error.

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
    check_choice("strategy", strategy, ("uniform", "equal-mass"))
    check_choice("kind", kind, ("foreground", "top-label"))
    if n_bins < 1:
        msg = f"n_bins must be at least 1; got {n_bins}."
        raise ValueError(msg)
    responses = responses_of(probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)
    edges = edges_of_uniform_bins(n_bins)
    if strategy == "equal-mass":
        edges = equal_mass_edges(top_label(responses) if kind == "top-label" else responses, n_bins)
    return ReliabilityCurve.from_responses(responses, edges=edges, kind=kind)
