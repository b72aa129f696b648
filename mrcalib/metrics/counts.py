"""How good predicted distributions over the number of votes are: rows, scores, and rows by level.

Where some raters are missing at a voxel, the prediction for K raters is thinned to those who answered, as if these had been
drawn without regard to what they marked; so no voxel is lost, and a complete one is scored as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import check_choice, check_voxels
from mrcalib.metrics._door import require_voxels
from mrcalib.metrics._metric import FloatArray, Metric, ratio
from mrcalib.metrics.ordinal import binomial_count_probs, check_count_probs, count_readout
from mrcalib.metrics.proper import EPS
from mrcalib.responses import Responses
from mrcalib.tallies import thinned

__all__ = ["count_level_responses", "count_log_loss", "count_log_loss_metric", "count_responses", "rps_metric"]

Norm = Literal["classes", "levels", "none"]
Rows = tuple[FloatArray, FloatArray, NDArray[np.intp]]


def count_responses(
    count_probs: ArrayLike,
    raters: Any,
    *,
    class_axis: int = -1,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> Responses:
    """Voxels as rows that carry a predicted distribution of votes: what count metrics and displays are made of.

    Parameters
    ----------
    count_probs : array_like of float, shape (*S, K + 1)
        Probability of each number of votes of K raters.
    raters : array_like or sequence
        Masks with raters first ``(R, *S)`` or last ``(*S, R)``, or a list with None for a missing rater; at most K of them
        may have answered at a voxel.
    class_axis : int, default=-1
        Axis of the classes in ``count_probs``.
    roi : array_like of bool, shape S, optional
        Voxels that count.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.

    Returns
    -------
    Responses
        One row a voxel; its ``prob`` is the expected fraction of raters.

    Raises
    ------
    ValueError
        If there is no voxel, rows do not sum to 1, or more raters answered than ``count_probs`` are of.

    Examples
    --------
    >>> rows = count_responses([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [[1, 1], [0, 1]])
    >>> rows.prob.tolist(), rows.votes.tolist()
    ([0.25, 0.75], [1.0, 2.0])
    """
    if np.ndim(count_probs) < 2:
        msg = (
            f"count_probs must have an axis of voxels and one of at least 2 classes; got shape {np.shape(count_probs)}."
        )
        raise ValueError(msg)
    classes = check_count_probs(count_probs, class_axis, nan=True)
    voxels = check_voxels(
        count_readout(classes), raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, soft=False
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


def _in_order_f(classes: FloatArray) -> FloatArray:
    flat: FloatArray = np.stack([classes[..., k].ravel(order="F") for k in range(classes.shape[-1])], axis=1)
    return flat


def _rows_of(voxels: Any, known: NDArray[np.bool_]) -> Responses:
    from mrcalib.inputs import bit_masks

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


def rps_metric(*, norm: Norm = "classes") -> Metric:
    """The ranked probability score of vote counts as a metric, for ``compare``.

    Methods that predict no distribution of votes are scored with the binomial one of their probability. At voxels where
    only n of the raters answered it is the score of n votes.

    Parameters
    ----------
    norm : {"classes", "levels", "none"}, default="classes"
        As in `ranked_probability_score`, by the number of raters who answered at the voxel.

    Examples
    --------
    >>> rows = count_responses([[0.5, 0.5, 0.0]], [[1], [1]])
    >>> rps_metric(norm="levels")(rows)
    0.625
    """
    check_choice("norm", norm, ("classes", "levels", "none"))
    suffix = {"classes": "", "levels": "_levels", "none": "_sum"}[norm]
    label = {"classes": "RPS", "levels": "RPS/K", "none": "RPS (sum)"}[norm]
    return Metric(f"rps{suffix}", label, "lower", "", partial(_rps_statistics, norm=norm), _mean)


def _rps_statistics(responses: Responses, *, norm: Norm) -> FloatArray:
    total = np.zeros(2)
    for dist, count, votes in predicted_counts(responses):
        n = dist.shape[1] - 1
        observed = votes[:, np.newaxis] <= np.arange(n)
        score = ((np.cumsum(dist, axis=1)[:, :-1] - observed) ** 2).sum(axis=1)
        total += count @ score / {"classes": n + 1, "levels": n, "none": 1}[norm], count.sum()
    return total


def _mean(statistics: FloatArray) -> FloatArray:
    return ratio(statistics[..., 0], statistics[..., 1])


def count_log_loss_metric(*, eps: float = EPS) -> Metric:
    """The log score of vote counts as a metric, for ``compare``; see `count_log_loss`.

    Parameters
    ----------
    eps : float, default=2**-24
        Smaller probabilities count as this one.

    Examples
    --------
    >>> count_log_loss_metric().name
    'count_log_loss'
    """
    if not 0 < eps < 0.5:
        msg = f"eps must lie between 0 and 1/2; got {eps}."
        raise ValueError(msg)
    return Metric("count_log_loss", "vote log loss", "lower", "", partial(_log_statistics, eps=eps), _mean)


def _log_statistics(responses: Responses, *, eps: float) -> FloatArray:
    total = np.zeros(2)
    for dist, count, votes in predicted_counts(responses):
        told = np.clip(dist[np.arange(votes.size), votes], eps, 1.0)
        total += -(count @ np.log(told)), count.sum()
    return total


def count_log_loss(
    count_probs: ArrayLike,
    raters: Any,
    *,
    eps: float = EPS,
    class_axis: int = -1,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Mean negative log-probability of the observed number of votes, in nats: the log score [1]_.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, rater_axis, sample_weight
        As in `count_responses`.
    eps : float, default=2**-24
        Smaller probabilities count as this one, so that a wrong certainty costs ``-log(eps)``, 16.6 by default.

    Returns
    -------
    float
        At least 0, which is best.

    Raises
    ------
    ValueError
        As `count_responses`, or if ``eps`` is not in (0, 1/2).

    References
    ----------
    .. [1] Good, "Rational decisions", 1952, doi:10.1111/j.2517-6161.1952.tb00104.x.

    Examples
    --------
    >>> round(count_log_loss([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]], [[1, 1], [0, 1]]), 4)
    0.6931
    """
    metric = count_log_loss_metric(eps=eps)
    options: dict[str, Any] = {"class_axis": class_axis, "roi": roi, "rater_axis": rater_axis}
    return metric(count_responses(count_probs, raters, sample_weight=sample_weight, **options))


def count_level_responses(responses: Responses, votes: int, *, n_raters: int | None = None) -> Responses:
    """Whether at least so many raters mark a voxel, as the answer of one rater at the predicted probability of it.

    With these rows every binary metric and diagram shows one level of the counts, such as ``ece_metric()`` or
    ``mrcalib.plots.ReliabilityDisplay``. Voxels at which not all raters answered do not tell, and are left out.

    Parameters
    ----------
    responses : Responses
        Of `count_responses`, or of a count calibrator (``OrdinalCalibrator.count_responses``); others are taken as
        binomial.
    votes : int
        From 1 to the number of raters.
    n_raters : int, optional
        Number of raters who must have answered; by default K of ``count_probs``, else the raters of the study.

    Returns
    -------
    Responses
        Of one rater; without rows where no voxel is complete.

    Raises
    ------
    ValueError
        If ``votes`` does not lie between 1 and the number of raters.

    Examples
    --------
    >>> rows = count_responses([[0.5, 0.25, 0.25]] * 2, [[1, 1], [0, 1]])
    >>> level = count_level_responses(rows, 2)
    >>> level.prob.tolist(), level.votes.tolist()
    ([0.25, 0.25], [0.0, 1.0])
    """
    known = responses.n_raters if responses.count_probs is None else responses.count_probs.shape[1] - 1
    n = known if n_raters is None else n_raters
    if not 1 <= votes <= n:
        msg = f"votes must lie between 1 and {n}, the number of raters; got {votes}."
        raise ValueError(msg)
    for dist, count, marked in predicted_counts(responses):
        if dist.shape[1] == n + 1:
            prob = np.clip(dist[:, votes:].sum(axis=1), 0.0, 1.0)
            reached = marked >= votes
            ones = np.ones(prob.size, dtype=np.int64)
            return Responses(
                prob, count, np.ones(prob.size), reached.astype(np.float64), 1, ones, reached.astype(np.int64)
            )
    none, bits = np.empty(0), np.empty(0, np.int64)
    return Responses(none, none, none, none, 1, bits, bits)
