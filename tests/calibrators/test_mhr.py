"""Isotonic regression to the mean response: exactly scikit-learn's, closely on the grid, TwinTrack's on equal-mass bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import isotonic_regression

from mrcalib import (
    Case,
    Cohort,
    HistogramBinningCalibrator,
    MHRIsotonicCalibrator,
    ProbabilityGrid,
    SaturationWarning,
    tally,
)

EXACT = MHRIsotonicCalibrator(binning="exact")


def exact(*args, **options):
    return MHRIsotonicCalibrator(binning="exact").fit(*args, **options)


def largest_gap(one, other, at):
    return float(np.abs(one(at) - other(at)).max())


def excess_gap(fitted, expected, probs, at):
    """Largest difference beyond what a last place of p makes where the map is steep (p 1e-9 apart, responses 1)."""
    knots = np.unique(probs.astype(np.float64))
    steep = np.concatenate([[0.0], np.diff(expected(knots)) / np.diff(knots), [0.0]])
    left, right = np.searchsorted(knots, at, side="left"), np.searchsorted(knots, at, side="right")
    rounding = 4 * np.finfo(float).eps * np.maximum(steep[left], steep[right])
    return float((np.abs(fitted(at) - expected(at)) - rounding).max())


# By hand ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binning", ["grid", "exact", "equal-mass", "equal-votes"])
def test_a_violation_is_pooled_and_the_rest_interpolated(binning):
    probs = np.array([0.125, 0.25, 0.5, 0.75])
    raters = [[0, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]  # mean responses 0, 2/3, 1/3, 1
    fitted = MHRIsotonicCalibrator(binning, n_bins=12).fit(probs, raters)
    assert fitted.map_.x.tolist() == [0.125, 0.25, 0.5, 0.75]
    assert fitted.map_.y.tolist() == pytest.approx([0, 0.5, 0.5, 1])
    at = np.array([0.0, 0.1875, 0.4, 0.625, 1.0])
    assert fitted(at) == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert fitted.reachable_ == (0, 1)


@pytest.mark.parametrize("binning", ["grid", "exact"])
def test_a_voxel_weighs_as_many_as_answered_it(binning):
    probs = np.array([0.25, 0.5])
    raters = [[1, 0], [1, np.nan], [1, np.nan]]  # means 1 (three answers) and 0 (one): pooled to 3/4
    assert MHRIsotonicCalibrator(binning).fit(probs, raters)(probs) == pytest.approx([0.75, 0.75])


def test_raters_weigh_as_they_are_told_to():
    probs = np.array([0.25, 0.5])
    fitted = MHRIsotonicCalibrator().fit(probs, [[0, 1], [1, 1]], rater_weight=[3, 1])
    assert fitted(probs) == pytest.approx([0.25, 1])


def test_one_voxel_gives_a_constant():
    assert exact(np.array([0.3]), np.array([1]))(np.array([0.0, 0.3, 1.0])).tolist() == [1, 1, 1]


# The exact binning against scikit-learn ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["smooth", "saturated", "ties", "rare", "buckets"])
@pytest.mark.parametrize("n", [10, 100, 3000, 200_000])
def test_exact_equals_scikit_learn(simulated, oracle, n, kind, dtype):
    for seed in range(1 if n > 10_000 else 4):
        voxels = simulated(n, kind=kind, dtype=dtype, seed=seed)
        fitted = exact(voxels.probs, voxels.answers)
        assert excess_gap(fitted, oracle(*voxels.rows()), voxels.probs, voxels.queries()) < 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["smooth", "saturated", "buckets"])
def test_exact_equals_scikit_learn_under_weights(simulated, oracle, kind, dtype):
    voxels = simulated(5000, kind=kind, dtype=dtype, seed=3)
    rng = np.random.default_rng(1)
    rater_weight, sample_weight = np.array([0.2, 0.0, 1.5, 3.0]), rng.choice([0.0, 0.3, 1.0, 7.5], 5000)
    fitted = exact(voxels.probs, voxels.answers, rater_weight=rater_weight, sample_weight=sample_weight)
    expected = oracle(*voxels.rows(rater_weight, sample_weight))
    assert excess_gap(fitted, expected, voxels.probs, voxels.queries()) < 1e-9


def test_exact_equals_scikit_learn_on_an_averaged_response(simulated, oracle):
    voxels = simulated(5000, missing=0)
    target = voxels.answers.mean(axis=0)
    expected = oracle(voxels.probs, target, np.ones(5000))
    assert largest_gap(exact(voxels.probs, target), expected, voxels.queries()) < 1e-9
    weight = np.random.default_rng(0).random(5000)
    expected = oracle(voxels.probs, target, weight)
    fitted = exact(voxels.probs, target, sample_weight=weight)
    assert largest_gap(fitted, expected, voxels.queries()) < 1e-9


def test_exact_equals_scikit_learn_in_a_region_of_interest(simulated, oracle):
    voxels = simulated(5000)
    roi = np.random.default_rng(0).random(5000) < 0.4
    probs, response, weight = voxels.rows(sample_weight=roi.astype(float))
    fitted = exact(voxels.probs, voxels.answers, roi=roi)
    assert largest_gap(fitted, oracle(probs, response, weight), voxels.queries()) < 1e-9


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_exact_equals_scikit_learn_through_fit_cases(simulated, oracle, n_jobs):
    parts = [simulated(n, seed=n, dtype=np.float32) for n in (400, 2500, 60)]
    cases = [
        Case(
            str(i), v.probs.reshape(-1, 4), [None if r == 2 and i == 1 else a.reshape(-1, 4) for r, a in enumerate(a_)]
        )
        for i, v in enumerate(parts)
        for a_ in [np.nan_to_num(v.answers)]
    ]
    fitted = MHRIsotonicCalibrator("exact").fit_cases(cases, n_jobs=n_jobs, case_weight=[1.0, 0.5, 20.0])
    weights = np.repeat([1.0, 0.5, 20.0], [400, 2500, 60])
    joined = type(parts[0])(
        np.concatenate([v.probs for v in parts]), np.concatenate([np.nan_to_num(v.answers) for v in parts], axis=1)
    )
    joined.answers[2, 400:2900] = np.nan
    expected = oracle(*joined.rows(sample_weight=weights))
    assert largest_gap(fitted, expected, joined.queries()) < 1e-9


@st.composite
def small_studies(draw):
    """A few voxels, often tied, often in one bin of the grid, with raters missing here and there."""
    n = draw(st.integers(1, 30))
    base = draw(arrays(np.float64, n, elements=st.sampled_from([0.0, 2e-4, 0.1, 0.5, 0.50001, 0.8, 0.9999, 1.0])))
    shift = draw(arrays(np.int64, n, elements=st.integers(0, 6)))
    probs = np.clip(base + shift * draw(st.sampled_from([0.0, 1e-10, 1e-6, 0.01])), 0, 1)
    if draw(st.booleans()):
        probs = probs.astype(np.float32)
    n_raters = draw(st.integers(1, 4))
    answers = draw(arrays(np.float64, (n_raters, n), elements=st.sampled_from([0.0, 1.0, np.nan])))
    answers[0, 0] = draw(st.sampled_from([0.0, 1.0]))
    weight = draw(arrays(np.float64, n, elements=st.sampled_from([0.25, 1.0, 3.0])))
    return probs, answers, weight


@settings(max_examples=300, deadline=None)
@given(small_studies(), st.booleans())
def test_exact_equals_scikit_learn_on_any_few_voxels(study, weighted):
    probs, answers, weight = study
    known = ~np.isnan(answers)
    share = known.sum(axis=0) * (weight if weighted else 1.0)
    mean = np.where(known, answers, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    used = share > 0
    x, index = np.unique(probs[used].astype(np.float64), return_inverse=True)
    mass = np.bincount(index, share[used])
    expected = isotonic_regression(np.bincount(index, (share * mean)[used]) / mass, weights=mass).x
    fitted = exact(probs, answers, rater_axis=0, sample_weight=weight if weighted else None, soft=False)
    at = np.concatenate([x, (x[1:] + x[:-1]) / 2, [0, 1]])
    assert excess_gap(fitted, lambda p: np.interp(p, x, expected), x, at) < 1e-9


# The grid ----------------------------------------------------------------------------------------------------------------


def test_grid_equals_exact_where_probabilities_take_few_values(simulated, oracle):
    for values in ([0.0, 0.125, 0.5, 0.75, 1.0], np.arange(256) / 255):
        rng = np.random.default_rng(0)
        probs = rng.choice(np.asarray(values, np.float32), 20_000)
        answers = (rng.random((3, 20_000)) < probs**2).astype(float)
        fitted = MHRIsotonicCalibrator().fit(probs, answers)
        expected = oracle(probs, answers.mean(axis=0), np.full(20_000, 3))
        at = np.concatenate([np.unique(probs).astype(float), rng.random(100)])
        assert np.abs(fitted(at) - expected(at)).max() < 1e-7  # bins' mean probabilities are sums over float32


@pytest.mark.parametrize("kind", ["smooth", "saturated", "rare"])
def test_grid_is_close_to_exact(simulated, kind):
    voxels = simulated(200_000, kind=kind, dtype=np.float32)
    grid, full = MHRIsotonicCalibrator().fit(voxels.probs, voxels.answers), exact(voxels.probs, voxels.answers)
    gap = np.abs(grid(voxels.probs.astype(float)) - full(voxels.probs.astype(float)))
    assert gap.mean() < 1e-3
    assert np.quantile(gap, 0.999) < 0.02


@pytest.mark.slow
def test_a_finer_grid_comes_closer_to_exact(simulated):
    voxels = simulated(50_000, dtype=np.float32)
    at = voxels.probs.astype(float)
    full = exact(voxels.probs, voxels.answers)(at)

    def gap(bits):
        part = tally(voxels.probs, voxels.answers, grid=ProbabilityGrid(bits))
        return np.abs(MHRIsotonicCalibrator().fit_tally(part)(at) - full).mean()

    assert gap(12) < gap(9) < gap(6) < gap(4)
    assert gap(12) < 2e-4


@pytest.mark.parametrize("binning", ["grid", "exact", "equal-mass", "equal-votes"])
def test_volume_is_preserved_on_the_fitting_set(simulated, binning):
    voxels = simulated(20_000, dtype=np.float32)
    pooled = tally(voxels.probs, voxels.answers).pooled()
    fitted = MHRIsotonicCalibrator(binning, n_bins=40).fit(voxels.probs, voxels.answers)
    votes = pooled.votes.sum()
    if binning == "grid":
        prob, weight, _ = pooled.mean_response()
        assert weight @ fitted(prob) == pytest.approx(votes, rel=1e-12)
    elif binning == "exact":
        probs, _, weight = voxels.rows()
        assert weight @ fitted(probs) == pytest.approx(votes, rel=1e-12)
    else:  # preserved at the bins' means, so nearly so on the voxels
        probs, _, weight = voxels.rows()
        assert weight @ fitted(probs) == pytest.approx(votes, rel=0.02)


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")  # 30 bins for 3000 voxels
def test_the_map_is_monotone_and_stays_within_what_raters_answered(simulated):
    voxels = simulated(3000, seed=5)
    for binning in ("grid", "exact", "equal-mass", "equal-votes"):
        fitted = MHRIsotonicCalibrator(binning, n_bins=30).fit(voxels.probs, voxels.answers)
        values = fitted(np.linspace(0, 1, 5001))
        assert (np.diff(values) >= 0).all()
        assert fitted.reachable_ == (values[0], values[-1])


# Bins of equal mass, and of equal votes ------------------------------------------------------------------------------------


def equal_mass_reference(probs, response, n_bins):
    """TwinTrack's calibrator: bins start at the order statistics of rank floor(k n / M), ties stay together."""
    p = np.sort(probs.astype(np.float64))
    starts = np.unique([p[0], *(p[k * p.size // n_bins] for k in range(1, n_bins))])
    index = np.searchsorted(starts, probs.astype(np.float64), side="right") - 1
    mass = np.bincount(index)
    x = np.bincount(index, probs.astype(np.float64)) / mass
    fitted = isotonic_regression(np.bincount(index, response) / mass, weights=mass).x
    return lambda at: np.interp(at, x, fitted)


@pytest.mark.parametrize("kind", ["smooth", "ties", "rare", "saturated"])
@pytest.mark.parametrize(("n", "n_bins"), [(500, 7), (5000, 250), (20_011, 250), (1000, 250)])
@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
def test_equal_mass_is_the_calibrator_of_twintrack(simulated, n, n_bins, kind):
    voxels = simulated(n, kind=kind, missing=0, dtype=np.float32, seed=n)
    fitted = MHRIsotonicCalibrator("equal-mass", n_bins).fit(voxels.probs, voxels.answers)
    expected = equal_mass_reference(voxels.probs, voxels.answers.mean(axis=0), n_bins)
    assert largest_gap(fitted, expected, voxels.queries()) < 1e-9


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
def test_equal_mass_cuts_at_the_exact_rank_for_any_number_of_voxels():
    rng = np.random.default_rng(0)
    for n, n_bins in [(119, 49), (130, 30), (138, 30), (140, 100), (230, 100)]:  # k * (n / M) rounds below k n / M
        probs = rng.random(n).astype(np.float32)
        response = (rng.random(n) < probs).astype(float)
        fitted = MHRIsotonicCalibrator("equal-mass", n_bins).fit(probs, response)
        expected = equal_mass_reference(probs, response, n_bins)
        at = np.linspace(0, 1, 301)
        assert largest_gap(fitted, expected, at) < 1e-9


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")  # two bins
def test_equal_mass_never_splits_equal_probabilities():
    probs = np.array([0.25] * 6 + [0.5, 0.75])  # ranks 2, 4, 6 of 4 bins: 0.25, 0.25, 0.5
    fitted = MHRIsotonicCalibrator("equal-mass", 4).fit(probs, np.array([0, 0, 0, 1, 1, 1, 0, 1]))
    assert fitted.map_.x.tolist() == [0.25, 0.625]
    assert fitted.map_.y.tolist() == [0.5, 0.5]


def test_equal_votes_starts_a_bin_at_equal_shares_of_the_votes():
    probs = np.arange(1, 11) / 16
    votes = np.array(
        [0, 0, 0, 0, 1, 0, 1, 0, 1, 1]
    )  # ranks 1, 2, 3 of 4 bins: the 2nd, 3rd and 4th vote, at 7/16, 9/16, 10/16
    fitted = MHRIsotonicCalibrator("equal-votes", 4).fit(probs, votes)
    assert fitted.map_.x * 16 == pytest.approx([3.5, 7.5, 9, 10])
    assert fitted.map_.y == pytest.approx([1 / 6, 1 / 2, 1, 1])


# Saturation ----------------------------------------------------------------------------------------------------------------


def rare_foreground(prevalence=0.001, n=400_000):
    rng = np.random.default_rng(0)
    truth = rng.random(n) < prevalence
    probs = np.where(truth, rng.beta(8, 2, n), rng.beta(0.3, 30, n)).astype(np.float32)
    return probs, np.stack([truth & (rng.random(n) < 0.9) for _ in range(3)])


def test_equal_mass_saturates_where_foreground_is_rarer_than_a_bin_and_says_what_it_reaches():
    probs, masks = rare_foreground()
    calibrator = MHRIsotonicCalibrator("equal-mass", 250)
    with pytest.warns(SaturationWarning, match=r"saturates: it cannot exceed (0\.\d+), though raters answer") as caught:
        calibrator.fit(probs, masks)
    reachable = calibrator.reachable_[1]
    assert len(caught) == 1
    assert f"cannot exceed {reachable:.3g}," in str(caught[0].message)
    assert "binning='grid'" in str(caught[0].message)
    assert reachable < 0.3


@pytest.mark.parametrize("calibrator", [MHRIsotonicCalibrator("equal-mass", 250), HistogramBinningCalibrator(1)])
def test_the_warning_points_at_the_line_that_fits(calibrator):
    probs, masks = rare_foreground()
    with pytest.warns(SaturationWarning) as caught:
        calibrator.fit(probs, masks)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("binning", ["grid", "exact", "equal-votes"])
def test_the_other_binnings_do_not_saturate(binning):
    probs, masks = rare_foreground()
    assert MHRIsotonicCalibrator(binning).fit(probs, masks).reachable_[1] > 0.8  # a warning would be an error here


def test_equal_mass_does_not_warn_where_foreground_fills_its_bins():
    probs, masks = rare_foreground(prevalence=0.1, n=50_000)
    assert MHRIsotonicCalibrator("equal-mass", 250).fit(probs, masks).reachable_[1] > 0.8


def test_a_study_without_any_vote_does_not_warn():
    fitted = MHRIsotonicCalibrator("equal-mass", 10).fit(np.linspace(0, 1, 100), np.zeros((2, 100), int))
    assert fitted.reachable_ == (0, 0)


# Refusals ------------------------------------------------------------------------------------------------------------------


def test_an_unknown_binning_is_refused():
    with pytest.raises(
        ValueError, match=r"binning must be one of 'grid', 'exact', 'equal-mass', 'equal-votes'; got 'x'"
    ):
        MHRIsotonicCalibrator("x").fit(np.array([0.5]), np.array([1]))


@pytest.mark.parametrize("n_bins", [1, 0, 2.0, True, "9"])
def test_a_wrong_number_of_bins_is_refused(n_bins):
    with pytest.raises(ValueError, match="n_bins must be a whole number of at least 2; got"):
        MHRIsotonicCalibrator("equal-mass", n_bins).fit(np.array([0.5]), np.array([1]))


def test_exact_needs_the_voxels():
    part = tally(np.array([0.2, 0.7]), np.array([0, 1]))
    for what in (part, Cohort([part])):
        with pytest.raises(ValueError, match="binning='exact' needs the voxels"):
            EXACT.fit_tally(what)
    with pytest.raises(ValueError, match="reads all voxels twice"):
        EXACT.partial_fit(np.array([0.2, 0.7]), np.array([0, 1]))
