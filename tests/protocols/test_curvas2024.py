"""CURVAS 2024 scores: small cases by hand, the program's quirks, and the corrected values beside them."""

import numpy as np
import pytest

from mrcalib.metrics import expected_calibration_error, gaussian_crps, majority_dice, volume_crps
from mrcalib.protocols import curvas_2024, get_protocol
from mrcalib.protocols._official import corrected_confidence_error, official_confidence_error, row_dice

ORGANS = ("pancreas", "kidney", "liver")


def one_hot(labels):
    return np.stack([labels == c for c in (1, 2, 3)]).astype(np.float32)


def reading(shape=(12, 8, 4)):
    """Blocks of three organs, and three raters of whom the last sees one row of liver less."""
    labels = np.zeros((3, *shape), dtype=np.uint8)
    labels[:, 1:3, 1:5], labels[:, 4:6, 1:5], labels[:, 7:10, 1:5] = 1, 2, 3
    labels[2, 9] = 0
    return labels


def test_a_perfect_prediction():
    labels = reading()
    probs = np.stack([(labels == c).mean(axis=0) for c in (1, 2, 3)])
    for strict in (True, False):
        scores = curvas_2024(probs, labels, strict=strict)
        assert list(scores["dice"].values()) == [1.0, 1.0, 1.0]
        assert list(scores["confidence"].values()) == [1.0, 1.0, 1.0]
    assert scores["crps"]["pancreas"] == 0.0
    assert scores["crps"]["liver"] == pytest.approx(float(volume_crps(probs[2], labels == 3)))
    # 16 of 384 voxels at 2/3: two raters have 1, one has 0
    assert scores["ece_per_rater"] == pytest.approx([16 / 3 / 384, 16 / 3 / 384, 16 * 2 / 3 / 384])
    assert scores["ece"] == pytest.approx(np.mean(scores["ece_per_rater"]))


def test_voxels_on_which_raters_disagree_do_not_count_for_dice():
    labels = reading()
    prediction = labels[2].copy()
    prediction[9, 1:5] = 2  # wrong, where raters disagree about the liver, and no one says kidney
    probs = one_hot(labels[0])
    corrected = curvas_2024(probs, labels, prediction=prediction, strict=False)
    assert corrected["dice"]["liver"] == 1.0
    assert corrected["dice"]["kidney"] == pytest.approx(2 * 32 / (32 + 48))


def test_the_most_probable_class_is_what_is_overlapped_by_default():
    labels = np.zeros((2, 3, 3), dtype=np.uint8)
    labels[:, 1] = 2
    probs = np.zeros((3, 3, 3))
    probs[1, 1], probs[2, 1] = 0.3, 0.3  # background 0.4
    assert curvas_2024(probs, labels, strict=False)["dice"]["kidney"] == 0.0
    probs[1, 1], probs[2, 1] = 0.35, 0.35  # background 0.3; of equal ones the first
    assert curvas_2024(probs, labels, strict=False)["dice"]["kidney"] == 1.0
    with_background = np.concatenate([1 - probs.sum(axis=0, keepdims=True), probs])
    assert curvas_2024(with_background, labels, strict=False)["dice"]["kidney"] == 1.0


def test_the_confidence_by_hand():
    labels = np.zeros((3, 1, 4), dtype=np.uint8)
    labels[:, 0, :2] = 1
    labels[2, 0, 1] = 0
    probs = np.zeros((3, 1, 4))
    probs[0, 0] = [0.9, 0.3, 0.2, 0.0]
    # all see voxel 0, none sees 2 and 3; voxel 1 is left out
    assert curvas_2024(probs, labels)["confidence"]["pancreas"] == pytest.approx(((1 - 0.1) + 0.9) / 2)


# --- the program's Dice: rows of slices


