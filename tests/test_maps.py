"""Maps keep shape, dtype and NaN, refuse what is no probability, never fall, and survive JSON without loss."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, logit
from strategies import SPECIAL, knots, probabilities

from mrcalib.maps import (
    CLIP,
    BetaMap,
    LogitMap,
    PiecewiseLinearMap,
    StepMap,
    map_from_dict,
    mean_of_maps,
)
from mrcalib.maps.base import CHUNK

MAPS = {
    "piecewise": PiecewiseLinearMap([0.1, 0.5, 0.9], [0.05, 0.2, 1.0]),
    "one knot": PiecewiseLinearMap([0.5], [0.3]),
    "step": StepMap([0.0, 0.3, 0.7], [0.1, 0.4, 0.8]),
    "step keeping zero": StepMap([0.0, 0.5], [0.3, 0.8], keep_zero=True),
    "logit": LogitMap(0.4, -0.3),
    "flat logit": LogitMap(0.0, 1.0),
    "beta": BetaMap(0.5, 1.5, 0.2),
    "keeping zero": PiecewiseLinearMap([0.0, 1.0], [0.2, 0.8], keep_zero=True),
}
every_map = pytest.mark.parametrize("calibrate", MAPS.values(), ids=MAPS.keys())


@every_map
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 4, 5), (1, 1), (2, 0, 3)])
def test_shape_dtype_and_order_are_kept(calibrate, rng, dtype, order, shape):
    p = np.asarray(rng.random(shape).astype(dtype), order=order)
    before = p.copy()
    out = calibrate(p)
    assert (out.shape, out.dtype) == (p.shape, p.dtype)
    assert (out.flags.c_contiguous, out.flags.f_contiguous) == (p.flags.c_contiguous, p.flags.f_contiguous)
    np.testing.assert_array_equal(p, before)
    tolerance = {np.float16: 1e-3, np.float32: 1e-6, np.float64: 1e-15}[dtype]
    np.testing.assert_allclose(out, calibrate(p.astype(np.float64)), rtol=0, atol=tolerance)


@every_map
def test_strided_and_foreign_arrays_are_mapped_voxel_by_voxel(calibrate, rng):
    p = rng.random((6, 8, 4))
    expected = calibrate(p)
    np.testing.assert_array_equal(calibrate(p[::2, ::-1]), expected[::2, ::-1])
    np.testing.assert_array_equal(calibrate(p.transpose(2, 0, 1)), expected.transpose(2, 0, 1))
    np.testing.assert_array_equal(calibrate(p[0, 0].tolist()), expected[0, 0])
    p.flags.writeable = False
    np.testing.assert_array_equal(calibrate(p), expected)


@every_map
def test_big_endian_doubles_are_computed_in_double(calibrate, rng):
    p = rng.random(50)
    np.testing.assert_array_equal(calibrate(p.astype(">f8")).astype(np.float64), calibrate(p))


@every_map
def test_many_chunks_are_one_map(calibrate, rng):
    p = rng.random(2 * CHUNK + 3).astype(np.float32)
    out = calibrate(p)
    np.testing.assert_array_equal(out[CHUNK - 5 : CHUNK + 5], calibrate(p[CHUNK - 5 : CHUNK + 5]))
    np.testing.assert_array_equal(out[-5:], calibrate(p[-5:]))


@every_map
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_stays_nan_and_harms_no_other(calibrate, rng, dtype):
    p = rng.random(20).astype(dtype)
    expected = calibrate(p)
    p[[0, 7, -1]] = expected[[0, 7, -1]] = np.nan
    np.testing.assert_array_equal(calibrate(p), expected)
    assert np.isnan(calibrate(np.full(3, np.nan, dtype))).all()


@every_map
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nextafter(np.float32(1), np.float32(2)), -1e-30, -4.0, 17.0])
def test_what_is_no_probability_is_refused_wherever_it_stands(calibrate, dtype, bad):
    for place in (0, 1, -1):
        p = np.full(CHUNK + 2, 0.5, dtype)
        p[place] = bad
        with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]: 1 of 131074 voxels are not, 0 of them NaN"):
            calibrate(p)
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
        calibrate(np.array([np.nan, bad, 0.5], dtype))


def test_infinity_is_refused_and_no_memory_outside_the_tables_is_read():
    """In a process of its own: a search without end reads past its table, and that can end the interpreter."""
    code = """
