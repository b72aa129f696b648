"""Parametric maps: temperature, Platt and beta scaling, fitted by the cross-entropy to the raters' answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import CalibrationData, Needs
from mrcalib.calibrators._registry import register_calibrator
from mrcalib.grid import ProbabilityGrid
from mrcalib.maps import CLIP, BetaMap, CalibrationMap, LogitMap

__all__ = ["BetaCalibrator", "PlattCalibrator", "TemperatureScalingCalibrator", "fit_logistic"]

FloatArray = NDArray[np.float64]
_LARGEST = 1e4
_LAST_STEP = 1e-8  # the error after it is of the order of its square


def clipped(prob: FloatArray, clip: float) -> FloatArray:
    """Probabilities clipped to [clip, 1 - clip]; ValueError unless 0 < clip < 0.5."""
    if not 0 < clip < 0.5:
        msg = f"clip must lie between 0 and 0.5; got {clip!r}."
        raise ValueError(msg)
    return np.clip(prob, clip, 1 - clip)


def clipped_logit(prob: FloatArray, clip: float) -> FloatArray:
    """Logit of clipped probabilities."""
    from scipy.special import logit

    z: FloatArray = logit(clipped(prob, clip))
    return z


def fit_to_votes(
    data: CalibrationData,
    rater_weight: FloatArray | None,
    features: Callable[[FloatArray], FloatArray],
    *,
    n_nonnegative: int,
) -> FloatArray:
    """``fit_logistic`` to the pooled answers; ``features`` makes columns (n, k) of probabilities (n,).

    The bins' means are off by what a bin holds of the dependence of answers on p, and of the curvature of the features. Where
    the sums tell the marked from the unmarked voxels of a bin, a last few steps take both into account.
    """
    prob, weight, response = data.pooled.mean_response(rater_weight)
    first_only = data.pooled.marked_prob is None
    last_step = _LAST_STEP if first_only else 1e-4  # no nearer to the bins' own optimum than that is to the voxels'
    c = fit_logistic(features(prob), weight, response, n_nonnegative=n_nonnegative, last_step=last_step)
    if first_only or np.abs(c).max() >= _LARGEST / 100:
        return c
    prob, weight, response = _inside_bins(data, rater_weight)
    free = np.flatnonzero((c != 0) | (np.arange(c.size) >= n_nonnegative))
    rows = np.ascontiguousarray(features(prob).T[free])
    refined = np.zeros(c.size)
    refined[free] = _newton(rows, weight / weight.sum(), response, c[free], last_step=1e-5)
    return refined if (refined[:n_nonnegative] >= 0).all() else c


def _inside_bins(data: CalibrationData, rater_weight: FloatArray | None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Probability, weight and answer, 1 or 0, of the pairs that were marked in each bin, and of those that were not.

    Each is two points about the mean, as far from it as an even spread over the bin has its standard deviation.
    """
    pooled, lower = data.pooled, data.grid.lower.astype(np.float64)
    assert pooled.marked_prob is not None
    low, high = lower[pooled.bins], np.append(lower[1:], 1.0)[pooled.bins]
    marked = (pooled.votes, pooled.marked_prob)
    unmarked = (pooled.weight - pooled.votes, pooled.prob_sum - pooled.marked_prob)
    found = []
    for answer, (voxels, prob_sum) in ((1.0, marked), (0.0, unmarked)):
        weight = pooled.over_raters(voxels, rater_weight)
        here = weight > 0
        weight, a, b = weight[here] / 2, low[here], high[here]
        mean = np.clip(pooled.over_raters(prob_sum, rater_weight)[here] / (2 * weight), a, b)
        apart = np.minimum(np.minimum(mean - a, b - mean), (b - a) / np.sqrt(12))
        found += [
            (mean - apart, weight, np.full(mean.size, answer)),
            (mean + apart, weight, np.full(mean.size, answer)),
        ]
    prob, weight, response = (np.concatenate(column) for column in zip(*found, strict=True))
    return prob, weight, response


def fit_logistic(
    features: FloatArray,
    weight: FloatArray,
    response: FloatArray,
    *,
    n_nonnegative: int,
    last_step: float = _LAST_STEP,
) -> FloatArray:
    """Coefficients c that minimise the cross-entropy of ``expit(features @ c)`` to ``response``, weighted.

    The cross-entropy is convex; Newton's method with step halving finds its minimum. If some of the first ``n_nonnegative``
    coefficients come out negative, one of them is 0 at the constrained minimum, and the others are fitted without it.

    Parameters
    ----------
    features : ndarray of shape (n, k)
        One column a coefficient.
    weight : ndarray of shape (n,)
        Weight of each row.
    response : ndarray of shape (n,)
        Fraction in [0, 1].
    n_nonnegative : int
        Coefficients, the first ones, that must not be negative.
    last_step : float, default=1e-8
        A step as small, relative to the coefficients, is the last.

    Returns
    -------
    ndarray of shape (k,)
    """
    k = features.shape[1]
    rows, share = np.ascontiguousarray(features.T), weight / weight.sum()
    found = _newton(rows, share, response, last_step=last_step)
    negative = [j for j in range(n_nonnegative) if found[j] < 0]
    if not negative:
        return found
    # The cross-entropy falls on the way to the minimum, so one of these is 0 at the best place that is allowed.
    allowed: list[tuple[float, FloatArray]] = []
    for held in sorted(range(1, 1 << n_nonnegative), key=int.bit_count):
        if not any(held >> j & 1 for j in negative):
            continue
        free = [j for j in range(k) if j >= n_nonnegative or not held >> j & 1]
        coefficients = np.zeros(k)
        coefficients[free] = _newton(rows[free], share, response, last_step=last_step)
        if (coefficients[:n_nonnegative] >= 0).all():
            if len(negative) == 1:
                return coefficients
            allowed.append((_Entropy(rows, share, response, coefficients).loss, coefficients))
    return min(allowed, key=lambda one: one[0])[1]  # all held at 0 is always allowed


