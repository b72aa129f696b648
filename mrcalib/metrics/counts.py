"""How many raters mark a voxel: labels, distributions over this number, what is read off them, and rows that carry them.

Where some raters are missing at a voxel, the prediction for K raters is thinned to those who answered, as if these had been
drawn without regard to what they marked; so no voxel is lost, and a complete one is scored as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import (
    Voxels,
    as_array,
    bit_masks,
    check_choice,
    check_count,
    check_masks,
    check_probs,
    check_voxels,
    refuse_probs,
)
from mrcalib.metrics.base import FloatArray, require_voxels
from mrcalib.responses import Responses
from mrcalib.tallies import thinned

__all__ = [
    "Readout",
    "Rows",
    "Tie",
    "binomial_count_probs",
    "check_count_probs",
    "count_readout",
    "count_responses",
    "majority_threshold",
    "orc_labels",
    "predicted_counts",
]

Readout = Literal["expected", "majority"]
Tie = Literal["foreground", "background"]
Rows = tuple[FloatArray, FloatArray, NDArray[np.intp]]
"""Distributions of votes, weights and numbers of votes, of voxels at which equally many raters answered."""


def orc_labels(
    raters: Any, *, rater_axis: int | None = None, missing: Literal["raise", "mask"] = "raise"
) -> NDArray[np.int64] | np.ma.MaskedArray[Any, np.dtype[np.int64]]:
    """The ordinal rater consensus: how many of the K raters marked each voxel (equation 1 of [1]_).

    Parameters
    ----------
    raters : array_like, sequence or mapping
        Masks of 0 and 1: a stack with raters first (K, *S) or last (*S, K), a list of masks of shape S with None for a missing
        rater, or a dict of name and mask. NaN and masked entries are voxels that the rater did not answer.
    rater_axis : int, optional
        Axis of the raters in a stack; by default it is found as in ``mrcalib.fusion``: first if that is shorter than the
        last, and at most 30 long.
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
    voxels, shape = check_masks(raters, rater_axis=rater_axis, arguments=("rater_axis",))
    votes, answers = (np.zeros(shape, dtype=np.int64, order=voxels.order) for _ in range(2))
    flat_votes, flat_answers = votes.ravel(order="K"), answers.ravel(order="K")  # views of the same memory
    start = 0
    for chunk in voxels.chunks():
        here = slice(start, start + chunk.probs.size)
        present, marked = bit_masks(voxels, chunk)
        flat_votes[here], flat_answers[here] = np.bitwise_count(marked), np.bitwise_count(present)
        start = here.stop
    complete = answers == voxels.n_raters
    if missing == "mask":
        return np.ma.MaskedArray(votes, ~complete)
    if not complete.all():
        msg = (
            "The number of votes is not defined where a rater is missing (None, NaN or masked): leave those voxels or the "
            'rater out, or pass missing="mask". A rater who found nothing is a mask of zeros.'
        )
        raise ValueError(msg)
    return votes


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
        If ``n_raters`` is not a whole number of at least 1, or a probability lies outside [0, 1].

    Examples
    --------
    >>> binomial_count_probs([0.5], 2).tolist()
    [[0.25, 0.5, 0.25]]
    """
    from scipy.special import comb

    n_raters = check_count("n_raters", n_raters)
    p = check_probs(probs).astype(np.float64)[..., None]
    if not np.all((p >= 0) & (p <= 1) | np.isnan(p)):
        refuse_probs(p, int(np.count_nonzero(~((p >= 0) & (p <= 1)))), None)
    k = np.arange(n_raters + 1)
    density: FloatArray = comb(n_raters, k) * p**k * (1 - p) ** (n_raters - k)
    return density


def count_responses(
    count_probs: ArrayLike,
    raters: Any,
    *,
    class_axis: int = -1,
    roi: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    rater_axis: int | None = None,
) -> Responses:
    """Voxels as rows that carry a predicted distribution of votes: what count metrics and displays are made of.

    Parameters
    ----------
    count_probs : array_like of float, shape (*S, K + 1)
        Probability of each number of votes of K raters.
    raters : array_like, sequence or mapping
        Masks with raters first ``(R, *S)`` or last ``(*S, R)``, a list with None for a missing rater, or a dict; at most K
        raters may have answered at a voxel. An array of shape S holds the numbers of votes of all K raters.
    class_axis : int, default=-1
        Axis of the classes in ``count_probs``.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Returns
    -------
    Responses
        One row a voxel; its ``prob`` is the expected fraction of raters.

    Raises
    ------
    ValueError
        If there is no voxel, rows do not sum to 1, a number of votes lies outside 0 to K, or more raters answered than
        ``count_probs`` are of.

    Examples
    --------
    >>> rows = count_responses([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [[1, 1], [0, 1]])
    >>> rows.prob.tolist(), rows.votes.tolist()
    ([0.25, 0.75], [1.0, 2.0])
    """
    count_probs = as_array(count_probs)
    if count_probs.ndim < 2:
        msg = f"count_probs must have an axis of voxels and one of at least 2 classes; got shape {count_probs.shape}."
        raise ValueError(msg)
    classes = check_count_probs(count_probs, class_axis, nan=True)
    masks = _masks_of_votes(raters, classes.shape[:-1], classes.shape[-1] - 1, rater_axis)
    voxels = check_voxels(
        count_readout(classes), masks, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, soft=False
    )
    known = voxels.answered()
    require_voxels(float(known.sum()))
    flat = classes.reshape(-1, classes.shape[-1]) if voxels.order == "C" else _in_order_f(classes)
    if np.isnan(flat[known]).any():
        msg = "count_probs hold NaN at voxels that count; leave them out with roi=."
        raise ValueError(msg)
    rows = _rows_of(voxels, known)
    if sample_weight is not None:
        require_voxels(float(rows.count.sum()))
    _check_answers(rows.answers, flat.shape[1] - 1)
    return replace(rows, count_probs=flat[known])


def _masks_of_votes(raters: Any, shape: tuple[int, ...], n_raters: int, rater_axis: int | None) -> Any:
    """``raters`` as they are, or masks with these numbers of votes where they are one number a voxel."""
    if rater_axis is not None or isinstance(raters, Mapping):
        return raters
    if isinstance(raters, list | tuple) and any(one is None or np.shape(one) == shape for one in raters):
        return raters
    votes = np.ma.asanyarray(as_array(raters))
    if votes.shape != shape:
        return raters
    numbers = np.ma.filled(votes.astype(np.float64), np.nan)
    if not np.all((numbers >= 0) & (numbers <= n_raters) & (numbers == np.floor(numbers))):
        msg = f"Numbers of votes must be whole and lie between 0 and {n_raters}, the classes of count_probs less one."
        raise ValueError(msg)
    return [numbers > r for r in range(n_raters)]


def _in_order_f(classes: FloatArray) -> FloatArray:
    flat: FloatArray = np.stack([classes[..., k].ravel(order="F") for k in range(classes.shape[-1])], axis=1)
    return flat


def _rows_of(voxels: Voxels, known: NDArray[np.bool_]) -> Responses:
    parts = []
    for chunk in voxels.chunks():
        present, marked = bit_masks(voxels, chunk)
        here = present != 0
        weight = np.ones(here.size) if chunk.sample_weight is None else chunk.sample_weight
        parts.append((weight[here], present[here], marked[here]))
    count, present, marked = (np.concatenate(column) for column in zip(*parts, strict=True))
    answers, votes = (np.bitwise_count(bits).astype(np.float64) for bits in (present, marked))
    prob = voxels.probs[known].astype(np.float64)
    return Responses(prob, count, answers, votes, voxels.n_raters, present, marked)


def _check_answers(answers: FloatArray, n_raters: int) -> None:
    most = int(answers.max(initial=0))
    if most > n_raters:
        msg = (
            f"{most} raters answered at a voxel, but count_probs are of {n_raters} raters; predict the votes of {most} "
            "(n_raters=), or leave raters out."
        )
        raise ValueError(msg)


def predicted_counts(responses: Responses) -> Iterator[Rows]:
    """Rows with equally many answers: the distribution of their votes, their number and their votes.

    A method that predicts no distribution says that raters mark independently with its probability: binomial counts.
    """
    if responses.present is None:
        msg = "Numbers of votes need each rater's answers, but the raters were given as one averaged (soft) target."
        raise ValueError(msg)
    if responses.count_probs is not None:
        _check_answers(responses.answers, responses.count_probs.shape[1] - 1)
    for n in np.unique(responses.answers).astype(int):
        here = responses.answers == n
        if responses.count_probs is None:
            dist = binomial_count_probs(responses.prob[here], n)
        else:
            dist = thinned(responses.count_probs[here], n)
        yield dist, responses.count[here], responses.votes[here].astype(np.intp)
