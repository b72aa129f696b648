import numpy as np
import pytest

from mrcalib.io.masks import as_labels, as_votes


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64])
def test_zeros_and_ones_of_any_type_are_votes(dtype):
    votes = as_votes(np.array([[0, 1], [1, 0]], dtype), None, "m")
    assert votes.dtype == np.uint8
    assert votes.tolist() == [[0, 1], [1, 0]]


def test_near_integers_of_scaled_files_are_rounded():
    assert as_votes(np.array([0.0001, 0.9999, 3.0001]), (1, 3), "m").tolist() == [0, 1, 1]


def test_memory_order_is_kept():
    assert as_votes(np.asfortranarray(np.full((3, 4), 2)), (2, 5), "m").flags.f_contiguous


def test_an_empty_mask_stays_a_vote_for_background():
    assert as_votes(np.zeros((2, 2), np.uint8), None, "m").tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("labels", [[0, 255], [0, -1], [0.0, 2.0]])
def test_other_labels_are_listed_and_positive_asked_for(labels):
    with pytest.raises(ValueError, match=r"m holds the labels .*; expected 0 and 1.*positive="):
        as_votes(np.array(labels), None, "m")


def test_many_labels_are_cut_short():
    with pytest.raises(ValueError, match=r"0, 1, .*11, \.\.\.; expected"):
        as_votes(np.arange(100), None, "m")


def test_nan_in_a_mask_is_no_vote():
    with pytest.raises(ValueError, match="m holds 1 NaN or infinite voxels"):
        as_votes(np.array([0.0, np.nan, 1.0]), None, "m")


def test_a_probability_map_is_no_mask():
    with pytest.raises(ValueError, match=r"m holds 0.3, which is no label.*probability map"):
        as_labels(np.array([0.0, 0.3]), "m")


def test_complex_values_are_no_mask():
    with pytest.raises(ValueError, match="expected a mask of integers"):
        as_labels(np.array([1j]), "m")
