"""Greedy matching is pycocotools', nearest is netcal's; duplicates are told apart; classes keep to themselves."""

from __future__ import annotations

import numpy as np
import pytest
from detection_reference import coco_evaluation, overlap, random_boxes, random_image
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from mrcalib._kernels.boxes import count_matches
from mrcalib.detection import Boxes, DetectionImage, iou, match, votes

OBJECT = Boxes([[0, 0, 10, 10]])
TWICE = Boxes([[0, 0, 10, 9], [0, 0, 10, 10]], [0.9, 0.7])


def test_an_object_found_twice_is_true_and_false_or_true_and_true():
    greedy, nearest = match(TWICE, OBJECT), match(TWICE, OBJECT, matching="nearest")
    assert greedy.is_true.tolist() == [True, False]
    assert greedy.object.tolist() == [0, -1]
    assert nearest.is_true.tolist() == [True, True]
    assert nearest.object.tolist() == [0, 0]
    for matches in (greedy, nearest):
        assert matches.duplicate.tolist() == [False, True]
        np.testing.assert_allclose(matches.overlap, [0.9, 1.0])


def test_a_detection_whose_object_is_taken_falls_back_on_another():
    near = Boxes([[0, 0, 10, 10], [0, 0, 10, 10]], [0.9, 0.8])
    objects = Boxes([[0, 0, 10, 10], [1, 0, 11, 10]])
    assert match(near, objects).object.tolist() == [0, 1]
    assert match(near, objects, matching="nearest").object.tolist() == [0, 0]


@pytest.mark.parametrize("matching", ["greedy", "nearest"])
def test_the_threshold_itself_is_a_match_and_overlap_zero_never_is(matching):
    half = Boxes([[0, 0, 10, 5]], [0.5])
    assert match(half, OBJECT, 0.5, matching).is_true.all()
    assert not match(half, OBJECT, 0.5001, matching).is_true.any()
    apart = Boxes([[10, 0, 20, 10]], [0.5])
    assert not match(apart, OBJECT, 0.0, matching).is_true.any()
    assert match(Boxes([[9, 9, 20, 20]], [0.5]), OBJECT, 0.0, matching).is_true.all()


@pytest.mark.parametrize("matching", ["greedy", "nearest"])
def test_images_without_objects_or_without_detections(matching):
    alone = match(TWICE, Boxes([]), matching=matching)
    assert (alone.is_true.tolist(), alone.object.tolist(), alone.overlap.tolist()) == ([False] * 2, [-1] * 2, [0.0] * 2)
    assert match(Boxes.empty(), OBJECT, matching=matching).is_true.shape == (0,)
    assert match(Boxes([]), OBJECT, matching=matching).is_true.shape == (0,)  # without scores, but nothing to sort


@pytest.mark.parametrize("matching", ["greedy", "nearest"])
def test_labels_keep_classes_apart_and_must_be_on_both_sides(matching):
    both = Boxes([[0, 0, 10, 10], [0, 0, 10, 8]], labels=[1, 2])
    found = Boxes([[0, 0, 10, 10]], [0.5], [2])
    assert match(found, both, matching=matching).object.tolist() == [1]
    assert not match(Boxes([[0, 0, 10, 10]], [0.5], [3]), both, matching=matching).is_true.any()
    with pytest.raises(ValueError, match="Either both sides have labels, or none"):
        match(Boxes([[0, 0, 10, 10]], [0.5]), both, matching=matching)


def test_bad_options_are_told():
    with pytest.raises(ValueError, match="matching must be one of 'greedy', 'nearest'; got 'coco'"):
        match(TWICE, OBJECT, matching="coco")
    with pytest.raises(ValueError, match=r"iou_threshold must lie in \[0, 1\]; got 50"):
        match(TWICE, OBJECT, 50)
    with pytest.raises(ValueError, match="Detections must have scores"):
        match(OBJECT, OBJECT)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.75, 1.0])
def test_greedy_flags_equal_those_of_pycocotools_ties_included(threshold):
    pytest.importorskip("pycocotools", reason="pycocotools is not installed")
    rng = np.random.default_rng(int(100 * threshold))
    images = [random_image(rng, str(i), n_classes=2, levels=3) for i in range(60)]
    images += [random_image(rng, "no objects", n_objects=0, n_false=4, n_classes=2)]
    images += [random_image(rng, "no detections", n_objects=0, n_false=0, n_classes=2)]
    evaluation = coco_evaluation(images, thresholds=[threshold], max_detections=10_000)
    n_seen = n_true = 0
    for result in filter(None, evaluation.evalImgs):
        image, label = images[result["image_id"]], result["category_id"]
        ours = match(image.detections, image.raters["gt"], threshold)
        order = np.argsort(-image.detections.scores, kind="stable")
        of_class = order[image.detections.labels[order] == label]
        np.testing.assert_array_equal(image.detections.scores[of_class], result["dtScores"])
        np.testing.assert_array_equal(ours.is_true[of_class], result["dtMatches"][0] > 0)
        n_seen += of_class.size
        n_true += int(ours.is_true[of_class].sum())
    assert n_seen == sum(len(image.detections) for image in images)
    assert n_true > (0 if threshold == 1 else 20)


def nearest_flags(detections, objects, threshold):
    """netcal's rule, written as it is told: each detection and the object it overlaps most."""
    flags = []
    for box in detections.coordinates:
        most = max((overlap(box, one) for one in objects.coordinates), default=0.0)
        flags.append(most >= threshold and most > 0)
    return flags


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.5, 0.75]), st.sampled_from([2, 3]))
def test_nearest_flags_equal_netcal_s_rule_and_duplicates_count_them(seed, threshold, n_dims):
    image = random_image(np.random.default_rng(seed), "a", n_dims=n_dims)
    nearest = match(image.detections, image.raters["gt"], threshold, "nearest")
    assert nearest.is_true.tolist() == nearest_flags(image.detections, image.raters["gt"], threshold)
    assert nearest.duplicate.sum() == nearest.is_true.sum() - np.unique(nearest.object[nearest.is_true]).size
    greedy = match(image.detections, image.raters["gt"], threshold)
    assert greedy.is_true.sum() <= nearest.is_true.sum()
    taken = greedy.object[greedy.is_true]
    assert np.unique(taken).size == taken.size
    np.testing.assert_array_equal(greedy.duplicate, nearest.duplicate)


def test_one_to_one_pairs_are_as_many_as_scipy_finds(rng):
    for _ in range(60):
        rows, columns = random_boxes(rng, int(rng.integers(1, 25))), random_boxes(rng, int(rng.integers(1, 25)))
        table = iou(rows, columns)
        for threshold in (0.05, 0.2, 0.5):
            partners = maximum_bipartite_matching(csr_array(table >= threshold))
            assert count_matches(table, threshold) == np.count_nonzero(partners >= 0)


def test_votes_tell_missing_from_empty_and_apply_the_floor():
    image = DetectionImage("a", detections=TWICE, raters={"one": OBJECT, "empty": [], "missing": None})
    scores, masks = votes(image, score_floor=0.8)
    assert scores.tolist() == [0.9]
    assert [None if m is None else m.tolist() for m in masks] == [[True], [False], None]
    with pytest.raises(ValueError, match="score_floor must lie in"):
        votes(image, score_floor=80)


def test_votes_name_image_and_rater_in_errors():
    image = DetectionImage("plate 7", detections=TWICE, raters={"ann": Boxes([[0, 0, 10, 10]], labels=[1])})
    with pytest.raises(ValueError, match="Image 'plate 7', rater 'ann': Either both sides have labels"):
        votes(image)
