"""Isotonic regression to the raters' answers: to their mean, to one rater's, or to each rater's and then averaged.

Isotonic regression is the slope of the greatest convex minorant of the points (cumulated weight, cumulated response).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.pava import pool_adjacent_violators
from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import CalibrationData, Needs
from mrcalib.calibrators._equal_bins import equal_bins, error_of_tallied_bins
from mrcalib.calibrators._opening import open_bins
from mrcalib.calibrators._registry import register_calibrator
from mrcalib.exceptions import SaturationWarning, warn_caller
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap, mean_of_maps
from mrcalib.responses import PooledResponses

__all__ = [
    "HardLabelCalibrator",
    "MHRIsotonicCalibrator",
    "SingleRaterCalibrator",
    "exact_grid",
    "fit_isotonic",
    "isotonic",
    "map_of_blocks",
    "warn_if_saturated",
]

FloatArray = NDArray[np.float64]
Binning = Literal["grid", "exact", "equal-mass", "equal-votes"]
BINNINGS = ("grid", "exact", "equal-mass", "equal-votes")


@lru_cache(maxsize=1)
def exact_grid() -> ProbabilityGrid:
    """What exact fits are tallied on: without edges, so that the second pass finds bins by the bits of a probability.

    A finer grid opens fewer bins, but costs cache.
    """
    return ProbabilityGrid(7)


def isotonic(response: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted least-squares non-decreasing fit, by pooling adjacent violators.

    Parameters
    ----------
    response, weight : ndarray of shape (n,)
        Responses in the order of probability, and positive weights.

    Returns
    -------
    ndarray of shape (n,)
    """
    fitted = np.empty(response.size)
    pool_adjacent_violators(
        np.ascontiguousarray(response, dtype=np.float64), np.ascontiguousarray(weight, dtype=np.float64), fitted
    )
    return fitted


def fit_isotonic(
    data: CalibrationData, rater_weight: FloatArray | None, *, binning: Binning, n_bins: int, keep_zero: bool
) -> PiecewiseLinearMap:
    """The isotonic map to the mean response of the raters, weighted by ``rater_weight``."""
    if binning == "exact":
        pooled, weights = open_bins(data, cells_to_open, rater_weight=rater_weight, pool=True), None
    elif binning == "equal-mass":
        pooled, weights = equal_bins(data, rater_weight, n_bins, of_votes=False), None
    elif binning == "equal-votes":
        pooled, weights = equal_bins(data, rater_weight, n_bins, of_votes=True), None
    else:
        pooled, weights = data.pooled, rater_weight
    prob, weight, response = pooled.mean_response(weights)
    fitted_map = map_of_blocks(prob, isotonic(response, weight), keep_zero=keep_zero)
    if binning in ("equal-mass", "equal-votes"):
        warn_if_saturated(fitted_map, data.pooled, rater_weight)
    return fitted_map


def map_of_blocks(prob: FloatArray, fitted: FloatArray, *, keep_zero: bool) -> PiecewiseLinearMap:
    """The map that takes the fitted values at these probabilities, with knots at both ends of each block only."""
    ends = np.flatnonzero(np.diff(fitted) != 0)
    knots = np.unique(np.concatenate([[0], ends, ends + 1, [fitted.size - 1]]))
    return PiecewiseLinearMap(prob[knots], np.maximum.accumulate(np.clip(fitted[knots], 0, 1)), keep_zero=keep_zero)


