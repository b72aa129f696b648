"""Platt scaling on logits."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._logistic import clipped_logit, fit_to_votes
from mrcalib.calibrators._source import Source
from mrcalib.maps import CLIP, CalibrationMap, LogitMap

__all__ = ["PlattCalibrator"]


class PlattCalibrator(VoteCalibrator):
    """Affine in the logit, ``expit(slope * logit(p) + offset)``, fitted by the cross-entropy to the mean response.

    Logistic regression on the logit, without penalty (not on the raw probability), and with slope >= 0 so that the map stays
    monotone. Parameters are those of ``TemperatureScalingCalibrator``.

    Attributes
    ----------
    slope_, offset_ : float

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import expit
    >>> from mrcalib import PlattCalibrator
    >>> logits = np.linspace(-3, 3, 1001)
    >>> fitted = PlattCalibrator().fit(expit(logits), expit(0.5 * logits - 1))
    >>> round(fitted.slope_, 3), round(fitted.offset_, 3)
    (0.5, -1.0)
    """

    map_: LogitMap

    def __init__(self, clip: float = CLIP, *, keep_zero: bool = False, case_weight: str | ArrayLike = "voxels") -> None:
        self.clip = clip
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    def _tells_marked_apart(self) -> bool:
        return True

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        def features(prob: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.column_stack([clipped_logit(prob, self.clip), np.ones(prob.size)])

        slope, offset = fit_to_votes(source, rater_weight, features, n_nonnegative=1)
        return LogitMap(float(slope), float(offset), self.clip, keep_zero=self.keep_zero)

    def _describe_map(self) -> None:
        self.slope_, self.offset_ = self.map_.slope, self.map_.offset
