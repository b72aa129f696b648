"""Maps that look at the whole case: how large its structure is predicted, and which volume the map should leave it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from mrcalib._kernels.threads import over_runs
from mrcalib.calibrators._array_cases import by_voxel
from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import ZERO_BIN, CalibrationData, CaseSums, Needs
from mrcalib.calibrators._registry import register_calibrator
from mrcalib.calibrators.isotonic import fit_isotonic
from mrcalib.exceptions import warn_caller
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import as_array, case_items, check_choice, check_groups, check_probs
from mrcalib.maps import PiecewiseLinearMap, map_from_dict, mean_of_maps
from mrcalib.resampling import weighted_sums
from mrcalib.responses import PooledResponses
from mrcalib.tallies import CountTable

__all__ = ["CaseAdaptiveCalibrator"]

FloatArray = NDArray[np.float64]
Volume = Literal["blend", "segmenter", "map"]
CASES_PER_SIZE = 10
LARGEST_POWER = 64.0
CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class CaseMap:
    """A map, and the power to which one case's calibrated probabilities are raised."""

    inner: PiecewiseLinearMap
    power: float

    def __call__(self, probs: ArrayLike) -> NDArray[Any]:
        calibrated = self.inner(probs)
        values = np.ma.getdata(calibrated)
        values[...] = np.power(values, self.power, dtype=np.result_type(values.dtype, np.float32))
        return calibrated


