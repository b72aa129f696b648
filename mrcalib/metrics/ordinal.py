"""Scores of a predicted distribution over how many raters mark a voxel."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mrcalib._validation import check_choice, check_probs, check_voxels
from mrcalib.metrics._door import require_voxels
from mrcalib.metrics._metric import FloatArray

__all__ = ["binomial_count_probs", "ranked_probability_score"]


def ranked_probability_score(
    count_probs: ArrayLike,
    raters: Any,
    *,
    norm: Literal["classes", "levels", "none"] = "classes",
    class_axis: int = -1,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean ranked probability score of distributions over the number of votes, 0 to K.

    ``sum_j (F_j - G_j)**2`` over j = 0 to K, with F the predicted and G the observed cumulative distribution; the term
    of j = K is always 0.

    Parameters
    ----------
    count_probs : array_like of float, shape (*S, K + 1)
        Probability of each number of votes; sums to 1 over the classes, to within 1e-3.
    raters : array_like
        The number of votes, whole numbers of shape S; or the masks of all K raters, ``(K, *S)`` or ``(*S, K)``. A
        number of votes is not defined where a rater is missing, so every rater must have answered everywhere.
    norm : {"classes", "levels", "none"}, default="classes"
        Divide by K + 1 [1]_, by K (range [0, 1]), or not at all: for K = 1 that is the Brier score.
    class_axis : int, default=-1
        Axis of the classes in ``count_probs``; 0 for a network's output.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.

    Returns
    -------
    float
        At least 0, which is best; at most K / (K + 1), 1 or K, by ``norm``.

    Raises
    ------
    ValueError
        If there is no voxel, shapes do not fit, rows do not sum to 1, or a count lies outside 0 to K.

    References
    ----------
    .. [1] arXiv:2605.02437, equations 3 and 4.
    .. [2] Epstein, "A scoring system for probability forecasts of ranked categories", 1969,
       doi:10.1175/1520-0450(1969)008<0985:ASSFPF>2.0.CO;2.

    Examples
    --------
    >>> ranked_probability_score([[0.5, 0.5, 0.0]], [2], norm="none")
    1.25
    >>> ranked_probability_score([[0.5, 0.5, 0.0]], [[1], [1]], norm="levels")
    0.625
    """
    check_choice("norm", norm, ("classes", "levels", "none"))
    classes = np.moveaxis(check_probs(count_probs).astype(np.float64), class_axis, -1)
    n_classes = classes.shape[-1] if classes.ndim > 1 else 0
    if n_classes < 2:
        msg = (
            f"count_probs must have an axis of voxels and one of at least 2 classes; got shape {np.shape(count_probs)}."
        )
        raise ValueError(msg)
    total = classes.sum(axis=-1)
    if not (np.all(classes >= 0) and np.all(np.abs(total - 1) <= 1e-3)):
        msg = (
            "count_probs must be probabilities that sum to 1 over the classes (class_axis); "
            "if these are logits, pass their softmax."
        )
        raise ValueError(msg)
    votes = _votes(raters, classes.shape[:-1], n_classes - 1)
    weight = np.ones(votes.shape) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != votes.shape:
        msg = f"sample_weight must have the shape of the voxels, {votes.shape}; got {weight.shape}."
        raise ValueError(msg)
    require_voxels(float(weight.sum()))
    predicted = np.cumsum(classes, axis=-1)[..., :-1]
    observed = votes[..., None] <= np.arange(n_classes - 1)
    score = ((predicted - observed) ** 2).sum(axis=-1)
    divisor = {"classes": n_classes, "levels": n_classes - 1, "none": 1}[norm]
    return float((weight * score).sum() / weight.sum()) / divisor


def _votes(raters: Any, shape: tuple[int, ...], n_raters: int) -> FloatArray:
    """The number of votes at each voxel, from counts of this shape or from the masks of all raters."""
    counts = np.ma.asanyarray(raters)
    if counts.shape == shape:
        votes = np.ma.filled(counts.astype(np.float64), np.nan)
        if not np.all((votes >= 0) & (votes <= n_raters) & (votes == np.floor(votes))):
            msg = (
                f"Numbers of votes must be whole and lie between 0 and {n_raters}, the classes of count_probs less one."
            )
            raise ValueError(msg)
        return votes
    first_fits, last_fits = (n_raters, *shape) == counts.shape, (*shape, n_raters) == counts.shape
    if first_fits == last_fits:
        msg = (
            f"raters must be numbers of votes of shape {shape}, or the masks of {n_raters} raters (the classes of "
            f"count_probs less one); got shape {counts.shape}"
            f"{', which fits both ways: pass the numbers of votes' if first_fits else ''}."
        )
        raise ValueError(msg)
    voxels = check_voxels(np.zeros(shape), counts, rater_axis=0 if first_fits else -1, soft=False)
    votes = np.zeros(int(np.prod(shape)))
    start = 0
    for chunk in voxels.chunks():
        if any(known.size and not known.all() for known in chunk.present):
            msg = "A number of votes is not defined where a rater is missing; leave those voxels out."
            raise ValueError(msg)
        stop = start + chunk.probs.size
        votes[start:stop] = np.sum(chunk.masks, axis=0, dtype=np.float64)
        start = stop
    return votes.reshape(shape)


def binomial_count_probs(probs: ArrayLike, n_raters: int) -> FloatArray:
    """The distribution of the number of votes if each rater marked a voxel independently with probability p.

    Raters are not independent, so real counts are more dispersed; it is the yardstick that an ordinal model should
    beat.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    n_raters : int
        Number of raters K.

    Returns
    -------
    ndarray of shape (*S, K + 1)

    Raises
    ------
    ValueError
        If ``n_raters`` is not positive.

    Examples
    --------
    >>> binomial_count_probs([0.5], 2).tolist()
    [[0.25, 0.5, 0.25]]
    """
    from scipy.special import comb

    if n_raters < 1:
        msg = f"n_raters must be at least 1; got {n_raters}."
        raise ValueError(msg)
    p = check_probs(probs).astype(np.float64)[..., None]
    k = np.arange(n_raters + 1)
    density: FloatArray = comb(n_raters, k) * p**k * (1 - p) ** (n_raters - k)
    return density
