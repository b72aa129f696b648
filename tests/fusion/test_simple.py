"""SIMPLE by its properties: public programs disagree with the paper and with each other."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import ball
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrcalib.fusion import majority, simple

SHAPE = (16, 16)
GOOD = [ball(SHAPE, 5), ball(SHAPE, 5, 0.5), ball(SHAPE, 4.6, -0.5), ball(SHAPE, 5.4)]
WRONG = ball(SHAPE, 3, (5, 5))


def test_an_outlier_is_left_out_wherever_it_stands():
    expected = simple(GOOD).mask
    for place in range(5):
        masks = [*GOOD[:place], WRONG, *GOOD[place:]]
        result = simple(masks)
        assert not result.selected[place]
        assert result.dice[place] < 0.2
        assert np.delete(result.dice, place).min() > 0.8
        assert not result.mask[(WRONG == 1) & (np.sum(GOOD, axis=0) == 0)].any()
    assert expected.sum() > 0


def test_by_hand():
    """Majority 0 1 1 1 0 0; Dice 1, 1, 0, 4/5; mean 0.7, deviation 0.412: out below 0.288, then below 0.839."""
    masks = np.array([[0, 1, 1, 1, 0, 0], [0, 1, 1, 1, 0, 0], [1, 0, 0, 0, 1, 1], [0, 1, 1, 0, 0, 0]])
    result = simple(masks)
    np.testing.assert_array_equal(result.mask, masks[0])
    np.testing.assert_array_equal(result.selected, [True, True, False, False])
    np.testing.assert_allclose(result.dice, [1, 1, 0, 0.8])
    kept = simple(masks, min_raters=3)
    np.testing.assert_array_equal(kept.selected, [True, True, False, True])
    everybody = simple(masks, alpha=np.inf)
    np.testing.assert_array_equal(everybody.selected, True)
    assert everybody.n_iter == 1


def test_votes_are_weighted_by_dice():
    """Two against two, of which one side agrees better with the consensus elsewhere."""
    masks = np.zeros((4, 12), int)
    masks[:, :4] = 1
    masks[:2, 4] = 1
    masks[2, 5:8] = 1
    masks[3, 8:11] = 1
    assert majority(masks)[4] == 0
    assert majority(masks, tie="foreground")[4] == 1
    result = simple(masks, alpha=np.inf)
    np.testing.assert_allclose(result.dice[:2], 1.0)
    np.testing.assert_array_equal(result.mask, [1] * 5 + [0] * 7)


@given(arrays(np.uint8, st.integers(1, 30), elements=st.integers(0, 1)), st.integers(1, 5))
def test_identical_raters_are_all_kept(mask, n_raters):
    result = simple([mask] * n_raters)
    np.testing.assert_array_equal(result.mask, mask)
    assert result.selected.all()
    np.testing.assert_array_equal(result.dice, 1.0)


@given(arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 20)), elements=st.integers(0, 1)), st.randoms())
def test_order_of_raters_does_not_matter(masks, random):
    order = list(range(len(masks)))
    random.shuffle(order)
    result, other = simple(list(masks)), simple(list(masks[order]))
    np.testing.assert_array_equal(other.mask, result.mask)
    np.testing.assert_array_equal(other.selected, result.selected[order])
    assert result.selected.sum() >= min(len(masks), max(2, (len(masks) + 1) // 2))
    assert set(np.unique(result.mask)) <= {0, 1}


def test_empty_raters():
    empty = np.zeros(SHAPE, int)
    np.testing.assert_array_equal(simple([empty] * 3).mask, empty)
    result = simple([*GOOD, empty])
    assert not result.selected[4]
    assert result.dice[4] == 0
    disjoint = np.eye(3, 9, dtype=int)
    told = simple(disjoint)  # no majority anywhere, so nobody agrees with it and nobody has weight
    np.testing.assert_array_equal(told.mask, 0)
    np.testing.assert_array_equal(told.dice, 0)


def test_missing_raters_and_voxels():
    result, without = simple([GOOD[0], None, *GOOD[1:], WRONG]), simple([*GOOD, WRONG])
    np.testing.assert_array_equal(result.mask, without.mask)
    np.testing.assert_array_equal(result.selected, np.insert(without.selected, 1, False))
    assert np.isnan(result.dice[1])
    partly = GOOD[1].astype(float)
    partly[:4] = np.nan
    told = simple([GOOD[0], GOOD[0], GOOD[0], np.where(np.isnan(partly), np.nan, GOOD[0])])
    np.testing.assert_array_equal(told.dice, 1.0)  # judged where it answered
    np.testing.assert_array_equal(told.mask, GOOD[0])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"alpha": -1.0}, "alpha must be"),
        ({"alpha": np.nan}, "alpha must be"),
        ({"min_raters": 0}, "min_raters must be"),
        ({"tie": "half"}, "tie must be one of"),
    ],
)
def test_it_refuses(options, told):
    with pytest.raises(ValueError, match=told):
        simple(GOOD, **options)