@register_calibrator("case-adaptive", compared=True)
class CaseAdaptiveCalibrator(Calibrator):
    """Isotonic regression to the mean human response that knows the case's predicted volume.

    One map for all cases is right on average over their voxels, and wrong for each: a small lesion is not a large one seen
    from afar, and the map gives every case a volume that is drawn towards what such probabilities mean elsewhere. Here

    1. the map depends on the predicted volume ``v = sum(p)``: there are isotonic maps at ``n_sizes`` typical volumes, and a
       case between two of them takes their mean, weighted linearly in ``log v`` [1]_;
    2. the case's calibrated probabilities q are then raised to the power at which they sum to
       ``share * v + (1 - share) * sum(q)``. The share is the one with the least mean absolute error of the volumes of the
       cases of the fit [2]_. A segmenter with good volumes keeps them (share 1); one whose volumes are off follows the map
       (share 0).

    Both steps keep the order of a case's probabilities. Because the map depends on the case, ``transform`` takes **one whole
    case at a time**, over the same field of view as in the fit: a region, or the whole image. Of several cases at once, or
    of a part of one, it makes something else. Tally-based comparisons treat each case so.

    Parameters
    ----------
    n_sizes : int, default=3
        Typical volumes; at most one for each 10 cases of the fit. 1 is one map for all.
    volume : {"blend", "segmenter", "map"}, default="blend"
        ``share`` from the data (0 with fewer than 10 cases); 1, every case keeps the sum of its probabilities; or 0, it has
        what the map gives.
    keep_zero : bool, default=False
        Leave an exact 0 at 0, and out of the fit.
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="equal"
        How cases count in the maps. The share counts every case once.

    Attributes
    ----------
    sizes_ : tuple of float
        The typical volumes, in voxels.
    maps_ : tuple of PiecewiseLinearMap
        The map at each of them.
    volume_share_ : float
        Of the segmenter's volume, in [0, 1].
    map_ : PiecewiseLinearMap
        The map of a case of median volume, before step 2: for plots and ``reachable_``. ``map_of_case`` gives a case's own.

    Notes
    -----
    On lung nodules of four radiologists (``benchmarks/lidc``) it lowered the error of calibration of single cases without a
    significant loss in volume or thresholded Dice, for two segmenters, where one map for all worsened one or the other. Those
    are the cases on which it was designed. Where one map suits all cases, as on phantoms, it equals that map up to noise.
    Volumes are counted in voxels, so cases of very different spacing should be resampled first. Soft Dice, which is highest
    for probabilities of 0 and 1, falls under this calibration as under any that is honest.

    In ``fit``, ``groups=`` tells cases apart; without it the arrays are one case, which leaves nothing to adapt to, and the
    result is that of ``MHRIsotonicCalibrator``.

    References
    ----------
    .. [1] Hastie and Tibshirani, "Varying-coefficient models", 1993, doi:10.1111/j.2517-6161.1993.tb01939.x.
    .. [2] Bates and Granger, "The combination of forecasts", 1969, doi:10.1057/jors.1969.103.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib.calibrators import CaseAdaptiveCalibrator
    >>> rng = np.random.default_rng(0)
    >>> case = np.repeat(np.arange(20), 500)
    >>> probs = rng.random(10_000) * rng.uniform(0.2, 1, 20)[case]
    >>> calibrator = CaseAdaptiveCalibrator().fit(probs, rng.random((5, 10_000)) < probs**2, groups=case)
    >>> len(calibrator.maps_), round(calibrator.volume_share_, 1)
    (2, 0.0)
    >>> one = probs[case == 3]
    >>> bool(abs(calibrator(one).sum() - (one**2).sum()) < 0.1 * (one**2).sum())
    True
    """

    map_: PiecewiseLinearMap

    def __init__(
        self,
        n_sizes: int = 3,
        volume: Volume = "blend",
        *,
        keep_zero: bool = False,
        case_weight: str | ArrayLike = "equal",
    ) -> None:
        self.n_sizes = n_sizes
        self.volume = volume
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    @property
    def needs(self) -> Needs:
        """The sums of each case."""
        return Needs(ProbabilityGrid.standard(), cases=True)

    # Fitting ----------------------------------------------------------------------------------------------------------

    def fit_map(self, data: CalibrationData, rater_weight: FloatArray | None) -> PiecewiseLinearMap:
        """The map of a case of median volume; parameters as for ``Calibrator.fit_map``."""
        check_choice("volume", self.volume, ("blend", "segmenter", "map"))
        n_sizes = _check_n_sizes(self.n_sizes)
        one_case = [[data.pooled.weight, data.pooled.prob_sum, data.pooled.votes]]
        by_case = data.by_case or CaseSums.of(data.pooled.bins, np.array(one_case))
        by_case = by_case.for_raters(rater_weight)
        pairs, totals = by_case.pairs, by_case.totals
        answers = totals[:, 0]
        counts = (by_case.weight > 0) & (answers > 0)
        answers_a_voxel = np.divide(answers, by_case.n_voxels, out=np.ones(counts.size), where=counts)
        bins = by_case.bins
        if self.keep_zero:
            totals = totals - pairs[:, :, bins == ZERO_BIN].sum(axis=-1)
            bins, pairs = bins[bins != ZERO_BIN], pairs[:, :, bins != ZERO_BIN]
        predicted, marked = (totals[counts, row] / answers_a_voxel[counts] for row in (1, 2))

        n_sizes = max(1, min(n_sizes, predicted.size // CASES_PER_SIZE))
        log_size = _log_size(predicted)
        knots = np.unique(np.quantile(log_size, (np.arange(n_sizes) + 0.5) / n_sizes))
        near = np.zeros((counts.size, knots.size))
        near[counts] = _near(log_size, knots)
        self.sizes_ = tuple(np.exp(knots).tolist())
        rows = np.vstack([near.T * by_case.weight, counts])
        *sums, (weight, prob_sum, _) = weighted_sums(pairs.reshape(counts.size, -1), rows).reshape(-1, *pairs.shape[1:])
        self.maps_ = tuple(self._isotonic(data.grid, bins, of_size) for of_size in sums)
        prob = np.clip(np.divide(prob_sum, weight, out=np.zeros(weight.size), where=weight > 0), 0.0, 1.0)
        kept = weighted_sums(np.column_stack([fitted(prob) for fitted in self.maps_]), pairs[:, 0])
        own = ((near * kept).sum(axis=1) / answers_a_voxel)[counts]
        self.volume_share_ = self._share(predicted, own, marked)
        return self._map_of_size(float(np.exp(np.median(log_size))))

    def _isotonic(self, grid: ProbabilityGrid, bins: NDArray[np.int64], sums: FloatArray) -> PiecewiseLinearMap:
        used = sums[0] > 0
        pooled = PooledResponses(bins[used], *(row[np.newaxis, used] for row in sums))
        return fit_isotonic(
            CalibrationData(grid, pooled, 0.0), None, binning="grid", n_bins=2, keep_zero=self.keep_zero
        )

    def _share(self, predicted: FloatArray, own: FloatArray, marked: FloatArray) -> float:
        """The share of the predicted volumes that makes the least absolute error, clipped to [0, 1]: a weighted median."""
        if self.volume != "blend":
            return float(self.volume == "segmenter")
        apart = predicted - own
        differs = np.abs(apart) > 1e-9 * np.abs(predicted)
        if predicted.size < CASES_PER_SIZE or not differs.any():
            return 0.0
        ratio = (marked[differs] - own[differs]) / apart[differs]
        order = np.argsort(ratio)
        mass = np.cumsum(np.abs(apart[differs])[order])
        median = ratio[order][np.searchsorted(mass, mass[-1] / 2)]
        return float(np.clip(median, 0.0, 1.0))

    # Using the maps ---------------------------------------------------------------------------------------------------

    def _map_of_size(self, size: float) -> PiecewiseLinearMap:
        near = _near(_log_size(np.array([size])), np.log(self.sizes_))[0]
        used = np.flatnonzero(near)
        return self.maps_[used[0]] if used.size == 1 else mean_of_maps([self.maps_[j] for j in used], near[used])

    def map_of_case(self, prob: FloatArray, count: FloatArray) -> Callable[[ArrayLike], NDArray[Any]]:
        """The map of the case that has ``count`` voxels at each ``prob``; parameters as for ``Calibrator``."""
        check_is_fitted(self, "map_")
        size = float(count @ prob)
        fitted = self._map_of_size(size)
        if self.volume_share_ == 0:
            return fitted
        calibrated = fitted(prob)
        target = self.volume_share_ * size + (1 - self.volume_share_) * float(count @ calibrated)
        return CaseMap(fitted, _power_to_sum(calibrated, count, target))

    def map_for_parts(self, parts: Iterable[ArrayLike]) -> Callable[[ArrayLike], NDArray[Any]]:
        """The map of the case whose voxels come in ``parts``, all of them that count."""
        check_is_fitted(self, "map_")
        return self.map_of_case(*_histogram(parts))

    def transform(self, probs: Any, *, groups: ArrayLike | None = None) -> Any:
        """Calibrated probabilities of whole cases, in the shape and float dtype of ``probs``.

        A case's volume is kept to the resolution of the tally's bins, about a thousandth; NaN stays NaN and adds nothing to it.

        Parameters
        ----------
        probs : array_like of float, shape S, or list of cases
            One whole case; or several, of which each is calibrated by its own map.
        groups : array_like of shape S or (S[0],), optional
            The case of each voxel, or of each entry of the first axis, where one array holds several.

        Returns
        -------
        ndarray of shape S, or list of ndarray

        Raises
        ------
        NotFittedError
            Before ``fit``.
        ValueError
            For values outside [0, 1], or groups of another shape.

        Warns
        -----
        UserWarning
            If the array has more than three axes, and no ``groups``: it is calibrated as one case.
        """
        check_is_fitted(self, "map_")
        several = case_items(probs)
        if several is not None:
            if groups is not None:
                msg = "groups names the cases that one array holds; a list has its cases apart."
                raise ValueError(msg)
            return super().transform(several)
        array = as_array(probs)
        if groups is None:
            if sum(length > 1 for length in array.shape) > 3:
                warn_caller(
                    f"probs of shape {array.shape} are calibrated as one case. If an axis counts cases, pass a list of cases, "
                    "or groups= (the case of each entry of the first axis).",
                    UserWarning,
                )
            return super().transform(probs)
        labels = by_voxel(check_groups(groups), array.shape)
        out = np.empty_like(array)
        for name in np.unique(labels):
            out[labels == name] = super().transform(array[labels == name])
        return out

    def _calibrated(self, probs: NDArray[Any]) -> NDArray[Any]:
        return self.map_for(probs)(probs)

    @property
    def coefficients_(self) -> dict[str, float]:
        """The share of the segmenter's volume."""
        return {"volume_share": self.volume_share_}

    def learned(self) -> dict[str, Any]:
        """The maps and their volumes, as JSON values."""
        return {
            "sizes": list(self.sizes_),
            "maps": [fitted.to_dict() for fitted in self.maps_],
            "volume_share": self.volume_share_,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take back the maps and their volumes; ValueError if they do not fit together."""
        maps = tuple(map_from_dict(values) for values in state["maps"])
        self.sizes_ = tuple(float(size) for size in state["sizes"])
        self.volume_share_ = float(state["volume_share"])
        ascending = bool(np.all(np.diff(self.sizes_) > 0)) and len(maps) == len(self.sizes_) > 0
        if not (ascending and 0 <= self.volume_share_ <= 1 and all(isinstance(m, PiecewiseLinearMap) for m in maps)):
            msg = "sizes, maps and volume_share do not fit together"
            raise ValueError(msg)
        self.maps_ = maps  # type: ignore[assignment]


def _check_n_sizes(n_sizes: object) -> int:
    if isinstance(n_sizes, bool) or not isinstance(n_sizes, int | np.integer) or n_sizes < 1:
        msg = f"n_sizes must be a whole number of at least 1; got {n_sizes!r}."
        raise ValueError(msg)
    return int(n_sizes)


def _log_size(size: FloatArray) -> FloatArray:
    """Below one voxel all sizes are alike."""
    logarithm: FloatArray = np.log(np.maximum(size, 1.0))
    return logarithm


def _near(log_size: FloatArray, knots: FloatArray) -> FloatArray:
    """How much each case takes of each knot's map, linear between two knots; shape (n_cases, n_knots), rows sum to 1."""
    near: FloatArray = np.stack([np.interp(log_size, knots, row) for row in np.eye(knots.size)], axis=1)
    return near


def _power_to_sum(values: FloatArray, count: FloatArray, target: float) -> float:
    """The power to which ``values`` must be raised to sum to ``target``, within [1/64, 64]."""
    with np.errstate(divide="ignore"):
        log_values = np.log(values)
    low, high = -np.log(LARGEST_POWER), np.log(LARGEST_POWER)
    for _ in range(48):
        middle = (low + high) / 2
        if float(count @ np.exp(np.exp(middle) * log_values)) > target:
            low = middle
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def _histogram(parts: Iterable[ArrayLike]) -> tuple[FloatArray, FloatArray]:
    """Mean probability and number of voxels in each occupied bin of the standard grid; NaN and masked voxels are left out.

    The sums are those of a tally, so they depend neither on the order of the voxels nor on how they are cut into parts.
    """
    grid = ProbabilityGrid.standard()
    total = CountTable(grid, 1)
    for part in parts:
        known = np.ma.filled(part, np.nan) if np.ma.isMaskedArray(part) else part
        flat = np.ravel(check_probs(known), order="K")

        def count(start: int, stop: int, flat: NDArray[Any] = flat) -> CountTable:
            table = CountTable(grid, 1)
            for first in range(start, stop, CHUNK):
                table.add(np.asarray(flat[first : min(first + CHUNK, stop)], dtype=np.float32), [])
            return table

        for table in over_runs(count, flat.size):
            total.merge(table)
    cells = total.cells(0, 0)
    sums = grid.sum_of_probabilities(cells.bin, cells.voxels, cells.offset_sum)
    return np.clip(sums / cells.voxels, 0.0, 1.0), cells.voxels.astype(np.float64)
