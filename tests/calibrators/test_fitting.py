"""The ways of fitting, which all calibrators share, give the same map; and so does any order of the voxels."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from mrcalib import (
    BetaCalibrator,
    Case,
    Cohort,
    HardLabelCalibrator,
    HistogramBinningCalibrator,
    IdentityCalibrator,
    MHRIsotonicCalibrator,
    PlattCalibrator,
    SaturationWarning,
    SingleRaterCalibrator,
    TemperatureScalingCalibrator,
    tally,
)
from mrcalib.io import LoadOptions
from mrcalib.study._folds import fitted_by_fold

ON_TALLIES = {
    "identity": IdentityCalibrator(),
    "MHR": MHRIsotonicCalibrator(),
    "equal-votes": MHRIsotonicCalibrator("equal-votes", 20),
    "single": SingleRaterCalibrator(1),
    "hard": HardLabelCalibrator(),
    "temperature": TemperatureScalingCalibrator(),
    "platt": PlattCalibrator(),
    "beta": BetaCalibrator(),
    "histogram": HistogramBinningCalibrator(10),
    "histogram, equal mass": HistogramBinningCalibrator(10, "equal-mass"),
}
ALL = ON_TALLIES | {
    "exact": MHRIsotonicCalibrator("exact"),
    "single, exact": SingleRaterCalibrator(2, "exact"),
    "hard, exact": HardLabelCalibrator("exact"),
    "equal-mass": MHRIsotonicCalibrator("equal-mass", 10),
}
on_tallies = pytest.mark.parametrize("calibrator", ON_TALLIES.values(), ids=ON_TALLIES)
pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")  # 10 bins; test_mhr looks at it
every = pytest.mark.parametrize("calibrator", ALL.values(), ids=ALL)
AT = np.linspace(0, 1, 1001)


@pytest.fixture
def voxels(simulated):
    """Float32 probabilities on a fine lattice, so that sums over them are exact and results can be compared with ==."""
    drawn = simulated(6000, dtype=np.float32)
    return type(drawn)(np.round(drawn.probs * 4096).astype(np.float32) / 4096, drawn.answers)


def other(calibrator):
    from sklearn.base import clone

    return clone(calibrator)


def close(one, another):
    """Maps that differ only by the rounding of sums in another order."""
    return np.abs(one(AT) - another(AT)).max() < 1e-9


# The same voxels by another way --------------------------------------------------------------------------------------------


@on_tallies
def test_fit_tally_equals_fit(voxels, calibrator):
    whole = other(calibrator).fit(voxels.probs, voxels.answers)
    part = tally(voxels.probs, voxels.answers, grid=calibrator.needs.grid)
    if isinstance(calibrator, MHRIsotonicCalibrator) and calibrator.binning == "equal-votes":
        assert np.abs(whole(AT) - other(calibrator).fit_tally(part)(AT)).max() < 0.02  # bins start where the grid's do
    else:
        assert other(calibrator).fit_tally(part).map_ == whole.map_


@on_tallies
def test_partial_fit_in_pieces_equals_fit_at_once_in_any_order(voxels, calibrator):
    whole = other(calibrator).fit_tally(tally(voxels.probs, voxels.answers, grid=calibrator.needs.grid))
    for order in ([0, 1, 2], [2, 0, 1]):
        pieces = [slice(0, 100), slice(100, 2500), slice(2500, None)]
        fitted = other(calibrator)
        for piece in (pieces[i] for i in order):
            fitted.partial_fit(voxels.probs[piece], voxels.answers[:, piece])
        assert fitted.map_ == whole.map_


def test_fit_starts_anew_after_partial_fit(voxels):
    fitted = MHRIsotonicCalibrator().partial_fit(np.array([0.2, 0.8]), np.ones((4, 2), int))
    fresh = MHRIsotonicCalibrator().fit(voxels.probs, voxels.answers)
    assert fitted.fit(voxels.probs, voxels.answers).map_ == fresh.map_


def test_partial_fit_goes_on_after_fit(voxels):
    half = slice(0, 3000), slice(3000, None)
    fitted = MHRIsotonicCalibrator().fit(voxels.probs[half[0]], voxels.answers[:, half[0]])
    fitted.partial_fit(voxels.probs[half[1]], voxels.answers[:, half[1]])
    assert fitted.map_ == MHRIsotonicCalibrator().fit(voxels.probs, voxels.answers).map_


def test_partial_fit_refuses_other_raters():
    fitted = MHRIsotonicCalibrator().partial_fit(np.array([0.2, 0.8]), np.ones((4, 2), int))
    with pytest.raises(ValueError, match="has seen the raters 0, 1, 2, 3; these voxels have 3 raters"):
        fitted.partial_fit(np.array([0.2, 0.8]), np.ones((3, 2), int))


@every
def test_the_order_of_voxels_does_not_matter(voxels, calibrator):
    order = np.random.default_rng(0).permutation(voxels.probs.size)
    fitted = other(calibrator).fit(voxels.probs[order], voxels.answers[:, order])
    assert fitted.map_ == other(calibrator).fit(voxels.probs, voxels.answers).map_


@every
def test_the_order_of_raters_matters_to_the_single_rater_only(voxels, calibrator):
    straight = other(calibrator).fit(voxels.probs, voxels.answers)
    turned = other(calibrator).fit(voxels.probs, voxels.answers[::-1])
    assert close(straight, turned) is not isinstance(calibrator, SingleRaterCalibrator)


@every
def test_raters_first_raters_last_and_a_list_are_the_same(voxels, calibrator):
    first = other(calibrator).fit(voxels.probs, voxels.answers)
    assert other(calibrator).fit(voxels.probs, voxels.answers.T).map_ == first.map_
    assert other(calibrator).fit(voxels.probs, list(voxels.answers)).map_ == first.map_
    shape = (3, 20, 100)
    assert other(calibrator).fit(voxels.probs.reshape(shape), voxels.answers.reshape(4, *shape)).map_ == first.map_


@every
def test_fit_cases_equals_fit_on_their_concatenation(voxels, calibrator):
    sizes = np.cumsum([0, 1000, 200, 4800])
    cases = [
        Case(str(i), voxels.probs[a:b], list(np.nan_to_num(voxels.answers[:, a:b]).astype(np.uint8)))
        for i, (a, b) in enumerate(pairwise(sizes))
    ]
    whole = other(calibrator).fit(voxels.probs, np.nan_to_num(voxels.answers).astype(np.uint8))
    for n_jobs in (None, 2):
        fitted = other(calibrator).fit_cases(cases, n_jobs=n_jobs)
        assert close(fitted, whole)
        assert fitted.raters_ == ("1", "2", "3", "4")
        assert fitted.provenance_["cases"] == ["0", "1", "2"]


@every
def test_sample_weights_are_repetition(voxels, calibrator):
    part = slice(0, 1500)
    probs, answers = voxels.probs[part], voxels.answers[:, part]
    times = np.random.default_rng(0).integers(0, 4, 1500)
    weighted = other(calibrator).fit(probs, answers, sample_weight=times)
    repeated = other(calibrator).fit(np.repeat(probs, times), np.repeat(answers, times, axis=1))
    assert close(weighted, repeated)


# Raters who are missing, and weights -----------------------------------------------------------------------------------------


@every
def test_a_rater_missing_for_a_whole_case_is_not_one_who_found_nothing(voxels, calibrator):
    if isinstance(calibrator, IdentityCalibrator):
        pytest.skip("the identity looks at no rater")
    masks = np.nan_to_num(voxels.answers).astype(np.uint8)
    cases = [
        Case("a", voxels.probs[:3000], dict(zip("wxyz", masks[:, :3000], strict=True))),
        Case("b", voxels.probs[3000:], {"w": None, "x": masks[1, 3000:], "y": masks[2, 3000:]}),
    ]
    answers = masks.astype(float)
    answers[[0, 3], 3000:] = np.nan
    expected = other(calibrator).fit(voxels.probs, answers)
    fitted = other(calibrator).fit_cases(cases)
    assert fitted.raters_ == ("w", "x", "y", "z")
    assert close(fitted, expected)
    if not isinstance(calibrator, SingleRaterCalibrator):
        answers[[0, 3], 3000:] = 0
        assert not close(fitted, other(calibrator).fit(voxels.probs, answers))


@on_tallies
def test_equal_cases_weigh_the_same_by_every_way(voxels, calibrator):
    if isinstance(calibrator, IdentityCalibrator):
        pytest.skip("the identity has no weights")
    masks = np.nan_to_num(voxels.answers).astype(np.uint8)
    bounds = [slice(0, 500), slice(500, 2000), slice(2000, 6000)]
    groups = np.repeat(["a", "b", "c"], [500, 1500, 4000])
    weight = np.repeat([8.0, 8 / 3, 1.0], [500, 1500, 4000])
    expected = other(calibrator).fit(voxels.probs, masks, sample_weight=weight)
    equal = other(calibrator).set_params(case_weight="equal")
    cases = [Case(str(i), voxels.probs[b], list(masks[:, b])) for i, b in enumerate(bounds)]
    cohort = Cohort([tally(voxels.probs[b], masks[:, b], grid=calibrator.needs.grid) for b in bounds])
    tolerance = 0.05 if getattr(calibrator, "binning", "") == "equal-votes" else 1e-9
    for fitted in (
        other(equal).fit(voxels.probs, masks, groups=groups),
        other(equal).fit_cases(cases),
        other(equal).fit_tally(cohort),
        other(calibrator).fit_cases(cases, case_weight=[8, 8 / 3, 1]),
        other(calibrator).fit_tally(cohort, case_weight="equal"),
    ):
        assert np.abs(fitted(AT) - expected(AT)).max() < tolerance


def test_equal_cases_by_hand():
    probs = np.full(5, 0.5)
    masks, groups = np.array([[1, 0, 0, 0, 0]]), np.array(["a", "b", "b", "b", "b"])
    assert MHRIsotonicCalibrator().fit(probs, masks)(probs[:1]) == pytest.approx([0.2])
    equal = MHRIsotonicCalibrator(case_weight="equal")
    assert equal.fit(probs, masks, groups=groups)(probs[:1]) == pytest.approx([0.5])
    roi = np.array([True, True, True, False, False])
    assert equal.fit(probs, masks, groups=groups, roi=roi)(probs[:1]) == pytest.approx([0.5])


def test_equal_cases_count_the_voxels_that_somebody_answered():
    """In fit as in fit_tally: voxels without an answer carry no weight, and must not dilute their case either."""
    probs = np.full(4, 0.5)
    answers = np.array([[1, np.nan, 0, 0]])
    groups = np.array(["a", "a", "b", "b"])
    fitted = MHRIsotonicCalibrator(case_weight="equal").fit(probs, answers, groups=groups)
    cohort = Cohort([tally(probs[:2], answers[:, :2]), tally(probs[2:], answers[:, 2:])])
    assert MHRIsotonicCalibrator(case_weight="equal").fit_tally(cohort)(probs[:1]) == pytest.approx([0.5])
    assert fitted(probs[:1]) == pytest.approx([0.5])


def test_equal_cases_need_to_know_the_cases():
    with pytest.raises(ValueError, match="needs groups="):
        MHRIsotonicCalibrator(case_weight="equal").fit(np.array([0.5]), np.array([1]))
    with pytest.raises(ValueError, match="case_weight must be 'voxels', 'equal' or one number a case; got 'big'"):
        MHRIsotonicCalibrator(case_weight="big").fit_tally(tally(np.array([0.5]), np.array([1])))


@pytest.mark.parametrize("weight", [[1, 2, 3], [0, 0], [1, -1], [1, np.nan], 1.0])
def test_wrong_weights_of_raters_are_refused(weight):
    with pytest.raises(ValueError, match="rater_weight must hold a finite number >= 0 for each of the 2 raters"):
        MHRIsotonicCalibrator().fit(np.array([0.5]), [[1], [0]], rater_weight=weight)


@every
def test_weights_that_are_zero_everywhere_are_refused(calibrator):
    with pytest.raises(ValueError, match="sample_weight is zero everywhere"):
        other(calibrator).fit(np.array([0.1, 0.9]), np.ones((4, 2), int), sample_weight=np.zeros(2))


# Where not to look -----------------------------------------------------------------------------------------------------------


@every
def test_only_the_region_of_interest_counts(voxels, calibrator):
    roi = np.random.default_rng(0).random(6000) < 0.5
    probs = np.where(roi, voxels.probs, np.nan).astype(np.float32)
    inside = other(calibrator).fit(probs, voxels.answers, roi=roi)
    expected = other(calibrator).fit(voxels.probs[roi], voxels.answers[:, roi])
    assert inside.map_ == expected.map_
    assert inside.n_voxels_ == expected.n_voxels_


@every
def test_invalid_probabilities_are_refused_or_dropped(voxels, calibrator):
    probs = voxels.probs[:2000].copy()
    probs[::7] = np.nan
    probs[3] = 1.5
    good = (probs >= 0) & (probs <= 1)
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]: 287 of 2000 voxels are not, 286 of them NaN"):
        other(calibrator).fit(probs, voxels.answers[:, :2000])
    dropped = other(calibrator).fit(probs, voxels.answers[:, :2000], invalid="drop")
    assert dropped.map_ == other(calibrator).fit(probs[good], voxels.answers[:, :2000][:, good]).map_


def test_what_rounds_to_one_in_float32_is_treated_alike_by_fit_and_map():
    above = np.array([0.25, 0.5, 1 + 1e-12])
    with pytest.raises(ValueError, match="looks like rounding"):
        MHRIsotonicCalibrator().fit(above, np.ones(3, int))
    with pytest.raises(ValueError, match="looks like rounding"):
        MHRIsotonicCalibrator().fit(above[:2], np.ones(2, int))(above)


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("identity",)])
def test_an_exact_zero_can_be_kept(voxels, name):
    probs = np.where(np.arange(6000) % 3 == 0, 0, voxels.probs).astype(np.float32)
    masks = np.where(np.arange(6000) % 50 == 0, 1.0, voxels.answers)
    free, kept = (other(ALL[name]).set_params(keep_zero=k).fit(probs, masks) for k in (False, True))
    inside = other(ALL[name]).fit(probs, masks, roi=probs > 0)
    at = np.array([0.0, 2.0**-60, 0.3])
    assert free(at)[0] > 0
    assert kept(at)[0] == 0
    assert kept(at)[1:] == pytest.approx(inside(at)[1:], abs=0)
    assert kept.reachable_[0] == 0
    assert kept.n_voxels_ == inside.n_voxels_ < free.n_voxels_


def fitted_in_every_way(calibrator, probs, masks):
    """The same voxels as arrays, tally, cohort, cases, in pieces, with weights of 1, and by the study's door."""
    half = probs.size // 2
    pieces = [(probs[:half], masks[:, :half]), (probs[half:], masks[:, half:])]
    grid = calibrator.needs.grid
    cohort = Cohort([tally(p, m, grid=grid) for p, m in pieces])
    cases = [Case(str(i), p, list(m)) for i, (p, m) in enumerate(pieces)]
    yield "arrays", clone(calibrator).fit(probs, masks)
    yield "weights", clone(calibrator).fit(probs, masks, sample_weight=np.ones(probs.size))
    yield "cases", clone(calibrator).fit_cases(cases)
    if calibrator.needs.second_pass:
        return
    yield "tally", clone(calibrator).fit_tally(cohort.tallies[0] + cohort.tallies[1])
    yield "cohort", clone(calibrator).fit_tally(cohort)
    yield "pieces", clone(calibrator).partial_fit(*pieces[0]).partial_fit(*pieces[1])
    everyone = {"it": calibrator}
    (_, _, found), *_ = fitted_by_fold(cohort, everyone, [np.arange(2)], in_sample=True)
    yield "study", found["it"]


