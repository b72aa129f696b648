"""The pass over voxels: patterns are those that are there, and every voxel gets the value of its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib import fusion
from mrcalib._kernels.patterns import count_codes, look_up, shift_in
from mrcalib.fusion import _patterns
from mrcalib.fusion._patterns import find_patterns


def answers(n_raters, shape=(7, 5), seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    found = (rng.random((n_raters, *shape)) < 0.4).astype(float)
    found[rng.random(found.shape) < missing] = np.nan
    return found


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("n_raters", [1, 5, 8, 9, 17, 30])
def test_every_voxel_finds_its_own_answers(n_raters, missing):
    stack = answers(n_raters, missing=missing)
    patterns = find_patterns(stack, rater_axis=0)
    for rater in range(n_raters):
        known = ~np.isnan(stack[rater])
        np.testing.assert_array_equal(patterns.paint(patterns.answered[:, rater]), known)
        np.testing.assert_array_equal(patterns.paint(patterns.marked[:, rater]), known & (stack[rater] == 1))
    assert patterns.count.sum() == stack[0].size
    assert (patterns.count > 0).all()
    rows = {(*a, *m) for a, m in zip(patterns.answered.tolist(), patterns.marked.tolist(), strict=True)}
    assert len(rows) == patterns.count.size


def test_volumes_of_many_chunks_are_counted_whole(monkeypatch):
    monkeypatch.setattr(_patterns, "CHUNK", 64)
    for n_raters in (3, 20):
        stack = answers(n_raters, (13, 11, 7))
        np.testing.assert_array_equal(fusion.soft(stack, rater_axis=0), stack.sum(axis=0) / n_raters)


@pytest.mark.compiled
def test_threads_give_what_one_thread_gives(monkeypatch):
    stack = (np.random.default_rng(0).random((3, 3, 1 << 20)) < 0.5).astype(np.uint8)
    found = find_patterns(stack, rater_axis=0)
    np.testing.assert_array_equal(found.count, np.bincount((stack * [[[1]], [[2]], [[4]]]).sum(axis=0).ravel()))
    np.testing.assert_array_equal(found.paint(found.n_votes), stack.sum(axis=0))


def test_layouts_and_dtypes_do_not_matter():
    stack = answers(4, (6, 5, 3)).astype(np.uint8)
    expected = fusion.soft(list(stack))
    for same in (
        [np.asfortranarray(mask) for mask in stack],
        [np.asfortranarray(stack[0]), *stack[1:]],
        stack.astype(bool),
        stack.astype(np.int16),
        stack.astype(np.float32),
        stack[:, ::-1][:, ::-1],
        np.ma.MaskedArray(stack, False),
        stack.tolist(),
    ):
        np.testing.assert_array_equal(fusion.soft(same, rater_axis=0), expected)
    np.testing.assert_array_equal(fusion.soft(np.moveaxis(stack, 0, -1), rater_axis=-1), expected)
    np.testing.assert_array_equal(fusion.soft(list(stack * 255), positive=255), expected)
    np.testing.assert_array_equal(fusion.soft(list(stack * 2), positive=(2, 3)), expected)


def test_missing_is_not_empty():
    one = np.array([0, 1, 1])
    np.testing.assert_array_equal(fusion.soft([one, None]), [0, 1, 1])
    np.testing.assert_array_equal(fusion.soft([one, np.zeros(3, int)]), [0, 0.5, 0.5])
    hidden = np.ma.MaskedArray([1, 1, 0], [True, False, False])
    np.testing.assert_array_equal(fusion.soft([one, hidden]), [0, 1, 0.5])
    np.testing.assert_array_equal(fusion.soft([one.astype(float), [np.nan, 1, 0]]), [0, 1, 0.5])
    np.testing.assert_array_equal(fusion.soft([[np.nan, 1.0, 0.0], [np.nan, np.nan, 1.0]]), [np.nan, 1, 0.5])


def test_masks_are_left_as_they_are(five):
    before = five.copy()
    five.flags.writeable = False
    for fuse in (fusion.soft, fusion.majority, fusion.median, fusion.staple, fusion.simple, fusion.svls):
        fuse(five)
    np.testing.assert_array_equal(five, before)


@pytest.mark.parametrize(
    ("raters", "error", "told"),
    [
        ([None, None], ValueError, "all 2 are missing"),
        ([], ValueError, "the stack of masks is empty"),
        ([[0, 1], [0, 1, 1]], ValueError, r"rater 0 has \(2,\), rater 1 has \(3,\)"),
        ([None, [0, 1], [0]], ValueError, r"rater 1 has \(2,\), rater 2 has \(1,\)"),
        ([0, 1, 1], ValueError, r"One mask alone is \[mask\]"),
        (np.zeros((2, 0, 3)), ValueError, "at least one voxel"),
        (np.zeros((31, 14)), ValueError, "At most 30 raters"),
        ([["a", "b"]], TypeError, "got an array of <U1"),
        ("masks.nii.gz", TypeError, "got an array of <U12"),
        ([[0, 2], [0, 1]], ValueError, "rater 0 holds 0, 2; pass positive=2"),
        ([[0, 1], [0.2, 1]], ValueError, "rater 1 holds 0.2, 1; if it is an average"),
        ([[0, -1], [0, 1]], ValueError, "rater 0 holds -1, 0"),
        ([[0, np.inf], [0, 1]], ValueError, "rater 0 holds 0, inf"),
    ],
)
def test_what_is_no_mask_is_refused(raters, error, told):
    with pytest.raises(error, match=told):
        fusion.soft(raters)


def test_labels_are_refused_where_they_cannot_be_labels():
    with pytest.raises(ValueError, match="positive must be"):
        fusion.soft([[0, 1]], positive=0)


@pytest.mark.parametrize("fuse", [fusion.majority, fusion.simple, lambda masks: fusion.random_rater(masks, 0)])
def test_masks_have_no_value_where_nobody_answered(fuse):
    with pytest.raises(ValueError, match="At 1 of 3 voxels no rater answered"):
        fuse([[np.nan, 1.0, 0.0], [np.nan, np.nan, 1.0]])


@given(st.lists(st.integers(0, 6), max_size=40))
def test_kernels_equal_numpy(values):
    codes = np.array(values, np.uint8)
    count = np.zeros(7, np.int64)
    count_codes(codes, count)
    np.testing.assert_array_equal(count, np.bincount(codes, minlength=7))
    packed = codes.astype(np.uint16)
    assert shift_in(codes & 1, packed) == (codes & 1).max(initial=0)
    np.testing.assert_array_equal(packed, 2 * codes + (codes & 1))
    table, out = np.linspace(0, 1, 7), np.empty(codes.size)
    look_up(codes, table, out)
    np.testing.assert_array_equal(out, table[codes])
