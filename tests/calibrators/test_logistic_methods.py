"""Temperature, Platt and beta scaling against direct minimisation of the cross-entropy over voxels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from mrcalib import BetaCalibrator, PlattCalibrator, TemperatureScalingCalibrator
from mrcalib.cohort import Cohort
from mrcalib.tallies import tally

CLIP = 2.0**-24
METHODS = [TemperatureScalingCalibrator, PlattCalibrator, BetaCalibrator]


@pytest.fixture(scope="module")
def on_the_grid(simulated):
    """Voxels whose probabilities take a few thousand values, so that a tally knows them to float32."""
    voxels = simulated(30_000, dtype=np.float32)
    return type(voxels)(np.round(voxels.probs * 512).astype(np.float32) / 512, voxels.answers)


def cross_entropy(z, response, weight):
    return float(weight @ (np.logaddexp(0, z) - response * z) / weight.sum())


def best_inverse_temperature(probs, response, weight, clip=CLIP):
    z = logit(np.clip(probs, clip, 1 - clip))
    return minimize_scalar(lambda slope: cross_entropy(slope * z, response, weight), bracket=(0.1, 3.0), tol=1e-12).x


# Temperature ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [CLIP, 1e-3])
def test_temperature_minimises_the_soft_cross_entropy_of_the_voxels(on_the_grid, clip):
    expected = best_inverse_temperature(*on_the_grid.rows(), clip)
    fitted = TemperatureScalingCalibrator(clip).fit(on_the_grid.probs, on_the_grid.answers)
    assert 1 / fitted.temperature_ == pytest.approx(expected, rel=1e-6)


def test_temperature_with_weights_and_soft_targets(on_the_grid):
    weight = np.random.default_rng(0).random(30_000)
    rater_weight = [1, 0, 2, 0.5]
    fitted = TemperatureScalingCalibrator().fit(
        on_the_grid.probs, on_the_grid.answers, rater_weight=rater_weight, sample_weight=weight
    )
    expected = best_inverse_temperature(*on_the_grid.rows(rater_weight, weight))
    assert 1 / fitted.temperature_ == pytest.approx(expected, rel=1e-6)
    probs, response, _ = on_the_grid.rows()
    expected = best_inverse_temperature(probs, response, np.ones(probs.size))
    assert 1 / TemperatureScalingCalibrator().fit(probs, response).temperature_ == pytest.approx(expected, rel=1e-6)


def test_on_continuous_probabilities_the_grid_costs_little(simulated):
    voxels = simulated(30_000, kind="smooth")
    fitted = TemperatureScalingCalibrator().fit(voxels.probs, voxels.answers)
    assert 1 / fitted.temperature_ == pytest.approx(best_inverse_temperature(*voxels.rows()), rel=1e-4)


def test_temperature_undoes_overconfidence():
    logits = np.linspace(-5, 5, 4001)
    fitted = TemperatureScalingCalibrator().fit(expit(3 * logits), expit(logits))
    assert fitted.temperature_ == pytest.approx(3, rel=1e-4)
    assert fitted(expit(np.array([3.0]))) == pytest.approx(expit([1.0]), rel=1e-4)


@pytest.mark.parametrize("probs", [np.full(10, 0.5), np.array([0.3, 0.7])])
def test_probabilities_that_say_nothing_have_an_infinite_temperature_and_give_one_half(probs):
    fitted = TemperatureScalingCalibrator().fit(probs, np.full(probs.size, 0.5))
    assert fitted.temperature_ > 1e6
    assert fitted(np.array([0.1, 0.9])) == pytest.approx([0.5, 0.5])


# Platt -----------------------------------------------------------------------------------------------------------------------


def test_platt_is_logistic_regression_without_penalty_on_logits(on_the_grid):
    probs, response, weight = on_the_grid.rows()
    z = logit(np.clip(probs, CLIP, 1 - CLIP))[:, np.newaxis]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000, solver="newton-cholesky").fit(
        np.concatenate([z, z]),
        np.repeat([1, 0], probs.size),
        sample_weight=np.concatenate([weight * response, weight * (1 - response)]),
    )
    fitted = PlattCalibrator().fit(on_the_grid.probs, on_the_grid.answers)
    assert fitted.slope_ == pytest.approx(model.coef_[0, 0], rel=1e-6)
    assert fitted.offset_ == pytest.approx(model.intercept_[0], rel=1e-6)


def test_platt_finds_slope_and_offset():
    logits = np.linspace(-4, 4, 2001)
    fitted = PlattCalibrator().fit(expit(logits), expit(0.4 * logits - 2))
    assert (fitted.slope_, fitted.offset_) == pytest.approx((0.4, -2), rel=1e-4)


# Beta ------------------------------------------------------------------------------------------------------------------------


def best_beta(probs, response, weight, clip=CLIP):
    p = np.clip(probs, clip, 1 - clip)
    features = np.column_stack([np.log(p), -np.log1p(-p), np.ones(p.size)])

    def loss_and_gradient(c):
        z = features @ c
        return cross_entropy(z, response, weight), features.T @ (weight * (expit(z) - response)) / weight.sum()

    bounds = [(0, None), (0, None), (None, None)]
    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000}
    found = minimize(loss_and_gradient, [1.0, 1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    return found.x, found.fun, lambda c: cross_entropy(features @ c, response, weight)


def test_beta_minimises_the_cross_entropy(on_the_grid):
    expected, least, loss = best_beta(*on_the_grid.rows())
    fitted = BetaCalibrator().fit(on_the_grid.probs, on_the_grid.answers)
    found = np.array([fitted.a_, fitted.b_, fitted.c_])
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert loss(found) <= least + 1e-12


def test_beta_contains_the_identity():
    p = np.linspace(0.001, 0.999, 4001)
    fitted = BetaCalibrator().fit(p, p)
    assert (fitted.a_, fitted.b_, fitted.c_) == pytest.approx((1, 1, 0), abs=1e-4)


def test_beta_holds_one_coefficient_at_zero_where_the_free_minimum_is_negative():
    p = np.linspace(0.01, 0.99, 2001)
    response = expit(1.5 * np.log(p) + 0.7 * np.log1p(-p) + 1)  # b = -0.7
    fitted = BetaCalibrator().fit(p, response)
    expected, least, loss = best_beta(p, response, np.ones(p.size))
    assert fitted.b_ == 0
    assert fitted.a_ == pytest.approx(expected[0], rel=1e-3)
    assert loss(np.array([fitted.a_, fitted.b_, fitted.c_])) <= least + 1e-6


# All three -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_answers_that_fall_with_probability_give_a_flat_map(method):
    p = np.linspace(0.01, 0.99, 500)
    fitted = method().fit(p, 1 - p)
    assert fitted(np.array([0.1, 0.5, 0.9])) == pytest.approx([0.5] * 3, abs=1e-6)
    slopes = {"slope_": 0, "a_": 0, "b_": 0, "temperature_": np.inf}
    assert {name: getattr(fitted, name) for name in slopes if hasattr(fitted, name)}.items() <= slopes.items()


@pytest.mark.parametrize("method", [PlattCalibrator, BetaCalibrator])
def test_a_flat_map_gives_the_mean_response(method):
    fitted = method().fit(np.array([0.1, 0.1, 0.9, 0.9]), np.array([1, 0.5, 0, 0]))
    assert fitted(np.array([0.1, 0.9])) == pytest.approx([0.375, 0.375])


@pytest.mark.parametrize("method", METHODS)
def test_separable_answers_give_a_steep_map_and_no_crash(method):
    probs = np.array([0.1, 0.2, 0.6, 0.7])
    fitted = method().fit(probs, np.array([0, 0, 1, 1]))
    assert fitted(probs) == pytest.approx([0, 0, 1, 1], abs=1e-6)
    assert np.isfinite(fitted(np.linspace(0, 1, 101))).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("answer", [0, 1])
def test_one_class_only_does_not_crash(method, answer):
    fitted = method().fit(np.array([0.1, 0.4, 0.8]), np.full(3, answer))
    values = fitted(np.linspace(0, 1, 11))
    assert ((values >= 0) & (values <= 1)).all()
    assert (np.diff(values) >= 0).all()


@pytest.mark.parametrize("method", [PlattCalibrator, BetaCalibrator])
@pytest.mark.parametrize("answer", [0, 1])
def test_one_class_only_gives_that_class(method, answer):
    fitted = method().fit(np.array([0.1, 0.4, 0.8]), np.full(3, answer))
    assert fitted(np.array([0.1, 0.4, 0.8])) == pytest.approx([answer] * 3, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_exact_zeros_and_ones_are_clipped_in_fit_and_map(method):
    probs = np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    fitted = method().fit(probs, np.array([0, 0, 1, 0, 1, 1]))
    if method is not TemperatureScalingCalibrator:
        assert fitted(np.array([0.0, 1.0])) == pytest.approx([1 / 3, 2 / 3], abs=1e-6)
    assert fitted(np.array([0.0])) == fitted(np.array([CLIP]))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("clip", [0, 0.5, -1, np.nan])
def test_a_wrong_clip_is_refused(method, clip):
    with pytest.raises(ValueError, match="clip"):
        method(clip).fit(np.array([0.2, 0.5, 0.9]), np.array([0, 1, 1]))


@pytest.mark.parametrize("shape", ["segmentation", "normal logits"])
def test_temperature_is_that_of_the_voxels_to_a_ten_millionth(rng, shape):
    n = 100_000
    z = rng.normal(-6, 4, n) if shape == "segmentation" else rng.normal(0, 3, n)
    probs = expit(z).astype(np.float32)
    if shape == "segmentation":
        probs[: n // 2] = 0
    masks = (rng.random((5, n)) < expit(0.6 * z + rng.normal(0, 1, n))).astype(np.uint8)
    voxels, response = logit(np.clip(probs.astype(float), CLIP, 1 - CLIP)), masks.mean(axis=0)
    slope = brentq(lambda s: float(((expit(s * voxels) - response) * voxels).sum()), 0.01, 10, xtol=1e-15, rtol=1e-14)
    fitted = TemperatureScalingCalibrator().fit(probs, masks)
    assert fitted.temperature_ == pytest.approx(1 / slope, rel=1e-7)
    cases = Cohort([tally(probs[a:b], masks[:, a:b]) for a, b in ((0, 60_000), (60_000, n))])
    assert TemperatureScalingCalibrator().fit_tally(cases).temperature_ == pytest.approx(1 / slope, rel=1e-7)


def test_a_coefficient_held_at_zero_stays_there_inside_the_bins(rng):
    probs = rng.random(20_000).astype(np.float32)
    masks = (rng.random((3, probs.size)) < 1 - probs).astype(np.uint8)  # falling: a monotone map can only be flat
    assert TemperatureScalingCalibrator().fit(probs, masks).map_.slope == 0
    beta = BetaCalibrator().fit(probs, masks).map_
    assert (beta.a, beta.b) == (0, 0)
    assert beta(np.array([0.5]))[0] == pytest.approx(masks.mean(), rel=1e-6)
