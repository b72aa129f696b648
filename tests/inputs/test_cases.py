"""Lists of cases: what is one image, what is several, and how each case's raters, names, groups and regions are found."""

import numpy as np
import pytest

from mrcalib import Case
from mrcalib.inputs import split_cases

P = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)
Q = np.linspace(1, 0, 20, dtype=np.float32).reshape(1, 4, 5)
P_MASKS = [P > 0.3, P > 0.6]
Q_MASKS = [Q > 0.2, None]


@pytest.mark.parametrize(
    "probs", [P, P.tolist(), list(P.ravel()), np.ma.masked_array(P, P > 0.5), tuple(P[0, 0]), 0.5, "text", {"a": P}]
)
def test_an_array_and_nested_numbers_are_one_image(probs):
    assert split_cases(probs, P_MASKS) is None


@pytest.mark.parametrize("wrap", [list, tuple, iter, lambda values: (v for v in values)])
def test_lists_and_iterators_of_arrays_are_cases(wrap):
    first, second = split_cases(wrap([P, Q]), wrap([np.stack(P_MASKS), Q_MASKS]))
    np.testing.assert_array_equal(first.probs, P)
    np.testing.assert_array_equal(first.raters, P_MASKS)
    np.testing.assert_array_equal(second.raters[0], Q_MASKS[0])
    assert second.raters[1] is None
    assert (first.id, second.id, first.group, second.group) == ("0", "1", "0", "1")
    assert first.rater_names == ("0", "1")


def test_an_array_of_objects_that_are_arrays_is_a_list():
    probs = np.empty(2, dtype=object)
    probs[:] = [P, Q]
    assert [case.probs.shape for case in split_cases(probs, [P_MASKS, Q_MASKS])] == [(2, 3, 4), (1, 4, 5)]


@pytest.mark.parametrize("pair", [tuple, list])
def test_pairs_of_images_and_raters_are_cases(pair):
    first, second = split_cases([pair((P, P_MASKS)), pair((Q, Q_MASKS))], groups=["x", "x"])
    assert (len(first.raters), second.raters[1], second.group) == (2, None, "x")


def test_raters_of_a_dict_keep_their_names_and_are_found_by_them():
    first, second = split_cases([P, Q], [{"ann": P > 0.3, "bo": P > 0.6}, {"bo": Q > 0.2}])
    assert (first.rater_names, second.rater_names) == (("ann", "bo"), ("bo",))
    found = second.raters_of(("ann", "bo"))
    assert found[0] is None
    np.testing.assert_array_equal(found[1], Q > 0.2)


def test_one_mask_and_one_averaged_target_stay_one_array():
    target = np.array([0.25, 0.5, 1.0])
    first, second = split_cases([P, np.array([0.1, 0.2, 0.3])], [P > 0.5, target])
    np.testing.assert_array_equal(second.raters, target)
    np.testing.assert_array_equal(first.raters_of(["0"])[0], P > 0.5)


def test_raters_last_are_found_in_each_stack():
    (case,) = split_cases([P], [np.stack(P_MASKS, axis=-1)])
    np.testing.assert_array_equal(case.raters, P_MASKS)


def test_case_objects_are_loaded_with_their_names_groups_and_regions():
    made = Case("A", P, {"ann": P_MASKS[0], "bo": None}, group="site", roi=P > 0.1)
    for case in (made, made.load()):
        (found,) = split_cases([case])
        assert (found.id, found.group, found.rater_names, found.raters[1]) == ("A", "site", ("ann", "bo"), None)
        np.testing.assert_array_equal(found.roi, P > 0.1)
    assert split_cases([made], groups=["other"])[0].group == "other"


def test_regions_weights_and_groups_have_one_entry_a_case():
    first, second = split_cases(
        [P, Q], [P_MASKS, Q_MASKS], roi=[None, Q > 0], sample_weight=[P, Q], groups=np.array([3, 3])
    )
    assert (first.roi, first.group, second.group) == (None, "3", "3")
    np.testing.assert_array_equal(second.sample_weight, Q)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (([P, Q],), {}, "needs raters"),
        (([P, Q], [P_MASKS]), {}, "raters must have one entry for each of them; got 1"),
        (([P, Q], {"a": P_MASKS}), {}, "raters must have one entry for each of them; got dict"),
        (([P, Q], [P_MASKS, Q_MASKS]), {"groups": ["a"]}, "groups must have one entry for each of them; got 1"),
        (([P, Q], [P_MASKS, Q_MASKS]), {"groups": ["a", None]}, "groups must not be missing; 1 of 2"),
        (([P, Q], [P_MASKS, Q_MASKS]), {"groups": [1.0, np.nan]}, "groups must not be missing; 1 of 2"),
        (([P, Q], [P_MASKS, Q_MASKS]), {"roi": True}, "roi must have one entry for each of them; got bool"),
        (([P, Q], [P_MASKS, [P > 0]]), {}, "of case '1'"),
        (([P, Q.astype(int)], [P_MASKS, Q_MASKS]), {}, "floating-point probabilities; got int64 of case '1'"),
        (([P, Case("A", Q, [Q > 0])], [P_MASKS, Q_MASKS]), {}, "either Case objects or arrays"),
        (([Case("A", P, P_MASKS)], [P_MASKS]), {}, "raters must be left out"),
    ],
)
def test_what_does_not_fit_is_refused_by_case_and_argument(arguments, options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        split_cases(*arguments, **options)
