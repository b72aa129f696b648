"""Temperature scaling fitted to the raters' mean response."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._logistic import clipped_logit, fit_to_votes
from mrcalib.calibrators._source import Source
from mrcalib.maps import CLIP, CalibrationMap, LogitMap

__all__ = ["TemperatureScalingCalibrator"]


class TemperatureScalingCalibrator(VoteCalibrator):
    """Divide the logit by one temperature, chosen by the cross-entropy to the mean response (Guo et al., 2017).

    Fitting to the raters' fractions instead of a majority label removes the bias towards too little uncertainty that the
    latter has (arXiv:2603.22879). Probabilities are clipped to [clip, 1 - clip] before the logit, in the fit and in the map:
    exact 0 and 1 have no logit, and the optimum depends on the clip.

    Parameters
    ----------
    clip : float, default=2**-24
        float32's resolution below 1.
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at: they stay 0 and do not enter the fit.
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"

    Attributes
    ----------
    temperature_ : float
        Above 1 the segmenter was overconfident; inf if the probabilities say nothing about the answers.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.special import expit
    >>> from mrcalib import TemperatureScalingCalibrator
    >>> logits = np.linspace(-3, 3, 1001)
    >>> fitted = TemperatureScalingCalibrator().fit(expit(2 * logits), expit(logits))   # a soft target
    >>> round(fitted.temperature_, 3)
    2.0
    """

    map_: LogitMap

    def __init__(self, clip: float = CLIP, *, keep_zero: bool = False, case_weight: str | ArrayLike = "voxels") -> None:
        self.clip = clip
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    def _tells_marked_apart(self) -> bool:
        return True

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        (slope,) = fit_to_votes(
            source, rater_weight, lambda p: clipped_logit(p, self.clip)[:, np.newaxis], n_nonnegative=1
        )
        return LogitMap(float(slope), clip=self.clip, keep_zero=self.keep_zero)

    def _describe_map(self) -> None:
        self.temperature_ = 1 / self.map_.slope if self.map_.slope > 0 else np.inf
