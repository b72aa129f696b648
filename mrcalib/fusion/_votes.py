"""What is read off the votes at each voxel: the fraction of raters, majority, median, and one rater drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._patterns import Raters, find_patterns
from mrcalib.inputs import check_choice, split_raters

__all__ = ["TIES", "Tie", "majority", "median", "random_rater", "soft"]

Tie = Literal["background", "foreground"]
TIES: tuple[Tie, ...] = ("background", "foreground")


def soft(
    raters: Raters, *, rater_axis: int | None = None, positive: int | Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Fraction of raters who marked each voxel, of those who answered there: the mean human response.

    Parameters
    ----------
    raters : array_like of shape (R, *S) or (*S, R), sequence of (array_like of shape S) or None, or mapping
        Masks of 0 and 1, 30 at most; a mapping names them. None is a missing rater, NaN and masked entries are voxels
        without an answer.
    rater_axis : int, optional
        Axis of an array that counts raters. By default the first, if it is shorter than the last and has at most 30 entries;
        else the last, if the first has more than 30 and the last at most 10; else it must be said. A list has one mask a rater.
    positive : int or sequence of int, optional
        Labels that mark the structure, where masks hold others than 0 and 1.

    Returns
    -------
    ndarray of shape S, float64
        In [0, 1], exactly votes / answers; NaN where no rater answered. 0 everywhere if all masks are empty.

    Raises
    ------
    TypeError
        If the masks are not numbers.
    ValueError
        If shapes differ, no rater annotated, there is no voxel, a mask holds other values, or either end of an array may
        count the raters.

    Examples
    --------
    >>> soft([[0, 1, 1], [0, 0, 1], None])
    array([0. , 0.5, 1. ])
    """
    patterns = find_patterns(raters, rater_axis, positive)
    return patterns.paint(patterns.mean_vote)


def majority(
    raters: Raters,
    *,
    tie: Tie = "background",
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """Voxels that more than half of the raters marked, of those who answered there.

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`.
    tie : {"background", "foreground"}, default="background"
        What a voxel is that exactly half of them marked. Equation 2 of the ordinal RPS paper (arXiv 2605.02437) makes it
        foreground.

    Returns
    -------
    ndarray of shape S, uint8
        0 or 1; 0 everywhere if all masks are empty.

    Raises
    ------
    ValueError
        If no rater answered at some voxel, ``tie`` is unknown, or as `soft`.

    Examples
    --------
    >>> masks = [[0, 1, 1], [0, 0, 1]]
    >>> majority(masks), majority(masks, tie="foreground")
    (array([0, 0, 1], dtype=uint8), array([0, 1, 1], dtype=uint8))
    """
    check_choice("tie", tie, TIES)
    patterns = find_patterns(raters, rater_axis, positive)
    patterns.require_answers("majority")
    twice, answers = 2 * patterns.n_votes, patterns.n_answers
    marked = twice > answers if tie == "background" else twice >= answers
    return patterns.paint(marked.astype(np.uint8))


def median(
    raters: Raters, *, rater_axis: int | None = None, positive: int | Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Median of the raters' answers at each voxel: the majority, and 1/2 where they are split evenly.

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`.

    Returns
    -------
    ndarray of shape S, float64
        0, 0.5 or 1; NaN where no rater answered.

    Raises
    ------
    ValueError
        As `soft`.

    Examples
    --------
    >>> median([[0, 1, 1], [0, 0, 1]])
    array([0. , 0.5, 1. ])
    """
    patterns = find_patterns(raters, rater_axis, positive)
    twice, answers = 2 * patterns.n_votes, patterns.n_answers
    return patterns.paint(np.where(answers > 0, 0.5 + 0.5 * np.sign(twice - answers), np.nan))


def random_rater(
    raters: Raters,
    rng: np.random.Generator | int,
    *,
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
) -> NDArray[np.uint8]:
    """The mask of one rater, drawn with equal chances from those who annotated.

    Drawn anew for each image and pass of training, it teaches a segmenter the mean response (label sampling).

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`; only the masks that are used are looked at.
    rng : numpy.random.Generator or int
        A generator draws another rater on each call; a seed always the same.

    Returns
    -------
    ndarray of shape S, uint8
        A new array of 0 and 1. At voxels that the rater did not answer, the answer of the next rater in random order.

    Raises
    ------
    ValueError
        If no rater answered at some voxel, or as `soft`.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> masks = [[0, 0, 1], None, [0, 1, 1]]
    >>> [random_rater(masks, rng).tolist() for _ in range(3)]
    [[0, 0, 1], [0, 1, 1], [0, 1, 1]]
    """
    masks = [mask for mask in split_raters(raters, None, rater_axis) if mask is not None]
    drawn = np.random.default_rng(rng).permutation(len(masks))
    out = np.zeros(masks[0].shape, np.uint8)
    open_ = np.ones(out.shape, dtype=bool)
    for index in drawn:
        patterns = find_patterns([masks[index]], None, positive)
        if patterns.answered.all() and open_.all():
            return patterns.paint(patterns.marked[:, 0].astype(np.uint8))
        here = open_ & patterns.paint(patterns.answered[:, 0])
        out[here] = patterns.paint(patterns.marked[:, 0])[here]
        open_ &= ~here
        if not open_.any():
            return out
    find_patterns(masks, None, positive).require_answers("answer to draw")
    return out