def test_false_positives_in_rows_without_reference_score_as_perfect():
    given = np.zeros((8, 8, 10), dtype=bool)
    given[2:6, 2:6, :5] = True
    predicted = given.copy()
    predicted[2:6, 2:6, 5:] = True  # five slices of false positives
    assert row_dice(predicted, given) == 1.0
    labels = np.stack([given.astype(np.uint8)] * 3)
    probs = one_hot(predicted.astype(np.uint8))
    strict, corrected = (curvas_2024(probs, labels, strict=rule)["dice"]["pancreas"] for rule in (True, False))
    assert strict == 1.0
    assert corrected == pytest.approx(2 * 80 / (80 + 160))


def test_rows_by_hand():
    given, predicted = np.zeros((2, 4, 3, 2), dtype=bool)
    given[1, :, 0], predicted[1, 0, 0] = True, True  # Dice 2 * 1 / 4
    given[2, 0, 0], predicted[2, 0, 0] = True, True  # Dice 1; the mean of the slice is 3/4
    given[3, 0, 1], predicted[3, :2, 1] = True, True  # Dice 2 / 3
    given[0, :, 1] = True  # the first row is left out
    assert row_dice(predicted, given) == pytest.approx((0.75 + 2 / 3) / 2)
    assert np.isnan(row_dice(predicted, np.zeros_like(given)))


def test_an_image_is_one_slice():
    labels = reading((12, 8, 1))
    probs = one_hot(labels[0])
    flat = curvas_2024(probs[..., 0], labels[..., 0])
    assert flat["dice"] == curvas_2024(probs, labels)["dice"]
    assert flat["ece"] == curvas_2024(probs, labels)["ece"]


# --- the program's volumes: counts by position


def test_without_a_pancreas_its_volume_is_the_kidneys_and_the_livers_is_not_known():
    labels = reading()
    labels[1][labels[1] == 1] = 0
    probs = np.stack([(labels == c).mean(axis=0) for c in (1, 2, 3)])
    strict, corrected = (curvas_2024(probs, labels, strict=rule) for rule in (True, False))
    volumes = np.array([[(one == c).sum() for one in labels] for c in (1, 2, 3)], dtype=float)
    for organ, rater_volumes in zip(ORGANS, volumes, strict=True):
        expected = gaussian_crps(rater_volumes.mean(), rater_volumes.mean(), rater_volumes.std())
        assert corrected["crps"][organ] == pytest.approx(float(expected), abs=1e-4)
    # pancreas: the kidney's 32 in place of 0, so that all raters "agree" on 32 voxels
    assert strict["crps"]["pancreas"] == 0.0
    # kidney: the liver's volume in place of the second rater's
    official = np.array([32.0, volumes[2, 1], 32.0])
    assert official.tolist() == [32.0, 48.0, 32.0]
    expected = float(gaussian_crps(32.0, official.mean(), official.std()))
    assert strict["crps"]["kidney"] == pytest.approx(expected, rel=5e-3)
    assert np.isnan(strict["crps"]["liver"])
    told = " ".join(strict["notes"])
    assert "crps of pancreas: an annotation lacks a label, so the program takes another organ's volume." in told
    assert "crps of liver: an annotation holds fewer labels than the program takes for granted" in told
    assert "raters give one volume; the program answers 0" in told


def test_the_crps_is_in_cubic_millimetres_of_the_spacing():
    labels = reading()
    probs = one_hot(labels[0])
    for strict in (True, False):
        voxels = curvas_2024(probs, labels, strict=strict)["crps"]["liver"]
        assert curvas_2024(probs, labels, (0.5, 2.0, 3.0), strict=strict)["crps"]["liver"] == pytest.approx(3 * voxels)
        assert curvas_2024(probs, labels, 3.0, strict=strict)["crps"]["liver"] == pytest.approx(3 * voxels)


# --- the calibration error


