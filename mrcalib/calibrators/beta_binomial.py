"""Votes of raters who are more alike than coins: a beta-binomial distribution around a calibration map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._base import Calibrator
from mrcalib.calibrators._data import CalibrationData, Needs
from mrcalib.calibrators._registry import register_calibrator
from mrcalib.calibrators.counts import CountCalibrator, FloatArray, counts_by_bin, refuse_rater_weight
from mrcalib.calibrators.isotonic import MHRIsotonicCalibrator
from mrcalib.calibrators.logistic import BetaCalibrator, PlattCalibrator, TemperatureScalingCalibrator
from mrcalib.inputs import check_choice
from mrcalib.maps import CalibrationMap, PiecewiseLinearMap
from mrcalib.tallies import VoteCounts

__all__ = ["BetaBinomialCalibrator"]

Mean = Literal["isotonic", "beta", "platt", "temperature", "none"]
Dispersion = Literal["constant", "varying", "binomial"]
MEANS: dict[str, type[Calibrator]] = {
    "isotonic": MHRIsotonicCalibrator,
    "beta": BetaCalibrator,
    "platt": PlattCalibrator,
    "temperature": TemperatureScalingCalibrator,
}
CERTAIN = 1e-12
LARGEST_LOGIT = 13.8  # rho from 1e-6 to 1 - 1e-6
KNOTS = (0.001, 0.01, 0.1, 0.5, 0.9)


@register_calibrator("beta-binomial")
class BetaBinomialCalibrator(CountCalibrator):
    """A distribution over the number of raters who mark a voxel: beta-binomial, with the mean of a calibration map.

    Raters who looked at the same image agree more than independent ones of the same probability would. Given a voxel's
    mean m, its own probability of being marked is taken as beta distributed around m, so that any two raters' answers
    correlate by ``rho`` and the count's variance is ``K m (1 - m) (1 + (K - 1) rho)`` [1]_. The mean map is fitted first,
    then rho by maximum likelihood to the tally's counts of voxels by (bin, answers, votes).

    Parameters
    ----------
    mean : {"isotonic", "beta", "platt", "temperature", "none"}, default="isotonic"
        The map of the mean: ``MHRIsotonicCalibrator()`` or another, or none where probabilities are calibrated already.
    dispersion : {"varying", "constant", "binomial"}, default="varying"
        Rho as a function of m, whose logit is linear in the logit of m between m = 0.001, 0.01, 0.1, 0.5 and 0.9; one rho
        for all voxels; or rho = 0, which is what independent raters would give, as a yardstick.
    keep_zero : bool, default=False
        Exact zeros are voxels that were not looked at: they stay 0, with 0 votes, and do not enter the fit.
    case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"
        As for ``MHRIsotonicCalibrator``.

    Attributes
    ----------
    map_ : CalibrationMap
        The mean: what ``transform`` gives, and the expected read-out of ``predict_counts``.
    rho_ : tuple of float
        The correlation at the knots ("varying") or everywhere (one number).
    n_counted_ : int
        The largest number of raters who answered at one voxel of the fit. ``predict_counts(n_raters=)`` takes any.
    log_likelihood_ : float
        Mean log-probability of the number of votes at the voxels of the fit.

    Notes
    -----
    Missing raters need no care: a voxel with n answers has a beta-binomial count out of n with the same m and rho, if who
    answers does not depend on what they would have marked. The mean, as in ``MHRIsotonicCalibrator``, counts (voxel,
    rater) pairs. Voxels are dependent, so the likelihood says nothing of how certain rho is.

    A majority read-out of the counts is ``mrcalib.metrics.count_readout(fitted.predict_counts(probs), "majority")``.
    Raters must weigh alike: ``rater_weight`` is refused unless constant, and so are averaged (soft) targets.

    References
    ----------
    .. [1] Skellam, "A probability distribution derived from the binomial distribution by regarding the probability of
       success as variable between the sets of trials", 1948, doi:10.1111/j.2517-6161.1948.tb00014.x.

    Examples
    --------
    >>> from mrcalib.calibrators import BetaBinomialCalibrator
    >>> rng = np.random.default_rng(0)
    >>> probs = rng.random(20_000)
    >>> own = rng.beta(probs * 3, (1 - probs) * 3)                  # rho = 1 / (1 + 3)
    >>> fitted = BetaBinomialCalibrator("none", "constant").fit(probs, rng.random((5, 20_000)) < own)
    >>> round(fitted.rho_[0], 2)
    0.25
    >>> fitted.predict_counts(np.array([0.5])).round(2)                # independent raters: 0.03, 0.16, 0.31, ...
    array([[0.13, 0.18, 0.2 , 0.2 , 0.18, 0.13]])
    """

    map_: CalibrationMap

    def __init__(
        self,
        mean: Mean = "isotonic",
        dispersion: Dispersion = "varying",
        *,
        keep_zero: bool = False,
        case_weight: str | ArrayLike = "voxels",
    ) -> None:
        self.mean = mean
        self.dispersion = dispersion
        self.keep_zero = keep_zero
        self.case_weight = case_weight

    @property
    def needs(self) -> Needs:
        """How many voxels had how many votes, and what the map of the mean needs."""
        return replace(super().needs, marked=self.mean in ("beta", "platt", "temperature"))

    def fit_map(self, data: CalibrationData, rater_weight: FloatArray | None) -> CalibrationMap:
        """The map of the mean; the correlation is fitted to it. Parameters as for ``Calibrator.fit_map``."""
        check_choice("mean", self.mean, (*MEANS, "none"))
        check_choice("dispersion", self.dispersion, ("varying", "constant", "binomial"))
        refuse_rater_weight(rater_weight, self.raters_)
        fitted = self._fit_mean(data)
        prob, counts = counts_by_bin(data)
        self.n_counted_ = int(counts.answers.max())
        self.rho_, self.log_likelihood_ = fit_dispersion(fitted(prob), counts, self.dispersion)
        return fitted

    def _fit_mean(self, data: CalibrationData) -> CalibrationMap:
        if self.mean == "none":
            ends = np.array([0.0, 1.0])
            return PiecewiseLinearMap(ends, ends, keep_zero=self.keep_zero)
        inner: Any = MEANS[self.mean](keep_zero=self.keep_zero)
        fitted: CalibrationMap = inner.fit_data(data, self.raters_, provenance=False).map_
        return fitted

    def rho(self, mean: ArrayLike) -> FloatArray:
        """The correlation between two raters' answers at voxels of this calibrated probability.

        Parameters
        ----------
        mean : array_like of float
            In [0, 1]: what ``transform`` gives.

        Returns
        -------
        ndarray of float64, the shape of ``mean``
        """
        return _rho_at(np.asarray(mean, dtype=np.float64), self.rho_)

    def _count_probs(self, probs: Any, n_raters: int) -> NDArray[Any]:
        mean = self.map_(probs)
        flat = np.asarray(mean, dtype=np.float64).ravel()
        rho = self.rho(flat)
        dist = np.stack([np.exp(log_pmf(k, n_raters, flat, rho)) for k in range(n_raters + 1)], axis=-1)
        return dist.reshape(*mean.shape, n_raters + 1).astype(mean.dtype, copy=False)

    @property
    def coefficients_(self) -> dict[str, float]:
        """The mean log-likelihood of the fit."""
        return {"log_likelihood": self.log_likelihood_}

    def learned(self) -> dict[str, Any]:
        """The correlation and what it was fitted to, as JSON values."""
        return {"rho": list(self.rho_), "n_counted": self.n_counted_, "log_likelihood": self.log_likelihood_}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back the correlation; ValueError if it is damaged."""
        rho = tuple(float(value) for value in state["rho"])
        if len(rho) not in (1, len(KNOTS)) or not all(0 <= value < 1 for value in rho):
            msg = f"rho must be 1 or {len(KNOTS)} numbers in [0, 1)"
            raise ValueError(msg)
        self.rho_, self.n_counted_ = rho, int(state["n_counted"])
        self.log_likelihood_ = float(state["log_likelihood"])


