"""Groups stay together in every resample and every split; intervals are scipy's and the published formula's."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import scipy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, KFold
from sklearn.utils.fixes import parse_version

from mrcalib.resampling import (
    bca_interval,
    bootstrap_counts,
    jackknife_counts,
    percentile_interval,
    splits,
    weighted_means,
    weighted_sums,
    weighted_values,
)

group_lists = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=15).filter(lambda g: len(set(g)) > 1)


@given(group_lists, st.integers(0, 2**32 - 1))
def test_bootstrap_draws_as_many_groups_as_there_are_and_keeps_each_together(groups, seed):
    counts = bootstrap_counts(groups, 50, rng=seed)
    assert counts.shape == (50, len(groups))
    first = [groups.index(name) for name in dict.fromkeys(groups)]
    np.testing.assert_array_equal(counts[:, first].sum(axis=1), len(first))
    for i, name in enumerate(groups):
        np.testing.assert_array_equal(counts[:, i], counts[:, groups.index(name)])


def test_every_group_is_drawn_as_often_as_chance_says():
    counts = bootstrap_counts(["a", "b", "b", "c", "d"], 20_000, rng=0)
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.03)
    np.testing.assert_allclose(counts.var(axis=0), 3 / 4, atol=0.03)
    assert np.mean(counts[:, 0] == 0) == pytest.approx((3 / 4) ** 4, abs=0.01)


def test_bootstrap_depends_on_its_generator_alone():
    groups = list("abcdef")
    np.testing.assert_array_equal(bootstrap_counts(groups, 9, rng=3), bootstrap_counts(groups, 9, rng=3))
    generator = np.random.default_rng(3)
    np.testing.assert_array_equal(bootstrap_counts(groups, 9, rng=generator), bootstrap_counts(groups, 9, rng=3))
    assert (bootstrap_counts(groups, 9, rng=generator) != bootstrap_counts(groups, 9, rng=3)).any()
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    bootstrap_counts(groups, 9)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


@given(group_lists)
def test_the_jackknife_leaves_each_group_out_once(groups):
    counts = jackknife_counts(groups)
    names = list(dict.fromkeys(groups))
    assert counts.tolist() == [[float(g != name) for g in groups] for name in names]


def test_percentile_interval_by_hand():
    low, high = percentile_interval(np.arange(101.0)[::-1], level=0.9)
    assert (low, high) == pytest.approx((5.0, 95.0))
    samples = np.stack([np.arange(101.0), -np.arange(101.0), np.full(101, np.nan)], axis=1)
    low, high = percentile_interval(samples, level=0.9)
    np.testing.assert_allclose(low, [5, -95, np.nan])
    np.testing.assert_allclose(high, [95, -5, np.nan])


def test_resamples_without_a_value_are_left_out():
    known = np.random.default_rng(0).random(200)
    with_gaps = np.insert(known, [0, 50, 200], np.nan)
    assert percentile_interval(with_gaps) == percentile_interval(known)
    jackknife = np.random.default_rng(1).random(10)
    got = bca_interval(with_gaps, 0.5, np.append(jackknife, np.nan))
    assert got == bca_interval(known, 0.5, jackknife)


def seeded(seed):
    """The generator under the name that this SciPy gives it (``rng`` since 1.15)."""
    name = "rng" if parse_version(scipy.__version__) >= parse_version("1.15") else "random_state"
    return {name: np.random.default_rng(seed)}


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_intervals_are_those_of_scipy_on_the_same_resamples(level, method):
    x = np.random.default_rng(4).gamma(0.7, size=14)
    result = stats.bootstrap((x,), np.mean, n_resamples=2000, confidence_level=level, method=method, **seeded(5))
    samples = result.bootstrap_distribution
    if method == "BCa":
        left_out = weighted_means(x, jackknife_counts([str(i) for i in range(x.size)]))
        got = bca_interval(samples, x.mean(), left_out, level)
    else:
        got = percentile_interval(samples, level)
    np.testing.assert_allclose(got, result.confidence_interval, rtol=1e-12)


def test_our_own_resamples_of_cases_give_the_interval_of_scipy():
    x = np.random.default_rng(6).gamma(0.7, size=25)
    groups = [str(i) for i in range(x.size)]
    samples = weighted_means(x, bootstrap_counts(groups, 20_000, rng=0))
    theirs = stats.bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", **seeded(1))
    got = bca_interval(samples, x.mean(), weighted_means(x, jackknife_counts(groups)))
    np.testing.assert_allclose(got, theirs.confidence_interval, rtol=0, atol=0.03 * x.std())
    assert abs(got[1] - percentile_interval(samples)[1]) > 0.03 * x.std()


@given(
    arrays(np.float64, 60, elements=st.integers(0, 20).map(lambda k: k / 10)),
    arrays(np.float64, 8, elements=st.floats(0, 2)),
    st.sampled_from([0.5, 0.9, 0.95]),
)
def test_bca_is_the_published_formula(samples, jackknife, level):
    estimate = float(np.median(samples))
    d = jackknife.mean() - jackknife
    usable = np.ptp(samples) > 0 and (d**2).sum() > 1e-6
    share = np.mean((samples < estimate) + 0.5 * (samples == estimate))
    if not usable or not 0 < share < 1:
        return
    got = bca_interval(samples, estimate, jackknife, level)
    np.testing.assert_allclose(got, reference.bca(samples, estimate, jackknife, level), rtol=1e-9, atol=1e-9)


def test_bca_of_what_does_not_vary_or_is_not_known():
    assert bca_interval(np.full(9, 0.3), 0.3, [0.3, 0.3]) == (0.3, 0.3)
    for samples, estimate in ((np.full(9, np.nan), 0.3), ([], 0.3), (np.arange(9.0), np.nan)):
        assert np.isnan(bca_interval(samples, estimate, [0.1, 0.2])).all()
    symmetric = np.arange(-50.0, 51)
    np.testing.assert_allclose(bca_interval(symmetric, 0.0, [1.0, 1.0]), percentile_interval(symmetric), atol=1e-12)


def test_an_estimate_outside_all_resamples_still_has_an_interval():
    low, high = bca_interval(np.arange(100.0), -1.0, [0.0, 1.0, 3.0])
    assert (low, high) == pytest.approx((0.0, 0.0))


@given(group_lists)
def test_leaving_one_group_out_tests_each_group_once(groups):
    folds = splits(groups)
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(groups)))
    assert [len({groups[i] for i in fold}) for fold in folds] == [1] * len(set(groups))


@given(group_lists, st.integers(2, 6), st.integers(0, 99))
def test_folds_share_no_group_and_cover_all_cases(groups, k, seed):
    if k > len(set(groups)):
        return
    folds = splits(groups, k, random_state=seed)
    assert len(folds) == k
    assert sorted(np.concatenate(folds).tolist()) == list(range(len(groups)))
    of_group = [{j for j, fold in enumerate(folds) if i in fold.tolist()} for i in range(len(groups))]
    for i, name in enumerate(groups):
        assert of_group[i] == of_group[groups.index(name)]


def test_folds_depend_on_random_state_alone():
    groups = [str(i) for i in range(12)]
    first, again, other = (splits(groups, 3, random_state=s) for s in (1, 1, 2))
    assert [f.tolist() for f in first] == [f.tolist() for f in again]
    assert [f.tolist() for f in first] != [f.tolist() for f in other]


def test_splitters_of_scikit_learn_are_taken():
    groups = list("aabbccdd")
    folds = splits(groups, GroupKFold(4))
    assert sorted(fold.tolist() for fold in folds) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_a_splitter_that_does_not_test_every_case_once_is_refused():
    with pytest.raises(ValueError, match="must test every case once; use a splitter such as GroupKFold"):
        splits(list("aabbccdd"), GroupShuffleSplit(5, test_size=0.5, random_state=0))


def test_a_number_of_folds_may_come_from_numpy():
    assert len(splits(list("aabb"), np.int64(2))) == 2


def test_a_splitter_that_divides_a_group_is_refused():
    with pytest.raises(ValueError, match="group"):
        splits(list("abab"), KFold(2))


def test_weighted_values_are_the_same_in_any_chunks(rng):
    statistics, counts = rng.random((5, 3)), rng.integers(0, 3, (11, 5)).astype(float)

    def ratio(sums):
        return sums[..., 0] / (1 + sums[..., 1])

    expected = [ratio(sum(n * row for n, row in zip(c, statistics, strict=True))) for c in counts]
    for chunk in (1, 4, 11, 512):
        np.testing.assert_allclose(weighted_values(ratio, statistics, counts, chunk), expected, rtol=1e-14)


def test_weighted_means_leave_out_cases_without_a_value():
    values = np.array([1.0, np.nan, 4.0])
    counts = np.array([[1, 1, 1], [2, 5, 1], [0, 3, 0], [0, 0, 2.0]])
    np.testing.assert_array_equal(weighted_means(values, counts), [2.5, 2.0, np.nan, 4.0])


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (64, 750), (130, 65), (300, 1), (2, 5000)])
@pytest.mark.parametrize("n", [0, 1, 70, 5000])
def test_sums_in_small_products_are_the_product(rng, shape, n):
    statistics = rng.integers(-1000, 1000, shape).astype(float)
    counts = rng.integers(0, 5, (n, shape[0])).astype(float)
    np.testing.assert_array_equal(weighted_sums(statistics, counts), counts @ statistics)
    sideways = np.asfortranarray(counts)
    np.testing.assert_array_equal(weighted_sums(statistics[:, ::-1], sideways), counts @ statistics[:, ::-1])


def test_a_value_with_a_quicker_way_is_asked_for_it_where_there_are_more_rows_than_cases():
    def total(statistics):
        return statistics.sum(axis=-1)

    def quicker(statistics):
        return lambda counts: -(counts @ statistics.sum(axis=-1))  # its sign tells which of the two was used

    statistics = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert weighted_values(total, statistics, np.eye(2)[:1], resampler=quicker).tolist() == [3.0]
    assert weighted_values(total, statistics, np.ones((3, 2)), resampler=quicker).tolist() == [-10.0] * 3


def test_resamples_that_equal_the_estimate_up_to_rounding_are_ties():
    samples = np.array([0.1, 0.3, 0.3, 0.3, 0.5] * 20)
    samples[::7] = 0.2  # the estimate is not their median
    noisy, jackknife = samples - 1e-16, [0.28, 0.31, 0.32]
    assert np.count_nonzero(noisy < 0.3) > np.count_nonzero(samples < 0.3)
    np.testing.assert_allclose(bca_interval(noisy, 0.3, jackknife), bca_interval(samples, 0.3, jackknife), rtol=1e-9)