def cells_to_open(weight: FloatArray, votes: FloatArray) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cells that may hold a vertex of the exact minorant inside, and those that border a block of the coarse one.

    The path through a cell is lowest where all that was not marked comes first; if even that corner is not below the coarse
    minorant, no voxel in the cell can be a vertex. The exact minorant lies below the coarse one, so where it turns at a cell's
    edge the coarse one turns too: the extremes of the cells on both sides are the exact ends of its blocks.
    """
    fitted = isotonic(votes / weight, weight)
    minorant = np.concatenate([[0.0], np.cumsum(fitted * weight)])
    votes_before = np.concatenate([[0.0], np.cumsum(votes)[:-1]])
    slack = 1e-9 * max(1.0, votes_before[-1])
    below = votes_before < minorant[:-1] + fitted * (weight - votes) + slack
    turns = np.diff(fitted) != 0
    border = np.append(turns, True) | np.append(True, turns)
    return below & (votes > 0) & (votes < weight), border


def warn_if_saturated(fitted: CalibrationMap, pooled: PooledResponses, rater_weight: FloatArray | None) -> None:
    """Warn where bins are so coarse that the map stays far below what the grid's bins show to be the response.

    The comparison is with the isotonic fit on the grid, at the probability above which 1 % of the votes lie.
    """
    _, weight, response = pooled.mean_response(rater_weight)
    votes_above = np.cumsum((weight * response)[::-1])[::-1]
    if votes_above[0] == 0:
        return
    resolved = isotonic(response, weight)[np.flatnonzero(votes_above >= 0.01 * votes_above[0])[-1]]
    reachable = fitted.reachable[1]
    if reachable < 0.9 * resolved:
        prevalence = votes_above[0] / weight.sum()
        msg = (
            f"The map saturates: it cannot exceed {reachable:.3g}, though raters answer {resolved:.3g} on average at the "
            f"highest probabilities. Foreground ({prevalence:.2g} of the voxels) is too rare for bins of this size. Use "
            "binning='grid', more bins, or fit in a region of interest."
        )
        warn_caller(msg, SaturationWarning)


class IsotonicCalibrator(Calibrator):
    """Base of the calibrators that pool adjacent violators; see ``MHRIsotonicCalibrator`` for the parameters."""

    def __init__(
        self,
        binning: Binning = "grid",
        n_bins: int = 250,
        *,
        keep_zero: bool = False,
        case_weight: str | ArrayLike = "voxels",
    ) -> None:
        self.binning = binning
        self.n_bins = n_bins
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    @property
    def needs(self) -> Needs:
        """A second pass over the voxels, but for ``binning="grid"``; ``binning="exact"`` cannot do without."""
        exact = self.binning == "exact"
        grid = exact_grid() if exact else ProbabilityGrid.standard()
        return Needs(grid, second_pass=self.binning != "grid", voxels=exact)

    def _isotonic(self, data: CalibrationData, rater_weight: FloatArray | None) -> PiecewiseLinearMap:
        check_choice("binning", self.binning, BINNINGS)
        n_bins = check_n_bins(self.n_bins, 2)
        return fit_isotonic(data, rater_weight, binning=self.binning, n_bins=n_bins, keep_zero=self.keep_zero)

    def notes_on_fit(self, data: CalibrationData, rater_weight: FloatArray | None) -> dict[str, Any]:
        """How far the map can be from that of the voxels, where bins of equal mass or votes come from tallies alone."""
        if self.binning not in ("equal-mass", "equal-votes") or data.voxels is not None:
            return {}
        return {"max_error": self._error_of_tallied_bins(data, rater_weight)}

    def _error_of_tallied_bins(self, data: CalibrationData, rater_weight: FloatArray | None) -> float:
        return error_of_tallied_bins(data, rater_weight, self.n_bins, of_votes=self.binning == "equal-votes")

    @property
    def max_error_(self) -> float:
        """How far the map can be, at any probability, from the one that is fitted to the voxels.

        It is 0 where the voxels were read, as ``fit`` and ``fit_cases`` do. Bins of equal mass or votes from tallies alone
        (``fit_tally``, ``partial_fit``) start where bins of the grid do, and this is a bound on what that changes.
        """
        return float(self.provenance_.get("max_error", 0.0))


@register_calibrator(
    "single-rater-250", aliases=("single-rater (250 bins)",), paper=True, binning="equal-mass", n_bins=250
)
@register_calibrator("single-rater", compared=True)
class SingleRaterCalibrator(IsotonicCalibrator):
    """Map probabilities to how often one rater marks the voxel: the usual practice, and a baseline.

    Voxels that this rater did not answer are left out, the other raters ignored. Other parameters and attributes are those of
    ``MHRIsotonicCalibrator``. A soft target counts as the only rater.

    Parameters
    ----------
    rater : int or str, default=0
        Position of the rater, or the name where raters have names (``fit_cases``, ``fit_tally``).

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import SingleRaterCalibrator
    >>> probs = np.array([0.1, 0.2, 0.8, 0.9])
    >>> SingleRaterCalibrator(rater=1).fit(probs, [[0, 0, 0, 0], [0, 0, 1, 1]])(probs).round(6)
    array([0., 0., 1., 1.])
    """

    def __init__(
        self,
        rater: int | str = 0,
        binning: Binning = "grid",
        n_bins: int = 250,
        *,
        keep_zero: bool = False,
        case_weight: str | ArrayLike = "voxels",
    ) -> None:
        super().__init__(binning, n_bins, keep_zero=keep_zero, case_weight=case_weight)
        self.rater = rater

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The isotonic map to one rater's answers; parameters as for ``Calibrator.fit_map``."""
        n = data.pooled.n_raters
        named = isinstance(self.rater, str)
        whole = isinstance(self.rater, int | np.integer) and not isinstance(self.rater, bool)
        known = self.rater in self.raters_ if named else whole and 0 <= int(self.rater) < n
        if not known:
            names = ", ".join(map(repr, self.raters_))
            msg = f"rater must be a position from 0 to {n - 1} or one of {names}; got {self.rater!r}."
            raise ValueError(msg)
        if rater_weight is not None:
            msg = "SingleRaterCalibrator takes one rater's answers as they are; it has no rater_weight."
            raise ValueError(msg)
        return self._isotonic(data, self._alone(n))

    def _alone(self, n_raters: int) -> FloatArray:
        """The weights that leave this rater's answers only."""
        alone = np.zeros(n_raters)
        alone[self.raters_.index(self.rater) if isinstance(self.rater, str) else int(self.rater)] = 1.0
        return alone

    def _error_of_tallied_bins(self, data: CalibrationData, rater_weight: FloatArray | None) -> float:  # noqa: ARG002
        return super()._error_of_tallied_bins(data, self._alone(data.pooled.n_raters))


