"""One-against-rest probabilities together: what is left for the background, and the label that they decide for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["decide", "with_background"]


def with_background(
    foreground: Sequence[NDArray[np.floating[Any]]], *, normalize: bool
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """The background's probability, and the foreground's, kept as they are or brought onto the simplex.

    The background is what the classes leave of 1, at least 0. Where they claim more than 1 together, ``normalize`` divides
    them by their sum; elsewhere it changes nothing. NaN in one class makes the voxel's background NaN.

    Parameters
    ----------
    foreground : sequence of ndarray of shape S, float
        A probability for each class but the background.
    normalize : bool
        Whether probabilities are to sum to 1.

    Returns
    -------
    background : ndarray of shape S
    foreground : list of ndarray of shape S
        In the dtype that came in.

    Examples
    --------
    >>> with_background([np.array([0.2, 0.9, 0.0]), np.array([0.3, 0.6, 0.0])], normalize=True)
    (array([0.5, 0. , 1. ]), [array([0.2, 0.6, 0. ]), array([0.3, 0.4, 0. ])])
    """
    total = np.zeros_like(foreground[0], dtype=np.float64)
    for part in foreground:
        total += part
    left = np.maximum(1.0 - total, 0.0).astype(foreground[0].dtype)
    if not normalize:
        return left, list(foreground)
    divisor = np.maximum(total, 1.0)
    return left, [(part / divisor).astype(part.dtype) for part in foreground]


def decide(background: NDArray[Any], foreground: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """The most probable of background (0) and classes (from 1 on); of equal ones the first, so background before all.

    Examples
    --------
    >>> decide(np.array([0.5, 0.0]), [np.array([0.5, 0.4]), np.array([0.0, 0.6])])
    array([0, 2])
    """
    best = background.copy()
    choice = np.zeros(background.shape, dtype=np.intp)
    for number, part in enumerate(foreground, start=1):
        better = part > best
        choice[better] = number
        best[better] = part[better]
    return choice
