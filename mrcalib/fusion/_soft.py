"""Soft consensus: the fraction of raters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._patterns import Raters, find_patterns, split_raters

__all__ = ["soft"]


def soft(raters: Raters, *, rater_axis: int = 0, positive: int | Sequence[int] | None = None) -> NDArray[np.float64]:
    """Fraction of raters who marked each voxel, of those who answered there: the mean human response.

    Parameters
    ----------
    raters : array_like of shape (R, *S), or sequence of (array_like of shape S) or None
        Masks of 0 and 1, 30 at most. None is a missing rater, NaN and masked entries are voxels without an answer.
    rater_axis : int, default=0
        Axis of a stack that counts raters.
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
        If shapes differ, no rater annotated, there is no voxel, or a mask holds other values.

    Examples
    --------
    >>> soft([[0, 1, 1], [0, 0, 1], None])
    array([0. , 0.5, 1. ])
    """
    patterns = find_patterns(split_raters(raters, rater_axis), positive)
    return patterns.paint(patterns.mean_vote)
