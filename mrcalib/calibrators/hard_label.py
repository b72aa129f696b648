"""One isotonic regression a rater, averaged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._isotonic_base import IsotonicVoteCalibrator
from mrcalib.calibrators._source import Source
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap, mean_of_maps

__all__ = ["HardLabelCalibrator"]


class HardLabelCalibrator(IsotonicVoteCalibrator):
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

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        n = source.pooled.n_raters
        weight = np.ones(n) if rater_weight is None else rater_weight
        answered = [r for r in range(n) if source.pooled.weight[r].any() and weight[r] > 0]
        if not answered:
            msg = "There is nothing to fit: no rater of positive weight answered at any voxel."
            raise ValueError(msg)
        maps = [self._isotonic(source, np.eye(n)[r]) for r in answered]
        self.rater_maps_ = tuple((self.raters_[r], fitted) for r, fitted in zip(answered, maps, strict=True))
        return mean_of_maps(maps, weight[answered])

    def _state(self) -> dict[str, Any]:
        return {"rater_maps": [[name, fitted.to_dict()] for name, fitted in self.rater_maps_]}

    def _set_state(self, state: dict[str, Any]) -> None:
        self.rater_maps_ = tuple(
            (name, PiecewiseLinearMap(**{k: v for k, v in values.items() if k != "kind"}))
            for name, values in state["rater_maps"]
        )
