"""How many raters mark a voxel: labels, distributions over this number, what is read off them, and their score."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import MAX_RATERS, check_choice, check_probs, check_voxels
from mrcalib.metrics._door import require_voxels
from mrcalib.metrics._metric import FloatArray

__all__ = [
    "Readout",
    "Tie",
    "binomial_count_probs",
    "check_count_probs",
    "count_readout",
    "majority_threshold",
    "orc_labels",
    "ranked_probability_score",
]

Readout = Literal["expected", "majority"]
Tie = Literal["foreground", "background"]


def orc_labels(
    raters: Any, *, rater_axis: int = 0, missing: Literal["raise", "mask"] = "raise"
) -> NDArray[np.int64] | np.ma.MaskedArray[Any, np.dtype[np.int64]]:
    """The ordinal rater consensus: how many of the K raters marked each voxel (equation 1 of [1]_).

    Parameters
    ----------
    raters : array_like or sequence
        Masks of 0 and 1, of shape (K, *S), or a list of masks of shape S with None for a missing rater; NaN and masked
        entries are voxels that the rater did not answer.
    rater_axis : int, default=0
        Axis of the raters in a stack.
    missing : {"raise", "mask"}, default="raise"
        The number of votes out of K is not defined where a rater is missing: refuse, or mask these voxels.

    Returns
    -------
    ndarray or masked array of int64, shape S
        From 0 to K; a masked array with ``missing="mask"``.

    Raises
    ------
    ValueError
        If an answer is missing and ``missing="raise"``, there is no rater, or masks hold other values than 0 and 1.

    References
    ----------
    .. [1] arXiv:2605.02437.

    Examples
    --------
    >>> orc_labels([[0, 1, 1], [0, 0, 1], [0, 0, 1]])
    array([0, 1, 3])
    >>> orc_labels([[0, 1, 1], [0, 0, np.nan]], missing="mask").tolist()
    [0, 1, None]
    """
    check_choice("missing", missing, ("raise", "mask"))
    if isinstance(raters, list | tuple) and any(one is None for one in raters):
        masks = [None if one is None else np.ma.asanyarray(one) for one in raters]
    else:
        stack = np.ma.asanyarray(raters)
        if not -stack.ndim <= rater_axis < stack.ndim or stack.ndim < 2:
            msg = f"raters must be a stack of masks with an axis of raters (rater_axis); got shape {stack.shape}."
            raise ValueError(msg)
        masks = list(np.ma.asanyarray(np.moveaxis(stack, rater_axis, 0)))
    shape = next((mask.shape for mask in masks if mask is not None), None)
    if shape is None:
        msg = "There is no rater to count: raters are all missing (None), or the stack is empty."
        raise ValueError(msg)
    votes, answers = _counted(masks, shape)
    complete = answers == len(masks)
    if missing == "mask":
        return np.ma.MaskedArray(votes, ~complete)
    if not complete.all():
        msg = (
            "The number of votes is not defined where a rater is missing (None, NaN or masked): leave those voxels or the "
            'rater out, or pass missing="mask". A rater who found nothing is a mask of zeros.'
        )
        raise ValueError(msg)
    return votes


def _counted(masks: list[Any], shape: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Votes and answers at each voxel, of masks or None."""
    if len(masks) > MAX_RATERS:
        msg = f"At most {MAX_RATERS} raters are supported; got {len(masks)}. Is rater_axis right?"
        raise ValueError(msg)
    flat = (int(np.prod(shape)),)
    voxels = check_voxels(
        np.zeros(flat, np.float32), [None if m is None else m.reshape(flat) for m in masks], soft=False
    )
    votes, answers = np.zeros((2, *flat), dtype=np.int64)
    start = 0
    for chunk in voxels.chunks():
        here = slice(start, start + chunk.probs.size)
        for mask, known in zip(chunk.masks, chunk.present, strict=True):
            if not mask.size:
                continue
            if mask.max() > 1:
                voxels.refuse_labels(next(r for r, m in enumerate(chunk.masks) if m is mask))
            answered = known if known.size else np.uint8(1)
            votes[here] += mask * answered
            answers[here] += answered
        start = here.stop
    return votes.reshape(shape), answers.reshape(shape)


