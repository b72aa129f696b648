"""Scores, intervals and transforms of predicted numbers of votes."""

from __future__ import annotations

import numpy as np
import pytest
import scoringrules
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, hypergeom

from mrcalib import Case
from mrcalib.metrics import (
    brier_score,
    count_level_responses,
    count_log_loss,
    count_readout,
    count_responses,
    expected_calibration_error,
    get_metric,
    orc_labels,
    pit_deviation,
    pit_histogram,
    ranked_probability_score,
    vote_coverage_bias,
    vote_interval,
    vote_interval_coverage,
)
from mrcalib.tallies import thinned, thinning

K = 4


@pytest.fixture
def predicted(complete):
    return np.random.default_rng(0).dirichlet(np.ones(K + 1), complete.probs.size)


def draw(dist, rng):
    """Numbers of votes as predicted, and masks with so many marks by raters in random order."""
    n = dist.shape[1] - 1
    votes = (rng.random((len(dist), 1)) > np.cumsum(dist, axis=1)[:, :-1]).sum(axis=1)
    order = rng.permuted(np.tile(np.arange(n), (len(dist), 1)), axis=1)
    return votes, (order < votes[:, np.newaxis]).T.astype(np.uint8)


# Labels and read-outs -----------------------------------------------------------------------------------------------------


def test_labels_count_the_votes_in_any_layout(complete):
    stack = complete.answers.reshape(K, 30, 100)
    expected = stack.sum(axis=0)
    for raters in (stack, stack.astype(bool), list(stack.astype(np.uint8)), dict(zip("abcd", stack, strict=True))):
        got = orc_labels(raters)
        assert got.dtype == np.int64
        assert np.array_equal(got, expected)
    assert np.array_equal(orc_labels(stack, rater_axis=0), expected)
    for turned in (orc_labels(stack.T), orc_labels(stack.T, rater_axis=-1)):
        assert np.array_equal(turned.T, expected)


def test_a_missing_answer_is_not_a_vote_against(partial):
    with pytest.raises(ValueError, match="not defined where a rater is missing"):
        orc_labels(partial.answers)
    masked = orc_labels(partial.answers, missing="mask")
    whole = ~np.isnan(partial.answers).any(axis=0)
    assert np.array_equal(~np.ma.getmaskarray(masked), whole)
    assert np.array_equal(masked.data[whole], partial.answers.sum(axis=0)[whole])
    with pytest.raises(ValueError, match="not defined where a rater is missing"):
        orc_labels([np.ones(3), None])
    assert orc_labels([np.ones(3), np.zeros(3)]).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("raters", "words"),
    [
        ([None, None], r"At least one rater must have annotated; all 2 are missing \(None\)"),
        (np.empty((0, 3)), "At least one rater must have annotated; the stack of masks is empty"),
        (
            [0, 1, 1],
            r"Each mask must be an array of at least one voxel; got the shape \(\)\. One mask alone is \[mask\]",
        ),
        ([[0, 2, 1]], "0 and 1"),
        ([np.zeros(3)] * 40, "At most 30 raters"),
        ([np.zeros(3), None, np.zeros(4)], r"must have .* shape"),
    ],
)
def test_labels_of_what_is_no_stack_of_masks_are_refused(raters, words):
    with pytest.raises(ValueError, match=words):
        orc_labels(raters, missing="mask")


def test_read_outs_by_hand_and_their_tie_rule():
    even, odd = np.array([0.1, 0.2, 0.3, 0.15, 0.25]), np.array([0.1, 0.2, 0.3, 0.4])
    assert count_readout(even) == pytest.approx((0.2 + 0.6 + 0.45 + 1) / 4)
    assert count_readout(even, "majority") == pytest.approx(0.7)
    assert count_readout(even, "majority", tie="background") == pytest.approx(0.4)
    for tie in ("foreground", "background"):
        assert count_readout(odd, "majority", tie=tie) == pytest.approx(0.7)