@pytest.mark.parametrize("name", [n for n in ALL if n not in ("identity",)])
def test_kept_zeros_enter_no_way_of_fitting(rng, name):
    probs = np.where(rng.random(3000) < 0.6, 0, rng.random(3000)).astype(np.float32)
    masks = (rng.random((3, 3000)) < 0.1 + 0.6 * probs).astype(np.uint8)
    calibrator = other(ALL[name]).set_params(keep_zero=True)
    expected = other(ALL[name]).fit(probs[probs > 0], masks[:, probs > 0])
    at = np.linspace(0.001, 1, 500)
    for way, fitted in fitted_in_every_way(calibrator, probs, masks):
        np.testing.assert_allclose(fitted(at), expected(at), rtol=1e-12, atol=1e-15, err_msg=way)
        assert fitted(np.zeros(1)) == 0, way
        assert fitted.n_voxels_ == np.count_nonzero(probs), way


def test_equal_weights_count_voxels_above_zero_where_zeros_are_kept(rng):
    few, many = rng.random(100).astype(np.float32), rng.random(400).astype(np.float32)
    masks = [(rng.random((2, p.size)) < p * s).astype(np.uint8) for p, s in ((few, 0.9), (many, 0.3))]
    padded = [np.concatenate([few, np.zeros(9000, np.float32)]), np.concatenate([many, np.zeros(7, np.float32)])]
    answers = [np.pad(m, ((0, 0), (0, p.size - m.shape[1]))) for m, p in zip(masks, padded, strict=True)]
    kept = MHRIsotonicCalibrator(keep_zero=True, case_weight="equal")
    by_cases = clone(kept).fit_cases(
        [Case(str(i), p, list(m)) for i, (p, m) in enumerate(zip(padded, answers, strict=True))]
    )
    whole = np.concatenate(padded)
    groups = np.repeat([0, 1], [p.size for p in padded])
    by_arrays = clone(kept).fit(whole, np.concatenate(answers, axis=1), groups=groups)
    weight = np.repeat([250 / 100, 250 / 400], [100, 400])
    expected = MHRIsotonicCalibrator().fit(
        np.concatenate([few, many]), np.concatenate(masks, axis=1), sample_weight=weight
    )
    at = np.linspace(0.001, 1, 300)
    for fitted in (by_cases, by_arrays):
        np.testing.assert_allclose(fitted(at), expected(at), rtol=1e-9)


