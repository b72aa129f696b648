"""Arguments that are not arrays: the same words and the same limits wherever they are checked."""

import numpy as np
import pytest

from mrcalib import Cohort, MHRIsotonicCalibrator, fusion, tally
from mrcalib.inputs import (
    check_choice,
    check_count,
    check_groups,
    check_labels,
    check_number,
    check_positive,
    check_spacing,
)
from mrcalib.io import LoadOptions


@pytest.mark.parametrize("value", [1, np.int64(3), 250])
def test_counts_are_whole_numbers(value):
    assert check_count("n_bins", value) == value


@pytest.mark.parametrize("value", [True, np.True_, 0, -1, 1.0, 2.5, np.nan, "3", None])
def test_other_things_are_no_counts(value):
    with pytest.raises(ValueError, match="n_bins must be a whole number of at least 1"):
        check_count("n_bins", value)


@pytest.mark.parametrize("value", [np.nan, 2, -0.1, True, "0.5", None, 1 + 0j, [0.5]])
def test_numbers_lie_in_their_range(value):
    with pytest.raises(ValueError, match="threshold must be a number from 0 to 1"):
        check_number("threshold", value, 0, 1)


def test_spacing_and_volume_are_positive_and_finite():
    assert check_spacing(np.array([1, 2], np.float32), 2) == (1.0, 2.0)
    assert check_positive("voxel_volume", np.float32(0.5)) == 0.5
    for bad in ([np.inf], [np.nan], [0], [-1], [True], ["1"], [], None, 3.0, [[1, 2]]):
        with pytest.raises(ValueError, match="spacing must be"):
            check_spacing(bad)
    with pytest.raises(ValueError, match="each of 3 axes"):
        check_spacing([1, 2], 3)
    for bad in (0, -1, np.inf, np.nan, True, None, "1", 1j):
        with pytest.raises(ValueError, match="voxel_volume must be"):
            check_positive("voxel_volume", bad)


@pytest.mark.parametrize("bad", [0, [], [1, 0], True, 1.0, "1", np.nan])
def test_labels_are_whole_numbers_other_than_the_background(bad):
    with pytest.raises(ValueError, match="positive must be the whole-number labels"):
        check_labels(bad)


MASKED = np.ma.masked_array([1, 2], [0, 1])


@pytest.mark.parametrize(
    "groups",
    [["a", None], [1.0, np.nan], ["a", np.nan], ("a", np.float32(np.nan)), np.array(["2020", "NaT"], "M8[Y]"), MASKED],
)
def test_groups_without_a_label_are_refused(groups):
    with pytest.raises(ValueError, match="groups must not be missing; 1 of 2"):
        check_groups(groups)


def test_groups_may_be_words_and_numbers():
    assert check_groups(["a", "b"]).tolist() == ["a", "b"]
    assert check_groups(np.array([1, 2])).tolist() == [1, 2]


def test_a_choice_is_one_of_the_list():
    with pytest.raises(ValueError, match="tie must be one of 'a', 'b'; got 'c'"):
        check_choice("tie", "c", ["a", "b"])


def test_missing_entries_of_pandas_are_missing():
    pandas = pytest.importorskip("pandas")
    for column in (
        pandas.Series(["a", None]),
        pandas.Series([1, None], dtype="Int64"),
        pandas.Series(["a", pandas.NA]),
    ):
        with pytest.raises(ValueError, match="groups must not be missing; 1 of 2"):
            check_groups(column)


def test_a_cohort_has_no_missing_group_and_no_impossible_volume():
    part = tally(np.array([0.2, 0.7]), [0, 1])
    with pytest.raises(ValueError, match="groups must not be missing; 1 of 2"):
        Cohort([part, part], groups=["a", float("nan")])
    for volume in (-1, 0, np.nan, np.inf):
        with pytest.raises(ValueError, match="voxel_volume must be a positive, finite number"):
            Cohort([part], voxel_volume=[volume])


def fits():
    masks = np.array([[0, 1, 1, 0]] * 2, np.uint8)
    probs = np.array([0.1, 0.4, 0.6, 0.9])
    return {
        "tally": lambda label: tally(probs, masks, positive=label),
        "fit": lambda label: MHRIsotonicCalibrator().fit(probs, masks, positive=label),
        "fusion": lambda label: fusion.soft(masks, positive=label),
        "files": lambda label: LoadOptions(positive=label if isinstance(label, list) else (label,)),
    }


@pytest.mark.parametrize("where", fits())
@pytest.mark.parametrize("label", [0, [0], [1, 0], True, 0.5])
def test_the_background_marks_nothing_at_any_entrance(where, label):
    with pytest.raises(ValueError, match="positive must be"):
        fits()[where](label)