import numpy as np
from mrcalib.maps import PiecewiseLinearMap
rng = np.random.default_rng(0)
for _ in range(300):
    x = np.unique(rng.random(rng.integers(1, 400)))
    calibrate = PiecewiseLinearMap(x, np.sort(rng.random(x.size)))
    for bad in (np.inf, -np.inf, -1.0):
        try:
            calibrate(np.full(5, bad))
        except ValueError:
            continue
        raise SystemExit("accepted")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-300:]


def test_a_refusal_names_no_remedy_that_a_map_does_not_have():
    with pytest.raises(ValueError, match="voxels are not") as caught:
        MAPS["piecewise"](np.array([np.nan, np.nan, 1.7]))
    assert "roi=" not in str(caught.value)
    assert "invalid=" not in str(caught.value)


@every_map
@given(p=probabilities(30))
def test_maps_never_fall_and_stay_in_the_unit_interval(calibrate, p):
    out = calibrate(np.sort(np.concatenate([p, SPECIAL])).astype(np.float64))
    assert (out >= 0).all()
    assert (out <= 1).all()
    assert (np.diff(out) >= -(2.0**-52)).all()


@given(knots(), arrays(np.float64, 30, elements=st.floats(0, 1)))
def test_a_piecewise_linear_map_is_np_interp(xy, p):
    x, y = xy
    p = np.concatenate([p, x])
    np.testing.assert_array_equal(PiecewiseLinearMap(x, y)(p), np.interp(p, x, y))
    out = PiecewiseLinearMap(x, y)(np.sort(p))
    assert (np.diff(out) >= -(2.0**-52)).all()
    assert (out >= y[0]).all()
    assert (out <= 1).all()


def test_a_piecewise_linear_map_by_hand():
    calibrate = PiecewiseLinearMap([0.25, 0.75], [0.5, 1.0])
    assert calibrate(np.array([0.0, 0.25, 0.5, 0.75, 1.0])).tolist() == [0.5, 0.5, 0.75, 1.0, 1.0]


def test_knots_as_near_as_floats_can_be_give_no_nan():
    x, y = [0.0, 1e-310, 1.0], [0.0, 0.5, 1.0]
    assert PiecewiseLinearMap(x, y)(np.array([0.0, 1e-310, 0.5])).tolist() == [0.0, 0.5, 0.75]


def test_minus_zero_is_zero():
    for calibrate in MAPS.values():
        np.testing.assert_array_equal(calibrate(np.array([-0.0])), calibrate(np.array([0.0])))


def test_a_step_map_is_closed_on_the_left():
    calibrate = StepMap([0.1, 0.5], [0.2, 0.9])
    p = np.array([0.0, 0.1, np.nextafter(0.5, 0), 0.5, 1.0])
    assert calibrate(p).tolist() == [0.2, 0.2, 0.2, 0.9, 0.9]
    assert calibrate(np.float32([0.5])).tolist() == [np.float32(0.9)]


@given(st.floats(0, 3), st.floats(-3, 3), arrays(np.float64, 10, elements=st.floats(0, 1)))
def test_logit_and_beta_maps_are_their_formulas(slope, offset, p):
    clipped = np.clip(p, CLIP, 1 - CLIP)
    np.testing.assert_allclose(LogitMap(slope, offset)(p), expit(slope * logit(clipped) + offset), rtol=1e-14)
    z = slope * np.log(clipped) - 0.7 * np.log1p(-clipped) + offset
    np.testing.assert_allclose(BetaMap(slope, 0.7, offset)(p), expit(z), rtol=1e-14)
    np.testing.assert_allclose(BetaMap(slope, slope, offset)(p), LogitMap(slope, offset)(p), rtol=1e-12)


