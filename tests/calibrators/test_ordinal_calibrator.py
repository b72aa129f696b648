"""Isotonic regression to every number of votes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcalib
from mrcalib import BetaBinomialCalibrator, Cohort, MHRIsotonicCalibrator, OrdinalCalibrator, compare, tally
from mrcalib.metrics import count_readout, ranked_probability_score
from mrcalib.tallies import VoteCounts

AT = np.linspace(0, 1, 201)


def votes_of(probs, n, rng, concentration=3.0):
    """Masks of raters who agree more than independent ones would."""
    mean = probs**1.5
    own = rng.beta(mean * concentration + 1e-9, (1 - mean) * concentration + 1e-9)
    return (rng.random((n, probs.size)) < own).astype(np.float64)


def test_each_level_is_scikit_learns_isotonic_regression(simulated, oracle):
    voxels = simulated(missing=0.0, kind="ties")
    fitted = OrdinalCalibrator().fit(voxels.probs, voxels.answers)
    assert fitted.n_counted_ == 4
    assert fitted.n_iter_ == 0
    votes = voxels.answers.sum(axis=0)
    at = voxels.queries()
    got = fitted.predict_counts(at)
    for k in range(1, 5):
        expected = oracle(voxels.probs, (votes >= k).astype(float), None)(at)
        assert got[:, k:].sum(axis=1) == pytest.approx(expected, abs=1e-6)


def test_levels_never_cross_and_the_expected_read_out_is_their_mean(simulated):
    for kind in ("smooth", "saturated", "rare"):
        voxels = simulated(kind=kind, missing=0.3)
        fitted = OrdinalCalibrator().fit(voxels.probs, voxels.answers)
        at = voxels.queries()
        levels = np.stack([level(at) for level in fitted.levels_])
        assert (np.diff(levels, axis=0) <= 1e-12).all()
        dist = fitted.predict_counts(at)
        assert dist.sum(axis=-1) == pytest.approx(np.ones(at.size))
        assert (dist >= 0).all()
        assert fitted(at) == pytest.approx(count_readout(dist), abs=1e-12)


def test_the_expected_read_out_is_the_mhr_map_where_no_level_has_to_pool():
    probs = np.repeat([0.125, 0.25, 0.5, 0.75], 6)
    votes = np.array([0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 2, 0, 0, 1, 1, 2, 2, 3, 1, 2, 2, 3, 3, 3])
    masks = votes > np.arange(3)[:, np.newaxis]
    ordinal, mhr = OrdinalCalibrator().fit(probs, masks), MHRIsotonicCalibrator().fit(probs, masks)
    assert ordinal(AT) == pytest.approx(mhr(AT), abs=1e-12)


def test_where_levels_pool_differently_the_two_maps_differ():
    """At least 1: 1, 0 pools to 1/2; at least 2: 0, 1/2 does not pool; the mean, 1/2, 1/4 or so, pools otherwise."""
    probs = np.repeat([0.25, 0.5], 2)
    masks = np.array([1, 1, 0, 2]) > np.arange(2)[:, np.newaxis]
    ordinal, mhr = OrdinalCalibrator().fit(probs, masks), MHRIsotonicCalibrator().fit(probs, masks)
    assert ordinal(np.array([0.25, 0.5])) == pytest.approx([0.375, 0.625])
    assert mhr(np.array([0.25, 0.5])) == pytest.approx([0.5, 0.5])
    assert ordinal.predict_counts(np.array([0.25])) == pytest.approx(np.array([[0.25, 0.75, 0]]))


def test_one_rater_makes_it_the_isotonic_map(simulated):
    voxels = simulated(missing=0.0, n_raters=1)
    ordinal = OrdinalCalibrator().fit(voxels.probs, voxels.answers)
    mhr = MHRIsotonicCalibrator().fit(voxels.probs, voxels.answers)
    assert ordinal(AT) == pytest.approx(mhr(AT), abs=1e-15)


def test_the_majority_read_out_is_a_level_by_its_tie_rule(simulated):
    voxels = simulated(missing=0.0)
    for tie, k in (("foreground", 2), ("background", 3)):
        fitted = OrdinalCalibrator("majority", tie=tie).fit(voxels.probs, voxels.answers)
        assert fitted.map_ == fitted.levels_[k - 1]
        assert fitted(AT) == pytest.approx(count_readout(fitted.predict_counts(AT), "majority", tie=tie))


# Missing raters -----------------------------------------------------------------------------------------------------------


def test_answers_missing_at_random_lose_no_votes():
    """What is fitted with 40 % of the answers missing is near what is fitted to all; taking missing for "no" is not."""
    rng = np.random.default_rng(0)
    probs = rng.choice([0.1, 0.3, 0.5, 0.7, 0.9], 60_000)
    answers = votes_of(probs, 3, rng)
    whole = OrdinalCalibrator().fit(probs, answers)
    at = np.unique(probs)
    lost = np.where(rng.random(answers.shape) < 0.4, np.nan, answers)
    some = OrdinalCalibrator().fit(probs, lost)
    assert some.n_iter_ > 0
    assert some.n_counted_ == 3
    assert np.abs(some.predict_counts(at) - whole.predict_counts(at)).max() < 0.025
    as_no = OrdinalCalibrator().fit(probs, np.nan_to_num(lost))
    assert np.abs(as_no.predict_counts(at) - whole.predict_counts(at)).max() > 0.2


def test_a_single_bin_with_missing_answers_by_hand():
    """K = 2 at one p: 0, 1 and 2 votes twice, once and once of two raters; and four voxels of one rater, one marked.

    The likelihood in (q0, q1, q2): q0^2 q1 q2 (q0 + q1/2)^3 (q1/2 + q2); its maximum on a fine grid.
    """
    answers = np.array([[0, 0, 1, 1, 0, 0, 0, 1], [0, 0, 0, 1] + [np.nan] * 4])
    fitted = OrdinalCalibrator().fit(np.full(8, 0.5), answers)
    q0, q1 = (x.ravel() for x in np.meshgrid(np.arange(1, 1000) / 1000, np.arange(1, 1000) / 1000))
    q0, q1 = q0[q0 + q1 < 1], q1[q0 + q1 < 1]
    q2 = 1 - q0 - q1
    best = np.argmax(2 * np.log(q0) + np.log(q1) + np.log(q2) + 3 * np.log(q0 + q1 / 2) + np.log(q1 / 2 + q2))
    got = fitted.predict_counts(np.array([0.5]))[0]
    assert got == pytest.approx([q0[best], q1[best], q2[best]], abs=2e-3)


def test_more_answers_than_counted_are_thinned():
    rng = np.random.default_rng(1)
    probs = rng.choice([0.2, 0.8], 2000)
    answers = votes_of(probs, 5, rng)
    fitted = OrdinalCalibrator(n_raters=2).fit(probs, answers)
    pairs = [(i, j) for i in range(5) for j in range(5) if i < j]
    for p in (0.2, 0.8):
        here = answers[:, probs == p]
        two = np.concatenate([here[i] + here[j] for i, j in pairs])
        expected = [np.mean(two == k) for k in range(3)]
        assert fitted.predict_counts(np.array([p]))[0] == pytest.approx(expected, abs=1e-6)
    whole = OrdinalCalibrator().fit(probs, answers)
    at = np.array([0.2, 0.8])
    assert whole.predict_counts(at, n_raters=2) == pytest.approx(fitted.predict_counts(at), abs=1e-6)


# Ways of fitting ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [OrdinalCalibrator(), BetaBinomialCalibrator(dispersion="constant")], ids=repr)
def test_all_ways_of_fitting_agree(simulated, method):
    voxels = [simulated(n=500, missing=0.2, kind="ties", dtype=np.float32, seed=s) for s in range(3)]
    probs, answers = np.concatenate([v.probs for v in voxels]), np.concatenate([v.answers for v in voxels], axis=1)
    cohort = Cohort([tally(v.probs, v.answers) for v in voxels])

    def new():
        return mrcalib.calibrators.__dict__[type(method).__name__](**method.get_params())

    def said(fitted):
        return fitted.predict_counts(AT)

    at_once = said(new().fit(probs, answers))
    assert said(new().fit_tally(cohort)) == pytest.approx(at_once, abs=1e-6)
    in_pieces = new()
    for v in voxels:
        in_pieces.partial_fit(v.probs, v.answers)
    assert said(in_pieces) == pytest.approx(at_once, abs=1e-6)
    weighted = new().fit(probs, answers, sample_weight=np.full(probs.size, 0.5))
    assert said(weighted) == pytest.approx(at_once, abs=1e-4)
    twice = new().fit_tally(cohort, case_weight=[2, 1, 0])
    repeated = new().fit_tally(Cohort([cohort.tallies[i] for i in (0, 0, 1)]))
    assert said(twice) == pytest.approx(said(repeated), abs=1e-6)


def test_the_counts_of_weighted_cases_are_the_sum_of_theirs(simulated):
    parts = [tally(v.probs, v.answers) for v in (simulated(n=300, seed=s) for s in range(3))]
    weight = np.array([1.0, 0.0, 2.0])
    got = Cohort(parts).vote_counts(weight)
    each = [VoteCounts.from_cells(part.cells) for part in parts]
    expected = VoteCounts.merge([each[0], each[2], each[2]])
    for name in ("bins", "answers", "votes", "weight"):
        assert np.array_equal(getattr(got, name), getattr(expected, name))


def test_exact_zeros_are_kept_out_and_have_no_votes():
    probs, masks = np.array([0.0, 0.0, 0.5, 0.5]), [[1, 1, 0, 1], [1, 1, 1, 1]]
    fitted = OrdinalCalibrator(keep_zero=True).fit(probs, masks)
    assert fitted.n_voxels_ == 2
    got = fitted.predict_counts(np.array([0.0, 0.5], np.float32))
    assert got.dtype == np.float32
    assert got == pytest.approx(np.array([[1, 0, 0], [0, 0.5, 0.5]]))


def test_nan_and_masked_voxels_stay_what_they_are(simulated):
    voxels = simulated(missing=0.0)
    for method in (OrdinalCalibrator(), BetaBinomialCalibrator()):
        fitted = method.fit(voxels.probs, voxels.answers)
        assert np.isnan(fitted.predict_counts(np.array([[np.nan, 0.5]]))).tolist() == [[[True] * 5, [False] * 5]]
        hidden = fitted.predict_counts(np.ma.masked_array([7.0, 0.5], [True, False]))
        assert np.ma.getmaskarray(hidden).tolist() == [[True] * 5, [False] * 5]


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_any_small_table_gives_distributions(n_raters, seed):
    rng = np.random.default_rng(seed)
    probs = rng.choice([0.0, 0.25, 0.5, 1.0], 12)
    answers = rng.integers(0, 2, (n_raters, 12)).astype(float)
    answers[1:][rng.random((n_raters - 1, 12)) < 0.3] = np.nan
    for method in (OrdinalCalibrator(), BetaBinomialCalibrator(dispersion="constant")):
        dist = method.fit(probs, answers, rater_axis=0).predict_counts(AT)
        assert (dist >= 0).all()
        assert dist.sum(axis=-1) == pytest.approx(np.ones(AT.size))
        assert (np.diff(count_readout(dist)) >= -1e-9).all()


@pytest.mark.parametrize("method", [OrdinalCalibrator, BetaBinomialCalibrator])
def test_what_has_no_number_of_votes_is_refused(simulated, method):
    voxels = simulated(missing=0.0)
    with pytest.raises(ValueError, match="counts votes and needs each rater's mask"):
        method().fit(voxels.probs, voxels.probs)
    with pytest.raises(ValueError, match="rater_weight must be the same for all of the raters 0, 1, 2, 3"):
        method().fit(voxels.probs, voxels.answers, rater_weight=[1, 2, 1, 1])
    method().fit(voxels.probs, voxels.answers, rater_weight=[2, 2, 2, 2])
    with pytest.raises(ValueError, match="n_raters must be a whole number of at least 1; got 0"):
        method().fit(voxels.probs, voxels.answers).predict_counts(AT, n_raters=0)


def test_options_that_make_no_sense_are_refused(simulated):
    voxels = simulated(missing=0.0, n=50)
    for options, words in (
        ({"readout": "median"}, "readout must be one of"),
        ({"tie": "half"}, "tie must be one of"),
        ({"n_raters": 2.5}, "n_raters must be a whole number"),
    ):
        with pytest.raises(ValueError, match=words):
            OrdinalCalibrator(**options).fit(voxels.probs, voxels.answers)
    fitted = OrdinalCalibrator().fit(voxels.probs, voxels.answers)
    with pytest.raises(ValueError, match="n_raters must be at most 4, the raters this was fitted for; got 5"):
        fitted.predict_counts(AT, n_raters=5)


# Use ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", [OrdinalCalibrator("majority", tie="background"), BetaBinomialCalibrator("platt")], ids=repr
)
def test_a_saved_file_says_the_same(simulated, tmp_path, method):
    voxels = simulated()
    fitted = method.fit(voxels.probs, voxels.answers)
    fitted.save(tmp_path / "c.json")
    again = mrcalib.load(tmp_path / "c.json")
    assert type(again) is type(fitted)
    assert again.get_params() == fitted.get_params()
    assert again.map_ == fitted.map_
    assert np.array_equal(again.predict_counts(AT), fitted.predict_counts(AT))
    text = (
        (tmp_path / "c.json").read_text().replace('"levels": [', '"levels": [{"kind": "no"}, ').replace('"rho"', '"r"')
    )
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=r"bad\.json is damaged"):
        mrcalib.load(tmp_path / "bad.json")


def test_compare_scores_predicted_counts_beside_the_map():
    rng = np.random.default_rng(3)
    probs = rng.beta(0.5, 0.8, (6, 1500)).astype(np.float32).astype(np.float64)
    masks = [votes_of(p, 4, rng) for p in probs]
    cohort = Cohort([tally(p, m) for p, m in zip(probs, masks, strict=True)])
    methods = {
        "MHR": MHRIsotonicCalibrator(),
        "ordinal": OrdinalCalibrator(case_weight="equal"),
        "beta-binomial": BetaBinomialCalibrator(dispersion="constant"),
    }
    study = compare(cohort, methods, ["mr_ece", ranked_probability_score, "count_log_loss"], cv=3, n_resamples=100)
    table = study.table("pooled")
    for better in ("ordinal", "beta-binomial"):  # than independent raters
        assert table.loc[better, "RPS"] < table.loc["MHR", "RPS"]
        assert table.loc[better, "vote log loss"] < table.loc["MHR", "vote log loss"]
    one = compare(cohort, {"ordinal": OrdinalCalibrator()}, ["rps"], cv=None, n_resamples=10)
    fitted = OrdinalCalibrator().fit_tally(cohort)
    exact = np.mean([ranked_probability_score(fitted.predict_counts(p), m) for p, m in zip(probs, masks, strict=True)])
    assert one.table("pooled").loc["ordinal", "RPS"] == pytest.approx(exact, rel=2e-3)
    rows = fitted.count_responses(cohort)
    assert len(rows) == 6
    assert ranked_probability_score(rows[2]) == pytest.approx(one.per_case().query("case == '2'")["value"].item())
