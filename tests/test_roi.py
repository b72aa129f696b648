"""Regions of interest: dilation against brute force, and how much of the raters lies inside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcalib.roi import RoiRecall, dilate, high_recall_roi, roi_recall


def brute_force(mask, margin, spacing):
    """Every voxel against every voxel of the mask."""
    inside = np.argwhere(mask) * spacing
    every = np.argwhere(np.ones(mask.shape, bool)) * spacing
    if not inside.size:
        return np.zeros(mask.shape, bool)
    distance = np.sqrt(((every[:, None] - inside[None]) ** 2).sum(axis=2)).min(axis=1)
    return (distance <= margin * (1 + 1e-6)).reshape(mask.shape)


@given(
    mask=hnp.arrays(np.bool_, hnp.array_shapes(min_dims=1, max_dims=3, max_side=7), fill=st.just(False)),
    margin=st.sampled_from([0.0, 0.5, 0.7, 1.0, 1.4, 2.1, 3.0, 7.5, 100.0]),
    edges=st.tuples(*[st.sampled_from([0.35, 0.7, 1.0, 2.5])] * 3),
)
def test_dilation_is_that_of_brute_force(mask, margin, edges):
    spacing = edges[: mask.ndim]
    np.testing.assert_array_equal(dilate(mask, margin, spacing), brute_force(mask, margin, np.array(spacing)))


def test_a_margin_of_whole_voxels_reaches_them_whatever_the_rounding():
    line = np.zeros(9, np.uint8)
    line[4] = 3
    for edge in (0.1, 0.3, 0.7, float(np.float32(0.7)), 1.1):
        assert dilate(line, 3 * edge, (edge,)).sum() == 7
    assert dilate(line, 2.1, (float(np.float32(0.7)),)).sum() == 7


def test_dilation_leaves_its_argument_alone():
    mask = np.zeros((3, 3), bool)
    mask[1, 1] = True
    for margin in (0.0, 1.0):
        dilate(mask, margin, (1, 1))[:] = True
        assert mask.sum() == 1


@pytest.mark.parametrize(
    ("margin", "spacing", "words"),
    [
        (-1.0, (1, 1), "margin_mm must be a number of at least 0; got -1.0"),
        (float("nan"), (1, 1), "margin_mm must be"),
        (1.0, (1, 1, 1), "spacing must be a positive voxel edge in mm for each of 2 axes"),
        (1.0, (1, 0), "spacing must be positive and finite"),
    ],
)
def test_dilation_says_what_is_wrong(margin, spacing, words):
    with pytest.raises(ValueError, match=words):
        dilate(np.ones((2, 2), bool), margin, spacing)


def test_dilation_refuses_probabilities():
    with pytest.raises(TypeError, match="high_recall_roi"):
        dilate(np.array([0.2, 0.9]), 1.0, (1.0,))


def test_probabilities_are_thresholded_strictly_and_labels_are_not():
    assert high_recall_roi(np.array([0.2, 0.5, 0.6]), 0, (1,)).tolist() == [False, False, True]
    assert high_recall_roi(np.array([0.2, 0.5, 0.6]), 0, (1,), threshold=0.1).all()
    assert high_recall_roi(np.array([0, 2, 7]), 0, (1,), threshold=0.9).tolist() == [False, True, True]
    assert high_recall_roi(np.float32([0, 1.9995, 3.0002]), 0, (1,)).tolist() == [False, True, True]
    assert not high_recall_roi(np.zeros(3), 5.0, (1,)).any()


@pytest.mark.parametrize("values", [[0.2, np.nan], [-3.0, 2.5], [0.5, 1.5], [0.0, np.inf]])
def test_what_is_neither_mask_nor_probability_is_refused(values):
    with pytest.raises(ValueError, match="mask of whole numbers or a probability map"):
        high_recall_roi(np.array(values), 0, (1,))


@pytest.mark.parametrize("threshold", [-0.1, 1.0, np.nan])
def test_a_threshold_lies_below_one(threshold):
    with pytest.raises(ValueError, match=r"threshold must lie in \[0, 1\)"):
        high_recall_roi(np.array([0.2]), 0, (1,), threshold)


def test_recall_counts_the_union_once_and_leaves_missing_raters_out():
    roi = np.array([[1, 1, 0], [0, 0, 0]])
    first, second = np.array([[1, 0, 0], [0, 0, 0]]), np.array([[1, 1, 1], [1, 0, 0]])
    told = roi_recall(roi, [first, None, second, np.zeros((2, 3))])
    assert told.union == 2 / 4
    np.testing.assert_array_equal(told.per_rater, [1.0, np.nan, 2 / 4, np.nan])
    assert roi_recall(roi, np.stack([first, second])) == RoiRecall(0.5, (1.0, 0.5))


def test_recall_without_any_vote_is_not_a_number():
    assert np.isnan(roi_recall([1, 1], [None, [0, 0]]).union)
    assert np.isnan(roi_recall([1, 1], []).union)
    assert roi_recall([1, 0], [[np.nan, 1.0]]).union == 0.0


def test_recall_refuses_labels_and_other_shapes():
    with pytest.raises(ValueError, match="rater 1 holds 0, 2; pass mask == 2"):
        roi_recall([1, 1], [[0, 1], [0, 2]])
    with pytest.raises(ValueError, match=r"shape of roi, \(2,\), or a stack .* got \(1, 3\)"):
        roi_recall([1, 1], [[0, 1, 0]])