def test_logit_and_beta_maps_by_hand():
    p = np.array([0.8, 0.5])
    np.testing.assert_allclose(LogitMap(0.5)(p), [2 / 3, 0.5], rtol=1e-15)
    np.testing.assert_allclose(LogitMap(1.0, np.log(3))(p), [12 / 13, 0.75], rtol=1e-15)
    np.testing.assert_allclose(BetaMap(2.0, 0.0, 0.0)(p), [0.64 / 1.64, 0.2], rtol=1e-15)


def test_the_clip_bounds_what_exact_zero_and_one_become():
    got = LogitMap(1.0, clip=0.01)(np.array([0.0, 0.005, 0.01, 0.99, 1.0]))
    np.testing.assert_allclose(got, [0.01, 0.01, 0.01, 0.99, 0.99], rtol=1e-14)
    assert LogitMap(1.0)(np.array([0.0])) == pytest.approx(2.0**-24, rel=1e-12)
    assert BetaMap(1.0, 1.0, 0.0)(np.array([1.0])) == pytest.approx(1 - 2.0**-24, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "make",
    [
        lambda **k: PiecewiseLinearMap([0.5], [0.3], **k),
        lambda **k: StepMap([0.5], [0.3], **k),
        lambda **k: LogitMap(0.0, 0.0, **k),
        lambda **k: BetaMap(0.0, 0.0, 0.0, **k),
    ],
)
def test_keep_zero_leaves_exact_zeros_alone_and_nothing_else(make, dtype):
    p = np.array([0.0, -0.0, np.nextafter(dtype(0), dtype(1)), 1.0, np.nan], dtype)
    plain, kept = make()(p), make(keep_zero=True)(p)
    assert plain[0] > 0.2
    assert kept[:2].tolist() == [0, 0]
    np.testing.assert_array_equal(kept[2:], plain[2:])
    assert make(keep_zero=True).reachable == (0.0, plain[3])


def test_reachable_is_the_range_of_the_map():
    assert PiecewiseLinearMap([0.2, 0.6], [0.1, 0.7]).reachable == (0.1, 0.7)
    assert LogitMap(0.0, 0.0).reachable == (0.5, 0.5)
    assert StepMap([0.0, 0.5], [0.1, 0.9]).reachable == (0.1, 0.9)


def test_a_step_map_that_falls_reaches_its_highest_step():
    falling = StepMap([0.0, 0.3, 0.6], [0.1, 0.9, 0.2])
    assert falling.reachable == (0.1, 0.9)
    assert falling.inverse([0.5]) == pytest.approx(0.3, abs=1e-11)


def test_a_step_map_that_rises_again_is_inverted_at_the_first_step_that_reaches():
    valley = StepMap([0.0, 0.2, 0.4, 0.6, 0.8], [0.5, 0.1, 0.1, 0.1, 0.9])
    np.testing.assert_allclose(valley.inverse([0.3, 0.6, 0.95]), [0.0, 0.8, np.nan], atol=1e-11)


def test_inverse_by_hand():
    calibrate = PiecewiseLinearMap([0.2, 0.4, 0.6, 0.8], [0.1, 0.5, 0.5, 0.9])
    values = [0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.91]
    expected = [0.0, 0.0, 0.3, 0.4, 0.7, 0.8, np.nan]
    np.testing.assert_allclose(calibrate.inverse(values), expected, rtol=0, atol=1e-11)
    assert calibrate.inverse([0.05, 0.1]).tolist() == [0, 0]
    assert calibrate.inverse([[0.3], [0.7]]).shape == (2, 1)
    assert calibrate.inverse(0.3) == pytest.approx(0.3, abs=1e-11)
    assert np.isnan(calibrate.inverse(np.nan))
    assert calibrate.inverse([]).shape == (0,)
    assert LogitMap(0.5).inverse([2 / 3]) == pytest.approx(0.8, abs=1e-11)
    assert StepMap([0.0, 0.5], [0.1, 0.9]).inverse([0.5]) == pytest.approx(0.5, abs=1e-11)


