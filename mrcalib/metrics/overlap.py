"""Overlap with what the raters marked: thresholded, soft and majority Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs import check_choice, check_number
from mrcalib.metrics.base import FloatArray, Metric, ratio
from mrcalib.metrics.catalogue import register_metric
from mrcalib.responses import AnswerSums, Responses

__all__ = ["THRESHOLDS", "Tie", "in_majority", "majority_dice", "soft_dice", "threshold_dice"]

THRESHOLDS: dict[str, tuple[float, ...]] = {
    "curvas": tuple(np.linspace(0.1, 0.8, 6).tolist()),
    "qubiq": tuple(k / 10 for k in range(1, 10)),
    "mrnet": (0.1, 0.3, 0.5, 0.7, 0.9),
}

Tie = Literal["background", "foreground"]

Sizes = tuple[float, float, float]


def _sizes(predicted: NDArray[np.bool_], count: FloatArray, given: FloatArray) -> Sizes:
    """Sizes of the predicted set, of the given set, and of what they share.

    ``predicted`` says which distinct probabilities are in the set, ``count`` how many voxels have each of these, and ``given``
    how many of them are in the given set.
    """
    return float(count[predicted].sum()), float(given.sum()), float(given[predicted].sum())


def in_majority(answers: AnswerSums, tie: Tie) -> FloatArray:
    """Of the voxels of each distinct probability, how many the majority marked."""

    def voxels(rows: Responses) -> FloatArray:
        twice = 2 * rows.votes
        marked: FloatArray = rows.count * (twice > rows.answers if tie == "background" else twice >= rows.answers)
        return marked

    return answers.total(("majority", tie), voxels)


@dataclass(frozen=True)
class _Dice(Metric):
    """Mean Dice coefficient of the overlaps that a subclass measures."""

    better = "higher"

    both_empty: float = 1.0

    def overlaps(self, responses: Responses) -> list[Sizes]:
        """Sizes of the predicted set, of the given one and of what they share, for each overlap."""
        raise NotImplementedError

    def sums(self, responses: Responses) -> FloatArray:
        """The number of voxels, then the three sizes of each overlap."""
        sizes = self.overlaps(responses)
        return np.array([responses.distinct().answers.count.sum(), *(size for three in sizes for size in three)])

    def value(self, sums: FloatArray) -> FloatArray:
        n_voxels = sums[..., 0]
        sizes = sums[..., 1:].reshape(*n_voxels.shape, -1, 3)
        total = sizes[..., 0] + sizes[..., 1]
        dice = np.where(total > 0, ratio(2 * sizes[..., 2], total + self._smooth()), self.both_empty)
        return np.where(n_voxels > 0, dice.mean(axis=-1), np.nan)

    def _smooth(self) -> float:
        return 0.0


@dataclass(frozen=True)
class ThresholdDice(_Dice):
    """Mean over thresholds t of the Dice coefficient of ``p > t`` and ``mean response > t``.

    The mean response is a float64 quotient of votes and answers, so that 4 of 5 raters are not more than 0.8.
    Probabilities are compared at their own value: the float32 that is nearest to 0.8 exceeds 0.8.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    both_empty : float, default=1.0
        Dice at a threshold that nothing exceeds on either side; NaN makes the mean NaN. If one side alone is empty it
        is 0.
    thresholds : {"curvas", "qubiq", "mrnet"} or sequence of float, default="curvas"
        "curvas": 0.1, 0.24, ..., 0.8; "qubiq": 0.1, 0.2, ..., 0.9; "mrnet": 0.1, 0.3, ..., 0.9.
    strict : bool, default=True
        Whether a value equal to the threshold is background.
    smooth : float, default=0.0
        Added to the denominator, as some programs do; a perfect overlap then scores less than 1.

    Returns
    -------
    float
        In [0, 1], 1 is best. Exact of a tally on the standard grid for the presets with ``strict=True``.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or ``thresholds`` is unknown or outside [0, 1].

    References
    ----------
    .. [1] Menze et al., QUBIQ challenge, https://qubiq.grand-challenge.org.
    .. [2] Ji et al., "Learning calibrated medical image segmentation via multi-rater agreement modeling", CVPR 2021,
       doi:10.1109/CVPR46437.2021.01216.

    Examples
    --------
    >>> masks = [[1, 1, 0], [1, 0, 0]]
    >>> threshold_dice([0.9, 0.4, 0.1], masks, thresholds=[0.3, 0.7])
    1.0
    >>> round(threshold_dice([0.9, 0.9, 0.9], masks, thresholds=[0.3, 0.7]), 4)
    0.65
    """

    name = "tdsc"
    label = "TDSC"
    function_name = "threshold_dice"
    named_options = ("thresholds",)

    thresholds: str | Sequence[float] = "curvas"
    strict: bool = True
    smooth: float = 0.0

    def check_options(self) -> None:
        if isinstance(self.thresholds, str):
            check_choice("thresholds", self.thresholds, tuple(THRESHOLDS))
        elif not self.thresholds or not all(0 <= t <= 1 for t in self.thresholds):
            msg = f"thresholds must be a preset ({', '.join(THRESHOLDS)}) or numbers in [0, 1]; got {list(self.thresholds)}."
            raise ValueError(msg)

    def named(self) -> tuple[str, str]:
        if self.thresholds == "curvas":
            return self.name, self.label
        if isinstance(self.thresholds, str):
            return f"tdsc_{self.thresholds}", f"TDSC ({self.thresholds})"
        levels = [f"{t:g}" for t in self.thresholds]
        return f"tdsc_{'_'.join(levels)}", f"TDSC ({', '.join(levels)})"

    def overlaps(self, responses: Responses) -> list[Sizes]:
        above = np.greater if self.strict else np.greater_equal
        prob, answers = responses.distinct()

        def given(threshold: float) -> FloatArray:
            return answers.total(
                ("response above", self.strict, threshold),
                lambda rows: rows.count * above(rows.votes / rows.answers, threshold),
            )

        levels = THRESHOLDS[self.thresholds] if isinstance(self.thresholds, str) else self.thresholds
        return [_sizes(above(prob, t), answers.count, given(t)) for t in levels]

    def _smooth(self) -> float:
        return self.smooth


@dataclass(frozen=True)
class MajorityDice(_Dice):
    """Dice coefficient of ``p > threshold`` and the majority of the raters who answered.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    both_empty : float, default=1.0
        The value where neither side has a voxel. If one side alone is empty it is 0.
    threshold : float, default=0.5
        Probabilities above it are foreground.
    tie : {"background", "foreground"}, default="background"
        What a voxel is that exactly half of the raters marked.

    Returns
    -------
    float
        In [0, 1], 1 is best. Exact of a tally on the standard grid for the default threshold.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or ``tie`` is unknown.

    Examples
    --------
    >>> masks = [[1, 1, 0], [1, 0, 0]]
    >>> round(majority_dice([0.9, 0.8, 0.1], masks), 4), majority_dice([0.9, 0.8, 0.1], masks, tie="foreground")
    (0.6667, 1.0)
    """

    name = "dice"
    label = "Dice"
    function_name = "majority_dice"

    threshold: float = 0.5
    tie: Tie = "background"

    def check_options(self) -> None:
        check_number("threshold", self.threshold, 0, 1)
        check_choice("tie", self.tie, ("background", "foreground"))

    def overlaps(self, responses: Responses) -> list[Sizes]:
        prob, answers = responses.distinct()
        return [_sizes(prob > self.threshold, answers.count, in_majority(answers, self.tie))]


@dataclass(frozen=True)
class SoftDice(_Dice):
    """``2 sum(p m) / (sum(p) + sum(m))`` with m the mean response of the raters who answered.

    It rewards overconfidence: ``p = m`` scores less than 1 wherever raters disagree. Not the mean over thresholds that
    QUBIQ calls soft Dice, which is `threshold_dice`.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    both_empty : float, default=1.0
        The value where probabilities and responses are all 0.

    Returns
    -------
    float
        In [0, 1]. Of a tally it is off by at most 0.4 %: only ``sum(p m)`` depends on where in its bin a voxel lies.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered.

    References
    ----------
    .. [1] Milletari et al., "V-Net", 3DV 2016, doi:10.1109/3DV.2016.79, with plain sums in the denominator.

    Examples
    --------
    >>> soft_dice([1.0, 0.5, 0.0], [[1, 1, 0], [1, 0, 0]])
    0.8333333333333334
    """

    name = "soft_dice"
    label = "soft Dice"

    def overlaps(self, responses: Responses) -> list[Sizes]:
        prob, answers = responses.distinct()
        count, response = answers.count, answers.responses
        return [(float((count * prob).sum()), float(response.sum()), float((response * prob).sum()))]


threshold_dice = register_metric(ThresholdDice(), compared=True)
register_metric(threshold_dice.with_options(thresholds="qubiq"))
register_metric(threshold_dice.with_options(thresholds="mrnet"))
majority_dice = register_metric(MajorityDice(), compared=True)
soft_dice = register_metric(SoftDice(), compared=True)