def _logit(p: FloatArray) -> FloatArray:
    inside = np.clip(p, CERTAIN, 1 - CERTAIN)
    logit: FloatArray = np.log(inside) - np.log1p(-inside)
    return logit


def _rho_at(mean: FloatArray, rho: tuple[float, ...]) -> FloatArray:
    if len(rho) == 1:
        return np.full(mean.shape, rho[0])
    z = np.interp(_logit(mean), _logit(np.array(KNOTS)), _logit(np.array(rho)))
    return _expit(z)


def _expit(z: FloatArray) -> FloatArray:
    value: FloatArray = 1 / (1 + np.exp(-z))
    return value


def log_pmf(
    votes: int | NDArray[np.int64], answers: int | NDArray[np.int64], mean: FloatArray, rho: FloatArray
) -> FloatArray:
    """Log-probability of votes among answers, exact at rho = 0; as products, which no gamma function can overflow."""
    from scipy.special import gammaln

    v, n = (np.broadcast_to(np.asarray(x), mean.shape) for x in (votes, answers))
    m = np.clip(mean, CERTAIN, 1 - CERTAIN)
    total: FloatArray = gammaln(n + 1) - gammaln(v + 1) - gammaln(n - v + 1)
    for i in range(int(n.max(initial=0))):
        total = total - np.where(i < n, np.log1p((i - 1) * rho), 0.0)
        total += np.where(i < v, np.log(m * (1 - rho) + i * rho), 0.0)
        total += np.where(i < n - v, np.log((1 - m) * (1 - rho) + i * rho), 0.0)
    certain = (mean <= 0) & (v == 0) | (mean >= 1) & (v == n)
    impossible = (mean <= 0) & (v > 0) | (mean >= 1) & (v < n)
    return np.where(certain, 0.0, np.where(impossible, -np.inf, total))


def fit_dispersion(mean: FloatArray, counts: VoteCounts, dispersion: str) -> tuple[tuple[float, ...], float]:
    """Rho by maximum likelihood and the mean log-likelihood; ``counts.bins`` are positions in ``mean``."""
    from scipy.optimize import minimize, minimize_scalar

    m = np.clip(mean[counts.bins], CERTAIN, 1 - CERTAIN)
    share = counts.weight / counts.weight.sum()

    def loss(rho: tuple[float, ...]) -> float:
        return -float(share @ log_pmf(counts.votes, counts.answers, m, _rho_at(m, rho)))

    none = (0.0,)
    if dispersion == "binomial" or counts.answers.max() < 2:  # one rater's answers do not tell
        return none, -loss(none)
    span = (-LARGEST_LOGIT, LARGEST_LOGIT)
    found = minimize_scalar(
        lambda z: loss((float(_expit(np.array(z))),)), bounds=span, method="bounded", options={"xatol": 1e-6}
    )
    constant = (float(_expit(np.array(found.x))),)
    best = min((none, constant), key=loss)
    if dispersion == "constant":
        return best, -loss(best)
    scale = max(loss(best), 1e-12)
    start = np.full(len(KNOTS), float(np.clip(found.x, *span)))
    several = minimize(lambda z: loss(tuple(_expit(z))) / scale, start, method="L-BFGS-B", bounds=[span] * len(KNOTS))
    varying = tuple(float(value) for value in _expit(several.x))
    if loss(varying) > loss(best):
        varying = best * len(KNOTS)
    return varying, -loss(varying)
