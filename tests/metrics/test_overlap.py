"""Thresholded, soft and majority Dice."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mrcalib.metrics import majority_dice, soft_dice, threshold_dice
from mrcalib.metrics.overlap import THRESHOLDS

LEVELS = {
    "curvas": np.linspace(0.1, 0.8, 6),
    "qubiq": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9],
    "mrnet": [0.1, 0.3, 0.5, 0.7, 0.9],
}


@pytest.mark.parametrize("preset", LEVELS)
def test_threshold_dice_is_the_mean_f1_score_of_the_masks_above(partial, preset):
    mean = np.nanmean(partial.answers, axis=0)
    scores = [f1_score(mean > t, partial.probs > t) for t in LEVELS[preset]]
    assert threshold_dice(partial.probs, partial.answers, thresholds=preset) == pytest.approx(np.mean(scores))
    assert threshold_dice(partial.probs, partial.answers, thresholds=LEVELS[preset]) == pytest.approx(np.mean(scores))


def test_five_raters_need_these_votes_at_the_curvas_thresholds():
    masks = np.array([[votes > r for votes in range(6)] for r in range(5)], dtype=np.uint8)
    needed = []
    for t in THRESHOLDS["curvas"]:
        scores = [threshold_dice(np.float64(np.arange(6) >= k), masks, thresholds=[t]) for k in range(1, 6)]
        needed.append(1 + scores.index(1.0))
    assert needed == [1, 2, 2, 3, 4, 5]


def test_probabilities_are_compared_at_their_own_value():
    mask = [[1, 0], [1, 0]]
    assert threshold_dice(np.float64([0.8, 0]), mask, thresholds=[0.8]) == 0.0
    assert threshold_dice(np.float32([0.8, 0]), mask, thresholds=[0.8]) == 1.0  # float32 0.8 is 0.800000012


def test_values_at_the_threshold_are_foreground_if_not_strict():
    probs, masks = [0.5, 0.2], [[1, 1], [0, 0]]
    assert threshold_dice(probs, masks, thresholds=[0.5]) == 1.0  # both empty
    assert threshold_dice(probs, masks, thresholds=[0.5], strict=False) == pytest.approx(2 / 3)


@pytest.mark.parametrize("dice", [threshold_dice, soft_dice, majority_dice])
def test_both_empty_is_what_the_caller_says_and_one_empty_is_zero(dice):
    nothing, something = np.zeros(4), np.array([0.0, 0.0, 1.0, 1.0])
    empty, full = np.zeros((3, 4), np.uint8), np.ones((3, 4), np.uint8)
    assert dice(nothing, empty) == 1.0
    assert dice(nothing, empty, both_empty=0.0) == 0.0
    assert np.isnan(dice(nothing, empty, both_empty=np.nan))
    assert dice(something, empty) == 0.0
    assert dice(nothing, full) == 0.0


def test_smooth_is_in_the_denominator_alone():
    responses_of = threshold_dice.with_options(thresholds=[0.5], smooth=1.0)
    assert float(responses_of.value(np.array([9.0, 2, 2, 2]))) == pytest.approx(4 / 5)
    assert float(responses_of.value(np.array([9.0, 0, 0, 0]))) == 1.0


def test_pooled_dice_is_the_dice_of_pooled_voxels(complete):
    half = complete.probs.size // 2
    metric = threshold_dice
    whole = threshold_dice(complete.probs, complete.answers)
    parts = [threshold_dice(complete.probs[k], complete.answers[:, k]) for k in (slice(0, half), slice(half, None))]
    assert metric.poolable
    assert whole != pytest.approx(np.mean(parts), abs=1e-6)


def test_soft_dice_uses_the_mean_of_those_who_answered(partial):
    mean = np.nanmean(partial.answers, axis=0)
    expected = 2 * (partial.probs * mean).sum() / (partial.probs.sum() + mean.sum())
    assert soft_dice(partial.probs, partial.answers) == pytest.approx(expected)


def test_majority_dice_is_the_f1_score_of_the_majority(partial):
    mean = np.nanmean(partial.answers, axis=0)
    expected = f1_score(mean > 0.5, partial.probs > 0.5)
    assert majority_dice(partial.probs, partial.answers) == pytest.approx(expected)
    tied = f1_score(mean >= 0.5, partial.probs > 0.3)
    assert majority_dice(partial.probs, partial.answers, tie="foreground", threshold=0.3) == pytest.approx(tied)


@pytest.mark.parametrize("dice", [threshold_dice, soft_dice, majority_dice])
def test_a_missing_rater_is_not_an_empty_one(complete, dice):
    masks = list(complete.answers.astype(np.uint8))
    assert dice(complete.probs, [*masks[:3], None]) == pytest.approx(dice(complete.probs, masks[:3]))
    assert dice(complete.probs, [*masks[:3], 0 * masks[3]]) < dice(complete.probs, masks[:3])


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="thresholds must be one of 'curvas', 'qubiq', 'mrnet'; got 'isic'"):
        threshold_dice([0.5], [1], thresholds="isic")
    with pytest.raises(ValueError, match=r"thresholds must be a preset .* or numbers in \[0, 1\]; got \[50\]"):
        threshold_dice([0.5], [1], thresholds=[50])
    with pytest.raises(ValueError, match=r"or numbers in \[0, 1\]; got \[\]"):
        threshold_dice([0.5], [1], thresholds=[])
    with pytest.raises(ValueError, match="tie must be one of 'background', 'foreground'; got 'up'"):
        majority_dice([0.5], [1], tie="up")


@pytest.mark.parametrize("dice", [threshold_dice, soft_dice, majority_dice])
def test_nothing_to_score_is_refused(dice):
    with pytest.raises(ValueError, match="There is no voxel to score"):
        dice([0.5, 0.5], [[0, 1], [1, 1]], roi=[0, 0])
