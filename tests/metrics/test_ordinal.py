"""The ranked probability score of vote counts."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from scipy.stats import binom

from mrcalib.metrics import binomial_count_probs, brier_score, ranked_probability_score

K = 4


@pytest.fixture
def predicted(complete):
    return np.random.default_rng(0).dirichlet(np.ones(K + 1), complete.probs.size)


def test_it_equals_scoringrules(complete, predicted):
    votes = complete.answers.sum(axis=0)
    expected = scoringrules.rps_score(votes + 1, predicted).mean()  # its classes are counted from 1
    for norm, divisor in (("none", 1), ("levels", K), ("classes", K + 1)):
        got = ranked_probability_score(predicted, votes, norm=norm)
        assert got == pytest.approx(expected / divisor, rel=1e-12)
    assert ranked_probability_score(predicted, votes) == ranked_probability_score(predicted, votes, norm="classes")


def test_counts_and_masks_of_either_layout_agree(complete, predicted):
    votes = complete.answers.sum(axis=0)
    expected = ranked_probability_score(predicted, votes)
    masks = complete.answers.astype(np.uint8)
    assert ranked_probability_score(predicted, masks) == expected
    assert ranked_probability_score(predicted, masks.T) == expected
    assert ranked_probability_score(predicted, masks.astype(bool)) == expected


def test_classes_may_be_first_and_voxels_of_any_shape(complete, predicted):
    shape = (10, 30, 10)
    votes = complete.answers.sum(axis=0).reshape(shape)
    expected = ranked_probability_score(predicted, votes.ravel())
    first = np.moveaxis(predicted.reshape(*shape, K + 1), -1, 0)
    assert ranked_probability_score(first, votes, class_axis=0) == pytest.approx(expected)
    stack = complete.answers.reshape(K, *shape).astype(np.uint8)
    assert ranked_probability_score(first, stack, class_axis=0) == pytest.approx(expected)


def test_one_rater_makes_it_the_brier_score(complete):
    classes = binomial_count_probs(complete.probs, 1)
    got = ranked_probability_score(classes, complete.answers[0], norm="none")
    assert got == pytest.approx(brier_score(complete.probs, complete.answers[0]))


def test_the_range_by_norm():
    worst = [[1.0, 0.0, 0.0]]
    assert ranked_probability_score(worst, [2], norm="none") == 2.0
    assert ranked_probability_score(worst, [2], norm="levels") == 1.0
    assert ranked_probability_score(worst, [2]) == pytest.approx(2 / 3)
    assert ranked_probability_score(worst, [0]) == 0.0


def test_sample_weight_equals_repetition(complete, predicted):
    votes = complete.answers.sum(axis=0)
    weight = np.random.default_rng(2).integers(0, 4, votes.size)
    repeated = ranked_probability_score(np.repeat(predicted, weight, axis=0), np.repeat(votes, weight))
    assert ranked_probability_score(predicted, votes, sample_weight=weight) == pytest.approx(repeated)


def test_binomial_counts_are_scipys(complete):
    got = binomial_count_probs(complete.probs.reshape(30, 100), 5)
    assert got.shape == (30, 100, 6)
    np.testing.assert_allclose(got[7, 3], binom.pmf(np.arange(6), 5, complete.probs[703]), rtol=1e-12)
    np.testing.assert_allclose(got.sum(axis=-1), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("classes", "votes", "words"),
    [
        ([[0.5, 0.5]], [2], "Numbers of votes must be whole and lie between 0 and 1"),
        ([[0.5, 0.5]], [0.5], "Numbers of votes must be whole"),
        ([[0.5, 0.5]], np.ma.masked_array([1], [True]), "Numbers of votes must be whole"),
        ([[0.5, 0.4]], [1], "must be probabilities that sum to 1 over the classes"),
        ([[1.5, -0.5]], [1], "must be probabilities that sum to 1"),
        ([[1.0]], [0], r"of at least 2 classes; got shape \(1, 1\)"),
        ([0.5, 0.5], [0], r"one of at least 2 classes; got shape \(2,\)"),
        ([[0.5, 0.5]] * 3, [1, 1], r"one mask of the shape of probs, \(3,\), or a stack .* got \(2,\)"),
        ([[1.0, 0, 0]] * 2, np.array([[1, 0], [0, 1]]), "with raters first and with raters last; pass rater_axis=0"),
        (np.empty((0, 3)), np.empty(0), "There is no voxel to score"),
    ],
)
def test_what_makes_no_sense_is_refused(classes, votes, words):
    with pytest.raises(ValueError, match=words):
        ranked_probability_score(np.asarray(classes, dtype=float), votes)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="norm must be one of 'classes', 'levels', 'none'; got 'k'"):
        ranked_probability_score([[0.5, 0.5]], [1], norm="k")
    with pytest.raises(ValueError, match="sample_weight must have the shape of probs"):
        ranked_probability_score([[0.5, 0.5]], [1], sample_weight=[1, 1])
    with pytest.raises(ValueError, match="n_raters must be a whole number of at least 1; got 0"):
        binomial_count_probs([0.5], 0)


def test_where_a_rater_is_missing_the_votes_of_the_others_are_scored(complete, predicted):
    """The prediction for K raters is thinned to those who answered, as in a study; no voxel is lost."""
    masks = complete.answers.copy()
    masks[1:, ::3] = np.nan
    some, others = np.arange(complete.probs.size) % 3 == 0, np.arange(complete.probs.size) % 3 != 0
    expected = predicted[others], complete.answers[:, others]
    one = (predicted[some] @ (np.arange(K + 1) / K) - complete.answers[0, some]) ** 2
    total = one.sum() + others.sum() * ranked_probability_score(*expected, norm="none")
    assert ranked_probability_score(predicted, masks, norm="none") == pytest.approx(total / complete.probs.size)
