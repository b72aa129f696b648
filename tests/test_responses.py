"""Rows and pooled sums of answers, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from strategies import SMALL_GRID, readings

from mrcalib.inputs import voxel_responses
from mrcalib.responses import PooledResponses, Responses
from mrcalib.tallies import tally


@pytest.fixture
def rows():
    """Two raters; the second did not answer at the first voxels."""
    return Responses(
        np.array([0.1, 0.5, 0.9]),
        np.array([4.0, 2.0, 1.0]),
        np.array([1.0, 2.0, 2.0]),
        np.array([1.0, 1.0, 2.0]),
        2,
        np.array([0b01, 0b11, 0b11]),
        np.array([0b01, 0b10, 0b11]),
        0.25,
    )


def test_the_rows_of_one_rater_are_that_raters_answers(rows):
    first, second = rows.rater(0), rows.rater(1)
    assert first.prob.tolist() == [0.1, 0.5, 0.9]
    assert first.votes.tolist() == [1, 0, 1]
    assert second.prob.tolist() == [0.5, 0.9]
    assert second.count.tolist() == [2, 1]
    assert second.votes.tolist() == [1, 1]
    for one in (first, second):
        assert one.n_raters == 1
        assert one.answers.tolist() == one.present.tolist() == [1] * one.n_rows
        assert one.marked.tolist() == one.votes.tolist()
        assert one.voxel_volume == 0.25


def test_the_thirtieth_rater_is_a_rater():
    rows = voxel_responses(np.array([0.5, 0.6]), [*[None] * 29, [0, 1]])
    assert rows.rater(29).votes.tolist() == [0, 1]
    assert rows.rater(0).n_rows == 0
    assert rows.answered_raters() == [29]


def test_raters_that_are_not_there_are_refused(rows):
    for index in (-1, 2):
        with pytest.raises(ValueError, match=rf"rater must lie between 0 and 1; got {index}"):
            rows.rater(index)


def test_soft_targets_do_not_tell_raters_apart():
    soft = voxel_responses(np.array([0.2, 0.8]), np.array([0.25, 0.75]))
    assert (soft.votes.tolist(), soft.answers.tolist(), soft.answered_raters()) == ([0.25, 0.75], [1, 1], [])
    with pytest.raises(ValueError, match=r"averaged \(soft\) target"):
        soft.rater(0)


def test_answered_raters_are_those_with_an_answer_anywhere(rows):
    assert rows.answered_raters() == [0, 1]
    assert voxel_responses(np.array([0.5]), [[1], None, [np.nan], [0]]).answered_raters() == [0, 3]
    assert voxel_responses(np.empty(0), np.empty((2, 0))).answered_raters() == []


def test_map_moves_probabilities_alone(rows):
    moved = rows.map(lambda p: p**2)
    assert moved.prob.tolist() == (rows.prob**2).tolist()
    assert moved.votes is rows.votes
    assert moved.voxel_volume == rows.voxel_volume
    assert moved.n_rows == 3


def pooled(bins, weight, prob_sum, votes):
    return PooledResponses(np.array(bins), *(np.array(a, dtype=float) for a in (weight, prob_sum, votes)))


A = pooled([1, 4], [[2, 1], [2, 0]], [[0.2, 0.4], [0.2, 0]], [[1, 1], [0, 0]])
B = pooled([2, 4], [[1, 3], [0, 3]], [[0.2, 1.2], [0, 1.2]], [[0, 2], [0, 3]])


def test_adding_pooled_responses_by_hand():
    both = A + B
    assert both.bins.tolist() == [1, 2, 4]
    assert both.weight.tolist() == [[2, 1, 4], [2, 0, 3]]
    np.testing.assert_allclose(both.prob_sum, [[0.2, 0.2, 1.6], [0.2, 0, 1.2]], rtol=1e-15)
    assert both.votes.tolist() == [[1, 0, 3], [0, 0, 3]]
    assert A.weight.tolist() == [[2, 1], [2, 0]]


def test_adding_nothing_changes_nothing():
    empty = tally(np.empty(0), np.empty((2, 0))).pooled()
    for total in (A + empty, empty + A):
        assert total.bins.tolist() == A.bins.tolist()
        np.testing.assert_array_equal(total.votes, A.votes)


def test_responses_of_other_raters_are_not_added():
    with pytest.raises(ValueError, match="Cannot add responses of 2 and 1 raters"):
        A + pooled([1], [[1]], [[0.1]], [[1]])


@given(readings())
def test_pooling_the_sum_is_the_sum_of_the_pooled(reading):
    half = reading.probs.size // 2
    parts = [
        tally(r.probs, r.answers, grid=SMALL_GRID, rater_axis=0)
        for r in (reading.part(slice(half)), reading.part(slice(half, None)))
    ]
    whole, total = (parts[0] + parts[1]).pooled(), parts[0].pooled() + parts[1].pooled()
    assert whole.bins.tolist() == total.bins.tolist()
    np.testing.assert_array_equal(whole.weight, total.weight)
    np.testing.assert_array_equal(whole.votes, total.votes)
    np.testing.assert_allclose(whole.prob_sum, total.prob_sum, rtol=1e-15)


def test_mean_response_counts_answers_by_hand():
    prob, weight, response = A.mean_response()
    np.testing.assert_allclose(prob, [0.1, 0.4], rtol=1e-15)
    assert weight.tolist() == [4, 1]
    assert response.tolist() == [0.25, 1.0]


def test_mean_response_with_rater_weights_by_hand():
    prob, weight, response = (A + B).mean_response(np.array([1.0, 3.0]))
    np.testing.assert_allclose(prob, [0.1, 0.2, 0.4], rtol=1e-15)
    assert weight.tolist() == [8, 1, 13]
    np.testing.assert_allclose(response, [1 / 8, 0, 12 / 13], rtol=1e-15)


def test_a_one_hot_weight_is_that_rater_alone_without_bins_where_the_rater_is_missing():
    prob, weight, response = (A + B).mean_response(np.array([0.0, 1.0]))
    np.testing.assert_allclose(prob, [0.1, 0.4], rtol=1e-15)
    assert weight.tolist() == [2, 3]
    assert response.tolist() == [0, 1]


def test_bins_whose_means_are_equal_up_to_rounding_are_one():
    tied = pooled([3, 4, 5], [[1, 3, 2]], [[0.3, 3 * np.nextafter(0.3, 0), 1.0]], [[1, 0, 1]])
    prob, weight, response = tied.mean_response()
    np.testing.assert_allclose(prob, [0.3, 0.5], rtol=1e-15)
    assert weight.tolist() == [4, 2]
    assert response.tolist() == [0.25, 0.5]
    assert (np.diff(prob) > 0).all()


def test_a_mean_response_of_nobody_is_refused():
    with pytest.raises(ValueError, match="nothing to fit: no rater of positive weight answered"):
        A.mean_response(np.zeros(2))
    with pytest.raises(ValueError, match="nothing to fit"):
        tally(np.empty(0), np.empty(0)).pooled().mean_response()


def test_replaced_columns_have_sums_of_their_own(rng):
    rows = tally(rng.random(300), rng.integers(0, 2, (3, 300), dtype=np.uint8)).responses()
    before = rows.distinct().answers.votes.sum()
    doubled = replace(rows, votes=rows.votes * 2)
    assert doubled.distinct().answers.votes.sum() == 2 * before
    assert replace(rows, count=rows.count * 3).map(np.sqrt).distinct().answers.votes.sum() == 3 * before


def test_maps_share_the_sums_of_answers_and_see_each_probability_once(rng):
    probs = np.repeat(rng.random(20), 30)
    rows = tally(probs, rng.integers(0, 2, (3, 600), dtype=np.uint8)).responses()
    seen = []
    mapped = rows.map(lambda p: seen.append(p.size) or np.square(p))
    assert seen == [rows.distinct().prob.size]
    assert seen[0] < rows.n_rows
    assert mapped.distinct().answers is rows.distinct().answers
    np.testing.assert_array_equal(mapped.distinct().prob[mapped.distinct().answers.index], mapped.prob)


def test_probabilities_of_marked_voxels_are_summed_by_rater_and_bin(rng):
    probs, masks = rng.random(500).astype(np.float32), rng.integers(0, 2, (2, 500), dtype=np.uint8)
    pooled = tally(probs, masks).pooled()
    np.testing.assert_allclose(pooled.marked_prob.sum(axis=1), masks @ probs.astype(float), rtol=1e-12)
    half = tally(probs[:200], masks[:, :200]).pooled() + tally(probs[200:], masks[:, 200:]).pooled()
    np.testing.assert_allclose(half.marked_prob, pooled.marked_prob, rtol=1e-14)
    some = pooled.where(pooled.bins > pooled.bins[3])
    np.testing.assert_array_equal(some.marked_prob, pooled.marked_prob[:, 4:])
