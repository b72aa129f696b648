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

from mrcalib._kernels.interpolation import BLOCK, interpolate
from mrcalib._kernels.pava import pool_adjacent_violators
from mrcalib._kernels.tallying import add_counts, find_keys, pack_bits
from mrcalib.grid import ProbabilityGrid
from mrcalib.maps import PiecewiseLinearMap

REFUSED = np.array([np.nan, -np.nan, np.inf, -np.inf, -1e-45, -1, np.nextafter(np.float32(1), np.float32(2)), 3e38])


def keys_of(find, p, bits):
    keys, excess = np.full(p.size, -7, np.int32), np.full(p.size, -7, np.int32)
    find(p, bits, keys, excess)
    return keys, excess


def counted(add, p, columns, n_columns, grid):
    keys, excess = keys_of(find_keys, p, grid.mantissa_bits)
    table = np.zeros((grid.n_bins, n_columns, 2), np.int64)
    return add(p, keys, excess, columns, grid.first, grid.lower, table), table


def fit(y, w, kernel=pool_adjacent_violators):
    fitted = np.full(len(y), np.nan)
    n = kernel(np.asarray(y, dtype=np.float64), np.asarray(w, dtype=np.float64), fitted)
    return fitted, n


def evaluate(p, x, y, kernel=interpolate):
    out = np.empty_like(p)
    nearer = None if p.dtype == np.float32 else np.empty(BLOCK, np.int32)
    suspect = kernel(p, *PiecewiseLinearMap(x, y)._tables(), nearer, out)
    return out, bool(suspect)


@pytest.mark.parametrize("bits", range(4, 13))
def test_find_keys_equals_its_twin_at_every_special_and_every_refused_number(bits):
    p = np.concatenate([SPECIAL, REFUSED.astype(np.float32), ProbabilityGrid(bits).lower[::7]])
    for mine, plain in zip(keys_of(find_keys, p, bits), keys_of(reference.find_keys, p, bits), strict=True):
        np.testing.assert_array_equal(mine, plain)


@given(arrays(np.uint32, st.integers(0, 40)), st.integers(4, 12))
def test_find_keys_equals_its_twin_for_any_bit_pattern(bits, n_mantissa):
    p = bits.view(np.float32)
    p[p == 0] = 0  # -0.0 is the business of test_grid
    for mine, plain in zip(keys_of(find_keys, p, n_mantissa), keys_of(reference.find_keys, p, n_mantissa), strict=True):
        np.testing.assert_array_equal(mine, plain)


def test_find_keys_passes_over_block_ends(rng):
    p = rng.random(2 * 1024 + 3).astype(np.float32)
    for mine, plain in zip(keys_of(find_keys, p, 7), keys_of(reference.find_keys, p, 7), strict=True):
        np.testing.assert_array_equal(mine, plain)


def test_pack_bits_packs_raters_and_tells_of_other_labels():
    out = np.full(4, 9, np.uint8)
    ones, none = np.array([1, 0, 1, 1], np.uint8), np.empty(0, np.uint8)
    assert pack_bits((ones, none, np.array([0, 1, 1, 0], np.uint8)), out) == 1
    assert out.tolist() == [1, 4, 5, 1]
    assert pack_bits((np.array([0, 0, 2], np.uint8),), np.zeros(3, np.uint8)) == 2
    assert pack_bits((np.zeros(3, np.uint8),), np.ones(3, np.uint8)) == 0