def test_saturation_is_judged_by_the_voxels_above_zero(rng):
    probs = np.zeros(200_000, np.float32)
    probs[:2000] = rng.random(2000)
    masks = (rng.random((3, probs.size)) < probs).astype(np.uint8)
    with pytest.warns(SaturationWarning):
        MHRIsotonicCalibrator("equal-mass", 20).fit(probs, masks)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = MHRIsotonicCalibrator("equal-mass", 20, keep_zero=True).fit(probs, masks)
    assert kept.reachable_[1] > 0.9


def test_pieces_may_begin_with_zeros_only():
    calibrator = MHRIsotonicCalibrator(keep_zero=True).partial_fit(np.zeros(5), np.zeros(5, int))
    with pytest.raises(NotFittedError):
        calibrator(np.array([0.5]))
    calibrator.partial_fit(np.array([0.2, 0.8, 0.0]), np.array([0, 1, 0])).partial_fit(np.zeros(2), np.ones(2, int))
    assert calibrator.map_ == MHRIsotonicCalibrator(keep_zero=True).fit(np.array([0.2, 0.8]), np.array([0, 1])).map_
    assert calibrator.n_voxels_ == 2


def test_only_zeros_leave_nothing_to_fit():
    with pytest.raises(ValueError, match="all probabilities are exactly 0, which keep_zero=True leaves out"):
        MHRIsotonicCalibrator(keep_zero=True).fit(np.zeros(5), np.ones(5, int))


