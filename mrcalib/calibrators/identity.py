"""No calibration: the row that every table of methods needs."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import VoteCalibrator
from mrcalib.calibrators._source import Source
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap

__all__ = ["IdentityCalibrator"]


class IdentityCalibrator(VoteCalibrator):
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

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:  # noqa: ARG002
        return PiecewiseLinearMap(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
