"""One rater, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mrcalib.fusion._patterns import Raters, find_patterns, split_raters

__all__ = ["random_rater"]


def random_rater(
    raters: Raters,
    rng: np.random.Generator | int,
    *,
    rater_axis: int = 0,
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
    masks = [mask for mask in split_raters(raters, rater_axis) if mask is not None]
    drawn = np.random.default_rng(rng).permutation(len(masks))
    out = np.zeros(masks[0].shape, np.uint8)
    open_ = np.ones(out.shape, dtype=bool)
    for index in drawn:
        patterns = find_patterns([masks[index]], positive)
        if patterns.answered.all() and open_.all():
            return patterns.paint(patterns.marked[:, 0].astype(np.uint8))
        here = open_ & patterns.paint(patterns.answered[:, 0])
        out[here] = patterns.paint(patterns.marked[:, 0])[here]
        open_ &= ~here
        if not open_.any():
            return out
    find_patterns(masks, positive).require_answers("answer to draw")
    return out