def test_fit_cases_goes_on_without_the_bad_cases(rng):
    probs = [rng.random(50) for _ in range(3)]
    masks = [(rng.random((2, 50)) < p).astype(np.uint8) for p in probs]
    cases = [Case(f"c{i}", p, list(m)) for i, (p, m) in enumerate(zip(probs, masks, strict=True))]
    bad = Case("bad", probs[0] + 5, list(masks[0]))
    failures, seen = {}, {}
    weights = [1.0, 9.0, 2.0, 3.0]
    for binning in ("grid", "exact"):
        fitted = MHRIsotonicCalibrator(binning).fit_cases(
            [cases[0], bad, *cases[1:]], failures=failures, progress=seen.__setitem__, case_weight=weights
        )
        expected = MHRIsotonicCalibrator(binning).fit_cases(cases, case_weight=[1.0, 2.0, 3.0])
        assert fitted.map_ == expected.map_
        assert list(failures) == ["bad"]
        assert seen == {"c0": "tallied", "bad": "failed", "c1": "tallied", "c2": "tallied"}
        with pytest.raises(ValueError, match="'bad'"):
            MHRIsotonicCalibrator(binning).fit_cases([cases[0], bad])


@pytest.mark.parametrize("binning", ["grid", "exact", "equal-mass"])
def test_fit_cases_drops_what_is_no_probability(rng, binning):
    probs = rng.random(200)
    masks = (rng.random((2, 200)) < probs).astype(np.uint8)
    spoiled = np.append(probs, [np.nan, 1.5, -0.1])
    answers = np.pad(masks, ((0, 0), (0, 3)), constant_values=1)
    fitted = MHRIsotonicCalibrator(binning, 20).fit_cases([Case("A", spoiled, list(answers))], invalid="drop")
    assert fitted.map_ == MHRIsotonicCalibrator(binning, 20).fit_cases([Case("A", probs, list(masks))]).map_
    assert fitted.n_voxels_ == 200


