"""The parameters that the isotonic calibrators share, and what they say of grid and second pass."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._isotonic import BINNINGS, Binning, exact_grid, fit_isotonic
from mrcalib.calibrators._source import Source
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.maps import PiecewiseLinearMap

FloatArray = NDArray[np.float64]


class IsotonicVoteCalibrator(VoteCalibrator):
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

    def _grid(self) -> ProbabilityGrid:
        return exact_grid() if self.binning == "exact" else ProbabilityGrid.standard()

    def _needs_voxels(self) -> bool:
        return self.binning == "exact"

    def _rereads(self) -> bool:
        return self.binning != "grid"

    def _isotonic(self, source: Source, rater_weight: FloatArray | None) -> PiecewiseLinearMap:
        check_choice("binning", self.binning, BINNINGS)
        n_bins = check_n_bins(self.n_bins, 2)
        return fit_isotonic(source, rater_weight, binning=self.binning, n_bins=n_bins, keep_zero=self.keep_zero)