@register_calibrator("hard-label-250", aliases=("hard-label (250 bins)",), paper=True, binning="equal-mass", n_bins=250)
@register_calibrator("hard-label", compared=True)
class HardLabelCalibrator(IsotonicCalibrator):
    """Fit one isotonic map to each rater's own answers, and average the maps (TwinTrack's "hard-label" target [1]_).

    With common bins it differs from ``MHRIsotonicCalibrator`` only where the raters' maps pool different bins. Raters without
    any answer are left out; ``rater_weight`` weighs the maps. Parameters and attributes are those of
    ``MHRIsotonicCalibrator``.

    Attributes
    ----------
    rater_maps_ : tuple of (str, PiecewiseLinearMap)
        Each rater's name and own map.

    References
    ----------
    .. [1] arXiv:2604.15950, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import HardLabelCalibrator
    >>> probs = np.array([0.1, 0.2, 0.8, 0.9])
    >>> HardLabelCalibrator().fit(probs, [[0, 0, 0, 1], [0, 0, 1, 1]])(probs).round(6)
    array([0. , 0. , 0.5, 1. ])
    """

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The mean of the raters' isotonic maps; parameters as for ``Calibrator.fit_map``."""
        answered, weight = self._answered(data, rater_weight)
        if not answered:
            msg = "There is nothing to fit: no rater of positive weight answered at any voxel."
            raise ValueError(msg)
        maps = [self._isotonic(data, np.eye(data.pooled.n_raters)[r]) for r in answered]
        self.rater_maps_ = tuple((self.raters_[r], fitted) for r, fitted in zip(answered, maps, strict=True))
        return mean_of_maps(maps, weight)

    def _answered(self, data: CalibrationData, rater_weight: FloatArray | None) -> tuple[list[int], FloatArray]:
        """The raters of positive weight who answered at some voxel, and their weights."""
        n = data.pooled.n_raters
        weight = np.ones(n) if rater_weight is None else rater_weight
        answered = [r for r in range(n) if data.pooled.weight[r].any() and weight[r] > 0]
        return answered, weight[answered]

    def _error_of_tallied_bins(self, data: CalibrationData, rater_weight: FloatArray | None) -> float:
        """That of a mean of maps: at most the mean of their errors."""
        answered, weight = self._answered(data, rater_weight)
        alone = np.eye(data.pooled.n_raters)
        errors = [super(HardLabelCalibrator, self)._error_of_tallied_bins(data, alone[r]) for r in answered]
        return float(np.average(errors, weights=weight))

    def learned(self) -> dict[str, Any]:
        """The raters' maps, as JSON values."""
        return {"rater_maps": [[name, fitted.to_dict()] for name, fitted in self.rater_maps_]}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back the raters' maps."""
        self.rater_maps_ = tuple(
            (name, PiecewiseLinearMap(**{k: v for k, v in values.items() if k != "kind"}))
            for name, values in state["rater_maps"]
        )


