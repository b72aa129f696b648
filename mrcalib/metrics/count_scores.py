"""Proper scores of predicted numbers of votes, and what a metric of these numbers is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mrcalib.inputs import check_choice
from mrcalib.metrics.base import CaseArrays, FloatArray, Metric, listed_by_case, ratio
from mrcalib.metrics.catalogue import register_metric
from mrcalib.metrics.counts import count_responses, predicted_counts
from mrcalib.metrics.proper import EPS, check_eps
from mrcalib.responses import Responses

__all__ = ["CountMetric", "count_log_loss", "ranked_probability_score"]


@dataclass(frozen=True)
class CountMetric(Metric):
    """A score of the predicted distribution of votes; binomial where a method predicts a probability only."""

    array_options = {"class_axis": -1}  # noqa: RUF012

    def __call__(self, count_probs: Any, raters: Any = None, **options: Any) -> float:  # type: ignore[override]
        """The score of one image or of several cases; as in `Metric`, but of distributions of votes."""
        return super().__call__(count_probs, raters, **options)

    def of_arrays(self, probs: Any, raters: Any, **where: Any) -> float:
        return float(self.value(self.sums_of_arrays(probs, raters, **where)))

    def sums_of_arrays(self, probs: Any, raters: Any, **where: Any) -> FloatArray:
        class_axis = where.pop("class_axis", -1)
        if class_axis is None:
            return super().sums_of_arrays(probs, raters, **where)
        return self.sums(count_responses(probs, raters, class_axis=class_axis, **where))

    def cases(self, items: Sequence[Any], raters: Any, *, together: bool, **where: Any) -> Iterator[CaseArrays]:
        on_disk = hasattr(items[0], "rater_names")
        if on_disk or where.get("class_axis", -1) is None:
            yield from super().cases(items, raters, together=together, **{**where, "class_axis": None})
            return
        if raters is None:
            items, raters = zip(*items, strict=True)
        columns = {
            key: listed_by_case(key, value, len(items)) if key in self.array_options or value is None else list(value)
            for key, value in where.items()
            if key != "rater_axis"
        }
        for i, (dist, masks) in enumerate(zip(items, raters, strict=True)):
            options = {key: values[i] for key, values in columns.items()}
            yield CaseArrays(str(i), dist, masks, {**options, "rater_axis": where["rater_axis"]})


@dataclass(frozen=True)
class RankedProbabilityScore(CountMetric):
    """Mean ranked probability score of distributions over the number of votes, 0 to K.

    ``sum_j (F_j - G_j)**2`` over j = 0 to K, with F the predicted and G the observed cumulative distribution; the term
    of j = K is always 0. At voxels where only n of the raters answered it is the score of n votes.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, sample_weight, rater_axis
        As in `count_responses`; or several cases, as in `Metric`. The probabilities of `Case` objects and tallies stand for
        binomial counts, and so do those of an array with ``class_axis=None``.
    average : {"mean", "pooled"}, default="mean"
        Of several cases, as in `Metric`.
    norm : {"classes", "levels", "none"}, default="classes"
        Divide by K + 1 [1]_, by K (range [0, 1]), or not at all: for K = 1 that is the Brier score. K is the number of raters
        who answered at the voxel.

    Returns
    -------
    float
        At least 0, which is best; at most K / (K + 1), 1 or K, by ``norm``. Of a tally it is off by at most 1.6 % of the mean
        of ``min(p, 1 - p)`` for the default norm.

    Raises
    ------
    ValueError
        As `count_responses`, or for an unknown ``norm``.

    References
    ----------
    .. [1] arXiv:2605.02437, equations 3 and 4.
    .. [2] Epstein, "A scoring system for probability forecasts of ranked categories", 1969,
       doi:10.1175/1520-0450(1969)008<0985:ASSFPF>2.0.CO;2.

    Examples
    --------
    >>> ranked_probability_score([[0.5, 0.5, 0.0]], [2], norm="none")
    1.25
    >>> ranked_probability_score([[0.5, 0.5, 0.0]], [[1], [1]], norm="levels")
    0.625
    """

    name = "rps"
    label = "RPS"
    function_name = "ranked_probability_score"
    named_options = ("norm",)

    norm: Literal["classes", "levels", "none"] = "classes"

    def check_options(self) -> None:
        check_choice("norm", self.norm, ("classes", "levels", "none"))

    def named(self) -> tuple[str, str]:
        suffix = {"classes": "", "levels": "_levels", "none": "_sum"}[self.norm]
        return f"rps{suffix}", {"classes": "RPS", "levels": "RPS/K", "none": "RPS (sum)"}[self.norm]

    def sums(self, responses: Responses) -> FloatArray:
        total = np.zeros(2)
        for dist, count, votes in predicted_counts(responses):
            n = dist.shape[1] - 1
            observed = votes[:, np.newaxis] <= np.arange(n)
            score = ((np.cumsum(dist, axis=1)[:, :-1] - observed) ** 2).sum(axis=1)
            total += count @ score / {"classes": n + 1, "levels": n, "none": 1}[self.norm], count.sum()
        return total

    def value(self, sums: FloatArray) -> FloatArray:
        return ratio(sums[..., 0], sums[..., 1])


@dataclass(frozen=True)
class CountLogLoss(CountMetric):
    """Mean negative log-probability of the observed number of votes, in nats: the log score [1]_.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, sample_weight, rater_axis
        As in `count_responses`; or several cases, as in `Metric`. The probabilities of `Case` objects and tallies stand for
        binomial counts, and so do those of an array with ``class_axis=None``.
    average : {"mean", "pooled"}, default="mean"
        Of several cases, as in `Metric`.
    eps : float, default=2**-24
        Smaller probabilities count as this one, so that a wrong certainty costs ``-log(eps)``, 16.6 by default.

    Returns
    -------
    float
        At least 0, which is best.

    Raises
    ------
    ValueError
        As `count_responses`, or if ``eps`` is not in (0, 1/2).

    References
    ----------
    .. [1] Good, "Rational decisions", 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    Examples
    --------
    >>> round(count_log_loss([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [[1, 1], [0, 1]]), 4)
    0.6931
    """

    name = "count_log_loss"
    label = "vote log loss"

    eps: float = EPS

    def check_options(self) -> None:
        check_eps(self.eps)

    def sums(self, responses: Responses) -> FloatArray:
        total = np.zeros(2)
        for dist, count, votes in predicted_counts(responses):
            predicted = np.clip(dist[np.arange(votes.size), votes], self.eps, 1.0)
            total += -(count @ np.log(predicted)), count.sum()
        return total

    def value(self, sums: FloatArray) -> FloatArray:
        return ratio(sums[..., 0], sums[..., 1])


ranked_probability_score = register_metric(RankedProbabilityScore())
count_log_loss = register_metric(CountLogLoss())
