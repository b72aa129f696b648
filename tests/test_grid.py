"""Every probability has one bin, bins are as fine as promised, and sums of probabilities are exact."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from strategies import SMALL_GRID, SPECIAL, probabilities, with_neighbours

from mrcalib.grid import ProbabilityGrid, edge_above, edges_of_uniform_bins
from mrcalib.tallies import tally

STANDARD = ProbabilityGrid.standard()
GRIDS = [STANDARD, SMALL_GRID, ProbabilityGrid(12), ProbabilityGrid(edges=(2.0**-32, 1e-9, 1 - 2.0**-24))]
ids = [f"{g.mantissa_bits}bits-{len(g.edges)}edges" for g in GRIDS]


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_every_bin_is_closed_on_the_left_to_the_bit(grid):
    assert grid.lower[0] == 0
    assert grid.lower[-1] == 1
    assert (np.diff(grid.lower) > 0).all()
    np.testing.assert_array_equal(grid.locate(grid.lower), np.arange(grid.n_bins))
    below = np.nextafter(grid.lower[1:], np.float32(0))
    np.testing.assert_array_equal(grid.locate(below), np.arange(grid.n_bins - 1))


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_numbers_across_all_of_float32_go_where_bisection_puts_them(grid):
    p = np.arange(0, 0x3F800001, 1999, dtype=np.uint32).view(np.float32)
    np.testing.assert_array_equal(grid.locate(p), reference.locate(grid, p))


@given(st.sampled_from(GRIDS), probabilities(20))
def test_hard_numbers_go_where_bisection_puts_them(grid, p):
    np.testing.assert_array_equal(grid.locate(p), reference.locate(grid, p))


@given(st.integers(4, 12), st.lists(st.floats(2.0**-32, 1 - 2.0**-24, width=32), max_size=6))
def test_any_extra_edge_opens_a_bin_exactly_there(bits, edges):
    grid = ProbabilityGrid(bits, tuple(edges))
    assert np.isin(np.float32(edges), grid.lower).all()
    p = np.concatenate([SPECIAL, with_neighbours(edges)])
    np.testing.assert_array_equal(grid.locate(p), reference.locate(grid, p))


@pytest.mark.parametrize("edge", [1e-12, 2.0**-33, 1e-40, 1e-45])
def test_an_edge_where_all_shares_one_bin_is_honoured_or_refused(edge):
    try:
        grid = ProbabilityGrid(edges=(edge,))
    except ValueError:
        return
    p = np.concatenate([SPECIAL, with_neighbours([edge, 2 * edge, edge / 2])])
    np.testing.assert_array_equal(grid.locate(p), reference.locate(grid, p))


@pytest.mark.parametrize("grid", GRIDS, ids=ids)
def test_counting_puts_a_probability_where_locate_does(grid):
    p = np.concatenate([with_neighbours(grid.lower[:: max(1, grid.n_bins // 3000)]), SPECIAL])
    counted = tally(p, np.zeros(p.size, np.uint8), grid=grid)
    expected, times = np.unique(grid.locate(p), return_counts=True)
    np.testing.assert_array_equal(counted.cells.bin, expected)
    np.testing.assert_array_equal(counted.cells.voxels, times)


@pytest.mark.parametrize("bits", range(4, 13))
def test_a_bin_is_at_most_two_to_the_minus_bits_of_its_smaller_side_wide(bits):
    lower = ProbabilityGrid(bits).lower.astype(np.float64)
    last = np.nextafter(lower[1:].astype(np.float32), np.float32(0)).astype(np.float64)
    first = lower[:-1]
    smaller = np.minimum(np.minimum(first, last), np.minimum(1 - first, 1 - last))
    resolved = first >= 2.0**-32
    assert ((last - first)[resolved] <= 2.0**-bits * smaller[resolved]).all()


def test_zero_half_and_one_have_bins_of_their_own_and_tiny_ones_share_one():
    grid = ProbabilityGrid()
    tiny = np.float32([2.0**-133, 1e-30, 1e-12, np.nextafter(np.float32(2.0**-32), np.float32(0))])
    assert set(grid.locate(tiny).tolist()) == {1}
    zero, below, half, above, almost, one = grid.locate(
        np.float32([2.0**-140, 0.5 - 2.0**-25, 0.5, 0.5 + 2.0**-24, 1 - 2.0**-24, 1.0])
    ).tolist()
    assert (zero, half - below, above - half, one - almost) == (0, 1, 1, 1)
    assert grid.lower[half : half + 2].tolist() == [0.5, 0.5 + 2.0**-24]
    assert one == grid.n_bins - 1


def test_the_size_of_a_grid_is_what_its_bits_say():
    """Below 1/2: 31 octaves of 2**bits, 0, the tiny ones and 1/2. Above: 1 and what float32 holds, 2**-24 apart."""
    octaves_above = sum(min(2**4, 2**k) for k in range(23))
    assert ProbabilityGrid(4).n_bins == 31 * 2**4 + 3 + octaves_above + 1


@given(arrays(np.uint32, 20))
def test_what_is_no_probability_has_no_bin(bits):
    p = bits.view(np.float32)
    p[p == 0] = 0
    np.testing.assert_array_equal(STANDARD.locate(p), reference.locate(STANDARD, p))


def test_nan_infinity_and_numbers_just_outside_have_no_bin():
    outside = np.float32([np.nan, np.inf, -np.inf, -1e-45, -0.5, np.nextafter(np.float32(1), np.float32(2)), 7])
    assert STANDARD.locate(outside).tolist() == [-1] * 7


def test_minus_zero_is_zero():
    assert STANDARD.locate(np.float32([-0.0, 0.0])).tolist() == [0, 0]


def test_locate_keeps_the_shape_and_takes_any_float():
    p = np.array([[0.1, 0.7], [0.9, 0.5]], order="F")
    for dtype in (np.float16, np.float32, np.float64, ">f8"):
        bins = STANDARD.locate(p.astype(dtype))
        assert bins.shape == (2, 2)
        np.testing.assert_array_equal(bins, reference.locate(STANDARD, p.astype(dtype).astype(np.float32)))
    assert STANDARD.locate(0.5).shape == ()


@given(st.sampled_from(GRIDS), st.integers(0, 60).flatmap(probabilities))
def test_sums_of_probabilities_are_exact_and_rounded_once(grid, p):
    counted = tally(p, np.zeros(p.size, np.uint8), grid=grid)
    bins = reference.locate(grid, p)
    values = np.where((p > 0) & (p < reference.TINY) & (bins > 0), reference.TINY / 2, np.where(bins > 0, p, 0.0))
    expected = [math.fsum(values[bins == b].astype(np.float64)) for b in counted.cells.bin]
    got = grid.sum_of_probabilities(counted.cells.bin, counted.cells.voxels, counted.cells.offset_sum)
    assert got.tolist() == expected


def test_a_sum_of_probabilities_by_hand():
    counted = tally(np.array([0.25, 0.2505, 0.75, 0.7495, 1.0, 1.0, 1e-20]), np.zeros(7), grid=ProbabilityGrid(4))
    cells = counted.cells
    got = counted.grid.sum_of_probabilities(cells.bin, cells.voxels, cells.offset_sum)
    single = [float(np.float32(v)) for v in (0.2505, 0.7495)]
    assert got.tolist() == [2.0**-33, 0.25 + single[0], 0.75 + single[1], 2.0]


def test_edges_of_uniform_bins_are_the_float32_numbers_that_open_the_bins():
    assert edges_of_uniform_bins(1) == ()
    assert edges_of_uniform_bins(5) == tuple(float(np.float32(v)) for v in (0.2, 0.4, 0.6, 0.8))


def test_the_standard_grid_is_cut_at_uniform_bins_and_strictly_above_dice_thresholds():
    for n in (10, 15, 50):
        assert np.isin(np.float32(edges_of_uniform_bins(n)), STANDARD.lower).all()
    for threshold in (0.1, 0.24, 0.38, 0.52, 0.66, 0.8, 0.5):
        assert edge_above(threshold) in STANDARD.lower.tolist()
    assert ProbabilityGrid.standard() is STANDARD


@given(st.floats(0, 0.999))
def test_edge_above_is_the_smallest_float32_that_is_greater(threshold):
    edge = edge_above(threshold)
    assert float(np.float32(edge)) == edge > threshold
    assert float(np.nextafter(np.float32(edge), np.float32(0))) <= threshold


def test_grids_are_equal_when_bits_and_rounded_edges_are():
    assert ProbabilityGrid(5, (0.3, 0.1)) == ProbabilityGrid(5, (float(np.float32(0.1)), 0.3, 0.3))
    assert ProbabilityGrid(5) != ProbabilityGrid(6)
    assert ProbabilityGrid(5, (0.3,)) != ProbabilityGrid(5, (0.31,))
    assert hash(ProbabilityGrid(5, (0.3,))) == hash(ProbabilityGrid(5, (0.3,)))


def test_the_arrays_of_a_grid_are_read_only():
    for array in (STANDARD.lower, *STANDARD.counters):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_whole_numbers_of_numpy_are_whole_numbers(tmp_path):
    counted = tally(np.array([0.5]), [1], grid=ProbabilityGrid(np.int64(7)))
    counted.save(tmp_path / "t.npz")
    assert type(counted).load(tmp_path / "t.npz") == counted


def test_a_pickled_grid_is_equal_and_small():
    grid = ProbabilityGrid(7, (0.25,))
    assert grid.counters is not None
    pickled = pickle.dumps(grid)
    assert len(pickled) < 200
    assert pickle.loads(pickled) == grid
