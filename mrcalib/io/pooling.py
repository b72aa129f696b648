"""One probability from the members of an ensemble."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from mrcalib.options import Pooling

__all__ = ["CLIP", "pool"]


CLIP = 2.0**-24
"""Probabilities are clipped to [CLIP, 1 - CLIP] before logits are taken: the last float32 below 1 is 1 - 2**-24."""


def pool(
    members: Iterable[npt.NDArray[np.floating]], pooling: Pooling, weights: Sequence[float] | None = None
) -> npt.NDArray[np.float32]:
    """Pool members voxel by voxel, accumulating in float64.

    A voxel at which a member is NaN or outside [0, 1] becomes NaN, so that pooling hides no bad value from the tally.

    Parameters
    ----------
    members : iterable of ndarray of shape S
        At least one; read one at a time.
    pooling : {"mean", "logit-mean"}
        Mean of the probabilities, or the sigmoid of the mean logit (after clipping by 2**-24).
    weights : sequence of float or None
        A positive weight for each member, in any unit; None weighs all alike.

    Returns
    -------
    ndarray of shape S, float32

    Raises
    ------
    ValueError
        If there is no member, or there are more or fewer weights than members.

    Examples
    --------
    >>> members = [np.array([0.5, 0.1]), np.array([0.5, 0.9])]
    >>> pool(members, "mean")
    array([0.5, 0.5], dtype=float32)
    >>> pool(members, "mean", (3, 1))
    array([0.5, 0.3], dtype=float32)
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
        if weights is not None:
            term *= _weight_of(count, weights)
        total = term if total is None else np.add(total, term, out=total)
        count += 1
    if total is None:
        msg = "Pooling needs at least one ensemble member; got none."
        raise ValueError(msg)
    if weights is not None:
        _weight_of(count - 1, weights, last=True)
    total /= count if weights is None else sum(weights)
    if pooling == "logit-mean":
        total = 1.0 / (1.0 + np.exp(-total))
    return total.astype(np.float32)


def _weight_of(member: int, weights: Sequence[float], *, last: bool = False) -> float:
    """The weight of a member, refused where there are not as many as members."""
    if member >= len(weights) or (last and member + 1 < len(weights)):
        found = member + 1 if last else f"at least {member + 1}"
        msg = f"weights must hold one number for each ensemble member, {found}; got {len(weights)}."
        raise ValueError(msg)
    return weights[member]