def test_inverse_ends_at_the_resolution_of_floats():
    calls = []

    class Counting(LogitMap):
        def __call__(self, probs):
            calls.append(probs)
            assert len(calls) < 3000
            return super().__call__(probs)

    assert Counting(1.0).inverse([0.7], tolerance=0.0) == pytest.approx(0.7, rel=1e-14)


@every_map
@given(value=st.floats(0, 1))
def test_inverse_is_the_smallest_probability_that_reaches_the_value(calibrate, value):
    p = float(calibrate.inverse(value))
    if np.isnan(p):
        assert calibrate(np.array(1.0)) < value
        return
    assert calibrate(np.array(p)) >= value
    if p > 2e-12:
        assert calibrate(np.array(p - 2e-12)) < value


@every_map
def test_a_map_survives_json_exactly(calibrate):
    values = calibrate.to_dict()
    again = map_from_dict(json.loads(json.dumps(values)))
    assert again == calibrate
    assert type(again) is type(calibrate)
    assert again.keep_zero == calibrate.keep_zero
    p = np.linspace(0, 1, 999)
    np.testing.assert_array_equal(again(p), calibrate(p))
    assert again.to_dict() == values


@given(knots())
def test_any_knots_survive_json_exactly(xy):
    calibrate = PiecewiseLinearMap(*xy)
    calibrate(np.array([0.5]))
    again = map_from_dict(json.loads(json.dumps(calibrate.to_dict())))
    assert again == calibrate
    np.testing.assert_array_equal(again.x, xy[0])


def test_maps_differ_when_anything_does():
    maps = [*MAPS.values(), PiecewiseLinearMap([0.5], [0.3], keep_zero=True), StepMap([0.5], [0.3]), LogitMap(0.4)]
    for i, one in enumerate(maps):
        for j, other in enumerate(maps):
            assert (one == other) == (i == j)
    assert maps[0] != "a map"
    assert LogitMap(0.4) != LogitMap(0.4, clip=0.1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(maps[0])


def test_map_from_dict_leaves_its_argument_alone_and_knows_its_kinds():
    values = LogitMap(0.5).to_dict()
    before = dict(values)
    map_from_dict(values)
    assert values == before
    with pytest.raises(
        ValueError, match=r"Unknown kind of calibration map 'spline'; this mrcalib knows .*'piecewise-linear'"
    ):
        map_from_dict({"kind": "spline"})


def test_a_map_keeps_a_copy_of_its_knots_that_no_one_can_change():
    x, y = np.array([0.0, 1.0]), np.array([0.0, 0.5])
    calibrate = PiecewiseLinearMap(x, y)
    y[1] = 1.0
    assert calibrate(np.array([1.0])) == 0.5
    with pytest.raises(ValueError, match="read-only"):
        calibrate.y[1] = 1.0
    with pytest.raises(AttributeError):
        calibrate.y = y


@given(st.lists(knots(), min_size=1, max_size=4), arrays(np.float64, 20, elements=st.floats(0, 1)), st.data())
def test_mean_of_maps_is_the_mean_of_their_outputs(all_knots, p, data):
    maps = [PiecewiseLinearMap(*xy) for xy in all_knots]
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(maps), max_size=len(maps)))
    p = np.concatenate([p, SPECIAL, *(x for x, _ in all_knots)])
    outputs = np.array([calibrate(p) for calibrate in maps])
    np.testing.assert_allclose(mean_of_maps(maps)(p), outputs.mean(axis=0), rtol=0, atol=1e-12)
    np.testing.assert_allclose(mean_of_maps(maps, weights)(p), np.average(outputs, axis=0, weights=weights), atol=1e-12)


def test_mean_of_maps_by_hand():
    mean = mean_of_maps([PiecewiseLinearMap([0.0, 1.0], [0.0, 1.0]), PiecewiseLinearMap([0.5], [0.2])], [3, 1])
    assert mean == PiecewiseLinearMap([0.0, 0.5, 1.0], [0.05, 0.425, 0.8])
    kept = PiecewiseLinearMap([0.5], [0.2], keep_zero=True)
    assert mean_of_maps([kept, kept]).keep_zero


