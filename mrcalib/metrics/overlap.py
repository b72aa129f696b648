"""Overlap with what the raters marked: thresholded, soft and majority Dice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import check_choice
from mrcalib.metrics._door import score_arrays
from mrcalib.metrics._metric import FloatArray, Metric, ratio
from mrcalib.responses import AnswerSums, Responses

__all__ = [
    "THRESHOLDS",
    "majority_dice",
    "majority_dice_metric",
    "soft_dice",
    "soft_dice_metric",
    "threshold_dice",
    "threshold_dice_metric",
]

THRESHOLDS: dict[str, tuple[float, ...]] = {
    "curvas": tuple(np.linspace(0.1, 0.8, 6).tolist()),
    "qubiq": tuple(k / 10 for k in range(1, 10)),
    "mrnet": (0.1, 0.3, 0.5, 0.7, 0.9),
}

Tie = Literal["background", "foreground"]


def threshold_dice_metric(
    *,
    thresholds: str | Sequence[float] = "curvas",
    both_empty: float = 1.0,
    strict: bool = True,
    smooth: float = 0.0,
) -> Metric:
    """The mean over thresholds of Dice, as a metric; range [0, 1], higher is better.

    Parameters
    ----------
    thresholds, both_empty, strict
        As in `threshold_dice`.
    smooth : float, default=0.0
        Added to the denominator, as some programs do; a perfect overlap then scores less than 1.

    Returns
    -------
    Metric
        "tdsc" for the CURVAS thresholds, "tdsc_qubiq", "tdsc_mrnet", or "tdsc_custom". Exact on the cells of the
        standard tally for the presets with ``strict=True``.
    """
    levels = _levels(thresholds)
    preset = thresholds if isinstance(thresholds, str) else "custom"
    return Metric(
        name="tdsc" if preset == "curvas" else f"tdsc_{preset}",
        label="TDSC" if preset == "curvas" else f"TDSC ({preset})",
        better="higher",
        unit="",
        statistics=partial(_threshold_sums, thresholds=levels, strict=strict),
        value=partial(_mean_dice, both_empty=both_empty, smooth=smooth),
    )


def majority_dice_metric(*, threshold: float = 0.5, tie: Tie = "background", both_empty: float = 1.0) -> Metric:
    """Dice of ``p > threshold`` against the majority, as a metric; options as in `majority_dice`."""
    check_choice("tie", tie, ("background", "foreground"))
    return Metric(
        name="dice",
        label="Dice",
        better="higher",
        unit="",
        statistics=partial(_majority_sums, threshold=threshold, tie=tie),
        value=partial(_mean_dice, both_empty=both_empty, smooth=0.0),
    )


def soft_dice_metric(*, both_empty: float = 1.0) -> Metric:
    """Dice of probabilities against mean responses, as a metric; options as in `soft_dice`."""
    return Metric(
        name="soft_dice",
        label="soft Dice",
        better="higher",
        unit="",
        statistics=_soft_sums,
        value=partial(_mean_dice, both_empty=both_empty, smooth=0.0),
    )


def _levels(thresholds: str | Sequence[float]) -> tuple[float, ...]:
    if isinstance(thresholds, str):
        check_choice("thresholds", thresholds, tuple(THRESHOLDS))
        return THRESHOLDS[thresholds]
    levels = tuple(float(t) for t in thresholds)
    if not levels or not all(0 <= t <= 1 for t in levels):
        msg = f"thresholds must be a preset ({', '.join(THRESHOLDS)}) or numbers in [0, 1]; got {list(levels)}."
        raise ValueError(msg)
    return levels


def _overlap(predicted: NDArray[np.bool_], count: FloatArray, given: FloatArray) -> tuple[float, float, float]:
    """Sizes of the predicted set of levels, of the given one, and of what they share.

    ``count`` are the voxels of each level of probability, ``given`` those of them in the given set.
    """
    return float(count[predicted].sum()), float(given.sum()), float(given[predicted].sum())


def _flat(count: FloatArray, overlaps: list[tuple[float, float, float]]) -> FloatArray:
    """The number of voxels, then the three sizes of each overlap."""
    return np.array([count.sum(), *(size for overlap in overlaps for size in overlap)])


def _threshold_sums(responses: Responses, *, thresholds: tuple[float, ...], strict: bool) -> FloatArray:
    above = np.greater if strict else np.greater_equal
    prob, answers = responses.distinct()

    def given(threshold: float) -> FloatArray:
        return answers.total(
            ("response above", strict, threshold),
            lambda rows: rows.count * above(rows.votes / rows.answers, threshold),
        )

    return _flat(answers.count, [_overlap(above(prob, t), answers.count, given(t)) for t in thresholds])


def _majority_sums(responses: Responses, *, threshold: float, tie: Tie) -> FloatArray:
    prob, answers = responses.distinct()
    return _flat(answers.count, [_overlap(prob > threshold, answers.count, in_majority(answers, tie))])


def in_majority(answers: AnswerSums, tie: Tie) -> FloatArray:
    """Of each level, the voxels that the majority marked."""
    return answers.total(("majority", tie), lambda rows: rows.count * majority(rows, tie))


def majority(responses: Responses, tie: Tie) -> NDArray[np.bool_]:
    """Whether more than half of the raters who answered marked the voxel; half of them where ties are foreground."""
    twice: NDArray[np.float64] = 2 * responses.votes
    return twice > responses.answers if tie == "background" else twice >= responses.answers


def _soft_sums(responses: Responses) -> FloatArray:
    prob, answers = responses.distinct()
    count, response = answers.count, answers.responses
    return _flat(count, [(float((count * prob).sum()), float(response.sum()), float((response * prob).sum()))])


def _mean_dice(statistics: FloatArray, *, both_empty: float, smooth: float) -> FloatArray:
    n_voxels = statistics[..., 0]
    sizes = statistics[..., 1:].reshape(*n_voxels.shape, -1, 3)
    total = sizes[..., 0] + sizes[..., 1]
    dice = np.where(total > 0, ratio(2 * sizes[..., 2], total + smooth), both_empty)
    return np.where(n_voxels > 0, dice.mean(axis=-1), np.nan)


def threshold_dice(
    probs: ArrayLike,
    raters: Any,
    *,
    thresholds: str | Sequence[float] = "curvas",
    both_empty: float = 1.0,
    strict: bool = True,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> float:
    """Mean over thresholds t of the Dice coefficient of ``p > t`` and ``mean response > t``.

    The mean response is a float64 quotient of votes and answers, so that 4 of 5 raters are not more than 0.8.
    Probabilities are compared at their own value: the float32 that is nearest to 0.8 exceeds 0.8.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    thresholds : {"curvas", "qubiq", "mrnet"} or sequence of float, default="curvas"
        "curvas": 0.1, 0.24, ..., 0.8; "qubiq": 0.1, 0.2, ..., 0.9; "mrnet": 0.1, 0.3, ..., 0.9.
    both_empty : float, default=1.0
        Dice at a threshold that nothing exceeds on either side; NaN makes the mean NaN. If one side alone is empty it
        is 0.
    strict : bool, default=True
        Whether a value equal to the threshold is background.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Returns
    -------
    float
        In [0, 1], 1 is best.

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
    metric = threshold_dice_metric(thresholds=thresholds, both_empty=both_empty, strict=strict)
    return score_arrays(metric, probs, raters, roi=roi, rater_axis=rater_axis)