def test_read_outs_keep_layout_dtype_and_nan(predicted):
    first = np.moveaxis(predicted.reshape(3, 10, 100, K + 1), -1, 1).astype(np.float32)
    got = count_readout(first, class_axis=1)
    assert got.shape == (3, 10, 100)
    assert got.dtype == np.float32
    assert got.ravel() == pytest.approx(predicted @ np.arange(K + 1) / K, rel=1e-5)
    assert np.isnan(count_readout([[np.nan] * 3, [0.0, 1.0, 0.0]])).tolist() == [True, False]
    with pytest.raises(ValueError, match="must be probabilities that sum to 1"):
        count_readout([[np.nan, 0.5, 0.5]])
    with pytest.raises(ValueError, match="readout must be one of 'expected', 'majority'; got 'median'"):
        count_readout([[0.5, 0.5]], "median")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "majority", "strict"), [(3, 0.057, 0.057), (4, 0.078, 0.114), (5, 0.083, 0.083), (7, 0.099, 0.099)]
)
def test_the_oracle_s_majority_read_out_is_not_calibrated_to_the_mean_response(n, majority, strict):
    """METHODS 1.1: votes ~ Binomial(K, q), q ~ Beta(0.6, 1.5), 15 bins, predicted by Binomial(K, q) itself."""
    rng = np.random.default_rng(1)
    q = rng.beta(0.6, 1.5, 400_000)
    dist = binom.pmf(np.arange(n + 1), n, q[:, np.newaxis])
    masks = rng.random((n, q.size)) < q

    def mr_ece(*readout, **options):
        return expected_calibration_error(count_readout(dist, *readout, **options), masks, n_bins=15)

    assert mr_ece() == pytest.approx(0.001, abs=0.001)
    assert mr_ece("majority") == pytest.approx(majority, abs=0.001)
    assert mr_ece("majority", tie="background") == pytest.approx(strict, abs=0.001)
    label = 2 * masks.sum(axis=0) >= n
    assert expected_calibration_error(count_readout(dist, "majority"), label, n_bins=15) < 0.0025


# Scores -------------------------------------------------------------------------------------------------------------------


