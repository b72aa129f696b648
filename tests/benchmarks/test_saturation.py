"""The saturation study: its rules agree with the library, its arguments hold, and its smallest preset runs."""

from __future__ import annotations

import sys
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrcalib import HardLabelCalibrator, MHRIsotonicCalibrator, SingleRaterCalibrator, tally
from mrcalib.metrics import threshold_dice

pytest.importorskip("matplotlib", reason="the study draws figures: install mrcalib[plots]")
ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.saturation import experiments, run, worlds  # noqa: E402
from benchmarks.saturation.rules import RULES, Bins, Curve, Table, bound_on_target, per_rater, targets  # noqa: E402
from benchmarks.saturation.scores import TDSC, Setting, fit  # noqa: E402
from benchmarks.saturation.surface import Surface  # noqa: E402


def voxels(seed, n=6000):
    """Probabilities with many exact zeros, and five raters who mark where p is high."""
    rng = np.random.default_rng(seed)
    probs = (rng.random(n) ** 6).astype(np.float32)
    probs[rng.random(n) < 0.5] = 0
    return probs, (rng.random((5, n)) < probs**1.3).astype(np.uint8)


def repeated(part, times):
    """The tally of ``times`` copies, by doubling."""
    found = []
    while times:
        found += [part] * (times & 1)
        part, times = part + part, times >> 1
    return reduce(add, found)


@pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")
@pytest.mark.parametrize("n_background", [0, 123_456, 10_000_000])
def test_the_tied_rule_is_the_library_s_equal_mass_binning(n_background):
    case = tally(*voxels(1)) + tally(*voxels(2))
    background = tally(np.zeros(1, np.float32), np.zeros((5, 1), np.uint8))
    whole = case + repeated(background, n_background) if n_background else case
    rows = worlds.with_background(case.responses(), n_background, "zeros")
    maps = fit(Setting("", n_bins=250), worlds.Fold([rows], []), rater=2)
    library = {
        "single": SingleRaterCalibrator(2, "equal-mass"),
        "hard": HardLabelCalibrator("equal-mass"),
        "MHR": MHRIsotonicCalibrator("equal-mass"),
    }
    p = np.linspace(0, 1, 2001)
    for name, calibrator in library.items():
        np.testing.assert_allclose(maps[name](p), calibrator.fit_tally(whole)(p), atol=1e-9)


def test_background_reaches_the_prevalence_asked_for():
    rows = [tally(*voxels(seed)).responses() for seed in (1, 2)]
    for kind in ("zeros", "haze"):
        scene = worlds.Fold(rows, rows[:1]).scans(1e-5, kind)
        assert worlds.prevalence_of(scene.fit) == pytest.approx(1e-5, rel=1e-9)
    with pytest.raises(ValueError, match="background can only be added"):
        worlds.Fold(rows, []).scans(0.9, "zeros")


def test_array_split_in_random_order_is_what_split_expects():
    table = Table(np.array([0.0, 0.5, 1.0]), np.array([6.0, 1.0, 1.0]), np.array([[3.0, 1.0, 1.0]]), np.zeros(3, int))
    bins = RULES["split"](table, 4)
    np.testing.assert_allclose(bins.prob, [0, 0, 0, 0.75])
    np.testing.assert_allclose(bins.rates, [[0.5, 0.5, 0.5, 1.0]])
    assert RULES["tied"](table, 4).weight.tolist() == [6, 2]


def test_quantile_edges_are_those_of_scikit_learn():
    from sklearn.calibration import calibration_curve

    rng = np.random.default_rng(5)
    probs = np.round(rng.random(5001) ** 3, 3)  # tied: 5001 voxels make every percentile of 20 an order statistic
    mask = (rng.random(5001) < probs).astype(np.int64)
    truth, predicted = calibration_curve(mask, probs, n_bins=20, strategy="quantile")
    values, index = np.unique(probs, return_inverse=True)
    table = Table(values, np.bincount(index).astype(float), np.bincount(index, mask)[None], np.zeros(values.size, int))
    bins = RULES["quantile edges"](table, 20)
    np.testing.assert_allclose(bins.prob, predicted)
    np.testing.assert_allclose(bins.rates[0], truth)


rates = arrays(np.float64, (3, 6), elements=st.floats(0, 1))
weights = arrays(np.float64, 6, elements=st.floats(0.01, 10))


