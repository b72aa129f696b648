"""The one door: how arrays are laid out, whose axis is whose, what is soft, and rows that are exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import readings

from mrcalib.inputs import CHUNK, bit_masks, check_choice, check_probs, check_voxels, voxel_responses


def bits(voxels):
    """Raters who answered and who marked, of all voxels."""
    parts = [bit_masks(voxels, chunk) for chunk in voxels.chunks()]
    return tuple(np.concatenate(column).tolist() for column in zip(*parts, strict=True))


def test_raters_are_found_first_last_in_a_list_and_alone(rng):
    probs = rng.random((2, 3))
    masks = rng.integers(0, 2, (4, 2, 3))
    expected = [int(sum(masks[r, i, j] << r for r in range(4))) for i in range(2) for j in range(3)]
    for raters in (masks, np.moveaxis(masks, 0, -1), list(masks), tuple(masks), masks.tolist()):
        voxels = check_voxels(probs, raters)
        assert voxels.n_raters == 4
        assert bits(voxels) == ([15] * 6, expected)
    alone = check_voxels(probs, masks[0])
    assert alone.n_raters == 1
    assert bits(alone) == ([1] * 6, masks[0].ravel().tolist())


def test_the_rater_axis_decides_where_both_ends_fit():
    probs = np.array([0.1, 0.2])
    stack = np.array([[0, 1], [0, 1]])
    assert bits(check_voxels(probs, stack, rater_axis=0))[1] == [0, 3]
    assert bits(check_voxels(probs, stack, rater_axis=-1))[1] == [2, 2]
    with pytest.raises(ValueError, match=r"pass rater_axis=0 or rater_axis=-1"):
        check_voxels(probs, stack)


def test_raters_may_stand_in_the_middle_when_told(rng):
    masks = rng.integers(0, 2, (3, 4, 2))
    probs = rng.random((3, 2))
    assert bits(check_voxels(probs, masks, rater_axis=1)) == bits(check_voxels(probs, np.moveaxis(masks, 1, 0)))


def test_the_rater_axis_holds_for_nested_lists_or_is_refused():
    probs = np.array([0.1, 0.2, 0.3])
    rows = [[0, 0, 0], [0, 1, 1], [1, 1, 1]]
    try:
        got = bits(check_voxels(probs, rows, rater_axis=-1))
    except ValueError as error:
        assert "rater_axis" in str(error)  # noqa: PT017
        return
    assert got == bits(check_voxels(probs, np.array(rows), rater_axis=-1))


def test_probabilities_in_fortran_order_are_walked_in_memory_order_with_all_that_belongs_to_them(rng):
    shape = (3, 4, 5)
    probs = np.asfortranarray(rng.random(shape))
    mask, strata, roi = rng.integers(0, 2, shape), rng.integers(0, 9, shape), rng.random(shape) < 0.5
    voxels = check_voxels(probs, mask, roi=roi, strata=strata, sample_weight=probs * 2)
    assert np.shares_memory(voxels.probs, probs)
    (chunk,) = voxels.chunks()
    where = [np.argwhere(probs == p)[0] for p in chunk.probs]
    assert len(where) == roi.sum()
    assert all(roi[tuple(i)] for i in where)
    assert chunk.masks[0].tolist() == [mask[tuple(i)] for i in where]
    assert chunk.strata.tolist() == [strata[tuple(i)] for i in where]
    np.testing.assert_array_equal(chunk.sample_weight, 2 * chunk.probs)


def test_contiguous_arrays_are_viewed_not_copied(rng):
    probs, masks = rng.random((4, 5)).astype(np.float32), rng.integers(0, 2, (2, 4, 5), dtype=np.uint8)
    voxels = check_voxels(probs, masks)
    assert np.shares_memory(voxels.probs, probs)
    assert np.shares_memory(voxels.masks[1], masks[1])
    (chunk,) = voxels.chunks()
    assert np.shares_memory(chunk.masks[0], masks)


def test_chunks_cover_all_voxels_in_order_and_skip_what_lies_outside(rng):
    n = 2 * CHUNK + 10
    probs, roi = rng.random(n), np.zeros(n, dtype=bool)
    roi[[3, n - 1]] = True
    voxels = check_voxels(probs, np.zeros(n, np.uint8))
    np.testing.assert_array_equal(np.concatenate([c.probs for c in voxels.chunks()]), probs)
    np.testing.assert_array_equal(np.concatenate([c.probs for c in voxels.chunks(5, 17, 4)]), probs[5:17])
    inside = [c.probs.tolist() for c in check_voxels(probs, np.zeros(n, np.uint8), roi=roi).chunks()]
    assert inside == [[probs[3]], [probs[-1]]]


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_a_one_dimensional_float_target_with_fractions_is_soft(shape):
    probs = np.linspace(0, 1, 6).reshape(shape)
    target = np.array([0, 0.2, 1, 0.5, 1, 0])
    for raters in (target, target.tolist(), target.reshape(shape)):
        voxels = check_voxels(probs, raters)
        assert voxels.soft.tolist() == target.tolist()
        assert voxels.n_raters == 1
    assert check_voxels(probs, target.round()).soft is None
    assert check_voxels(probs, target.round(), soft=True).soft is not None
    with pytest.raises(ValueError, match="0 and 1 only"):
        list(check_voxels(probs, target, soft=False).chunks())


def test_masked_entries_of_a_soft_target_are_left_out_or_refused():
    target = np.ma.masked_array([0.2, 0.5, 0.7], [True, False, False])
    try:
        rows = voxel_responses(np.array([0.1, 0.2, 0.3]), target)
    except ValueError as error:
        assert "mask" in str(error)  # noqa: PT017
        return
    assert rows.votes.tolist() == [0.5, 0.7]


def test_a_volume_is_soft_only_when_told():
    probs = np.full((2, 2), 0.5)
    target = np.array([[0, 0.2], [1, 0.5]])
    assert check_voxels(probs, target, soft=True).soft.tolist() == [0, 0.2, 1, 0.5]
    with pytest.raises(ValueError, match="soft=True"):
        list(check_voxels(probs, target, arguments=["soft"]).chunks())
    with pytest.raises(ValueError, match="give each rater's own mask"):
        list(check_voxels(probs, target).chunks())


@given(readings(max_raters=10))
def test_rows_are_the_voxels_that_were_answered(reading):
    rows = voxel_responses(reading.probs, reading.answers, rater_axis=0)
    known = ~np.isnan(reading.answers)
    answered = known.any(axis=0)
    assert rows.prob.tolist() == reading.probs[answered].astype(np.float64).tolist()
    assert rows.answers.tolist() == known.sum(axis=0)[answered].tolist()
    assert rows.votes.tolist() == np.nansum(reading.answers, axis=0)[answered].tolist()
    assert rows.count.tolist() == [1] * int(answered.sum())
    for r in range(len(known)):
        assert rows.rater(r).votes.tolist() == reading.answers[r, known[r]].tolist()


def test_rows_hold_doubles_exactly_and_weights():
    probs = np.array([0.1, 0.2, 0.3])
    rows = voxel_responses(probs, [0, 1, np.nan], sample_weight=[2.5, 0, 1], roi=[1, 1, 1], voxel_volume=0.25)
    assert rows.prob.tolist() == [0.1, 0.2]
    assert rows.count.tolist() == [2.5, 0]
    assert rows.voxel_volume == 0.25


def test_masked_entries_of_rows_are_missing():
    probs = np.array([0.1, 0.2, 0.3])
    rows = voxel_responses(probs, np.ma.masked_array([[0, 1, 1], [1, 7, 1]], [[0, 0, 0], [0, 1, 1]]))
    assert rows.answers.tolist() == [2, 1, 1]
    assert rows.votes.tolist() == [1, 1, 1]


def test_nan_and_a_mask_together_are_missing():
    mask = np.ma.masked_array([0.0, np.nan, 1.0], [True, False, False])
    assert voxel_responses(np.array([0.1, 0.2, 0.3]), mask, roi=[1, 1, 1]).prob.tolist() == [0.3]


def test_a_refusal_speaks_of_the_voxels_inside_the_roi_alone():
    probs = np.array([np.nan, -7, 1.5, 0.5])
    with pytest.raises(ValueError, match="1 of 2 voxels are not, 0 of them NaN"):
        voxel_responses(probs, [0, 1, 1, 1], roi=[0, 0, 1, 1])


def test_probabilities_outside_the_roi_are_not_looked_at():
    assert voxel_responses(np.array([np.nan, -7, 0.5]), [0, 1, 1], roi=[0, 0, 1]).prob.tolist() == [0.5]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_width_are_probabilities(dtype):
    p = np.array([0.5], dtype)
    assert check_probs(p) is p


@given(st.sampled_from(["one", "two"]))
def test_a_choice_that_is_offered_is_taken(value):
    check_choice("option", value, ("one", "two"))


def test_a_choice_that_is_not_offered_is_refused_with_the_offer():
    with pytest.raises(ValueError, match=r"option must be one of 'one', 'two'; got 'three'\."):
        check_choice("option", "three", ("one", "two"))


def test_masks_that_lie_as_they_are_counted_are_not_converted():
    probs = np.zeros((4, 5), np.float32)
    masks = [np.zeros((4, 5), np.uint8), None, np.zeros((4, 5), bool)]
    assert check_voxels(probs, masks).ready
    assert check_voxels(probs, np.zeros((2, 4, 5), np.uint8)).ready
    assert check_voxels(probs, [np.ma.MaskedArray(masks[0])]).ready
    assert not check_voxels(probs, [np.ma.MaskedArray(masks[0], masks[2])]).ready
    assert not check_voxels(probs, [masks[0].astype(float)]).ready
    assert not check_voxels(probs.astype(float), [masks[0]]).ready
    assert not check_voxels(probs, [masks[0]], roi=masks[2]).ready
    assert not check_voxels(probs, [masks[0]], positive=1).ready
