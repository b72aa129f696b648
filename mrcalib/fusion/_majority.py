"""Majority vote and median."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._patterns import Raters, find_patterns, split_raters
from mrcalib.inputs import check_choice

__all__ = ["Tie", "check_tie", "majority", "median"]

Tie = Literal["background", "foreground"]


def majority(
    raters: Raters,
    *,
    tie: Tie = "background",
    rater_axis: int = 0,
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
    check_tie(tie)
    patterns = find_patterns(split_raters(raters, rater_axis), positive)
    patterns.require_answers("majority")
    twice, answers = 2 * patterns.n_votes, patterns.n_answers
    marked = twice > answers if tie == "background" else twice >= answers
    return patterns.paint(marked.astype(np.uint8))


def median(raters: Raters, *, rater_axis: int = 0, positive: int | Sequence[int] | None = None) -> NDArray[np.float64]:
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
    patterns = find_patterns(split_raters(raters, rater_axis), positive)
    twice, answers = 2 * patterns.n_votes, patterns.n_answers
    return patterns.paint(np.where(answers > 0, 0.5 + 0.5 * np.sign(twice - answers), np.nan))


def check_tie(tie: object) -> None:
    """ValueError for an unknown rule."""
    check_choice("tie", tie, ("background", "foreground"))
