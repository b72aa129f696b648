"""Isotonic regression to the mean human response: the method of TwinTrack, without its saturation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._isotonic_base import IsotonicVoteCalibrator
from mrcalib.calibrators._source import Source
from mrcalib.maps import CalibrationMap

__all__ = ["MHRIsotonicCalibrator"]


class MHRIsotonicCalibrator(IsotonicVoteCalibrator):
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

    def _fit_map(self, source: Source, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        return self._isotonic(source, rater_weight)
