"""Area under the ROC curve: whether marked voxels have higher probabilities than others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from mrcalib.inputs import check_choice, voxel_responses
from mrcalib.metrics.base import FloatArray, Metric, ratio, require_voxels
from mrcalib.metrics.bins import sums_by_bin
from mrcalib.metrics.catalogue import register_metric
from mrcalib.metrics.overlap import Tie, in_majority
from mrcalib.resampling import weighted_sums
from mrcalib.responses import AnswerSums, Responses

__all__ = ["auc"]


@cache
def _edges() -> tuple[float, ...]:
    """1024 bins: 1022 that are even in the log-odds, 0.04 wide, and one each for what is below 2**-32 and for 1."""
    logit = np.linspace(-32 * np.log(2), 24 * np.log(2), 1022)
    return (*(1 / (1 + np.exp(-logit))).tolist(), 1.0)


@dataclass(frozen=True)
class AreaUnderCurve(Metric):
    """Area under the ROC curve over voxels: the chance that a marked one has the higher probability, ties counted half.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    target : {"pairs", "majority"}, default="pairs"
        Each pair of a voxel and a rater who answered there, or each voxel with its majority.
    tie : {"background", "foreground"}, default="background"
        What the majority is of a voxel that exactly half of the raters marked.

    Returns
    -------
    float
        In [0, 1], 1 is best; NaN where all voxels are of one class. Exact on one image, ties included.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or an option is unknown.

    Notes
    -----
    Of a tally, and of pooled cases, probabilities are sorted into 1024 bins that are even in the log-odds, and tie within
    one. The value is off by at most the share of pairs (positive, negative) whose log-odds differ by less than 0.06.

    References
    ----------
    .. [1] Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982,
       doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    >>> auc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """

    name = "auc"
    label = "AUC"
    better = "higher"
    named_options = ("target",)
    renamed_options = {"label": "target"}  # noqa: RUF012

    target: Literal["pairs", "majority"] = "pairs"
    tie: Tie = "background"

    def check_options(self) -> None:
        check_choice("target", self.target, ("pairs", "majority"))
        check_choice("tie", self.tie, ("background", "foreground"))

    def named(self) -> tuple[str, str]:
        return (self.name, self.label) if self.target == "pairs" else ("auc_majority", "AUC (majority)")

    def _classes(self, answers: AnswerSums) -> tuple[FloatArray, FloatArray]:
        """Positives and negatives at each distinct probability."""
        if self.target == "pairs":
            return answers.votes, answers.pairs - answers.votes
        positive = in_majority(answers, self.tie)
        return positive, answers.count - positive

    def sums(self, responses: Responses) -> FloatArray:
        """Positives by bin, then negatives."""
        prob, answers = responses.distinct()
        return sums_by_bin(prob, _edges())(np.stack(self._classes(answers))).ravel()

    def value(self, sums: FloatArray) -> FloatArray:
        positive, below, negatives = _split(sums)
        return ratio((positive * below).sum(axis=-1), positive.sum(axis=-1) * negatives)

    def resampler(self, sums: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """As in `Metric`; a quadratic form in the weights, of the pairs of voxels between two cases each."""
        if len(sums) > sums.shape[1] // 4:  # so many pairs of cases cost more than the bins
            return super().resampler(sums)
        positive, below, negatives = _split(sums)
        won = weighted_sums(np.ascontiguousarray(below.T), positive)
        classes = np.column_stack([positive.sum(axis=-1), negatives])

        def evaluate(counts: FloatArray) -> FloatArray:
            positives, others = weighted_sums(classes, counts).T
            return ratio((weighted_sums(won, counts) * counts).sum(axis=-1), positives * others)

        return evaluate

    def of_arrays(self, probs: Any, raters: Any, **where: Any) -> float:
        rows = voxel_responses(probs, raters, **where)
        require_voxels(float(rows.count.sum()))
        prob, answers = rows.distinct()
        different, index = np.unique(prob, return_inverse=True)
        # With a bin for each different probability the value is exact.
        return float(
            self.value(np.concatenate([np.bincount(index, c, different.size) for c in self._classes(answers)]))
        )


def _split(sums: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Positives by bin, the negatives below each bin with half of those in it, and all negatives."""
    positive, negative = np.split(sums, 2, axis=-1)
    return positive, np.cumsum(negative, axis=-1) - negative / 2, negative.sum(axis=-1)


auc = register_metric(AreaUnderCurve(), compared=True)
register_metric(auc.with_options(target="majority"))