def test_one_map_serves_eight_threads(rng):
    p = rng.random(50_000).astype(np.float32)
    x, y = np.unique(rng.random(300)), np.sort(rng.random(300))
    expected = PiecewiseLinearMap(x, y)(p)
    shared = PiecewiseLinearMap(x, y)  # its tables are made by whoever comes first
    with ThreadPoolExecutor(8) as pool:
        for out in pool.map(shared, [p] * 16):
            np.testing.assert_array_equal(out, expected)


@every_map
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_out_takes_the_result(calibrate, dtype, order, rng):
    p = np.asarray(rng.random((5, 7, 3)), dtype, order=order)
    out = np.full_like(p, 7)
    assert calibrate(p, out=out) is out
    np.testing.assert_array_equal(out, calibrate(p))


@pytest.mark.parametrize(
    ("out", "words"),
    [
        (np.empty((4, 3), np.float32), r"of shape \(3, 4\) and float32"),
        (np.empty((3, 4), np.float64), "got shape .* and float64"),
        (np.empty((3, 4), np.float32, order="F"), "not contiguous"),
        (np.broadcast_to(np.float32(0), (3, 4)), "must be writeable"),
    ],
)
def test_out_must_fit(out, words):
    with pytest.raises(ValueError, match=words):
        PiecewiseLinearMap([0.0, 1.0], [0.0, 1.0])(np.zeros((3, 4), np.float32), out=out)


def test_out_must_be_apart():
    p = np.zeros(8, np.float32)
    for out in (p, p[::-1][::-1]):
        with pytest.raises(ValueError, match="must not share memory"):
            PiecewiseLinearMap([0.0, 1.0], [0.0, 1.0])(p, out=out)


def floats_of_all_sizes(seed=0, n=60_000):
    """Float32 probabilities spread over all bit patterns, and those at which something changes."""
    bits = np.random.default_rng(seed).integers(0, 0x3F800001, n).astype(np.uint32)
    special = np.float32([0, 1, 0.5, 2.0**-24, 2.0**-32, 2.0**-33, 1e-45, np.nextafter(np.float32(1), np.float32(0))])
    return np.unique(np.concatenate([bits.view(np.float32), special]))


def units_in_the_last_place(values, exact):
    return np.abs(values - exact) / np.spacing(np.maximum(exact, np.finfo(np.float32).tiny).astype(np.float32))


curves = st.one_of(
    st.builds(
        LogitMap,
        st.sampled_from([0.0, 1e-3, 0.1, 0.5, 1.0, 1.7, 3.0, 10.0, 50.0, 1e4]),
        st.floats(-20, 8),
        clip=st.sampled_from([CLIP, 1e-12, 1e-3]),
    ),
    st.builds(BetaMap, st.floats(0, 40), st.floats(0, 40), st.floats(-6, 6)),
)


@given(curves, st.integers(0, 2**16))
def test_smooth_maps_of_float32_are_those_of_float64_to_one_unit_and_never_fall(curve, seed):
    p = floats_of_all_sizes(seed, 5_000)
    out, exact = curve(p), curve(p.astype(np.float64))
    assert units_in_the_last_place(out, exact).max() < 1
    assert (np.diff(out) >= 0).all()


@given(knots(), st.integers(0, 2**16))
def test_steps_of_float32_are_exact(xy, seed):
    edges, values = xy
    step = StepMap(edges, values)
    near = np.asarray(edges, np.float32)
    around = [
        near,
        np.nextafter(near, np.float32(0)),
        np.nextafter(near, np.float32(1)),
        floats_of_all_sizes(seed, 5_000),
    ]
    p = np.concatenate(around)
    bins = np.searchsorted(step.edges, p.astype(np.float64), side="right") - 1
    np.testing.assert_array_equal(step(p), step.y[np.maximum(bins, 0)].astype(np.float32))
