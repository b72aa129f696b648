"""Isotonic regression to every number of votes: a distribution over how many raters mark a voxel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._data import CalibrationData
from mrcalib.calibrators._registry import register_calibrator
from mrcalib.calibrators.counts import (
    CountCalibrator,
    FloatArray,
    check_n_raters,
    counts_by_bin,
    refuse_rater_weight,
)
from mrcalib.calibrators.isotonic import isotonic, map_of_blocks
from mrcalib.exceptions import warn_caller
from mrcalib.inputs import check_choice
from mrcalib.maps import PiecewiseLinearMap, map_from_dict, mean_of_maps
from mrcalib.metrics.counts import Readout, Tie, majority_threshold
from mrcalib.tallies import VoteCounts, thinned, thinning

__all__ = ["OrdinalCalibrator"]

MAX_ITER = 1000
TOLERANCE = 1e-6
UNSETTLED = 1e-3
POSSIBLE = 1e-12  # a count that has become impossible in a bin could never come back


@register_calibrator("ordinal")
class OrdinalCalibrator(CountCalibrator):
    """The probability that 0, 1, ..., K raters mark a voxel, by one isotonic regression to each "at least k votes".

    ``P(count >= k | p)`` is fitted for k = 1 to K to the tally's counts of voxels, each on the grid's bins as by
    ``MHRIsotonicCalibrator``. Every voxel weighs the same at every level, so the levels cannot cross: where ``at least 3``
    happened no more often than ``at least 2``, pooling adjacent violators keeps it so. ``predict_counts`` takes
    differences of neighbouring levels.

    ``transform`` gives a read-out, one probability a voxel. The expected one is the mean of the levels and estimates the mean
    human response. It equals the map of ``MHRIsotonicCalibrator``, for complete answers, wherever the levels pool the same
    bins, and so wherever none has to pool; elsewhere the two differ by what isotonic regression makes of a sum and of its
    parts, within sampling noise. The majority one estimates the probability that most raters mark the voxel, which is not
    the mean human response (see `mrcalib.metrics.count_readout`).

    Parameters
    ----------
    readout : {"expected", "majority"}, default="expected"
        What ``transform`` gives.
    tie : {"foreground", "background"}, default="foreground"
        Of the majority read-out, for even K: whether half of the raters is a majority, as in [1]_, or not.
    n_raters : int, optional
        K; by default the largest number of raters who answered at one voxel of the fit.
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at: they stay 0, with 0 votes, and do not enter the fit.
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"
        As for ``MHRIsotonicCalibrator``.

    Attributes
    ----------
    map_ : PiecewiseLinearMap
        The read-out.
    levels_ : tuple of PiecewiseLinearMap
        ``P(count >= k | p)`` for k = 1 to K.
    n_counted_ : int
        K.
    n_iter_ : int
        Steps of expectation-maximisation; 0 where every voxel has K answers or more.

    Notes
    -----
    *Missing raters.* A voxel with n < K answers says that the count is at least its votes and at most its votes plus
    K - n, and which of these it is follows from what the others say at this p: the n raters are taken as drawn from K
    without regard to what they marked (missing at random, raters exchangeable), which makes their votes hypergeometric
    given the count, and the counts are fitted by expectation-maximisation with isotonic regression as its second step.
    Voxels with more than K answers are thinned in the same way, which needs no iteration. Dropping incomplete voxels
    would be valid as well under this assumption, but loses them; counting a missing answer as "no" would not. Voxels count
    once however many raters answered, unlike in ``MHRIsotonicCalibrator``, where (voxel, rater) pairs count. A voxel at
    which nobody answered is not seen.

    Raters must weigh alike: ``rater_weight`` is refused unless constant, and so are averaged (soft) targets.

    References
    ----------
    .. [1] arXiv:2605.02437, which trains a network for the same distribution.
    .. [2] Henzi, Ziegel and Gneiting, "Isotonic distributional regression", 2021, doi:10.1111/rssb.12450.

    Examples
    --------
    >>> from mrcalib.calibrators import OrdinalCalibrator
    >>> probs = np.array([0.1, 0.1, 0.8, 0.8])
    >>> fitted = OrdinalCalibrator().fit(probs, [[0, 0, 1, 1], [0, 1, 1, 0], [0, 0, 1, 1]])
    >>> fitted.predict_counts(np.array([0.1, 0.8])).round(3).tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    >>> fitted(np.array([0.1, 0.8])).round(3)
    array([0.167, 0.833])
    """

    map_: PiecewiseLinearMap

    def __init__(
        self,
        readout: Readout = "expected",
        *,
        tie: Tie = "foreground",
        n_raters: int | None = None,
        keep_zero: bool = False,
        case_weight: str | ArrayLike = "voxels",
    ) -> None:
        self.readout = readout
        self.tie = tie
        self.n_raters = n_raters
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    def fit_map(self, data: CalibrationData, rater_weight: FloatArray | None) -> PiecewiseLinearMap:
        """The read-out of the fitted levels; parameters as for ``Calibrator.fit_map``."""
        check_choice("readout", self.readout, ("expected", "majority"))
        check_choice("tie", self.tie, ("foreground", "background"))
        refuse_rater_weight(rater_weight, self.raters_)
        prob, counts = counts_by_bin(data)
        n = int(counts.answers.max()) if self.n_raters is None else check_n_raters(self.n_raters)
        reached, self.n_iter_ = fit_levels(counts, prob.size, n)
        self.levels_ = tuple(map_of_blocks(prob, level, keep_zero=self.keep_zero) for level in reached)
        self.n_counted_ = n
        return self._readout()

    def _readout(self) -> PiecewiseLinearMap:
        if self.readout == "expected":
            return mean_of_maps(self.levels_)
        return self.levels_[majority_threshold(len(self.levels_), self.tie) - 1]

    def _check_n_raters(self, n_raters: int) -> int:
        n = check_n_raters(n_raters)
        if n > self.n_counted_:
            msg = (
                f"n_raters must be at most {self.n_counted_}, the raters this was fitted for; got {n}. A "
                "BetaBinomialCalibrator can predict the votes of more."
            )
            raise ValueError(msg)
        return n

    def _count_probs(self, probs: Any, n_raters: int) -> NDArray[Any]:
        levels = [level(probs) for level in self.levels_]
        reached = np.stack([np.ones_like(levels[0]), *levels, np.zeros_like(levels[0])], axis=-1)
        np.minimum.accumulate(reached, axis=-1, out=reached)  # the levels cross by rounding only
        dist = reached[..., :-1] - reached[..., 1:]
        dist[np.isnan(levels[0])] = np.nan
        return np.asarray(thinned(dist, n_raters), dtype=dist.dtype)

    def learned(self) -> dict[str, Any]:
        """The maps of the levels, as JSON values."""
        return {"levels": [level.to_dict() for level in self.levels_], "n_iter": self.n_iter_}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back the maps of the levels; ValueError if they are damaged."""
        levels = tuple(map_from_dict(values) for values in state["levels"])
        if not levels or not all(isinstance(level, PiecewiseLinearMap) for level in levels):
            msg = "levels must be piecewise linear maps, at least one"
            raise ValueError(msg)
        self.levels_ = levels  # type: ignore[assignment]
        self.n_counted_ = len(levels)
        self.n_iter_ = int(state["n_iter"])


