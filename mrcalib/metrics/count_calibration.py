"""Whether predicted numbers of votes are borne out: coverage of intervals, and the probability integral transform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import check_n_bins
from mrcalib.metrics.base import FloatArray, ratio
from mrcalib.metrics.catalogue import register_metric
from mrcalib.metrics.count_scores import CountMetric
from mrcalib.metrics.counts import Rows, check_count_probs, predicted_counts
from mrcalib.responses import Responses

__all__ = [
    "VoteCoverage",
    "pit_deviation",
    "pit_histogram",
    "vote_coverage_bias",
    "vote_interval",
    "vote_interval_coverage",
]

ROUNDING = 1e-9  # of cumulated probabilities


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


def _check_certainty(certainty: float) -> None:
    if not 0 < certainty <= 1:
        msg = f"certainty must lie above 0 and at most be 1; got {certainty}."
        raise ValueError(msg)


def _uncertain(responses: Responses, certainty: float) -> Iterator[Rows]:
    for dist, count, votes in predicted_counts(responses):
        here = dist.max(axis=1) <= certainty + ROUNDING
        yield dist[here], count[here], votes[here]


@dataclass(frozen=True)
class VoteCoverageBias(CountMetric):
    """Coverage of the central intervals of votes less what they claim; see `vote_interval_coverage`.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, sample_weight, rater_axis
        As in `count_responses`; or several cases, as in `Metric`. The probabilities of `Case` objects and tallies stand for
        binomial counts, and so do those of an array with ``class_axis=None``.
    average : {"mean", "pooled"}, default="mean"
        Of several cases, as in `Metric`.
    level : float, default=0.9
        Of the intervals.
    certainty : float, default=1.0
        Leave out voxels whose most probable number of votes has more than this probability: in a segmentation most
        voxels are certain background, which covers itself and hides the rest. 1.0 leaves none out.

    Returns
    -------
    float
        Share of voxels whose number of votes lies in its interval, less the mean predicted probability of the intervals;
        below 0 is overconfident.

    Raises
    ------
    ValueError
        As `count_responses`, or for a level or certainty that is no probability.

    Examples
    --------
    >>> vote_coverage_bias([[0.5, 0.5, 0.0]] * 2, [[1, 1], [0, 1]])
    -0.5
    """

    name = "vote_coverage_bias"
    label = "vote coverage (90%) bias"
    better = "zero"
    named_options = ("level",)

    level: float = 0.9
    certainty: float = 1.0

    def check_options(self) -> None:
        _check_level(self.level)
        _check_certainty(self.certainty)

    def named(self) -> tuple[str, str]:
        name = "vote_coverage_bias" if self.level == 0.9 else f"vote_coverage_{self.level:g}_bias"
        return name, f"vote coverage ({100 * self.level:g}%) bias"

    def sums(self, responses: Responses) -> FloatArray:
        """Voxels covered, sum of the probabilities that their intervals hold, and voxels."""
        total = np.zeros(3)
        for dist, count, votes in _uncertain(responses, self.certainty):
            low, high = _interval(dist, self.level)
            k = np.arange(dist.shape[1])
            inside = (k >= low[:, np.newaxis]) & (k <= high[:, np.newaxis])
            total += count @ ((votes >= low) & (votes <= high)), count @ (dist * inside).sum(axis=1), count.sum()
        return total

    def value(self, sums: FloatArray) -> FloatArray:
        return ratio(sums[..., 0] - sums[..., 1], sums[..., 2])


@dataclass(frozen=True)
class PITDeviation(CountMetric):
    """How far the PIT histogram of vote counts is from flat; see `pit_histogram`.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, sample_weight, rater_axis
        As in `count_responses`; or several cases, as in `Metric`. The probabilities of `Case` objects and tallies stand for
        binomial counts, and so do those of an array with ``class_axis=None``.
    average : {"mean", "pooled"}, default="mean"
        Of several cases, as in `Metric`.
    n_bins : int, default=10
        Bins of equal width.
    certainty : float, default=1.0
        Leave out voxels whose most probable number of votes has more than this probability.

    Returns
    -------
    float
        The probability that would have to be moved to make the histogram flat, in [0, 1).

    Raises
    ------
    ValueError
        As `count_responses`, or for options that make no sense.

    Examples
    --------
    >>> pit_deviation([[0.5, 0.5, 0.0]] * 2, [[1, 1], [0, 1]], n_bins=4)
    0.5
    """

    name = "pit_deviation"
    label = "PIT deviation"

    n_bins: int = 10
    certainty: float = 1.0

    def check_options(self) -> None:
        check_n_bins(self.n_bins)
        _check_certainty(self.certainty)

    def sums(self, responses: Responses) -> FloatArray:
        """Mass of each bin: that of a voxel is spread evenly from the probability of fewer votes to that of no more."""
        edges = np.linspace(0, 1, self.n_bins + 1)
        mass = np.zeros(self.n_bins)
        for dist, count, votes in _uncertain(responses, self.certainty):
            row = np.arange(votes.size)
            upper = np.clip(np.cumsum(dist, axis=1)[row, votes], 0.0, 1.0)
            lower = np.clip(upper - dist[row, votes], 0.0, 1.0)
            width = upper - lower
            wide = width > ROUNDING
            passed = np.zeros((self.n_bins + 1, votes.size))
            for i, edge in enumerate(edges):
                passed[i, wide] = np.clip((edge - lower[wide]) / width[wide], 0.0, 1.0)
                passed[i, ~wide] = edge >= upper[~wide]
            passed[-1] = 1.0
            mass += np.diff(passed @ count)
            mass[0] += passed[0] @ count
        return mass

    def value(self, sums: FloatArray) -> FloatArray:
        share = ratio(sums, sums.sum(axis=-1, keepdims=True))
        deviation: FloatArray = 0.5 * np.abs(share - 1 / sums.shape[-1]).sum(axis=-1)
        return deviation


vote_coverage_bias = register_metric(VoteCoverageBias())
pit_deviation = register_metric(PITDeviation())


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
    count_probs: Any,
    raters: Any = None,
    level: float = 0.9,
    *,
    certainty: float = 1.0,
    class_axis: int = -1,
    roi: Any = None,
    sample_weight: Any = None,
    rater_axis: int | None = None,
) -> VoteCoverage:
    """How many voxels have a number of votes inside their predicted interval.

    Voxels of an image are dependent: for an interval around the coverage, resample patients, as
    ``mrcalib.plots.VoteCoverageDisplay`` and ``compare`` with `vote_coverage_bias` do.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, sample_weight, rater_axis
        As in `count_log_loss`; of several cases it is that of all their voxels.
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
    metric = vote_coverage_bias.with_options(level=level, certainty=certainty)
    options: dict[str, Any] = {"class_axis": class_axis, "roi": roi, "rater_axis": rater_axis}
    sums = metric.pooled_sums(count_probs, raters, sample_weight=sample_weight, **options)
    return VoteCoverage(float(ratio(sums[0], sums[2])), float(ratio(sums[1], sums[2])), float(sums[2]))


def pit_histogram(
    count_probs: Any,
    raters: Any = None,
    *,
    n_bins: int = 10,
    certainty: float = 1.0,
    class_axis: int = -1,
    roi: Any = None,
    sample_weight: Any = None,
    rater_axis: int | None = None,
) -> FloatArray:
    """Histogram of the probability integral transform of vote counts, not randomised [1]_.

    A voxel with y votes spreads evenly over the interval from ``P(count < y)`` to ``P(count <= y)``. Where predictions are
    calibrated the histogram is flat in expectation; a U says that counts are more dispersed than predicted (raters agree
    with each other more than that), a hump that they are less.

    Parameters
    ----------
    count_probs, raters, class_axis, roi, sample_weight, rater_axis
        As in `count_log_loss`; of several cases it is that of all their voxels.
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
    metric = pit_deviation.with_options(n_bins=n_bins, certainty=certainty)
    options: dict[str, Any] = {"class_axis": class_axis, "roi": roi, "rater_axis": rater_axis}
    mass = metric.pooled_sums(count_probs, raters, sample_weight=sample_weight, **options)
    density: FloatArray = ratio(mass, mass.sum(keepdims=True)) * n_bins
    return density
