"""The bridge: images become tallies, and calibrators, metrics and comparisons work on them unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from detection_reference import random_image
from sklearn.isotonic import IsotonicRegression

import mrcalib
from mrcalib.detection import Boxes, DetectionImage, detection_cohort, detection_tally, votes
from mrcalib.metrics import brier_score, detection_calibration, expected_calibration_error, multirater_ece
from mrcalib.tallies import tally


def images_of(rng, n=20, raters=("a", "b", "c")):
    """Scores follow the votes, and are too high."""
    images = []
    for i in range(n):
        image = random_image(rng, f"image {i}", raters=raters)
        scores, masks = votes(image)
        informed = np.sqrt((scores + np.mean(masks, axis=0)) / 2)
        images.append(image.with_detections(image.detections.with_scores(informed)))
    return images


def pooled(images, **options):
    """All detections, and one row of votes a rater."""
    parts = [votes(image, **options) for image in images]
    return np.concatenate([scores for scores, _ in parts]), np.hstack([np.array(masks) for _, masks in parts])


def test_a_tally_of_detections_is_that_of_their_scores_and_votes(rng):
    image = random_image(rng, "a", n_objects=8, raters=("x", "y"))
    scores, masks = votes(image, 0.3, "nearest", 0.1)
    assert 0 < scores.size < len(image.detections) + 1
    assert detection_tally(image, 0.3, "nearest", 0.1) == tally(scores, masks, rater_names=("x", "y"))


def test_as_many_detections_as_raters_are_no_riddle():
    found = Boxes([[0, 0, 9, 9], [20, 20, 30, 30]], [0.9, 0.4])
    image = DetectionImage("a", detections=found, raters={"x": [[0, 0, 9, 9]], "y": []})
    assert detection_tally(image).cells.marked.tolist() == [0, 1]


def test_missing_raters_do_not_answer_and_empty_ones_say_no():
    found = Boxes([[0, 0, 9, 9]], [0.9])
    image = DetectionImage("a", detections=found, raters={"x": None, "y": [[0, 0, 9, 9]], "z": []})
    cells = detection_tally(image).cells
    assert (cells.present.tolist(), cells.marked.tolist()) == ([0b110], [0b010])


def test_images_without_detections_and_images_that_nobody_looked_at_are_cases_without_voxels():
    found = Boxes([[0, 0, 9, 9]], [0.9])
    images = [
        DetectionImage("full", detections=found, raters={"x": [[0, 0, 9, 9]]}),
        DetectionImage("no detections", detections=[], raters={"x": [[0, 0, 9, 9]]}),
        DetectionImage("not looked at", detections=found, raters={"x": None}),
        DetectionImage("another rater", detections=found, raters={"y": []}, group="g"),
    ]
    cohort = detection_cohort(images)
    assert cohort.n_voxels.tolist() == [1, 0, 0, 1]
    assert cohort.raters == ("x", "y")
    assert cohort.groups == ("full", "no detections", "not looked at", "g")
    with pytest.raises(ValueError, match="Image 'nobody' names no rater"):
        detection_cohort([DetectionImage("nobody", detections=found)])


def test_isotonic_calibration_of_detections_is_scikit_learn_s(rng):
    images = images_of(rng)
    scores, masks = pooled(images)
    fitted = mrcalib.MHRIsotonicCalibrator(binning="exact").fit(scores, masks)
    oracle = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, masks.mean(axis=0))
    np.testing.assert_allclose(fitted.transform(scores), oracle.predict(scores), atol=1e-9)
    binned = mrcalib.MHRIsotonicCalibrator().fit_tally(detection_cohort(images))
    calibrated = [
        image.with_detections(image.detections.with_scores(binned.transform(image.detections.scores)))
        for image in images
    ]
    before, after = detection_calibration(images), detection_calibration(calibrated)
    assert after.value < 0.5 * before.value
    assert after.n_detections == before.n_detections


@pytest.mark.filterwarnings("ignore:The map saturates")  # five bins are few
@pytest.mark.parametrize(
    "calibrator",
    [
        mrcalib.PlattCalibrator(),
        mrcalib.BetaCalibrator(),
        mrcalib.TemperatureScalingCalibrator(),
        mrcalib.HistogramBinningCalibrator(n_bins=5),
        mrcalib.HardLabelCalibrator(),
        mrcalib.SingleRaterCalibrator(rater=1),
    ],
    ids=lambda c: type(c).__name__,
)
def test_every_calibrator_takes_a_cohort_of_detections(rng, calibrator):
    images = images_of(rng)
    scores, masks = pooled(images)
    calibrator.fit_tally(detection_cohort(images))
    if not isinstance(calibrator, mrcalib.SingleRaterCalibrator | mrcalib.HardLabelCalibrator):
        assert brier_score(calibrator.transform(scores), masks) < brier_score(scores, masks)
    assert ((calibrator.transform(scores) >= 0) & (calibrator.transform(scores) <= 1)).all()


def test_d_ece_is_the_ece_of_the_votes_and_compare_takes_the_cohort(rng):
    images = images_of(rng)
    scores, masks = pooled(images)
    ours = detection_calibration(images, bins=10)
    assert ours.value == pytest.approx(expected_calibration_error(scores, masks, n_bins=10), abs=1e-12)
    each = detection_calibration(images, bins=10, against="per-rater")
    assert each.value == pytest.approx(expected_calibration_error(scores, masks, n_bins=10, target="per-rater"))
    study = mrcalib.compare(
        detection_cohort(images),
        methods=["none", "MHR"],
        metrics=[multirater_ece.with_options(n_bins=10)],
        cv=4,
        n_resamples=50,
    )
    statistics = study.statistics["none", study.metrics[0].name].sum(axis=0)
    assert float(study.metrics[0].value(statistics)) == pytest.approx(ours.value, abs=1e-9)
