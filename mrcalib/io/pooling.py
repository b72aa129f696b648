"""One probability from the members of an ensemble."""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["CLIP", "Pooling", "pool"]

Pooling = Literal["mean", "logit-mean"]

CLIP = 2.0**-24
"""Probabilities are clipped to [CLIP, 1 - CLIP] before logits are taken: the last float32 below 1 is 1 - 2**-24."""


def pool(members: Iterable[npt.NDArray[np.floating]], pooling: Pooling) -> npt.NDArray[np.float32]:
    """Pool members voxel by voxel, accumulating in float64.

    A voxel at which a member is NaN or outside [0, 1] becomes NaN, so that pooling hides no bad value from the tally.

    Parameters
    ----------
    members : iterable of ndarray of shape S
        At least one; read one at a time.
    pooling : {"mean", "logit-mean"}
        Mean of the probabilities, or the sigmoid of the mean logit (after clipping by 2**-24).

    Returns
    -------
    ndarray of shape S, float32

    Examples
    --------
    >>> members = [np.array([0.5, 0.1]), np.array([0.5, 0.9])]
    >>> pool(members, "mean")
    array([0.5, 0.5], dtype=float32)
    >>> pool([np.array([0.5]), np.array([1.7])], "mean")
    array([nan], dtype=float32)
    """
    total: npt.NDArray[np.float64] | None = None
    count = 0
    for member in members:
        term = np.where((member >= 0) & (member <= 1), member, np.nan).astype(np.float64, copy=False)
        if pooling == "logit-mean":
            np.clip(term, CLIP, 1 - CLIP, out=term)
            term = np.log(term) - np.log1p(-term)
        total = term if total is None else np.add(total, term, out=total)
        count += 1
    if total is None:
        msg = "Pooling needs at least one ensemble member; got none."
        raise ValueError(msg)
    total /= count
    if pooling == "logit-mean":
        total = 1.0 / (1.0 + np.exp(-total))
    return total.astype(np.float32)