def test_provenance_records_how_cases_were_read(rng):
    probs, mask = rng.random((4, 4)), np.eye(4, dtype=np.uint8)
    cases = [Case("A", (probs, probs), [mask], coarse=np.ones((4, 4), np.uint8), spacing=(1.0, 1.0))]
    told = (
        MHRIsotonicCalibrator().fit_cases(cases, options=LoadOptions("logit-mean", margin_mm=2)).provenance_["reading"]
    )
    assert told["pooling"] == "logit-mean"
    assert (told["margin_mm"], told["outside"], told["foreground"]) == (2, "ignore", None)
    assert (told["members"], told["roi"], told["coarse"]) == ([2], False, True)


# What is refused, and what is told ------------------------------------------------------------------------------------------


@every
def test_no_voxel_and_no_answer_are_refused(calibrator):
    with pytest.raises(ValueError, match="There is nothing to fit: probs is empty"):
        other(calibrator).fit(np.empty(0), np.empty((4, 0)))
    with pytest.raises(ValueError, match="nothing to fit"):
        other(calibrator).fit(np.array([0.1, 0.9]), np.full((4, 2), np.nan))
    with pytest.raises(ValueError, match="nothing to fit"):
        other(calibrator).fit(np.array([0.1, 0.9]), np.ones((4, 2), int), roi=np.zeros(2, bool))


