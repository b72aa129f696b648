"""Histogram binning: each bin's mean response."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._isotonic import warn_if_saturated
from mrcalib.calibrators._source import Source
from mrcalib.grid import ProbabilityGrid, edges_of_uniform_bins
from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.maps import CalibrationMap, StepMap

__all__ = ["HistogramBinningCalibrator"]


class HistogramBinningCalibrator(VoteCalibrator):
    """Replace a probability by the mean response of its bin (Zadrozny and Elkan, 2001); not monotone by construction.

    An empty bin takes the value of the occupied bin below it (the lowest bins, of the first occupied one).

    Parameters
    ----------
    n_bins : int, default=15
    strategy : {"uniform", "equal-mass"}, default="uniform"
        Bins of equal width, or of equally many voxels (to the grid's resolution; equal probabilities are never split).
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at: they stay 0 and do not enter the fit.
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import HistogramBinningCalibrator
    >>> probs = np.array([0.1, 0.2, 0.8, 0.9])
    >>> HistogramBinningCalibrator(n_bins=2).fit(probs, np.array([0, 0, 1, 0]))(probs)
    array([0. , 0. , 0.5, 0.5])
    """

    def __init__(
        self,
        n_bins: int = 15,
        strategy: Literal["uniform", "equal-mass"] = "uniform",
        *,
        keep_zero: bool = False,
        case_weight: str | ArrayLike = "voxels",
    ) -> None:
        self.n_bins = n_bins
        self.strategy = strategy
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    def _grid(self) -> ProbabilityGrid:
        n_bins = check_n_bins(self.n_bins)
        return ProbabilityGrid(edges=edges_of_uniform_bins(n_bins)) if self.strategy == "uniform" else super()._grid()

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        check_choice("strategy", self.strategy, ("uniform", "equal-mass"))
        n_bins = check_n_bins(self.n_bins)
        prob, weight, response = source.pooled.mean_response(rater_weight)
        if self.strategy == "uniform":
            edges = np.append(0.0, edges_of_uniform_bins(n_bins))
        else:
            cumulated = np.cumsum(weight)
            ranks = np.arange(1, n_bins) * cumulated[-1] / n_bins
            edges = np.unique(
                np.append(0.0, prob[np.minimum(np.searchsorted(cumulated, ranks, side="right"), prob.size - 1)])
            )
        index = np.searchsorted(edges, prob, side="right") - 1
        mass = np.bincount(index, weight, edges.size)
        used = mass > 0
        mean = np.bincount(index, weight * response, edges.size)[used] / mass[used]
        # The fit sorted what rounds to an edge in float32 above it; the map does so for float64 too.
        below = np.nextafter(edges.astype(np.float32), np.float32(-1)).astype(np.float64)
        edges = np.where(edges > 0, (below + edges) / 2, edges)
        fitted = StepMap(edges[used], np.clip(mean, 0.0, 1.0), keep_zero=self.keep_zero)
        warn_if_saturated(fitted, source.pooled, rater_weight)
        return fitted