@given(rates, weights)
def test_hard_label_reaches_at_least_as_high_and_as_low_as_mhr_and_differs_by_less_than_the_bound(r, w):
    bins = Bins(np.linspace(0, 1, 6), w, r)
    values = targets(bins)
    hard, mhr = values["hard"], values["MHR"]
    above = np.cumsum((w * (hard - mhr))[::-1])
    assert (above >= -1e-9 * w.sum()).all()
    assert hard[-1] >= mhr[-1] - 1e-9
    assert hard[0] <= mhr[0] + 1e-9
    assert np.abs(hard - mhr).max() <= bound_on_target(bins) + 1e-9


@given(rates, weights)
def test_the_targets_agree_exactly_where_no_rater_s_fit_rises_inside_another_s_pool(r, w):
    bins = Bins(np.linspace(0, 1, 6), w, r)
    fits = per_rater(bins)
    cross = np.sum(w * fits[:, None] * (r - fits)[None])
    values = targets(bins)
    distance = np.sum(w * (values["hard"] - values["MHR"]) ** 2)
    assert cross <= 1e-9
    # |h - m|^2 <= -<h, n> with n = mean y - h: Moreau's decomposition of mean y is (h, n) iff <h, n> = 0
    assert distance <= -cross / 9 + 1e-9


def test_hard_label_and_mhr_can_differ_where_a_rater_marks_less_as_p_rises():
    bins = Bins(np.array([0.2, 0.8]), np.ones(2), np.array([[1.0, 0.0], [0.0, 1.0]]))
    values = targets(bins)
    np.testing.assert_allclose(values["hard"], [0.25, 0.75])
    np.testing.assert_allclose(values["MHR"], [0.5, 0.5])
    assert bound_on_target(bins) == pytest.approx(0.25)


@given(st.integers(1, 400), st.integers(0, 50))
def test_no_map_rises_above_bins_times_prevalence(n_bins, seed):
    rows = worlds.with_background(tally(*voxels(seed, 500)).responses(), 20_000, "zeros")
    values = targets(RULES["tied"](Table.of([rows]), n_bins))
    for name in ("hard", "MHR"):
        assert values[name][-1] <= n_bins * worlds.prevalence_of([rows]) + 1e-9


def test_the_closed_form_of_a_capped_map_is_its_tdsc():
    cases = [tally(*voxels(seed)).responses() for seed in (3, 4)]
    world = worlds.World("x", [worlds.Fold(cases, cases)])
    for row in experiments.run_capped(world, np.array([0.05, 0.1, 0.3, 0.52, 0.9])):
        assert row["closed_form"] == pytest.approx(row["measured"], abs=1e-12)
    probs, masks = voxels(3)
    world = worlds.World("x", [worlds.Fold(cases[:1], cases[:1])])
    (row,) = experiments.run_capped(world, np.array([0.45]))
    assert row["alive"] == 3
    assert row["closed_form"] == pytest.approx(threshold_dice(np.minimum(probs, 0.45), masks), abs=1e-12)


def test_the_surface_gives_the_tdsc_of_ascending_maps_and_of_every_map_that_is_so_near():
    probs, masks = voxels(9, 800)
    surface = Surface([tally(probs, masks).responses()])
    p = np.unique(tally(probs, masks).responses().prob)
    base = Curve(p, 0.6 * p**1.2)
    assert surface.tdsc(base) == pytest.approx(TDSC(tally(probs, masks).responses().map(base)), abs=1e-12)
    band = surface.band(base, 0.02)
    assert 0 < band < 1
    rng = np.random.default_rng(0)
    for _ in range(50):
        y = np.maximum.accumulate(np.clip(base.y + rng.uniform(-0.02, 0.02, p.size), base.y - 0.02, base.y + 0.02))
        assert abs(surface.tdsc(Curve(p, y)) - surface.tdsc(base)) <= band + 1e-12
    assert surface.band(base, 0.0) == 0.0


@pytest.mark.compiled
def test_the_smallest_preset_writes_every_table_and_figure(tmp_path):
    tables = run.run("quick", tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{n}.csv" for n in tables} | {"ceilings.png", "capped.png", "settings.png", "run.json"}
    told = tables["targets"]
    assert (told["largest_difference"] <= told["bound"] + 1e-9).all()
    assert ((told["tdsc_hard"] - told["tdsc_mhr"]).abs() <= told["largest_tdsc_change"] + 1e-9).all()
    assert (tables["ceilings"]["ceiling"] <= tables["ceilings"]["bound"] + 1e-9).all()
    assert tables["published"]["tdsc_to_none"].round(3).tolist() == [1.0, 0.542, 0.555, 1.029]