def test_one_organ_reduces_to_the_calibration_error_of_two_classes(rng):
    labels = (rng.random((3, 30, 20)) < 0.4).astype(np.uint8)
    probs = np.zeros((3, 30, 20), dtype=np.float32)
    probs[0] = rng.random((30, 20))
    scores = curvas_2024(probs, labels, strict=False)
    expected = [expected_calibration_error(probs[0], one, kind="top-label") for one in labels]
    assert scores["ece_per_rater"] == pytest.approx(expected, abs=2e-6)
    assert scores["dice"]["pancreas"] == pytest.approx(
        majority_dice(probs[0], labels[0], roi=(labels.sum(axis=0) % 3) == 0)
    )


def test_a_voxel_beyond_one_turns_all_probabilities_into_logits():
    labels = np.zeros((3, 10, 10), dtype=np.uint8)
    labels[:, :5] = 1
    probs = np.zeros((3, 10, 10), dtype=np.float32)
    probs[0] = np.where(labels[0] == 1, 0.9, 0.1)
    before = curvas_2024(probs, labels)
    assert before["ece"] == pytest.approx(0.1, abs=1e-5)
    probs[0, 0, 0], probs[1, 0, 0] = 1.0, 2e-7
    after, corrected = (curvas_2024(probs, labels, strict=rule) for rule in (True, False))
    # softmax of (0.1, 0.9, 0, 0) and of (0.9, 0.1, 0, 0): the same largest value, and always right
    largest = np.exp(0.9) / (np.exp(0.9) + np.exp(0.1) + 2)
    assert after["ece"] == pytest.approx(1 - largest, abs=5e-3)
    assert corrected["ece"] == pytest.approx(0.099, abs=1e-5)
    assert "takes all of them for logits" in " ".join(after["notes"])
    assert "logits" not in " ".join(before["notes"] + corrected["notes"])
    protocol = get_protocol("curvas-2024")
    told = protocol.disagreements(protocol.flatten(after), protocol.flatten(corrected))
    (sentence,) = [s for s in told if s.startswith("ECE: 0.55")]
    assert "takes probabilities for logits" in sentence


def test_confidences_of_one_have_a_bin_of_their_own_in_the_program():
    confidence, correct = np.array([0.99, 1.0], dtype=np.float32), np.array([True, False])
    assert official_confidence_error(confidence, correct) == pytest.approx((0.01 + 1) / 2, rel=1e-5)
    assert corrected_confidence_error(confidence, correct) == pytest.approx(0.99 / 2, rel=1e-5)
    assert np.isnan(corrected_confidence_error(confidence[:0], correct[:0]))
    assert np.isnan(official_confidence_error(confidence[:0], correct[:0]))


def test_the_box_is_that_of_the_image_above_zero():
    labels = reading()
    probs = one_hot(labels[0]) * np.float32(0.8)
    image = np.full(labels.shape[1:], -1000.0)
    image[2:8, 1:7, 1:3] = 40.0
    image[4] = -5.0  # a box, not a mask
    for strict in (True, False):
        cropped = curvas_2024(probs, labels, image=image, strict=strict)
        inside = (slice(2, 8), slice(1, 7), slice(1, 3))
        part = curvas_2024(probs[:, *inside], labels[:, *inside], strict=strict)
        assert cropped["ece_per_rater"] == part["ece_per_rater"]
        assert cropped["dice"] == curvas_2024(probs, labels, strict=strict)["dice"]
        nothing = curvas_2024(probs, labels, image=image - 1000, strict=strict)
        assert np.isnan(nothing["ece"])
        assert "No voxel of the image is above 0: ece is not defined." in nothing["notes"]
    with pytest.raises(ValueError, match="image must have the shape"):
        curvas_2024(probs, labels, image=image[1:])


def test_kept_maps_of_several_calibrators_are_scored_by_their_shares():
    labels = reading()
    probs = one_hot(labels[0]) * np.float32(0.8)
    probs[0] = 0.4
    probs[0][labels[0] == 1] = 0.8  # at kidney and liver, 0.4 and 0.8 sum to 1.2; elsewhere background has 0.6
    scores = curvas_2024(probs, labels, strict=False)
    assert any("sum to between 0.4 and 1.2" in note for note in scores["notes"])
    sizes, confidence = np.array([384 - 112, 32, 80]), np.array([0.6, 0.8, 2 / 3])
    assert scores["ece_per_rater"][0] == pytest.approx(float((1 - confidence) @ sizes / 384), rel=1e-6)