def majority_threshold(n_raters: int, tie: Tie = "foreground") -> int:
    """The smallest number of votes that is a majority of ``n_raters``; ``tie`` says what half of them is.

    Examples
    --------
    >>> [majority_threshold(n, tie) for n in (3, 4) for tie in ("foreground", "background")]
    [2, 2, 2, 3]
    """
    check_choice("tie", tie, ("foreground", "background"))
    return (n_raters + 1) // 2 if tie == "foreground" else n_raters // 2 + 1


def check_count_probs(count_probs: ArrayLike, class_axis: int = -1, *, nan: bool = False) -> FloatArray:
    """Distributions over numbers of votes in float64, classes last; ValueError unless they are such.

    ``nan=True`` lets rows of NaN pass.
    """
    classes = check_probs(count_probs).astype(np.float64)
    if classes.ndim < 1 or not -classes.ndim <= class_axis < classes.ndim or classes.shape[class_axis] < 2:
        msg = f"count_probs must have an axis (class_axis) of at least 2 classes; got shape {np.shape(count_probs)}."
        raise ValueError(msg)
    classes = np.moveaxis(classes, class_axis, -1)
    total = classes.sum(axis=-1)
    good = np.all(classes >= 0, axis=-1) & (np.abs(total - 1) <= 1e-3)
    if not np.all(good | np.isnan(classes).all(axis=-1) if nan else good):
        msg = (
            "count_probs must be probabilities that sum to 1 over the classes (class_axis); "
            "if these are logits, pass their softmax."
        )
        raise ValueError(msg)
    return classes


def count_readout(
    count_probs: ArrayLike, readout: Readout = "expected", *, tie: Tie = "foreground", class_axis: int = -1
) -> NDArray[Any]:
    """One foreground probability from distributions over the number of votes.

    The two read-outs answer different questions, and differ wherever raters do: only the expected one estimates the mean
    human response, so that only it can have a small MR-ECE (``expected_calibration_error`` with ``target="mhr"``); the
    majority one is calibrated against the label of the majority. Say with a number which one it is of.

    Parameters
    ----------
    count_probs : array_like of float, shape (*S, K + 1)
        Probability of each number of votes; sums to 1 over the classes, to within 1e-3.
    readout : {"expected", "majority"}, default="expected"
        The expected fraction of raters, ``sum_k k p_k / K``; or the probability that most of them mark the voxel, which
        is equation 2 of [1]_.
    tie : {"foreground", "background"}, default="foreground"
        Of the majority, for even K: whether half of the raters is one, as in [1]_, or not.
    class_axis : int, default=-1
        Axis of the classes; 0 or 1 for a network's output.

    Returns
    -------
    ndarray of shape S, of the float dtype of ``count_probs``
        In [0, 1]; NaN where all classes are.

    Raises
    ------
    ValueError
        If rows do not sum to 1, or for an unknown option.

    References
    ----------
    .. [1] arXiv:2605.02437, equation 2.

    Examples
    --------
    >>> votes_of_four = [[0.0, 0.5, 0.25, 0.25, 0.0]]
    >>> count_readout(votes_of_four).tolist()
    [0.4375]
    >>> [count_readout(votes_of_four, "majority", tie=tie).item() for tie in ("foreground", "background")]
    [0.5, 0.25]
    """
    check_choice("readout", readout, ("expected", "majority"))
    check_choice("tie", tie, ("foreground", "background"))
    classes = check_count_probs(count_probs, class_axis, nan=True)
    n_raters = classes.shape[-1] - 1
    if readout == "expected":
        value = classes @ (np.arange(n_raters + 1) / n_raters)
    else:
        value = classes[..., majority_threshold(n_raters, tie) :].sum(axis=-1)
    return np.asarray(np.clip(value, 0.0, 1.0), dtype=np.asarray(count_probs).dtype)


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
    if np.ndim(count_probs) < 2:
        msg = (
            f"count_probs must have an axis of voxels and one of at least 2 classes; got shape {np.shape(count_probs)}."
        )
        raise ValueError(msg)
    classes = check_count_probs(count_probs, class_axis)
    n_classes = classes.shape[-1]
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
    return float((weight * score).sum() / weight.sum() / divisor)


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
    votes, answers = _counted(list(np.ma.asanyarray(counts if first_fits else np.moveaxis(counts, -1, 0))), shape)
    if (answers < n_raters).any():
        msg = "A number of votes is not defined where a rater is missing; leave those voxels out."
        raise ValueError(msg)
    return votes.astype(np.float64)


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