@given(st.integers(0, 30), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_pack_bits_equals_its_twin(n, n_raters, seed):
    rng = np.random.default_rng(seed)
    masks = tuple(rng.integers(0, 2, n if rng.random() < 0.8 else 0).astype(np.uint8) for _ in range(n_raters))
    mine, plain = np.empty((2, n), np.uint8)
    assert pack_bits(masks, mine) == reference.pack_bits(masks, plain)
    np.testing.assert_array_equal(mine, plain)


def test_pack_bits_passes_over_block_ends():
    rng = np.random.default_rng(0)
    masks = tuple(rng.integers(0, 2, 5000).astype(np.uint8) for _ in range(5))
    mine, plain = np.empty((2, 5000), np.uint8)
    assert pack_bits(masks, mine) == reference.pack_bits(masks, plain) == 1
    np.testing.assert_array_equal(mine, plain)


@given(
    st.integers(1, 40).flatmap(lambda n: st.tuples(probabilities(n), arrays(np.uint8, n, elements=st.integers(0, 3))))
)
def test_add_counts_equals_its_twin(voxels):
    p, columns = voxels
    mine, plain = (counted(add, p, columns, 4, SMALL_GRID) for add in (add_counts, reference.add_counts))
    assert mine[0] == plain[0] == 0
    np.testing.assert_array_equal(mine[1], plain[1])


@given(st.lists(st.sampled_from([0.2, 0.3, 0.30000001, 0.7, np.nan, 1.5]), min_size=1, max_size=20), st.data())
def test_add_counts_equals_its_twin_where_runs_and_refused_voxels_alternate(values, data):
    p = np.array(values, dtype=np.float32)
    columns = data.draw(arrays(np.uint8, p.size, elements=st.integers(0, 1)))
    mine, plain = (counted(add, p, columns, 2, SMALL_GRID) for add in (add_counts, reference.add_counts))
    assert mine[0] == plain[0] == np.count_nonzero(~(p <= 1))
    np.testing.assert_array_equal(mine[1], plain[1])


def test_add_counts_adds_to_what_the_table_holds():
    p, columns = np.array([0.25, 0.25, 1.0], np.float32), np.array([0, 0, 1], np.uint8)
    keys, excess = keys_of(find_keys, p, 4)
    table = np.ones((SMALL_GRID.n_bins, 2, 2), np.int64)
    add_counts(p, keys, excess, columns, SMALL_GRID.first, SMALL_GRID.lower, table)
    assert table[SMALL_GRID.locate(0.25), 0].tolist() == [3, 1]
    assert table[-1, 1].tolist() == [2, 1]
    assert table.sum() == table.size + 3


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
def test_interpolate_of_float32_is_np_interp_rounded_to_float32(xy, p):
    x, y = xy
    p = np.concatenate([p, np.clip(x.astype(np.float32), 0, 1), SPECIAL])
    got, suspect = evaluate(p, x, y)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.interp(p.astype(np.float64), x, y).astype(np.float32))
    assert not suspect


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.nextafter(np.float32(1), np.float32(2)), -1e-30, -0.3, 17.0])
def test_interpolate_tells_of_what_is_no_probability(value, dtype):
    assert evaluate(np.array([0.1, value, 0.2], dtype), [0.0, 1.0], [0.0, 1.0])[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_interpolate_reads_nothing_outside_its_tables_whatever_it_is_given(dtype):
    """Compiled code would read on past a table; run as Python, the same lines raise IndexError."""
    plain = getattr(interpolate, "py_func", interpolate)
    for bad in (np.inf, -np.inf, np.nan, -0.3, -0.0, 17.0, 1e30):
        for x in ([0.0, 1.0], [0.2, 0.7], [0.5]):
            with np.errstate(all="ignore"):
                assert evaluate(np.array([bad, 0.5], dtype), x, np.linspace(0, 1, len(x)), plain)[0].size == 2


def test_every_kernel_gives_the_serial_answer_from_eight_threads_at_once(rng):
    n = 20_000
    p, columns = rng.random(n).astype(np.float32), rng.integers(0, 8, n, dtype=np.uint8)
    y, w = rng.random(n), rng.random(n) + 0.1
    x, values = np.sort(rng.random(100)), np.sort(rng.random(100))

    def one_of_each(_):
        packed = columns.copy()
        seen = pack_bits((columns % 2, columns // 2 % 2), packed)
        refused, table = counted(add_counts, p, columns, 8, SMALL_GRID)
        fitted, n_blocks = fit(y, w)
        return seen, packed, refused, table, fitted, n_blocks, *evaluate(p, x, values)

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
    got, suspect = evaluate(p, x, y)
    assert not suspect
    np.testing.assert_array_equal(got, np.interp(p, x, y).astype(dtype))