class _Entropy:
    """The mean cross-entropy at coefficients ``c``, and what its derivatives are made of."""

    def __init__(self, rows: FloatArray, share: FloatArray, response: FloatArray, c: FloatArray) -> None:
        z = np.einsum("k,kn->n", c, rows)  # BLAS would start threads
        small = np.exp(-np.abs(z))
        self.prob = np.where(z >= 0, 1.0, small) / (1 + small)
        self.loss = float(np.einsum("n,n->", share, np.maximum(z, 0) + np.log(1 + small) - response * z))


def _newton(
    rows: FloatArray,
    share: FloatArray,
    response: FloatArray,
    start: FloatArray | None = None,
    last_step: float = _LAST_STEP,
) -> FloatArray:
    """The coefficients of the least cross-entropy, from 0: steps from there fall short, those from 1 go too far."""
    c = np.zeros(len(rows)) if start is None else start
    if c.size == 0:
        return c
    at = _Entropy(rows, share, response, c)
    for _ in range(200):
        gradient = np.einsum("kn,n->k", rows, share * (at.prob - response))
        curvature = np.einsum("jn,kn->jk", rows * (share * at.prob * (1 - at.prob)), rows)
        curvature[np.diag_indices_from(curvature)] += 1e-14 * (1 + np.trace(curvature))
        step = np.linalg.solve(curvature, gradient)
        if np.max(np.abs(step)) <= last_step * (1 + np.max(np.abs(c))):
            return np.clip(c - step, -_LARGEST, _LARGEST)
        scale = 1.0
        while True:
            trial = np.clip(c - scale * step, -_LARGEST, _LARGEST)
            there = _Entropy(rows, share, response, trial)
            if there.loss <= at.loss or scale < 1e-10:
                break
            scale /= 2
        moved = np.max(np.abs(trial - c))
        improved = at.loss - there.loss
        if improved >= 0:
            c, at = trial, there
        if moved <= 1e-13 * (1 + np.max(np.abs(c))) or (improved <= 0 and np.max(np.abs(gradient)) < 1e-9):
            break
    return c


class LogisticCalibrator(Calibrator):
    """Base of the calibrators that fit a logistic curve; see ``TemperatureScalingCalibrator`` for the parameters."""

    def __init__(self, clip: float = CLIP, *, keep_zero: bool = False, case_weight: str | ArrayLike = "voxels") -> None:
        self.clip = clip
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    @property
    def needs(self) -> Needs:
        """The probabilities of marked voxels apart, which bring the fit nearer to the voxels."""
        return Needs(ProbabilityGrid.standard(), marked=True)


@register_calibrator("temperature", compared=True)
class TemperatureScalingCalibrator(LogisticCalibrator):
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

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The map that divides the logit by the fitted temperature; parameters as for ``Calibrator.fit_map``."""
        (slope,) = fit_to_votes(
            data, rater_weight, lambda p: clipped_logit(p, self.clip)[:, np.newaxis], n_nonnegative=1
        )
        return LogitMap(float(slope), clip=self.clip, keep_zero=self.keep_zero)

    @property
    def coefficients_(self) -> dict[str, float]:
        """The temperature."""
        return {"temperature": self.temperature_}

    @property
    def temperature_(self) -> float:
        """The fitted temperature."""
        return 1 / self.map_.slope if self.map_.slope > 0 else np.inf


@register_calibrator("Platt", compared=True)
class PlattCalibrator(LogisticCalibrator):
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

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The fitted affine map of the logit; parameters as for ``Calibrator.fit_map``."""

        def features(prob: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.column_stack([clipped_logit(prob, self.clip), np.ones(prob.size)])

        slope, offset = fit_to_votes(data, rater_weight, features, n_nonnegative=1)
        return LogitMap(float(slope), float(offset), self.clip, keep_zero=self.keep_zero)

    @property
    def coefficients_(self) -> dict[str, float]:
        """Slope and offset."""
        return {"slope": self.slope_, "offset": self.offset_}

    @property
    def slope_(self) -> float:
        """The fitted slope."""
        return self.map_.slope

    @property
    def offset_(self) -> float:
        """The fitted offset."""
        return self.map_.offset


@register_calibrator("beta", compared=True)
class BetaCalibrator(LogisticCalibrator):
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

    def fit_map(self, data: CalibrationData, rater_weight: NDArray[np.float64] | None) -> CalibrationMap:
        """The fitted beta map; parameters as for ``Calibrator.fit_map``."""

        def features(prob: NDArray[np.float64]) -> NDArray[np.float64]:
            p = clipped(prob, self.clip)
            return np.column_stack([np.log(p), -np.log1p(-p), np.ones(p.size)])

        a, b, c = fit_to_votes(data, rater_weight, features, n_nonnegative=2)
        return BetaMap(float(a), float(b), float(c), self.clip, keep_zero=self.keep_zero)

    @property
    def coefficients_(self) -> dict[str, float]:
        """The coefficients a, b and c."""
        return {"a": self.a_, "b": self.b_, "c": self.c_}

    @property
    def a_(self) -> float:
        """The fitted coefficient of log p."""
        return self.map_.a

    @property
    def b_(self) -> float:
        """The fitted coefficient of -log(1 - p)."""
        return self.map_.b

    @property
    def c_(self) -> float:
        """The fitted constant."""
        return self.map_.c