def test_swapped_arguments_are_named():
    probs, masks = np.full((4, 5), 0.5), np.ones((3, 4, 5), np.uint8)
    with pytest.raises(TypeError, match=r"the arguments are \(probs, raters\)"):
        MHRIsotonicCalibrator().fit(masks, probs)
    with pytest.raises(ValueError, match="look swapped"):
        MHRIsotonicCalibrator().fit(masks.astype(float), probs)


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="unexpected keyword argument 'weights'"):
        MHRIsotonicCalibrator().partial_fit(np.array([0.5]), np.array([1]), weights=1)
    with pytest.raises(ValueError, match="invalid must be one of 'raise', 'drop'; got 'ignore'"):
        MHRIsotonicCalibrator().fit(np.array([0.5]), np.array([1]), invalid="ignore")


def test_the_number_of_voxels_is_known_with_missing_raters():
    probs = np.full(4, 0.5)
    assert MHRIsotonicCalibrator().fit(probs, np.ones((2, 4), int)).n_voxels_ == 4
    halves = np.array([[1, 1, np.nan, np.nan], [np.nan, np.nan, 0, 0]])
    assert MHRIsotonicCalibrator().fit(probs, halves).n_voxels_ == 4


def test_provenance_names_method_parameters_and_data():
    fitted = HardLabelCalibrator(n_bins=9).fit(np.array([0.2, 0.7]), [[0, 1], [1, 1]], rater_weight=[1, 2])
    told = fitted.provenance_
    assert told["method"] == "HardLabelCalibrator"
    assert told["parameters"] == {"binning": "grid", "n_bins": 9, "keep_zero": False, "case_weight": "voxels"}
    assert told["raters"] == ["0", "1"]
    assert told["rater_weight"] == [1, 2]
    again = HardLabelCalibrator().fit(np.array([0.7, 0.2]), [[1, 0], [1, 1]])
    changed = HardLabelCalibrator().fit(np.array([0.7, 0.2]), [[1, 1], [1, 1]])
    assert again.provenance_["data_sha256"] == told["data_sha256"] != changed.provenance_["data_sha256"]


@every
def test_volumes_keep_their_shape_order_and_float_type(voxels, calibrator):
    fitted = other(calibrator).fit(voxels.probs, voxels.answers)
    for dtype in (np.float16, np.float32, np.float64):
        for order in "CF":
            volume = np.asarray(voxels.probs.reshape(10, 20, 30).astype(dtype), order=order)
            calibrated = fitted(volume)
            assert (calibrated.shape, calibrated.dtype) == (volume.shape, dtype)
            assert np.array_equal(calibrated, fitted.transform(volume.ravel()).reshape(volume.shape))
    assert np.isnan(fitted(np.array([np.nan, 0.5])))[0]
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\]"):
        fitted(np.array([0.5, 1.5]))
    with pytest.raises(TypeError, match="must be floating-point probabilities; got uint8"):
        fitted(np.array([0, 1], np.uint8))
