"""SIMPLE: raters weighed by their agreement with the consensus, the worst left out, over and over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._patterns import Raters, VotePatterns, find_patterns
from mrcalib.fusion._votes import TIES, Tie
from mrcalib.inputs import check_choice, check_count, check_number

__all__ = ["SimpleResult", "simple"]

FloatArray = NDArray[np.float64]
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class SimpleResult:
    """What SIMPLE makes of the raters.

    Attributes
    ----------
    mask : ndarray of shape S, uint8
        The consensus, 0 or 1.
    selected : ndarray of shape (R,), bool
        Who was not left out; False for a missing rater.
    dice : ndarray of shape (R,), float64
        Of each rater, left out or not, with the consensus; NaN for a missing rater.
    n_iter : int
        Weighted votes that were taken.
    """

    mask: NDArray[np.uint8]
    selected: NDArray[np.bool_]
    dice: FloatArray
    n_iter: int


def simple(
    raters: Raters,
    *,
    alpha: float = 1.0,
    min_raters: int | None = None,
    tie: Tie = "background",
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
) -> SimpleResult:
    """Selective and iterative method for performance level estimation [1]_.

    The consensus begins as the majority. Then, until nobody is left out any more: each rater's performance is the Dice
    coefficient with the consensus; raters below mean - ``alpha`` * standard deviation (of those still in) are left out for
    good; the consensus becomes the vote of the others, weighted by their performance. The order of raters does not matter.

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`. Voxels that a rater did not answer do not enter the rater's Dice coefficient.
    alpha : float, default=1.0
        Standard deviations below the mean at which a rater is left out, at least 0; infinity keeps everybody.
    min_raters : int, optional
        As few may stay; of more that would have to go, the best stay, with all who are as good as the last of them. By
        default half of the raters who annotated, and two at least: SIMPLE was made for dozens of atlases, and of few raters
        it would end with one. The paper leaves the number open.
    tie : {"background", "foreground"}, default="background"
        What a voxel is whose votes have exactly half of the weight.

    Returns
    -------
    SimpleResult
        With identical raters, their mask. Two empty masks have Dice 1. Where no rater who stays has any weight or answered,
        the consensus stays what it was.

    Raises
    ------
    ValueError
        If no rater answered at some voxel, an option is out of range, or as `soft`.

    References
    ----------
    .. [1] Langerak et al., "Label fusion in atlas-based segmentation using a selective and iterative method for performance
       level estimation (SIMPLE)", IEEE Trans. Med. Imaging 29, 2010.

    Examples
    --------
    >>> good, other = [0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1]
    >>> result = simple([good, good, other, [0, 1, 1, 0, 0, 0]])
    >>> result.mask, result.selected
    (array([0, 1, 1, 1, 0, 0], dtype=uint8), array([ True,  True, False, False]))
    """
    check_choice("tie", tie, TIES)
    check_number("alpha", alpha, 0, finite=False)
    if min_raters is not None:
        check_count("min_raters", min_raters)
    patterns = find_patterns(raters, rater_axis, positive)
    patterns.require_answers("consensus")
    selected: NDArray[np.bool_] = np.any(patterns.answered, axis=0, keepdims=False)
    fewest = max(2, (int(selected.sum()) + 1) // 2) if min_raters is None else min_raters
    consensus = _vote(patterns, selected.astype(np.float64), tie, np.zeros(patterns.count.size, dtype=bool))
    n_iter = 0
    while True:
        dice = _dice(patterns, consensus)
        chosen = _choose(dice, selected, alpha, fewest)
        settled = n_iter > 0 and bool((chosen == selected).all())
        if settled:
            break
        selected = chosen
        consensus = _vote(patterns, np.where(selected, dice, np.zeros(dice.size)), tie, consensus)
        n_iter += 1
    return SimpleResult(patterns.paint(consensus.astype(np.uint8)), selected, dice, n_iter)


def _vote(patterns: VotePatterns, weight: FloatArray, tie: Tie, before: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Patterns that more than half of the weight of those who answered is for; as before where there is no weight."""
    part, total = (np.einsum("r,pr->p", weight, who) for who in (patterns.marked, patterns.answered))
    slack = total * (_ROUNDING if tie == "background" else -_ROUNDING)
    voted: NDArray[np.bool_] = np.where(total > 0, 2 * part > total + slack, before)
    return voted


def _dice(patterns: VotePatterns, consensus: NDArray[np.bool_]) -> FloatArray:
    """Each rater's Dice coefficient with the consensus where the rater answered; NaN for a missing rater."""
    count = patterns.count[:, None]
    both = (count * (patterns.marked & consensus[:, None])).sum(axis=0)
    sizes = (count * patterns.marked).sum(axis=0) + (count * (patterns.answered & consensus[:, None])).sum(axis=0)
    dice = np.where(sizes > 0, 2 * both / np.maximum(sizes, 1), 1.0)
    return np.where(patterns.answered.any(axis=0), dice, np.nan)


def _choose(dice: FloatArray, selected: NDArray[np.bool_], alpha: float, fewest: int) -> NDArray[np.bool_]:
    """Who stays in."""
    here = np.sort(dice[selected])[::-1]
    limit = here.mean() - (alpha * here.std() if np.isfinite(alpha) else np.inf)
    limit = min(limit, here[min(fewest, here.size) - 1])
    chosen: NDArray[np.bool_] = selected & (dice >= limit - _ROUNDING)
    return chosen
