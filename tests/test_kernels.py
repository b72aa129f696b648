"""Each kernel equals its twin exactly, from one thread or from eight; and what mathematics says of isotonic regression."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression
from strategies import SMALL_GRID, SPECIAL, knots, probabilities, responses_and_weights

from mrcalib._kernels.interpolation import BLOCK, interpolate, interpolate_single
from mrcalib._kernels.pava import pool_adjacent_violators
from mrcalib._kernels.tallying import BLOCK as COUNTED_AT_ONCE
from mrcalib._kernels.tallying import STRETCH, add_by_rater, count_voxels
from mrcalib.grid import ProbabilityGrid
from mrcalib.maps import PiecewiseLinearMap
from mrcalib.tallies import CountTable

REFUSED = np.array([np.nan, -np.nan, np.inf, -np.inf, -1e-45, -1, np.nextafter(np.float32(1), np.float32(2)), 3e38])


def counted(p, masks, grid=SMALL_GRID):
    """Counts and sums of offsets by bin and votes, how many were refused, and the or of all masks."""
    table = CountTable(grid, 1 << len(masks))
    seen = table.add(np.asarray(p, np.float32), [np.asarray(mask, np.uint8) for mask in masks])
    return table.sums, table.refused, seen


def assert_counted_as_the_twin(p, masks, grid=SMALL_GRID):
    for mine, plain in zip(counted(p, masks, grid), reference.count_voxels(grid, p, masks), strict=True):
        np.testing.assert_array_equal(mine, plain)


def fit(y, w, kernel=pool_adjacent_violators):
    fitted = np.full(len(y), np.nan)
    n = kernel(np.asarray(y, dtype=np.float64), np.asarray(w, dtype=np.float64), fitted)
    return fitted, n


def evaluate(p, x, y, *, compiled=True):
    """The map by the kernel of the dtype, and whether it found what is no probability."""
    out, fitted = np.empty_like(p), PiecewiseLinearMap(x, y)
    single = p.dtype == np.float32
    kernel = interpolate_single if single else interpolate
    kernel = kernel if compiled else getattr(kernel, "py_func", kernel)
    tables = fitted._single_tables if single else fitted._tables
    return out, bool(kernel(p, *tables, out))


def assert_interpolates(p, x, y):
    got, suspect = evaluate(p, x, y)
    assert not suspect
    expected = np.interp(p, x, y).astype(p.dtype)
    if p.dtype == np.float32:
        np.testing.assert_array_max_ulp(got, expected, 2)
        assert (np.diff(got[np.argsort(p, kind="stable")]) >= 0).all()
    else:
        np.testing.assert_array_equal(got, expected)


def test_count_voxels_by_hand():
    p = np.array([0, 0.25, 0.25, 1, 0, -0.0, 1.5], np.float32)
    sums, refused, seen = counted(p, [[0, 0, 1, 1, 0, 0, 0], [], [0, 1, 1, 1, 1, 0, 0]])
    quarter = SMALL_GRID.locate(0.25)
    assert (refused, seen) == (1, 1)
    assert sums[0].sum() == 6
    assert sums[0, 0, [0, 4]].tolist() == [2, 1]
    assert sums[0, quarter, [4, 5]].tolist() == [1, 1]
    assert sums[0, -1, 5] == 1
    assert not sums[1].any()


@pytest.mark.parametrize("bits", range(4, 13))
def test_count_voxels_equals_its_twin_at_every_special_and_every_refused_number(bits):
    grid = ProbabilityGrid(bits, (0.1, 0.3, 0.30000001, 0.5, 0.75, 0.999))
    edges = np.array(grid.edges, np.float32)
    p = np.concatenate(
        [SPECIAL, REFUSED.astype(np.float32), grid.lower[::7], edges, np.nextafter(edges, np.float32(0))]
    )
    assert_counted_as_the_twin(p, [np.arange(p.size) % 2, np.arange(p.size) % 3 == 0], grid)


@given(arrays(np.uint32, st.integers(0, 40)), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_count_voxels_equals_its_twin_for_any_bit_pattern(bits, n_raters, seed):
    rng = np.random.default_rng(seed)
    masks = [rng.integers(0, 2, bits.size if rng.random() < 0.8 else 0).astype(np.uint8) for _ in range(n_raters)]
    assert_counted_as_the_twin(bits.view(np.float32), masks)


@given(st.lists(st.sampled_from([0.2, 0.3, 0.30000001, 0.7, np.nan, 1.5]), min_size=1, max_size=20), st.data())
def test_count_voxels_equals_its_twin_where_runs_and_refused_voxels_alternate(values, data):
    p = np.array(values, dtype=np.float32)
    assert_counted_as_the_twin(p, [data.draw(arrays(np.uint8, p.size, elements=st.integers(0, 1)))])


@pytest.mark.parametrize("size", [COUNTED_AT_ONCE - 1, COUNTED_AT_ONCE + 1, STRETCH, 2 * STRETCH + COUNTED_AT_ONCE + 3])
def test_count_voxels_passes_over_the_ends_of_blocks_of_which_some_are_empty(rng, size):
    p = rng.random(size).astype(np.float32)
    masks = (rng.random((5, size)) < p).astype(np.uint8)
    for start in range(0, size, 3 * COUNTED_AT_ONCE):
        p[start : start + 2 * COUNTED_AT_ONCE] = 0
        masks[:, start : start + COUNTED_AT_ONCE] = 0
    assert_counted_as_the_twin(p, masks)


def test_count_voxels_reports_other_labels():
    assert counted([0.1, 0.2, 0.3], [[0, 0, 2], [1, 0, 0]])[2] == 3
    assert counted([0.1, 0.2, 0.3], [[0, 0, 0]])[2] == 0


@pytest.mark.parametrize("n_raters", range(9))
def test_count_voxels_writes_nothing_outside_its_table_whatever_the_masks_hold(rng, n_raters):
    counters = SMALL_GRID.counters
    size = (1 << n_raters) * counters.bin.size
    around = np.full(size + 2 * 256 * counters.bin.size, 7, np.uint64)
    cells = around[256 * counters.bin.size :][:size]
    cells[:] = 0
    masks = tuple(
        rng.integers(0, 256, 5000).astype(np.uint8) if r < n_raters else np.empty(0, np.uint8) for r in range(8)
    )
    p = rng.random(5000).astype(np.float32)
    refused, seen = count_voxels(
        p, masks, SMALL_GRID.mantissa_bits, counters.first_sub_bin, counters.sub_bin_lower, cells, 41
    )
    assert (refused, seen) == (0, 255 if n_raters else 0)
    assert (around[: 256 * counters.bin.size] == 7).all()
    assert (around[256 * counters.bin.size + size :] == 7).all()
    assert (cells >> np.uint64(41)).sum() == 5000


def test_a_table_is_emptied_before_a_number_overflows():
    table = CountTable(SMALL_GRID, 2)
    table._capacity = table._free = 1000  # of 2**22 - 1
    highest = np.full(4321, np.nextafter(np.float32(0.25), np.float32(0)))
    table.add(highest, [np.ones(highest.size, np.uint8)])
    np.testing.assert_array_equal(counted(highest, [np.ones(highest.size)])[0], table.sums)


@given(st.integers(0, 30), st.integers(1, 62), st.integers(0, 2**32 - 1))
def test_add_by_rater_equals_its_twin_and_ignores_raters_who_do_not_exist(n, n_raters, seed):
    rng = np.random.default_rng(seed)
    present, marked = rng.integers(0, 1 << 62, (2, n))
    cells = (rng.integers(0, 5, n), present, marked, rng.integers(0, 1 << 40, n), rng.integers(0, 1 << 40, n))
    mine, plain = np.ones((2, 4, n_raters, 5))
    add_by_rater(*cells, mine)
    reference.add_by_rater(*cells, plain)
    np.testing.assert_array_equal(mine, plain)


@pytest.mark.parametrize("bits", range(4, 13))
def test_a_full_table_holds_its_largest_count_and_offset(bits):
    grid = ProbabilityGrid(bits)
    table = CountTable(grid, 1)
    table._free = 0
    largest_offset = (1 << (23 - bits)) - 1
    counter = int(np.flatnonzero(grid.counters.bin == grid.locate(0.3))[0])
    table._packed[0, counter] = np.uint64((table._capacity << table._count_at) + table._capacity * largest_offset)
    assert table.sums[:, grid.locate(0.3), 0].tolist() == [table._capacity, table._capacity * largest_offset]
    assert table._capacity * largest_offset < 1 << table._count_at
    assert table._capacity << table._count_at < 1 << 63


@given(responses_and_weights())
def test_pava_equals_its_twin(case):
    (mine, n), (plain, m) = (
        fit(*case, kernel) for kernel in (pool_adjacent_violators, reference.pool_adjacent_violators)
    )
    assert n == m
    np.testing.assert_array_equal(mine, plain)


def test_pava_by_hand():
    fitted, n_blocks = fit([0.0, 1.0, 0.0, 0.5, 0.5, 0.9], [1, 1, 3, 1, 1, 1])
    assert fitted.tolist() == [0.0, 0.25, 0.25, 0.5, 0.5, 0.9]
    assert n_blocks == 4


def test_pava_keeps_the_digits_of_a_rare_response_under_a_heavy_background():
    fitted, _ = fit([1.0, 0.0], [1.0, 1e8])
    assert fitted[0] == pytest.approx(1 / (1e8 + 1), rel=1e-15, abs=0)


def test_pava_of_nothing_is_nothing():
    assert fit([], [])[1] == 0


@given(responses_and_weights(max_size=9, weights=st.integers(1, 9).map(float)))
def test_pava_is_the_max_min_formula(case):
    np.testing.assert_allclose(fit(*case)[0], reference.isotonic(*case), rtol=0, atol=1e-14)


@given(responses_and_weights(max_size=60))
def test_pava_is_optimal_monotone_idempotent_and_keeps_the_mean(case):
    y, w = case
    fitted, n_blocks = fit(y, w)
    assert (np.diff(fitted) >= 0).all()
    assert n_blocks == np.unique(fitted).size
    np.testing.assert_array_equal(fit(fitted, w)[0], fitted)
    assert w @ fitted == pytest.approx(w @ y, rel=1e-13, abs=1e-290)
    np.testing.assert_allclose(fitted, isotonic_regression(y, weights=w).x, rtol=0, atol=1e-12)


@given(responses_and_weights(), st.integers(-20, 20))
def test_pava_is_order_and_scale_equivariant(case, k):
    y, w = case
    fitted = fit(y, w)[0]
    np.testing.assert_allclose(-fit(-y[::-1], w[::-1])[0][::-1], fitted, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(fit(y, np.ldexp(w, k))[0], fitted)
    np.testing.assert_allclose(fit(3 * y - 1, w)[0], 3 * fitted - 1, rtol=0, atol=1e-14)


@given(responses_and_weights(weights=st.integers(1, 5).map(float)))
def test_in_pava_a_whole_weight_is_repetition(case):
    y, w = case
    times = w.astype(int)
    repeated = fit(np.repeat(y, times), np.ones(times.sum()))[0]
    np.testing.assert_allclose(np.repeat(fit(y, w)[0], times), repeated, rtol=0, atol=1e-14)


@given(knots(), arrays(np.float64, 30, elements=st.floats(0, 1).map(abs)))
def test_interpolate_is_np_interp_to_the_bit(xy, p):
    x, y = xy
    p = np.concatenate([p, x, np.nextafter(x, 0), np.nextafter(x, 1), SPECIAL])
    got, suspect = evaluate(p, x, y)
    np.testing.assert_array_equal(got, np.interp(p, x, y))
    assert not suspect


@given(knots(), probabilities(30))
def test_interpolate_of_float32_is_np_interp_to_two_units_in_the_last_place_and_monotone(xy, p):
    x, y = xy
    p = np.concatenate([p, np.clip(x.astype(np.float32), 0, 1), SPECIAL])
    assert_interpolates(p, x, y)


def test_interpolate_passes_over_block_ends_and_keeps_nan(rng):
    p = rng.random(2 * 1024 + 3)
    x, y = np.unique(rng.random(1000)), np.sort(rng.random(1000))
    assert not evaluate(p, x, y)[1]
    p[[0, 1024, -1]] = np.nan
    got, suspect = evaluate(p, x, y)
    np.testing.assert_array_equal(got, np.interp(p, x, y))
    np.testing.assert_array_equal(evaluate(x, x, y)[0], y)
    assert np.isnan(got[[0, 1024, -1]]).all()
    assert suspect


@pytest.mark.parametrize("around", [1e-30, 0.3, 0.7, 0.9999])
def test_interpolate_finds_segments_among_knots_that_share_one_key(around):
    x = around * np.linspace(1, 1.0001, 50)
    y = np.linspace(0, 1, 50) ** 2
    p = around * np.linspace(0.9999, 1.0001, 1001)
    np.testing.assert_array_equal(evaluate(p, x, y)[0], np.interp(p, x, y))


@pytest.mark.parametrize("n_knots", [2, 30, 3000, 100_000])
def test_interpolate_of_float32_is_monotone_and_near_over_all_octaves(rng, n_knots):
    near_zero, near_one = 10 ** rng.uniform(-12, -0.3, (2, n_knots))
    x = np.unique(np.concatenate([near_zero, 1 - near_one]))
    y = np.sort(x * rng.uniform(0.5, 1, x.size))
    far = 10 ** rng.uniform(-14, 0, 20_000)
    p = np.concatenate([far, 1 - far, np.nextafter(x, 1)[:20_000], SPECIAL]).astype(np.float32)
    neighbours = [np.nextafter(p, np.float32(side)) for side in (0, 1)]
    assert_interpolates(np.clip(np.concatenate([p, *neighbours]), 0, 1), x, y)


def test_interpolate_of_float32_keeps_zero_apart_from_the_smallest_numbers():
    p = np.array([0, -0.0, 1e-45, 1e-40, 2.0**-33, 1], np.float32)
    assert PiecewiseLinearMap([0.0, 1.0], [0.25, 1.0], keep_zero=True)(p).tolist() == [0, 0, 0.25, 0.25, 0.25, 1]
    assert PiecewiseLinearMap([0.0, 1.0], [0.25, 1.0])(p).tolist() == [0.25] * 5 + [1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.nextafter(np.float32(1), np.float32(2)), -1e-30, -0.3, 17.0])
def test_interpolate_tells_of_what_is_no_probability(value, dtype):
    assert evaluate(np.array([0.1, value, 0.2], dtype), [0.0, 1.0], [0.0, 1.0])[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_interpolate_reads_nothing_outside_its_tables_whatever_it_is_given(dtype):
    """Compiled code would read on past a table; run as Python, the same lines raise IndexError."""
    for bad in (np.inf, -np.inf, np.nan, -0.3, -0.0, 17.0, 1e30):
        for x in ([0.0, 1.0], [0.2, 0.7], [0.5]):
            with np.errstate(all="ignore"):
                assert evaluate(np.array([bad, 0.5], dtype), x, np.linspace(0, 1, len(x)), compiled=False)[0].size == 2


def test_every_kernel_gives_the_serial_answer_from_eight_threads_at_once(rng):
    n = 20_000
    p, columns = rng.random(n).astype(np.float32), rng.integers(0, 8, n, dtype=np.uint8)
    y, w = rng.random(n), rng.random(n) + 0.1
    x, values = np.sort(rng.random(100)), np.sort(rng.random(100))

    def one_of_each(_):
        return *counted(p, [columns % 2, columns // 2 % 2, columns // 4]), *fit(y, w), *evaluate(p, x, values)

    serial = one_of_each(0)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(one_of_each, range(32)):
            for mine, plain in zip(result, serial, strict=True):
                np.testing.assert_array_equal(mine, plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("first", [0.0, 1e-310, 0.2])
def test_interpolate_passes_over_blocks_of_zeros(dtype, first):
    x, y = np.array([first, 0.5, 1.0]), np.array([0.1, 0.6, 0.9])
    p = np.zeros(3 * BLOCK, dtype)
    p[BLOCK + 7], p[-1] = 0.4, 1.0
    assert_interpolates(p, x, y)
