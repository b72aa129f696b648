"""Area under the ROC curve: whether marked voxels have higher probabilities than others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.inputs import check_choice
from mrcalib.metrics._bins import sums_by_bin
from mrcalib.metrics._door import responses_of
from mrcalib.metrics._metric import FloatArray, Metric, ratio
from mrcalib.metrics.overlap import Tie, in_majority
from mrcalib.resampling import weighted_sums
from mrcalib.responses import AnswerSums, Responses

__all__ = ["auc", "auc_metric"]

Label = Literal["pairs", "majority"]


def auc_metric(*, label: Label = "pairs", tie: Tie = "background") -> Metric:
    """The area under the ROC curve over pooled voxels as a metric; options are those of `auc`.

    Range [0, 1], higher is better, NaN where all are of one class.
    Probabilities are sorted into 1024 bins that are even in ``log(p / (1 - p))`` (0.04 wide, with bins of their own for
    what is below 2**-32 and for 1), and tie within a bin: it is off by at most half the share of pairs (positive,
    negative) that lie in one bin. `auc` is exact.
    """
    _check(label, tie)
    return Metric(
        name="auc" if label == "pairs" else "auc_majority",
        label="AUC" if label == "pairs" else "AUC (majority)",
        better="higher",
        unit="",
        statistics=partial(_sums, label=label, tie=tie),
        value=_Area(),
    )


def _check(label: str, tie: str) -> None:
    check_choice("label", label, ("pairs", "majority"))
    check_choice("tie", tie, ("background", "foreground"))


@cache
def _edges() -> tuple[float, ...]:
    logit = np.linspace(-32 * np.log(2), 24 * np.log(2), 1022)
    return (*(1 / (1 + np.exp(-logit))).tolist(), 1.0)


def _classes(answers: AnswerSums, label: Label, tie: Tie) -> tuple[FloatArray, FloatArray]:
    """Positives and negatives of each level of probability."""
    if label == "pairs":
        return answers.votes, answers.pairs - answers.votes
    positive = in_majority(answers, tie)
    return positive, answers.count - positive


def _sums(responses: Responses, *, label: Label, tie: Tie) -> FloatArray:
    edges = _edges()
    prob, answers = responses.distinct()
    return sums_by_bin(prob, edges)(np.stack(_classes(answers, label, tie))).ravel()


@dataclass(frozen=True)
class _Area:
    """Share of pairs (positive, negative) in the right order, ties half; from positives by bin, then negatives."""

    def __call__(self, statistics: FloatArray) -> FloatArray:
        positive, below, negatives = self._split(statistics)
        return ratio((positive * below).sum(axis=-1), positive.sum(axis=-1) * negatives)

    def of_weights(self, statistics: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """The area under weights of the cases: a quadratic form in them, of the pairs between two cases each."""
        if len(statistics) > statistics.shape[1] // 4:  # so many pairs of cases cost more than the bins
            return lambda counts: self(weighted_sums(statistics, counts))
        positive, below, negatives = self._split(statistics)
        won = weighted_sums(np.ascontiguousarray(below.T), positive)
        classes = np.column_stack([positive.sum(axis=-1), negatives])

        def evaluate(counts: FloatArray) -> FloatArray:
            positives, others = weighted_sums(classes, counts).T
            return ratio((weighted_sums(won, counts) * counts).sum(axis=-1), positives * others)

        return evaluate

    def _split(self, statistics: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positives by bin, the negatives below each bin with half of those in it, and all negatives."""
        positive, negative = np.split(statistics, 2, axis=-1)
        return positive, np.cumsum(negative, axis=-1) - negative / 2, negative.sum(axis=-1)


def auc(
    probs: ArrayLike,
    raters: Any,
    *,
    label: Label = "pairs",
    tie: Tie = "background",
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Area under the ROC curve over voxels: the chance that a marked one has the higher probability, ties counted half.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    label : {"pairs", "majority"}, default="pairs"
        Each pair of a voxel and a rater who answered there, or each voxel with its majority.
    tie : {"background", "foreground"}, default="background"
        What the majority is of a voxel that exactly half of the raters marked.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.

    Returns
    -------
    float
        In [0, 1], 1 is best; NaN where all voxels are of one class. Exact, ties included.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or an option is unknown.

    References
    ----------
    .. [1] Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982,
       doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    >>> auc([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    _check(label, tie)
    responses = responses_of(probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)
    prob, answers = responses.distinct()
    different, index = np.unique(prob, return_inverse=True)
    classes = [np.bincount(index, c, different.size) for c in _classes(answers, label, tie)]
    return float(_Area()(np.concatenate(classes)))
