"""One rater's isotonic regression."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib import Case, MHRIsotonicCalibrator, SingleRaterCalibrator, tally

PROBS = np.array([0.125, 0.25, 0.5, 0.75])


def test_only_the_chosen_rater_counts():
    raters = [[0, 0, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]]
    assert SingleRaterCalibrator(rater=1).fit(PROBS, raters)(PROBS).tolist() == [0, 0.5, 0.5, 1]
    assert SingleRaterCalibrator().fit(PROBS, raters)(PROBS).tolist() == [0, 0, 0, 0]


def test_voxels_that_this_rater_did_not_answer_are_left_out():
    raters = [[1, 1, 1, 1], [0, np.nan, np.nan, 1]]
    fitted = SingleRaterCalibrator(rater=1).fit(PROBS, raters)
    assert fitted.map_.x.tolist() == [0.125, 0.75]
    assert fitted.map_.y.tolist() == [0, 1]


@pytest.mark.parametrize("kind", ["smooth", "saturated", "buckets"])
@pytest.mark.parametrize("rater", [0, 2])
def test_exact_equals_scikit_learn_on_that_rater(simulated, oracle, rater, kind):
    voxels = simulated(5000, kind=kind, dtype=np.float32)
    known = voxels.present[rater]
    expected = oracle(voxels.probs[known], voxels.answers[rater, known], np.ones(known.sum()))
    fitted = SingleRaterCalibrator(rater, binning="exact").fit(voxels.probs, voxels.answers)
    at = voxels.queries()
    assert np.abs(fitted(at) - expected(at)).max() < 1e-9


@pytest.mark.parametrize("binning", ["grid", "exact", "equal-votes"])
def test_it_is_the_mean_response_of_a_panel_of_one(simulated, binning):
    voxels = simulated(3000)
    alone = MHRIsotonicCalibrator(binning, 20).fit(voxels.probs, voxels.answers[3:4], rater_axis=0)
    fitted = SingleRaterCalibrator(3, binning, 20).fit(voxels.probs, voxels.answers)
    assert fitted.map_.x == pytest.approx(alone.map_.x, rel=1e-14)
    assert fitted.map_.y == pytest.approx(alone.map_.y, rel=1e-14)


def test_a_rater_is_found_by_name_in_whatever_order_cases_name_them():
    one = Case("1", PROBS[:2], {"ann": np.array([0, 0]), "bo": np.array([1, 1])})
    two = Case("2", PROBS[2:], {"bo": np.array([1, 1]), "ann": np.array([1, 0])})
    fitted = SingleRaterCalibrator("ann").fit_cases([one, two])
    assert fitted(PROBS).tolist() == [0, 0, 0.5, 0.5]
    assert SingleRaterCalibrator("bo").fit_cases([one, two])(PROBS).tolist() == [1, 1, 1, 1]


def test_volume_of_that_rater_is_preserved_on_the_fitting_set(simulated):
    voxels = simulated(20_000, dtype=np.float32)
    pooled = tally(voxels.probs, voxels.answers).pooled()
    prob, weight, _ = pooled.mean_response(np.array([0.0, 1, 0, 0]))
    fitted = SingleRaterCalibrator(1).fit(voxels.probs, voxels.answers)
    assert weight @ fitted(prob) == pytest.approx(np.nansum(voxels.answers[1]), rel=1e-12)


@pytest.mark.parametrize("rater", [2, -1, "ann"])
def test_an_unknown_rater_is_refused_with_those_there_are(rater):
    with pytest.raises(ValueError, match=r"rater must be a position from 0 to 1 or one of '0', '1'; got"):
        SingleRaterCalibrator(rater).fit(PROBS, [[0, 0, 1, 1], [0, 1, 1, 1]])


def test_weights_of_raters_are_refused():
    with pytest.raises(ValueError, match="has no rater_weight"):
        SingleRaterCalibrator().fit(PROBS, [[0, 0, 1, 1], [0, 1, 1, 1]], rater_weight=[1, 2])


def test_a_rater_who_never_answered_is_refused():
    with pytest.raises(ValueError, match="no rater of positive weight answered at any voxel"):
        SingleRaterCalibrator(1).fit(PROBS, [[0, 0, 1, 1], None])