def test_the_mean_score_of_several_labels_is_a_distance_and_a_spread():
    """Mean over observers of RPS = squared distance of the CDFs + sum of G (1 - G)."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        dist, labels = rng.dirichlet(np.ones(K + 1)), rng.integers(0, K + 1, 50)
        observed = (labels[:, np.newaxis] <= np.arange(K)).mean(axis=0)
        expected = ((np.cumsum(dist)[:-1] - observed) ** 2).sum() + (observed * (1 - observed)).sum()
        got = ranked_probability_score(np.tile(dist, (50, 1)), labels, norm="none")
        assert got == pytest.approx(expected, rel=1e-12)


def test_the_metric_of_complete_voxels_is_the_score_of_arrays(complete, predicted):
    rows = count_responses(predicted, complete.answers)
    for norm in ("classes", "levels", "none"):
        expected = ranked_probability_score(predicted, complete.answers, norm=norm)
        assert ranked_probability_score(rows, norm=norm) == pytest.approx(expected, rel=1e-12)
    votes = complete.answers.sum(axis=0).astype(int)
    assert ranked_probability_score(rows, norm="none") == pytest.approx(
        scoringrules.rps_score(votes + 1, predicted).mean()
    )
    assert count_log_loss(predicted, complete.answers) == pytest.approx(
        -np.log(predicted[np.arange(votes.size), votes]).mean()
    )


def test_one_rater_makes_the_metric_the_brier_score(complete):
    dist = np.stack([1 - complete.probs, complete.probs], axis=1)
    rows = count_responses(dist, complete.answers[:1])
    assert ranked_probability_score(rows, norm="none") == pytest.approx(
        brier_score(complete.probs, complete.answers[:1])
    )


def test_without_predicted_counts_they_are_binomial(complete):
    rows = count_responses(binom.pmf(np.arange(K + 1), K, complete.probs[:, np.newaxis]), complete.answers)
    bare = rows.map(lambda p: p)
    assert bare.count_probs is None
    for metric in (ranked_probability_score, count_log_loss, vote_coverage_bias, pit_deviation):
        assert metric(bare) == pytest.approx(metric(rows), rel=1e-9)


@given(st.integers(1, 12), st.data())
def test_thinning_is_hypergeometric_and_keeps_the_expected_fraction(n, data):
    some = data.draw(st.integers(1, n))
    table = thinning(n, some)
    assert table == pytest.approx(np.array([hypergeom.pmf(np.arange(some + 1), n, c, some) for c in range(n + 1)]))
    dist = np.random.default_rng(n).dirichlet(np.ones(n + 1), 5)
    assert count_readout(thinned(dist, some)) == pytest.approx(count_readout(dist))


def test_where_raters_are_missing_the_votes_of_the_others_are_scored(partial):
    dist = np.random.default_rng(0).dirichlet(np.ones(K + 1), partial.probs.size)
    total = log = 0.0
    for p, answers in zip(dist, partial.answers.T, strict=True):
        known = answers[~np.isnan(answers)].astype(int)
        own = sum(p[c] * hypergeom.pmf(np.arange(known.size + 1), K, c, known.size) for c in range(K + 1))
        total += scoringrules.rps_score(known.sum() + 1, own) / (known.size + 1)
        log -= np.log(own[known.sum()])
    rows = count_responses(dist, partial.answers)
    assert ranked_probability_score(rows) == pytest.approx(total / partial.probs.size)
    assert count_log_loss(rows) == pytest.approx(log / partial.probs.size)


def test_statistics_add_and_weights_are_repetitions(complete, predicted):
    weight = np.random.default_rng(3).integers(0, 3, complete.probs.size)
    repeated = count_responses(np.repeat(predicted, weight, axis=0), np.repeat(complete.answers, weight, axis=1))
    weighted = count_responses(predicted, complete.answers, sample_weight=weight)
    halves = [count_responses(predicted[s], complete.answers[:, s]) for s in (slice(1000), slice(1000, None))]
    whole = count_responses(predicted, complete.answers)
    for metric in (ranked_probability_score, count_log_loss, vote_coverage_bias, pit_deviation):
        assert metric.sums(weighted) == pytest.approx(metric.sums(repeated))
        assert sum(metric.sums(half) for half in halves) == pytest.approx(metric.sums(whole))


def test_a_wrong_certainty_costs_a_finite_amount():
    assert count_log_loss([[1.0, 0.0]], [[1]]) == pytest.approx(24 * np.log(2))
    with pytest.raises(ValueError, match="eps must lie between 0 and 1/2; got 0"):
        count_log_loss([[1.0, 0.0]], [[1]], eps=0)


# Intervals and transform --------------------------------------------------------------------------------------------------


def test_intervals_are_quantiles_of_the_counts():
    p = np.random.default_rng(4).random(300)
    dist = binom.pmf(np.arange(6), 5, p[:, np.newaxis])
    for level in (0.5, 0.8, 0.9):
        low, high = vote_interval(dist, level)
        assert np.array_equal(low, binom.ppf((1 - level) / 2, 5, p))
        assert np.array_equal(high, binom.ppf((1 + level) / 2, 5, p))
    with pytest.raises(ValueError, match="level must lie between 0 and 1; got 1"):
        vote_interval(dist, 1)


def test_counts_drawn_as_predicted_are_covered_as_claimed_and_have_a_flat_transform():
    rng = np.random.default_rng(5)
    dist = rng.dirichlet(np.full(K + 1, 0.5), 40_000)
    _, masks = draw(dist, rng)
    for certainty in (1.0, 0.6):
        got = vote_interval_coverage(dist, masks, certainty=certainty)
        assert got.claimed >= 0.9
        assert got.observed == pytest.approx(got.claimed, abs=0.006)
        assert pit_histogram(dist, masks, certainty=certainty) == pytest.approx(np.ones(10), abs=0.06)
    assert got.n_voxels == (dist.max(axis=1) <= 0.6).sum()


def test_counts_more_dispersed_than_predicted_make_a_u_and_are_not_covered():
    rng = np.random.default_rng(6)
    own = rng.beta(0.5, 0.5, 20_000)
    masks = rng.random((K, own.size)) < own
    dist = np.tile(binom.pmf(np.arange(K + 1), K, 0.5), (own.size, 1))
    histogram = pit_histogram(dist, masks, n_bins=5)
    assert histogram[0] > 1.3
    assert histogram[-1] > 1.3
    assert histogram[2] < 0.7
    assert histogram.mean() == pytest.approx(1)
    got = vote_interval_coverage(dist, masks, 0.8)
    assert got.claimed == pytest.approx(14 / 16)  # 1 to 3 votes
    assert got.observed < got.claimed - 0.2


def test_the_transform_by_hand():
    dist = [[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.0, 0.0, 1.0]]
    masks = [[0, 1, 1], [0, 0, 1]]  # 0, 1 and 2 votes: even on [0, 0.2], [0.2, 0.5] and [0, 1]
    expected = 5 * np.array([1 + 0 + 0.2, 2 / 3 + 0.2, 1 / 3 + 0.2, 0.2, 0.2]) / 3
    assert pit_histogram(dist, masks, n_bins=5) == pytest.approx(expected)
    impossible = pit_histogram([[1.0, 0.0]], [[1]], n_bins=4)  # no width: all of it where it is
    assert impossible.tolist() == [0, 0, 0, 4]


def test_no_voxel_uncertain_enough_is_nan_and_no_voxel_an_error():
    got = vote_interval_coverage([[1.0, 0.0]], [[0]], certainty=0.5)
    assert np.isnan([got.observed, got.claimed]).all()
    assert got.n_voxels == 0
    assert np.isnan(pit_histogram([[1.0, 0.0]], [[0]], certainty=0.5)).all()
    with pytest.raises(ValueError, match="There is no voxel to score"):
        pit_histogram([[1.0, 0.0]], [[0]], roi=[False])
    with pytest.raises(ValueError, match="certainty must lie above 0"):
        pit_deviation.with_options(certainty=0)


# Rows ---------------------------------------------------------------------------------------------------------------------


def test_rows_take_region_layout_and_volumes(complete, predicted):
    shape = (10, 30, 10)
    roi = np.random.default_rng(7).random(shape) < 0.5
    stack = complete.answers.reshape(K, *shape)
    first = np.asfortranarray(np.moveaxis(predicted.reshape(*shape, K + 1), -1, 0))
    rows = count_responses(first, stack, class_axis=0, roi=roi)
    assert rows.count_probs == pytest.approx(predicted[roi.ravel()])
    assert np.array_equal(rows.votes, stack.sum(axis=0)[roi])
    assert rows.prob == pytest.approx(predicted[roi.ravel()] @ np.arange(K + 1) / K)
    turned = count_responses(np.asfortranarray(predicted.reshape(*shape, K + 1)), np.asfortranarray(stack), roi=roi)
    assert ranked_probability_score(turned) == pytest.approx(ranked_probability_score(rows))


@pytest.mark.parametrize(
    ("dist", "masks", "words"),
    [
        ([[0.5, 0.5]], [[1], [1]], "2 raters answered at a voxel, but count_probs are of 1 raters"),
        ([[np.nan, np.nan], [0.5, 0.5]], [[1, 1]], "hold NaN at voxels that count"),
        ([[0.5, 0.4]], [[1]], "sum to 1 over the classes"),
        ([0.5, 0.5], [[1]], "an axis of voxels and one of at least 2 classes"),
        ([[0.5, 0.5]] * 3, [[0, 1]], r"raters must be one mask of the shape of probs, \(3,\)"),
    ],
)
def test_rows_that_make_no_sense_are_refused(dist, masks, words):
    with pytest.raises(ValueError, match=words):
        count_responses(dist, masks)


def test_soft_targets_have_no_number_of_votes(complete):
    from mrcalib.inputs import voxel_responses

    rows = voxel_responses(complete.probs, complete.probs, soft=True)
    with pytest.raises(ValueError, match="need each rater's answers"):
        ranked_probability_score(rows)


def test_a_level_is_the_answer_of_one_rater(partial):
    dist = np.random.default_rng(0).dirichlet(np.ones(K + 1), partial.probs.size)
    rows = count_responses(dist, partial.answers)
    whole = ~np.isnan(partial.answers).any(axis=0)
    for k in range(1, K + 1):
        level = count_level_responses(rows, k)
        assert level.prob == pytest.approx(dist[whole, k:].sum(axis=1))
        assert np.array_equal(level.votes, partial.answers.sum(axis=0)[whole] >= k)
    with pytest.raises(ValueError, match="votes must lie between 1 and 4, the number of raters; got 5"):
        count_level_responses(rows, 5)


@pytest.mark.parametrize("name", ["rps", "count_log_loss", "vote_coverage_bias", "pit_deviation"])
def test_count_metrics_are_found_by_name(name):
    assert get_metric(name).name == name


def test_coverage_and_transform_of_several_cases_are_those_of_all_their_voxels(complete, predicted):
    halves = [slice(1000), slice(1000, None)]
    dists, masks = [predicted[s] for s in halves], [complete.answers[:, s] for s in halves]
    whole = pit_histogram(predicted, complete.answers, certainty=0.9)
    assert pit_histogram(dists, masks, certainty=0.9) == pytest.approx(whole)
    assert pit_histogram(list(zip(dists, masks, strict=True)), certainty=0.9) == pytest.approx(whole)
    whole = vote_interval_coverage(predicted, complete.answers, certainty=0.9)
    several = vote_interval_coverage(dists, masks, certainty=0.9)
    assert [several.observed, several.claimed, several.n_voxels] == pytest.approx(
        [whole.observed, whole.claimed, whole.n_voxels]
    )
    cases = [Case(str(i), complete.probs[s], complete.answers[:, s]) for i, s in enumerate(halves)]
    binomial = binom.pmf(np.arange(K + 1), K, complete.probs[:, np.newaxis])
    assert pit_histogram(cases) == pytest.approx(pit_histogram(binomial, complete.answers))
