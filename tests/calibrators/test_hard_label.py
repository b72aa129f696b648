"""Each rater's own map, averaged; and when that is the map of the mean response."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib import HardLabelCalibrator, MHRIsotonicCalibrator, SingleRaterCalibrator

PROBS = np.array([0.125, 0.25, 0.5, 0.75])


def test_it_is_the_mean_of_the_raters_own_maps_by_hand():
    raters = [[0, 1, 0, 1], [0, 0, 0, 1], [1, 1, 1, 1]]
    fitted = HardLabelCalibrator().fit(PROBS, raters)
    assert fitted(PROBS) == pytest.approx([1 / 3, 0.5, 0.5, 1])
    assert [name for name, _ in fitted.rater_maps_] == ["0", "1", "2"]
    assert fitted.rater_maps_[0][1](PROBS).tolist() == [0, 0.5, 0.5, 1]


@pytest.mark.parametrize("binning", ["grid", "exact", "equal-votes"])
def test_it_is_the_mean_of_single_rater_calibrators_everywhere(simulated, binning):
    voxels = simulated(3000)
    fitted = HardLabelCalibrator(binning, 20).fit(voxels.probs, voxels.answers)
    alone = [SingleRaterCalibrator(r, binning, 20).fit(voxels.probs, voxels.answers) for r in range(4)]
    at = voxels.queries()
    assert np.abs(fitted(at) - np.mean([single(at) for single in alone], axis=0)).max() < 1e-12


def test_raters_weigh_as_they_are_told_to():
    raters = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]]
    assert HardLabelCalibrator().fit(PROBS, raters, rater_weight=[3, 1, 0])(PROBS).tolist() == [0.25] * 4


def test_a_missing_rater_does_not_pull_the_mean():
    fitted = HardLabelCalibrator().fit(PROBS, [[0, 0, 1, 1], None, [1, 1, 1, 1]])
    assert fitted(PROBS).tolist() == [0.5, 0.5, 1, 1]
    assert [name for name, _ in fitted.rater_maps_] == ["0", "2"]


def test_it_equals_the_mean_response_map_when_every_rater_is_monotone():
    """METHODS section 5: isotonic regression is a projection, and monotone rates stay as they are."""
    levels = np.array([0.1, 0.3, 0.5, 0.7, 0.9], np.float32)
    marked = np.array([[0, 20, 40, 80, 100], [10, 10, 30, 60, 90], [5, 50, 50, 50, 70]])  # of 100 voxels a level
    probs = np.repeat(levels, 100)
    raters = np.stack([np.concatenate([np.arange(100) < m for m in row]) for row in marked])
    hard, mean = HardLabelCalibrator().fit(probs, raters), MHRIsotonicCalibrator().fit(probs, raters)
    at = np.linspace(0, 1, 101)
    assert np.abs(hard(at) - mean(at)).max() < 1e-12
    assert mean(levels) == pytest.approx(marked.mean(axis=0) / 100)


def test_it_differs_from_the_mean_response_map_only_where_raters_pool_other_bins():
    raters = [[0, 1, 0, 1], [0, 0, 1, 1]]  # the mean response 0, 1/2, 1/2, 1 is monotone, rater 0 is not
    assert MHRIsotonicCalibrator().fit(PROBS, raters)(PROBS).tolist() == [0, 0.5, 0.5, 1]
    assert HardLabelCalibrator().fit(PROBS, raters)(PROBS).tolist() == [0, 0.25, 0.75, 1]


def test_it_is_close_to_the_mean_response_map_on_a_study(simulated):
    voxels = simulated(200_000, missing=0, dtype=np.float32)
    hard = HardLabelCalibrator().fit(voxels.probs, voxels.answers)
    mean = MHRIsotonicCalibrator().fit(voxels.probs, voxels.answers)
    gap = np.abs(hard(voxels.probs) - mean(voxels.probs))
    assert 0 < gap.mean() < 0.005


def test_no_answer_at_all_is_refused():
    with pytest.raises(ValueError, match="no rater of positive weight answered"):
        HardLabelCalibrator().fit(PROBS, [[0, 0, 1, 1], None], rater_weight=[0, 1])
