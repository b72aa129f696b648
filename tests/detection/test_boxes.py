"""Boxes are checked once, errors name image and source, and overlaps are what geometry says."""

from __future__ import annotations

import numpy as np
import pytest
from detection_reference import overlap, random_boxes
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.detection import Boxes, DetectionImage, iou

GOOD = [[1, 1, 5, 5]]


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ([5, 1, 1, 5], r"Box 1 of rater 'ann' of image 'plate 7' is inverted: x1 = 1 is less than x0 = 5"),
        ([1, 5, 5, 1], r"'plate 7' is inverted: y1 = 1 is less than y0 = 5"),
        ([1, 1, 1, 5], r"'plate 7' has no area: \[1.0, 1.0, 1.0, 5.0\]"),
        ([1, 1, 5, float("nan")], r"'plate 7' has a coordinate that is not finite"),
        ([1, 1, 5, float("inf")], r"'plate 7' has a coordinate that is not finite"),
        ([1, 1, 5, 90], r"Box 1 of rater 'ann' of image 'plate 7' reaches outside the image: y from 1 to 90"),
        ([-3, 1, 5, 9], r"'plate 7' reaches outside the image: x from -3 to 5"),
    ],
)
def test_a_bad_box_is_refused_with_the_names_of_image_and_rater(box, told):
    with pytest.raises(ValueError, match=told):
        DetectionImage("plate 7", size=(100, 80), raters={"ann": [*GOOD, box]})


def test_a_box_that_rounding_puts_outside_is_taken_and_one_further_is_not():
    edge = Boxes([[0, 0, np.nextafter(100, 200), 80]], [0.5])
    assert len(DetectionImage("a", size=(100, 80), detections=edge).detections) == 1
    with pytest.raises(ValueError, match="the detections of image 'a' reaches outside"):
        DetectionImage("a", size=(100, 80), detections=Boxes([[0, 0, 100.01, 80]], [0.5]))


def test_clipping_cuts_boxes_and_drops_those_wholly_outside():
    cut = Boxes([[-5, 2, 5, 9], [11, 0, 12, 5], [9, 9, 20, 20]], [0.1, 0.2, 0.3], [4, 5, 6]).clip((10, 10))
    assert cut.coordinates.tolist() == [[0, 2, 5, 9], [9, 9, 10, 10]]
    assert cut.scores.tolist() == [0.1, 0.3]
    assert cut.labels.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("options", "told", "error"),
    [
        ({"scores": [0.5, 0.5]}, r"one number for each of the 1 boxes; got shape \(2,\)", ValueError),
        ({"scores": [1.2]}, r"in \[0, 1\]; box 0 of img has 1.2", ValueError),
        ({"scores": [float("nan")]}, r"in \[0, 1\]; box 0 of img has nan", ValueError),
        ({"labels": [0.5]}, "labels of img must be whole numbers; got float64", TypeError),
        ({"labels": [1, 2]}, r"labels of img must be one whole number for each of the 1 boxes", ValueError),
    ],
)
def test_scores_and_labels_are_checked(options, told, error):
    with pytest.raises(error, match=told):
        Boxes(GOOD, **options, image="img")


@pytest.mark.parametrize("shape", [(4,), (2, 5), (1, 2, 4), (2, 0)])
def test_coordinates_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"must have shape \(n, 4\)"):
        Boxes(np.ones(shape))


def test_coordinates_that_are_no_table_are_refused():
    with pytest.raises(ValueError, match="one array of numbers, 4 or 6 a box; got list"):
        Boxes([[0, 0, 1, 1], [0, 0, 1]])


def test_boxes_are_a_copy_and_keep_columns_together():
    given_ = np.array([[0.0, 0, 4, 2], [1, 1, 2, 3]])
    boxes = Boxes(given_, [0.2, 0.8], [7, 9])
    given_[:] = 0
    assert boxes.volume.tolist() == [8, 2]
    assert boxes.centre.tolist() == [[2, 1], [1.5, 2]]
    above = boxes.above(0.5)
    assert (above.coordinates.tolist(), above.scores.tolist(), above.labels.tolist()) == ([[1, 1, 2, 3]], [0.8], [9])
    assert boxes[::-1].labels.tolist() == [9, 7]
    assert len(boxes[[]]) == 0
    assert boxes.above(0.8).scores.tolist() == [0.8]  # the floor itself is in


def test_nothing_found_has_no_boxes_and_missing_is_none():
    image = DetectionImage("a", raters={"found nothing": [], "missing": None}, detections=[])
    assert len(image.raters["found nothing"]) == 0
    assert image.raters["missing"] is None
    assert image.found().scores.size == 0
    with pytest.raises(ValueError, match=r"Image 'b' has no detections \(None\)"):
        DetectionImage("b").found()


def test_detections_need_scores_and_boxes_one_number_of_dimensions():
    with pytest.raises(ValueError, match="The detections of image 'a' must have scores"):
        DetectionImage("a", detections=Boxes(GOOD))
    with pytest.raises(ValueError, match="All boxes of image 'a' must have the same number of dimensions"):
        DetectionImage("a", raters={"flat": GOOD, "deep": [[0, 0, 0, 1, 1, 1]]})
    with pytest.raises(ValueError, match="size must have 2 entries"):
        DetectionImage("a", size=(10, 10, 10), raters={"flat": GOOD})
    with pytest.raises(ValueError, match="size of image 'a' must be"):
        DetectionImage("a", size=(10, 0))


@pytest.mark.parametrize("n_dims", [2, 3])
def test_overlap_equals_its_definition(rng, n_dims):
    a, b = random_boxes(rng, 30, n_dims, whole=False), random_boxes(rng, 20, n_dims, whole=False)
    expected = [[overlap(x, y) for y in b] for x in a]
    np.testing.assert_allclose(iou(a, b), expected, rtol=1e-12)
    assert (iou(a, b) > 0).any()


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]))
def test_overlap_is_symmetric_one_with_itself_and_blind_to_scale_and_shift(seed, n_dims):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 6, n_dims), random_boxes(rng, 5, n_dims)
    np.testing.assert_array_equal(iou(a, b), iou(b, a).T)
    np.testing.assert_array_equal(np.diag(iou(a, a)), 1)
    np.testing.assert_array_equal(iou(4 * a + 16, 4 * b + 16), iou(a, b))


def test_overlap_in_pixels_of_unequal_size_is_the_same_in_millimetres(rng):
    spacing = np.tile([0.5, 0.25, 4.0], 2)
    a, b = random_boxes(rng, 9, 3), random_boxes(rng, 9, 3)
    np.testing.assert_allclose(iou(a * spacing, b * spacing), iou(a, b), rtol=1e-12)


def test_overlap_of_no_boxes_has_no_rows_or_columns():
    assert iou([], GOOD).shape == (0, 1)
    assert iou(Boxes.empty(3), GOOD).shape == (0, 1)
    with pytest.raises(ValueError, match="same number of dimensions; got 2 and 3"):
        iou(GOOD, [[0, 0, 0, 1, 1, 1]])


def test_overlap_equals_that_of_pycocotools(rng):
    mask = pytest.importorskip("pycocotools.mask", reason="pycocotools is not installed")
    a, b = random_boxes(rng, 40, whole=False), random_boxes(rng, 30, whole=False)

    def corner_and_extent(boxes):
        return np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])

    theirs = mask.iou(corner_and_extent(a), corner_and_extent(b), [0] * len(b))
    np.testing.assert_allclose(iou(a, b), theirs, atol=1e-12)
