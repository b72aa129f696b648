"""How good predicted distributions over the number of votes are: scores, coverage of intervals, PIT, reliability.

Where some raters are missing at a voxel, the prediction for K raters is thinned to those who answered, as if these had been
drawn without regard to what they marked; so no voxel is lost, and a complete one is scored as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._thinning import thinned
from mrcalib._validation import check_choice, check_n_bins, check_voxels
from mrcalib.metrics._door import require_voxels
from mrcalib.metrics._metric import FloatArray, Metric, ratio
from mrcalib.metrics.ordinal import binomial_count_probs, check_count_probs, count_readout
from mrcalib.metrics.proper import EPS
from mrcalib.responses import Responses

__all__ = [
    "VoteCoverage",
    "count_level_responses",
    "count_log_loss",
    "count_log_loss_metric",
    "count_responses",
    "pit_histogram",
    "pit_metric",
    "rps_metric",
    "vote_coverage_metric",
    "vote_interval",
    "vote_interval_coverage",
]

Norm = Literal["classes", "levels", "none"]
Rows = tuple[FloatArray, FloatArray, NDArray[np.intp]]
ROUNDING = 1e-9  # of cumulated probabilities


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
    from mrcalib._voxels import bit_masks

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


def _predicted(responses: Responses) -> Iterator[Rows]:
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


# Scores -------------------------------------------------------------------------------------------------------------------


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
    for dist, count, votes in _predicted(responses):
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
    for dist, count, votes in _predicted(responses):
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


# Intervals ----------------------------------------------------------------------------------------------------------------


def vote_interval(
    count_probs: ArrayLike, level: float = 0.9, *, class_axis: int = -1
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Central interval of the number of votes: from the quantile (1 - level) / 2 to the quantile (1 + level) / 2.

    Counts are discrete, so the interval holds at least ``level`` of the predicted probability, and mostly more.

    Parameters
    ----------
    count_probs : array_like of float, shape (*S, K + 1)
        Probability of each number of votes.
    level : float, default=0.9
        In (0, 1).
    class_axis : int, default=-1
        Axis of the classes.

    Returns
    -------
    low, high : ndarray of int64, shape S
        Both ends belong to the interval.

    Raises
    ------
    ValueError
        If rows do not sum to 1, or ``level`` is not in (0, 1).

    Examples
    --------
    >>> low, high = vote_interval([[0.02, 0.18, 0.6, 0.2], [1.0, 0.0, 0.0, 0.0]])
    >>> low.tolist(), high.tolist()
    ([1, 0], [3, 0])
    """
    _check_level(level)
    return _interval(check_count_probs(count_probs, class_axis), level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        msg = f"level must lie between 0 and 1; got {level}."
        raise ValueError(msg)


def _interval(dist: FloatArray, level: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    below = np.cumsum(dist, axis=-1)[..., :-1]
    tail = (1 - level) / 2
    return (below < tail - ROUNDING).sum(axis=-1), (below < 1 - tail - ROUNDING).sum(axis=-1)


def vote_coverage_metric(level: float = 0.9, *, certainty: float = 1.0) -> Metric:
    """Coverage of the central intervals of votes less what they claim, as a metric, for ``compare``.

    Parameters
    ----------
    level : float, default=0.9
        Of the intervals.
    certainty : float, default=1.0
        Leave out voxels whose most probable number of votes has more than this probability: in a segmentation most
        voxels are certain background, which covers itself and hides the rest. 1.0 leaves none out.

    Returns
    -------
    Metric
        Named "vote_coverage_bias". Its statistics are the number of voxels covered, the sum of the probabilities that
        their intervals hold, and the number of voxels.

    Examples
    --------
    >>> rows = count_responses([[0.5, 0.5, 0.0]] * 2, [[1, 1], [0, 1]])
    >>> vote_coverage_metric()(rows)
    -0.5
    """
    _check_level(level)
    _check_certainty(certainty)
    return Metric(
        "vote_coverage_bias",
        f"vote coverage ({level:.0%}) bias",
        "zero",
        "",
        partial(_coverage_statistics, level=level, certainty=certainty),
        _coverage_bias,
    )


def _check_certainty(certainty: float) -> None:
    if not 0 < certainty <= 1:
        msg = f"certainty must lie above 0 and at most be 1; got {certainty}."
        raise ValueError(msg)


def _uncertain(responses: Responses, certainty: float) -> Iterator[Rows]:
    for dist, count, votes in _predicted(responses):
        here = dist.max(axis=1) <= certainty + ROUNDING
        yield dist[here], count[here], votes[here]


def _coverage_statistics(responses: Responses, *, level: float, certainty: float) -> FloatArray:
    total = np.zeros(3)
    for dist, count, votes in _uncertain(responses, certainty):
        low, high = _interval(dist, level)
        k = np.arange(dist.shape[1])
        inside = (k >= low[:, np.newaxis]) & (k <= high[:, np.newaxis])
        total += count @ ((votes >= low) & (votes <= high)), count @ (dist * inside).sum(axis=1), count.sum()
    return total


def _coverage_bias(statistics: FloatArray) -> FloatArray:
    return ratio(statistics[..., 0] - statistics[..., 1], statistics[..., 2])


@dataclass(frozen=True, slots=True)
class VoteCoverage:
    """How often intervals hold the number of votes, and how often they say they do.

    Attributes
    ----------
    observed : float
        Fraction of the voxels whose number of votes lies in its interval.
    claimed : float
        Mean predicted probability of the intervals; at least the level. ``observed`` below it is overconfident.
    n_voxels : float
        Voxels (or their weight) counted.
    """

    observed: float
    claimed: float
    n_voxels: float


def vote_interval_coverage(
    count_probs: ArrayLike,
    raters: Any,
    level: float = 0.9,
    *,
    certainty: float = 1.0,
    class_axis: int = -1,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> VoteCoverage:
    """How many voxels have a number of votes inside their predicted interval.

    Voxels of an image are dependent: for an interval around the coverage, resample patients, as
    ``mrcalib.plots.VoteCoverageDisplay`` and ``compare`` with `vote_coverage_metric` do.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, rater_axis, sample_weight
        As in `count_responses`.
    level : float, default=0.9
        Of the intervals (`vote_interval`).
    certainty : float, default=1.0
        Leave out voxels whose most probable number of votes has more than this probability.

    Returns
    -------
    VoteCoverage
        NaN where no voxel is that uncertain.

    Raises
    ------
    ValueError
        As `count_responses`, or for a level or certainty that is no probability.

    Examples
    --------
    >>> vote_interval_coverage([[0.5, 0.5, 0.0]] * 2, [[1, 1], [0, 1]])
    VoteCoverage(observed=0.5, claimed=1.0, n_voxels=2.0)
    """
    metric = vote_coverage_metric(level, certainty=certainty)
    options: dict[str, Any] = {"class_axis": class_axis, "roi": roi, "rater_axis": rater_axis}
    sums = metric.statistics(count_responses(count_probs, raters, sample_weight=sample_weight, **options))
    return VoteCoverage(float(ratio(sums[0], sums[2])), float(ratio(sums[1], sums[2])), float(sums[2]))


# Probability integral transform -------------------------------------------------------------------------------------------


def pit_metric(n_bins: int = 10, *, certainty: float = 1.0) -> Metric:
    """How far the PIT histogram is from flat, as a metric, for ``compare``; see `pit_histogram`.

    Parameters
    ----------
    n_bins : int, default=10
        Bins of equal width.
    certainty : float, default=1.0
        Leave out voxels whose most probable number of votes has more than this probability.

    Returns
    -------
    Metric
        Named "pit_deviation": the probability that would have to be moved to make the histogram flat, in [0, 1). Its
        statistics are the mass of each bin.

    Examples
    --------
    >>> rows = count_responses([[0.5, 0.5, 0.0]] * 2, [[1, 1], [0, 1]])
    >>> pit_metric(4)(rows)
    0.5
    """
    n_bins = check_n_bins(n_bins)
    _check_certainty(certainty)
    statistics = partial(_pit_statistics, n_bins=n_bins, certainty=certainty)
    return Metric("pit_deviation", "PIT deviation", "lower", "", statistics, _pit_deviation)


def _pit_statistics(responses: Responses, *, n_bins: int, certainty: float) -> FloatArray:
    """Mass of each bin: that of a voxel is spread evenly from the probability of fewer votes to that of no more."""
    edges = np.linspace(0, 1, n_bins + 1)
    mass = np.zeros(n_bins)
    for dist, count, votes in _uncertain(responses, certainty):
        row = np.arange(votes.size)
        upper = np.clip(np.cumsum(dist, axis=1)[row, votes], 0.0, 1.0)
        lower = np.clip(upper - dist[row, votes], 0.0, 1.0)
        width = upper - lower
        wide = width > ROUNDING
        passed = np.zeros((n_bins + 1, votes.size))
        for i, edge in enumerate(edges):
            passed[i, wide] = np.clip((edge - lower[wide]) / width[wide], 0.0, 1.0)
            passed[i, ~wide] = edge >= upper[~wide]
        passed[-1] = 1.0
        mass += np.diff(passed @ count)
        mass[0] += passed[0] @ count
    return mass


def _pit_deviation(statistics: FloatArray) -> FloatArray:
    share = ratio(statistics, statistics.sum(axis=-1, keepdims=True))
    deviation: FloatArray = 0.5 * np.abs(share - 1 / statistics.shape[-1]).sum(axis=-1)
    return deviation


def pit_histogram(
    count_probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 10,
    certainty: float = 1.0,
    class_axis: int = -1,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> FloatArray:
    """Histogram of the probability integral transform of vote counts, not randomised [1]_.

    A voxel with y votes spreads evenly over the interval from ``P(count < y)`` to ``P(count <= y)``. Where predictions are
    calibrated the histogram is flat in expectation; a U says that counts are more dispersed than predicted (raters agree
    with each other more than that), a hump that they are less.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, rater_axis, sample_weight
        As in `count_responses`.
    n_bins : int, default=10
        Bins of equal width in [0, 1].
    certainty : float, default=1.0
        Leave out voxels whose most probable number of votes has more than this probability: the background that is known
        to have no votes is flat by itself, and hides the rest.

    Returns
    -------
    ndarray of shape (n_bins,)
        Density of each bin, of mean 1; NaN where no voxel is that uncertain.

    Raises
    ------
    ValueError
        As `count_responses`, or for options that make no sense.

    References
    ----------
    .. [1] Czado, Gneiting and Held, "Predictive model assessment for count data", 2009,
       doi:10.1111/j.1541-0420.2009.01191.x.

    Examples
    --------
    >>> pit_histogram([[0.5, 0.5, 0.0]] * 2, [[1, 0], [0, 0]], n_bins=4).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    metric = pit_metric(n_bins, certainty=certainty)
    options: dict[str, Any] = {"class_axis": class_axis, "roi": roi, "rater_axis": rater_axis}
    mass = metric.statistics(count_responses(count_probs, raters, sample_weight=sample_weight, **options))
    density: FloatArray = ratio(mass, mass.sum(keepdims=True)) * n_bins
    return density


# Reliability --------------------------------------------------------------------------------------------------------------


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
    for dist, count, marked in _predicted(responses):
        if dist.shape[1] == n + 1:
            prob = np.clip(dist[:, votes:].sum(axis=1), 0.0, 1.0)
            reached = marked >= votes
            ones = np.ones(prob.size, dtype=np.int64)
            return Responses(
                prob, count, np.ones(prob.size), reached.astype(np.float64), 1, ones, reached.astype(np.int64)
            )
    none, bits = np.empty(0), np.empty(0, np.int64)
    return Responses(none, none, none, none, 1, bits, bits)
