"""Intersection over union."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.boxes._boxes import Boxes, as_boxes

__all__ = ["iou", "overlap_by_class"]


def iou(a: Boxes | ArrayLike, b: Boxes | ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of ``a`` with every box of ``b``, in two or three dimensions.

    Parameters
    ----------
    a : Boxes or array_like of shape (n, 4) or (n, 6)
        Boxes; labels and scores are not looked at.
    b : Boxes or array_like of shape (m, 4) or (m, 6)
        Boxes of as many dimensions.

    Returns
    -------
    ndarray of shape (n, m)
        In [0, 1]; boxes that only touch have 0. Without boxes on one side it has no rows, or no columns.

    Raises
    ------
    ValueError
        If boxes are bad, or have two dimensions on one side and three on the other.

    Examples
    --------
    >>> iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(4).tolist()
    [[1.0, 0.3333, 0.0]]
    """
    first, second = as_boxes(a), as_boxes(b)
    out = np.empty((len(first), len(second)))
    if out.size:
        if first.n_dims != second.n_dims:
            msg = f"Boxes must have the same number of dimensions; got {first.n_dims} and {second.n_dims}."
            raise ValueError(msg)
        from mrcalib._kernels.boxes import pairwise_overlap

        pairwise_overlap(first.coordinates, second.coordinates, out)
    return out


def overlap_by_class(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """``iou``, with 0 between boxes of different labels; ValueError if one side has labels and the other has not."""
    overlap = iou(a, b)
    if not overlap.size or (a.labels is None and b.labels is None):
        return overlap
    if a.labels is None or b.labels is None:
        msg = "Either both sides have labels, or none; give the boxes without labels theirs, or drop the others'."
        raise ValueError(msg)
    overlap[a.labels[:, np.newaxis] != b.labels] = 0.0
    return overlap
