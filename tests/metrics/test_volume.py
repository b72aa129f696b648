"""Volumes: closed forms against quadrature and scoringrules, and which raters count."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from scipy.integrate import quad
from scipy.stats import norm

from mrcalib.inputs import voxel_responses
from mrcalib.metrics import (
    gaussian_crps,
    volume_bias,
    volume_crps,
    volume_error,
)


@pytest.fixture
def volumes(complete):
    return complete.probs.sum(), complete.answers.sum(axis=1)


@pytest.mark.parametrize("ddof", [0, 1])
def test_gaussian_crps_equals_scoringrules(complete, volumes, ddof):
    predicted, of_raters = volumes
    expected = scoringrules.crps_normal(predicted, of_raters.mean(), of_raters.std(ddof=ddof))
    got = volume_crps(complete.probs, complete.answers, ddof=ddof)
    assert got == pytest.approx(expected, rel=1e-10)
    in_ml = volume_crps(complete.probs, complete.answers, ddof=ddof, voxel_volume=0.004)
    assert in_ml == pytest.approx(0.004 * expected, rel=1e-10)


def test_empirical_crps_equals_scoringrules_qd(complete, volumes):
    expected = scoringrules.crps_ensemble(volumes[0], volumes[1], estimator="qd")
    assert volume_crps(complete.probs, complete.answers, reference="empirical") == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("z", [-4.0, -0.3, 0.0, 1.0, 8.0])
def test_the_closed_form_is_the_integral(z):
    mean, std = 1000.0, 50.0
    value = mean + z * std
    below = quad(lambda x: norm.cdf(x, mean, std) ** 2, mean - 12 * std, value)[0]
    above = quad(lambda x: norm.sf(x, mean, std) ** 2, value, mean + 12 * std)[0]
    assert gaussian_crps(value, mean, std) == pytest.approx(below + above, rel=1e-6)


def test_a_known_value_and_its_array():
    crps = gaussian_crps([1200.0, 1000.0, 7.0], 1000.0, [50.0, 0.0, np.nan])
    assert crps[0] == pytest.approx(171.791, abs=1e-3)
    assert crps[1] == 0.0
    assert np.isnan(crps[2])


def test_raters_who_agree_make_it_the_distance():
    masks = np.ones((4, 10), np.uint8)
    assert volume_crps(np.full(10, 0.5), masks) == 5.0
    assert volume_crps(np.full(10, 0.5), masks, reference="empirical") == 5.0
    assert volume_crps(np.full(10, 0.5), masks[0]) == 5.0
    assert np.isnan(volume_crps(np.full(10, 0.5), masks[0], ddof=1))


def test_bias_and_error(complete, volumes):
    predicted, mean = volumes[0], volumes[1].mean()
    assert volume_bias(complete.probs, complete.answers, voxel_volume=2.0) == pytest.approx(2 * (predicted - mean))
    assert volume_error(complete.probs, complete.answers) == pytest.approx(abs(predicted - mean) / mean)
    assert np.isnan(volume_error(complete.probs, np.zeros((2, complete.probs.size), np.uint8)))


@pytest.mark.parametrize("score", [volume_crps, volume_bias, volume_error])
def test_a_missing_rater_is_left_out_and_an_empty_one_is_not(complete, score):
    masks = list(complete.answers.astype(np.uint8))
    assert score(complete.probs, [masks[0], None, *masks[1:]]) == pytest.approx(score(complete.probs, masks))
    assert score(complete.probs, [*masks, 0 * masks[0]]) != pytest.approx(score(complete.probs, masks))


@pytest.mark.parametrize("score", [volume_crps, volume_bias, volume_error])
def test_a_rater_of_part_of_the_voxels_is_refused(score):
    masks = np.array([[1, 1, 0, 0], [1, 0, np.nan, np.nan]])
    with pytest.raises(ValueError, match="Rater 1 answered at 2 of 4 voxels, so that rater's volume is not known"):
        score([0.5, 0.5, 0.5, 0.5], masks)
    assert np.isfinite(score([0.5, 0.5, 0.5, 0.5], masks, roi=[1, 1, 0, 0]))


def test_the_metric_leaves_a_rater_of_part_of_the_voxels_out():
    both = voxel_responses(np.full(4, 0.5), np.array([[1, 1, 0, 0], [1, 0, np.nan, np.nan]]))
    first = voxel_responses(np.full(4, 0.5), np.array([1, 1, 0, 1]))
    for metric in (volume_crps, volume_bias, volume_error):
        assert metric(both) == 0.0
        assert metric(first) > 0 or metric.better == "zero"
    split = voxel_responses(np.full(3, 0.5), np.array([[1, np.nan, 0], [np.nan, 1, 0]]))
    assert np.isnan(volume_crps(split))


def test_metrics_know_the_voxel_volume(complete):
    in_ml = voxel_responses(complete.probs, complete.answers, voxel_volume=0.002)
    for metric, factor in ((volume_crps, 0.002), (volume_bias, 0.002), (volume_error, 1)):
        assert metric(in_ml) == pytest.approx(factor * metric(voxel_responses(complete.probs, complete.answers)))


def test_what_makes_no_sense_is_refused(complete):
    with pytest.raises(ValueError, match="needs each rater's answers"):
        volume_crps(complete.probs, complete.answers.mean(axis=0))
    with pytest.raises(ValueError, match="reference must be one of 'gaussian', 'empirical'; got 'kde'"):
        volume_crps(complete.probs, complete.answers, reference="kde")
    with pytest.raises(ValueError, match="voxel_volume must be a positive, finite number; got 0"):
        volume_bias(complete.probs, complete.answers, voxel_volume=0)
    with pytest.raises(ValueError, match="There is no voxel to score"):
        volume_error(complete.probs, complete.answers, roi=np.zeros(complete.probs.size, bool))