# --- raters and labels


@pytest.mark.parametrize("strict", [True, False])
def test_missing_raters_are_left_out(strict):
    labels = reading()
    probs = one_hot(labels[0]) * np.float32(0.9)
    gap = curvas_2024(probs, [labels[0], None, labels[2]], strict=strict)
    without = curvas_2024(probs, labels[[0, 2]], strict=strict)
    assert np.isnan(gap["ece_per_rater"][1])
    assert (gap["dice"], gap["crps"], gap["confidence"], gap["ece"]) == (
        without["dice"],
        without["crps"],
        without["confidence"],
        without["ece"],
    )
    assert gap["notes"][:2] == [
        "Rater 1 is missing and left out.",
        "Scored against 2 raters; the challenge's program takes 3.",
    ]


@pytest.mark.parametrize("strict", [True, False])
def test_an_absent_organ_has_no_perfect_score_without_a_word(strict):
    labels = reading()
    labels[labels == 1] = 0
    scores = curvas_2024(one_hot(labels[0]), labels, strict=strict)
    assert np.isnan(scores["dice"]["pancreas"])
    assert np.isnan(scores["confidence"]["pancreas"])
    assert "No rater marked the pancreas." in scores["notes"]


@pytest.mark.parametrize("strict", [True, False])
def test_nothing_at_all(strict):
    scores = curvas_2024(np.zeros((3, 4, 4, 2)), np.zeros((3, 4, 4, 2), np.uint8), strict=strict)
    assert np.isnan(list(scores["dice"].values())).all()
    assert np.isnan(list(scores["confidence"].values())).all()
    assert {f"No rater marked the {organ}." for organ in ORGANS} <= set(scores["notes"])
    assert len([note for note in scores["notes"] if "marked nothing" in note]) == 3
    if strict:
        assert np.isnan(list(scores["crps"].values())).all()


def test_near_integers_are_labels():
    labels = reading()
    probs = one_hot(labels[0])
    floats = labels.astype(np.float64) + 1e-4
    assert curvas_2024(probs, floats)["dice"] == curvas_2024(probs, labels)["dice"]


def test_what_cannot_be_scored_is_refused():
    labels, probs = reading(), one_hot(reading()[0])
    with pytest.raises(ValueError, match=r"\(3, \*S\), or \(4, \*S\).*got \(12, 8, 4\)"):
        curvas_2024(probs[0], labels)
    with pytest.raises(ValueError, match=r"got \(2, 12, 8, 4\)"):
        curvas_2024(probs[:2], labels)
    with pytest.raises(ValueError, match=r"Rater 1 must hold 0 and the labels 1, 2, 3 only; got 4"):
        curvas_2024(probs, [labels[0], np.where(labels[1] == 3, 4, labels[1])])
    with pytest.raises(ValueError, match=r"got 0\.5"):
        curvas_2024(probs, labels * 0.5)
    with pytest.raises(ValueError, match=r"got \(3, 11, 8, 4\)"):
        curvas_2024(probs, labels[:, 1:])
    with pytest.raises(ValueError, match="prediction must be a label map of the shape"):
        curvas_2024(probs, labels, prediction=labels)
    with pytest.raises(ValueError, match=r"all 2 are missing \(None\)"):
        curvas_2024(probs, [None, None])
    with pytest.raises(ValueError, match="the stack of masks is empty"):
        curvas_2024(probs, [])
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
        curvas_2024(probs * 2, labels)
    with pytest.raises(ValueError, match="1 of them NaN"):
        curvas_2024(np.where(np.arange(probs.size).reshape(probs.shape) == 5, np.nan, probs), labels)
    with pytest.raises(ValueError, match="There is no voxel"):
        curvas_2024(probs[:, :0], labels[:, :0])
