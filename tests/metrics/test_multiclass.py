"""Scores of several classes: against the scores of one class, and against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.metrics import (
    brier_score,
    expected_calibration_error,
    multiclass_report,
    threshold_dice,
    volume_bias,
)
from mrcalib.metrics.multiclass import ALL_CLASSES, BLOCK

ORGANS = {"pancreas": 1, "kidney": 2, "liver": 3}


def study(shape=(5, 6, 30), n_raters=3, seed=1):
    """Probabilities of classes that exceed 1 together in places, and label maps."""
    rng = np.random.default_rng(seed)
    probs = np.moveaxis(rng.dirichlet([2.0, 1.0, 1.0, 1.0], size=shape), -1, 0)[1:] ** 0.6
    return probs, rng.choice(4, p=[0.4, 0.2, 0.2, 0.2], size=(n_raters, *shape))


def report(probs, labels, classes=ORGANS, **options):
    table = multiclass_report(probs, labels, classes, background=False, **options)
    return table.set_index(["class", "metric"])


def renormalised(probs):
    total = probs.sum(axis=0)
    return probs / np.maximum(total, 1)


def with_rest(probs):
    return np.concatenate([np.maximum(1 - probs.sum(axis=0), 0)[np.newaxis], probs])


def test_each_class_scores_as_it_does_against_the_rest():
    probs, labels = study()
    told = report(probs, labels, voxel_volume=0.5)
    for form, values in (("kept", probs), ("renormalised", renormalised(probs))):
        for p, (name, label) in zip(values, ORGANS.items(), strict=True):
            masks = labels == label
            expected = {
                "mr_ece": expected_calibration_error(p, masks),
                "brier": brier_score(p, masks),
                "tdsc": threshold_dice(p, masks),
                "volume_bias": volume_bias(p, masks, voxel_volume=0.5),
            }
            assert told.loc[name, form][list(expected)].to_dict() == pytest.approx(expected, rel=1e-9)


def test_argmax_dice_is_the_mean_over_raters_and_classes():
    probs, labels = study()
    chosen = with_rest(probs).argmax(axis=0)
    by_class = [
        np.mean([2 * np.sum((chosen == k) & (one == k)) / (np.sum(chosen == k) + np.sum(one == k)) for one in labels])
        for k in (1, 2, 3)
    ]
    told = report(probs, labels)
    for form in ("kept", "renormalised"):
        assert told[form].xs("argmax_dice", level="metric").tolist() == pytest.approx([*by_class, np.mean(by_class)])


def test_brier_of_all_classes_is_the_squared_distance_to_one_hot_labels():
    probs, labels = study()
    told = report(probs, labels).loc[ALL_CLASSES].loc["brier"]
    hot = np.stack([labels == k for k in range(4)], axis=1)
    for form, values in (("kept", probs), ("renormalised", renormalised(probs))):
        assert told[form] == pytest.approx(np.mean(np.sum((with_rest(values) - hot) ** 2, axis=1)))
    shares = hot.mean(axis=0)
    distance = np.mean(np.sum((with_rest(probs) - shares) ** 2, axis=0))
    assert told["kept"] == pytest.approx(distance + np.mean(np.sum(shares * (1 - shares), axis=0)))


def test_top_label_error_by_hand():
    probs, labels = study()
    for form, values in (("kept", probs), ("renormalised", renormalised(probs))):
        whole = with_rest(values)
        confidence, chosen = whole.max(axis=0).ravel(), with_rest(probs).argmax(axis=0).ravel()
        bins = np.minimum((confidence.astype(np.float32) * np.float32(10)).astype(int), 9)
        errors = []
        for one in labels:
            right = chosen == one.ravel()
            errors.append(sum(abs((confidence - right)[bins == b].sum()) for b in range(10)) / right.size)
        told = report(probs, labels, n_bins=10).loc[(ALL_CLASSES, "top_label_ece"), form]
        assert told == pytest.approx(np.mean(errors), rel=1e-6)


def test_two_classes_score_as_one():
    rng = np.random.default_rng(3)
    p, masks = rng.random(4000), rng.integers(0, 2, (3, 4000))
    told = report(p[np.newaxis], masks, [1]).loc[ALL_CLASSES]
    assert told.loc["top_label_ece", "kept"] == pytest.approx(
        expected_calibration_error(p, masks, target="per-rater", kind="top-label"), rel=1e-12
    )
    assert told.loc["brier", "kept"] == pytest.approx(2 * brier_score(p, masks), rel=1e-12)
    assert told["kept"].equals(told["renormalised"])


def test_what_exceeds_one_is_counted():
    probs, labels = study()
    told = report(probs, labels).loc[(ALL_CLASSES, "sum_above_one")]
    assert told["kept"] == np.mean(probs.sum(axis=0) > 1)
    assert 0 < told["kept"] < 1
    assert told["renormalised"] == 0


@given(st.permutations([0, 1, 2]))
def test_permuting_classes_permutes_the_scores(order):
    probs, labels = study(shape=(60,))
    new = np.array([0, *(np.argsort(order) + 1)])
    one, other = report(probs, labels, class_axis=0), report(probs[list(order)], new[labels], class_axis=0)
    for position, old in enumerate(order):
        names = list(ORGANS)
        for metric in ("mr_ece", "brier", "tdsc", "volume_bias", "argmax_dice"):
            assert other["kept"][names[position], metric] == pytest.approx(one["kept"][names[old], metric])
    assert other.loc[ALL_CLASSES, "kept"].tolist() == pytest.approx(one.loc[ALL_CLASSES, "kept"].tolist())


def test_a_missing_rater_does_not_count_and_an_empty_one_does():
    probs, labels = study()
    two = report(probs, labels[[0, 2]])
    missing = report(probs, [labels[0], None, labels[2]])
    assert missing["kept"].tolist() == pytest.approx(two["kept"].tolist(), nan_ok=True)
    empty = report(probs, [labels[0], np.zeros_like(labels[1]), labels[2]])
    assert empty["kept"][ALL_CLASSES, "argmax_dice"] < two["kept"][ALL_CLASSES, "argmax_dice"]


def test_nan_answers_masks_and_the_roi_are_left_out():
    probs, labels = study()
    roi = np.zeros(labels.shape[1:], dtype=bool)
    roi[:3] = True
    inside = report(probs[:, :3], labels[:, :3], rater_axis=0)
    assert report(probs, labels, roi=roi)["kept"].tolist() == pytest.approx(inside["kept"].tolist())
    holes = np.where(roi, labels, np.nan)
    assert report(probs, holes)["kept"].tolist() == pytest.approx(inside["kept"].tolist())
    hidden = np.ma.MaskedArray(labels, np.broadcast_to(~roi, labels.shape))
    assert report(probs, hidden)["kept"].tolist() == pytest.approx(inside["kept"].tolist())


def test_a_class_absent_from_all_raters_is_right_where_it_is_not_chosen():
    probs, labels = study()
    labels = np.where(labels == 2, 0, labels)
    assert report(probs, labels)["kept"]["kidney", "argmax_dice"] == 0
    probs[1] = 0
    told = report(probs, labels)["kept"]["kidney"]
    assert told["argmax_dice"] == told["tdsc"] == 1
    assert told["mr_ece"] == told["brier"] == told["volume_bias"] == 0


def test_blocks_add_up():
    rng = np.random.default_rng(5)
    n = BLOCK + 1000
    probs, labels = rng.random((1, n)).astype(np.float32), rng.integers(0, 2, (2, n), dtype=np.uint8)
    told = report(probs, labels, [1])["kept"]
    assert told["1", "brier"] == pytest.approx(brier_score(probs[0], labels))
    assert told["1", "mr_ece"] == pytest.approx(expected_calibration_error(probs[0], labels))


def test_channels_last_with_background_are_the_same():
    probs, labels = study()
    probs = renormalised(probs)
    last = multiclass_report(np.moveaxis(with_rest(probs), 0, -1), np.moveaxis(labels, 0, -1), ORGANS)
    assert last.set_index(["class", "metric"]).equals(report(probs, labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y: (p / 2, y), "first channel is not what the others leave of 1"),
        (lambda p, y: (p[:3], y), "have 4 channels"),
        (lambda p, y: (p, y + 1), "holds 4, which no class names"),
        (lambda p, y: (np.where(p > 0.5, np.nan, p), y), "NaN"),
        (lambda p, y: (p, [None, None, None]), "must have annotated"),
        (lambda p, y: (p, np.full(y.shape, np.nan)), "no voxel to score"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, message):
    probs, labels = study()
    with pytest.raises(ValueError, match=message):
        multiclass_report(*change(with_rest(renormalised(probs)), labels), ORGANS)


def test_values_that_are_no_probabilities_are_refused():
    probs, labels = study()
    for wrong in (np.nan, 1.5, -0.1):
        spoiled = probs.copy()
        spoiled[1, 0, 0, 0] = wrong
        with pytest.raises(ValueError, match="probs"):
            report(spoiled, labels)


def test_a_roi_of_another_shape_is_refused():
    probs, labels = study()
    with pytest.raises(ValueError, match="roi must have the shape of a channel"):
        report(probs, labels, roi=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="roi must have the shape of a channel"):
        multiclass_report(with_rest(renormalised(probs)), labels, ORGANS, roi=np.ones(3, dtype=bool))
