"""The baselines of every comparison: no calibration, and histogram binning."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import CalibrationData, Needs
from mrcalib.calibrators._registry import register_calibrator
from mrcalib.calibrators.isotonic import warn_if_saturated
from mrcalib.grid import ProbabilityGrid, edges_of_uniform_bins
from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap, StepMap

__all__ = ["HistogramBinningCalibrator", "IdentityCalibrator"]


@register_calibrator("none", aliases=("identity", "uncalibrated"), compared=True, paper=True)
class IdentityCalibrator(Calibrator):
    """Leave probabilities as they are.

    Parameters
    ----------
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"
        Without effect on the map; taken so that all calibrators can be built alike.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import IdentityCalibrator
    >>> IdentityCalibrator().fit(np.array([0.3]), np.array([1]))(np.array([0.3]))
    array([0.3])
    """

    def __init__(self, *, case_weight: str | ArrayLike = "voxels") -> None:
        self.case_weight = case_weight

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:  # noqa: ARG002
        """The identity; parameters as for ``Calibrator.fit_map``."""
        return PiecewiseLinearMap(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


@register_calibrator("histogram", aliases=("histogram (15 bins)",), compared=True)
class HistogramBinningCalibrator(Calibrator):
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

    @property
    def needs(self) -> Needs:
        """A grid with the edges of the uniform bins, where these are asked for."""
        if self.strategy != "uniform":
            return super().needs
        return Needs(ProbabilityGrid(edges=edges_of_uniform_bins(check_n_bins(self.n_bins))))

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The step map of the bins' mean responses; parameters as for ``Calibrator.fit_map``."""
        check_choice("strategy", self.strategy, ("uniform", "equal-mass"))
        n_bins = check_n_bins(self.n_bins)
        prob, weight, response = data.pooled.mean_response(rater_weight)
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
        warn_if_saturated(fitted, data.pooled, rater_weight)
        return fitted
