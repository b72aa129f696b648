"""Exact and equal-mass fits against a full sort: however many voxels must be looked into, in one thread or in several."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import isotonic_regression
from scipy.special import expit

import mrcalib._kernels.threads
from mrcalib import Case, MHRIsotonicCalibrator, ProbabilityGrid, SingleRaterCalibrator, tally
from mrcalib.calibrators import CalibrationData, _opening
from mrcalib.calibrators._partition import Partition, ordinals_of
from mrcalib.calibrators._second_pass import Reader, count_pieces
from mrcalib.calibrators.isotonic import cells_to_open, exact_grid, fit_isotonic
from mrcalib.inputs import check_voxels

N = 1_000_000
KINDS = ("coherent", "shuffled", "uniform", "towards 0", "towards 1", "one value", "few bins", "half precision")


@pytest.fixture
def cuts(monkeypatch):
    """However few voxels are to be looked into, they are cut into pieces first."""
    monkeypatch.setattr(_opening, "FEW", 0)
    monkeypatch.setattr(_opening, "SHARE", 1e6)
    monkeypatch.setattr(_opening, "SHARE_POOLED", 1e6)
    monkeypatch.setattr(_opening, "FEWEST_PIECES", 7)


@pytest.fixture
def threads(monkeypatch):
    """Several threads share a few voxels."""
    monkeypatch.setattr(mrcalib._kernels.threads, "WORTH_A_THREAD", 1000)
    monkeypatch.setattr(mrcalib._kernels.threads, "n_processors", lambda: 5)


def study(kind, n=N, n_raters=5, seed=0):
    """Probabilities in float32 or less, and masks (n_raters, n)."""
    rng = np.random.default_rng(seed)
    field = gaussian_filter1d(rng.standard_normal(n), 50)
    probs = {
        "coherent": lambda: np.where(field < 0, 0.0, expit(14 * (field / field.std() - 1.5))),
        "shuffled": lambda: rng.permutation(np.where(field < 0, 0.0, expit(14 * (field / field.std() - 1.5)))),
        "uniform": lambda: rng.random(n),
        "towards 0": lambda: 10 ** -rng.uniform(0, 20, n),
        "towards 1": lambda: 1 - rng.random(n) ** 20,
        "one value": lambda: np.full(n, 0.3),
        "few bins": lambda: rng.choice([0.1, 0.3, 0.6], n) * (1 + rng.random(n) / 4096),
        "half precision": lambda: rng.random(n).astype(np.float16),
    }[kind]()
    probs = probs if probs.dtype == np.float16 else probs.astype(np.float32)
    return probs, (rng.random((n_raters, n), dtype=np.float32) < probs**0.7).astype(np.uint8)


def sorted_fit(probs, votes, weight):
    """Distinct probabilities and the isotonic fit to all voxels, by a full sort in float64."""
    order = np.argsort(probs, kind="stable")
    p = probs[order].astype(np.float64)
    starts = np.flatnonzero(np.append(True, np.diff(p) > 0))
    w, v = (np.add.reduceat(values[order].astype(np.float64), starts) for values in (weight, votes))
    known = w > 0
    return p[starts][known], isotonic_regression(v[known] / w[known], weights=w[known]).x


def assert_is_sorted_fit(fitted, probs, votes, weight, tolerance=1e-12):
    x, expected = sorted_fit(probs, votes, weight)
    np.testing.assert_allclose(np.interp(x, fitted.map_.x, fitted.map_.y), expected, rtol=0, atol=tolerance)


def same_map(one, other):
    return np.array_equal(one.map_.x, other.map_.x) and np.array_equal(one.map_.y, other.map_.y)


@pytest.mark.parametrize("kind", KINDS)
def test_exact_is_the_fit_to_all_voxels_sorted(kind):
    probs, masks = study(kind)
    fitted = MHRIsotonicCalibrator("exact").fit(probs, masks)
    assert_is_sorted_fit(fitted, probs, masks.sum(axis=0), np.full(N, 5))


@pytest.mark.usefixtures("cuts")
@pytest.mark.parametrize("kind", KINDS)
def test_exact_is_the_same_fit_where_bins_are_cut_into_pieces(kind):
    probs, masks = study(kind, n=50_000)
    fitted = MHRIsotonicCalibrator("exact").fit(probs, masks)
    assert_is_sorted_fit(fitted, probs, masks.sum(axis=0), np.full(50_000, 5))


def order_statistics_fit(probs, response, n_bins):
    """Isotonic regression on bins that start at order statistics, equal probabilities together."""
    p = probs.astype(np.float64)
    ordered = np.sort(p)
    starts = np.unique([ordered[0], *(ordered[k * p.size // n_bins] for k in range(1, n_bins))])
    index = np.searchsorted(starts, p, side="right") - 1
    mass = np.bincount(index)
    return np.bincount(index, p) / mass, isotonic_regression(np.bincount(index, response) / mass, weights=mass).x


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_equal_mass_bins_start_at_order_statistics(kind):
    probs, masks = study(kind)
    fitted = MHRIsotonicCalibrator("equal-mass").fit(probs, masks)
    x, expected = order_statistics_fit(probs, masks.mean(axis=0), 250)
    at = np.concatenate([x, np.linspace(0, 1, 1001)])
    np.testing.assert_allclose(fitted.map_(at), np.interp(at, x, expected), rtol=0, atol=1e-10)


@pytest.mark.usefixtures("cuts")
@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("binning", ["equal-mass", "equal-votes"])
def test_equal_bins_are_the_same_where_bins_are_cut_into_pieces(monkeypatch, kind, binning):
    probs, masks = study(kind, n=50_000)
    cut = MHRIsotonicCalibrator(binning).fit(probs, masks)
    monkeypatch.setattr(_opening, "FEW", 1 << 30)
    whole = MHRIsotonicCalibrator(binning).fit(probs, masks)
    np.testing.assert_allclose(cut.map_.x, whole.map_.x, rtol=1e-9, atol=1e-30)
    np.testing.assert_allclose(cut.map_.y, whole.map_.y, rtol=1e-12)


# Options, each with and without cutting -----------------------------------------------------------------------------------


@pytest.fixture(params=["whole", "cut"])
def either(request):
    if request.param == "cut":
        request.getfixturevalue("cuts")


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["smooth", "saturated", "ties", "rare", "buckets"])
def test_missing_raters_weights_and_regions(simulated, oracle, kind, dtype):
    voxels = simulated(3000, kind=kind, dtype=dtype, seed=2)
    rng = np.random.default_rng(1)
    roi = rng.random(3000) < 0.7
    for rater_weight in (None, [1, 0, 1, 1], [0.25, 0.25, 0.25, 0], [0.2, 0, 1.5, 3]):
        for sample_weight in (None, rng.choice([0.0, 0.3, 1.0, 7.5], 3000)):
            fitted = MHRIsotonicCalibrator("exact").fit(
                voxels.probs, voxels.answers, roi=roi, rater_weight=rater_weight, sample_weight=sample_weight
            )
            counts = roi * (1.0 if sample_weight is None else sample_weight)
            x, y, w = voxels.rows(rater_weight, counts)
            expected = oracle(x, y, w)
            rounding = 1e-9 if dtype != np.float64 else 1e-6  # where p 1e-9 apart have unlike responses
            assert np.abs(fitted(x) - expected(x)).max() < rounding


@pytest.mark.usefixtures("either")
def test_a_rater_of_none_is_missing_and_not_empty():
    probs, masks = study("uniform", n=20_000, n_raters=3)
    fitted = MHRIsotonicCalibrator("exact").fit(probs, [masks[0], None, masks[2]])
    assert_is_sorted_fit(fitted, probs, masks[0] + masks[2], np.full(20_000, 2))
    alone = SingleRaterCalibrator(2, "exact").fit(probs, [masks[0], None, masks[2]])
    assert_is_sorted_fit(alone, probs, masks[2], np.ones(20_000))


@pytest.mark.usefixtures("either")
def test_kept_zeros_do_not_enter():
    probs, masks = study("coherent", n=50_000)
    fitted = MHRIsotonicCalibrator("exact", keep_zero=True).fit(probs, masks)
    seen = probs > 0
    assert_is_sorted_fit(fitted, probs[seen], masks[:, seen].sum(axis=0), np.full(seen.sum(), 5))
    assert fitted(np.zeros(1)) == 0


@pytest.mark.usefixtures("either")
def test_all_memory_layouts_give_the_same_map():
    probs, masks = study("uniform", n=24_000)
    expected = MHRIsotonicCalibrator("exact").fit(probs, masks)
    shape = (40, 30, 20)
    volume, stack = probs.reshape(shape), masks.reshape(5, *shape)
    frozen = masks.copy()
    frozen.flags.writeable = False
    layouts = {
        "bool": (probs, masks.astype(bool)),
        "float": (probs, masks.astype(np.float64)),
        "raters last": (probs, np.ascontiguousarray(masks.T)),
        "Fortran": (np.asfortranarray(volume), [np.asfortranarray(mask) for mask in stack]),
        "strided": (np.repeat(probs, 2)[::2], np.repeat(masks, 2, axis=1)[:, ::2]),
        "labels": (probs, masks * 255, {"positive": 255}),
        "whole region": (probs, masks, {"roi": np.ones(24_000, bool)}),
        "masked": (probs, np.ma.MaskedArray(masks, np.zeros(masks.shape, bool))),
        "read-only": (probs, list(frozen)),
    }
    for name, (p, m, *options) in layouts.items():
        fitted = MHRIsotonicCalibrator("exact").fit(p, m, **(options[0] if options else {}))
        assert same_map(fitted, expected), name


@pytest.mark.usefixtures("either")
def test_refused_probabilities_are_left_out():
    probs, masks = study("uniform", n=20_000)
    probs[::7] = np.nan
    probs[1::7] = 1.5
    good = (probs >= 0) & (probs <= 1)
    fitted = MHRIsotonicCalibrator("exact").fit(probs, masks, invalid="drop")
    assert same_map(fitted, MHRIsotonicCalibrator("exact").fit(probs[good], masks[:, good]))


@pytest.mark.usefixtures("either")
@pytest.mark.parametrize("binning", ["exact", "equal-mass", "equal-votes"])
@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
def test_threads_do_not_change_the_map(request, binning):
    probs, masks = study("uniform", n=30_011)
    weight = np.random.default_rng(0).random(30_011)
    options = [{}, {"rater_weight": [1, 2, 3, 4, 0.1]}, {"sample_weight": weight}]
    serial = [MHRIsotonicCalibrator(binning).fit(probs, masks, **o) for o in options]
    serial.append(MHRIsotonicCalibrator(binning).fit(probs.astype(np.float64) / 3, masks))
    request.getfixturevalue("threads")
    shared = [MHRIsotonicCalibrator(binning).fit(probs, masks, **o) for o in options]
    shared.append(MHRIsotonicCalibrator(binning).fit(probs.astype(np.float64) / 3, masks))
    assert all(map(same_map, serial, shared))


@pytest.mark.parametrize("weights", [(1, 1, 1), (1, 0.5, 0), (2, 2, 2)])
@pytest.mark.parametrize("mixed", [False, True])
def test_cases_weigh_as_they_are_told_to(monkeypatch, weights, mixed):
    monkeypatch.setattr(_opening, "MANY", 0)
    parts = [study("uniform", n=4000, n_raters=2, seed=s) for s in range(3)]
    if mixed:
        parts[1] = (parts[1][0].astype(np.float64) / 3, parts[1][1])
    cases = [Case(str(i), p.reshape(-1, 4), list(m.reshape(2, -1, 4))) for i, (p, m) in enumerate(parts)]
    fitted = MHRIsotonicCalibrator("exact").fit_cases(cases, case_weight=weights)
    probs, votes = (np.concatenate(c) for c in zip(*((p, m.sum(axis=0)) for p, m in parts), strict=True))
    factor = np.repeat(np.asarray(weights, float), 4000)
    assert_is_sorted_fit(fitted, probs, votes * factor, 2 * factor)


@pytest.mark.parametrize(
    "grid", [ProbabilityGrid(4), ProbabilityGrid(7), ProbabilityGrid(12), ProbabilityGrid.standard()]
)
@pytest.mark.parametrize("kind", ["uniform", "towards 0", "towards 1"])
def test_any_grid_leads_to_the_same_fit(grid, kind):
    probs, masks = study(kind, n=20_000)
    voxels = check_voxels(probs, masks)
    data = CalibrationData(
        grid, tally(probs, masks, grid=grid).pooled(), 20_000.0, voxels=lambda: [(voxels, 1.0)], in_memory=True
    )
    fitted = fit_isotonic(data, None, binning="exact", n_bins=9, keep_zero=False)
    x, expected = sorted_fit(probs, masks.sum(axis=0), np.full(20_000, 5))
    np.testing.assert_allclose(np.interp(x, fitted.x, fitted.y), expected, rtol=0, atol=1e-12)


# What passes are made of --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["uniform", "towards 0", "towards 1", "coherent"])
def test_pieces_add_up_to_what_they_were_cut_from(kind):
    probs, masks = study(kind, n=50_000)
    cells = Partition.of_bins(tally(probs, masks, grid=exact_grid()).pooled(), exact_grid(), None)
    cells = cells.where(cells.starts > 0)
    pieces = count_pieces([Reader(check_voxels(probs, masks), None)], cells, 5000)
    assert pieces.starts.size > cells.starts.size
    assert (pieces.starts[1:] >= pieces.ends[:-1]).all()
    o, p = ordinals_of(probs).astype(np.int64), probs.astype(np.float64)
    index = np.searchsorted(pieces.starts, o, side="right") - 1
    here = o >= pieces.starts[0]
    assert (o[here] < pieces.ends[index[here]]).all()
    for got, values in (
        (pieces.weight, np.full(o.size, 5.0)),
        (pieces.prob_sum, 5 * p),
        (pieces.votes, masks.sum(axis=0)),
    ):
        expected = np.bincount(index[here], values[here], pieces.starts.size)
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["uniform", "coherent"])
def test_only_few_voxels_are_looked_into(monkeypatch, kind):
    """The promise of memory: what is held of 4e5 voxels is far less than they are."""
    probs, masks = study(kind, n=400_000)
    looked_into = []
    real = _opening.look_into

    def counting(readers, cells, inside, border, *, pool):
        looked_into.append(cells.weight[inside].sum() / 5)
        return real(readers, cells, inside, border, pool=pool)

    monkeypatch.setattr(_opening, "look_into", counting)
    MHRIsotonicCalibrator("exact").fit(probs, masks)
    assert looked_into[0] < 0.2 * probs.size


def test_nothing_is_read_again_where_no_cell_need_be_looked_into():
    probs, masks = np.zeros(100, np.float32), np.zeros((2, 100), np.uint8)
    grid = exact_grid()

    def refuse():
        raise AssertionError

    data = CalibrationData(grid, tally(probs, masks, grid=grid).pooled(), 100.0, voxels=refuse)
    assert fit_isotonic(data, None, binning="exact", n_bins=9, keep_zero=False).reachable == (0, 0)
    assert _opening.open_bins(replace(data, voxels=None), cells_to_open).weight.tolist() == [[200.0]]