def soft_dice(
    probs: ArrayLike,
    raters: Any,
    *,
    both_empty: float = 1.0,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> float:
    """``2 sum(p m) / (sum(p) + sum(m))`` with m the mean response of the raters who answered.

    It rewards overconfidence: ``p = m`` scores less than 1 wherever raters disagree. Not the mean over thresholds that
    QUBIQ calls soft Dice, which is `threshold_dice`.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    both_empty : float, default=1.0
        The value where probabilities and responses are all 0.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Returns
    -------
    float
        In [0, 1].

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
    return score_arrays(soft_dice_metric(both_empty=both_empty), probs, raters, roi=roi, rater_axis=rater_axis)


def majority_dice(
    probs: ArrayLike,
    raters: Any,
    *,
    threshold: float = 0.5,
    tie: Tie = "background",
    both_empty: float = 1.0,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> float:
    """Dice coefficient of ``p > threshold`` and the majority of the raters who answered.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks or a soft target, as in `expected_calibration_error`.
    threshold : float, default=0.5
        Probabilities above it are foreground.
    tie : {"background", "foreground"}, default="background"
        What a voxel is that exactly half of the raters marked.
    both_empty : float, default=1.0
        The value where neither side has a voxel. If one side alone is empty it is 0.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Returns
    -------
    float
        In [0, 1], 1 is best.

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
    metric = majority_dice_metric(threshold=threshold, tie=tie, both_empty=both_empty)
    return score_arrays(metric, probs, raters, roi=roi, rater_axis=rater_axis)