def fit_levels(counts: VoteCounts, n_bins: int, n_raters: int) -> tuple[FloatArray, int]:
    """``P(count >= k)`` of each bin, (n_raters, n_bins), and how many steps it took; ``counts.bins`` are positions."""
    known, partial = _split(counts, n_bins, n_raters)
    weight = known.sum(axis=1) + np.bincount(counts.bins[partial], counts.weight[partial], n_bins)
    if not partial.any():
        return _isotonic_levels(known, weight), 0
    index, seen = np.unique(np.stack([counts.answers[partial], counts.votes[partial]]), axis=1, return_inverse=True)
    likely = np.stack([thinning(n_raters, n)[:, m] for n, m in index.T])[seen.ravel()]
    rows, row_weight = counts.bins[partial], counts.weight[partial]
    dist = np.full((n_bins, n_raters + 1), 1 / (n_raters + 1))
    reached = np.zeros((n_raters, n_bins))
    step, moved = 0, np.inf
    while moved >= TOLERANCE and step < MAX_ITER:
        step += 1
        posterior = dist[rows] * likely
        posterior *= (row_weight / posterior.sum(axis=1))[:, np.newaxis]
        expected = known + np.stack([np.bincount(rows, column, n_bins) for column in posterior.T], axis=1)
        before, reached = reached, _isotonic_levels(expected, weight)
        moved = float(np.abs(reached - before).max())
        bounds = np.concatenate([np.ones((1, n_bins)), reached, np.zeros((1, n_bins))])
        dist = np.maximum(bounds[:-1] - bounds[1:], POSSIBLE).T
    if moved > UNSETTLED:
        msg = (
            f"The counts of voxels with missing raters did not settle in {MAX_ITER} steps (the last one moved {moved:.2g}); "
            "too few voxels have enough answers to tell the votes of all raters. Fit fewer with n_raters=."
        )
        warn_caller(msg, UserWarning)
    return reached, step


def _split(counts: VoteCounts, n_bins: int, n_raters: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Voxels by bin and count where enough raters answered, thinned to ``n_raters``; and the rows where fewer did."""
    known = np.zeros((n_bins, n_raters + 1))
    for n in np.unique(counts.answers[counts.answers >= n_raters]):
        here = counts.answers == n
        by_count = counts.weight[here, np.newaxis] * thinning(int(n), n_raters)[counts.votes[here]]
        np.add.at(known, counts.bins[here], by_count)
    return known, counts.answers < n_raters


def _isotonic_levels(by_count: FloatArray, weight: FloatArray) -> FloatArray:
    reached = np.cumsum(by_count[:, ::-1], axis=1)[:, ::-1].T[1:]
    return np.stack([isotonic(np.clip(level / weight, 0.0, 1.0), weight) for level in reached])
