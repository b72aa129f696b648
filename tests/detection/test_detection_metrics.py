"""Detection metrics: D-ECE by bincount and by hand, COCO's scores by pycocotools, LRP and LaECE0 by their definitions."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from detection_reference import coco_scores, overlap, random_image
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binned_statistic_dd

from mrcalib.detection import Boxes, DetectionImage, match, votes
from mrcalib.metrics import (
    average_precision,
    average_recall,
    detection_calibration,
    detection_ece,
    laece0,
    lrp,
    rater_agreement,
)
from mrcalib.resampling import bootstrap_counts

SCORES = [average_precision, average_recall, detection_calibration, laece0, lrp]
FOUND = Boxes([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.3])


def images_of(rng, n=12, **options):
    return [random_image(rng, f"image {i}", **options) for i in range(n)]


def d_ece_as_netcal(columns, true, bins):
    """sum n_b / N |precision - confidence| over the cells of a histogram of all features."""
    edges = [np.linspace(0, 1, b + 1) for b in bins]

    def by_cell(values, statistic):
        return np.nan_to_num(binned_statistic_dd(columns, values, statistic, edges).statistic)

    n = by_cell(true, "count")
    return np.sum(n * np.abs(by_cell(true, "mean") - by_cell(columns[:, 0], "mean"))) / len(true)


def d_ece_of_pairs(scores, answers, n_bins):
    index = np.minimum((scores * n_bins).astype(int), n_bins - 1)
    gaps = np.bincount(index, scores - answers, n_bins)
    return np.abs(gaps).sum() / scores.size


@pytest.mark.parametrize("bins", [(20,), (10, 8), (5, 4, 3, 2, 3)])
def test_d_ece_equals_a_bincount_over_all_features(rng, bins):
    table = rng.random((3000, len(bins)))
    true = rng.random(3000) < table[:, 0] * table[:, -1]
    features = table[:, 1:] if len(bins) > 1 else None
    assert detection_ece(table[:, 0], true, features, bins=bins) == pytest.approx(
        d_ece_as_netcal(table, true, bins), abs=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_features", [0, 1, 4])
def test_d_ece_equals_netcal_s(rng, n_features):
    metrics = pytest.importorskip("netcal.metrics", reason="netcal needs PyTorch")
    bins = [13, 7, 4, 3, 2][: n_features + 1]
    table = rng.uniform(0.001, 0.999, (2000, n_features + 1))
    true = rng.random(2000) < table[:, 0] ** 1.3
    theirs = metrics.ECE(bins=bins, detection=True, sample_threshold=1).measure(table, true.astype(int))
    assert detection_ece(table[:, 0], true, table[:, 1:] if n_features else None, bins=bins) == pytest.approx(
        theirs, abs=1e-12
    )


def test_d_ece_by_hand_with_the_edges_where_they_belong():
    # 0.5 opens the second of two bins, 1 is in the last: |0.2 - 1| / 4 + |0.5 + 0.7 + 1 - 1| / 4
    assert detection_ece([0.2, 0.5, 0.7, 1.0], [1, 0, 1, 0], bins=2) == pytest.approx(0.5)
    assert detection_ece([1.0, 0.0], [True, False]) == 0


def test_features_split_what_the_score_alone_averages():
    scores, true, x = np.full(4, 0.5), [1, 1, 0, 0], [[0.1], [0.2], [0.8], [0.9]]
    assert detection_ece(scores, true) == 0
    assert detection_ece(scores, true, x, bins=(20, 2)) == 0.5


def test_a_sample_threshold_voids_thin_bins_and_keeps_them_in_n():
    scores, true = [0.1, 0.1, 0.9], [0, 1, 0]
    assert detection_ece(scores, true, bins=2) == pytest.approx((0.8 + 0.9) / 3)
    assert detection_ece(scores, true, bins=2, sample_threshold=2) == pytest.approx(0.8 / 3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([], []), "There is no detection to score"),
        (([0.5], [1, 0]), r"one number a detection; got shapes \(1,\) and \(2,\)"),
        (([1.5], [1]), r"scores must lie in \[0, 1\] without NaN; got 1.5"),
        (([0.5], [float("nan")]), r"true must lie in \[0, 1\] without NaN"),
        (([0.5], [1], [[300.0]]), r"features\[:, 0\] must lie in \[0, 1\] without NaN; .*divide pixels"),
        (([0.5], [1], [0.1]), r"features must have shape \(1, k\)"),
    ],
)
def test_bad_arrays_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        detection_ece(*arguments)


def test_bins_must_fit_the_features():
    with pytest.raises(ValueError, match="bins must be one number, or one for the score and each feature"):
        detection_ece([0.5], [1], bins=(10, 10))
    with pytest.raises(ValueError, match="n_bins must be a whole number of at least 1"):
        detection_ece([0.5], [1], bins=0)


@pytest.mark.parametrize("matching", ["greedy", "nearest"])
def test_d_ece_over_images_is_that_of_all_pairs_of_a_detection_and_a_rater(rng, matching):
    images = images_of(rng, raters=("a", "b", "c"))
    images[3] = DetectionImage("c missing", detections=images[3].detections, raters={**images[3].raters, "c": None})
    parts = [votes(image, 0.5, matching, 0.2) for image in images]
    pairs = [(s, m) for s, masks in parts for m in masks if m is not None]
    scores, answers = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    options = {"matching": matching, "score_floor": 0.2, "bins": 10}
    assert detection_calibration(images, **options).value == pytest.approx(d_ece_of_pairs(scores, answers, 10))
    mean = [(s, np.mean([m for m in masks if m is not None], axis=0)) for s, masks in parts]
    scores, answers = (np.concatenate(columns) for columns in zip(*mean, strict=True))
    of_mean = detection_calibration(images, against="mean", **options)
    assert of_mean.value == pytest.approx(d_ece_of_pairs(scores, answers, 10))
    assert of_mean.value == pytest.approx(detection_ece(scores, answers, bins=10))
    one = [(s, masks[1]) for s, masks in parts]
    scores, answers = (np.concatenate(columns) for columns in zip(*one, strict=True))
    of_b = detection_calibration(images, rater="b", **options)
    assert (of_b.value, of_b.name) == (pytest.approx(d_ece_of_pairs(scores, answers, 10)), "D-ECE")
    assert of_b.n_detections == scores.size < sum(len(image.detections) for image in images)


def test_pairs_and_mean_differ_only_where_raters_are_missing(rng):
    images = images_of(rng, raters=("a", "b"))
    assert float(detection_calibration(images)) == pytest.approx(float(detection_calibration(images, against="mean")))
    each = [float(detection_calibration(images, rater=name)) for name in "ab"]
    mean = detection_calibration(images, against="per-rater")
    assert float(mean) == pytest.approx(np.mean(each))
    assert float(mean) >= float(detection_calibration(images)) - 1e-12


def test_duplicates_are_true_and_true_or_true_and_false_and_are_counted():
    twice = Boxes([[0, 0, 10, 10], [0, 0, 10, 9]], [0.8, 0.8])
    images = [DetectionImage("a", detections=twice, raters={"gt": [[0, 0, 10, 10]]})]
    greedy, nearest = (detection_calibration(images, matching=m) for m in ("greedy", "nearest"))
    assert greedy.value == pytest.approx(0.3)  # precision 1/2 at 0.8
    assert nearest.value == pytest.approx(0.2)
    assert greedy.n_duplicates == nearest.n_duplicates == 1
    assert "1 duplicates" in repr(greedy)
    assert "greedy matching, score floor 0" in repr(greedy)


def test_position_and_size_are_fractions_of_the_image():
    images = [
        DetectionImage("a", size=(100, 50), detections=Boxes([[0, 0, 10, 10], [90, 0, 100, 10]], [0.5, 0.5]),
                       raters={"gt": [[0, 0, 10, 10]]}),
    ]  # fmt: skip
    assert float(detection_calibration(images)) == 0
    assert float(detection_calibration(images, features=["x"], bins=(20, 2))) == 0.5
    assert float(detection_calibration(images, features=["y", "width", "height"], bins=4)) == 0
    with pytest.raises(ValueError, match="Feature 'z' needs the size of image 'a' along that axis"):
        detection_calibration(images, features=["z"])
    with pytest.raises(ValueError, match="Feature 'x' needs the size of image 'b'"):
        detection_calibration([DetectionImage("b", detections=FOUND, raters={"gt": []})], features=["x"])


def test_features_over_images_equal_those_of_arrays(rng):
    images = [
        DetectionImage(i.id, size=(80, 70), detections=i.detections, raters=i.raters) for i in images_of(rng, n=20)
    ]
    parts = [(votes(i)[0], votes(i)[1][0], i.detections) for i in images]
    scores, true = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    features = np.concatenate([np.hstack([d.centre / (80, 70), d.extent / (80, 70)]) for *_, d in parts])
    ours = detection_calibration(images, features=["x", "y", "width", "height"], bins=(10, 3, 3, 2, 2))
    assert ours.value == pytest.approx(detection_ece(scores, true, features, bins=(10, 3, 3, 2, 2)), abs=1e-12)
    assert ours.curve is None


def test_images_without_objects_or_detections_count():
    images = [
        DetectionImage("objects missed", detections=[], raters={"gt": [[0, 0, 10, 10]]}),
        DetectionImage("nothing there", detections=FOUND, raters={"gt": []}),
        DetectionImage("nothing at all", detections=[], raters={"gt": []}),
        DetectionImage("found", detections=FOUND, raters={"gt": [[0, 0, 10, 10], [20, 20, 30, 30]]}),
        DetectionImage("not looked at", detections=FOUND, raters={"gt": None}),
    ]
    ours = detection_calibration(images)
    assert (ours.n_images, ours.n_left_out, ours.n_detections, ours.n_objects) == (4, 1, 4, 3)
    assert ours.value == pytest.approx((abs(1.8 - 1) + abs(0.6 - 1)) / 4)
    # sorted: 0.9 false, 0.9 true, 0.3 false, 0.3 true; of 3 objects: precision 1/2 up to recall 2/3
    assert float(average_precision(images)) == pytest.approx(0.5 * 67 / 101)
    assert float(average_recall(images)) == pytest.approx(2 / 3)
    assert float(lrp(images)) == pytest.approx((2 + 1) / 5)
    assert float(laece0(images)) == pytest.approx((abs(1.8 - 1) + abs(0.6 - 1)) / 4)


@pytest.mark.parametrize("score", SCORES)
def test_where_nothing_can_be_scored_the_score_is_nan_or_worst(score):
    empty = [DetectionImage("a", detections=[], raters={"gt": []})]
    missed = [DetectionImage("a", detections=[], raters={"gt": [[0, 0, 1, 1]]})]
    unseen = [DetectionImage("a", detections=FOUND, raters={"gt": None})]
    assert np.isnan(float(score(empty)))
    assert np.isnan(float(score(unseen, n_resamples=5)))
    worst = {"average_precision": 0, "average_recall": 0, "lrp": 1}.get(score.__name__)
    value = float(score(missed))
    assert np.isnan(value) if worst is None else value == worst


@pytest.mark.parametrize("score", SCORES)
def test_bad_images_are_refused_by_name(score):
    with pytest.raises(ValueError, match="There must be at least one image"):
        score([])
    with pytest.raises(ValueError, match="Images must have different names; repeated: a"):
        score([DetectionImage("a", detections=FOUND, raters={"gt": []})] * 2)
    with pytest.raises(ValueError, match=r"Image 'plate 7' has no detections \(None\)"):
        score([DetectionImage("plate 7", raters={"gt": []})])
    with pytest.raises(ValueError, match="There is no rater 'x'; there are 'gt'"):
        score([DetectionImage("a", detections=FOUND, raters={"gt": []})], rater="x")
    with pytest.raises(ValueError, match="No image names a rater"):
        score([DetectionImage("a", detections=FOUND)])
    labelled = Boxes([[0, 0, 1, 1]], labels=[3])
    with pytest.raises(ValueError, match="Image 'a', rater 'gt': Either both sides have labels"):
        score([DetectionImage("a", detections=FOUND, raters={"gt": labelled})])


@pytest.mark.parametrize("score", [average_precision, average_recall, lrp, laece0])
def test_scores_against_one_rater_ask_which(score):
    images = [DetectionImage("a", detections=FOUND, raters={"one": [], "two": [[0, 0, 10, 10]]})]
    with pytest.raises(ValueError, match="choose rater= from 'one', 'two'"):
        score(images)
    assert score(images, rater="two").raters == ("two",)


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("levels", [None, 4])
def test_average_precision_and_recall_equal_those_of_pycocotools(limit, classes, levels):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    rng = np.random.default_rng(limit)
    for _ in range(5):
        images = images_of(rng, n=15, n_classes=classes, levels=levels)
        precision, recall = coco_scores(images, max_detections=limit)
        assert float(average_precision(images, max_detections=limit)) == pytest.approx(precision, abs=1e-9)
        assert float(average_recall(images, max_detections=limit)) == pytest.approx(recall, abs=1e-9)
        assert 0 < precision < 1


def test_more_detections_than_coco_s_hundred_need_max_detections():
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    objects = np.array([[x, y, x + 8, y + 8] for x in range(0, 150, 10) for y in range(0, 100, 10)], dtype=float)
    images = [DetectionImage("a", detections=Boxes(objects, np.linspace(0.1, 0.9, 150)), raters={"gt": objects})]
    assert float(average_recall(images)) == pytest.approx(100 / 150)
    for limit in (None, 1000):
        assert float(average_recall(images, max_detections=limit)) == 1
        assert float(average_precision(images, max_detections=limit)) == pytest.approx(1)
    assert float(average_precision(images)) == pytest.approx(coco_scores(images)[0], abs=1e-9)


def test_average_precision_at_one_threshold_equals_pycocotools_and_is_told():
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    images = images_of(np.random.default_rng(4), n=20)
    ours = average_precision(images, iou_thresholds=[0.5])
    assert ours.value == pytest.approx(coco_scores(images, thresholds=[0.5])[0], abs=1e-9)
    assert average_precision(images).details["by_threshold"]["0.5"] == pytest.approx(ours.value)


def test_boxes_with_depth_have_the_average_precision_of_their_outlines():
    rng = np.random.default_rng(5)
    flat = images_of(rng, n=10)

    def deep(boxes):
        c = boxes.coordinates
        low, high = np.zeros((len(c), 1)), np.full((len(c), 1), 7.0)
        return Boxes(np.hstack([c[:, :2], low, c[:, 2:], high]), boxes.scores)

    solid = [DetectionImage(i.id, detections=deep(i.detections), raters={"gt": deep(i.raters["gt"])}) for i in flat]
    for score in (average_precision, average_recall, lrp, laece0, detection_calibration):
        assert float(score(solid)) == pytest.approx(float(score(flat)), abs=1e-12)


@pytest.mark.parametrize("score", SCORES)
def test_a_resample_is_the_score_of_the_images_drawn_and_groups_stay_together(score):
    rng = np.random.default_rng(6)
    images = [
        DetectionImage(i.id, group=f"plate {k // 2}", detections=i.detections, raters=i.raters)
        for k, i in enumerate(images_of(rng, n=8))
    ]
    ours = score(images, n_resamples=6, random_state=3)
    counts = bootstrap_counts([image.group for image in images], 6, 3).astype(int)
    for sample, drawn in zip(ours.samples, counts, strict=True):
        again = [
            DetectionImage(f"{image.id}-{k}", detections=image.detections, raters=image.raters)
            for image, n in zip(images, drawn, strict=True)
            for k in range(n)
        ]
        assert sample == pytest.approx(float(score(again)), abs=1e-12)
    assert ours.samples.min() <= ours.low <= ours.high <= ours.samples.max()
    assert np.isnan(score(images).low)


def lrp_by_definition(images, threshold, floor=0.0):
    error = n = 0
    for image in images:
        found, objects = image.detections.above(floor), image.raters["gt"]
        matches = match(found, objects, threshold)
        n_true = int(matches.is_true.sum())
        error += ((1 - matches.overlap[matches.is_true]) / (1 - threshold)).sum()
        error += len(found) - n_true + len(objects) - n_true
        n += len(found) + len(objects) - n_true
    return error / n


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.75]))
def test_lrp_is_its_definition_and_optimal_lrp_the_best_over_score_floors(seed, threshold):
    images = images_of(np.random.default_rng(seed), n=4, n_objects=4, levels=4)
    ours, best = lrp(images, iou_threshold=threshold), lrp(images, iou_threshold=threshold, optimal=True)
    assert ours.value == pytest.approx(lrp_by_definition(images, threshold))
    floors = [lrp_by_definition(images, threshold, floor) for floor in (0, 0.25, 0.5, 0.75, 1.1)]
    assert best.value == pytest.approx(min(floors))
    at = best.details["score_threshold"]["0"]
    assert lrp_by_definition(images, threshold, 1.1 if np.isnan(at) else at) == pytest.approx(best.value)


def test_lrp_tells_its_parts():
    images = [DetectionImage("a", detections=Boxes([[0, 0, 10, 9], [20, 20, 30, 30]], [0.9, 0.2]),
                             raters={"gt": [[0, 0, 10, 10], [50, 50, 60, 60], [70, 70, 80, 80]]})]  # fmt: skip
    parts = lrp(images).details
    assert parts["localisation"] == pytest.approx(0.1)
    assert parts["false"] == pytest.approx(0.5)
    assert parts["missed"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"iou_threshold must lie in \[0, 1\), "):
        lrp(images, iou_threshold=1)


def test_laece0_is_the_mean_over_classes_of_the_gap_between_score_and_overlap():
    images = images_of(np.random.default_rng(8), n=15, n_classes=3)
    errors = []
    for label in (1, 2, 3):
        scores, overlaps = [], []
        for image in images:
            found = image.detections[image.detections.labels == label]
            objects = image.raters["gt"]
            left = [box for box, kind in zip(objects.coordinates, objects.labels, strict=True) if kind == label]
            for k in np.argsort(-found.scores, kind="stable"):
                table = [overlap(found.coordinates[k], box) for box in left]
                best = int(np.argmax(table)) if table else -1
                scores.append(found.scores[k])
                overlaps.append(table[best] if table else 0.0)
                if table and table[best] > 0:
                    left.pop(best)
        errors.append(d_ece_of_pairs(np.array(scores), np.array(overlaps), 25))
    assert float(laece0(images)) == pytest.approx(np.mean(errors), abs=1e-9)


@pytest.mark.parametrize("score", SCORES)
def test_a_score_is_told_as_json_with_all_that_belongs_to_it(score):
    images = images_of(np.random.default_rng(9), n=4)
    told = json.loads(json.dumps(score(images, score_floor=0.3).to_dict()))
    assert told["score_floor"] == 0.3
    assert {"n_duplicates", "matching", "iou_thresholds", "max_detections", "n_images", "n_left_out"} <= set(told)
    assert told["low"] is None


def agreement_by_hand(n_common, n_first, n_second):
    return n_common / n_first, n_common / n_second, 2 * n_common / (n_first + n_second)


def test_agreement_of_raters_by_hand_with_missing_and_empty_told_apart():
    box, half, far = [0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]
    images = [
        DetectionImage("1", raters={"a": [box, far], "b": [half]}),
        DetectionImage("2", raters={"a": [box], "b": None}),
        DetectionImage("3", raters={"a": [], "b": []}),
        DetectionImage("4", raters={"a": [box], "b": []}),
    ]
    ours = rater_agreement(images, iou_thresholds=[0.4, 0.6])
    assert ours.pairs == (("a", "b"),)
    assert (ours.precision[0, 0], ours.recall[0, 0], ours.f1[0, 0]) == agreement_by_hand(1, 3, 1)
    assert ours.f1[0, 1] == 0
    np.testing.assert_allclose(ours.image_f1[0, :, 0], [2 / 3, np.nan, 1, 0])
    np.testing.assert_array_equal(ours.n_objects, [[2, 1, 0, 1], [1, np.nan, 0, 0]])
    row = ours.table()[0]
    assert (row["n_images"], row["mean_image_f1"]) == (3, pytest.approx((2 / 3 + 1 + 0) / 3))
    assert row["sd_image_f1"] == pytest.approx(np.std([2 / 3, 1, 0], ddof=1))
    assert rater_agreement(images, both_empty=0, iou_thresholds=[0.4]).image_f1[0, 2, 0] == 0


def test_f1_is_the_same_whichever_rater_comes_first_and_pairs_are_one_to_one():
    rng = np.random.default_rng(10)
    images = images_of(rng, raters=("a", "b", "c"))
    forth, back = rater_agreement(images, ["a", "b"]), rater_agreement(images, ["b", "a"])
    np.testing.assert_array_equal(forth.f1, back.f1)
    np.testing.assert_array_equal(forth.precision, back.recall)
    every = rater_agreement(images)
    assert every.pairs == tuple(itertools.combinations("abc", 2))
    assert (np.diff(every.f1, axis=1) <= 0).all()
    assert rater_agreement(images, reference="a").pairs == (("b", "a"), ("c", "a"))
    twice = [DetectionImage("1", raters={"a": [[0, 0, 10, 10], [0, 0, 10, 9]], "b": [[0, 0, 10, 10]]})]
    assert rater_agreement(twice).n_matches[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("images", "options", "told"),
    [
        ([{"a": [], "b": None}, {"a": None, "b": []}], {}, "No two raters looked at the same image"),
        ([{"a": [], "b": []}], {"raters": ["a", "x"]}, "There is no rater 'x'"),
        ([{"a": [], "b": []}], {"reference": "x"}, "There is no rater 'x'"),
        ([{"a": []}], {}, "at least two raters"),
        ([{"a": [], "b": []}], {"iou_thresholds": [50]}, r"iou_thresholds must lie in \[0, 1\]"),
    ],
)
def test_agreement_that_cannot_be_told_is_refused(images, options, told):
    with pytest.raises(ValueError, match=told):
        rater_agreement([DetectionImage(str(i), raters=raters) for i, raters in enumerate(images)], **options)
