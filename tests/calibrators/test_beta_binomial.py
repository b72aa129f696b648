"""The beta-binomial distribution of votes around a calibration map."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import betabinom, binom

from mrcalib import BetaBinomialCalibrator, MHRIsotonicCalibrator, PlattCalibrator
from mrcalib.calibrators.beta_binomial import log_pmf
from mrcalib.metrics import count_log_loss, count_readout, vote_interval_coverage


def drawn(rho, n=20_000, n_raters=5, seed=0):
    """Probabilities that are the mean, and masks whose raters correlate by rho, a number or a function of the mean."""
    rng = np.random.default_rng(seed)
    mean = rng.choice(np.linspace(0.05, 0.95, 19), n).astype(np.float32).astype(np.float64)
    r = rho(mean) if callable(rho) else np.full(n, rho)
    own = rng.beta(mean * (1 - r) / r, (1 - mean) * (1 - r) / r)
    return mean, (rng.random((n_raters, n)) < own).astype(np.float64)


@pytest.mark.parametrize("rho", [1e-6, 0.05, 0.4, 0.95])
@pytest.mark.parametrize("n", [1, 4, 9])
def test_the_distribution_is_scipys(rho, n):
    mean = np.array([1e-6, 0.03, 0.5, 0.97])
    concentration = (1 - rho) / rho
    for k in range(n + 1):
        got = log_pmf(k, n, mean, np.full(4, rho))
        expected = betabinom.logpmf(k, n, mean * concentration, (1 - mean) * concentration)
        assert got == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_no_correlation_is_the_binomial_and_certain_means_are_certain():
    mean = np.array([0.0, 0.2, 0.7, 1.0])
    for k in range(5):
        for rho in (0.0, 0.3):
            got = np.exp(log_pmf(k, 4, mean, np.full(4, rho)))
            assert got[[0, 3]].tolist() == [float(k == 0), float(k == 4)]
        assert np.exp(log_pmf(k, 4, mean, np.zeros(4))) == pytest.approx(binom.pmf(k, 4, mean), rel=1e-9)


def test_rho_is_the_one_of_greatest_likelihood():
    probs, answers = drawn(0.3, n=3000)
    answers[1:][np.random.default_rng(1).random((4, 3000)) < 0.3] = np.nan
    known = ~np.isnan(answers)
    votes, n = np.nansum(answers, axis=0), known.sum(axis=0)

    def loss(rho):
        c = (1 - rho) / rho
        return -betabinom.logpmf(votes, n, probs * c, (1 - probs) * c).mean()

    best = minimize_scalar(loss, bounds=(0.01, 0.9), method="bounded", options={"xatol": 1e-9})
    fitted = BetaBinomialCalibrator("none", "constant").fit(probs, answers)
    assert fitted.rho_[0] == pytest.approx(best.x, abs=1e-4)
    assert fitted.log_likelihood_ == pytest.approx(-best.fun, abs=1e-8)
    assert fitted.rho_[0] == pytest.approx(0.3, abs=0.04)
    assert fitted.n_counted_ == 5


def test_independent_raters_have_almost_no_correlation():
    rng = np.random.default_rng(2)
    probs = rng.random(20_000)
    masks = rng.random((5, 20_000)) < probs
    assert BetaBinomialCalibrator(dispersion="constant").fit(probs, masks).rho_[0] < 0.01
    plain = BetaBinomialCalibrator("none", "binomial").fit(probs, masks)
    assert plain.rho_ == (0.0,)
    assert plain.predict_counts(np.array([0.25]))[0] == pytest.approx(binom.pmf(np.arange(6), 5, 0.25))


def test_raters_less_alike_than_independent_ones_get_zero():
    masks = np.array([[1, 0] * 50, [0, 1] * 50])  # always exactly one of the two
    fitted = BetaBinomialCalibrator("none", "constant").fit(np.full(100, 0.5), masks)
    assert fitted.rho_ == (0.0,)
    assert fitted.log_likelihood_ == pytest.approx(np.log(0.5))


def test_one_rater_tells_no_correlation(simulated):
    voxels = simulated(n_raters=1, missing=0.0)
    fitted = BetaBinomialCalibrator().fit(voxels.probs, voxels.answers)
    assert fitted.rho_ == (0.0,)
    assert fitted.predict_counts(np.array([0.5])).shape == (1, 2)


def test_correlation_that_varies_with_the_mean_is_found():
    probs, answers = drawn(lambda m: 0.05 + 0.5 * m, n=60_000)
    fitted = BetaBinomialCalibrator("none").fit(probs, answers)
    at = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
    assert fitted.rho(at) == pytest.approx(0.05 + 0.5 * at, abs=0.06)
    constant = BetaBinomialCalibrator("none", "constant").fit(probs, answers)
    assert fitted.log_likelihood_ > constant.log_likelihood_


def test_the_mean_is_that_of_the_chosen_map(simulated):
    voxels = simulated()
    at = voxels.queries()
    for mean, other in (("isotonic", MHRIsotonicCalibrator()), ("platt", PlattCalibrator())):
        fitted = BetaBinomialCalibrator(mean).fit(voxels.probs, voxels.answers)
        assert fitted.map_ == other.fit(voxels.probs, voxels.answers).map_
        assert count_readout(fitted.predict_counts(at)) == pytest.approx(fitted(at), abs=1e-9)
        assert fitted.predict_counts(at, n_raters=11).shape == (at.size, 12)


def test_correlated_votes_are_covered_as_claimed_where_binomial_ones_are_not():
    probs, answers = drawn(0.3)
    held = slice(10_000, None)
    scores, coverage = {}, {}
    for dispersion in ("constant", "binomial"):
        fitted = BetaBinomialCalibrator(dispersion=dispersion).fit(probs[:10_000], answers[:, :10_000])
        dist = fitted.predict_counts(probs[held])
        scores[dispersion] = count_log_loss(dist, answers[:, held])
        coverage[dispersion] = vote_interval_coverage(dist, answers[:, held])
    assert scores["constant"] < scores["binomial"] - 0.05
    assert coverage["constant"].observed == pytest.approx(coverage["constant"].claimed, abs=0.01)
    assert coverage["binomial"].observed < coverage["binomial"].claimed - 0.05


def test_options_that_make_no_sense_are_refused():
    for options, words in (
        ({"mean": "median"}, "mean must be one of"),
        ({"dispersion": "no"}, "dispersion must be one"),
    ):
        with pytest.raises(ValueError, match=words):
            BetaBinomialCalibrator(**options).fit(np.array([0.5]), np.array([1]))
