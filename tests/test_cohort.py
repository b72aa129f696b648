"""Cases side by side: raters put in common, weights of cases, sums under many weights, and files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SMALL_GRID, readings

from mrcalib._files import atomic_write
from mrcalib.cohort import Cohort, check_case_weight
from mrcalib.responses import PooledResponses
from mrcalib.tallies import Tally, tally


def case(probs, answers, **options):
    return tally(np.array(probs, dtype=np.float32), answers, grid=SMALL_GRID, rater_axis=0, **options)


@pytest.fixture
def cohort():
    """Three cases of 2, 3 and no voxels; rater b is missing in the second, c in the first."""
    return Cohort(
        [
            case([0.25, 0.75], np.array([[0, 1], [1, 1]]), rater_names=["a", "b"]),
            case([0.75, 0.75, 1.0], np.array([[1, 0, 1], [1, 1, 1]]), rater_names=["c", "a"]),
            case([], np.empty((1, 0)), rater_names=["b"]),
        ],
        ids=["x", "y", "z"],
        groups=["p", "q", "p"],
        voxel_volume=[0.5, 2, 1],
    )


def assert_same(one: PooledResponses, other: PooledResponses, names=("weight", "prob_sum", "votes", "marked_prob")):
    """Equal to the bit."""
    assert one.bins.tolist() == other.bins.tolist()
    for name in names:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


some_cases = st.lists(readings(max_raters=3, max_voxels=12), min_size=1, max_size=5)


def test_raters_are_put_in_common_and_those_not_named_are_missing(cohort):
    assert cohort.raters == ("a", "b", "c")
    pooled = cohort.pooled()
    assert pooled.bins.tolist() == SMALL_GRID.locate([0.25, 0.75, 1.0]).tolist()
    assert pooled.weight.tolist() == [[1, 3, 1], [1, 1, 0], [0, 2, 1]]
    assert pooled.votes.tolist() == [[0, 3, 1], [1, 1, 0], [0, 1, 1]]
    assert pooled.prob_sum.tolist() == [[0.25, 2.25, 1], [0.25, 0.75, 0], [0, 1.5, 1]]


def test_a_cohort_knows_its_cases(cohort):
    assert len(cohort) == 3
    assert [t.n_voxels for t in cohort] == cohort.n_voxels.tolist() == [2, 3, 0]
    assert (cohort.ids, cohort.groups, cohort.voxel_volume) == (("x", "y", "z"), ("p", "q", "p"), (0.5, 2.0, 1.0))
    rows = cohort.responses(1)
    assert rows.voxel_volume == 2.0
    assert rows.n_raters == 3
    assert rows.count.sum() == 3


def test_ids_groups_and_volumes_have_defaults():
    cohort = Cohort([case([0.5], np.array([[1]]))] * 2)
    assert (cohort.ids, cohort.groups, cohort.voxel_volume) == (("0", "1"), ("0", "1"), (1.0, 1.0))
    assert Cohort(cohort.tallies, ids=[7, 8]).groups == ("7", "8")


def test_voxels_weigh_one_and_equal_cases_weigh_the_same(cohort):
    assert check_case_weight("voxels", [4, 2, 0]).tolist() == [1, 1, 1]
    weight = check_case_weight("equal", [4, 2])
    assert weight.tolist() == [0.75, 1.5]
    assert (weight * [4, 2]).tolist() == [3, 3]
    assert check_case_weight([0, 2.5], [4, 2]).tolist() == [0, 2.5]
    assert_same(cohort.pooled("voxels"), cohort.pooled([1, 1, 1]))


def test_equal_weights_keep_the_number_of_voxels_and_an_empty_case_weighs_nothing():
    weight = check_case_weight("equal", [4, 2, 0])
    assert weight[2] == 0
    assert (weight @ [4, 2, 0]) == pytest.approx(6)
    assert check_case_weight("equal", [0, 0]).tolist() == [0, 0]


def test_weights_of_cases_scale_their_sums(cohort):
    x, y = (cohort.subset([i]).pooled() for i in (0, 1))
    weighted = cohort.pooled([2.0, 0.5, 9.0])
    assert weighted.weight.tolist() == [[2, 3, 0.5], [2, 2, 0], [0, 1, 0.5]]
    assert weighted.weight.sum() == 2 * x.weight.sum() + 0.5 * y.weight.sum()
    assert weighted.votes.sum() == 2 * x.votes.sum() + 0.5 * y.votes.sum()


def test_a_case_of_weight_zero_leaves_no_empty_bins(cohort):
    only = cohort.pooled([1.0, 0.0, 0.0])
    assert_same(only, cohort.subset([0]).tallies[0].with_raters(cohort.raters).pooled())


@given(some_cases, st.data())
def test_sums_under_whole_weights_are_those_of_the_merged_tallies_to_the_bit(cases, data):
    cohort = Cohort([case(r.probs, r.answers) for r in cases])
    row = st.lists(st.integers(0, 3), min_size=len(cases), max_size=len(cases))
    weights = np.array(data.draw(st.lists(row, min_size=1, max_size=4)), dtype=np.float64)
    for w, got in zip(weights, cohort.pooled_many(weights, marked=True), strict=True):
        repeated = [part for part, times in zip(cohort, w, strict=True) for _ in range(int(times))]
        assert_same(got, Tally.sum([Tally.empty(SMALL_GRID, cohort.raters), *repeated]).pooled())


def test_sums_of_many_voxels_under_weights_of_0_and_1_are_those_of_the_merged_tallies_to_the_bit(rng):
    cohort = Cohort([tally(rng.random(3000) ** 5, rng.integers(0, 2, (4, 3000), dtype=np.uint8)) for _ in range(9)])
    weights = np.concatenate([rng.integers(0, 2, (40, 9)), 1 - np.eye(9), np.ones((1, 9))]).astype(float)
    weights[:40, 0] = 1
    for w, got in zip(weights, cohort.pooled_many(weights, marked=True), strict=True):
        assert_same(got, Tally.sum(cohort.subset(w > 0)).pooled())


@given(some_cases, st.data())
def test_sums_under_any_weights_do_not_depend_on_the_order_of_the_cases(cases, data):
    parts = [case(r.probs, r.answers) for r in cases]
    names = [str(r) for r in range(3)]
    cohort = Cohort([part.with_raters(names) for part in [*parts, *parts[:2]]])  # some cases are equal
    factor = st.floats(0, 8)
    weights = np.array(data.draw(st.lists(factor, min_size=2 * len(cohort), max_size=2 * len(cohort))))
    weights = weights.reshape(2, len(cohort))
    order = data.draw(st.permutations(range(len(cohort))))
    other = cohort.subset(order)
    for mine, theirs in zip(
        cohort.pooled_many(weights, marked=True), other.pooled_many(weights[:, order], marked=True), strict=True
    ):
        assert_same(mine, theirs)
    mine, theirs = cohort.vote_counts(weights[0]), other.vote_counts(weights[0][order])
    for name in ("bins", "answers", "votes", "weight"):
        assert getattr(mine, name).tolist() == getattr(theirs, name).tolist()


def test_equal_weights_of_many_cases_add_up_to_the_same_numbers_in_any_order(rng):
    parts = [tally(rng.random(n) ** 5, rng.integers(0, 2, (4, n), dtype=np.uint8)) for n in range(500, 1000, 25)]
    order = rng.permutation(len(parts))
    assert_same(Cohort(parts).pooled("equal"), Cohort([parts[i] for i in order]).pooled("equal"))


def test_raters_in_another_order_change_no_sum(rng):
    parts = [tally(rng.random(n), rng.integers(0, 2, (3, n), dtype=np.uint8)) for n in (70, 80, 90)]
    renamed = [replace(part, raters=("b", "c", "a")) for part in parts]
    pooled = Cohort(renamed).pooled("equal")
    swapped = Cohort([part.with_raters(("a", "b", "c")) for part in renamed]).pooled("equal")
    assert pooled.prob_sum[[2, 0, 1]].tolist() == swapped.prob_sum.tolist()


def test_pooling_voxels_is_pooling_the_merged_tally(cohort):
    assert_same(cohort.pooled(), Tally.sum(cohort).pooled())


def test_sums_by_case_are_those_of_each_tally_on_common_bins(cohort):
    bins, sums = cohort.sums_by_case()
    assert sums.shape == (3, 3, 3, bins.size)
    for part, of_case in zip(cohort, sums, strict=True):
        alone = part.pooled()
        here = np.isin(bins, alone.bins)
        expected = [alone.weight, alone.prob_sum, alone.votes]
        assert of_case[..., here].tolist() == [values.tolist() for values in expected]
        assert not of_case[..., ~here].any()


def test_a_cohort_counts_voxels_at_zero_by_case():
    parts = [case([0.0, 0.25, 1e-44], np.array([[0, 1, 1]])), case([0.5], np.array([[1]]))]
    assert Cohort(parts).n_zeros.tolist() == [part.n_zeros for part in parts] == [2, 0]


def test_a_subset_is_the_cohort_of_these_cases(cohort):
    for which in ([1, 0], np.array([1, 0])):
        some = cohort.subset(which)
        assert (some.ids, some.groups, some.voxel_volume) == (("y", "x"), ("q", "p"), (2.0, 0.5))
        assert list(some) == [cohort.tallies[1], cohort.tallies[0]]
        assert some.raters == cohort.raters
    assert cohort.subset([True, False, True]).ids == ("x", "z")
    assert cohort.subset([-1]).ids == ("z",)


def test_saving_and_loading_gives_the_same_cohort(cohort, tmp_path):
    cohort.save(tmp_path / "new")
    loaded = Cohort.load(tmp_path / "new")
    assert (loaded.ids, loaded.groups, loaded.voxel_volume) == (cohort.ids, cohort.groups, cohort.voxel_volume)
    assert loaded.raters == cohort.raters
    assert list(loaded) == list(cohort)


def test_loading_passes_over_what_a_killed_process_left(cohort, tmp_path):
    cohort.save(tmp_path)
    with atomic_write(tmp_path / "late.npz") as unfinished:
        unfinished.write_bytes(b"half")
    (tmp_path / "late.npz").rename(unfinished)
    assert len(list(tmp_path.glob("*.npz"))) == len(cohort) + 1
    assert Cohort.load(tmp_path).ids == cohort.ids


def test_loading_is_in_the_order_of_the_ids(tmp_path):
    parts = [case([0.5], np.array([[k % 2]])) for k in range(3)]
    Cohort(parts, ids=["c", "a/b", "a_a"]).save(tmp_path)
    assert Cohort.load(tmp_path).ids == ("a/b", "a_a", "c")


def test_tallies_saved_one_by_one_are_a_cohort_named_by_file(tmp_path):
    case([0.5], np.array([[1]])).save(tmp_path / "one.npz")
    case([0.7], np.array([[1]])).save(tmp_path / "two.npz", group="site")
    loaded = Cohort.load(tmp_path)
    assert (loaded.ids, loaded.groups) == (("one", "two"), ("one", "site"))


@pytest.mark.parametrize("name", ["site/1", "../up", "a b", "é.npz", ".", ".hidden", ""])
def test_no_id_makes_a_case_get_lost(tmp_path, name):
    parts = [case([0.5], np.array([[1]])), case([0.7], np.array([[0]]))]
    folder = tmp_path / "in" / "here"
    try:
        Cohort(parts, ids=[name, "other"]).save(folder)
    except ValueError as error:
        assert name in str(error)  # noqa: PT017
        return
    assert sorted(Cohort.load(folder).ids) == sorted([name, "other"])


def test_a_folder_without_tallies_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no tally \(\*\.npz\) in "):
        Cohort.load(tmp_path)


def test_a_damaged_case_is_named(cohort, tmp_path):
    cohort.save(tmp_path)
    (tmp_path / "y.npz").write_text("nothing")
    with pytest.raises(ValueError, match=r"y\.npz is not a tally"):
        Cohort.load(tmp_path)


def test_a_cohort_of_more_raters_than_bits_is_refused_not_wrong():
    parts = [case([0.25], np.array([[1]]), rater_names=[f"reader {k}"]) for k in range(70)]
    try:
        pooled = Cohort(parts).pooled()
    except ValueError:
        return
    assert pooled.weight.tolist() == [[1]] * 70
