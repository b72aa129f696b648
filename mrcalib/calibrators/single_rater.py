"""Isotonic regression to one rater's answers."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._isotonic import Binning
from mrcalib.calibrators._isotonic_base import IsotonicVoteCalibrator
from mrcalib.calibrators._source import Source
from mrcalib.maps import CalibrationMap

__all__ = ["SingleRaterCalibrator"]


class SingleRaterCalibrator(IsotonicVoteCalibrator):
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

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        n = source.pooled.n_raters
        named = isinstance(self.rater, str)
        known = self.rater in self.raters_ if named else 0 <= int(self.rater) < n
        if not known:
            names = ", ".join(map(repr, self.raters_))
            msg = f"rater must be a position from 0 to {n - 1} or one of {names}; got {self.rater!r}."
            raise ValueError(msg)
        alone = np.zeros(n)
        alone[self.raters_.index(str(self.rater)) if named else int(self.rater)] = 1.0
        if rater_weight is not None:
            msg = "SingleRaterCalibrator takes one rater's answers as they are; it has no rater_weight."
            raise ValueError(msg)
        return self._isotonic(source, alone)