@register_calibrator(
    "TwinTrack", aliases=("TwinTrack (250 bins)",), compared=True, paper=True, binning="equal-mass", n_bins=250
)
@register_calibrator("MHR-equal", aliases=("MHR, cases equal",), compared=True, case_weight="equal")
@register_calibrator("MHR", aliases=("MHR-isotonic",), compared=True)
class MHRIsotonicCalibrator(IsotonicCalibrator):
    """Map probabilities to the expected fraction of raters who would mark the voxel, by isotonic regression.

    The map is the non-decreasing function with the least squared error to the raters' answers over all (voxel, rater) pairs
    [1]_; between the ends of its blocks it is linear, outside the range of the fit constant.

    Parameters
    ----------
    binning : {"grid", "exact", "equal-mass", "equal-votes"}, default="grid"
        What isotonic regression is run on:

        - ``"grid"``: the bins of the tally, at most 0.8 % of ``min(p, 1 - p)`` wide; one pass, works on tallies.
        - ``"exact"``: the voxels themselves, equal to scikit-learn's ``IsotonicRegression`` in float64; a second pass looks
          only into the bins that can hold a vertex, and no sorted copy of the voxels is held.
        - ``"equal-mass"``: ``n_bins`` bins of equally many voxels. With 250 this is TwinTrack's calibrator [1]_. It saturates
          where foreground is rarer than ``1 / n_bins``; the fit then warns and names the reachable maximum.
        - ``"equal-votes"``: ``n_bins`` bins with equally many votes.
    n_bins : int, default=250
        Number of bins of equal mass or votes; equal probabilities are never split, so there may be fewer.
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at: they stay 0 and do not enter the fit.
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"
        How cases count in ``fit_cases``, ``fit_tally`` (and, with ``groups=``, in ``fit``): by their voxels, so that large
        cases dictate, or equally (with ``keep_zero`` by their voxels above 0 only).

    Attributes
    ----------
    map_ : PiecewiseLinearMap
        The fitted map.
    reachable_ : tuple of float
        The smallest and the largest probability that the map can give.
    max_error_ : float
        How far the map can be from the one that is fitted to the voxels: 0, but for bins of equal mass or votes that come
        from tallies alone.

    References
    ----------
    .. [1] TwinTrack: post-hoc calibration to the mean human response, arXiv:2604.15950, appendix A.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import MHRIsotonicCalibrator
    >>> rng = np.random.default_rng(0)
    >>> probs = rng.random(20_000)
    >>> masks = rng.random((5, 20_000)) < probs**2          # raters mark less than the segmenter says
    >>> calibrator = MHRIsotonicCalibrator().fit(probs, masks)
    >>> calibrator(np.array([0.5])).round(2)
    array([0.24])
    """

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The isotonic map to the raters' mean response; parameters as for ``Calibrator.fit_map``."""
        return self._isotonic(data, rater_weight)
