"""Pictures of detections show the numbers that they are of."""

import numpy as np
import pytest

from mrcalib.detection import Boxes, DetectionImage
from mrcalib.metrics import average_precision, detection_calibration, rater_agreement
from mrcalib.plots import DetectionCalibrationDisplay, EnsembleSizeDisplay, RaterAgreementDisplay

pytest.importorskip("matplotlib")


def image(name, n=3, raters=("a", "b")):
    found = Boxes([[20 * i, 0, 20 * i + 10, 10] for i in range(n)], np.linspace(0.2, 0.9, n))
    drawn = {rater: found.coordinates[: i + 1] for i, rater in enumerate(raters)}
    return DetectionImage(name, detections=found, raters=drawn)


IMAGES = [image("1"), image("2", 2), image("3")]


def test_bars_reach_from_the_lower_to_the_higher_of_precision_and_score(tmp_path):
    score = detection_calibration(IMAGES, bins=5)
    display = DetectionCalibrationDisplay.from_scores({"m": [score, score]}).plot()
    known = score.curve.count > 0
    low = np.minimum(score.curve.response, score.curve.mean_prob)[known]
    high = np.maximum(score.curve.response, score.curve.mean_prob)[known]
    np.testing.assert_allclose([bar.get_height() for bar in display.precision_[0]], low)
    np.testing.assert_allclose([bar.get_y() + bar.get_height() for bar in display.gaps_[0]], high)
    assert [bar.get_x() for bar in display.precision_[0]] == score.curve.edges[:-1][known].tolist()
    assert f"D-ECE {score.value:.3f}" in [text.get_text() for text in display.axes_[0, 1].texts]
    assert display.save(tmp_path / "c.png").stat().st_size > 1000


def test_a_model_that_found_nothing_has_an_empty_panel():
    nothing = [one.with_detections(Boxes.empty()) for one in IMAGES]
    display = DetectionCalibrationDisplay.from_scores({"m": [detection_calibration(nothing)]}).plot()
    assert len(display.precision_[0]) == 0
    assert "no detection" in [text.get_text() for text in display.axes_[0, 0].texts]


def test_scores_with_features_have_no_bars():
    sized = [DetectionImage(i.id, size=(100, 100), detections=i.detections, raters=i.raters) for i in IMAGES]
    score = detection_calibration(sized, features=["x"])
    with pytest.raises(ValueError, match="without features"):
        DetectionCalibrationDisplay.from_scores({"m": [score]})
    with pytest.raises(ValueError, match="at least one panel"):
        DetectionCalibrationDisplay({})


def test_sizes_show_mean_and_sd_of_the_resamples():
    scores = [detection_calibration(IMAGES, n_resamples=30), average_precision(IMAGES, rater="a", n_resamples=30)]
    display = EnsembleSizeDisplay.from_scores({"LSE": {4: scores, 2: scores}}).plot()
    assert display.sizes == {"LSE": [2, 4]}
    assert display.mean["mAP"]["LSE"] == [scores[1].samples.mean()] * 2
    assert display.sd["mAP"]["LSE"] == [scores[1].samples.std(ddof=1)] * 2
    line = display.lines_["mAP", "LSE"].lines[0]
    np.testing.assert_allclose(line.get_ydata(orig=False), display.mean["mAP"]["LSE"])
    with pytest.raises(ValueError, match="has no resamples"):
        EnsembleSizeDisplay.from_scores({"LSE": {2: [detection_calibration(IMAGES)]}})


def test_agreement_shows_means_over_images():
    agreement = rater_agreement(IMAGES, iou_thresholds=[0.5, 0.9])
    display = RaterAgreementDisplay(agreement).plot()
    assert [bar.get_height() for bar in display.bars_] == [1.0, 2.0]
    np.testing.assert_allclose(display.lines_["a, b"].lines[0].get_ydata(orig=False), [2 / 3, 2 / 3])


def test_many_raters_are_one_line_of_all_pairs():
    many = [image("1", 8, tuple("abcdefghij"))]
    display = RaterAgreementDisplay(rater_agreement(many, iou_thresholds=[0.5])).plot()
    assert list(display.lines_) == ["all 45 pairs"]
    sizes = np.minimum(np.arange(10) + 1, 8)
    f1 = [2 * min(a, b) / (a + b) for i, a in enumerate(sizes) for b in sizes[i + 1 :]]
    np.testing.assert_allclose(display.lines_["all 45 pairs"].lines[0].get_ydata(orig=False), [np.mean(f1)])
