"""The score of the QUBIQ challenges: Dice of prediction and mean annotation, binarised at several thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.inputs import voxel_responses
from mrcalib.metrics import threshold_dice
from mrcalib.metrics.base import FloatArray, require_voxels
from mrcalib.metrics.overlap import THRESHOLDS
from mrcalib.protocols._notes import rater_notes
from mrcalib.protocols._protocol import Disagreement, Measure, Protocol, register_protocol
from mrcalib.responses import Responses

__all__ = ["qubiq"]


def qubiq(
    probs: ArrayLike,
    raters: Any,
    *,
    thresholds: str | Sequence[float] = "qubiq",
    strict: bool = True,
    both_empty: float = 1.0,
    one_empty: float = 0.0,
) -> dict[str, Any]:
    """Mean over thresholds of the Dice of the prediction and of the mean of the raters, both binarised there.

    The organisers do not say whether a value equal to a threshold is foreground, nor what an empty pair scores; both
    are arguments here, and the other reading of the first is in the answer too.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1], compared at their own value: the float32 nearest to 0.8 exceeds 0.8.
    raters : array_like or sequence
        Masks, raters first or last, or a list with None for a missing rater. The mean is a float64 quotient.
    thresholds : {"qubiq", "mrnet", "curvas"} or sequence of float, default="qubiq"
        "qubiq": 0.1, 0.2, ..., 0.9; "mrnet": 0.1, 0.3, ..., 0.9; "curvas": six from 0.1 to 0.8.
    strict : bool, default=True
        Whether a value equal to the threshold is background.
    both_empty : float, default=1.0
        Dice at a threshold that nothing exceeds on either side. NaN leaves the threshold out.
    one_empty : float, default=0.0
        Dice at a threshold that one side alone exceeds. NaN leaves the threshold out.

    Returns
    -------
    dict
        ``dice`` : the mean, in [0, 1], higher is better; NaN where every threshold is left out.
        ``dice_strict`` and ``dice_inclusive`` : the mean where a value equal to the threshold is background, and where
        it is foreground; ``dice`` is one of them.
        ``per_threshold`` : list of the Dice at each threshold.
        ``thresholds`` : list of these.
        ``notes`` : list of sentences on raters who are missing or marked nothing, and on thresholds that are empty on
        both sides. A score that is perfect for want of anything to score is never without one.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or ``thresholds`` is unknown or outside [0, 1].

    References
    ----------
    .. [1] QUBIQ, https://qubiq.grand-challenge.org.
    .. [2] Ji et al., "Learning calibrated medical image segmentation via multi-rater agreement modeling", CVPR 2021,
       doi:10.1109/CVPR46437.2021.01216, for "mrnet".

    Examples
    --------
    >>> masks = [[1, 1, 0, 0], [1, 0, 0, 0]]
    >>> scores = qubiq([0.9, 0.5, 0.0, 0.0], masks)
    >>> round(scores["dice"], 4), scores["dice_inclusive"]
    (0.8889, 1.0)
    """
    responses = voxel_responses(probs, raters, soft=False, arguments=())
    require_voxels(float(responses.count.sum()))
    levels = THRESHOLDS.get(thresholds, thresholds) if isinstance(thresholds, str) else thresholds
    rules = (strict, not strict)
    dice, other = (_dice(responses, thresholds, rule, both_empty, one_empty) for rule in rules)
    means = dict(zip(rules, (_mean(dice), _mean(other)), strict=True))
    return {
        "dice": means[strict],
        "dice_strict": means[True],
        "dice_inclusive": means[False],
        "per_threshold": dice.tolist(),
        "thresholds": [float(t) for t in levels],
        "notes": _notes(responses, thresholds, strict=strict),
    }


def _sizes(responses: Responses, thresholds: str | Sequence[float], *, strict: bool) -> FloatArray:
    """Sizes of prediction, of raters and of what they share; shape (n_thresholds, 3)."""
    sums = threshold_dice.with_options(thresholds=thresholds, strict=strict).sums(responses)
    return sums[1:].reshape(-1, 3)


def _dice(
    responses: Responses,
    thresholds: str | Sequence[float],
    strict: bool,  # noqa: FBT001
    both_empty: float,
    one_empty: float,
) -> FloatArray:
    predicted, given, shared = _sizes(responses, thresholds, strict=strict).T
    total = predicted + given
    dice = np.divide(2 * shared, total, out=np.full(total.shape, both_empty), where=total > 0)
    return np.where((predicted > 0) != (given > 0), one_empty, dice)


def _mean(dice: FloatArray) -> float:
    known = dice[~np.isnan(dice)]
    return float(known.mean()) if known.size else float("nan")


def _notes(responses: Responses, thresholds: str | Sequence[float], *, strict: bool) -> list[str]:
    assert responses.present is not None
    assert responses.marked is not None
    answered = responses.answered_raters()
    masks = [(responses.marked >> r) & 1 if r in answered else None for r in range(responses.n_raters)]
    sizes = _sizes(responses, thresholds, strict=strict)
    empty = int((sizes.sum(axis=1) == 0).sum())
    about_empty = (
        [f"At {empty} of {len(sizes)} thresholds neither side has a voxel; both_empty is their Dice."] if empty else []
    )
    return rater_notes(masks, len(answered)) + about_empty


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    return {"qubiq": float(scores["dice"])}


def _scored(
    probs: ArrayLike,
    raters: Any,
    *,
    spacing: float | Sequence[float] | None,  # noqa: ARG001
    strict: bool,
) -> dict[str, Any]:
    return qubiq(probs, raters, strict=strict)


def _why(strict: float, corrected: float) -> str:  # noqa: ARG001
    return "the organisers do not say whether a value equal to a threshold is foreground"


PROTOCOL = register_protocol(
    Protocol(
        name="qubiq",
        title="QUBIQ",
        measures=(Measure("qubiq", "QUBIQ Dice", "higher"),),
        needs_vessels=False,
        needs_classes=False,
        scorer=_scored,
        flatten=_numbers,
        rules={"qubiq": Disagreement(0.001, 0.0, _why)},
        readings=("with > at the thresholds", "with >="),
    )
)
