"""The kernels of the second pass equal their twins: the cell of a voxel, what is counted there, what is gathered and pooled."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import SPECIAL, probabilities

from mrcalib._kernels.second_pass import (
    BLOCK,
    GATHERED,
    HALF,
    INVALID,
    LAST,
    SKIPPED,
    count_cells,
    find_codes,
    gather_voxels,
    pool_gathered,
)
from mrcalib.calibrators._partition import lookup, ordinals_of, probs_of, spacing_at

NO_PROBABILITY = np.array([np.nan, -np.nan, np.inf, -np.inf, -1e-45, -1, 1.0000001, 3e38], np.float32)
NOBODY = np.empty(0, np.uint8)


def code_of(p, starts, ends, codes):
    """The twin of ``find_codes``: by bisection."""
    o = ordinals_of(p).astype(np.int64)
    cell = np.searchsorted(starts, o, side="right") - 1
    return np.where((cell >= 0) & (o < ends[cell]), codes[cell], SKIPPED)


@st.composite
def cells(draw):
    """Cells between ordinals of special numbers, of their neighbours and of any others, with gaps; and codes of their own."""
    some = st.one_of(st.sampled_from(ordinals_of(SPECIAL[1:]).tolist()), st.integers(1, LAST))
    bounds = np.unique(draw(st.lists(some, min_size=2, max_size=12, unique=True)))
    kept = np.array(draw(st.lists(st.booleans(), min_size=bounds.size - 1, max_size=bounds.size - 1)), dtype=bool)
    kept[0] = True
    codes = np.arange(kept.sum(), dtype=np.int32)
    return bounds[:-1][kept].astype(np.int64), bounds[1:][kept].astype(np.int64), codes


def found(p, tables):
    out = np.full(p.size, -7, np.int32)
    find_codes(p, *tables, out)
    return out


def test_ordinals_grow_with_p_and_lead_back_to_it():
    p = np.unique(np.concatenate([SPECIAL, np.random.default_rng(0).random(2000).astype(np.float32)]))
    o = ordinals_of(p)
    assert (np.diff(o.astype(np.int64)) > 0).all()
    np.testing.assert_array_equal(probs_of(o), p.astype(np.float64))
    assert (o[p == 0], o[p == 0.5], o[p == 1]) == (0, HALF, LAST)
    assert (ordinals_of(NO_PROBABILITY) == INVALID).all()
    assert ordinals_of(np.array([-0.0], np.float32)) == 0


def test_between_two_ordinals_of_an_octave_p_grows_by_their_spacing():
    for p in (1e-42, 1e-30, 0.3, 0.4999, 0.6, 0.99):
        o = int(ordinals_of(np.array([p], np.float32))[0])
        o -= o % 128
        pair = np.array([o, o + 37])
        low, high = probs_of(pair)
        assert high - low == pytest.approx(37 * spacing_at(pair)[0], rel=1e-12)


@given(cells(), probabilities(30))
def test_find_codes_equals_its_twin(case, p):
    starts, ends, codes = case
    edges = np.concatenate([starts, ends, starts - 1, ends - 1, starts + 1])
    edges = edges[edges > 0]
    near = probs_of(edges[edges <= LAST]).astype(np.float32)
    p = np.concatenate([p, SPECIAL, NO_PROBABILITY, near])
    np.testing.assert_array_equal(found(p, lookup(starts, ends, codes)), code_of(p, starts, ends, codes))


def test_without_cells_every_voxel_is_skipped():
    none = np.empty(0, np.int64)
    assert (found(SPECIAL, lookup(none, none, none.astype(np.int32))) == SKIPPED).all()


def voxels(n, seed, n_raters=3):
    """Probabilities with blocks of zeros, refused values among them, masks, and how many answered each voxel."""
    rng = np.random.default_rng(seed)
    p = rng.choice(np.concatenate([SPECIAL, NO_PROBABILITY, rng.random(40).astype(np.float32)]), n)
    p[n // 4 : n // 2] = 0
    masks = tuple(rng.integers(0, 2, n).astype(np.uint8) for _ in range(n_raters))
    return p, masks, rng.integers(0, 4, n).astype(np.uint8)


def some_cells(seed):
    rng = np.random.default_rng(seed)
    bounds = np.unique(np.append(rng.integers(1, LAST + 1, 20), ordinals_of(SPECIAL[1::5])))
    codes = rng.permutation(bounds.size - 1).astype(np.int32)
    codes[rng.random(codes.size) < 0.5] = GATHERED
    return bounds[:-1].astype(np.int64), bounds[1:].astype(np.int64), codes


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("n", [1, 50, 4 * BLOCK, 4 * BLOCK + 3])
def test_count_cells_equals_its_twin(n, everywhere):
    p, masks, answers = voxels(n, seed=n)
    case = some_cells(n)
    given_, votes = np.full(n, 3) if everywhere else answers.astype(int), np.sum(masks, axis=0, dtype=np.int64)
    code = code_of(p, *case)
    expected = np.ones((21 + SPECIAL.size, 3), np.int64)
    for c, a, o, v in zip(code, given_, ordinals_of(p).astype(np.int64), votes, strict=True):
        if c != SKIPPED:
            expected[c] += (a, a * o, v)
    table = np.ones_like(expected)
    count_cells(p, masks, NOBODY if everywhere else answers, *lookup(*case), table)
    np.testing.assert_array_equal(table, expected)


def gather(p, masks, answers, tables, n_codes, size):  # noqa: PLR0917 - as the kernel
    """All that the kernel finds, with buffers of ``size``."""
    lowest, highest = np.full(n_codes, LAST + 1, np.uint32), np.zeros(n_codes, np.uint32)
    buffer, parts, at = np.empty(size, np.uint64), [], 0
    while at < p.size:
        at, n = gather_voxels(p, masks, answers, *tables, at, buffer, lowest, highest)
        parts.append(buffer[:n].copy())
    return np.concatenate(parts), lowest, highest


@pytest.mark.parametrize("everywhere", [True, False])
@pytest.mark.parametrize("n", [1, 50, 4 * BLOCK, 4 * BLOCK + 3])
def test_gather_voxels_equals_its_twin_and_goes_on_where_its_buffer_was_full(n, everywhere):
    p, masks, answers = voxels(n, seed=n)
    case = some_cells(n)
    given_, votes = np.full(n, 3) if everywhere else answers.astype(int), np.sum(masks, axis=0, dtype=np.int64)
    n_codes = case[2].max() + 1
    code, o = code_of(p, *case), ordinals_of(p).astype(np.int64)
    inside = (code == GATHERED) & (given_ > 0)
    expected = (o << 16 | given_ << 8 | votes)[inside].astype(np.uint64)
    for size in (BLOCK, BLOCK + 17, 9 * BLOCK):
        packed, lowest, highest = gather(p, masks, NOBODY if everywhere else answers, lookup(*case), n_codes, size)
        np.testing.assert_array_equal(packed, expected)
        for c in range(1, n_codes):
            here = o[(code == c) & (given_ > 0)]
            assert (lowest[c], highest[c]) == ((here.min(), here.max()) if here.size else (LAST + 1, 0))


def pooled(packed, ends, *, pool):
    """The twin of ``pool_gathered``: (first, last, weight, votes) of each group."""
    groups = []
    for value in packed.tolist():
        o, a, v = value >> 16, value >> 8 & 255, value & 255
        if groups and groups[-1][1] == o == groups[-1][0]:
            groups[-1] = (o, o, groups[-1][2] + a, groups[-1][3] + v)
        else:
            groups.append((o, o, a, v))
    done = []
    for group in groups:
        done.append(group)
        while pool and len(done) > 1:
            (f1, _, a1, v1), (f2, l2, a2, v2) = done[-2:]
            same_cell = np.searchsorted(ends, f1, side="right") == np.searchsorted(ends, f2, side="right")
            if not same_cell or Fraction(v1, a1) < Fraction(v2, a2):
                break
            done[-2:] = [(f1, l2, a1 + a2, v1 + v2)]
    return done


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4), st.integers(0, 4)), max_size=40), st.booleans())
def test_pool_gathered_equals_its_twin(said, pool):
    packed = np.sort(np.array([o << 16 | a << 8 | min(a, v) for o, a, v in said], dtype=np.uint64))
    ends = np.array([3, 4, 17, 40], np.int64)
    first, last = np.empty((2, packed.size), np.uint32)
    weight, votes = np.empty((2, packed.size))
    n = pool_gathered(packed, ends, pool, first, last, weight, votes)
    got = list(zip(*(column[:n].astype(int).tolist() for column in (first, last, weight, votes)), strict=True))
    assert got == pooled(packed, ends, pool=pool)


def test_the_kernels_give_the_serial_answer_from_eight_threads_at_once():
    p, masks, answers = voxels(20_000, seed=1)
    starts, ends, codes = some_cells(1)
    tables = lookup(starts, ends, codes)

    def one_of_each(_):
        table = np.zeros((codes.size, 3), np.int64)
        count_cells(p, masks, answers, *tables, table)
        return found(p, tables), table, *gather(p, masks, answers, tables, codes.size, 3 * BLOCK)

    serial = one_of_each(0)
    with ThreadPoolExecutor(8) as pool:
        for result in pool.map(one_of_each, range(32)):
            for mine, plain in zip(result, serial, strict=True):
                np.testing.assert_array_equal(mine, plain)
