"""Beta calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._logistic import clipped, fit_to_votes
from mrcalib.calibrators._source import Source
from mrcalib.maps import CLIP, BetaMap, CalibrationMap

__all__ = ["BetaCalibrator"]


class BetaCalibrator(VoteCalibrator):
    """``expit(a log p - b log(1 - p) + c)`` with a, b >= 0 (Kull, Silva Filho and Flach, 2017), to the mean response.

    Unlike Platt scaling it can treat low and high probabilities differently, and it contains the identity. Parameters are
    those of ``TemperatureScalingCalibrator``.

    Attributes
    ----------
    a_, b_, c_ : float

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import BetaCalibrator
    >>> p = np.linspace(0.01, 0.99, 999)
    >>> fitted = BetaCalibrator().fit(p, p)
    >>> [round(v, 3) + 0.0 for v in (fitted.a_, fitted.b_, fitted.c_)]
    [1.0, 1.0, 0.0]
    """

    map_: BetaMap

    def __init__(self, clip: float = CLIP, *, keep_zero: bool = False, case_weight: str | ArrayLike = "voxels") -> None:
        self.clip = clip
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    def _tells_marked_apart(self) -> bool:
        return True

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        def features(prob: NDArray[np.float64]) -> NDArray[np.float64]:
            p = clipped(prob, self.clip)
            return np.column_stack([np.log(p), -np.log1p(-p), np.ones(p.size)])

        a, b, c = fit_to_votes(source, rater_weight, features, n_nonnegative=2)
        return BetaMap(float(a), float(b), float(c), self.clip, keep_zero=self.keep_zero)

    def _describe_map(self) -> None:
        self.a_, self.b_, self.c_ = self.map_.a, self.map_.b, self.map_.c
