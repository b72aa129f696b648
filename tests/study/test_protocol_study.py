"""Comparison by a protocol: held-out voxels under each fold's map, checkpoints, test sets, and cases that fail."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from plain_protocol import Recorder, make_cases, stub

from mrcalib import Cohort, MHRIsotonicCalibrator, compare, tally, tally_cases
from mrcalib.io import LoadOptions
from mrcalib.protocols import get_protocol
from mrcalib.simulate import phantoms
from mrcalib.study import default_methods, paper_methods

pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")

TWO = ("none", "MHR")


def quick(scored, protocol, methods=TWO, **options):
    return compare(scored, methods, ["brier"], protocol=protocol, **({"n_resamples": 200} | options))


def held_out_maps(cases, make):
    """Each case's calibrator fitted, by arrays, to the cases of the other patients."""
    maps = []
    for case in cases:
        others = [other for other in cases if other.group != case.group]
        probs = np.concatenate([other.probs.ravel() for other in others])
        masks = np.concatenate([np.stack([m.ravel() for m in other.masks.values()]) for other in others], axis=1)
        maps.append(make().fit(probs, masks))
    return maps


def test_values_are_the_protocol_s_own_at_the_maps_fitted_to_the_other_patients(cases, protocol):
    study = quick(cases, protocol)
    expected = Recorder()
    for i, fitted in enumerate(held_out_maps(cases, MHRIsotonicCalibrator)):
        for strict, told in ((True, study), (False, study.corrected)):
            scores = expected(fitted(cases[i].probs), list(cases[i].masks.values()), spacing=(1, 2, 3), strict=strict)
            for metric in told.metrics:
                value = told.case_values("MHR", metric)[i]
                assert value == pytest.approx(scores[metric.name], rel=1e-6, nan_ok=True)


def test_uncalibrated_values_are_exact(cases, protocol):
    study = quick(cases, protocol)
    own = [protocol.score(c.probs, list(c.masks.values()), spacing=c.spacing) for c in cases]
    for metric in study.metrics:
        np.testing.assert_array_equal(study.case_values("none", metric), [scores[metric.name] for scores in own])
    assert [m.name for m in study.metrics] == ["gap", "volume", "level"]
    assert study.protocol == "stub"
    assert study.description.startswith(
        "Stub 2000: 6 cases in 3 groups, 3 raters; as the official program scores; 3 folds"
    )


def test_ordinary_metrics_come_with_it(cases, protocol):
    study = quick(cases, protocol)
    plain = compare(cases, TWO, ["brier"], n_resamples=200)
    assert study.tallied.to_dict() == plain.to_dict()
    assert study.calibrators["MHR"].map_ == plain.calibrators["MHR"].map_


def test_the_maps_are_those_of_the_case_s_fold(cases, protocol):
    study = quick(cases, protocol)
    for case, fitted in zip(cases, held_out_maps(cases, MHRIsotonicCalibrator), strict=True):
        np.testing.assert_allclose(study.held_out[case.id]["MHR"](case.probs), fitted(case.probs), rtol=1e-6)


def test_by_default_the_paper_s_rows_and_mhr_on_the_grid_are_compared(cases, protocol):
    study = quick(cases, protocol, methods=None, n_resamples=20)
    assert study.methods == (*paper_methods(), "MHR")
    assert study.methods[-2:] == ("TwinTrack", "MHR")
    assert study.reference() == "TwinTrack"
    assert quick(cases, protocol, ["none", "MHR"], n_resamples=20).reference() == "MHR"
    assert quick(cases, protocol, ["none", "Platt"], n_resamples=20).reference() == "none"


@pytest.mark.parametrize("name", ["single-rater", "hard-label"])
def test_the_paper_s_calibrators_have_250_bins_of_equal_mass(name):
    paper, default = paper_methods()[f"{name}-250"], default_methods()[name]
    assert type(paper) is type(default)
    assert (paper.binning, paper.n_bins) == ("equal-mass", 250)
    assert paper_methods()["TwinTrack"].get_params() == default_methods()["TwinTrack"].get_params()
    assert paper_methods(keep_zero=True)["TwinTrack"].keep_zero


def test_outside_a_region_of_interest_nothing_is_predicted(cases, protocol, recorder):
    roi = np.zeros((6, 5, 4), np.uint8)
    roi[:3] = 1
    study = quick([replace(case, roi=roi) for case in cases], protocol)
    assert all((asked["probs"][3:] == 0).all() and asked["probs"][:3].any() for asked in recorder.asked)
    assert all(asked["raters"][0].shape == (6, 5, 4) for asked in recorder.asked)
    assert ", 0 outside regions of interest;" in study.description


def test_maps_that_look_at_the_case_see_its_region_of_interest_only(cases, protocol):
    roi = np.zeros((6, 5, 4), np.uint8)
    roi[:4] = 1
    study = quick([replace(case, roi=roi) for case in cases], protocol, ["none", "case-adaptive"])
    inside = roi.astype(bool)
    for i, case in enumerate(cases):
        calibrated = np.zeros_like(case.probs)
        calibrated[inside] = study.held_out[case.id]["case-adaptive"](case.probs[inside])
        scores = protocol.score(calibrated, list(case.masks.values()), spacing=case.spacing)
        assert study.case_values("case-adaptive", study.metrics[1])[i] == scores["volume"]


def test_a_missing_rater_stays_missing(cases, protocol, recorder):
    cases[1] = replace(cases[1], raters=cases[1].masks | {"b": None})
    quick(cases, protocol)
    raters = [asked["raters"] for asked in recorder.asked]
    assert sum(any(mask is None for mask in of) for of in raters) == 2 * 2  # methods, and strict and corrected


def test_differences_are_of_cases_that_both_methods_define(cases, protocol):
    study = quick(cases, protocol)
    level = study.metrics[2]
    none, mhr = (study.case_values(method, level) for method in TWO)
    assert (np.isnan(none) != np.isnan(mhr)).any()
    row = study.differences().query("metric == 'level'").iloc[0]
    assert row["difference"] == pytest.approx(np.nanmean(mhr - none))


def test_disputes_say_where_the_program_and_the_sound_value_part(cases, protocol):
    study = quick(cases, protocol)
    apart = {
        (case, method)
        for method in TWO
        for case, a, b in zip(
            study.ids,
            study.case_values(method, study.metrics[0]),
            study.corrected.case_values(method, study.metrics[0]),
            strict=True,
        )
        if abs(a - b) > 0.1
    }
    assert apart
    assert {(d.case, d.method) for d in study.disputes} == apart
    assert {d.measure for d in study.disputes} == {"gap"}
    assert all("by intent" in d.sentence for d in study.disputes)


def test_everything_is_json(cases, protocol):
    told = json.loads(json.dumps(quick(cases, protocol).to_dict(), allow_nan=False))
    assert told["protocol"] == told["corrected"]["protocol"] == "stub"
    assert told["tallied"]["metrics"][0]["name"] == "brier"
    assert "protocol" not in told["tallied"]
    assert told["disputes"][0]["measure"] == "gap"


def test_trade_offs_are_told_of_a_protocol_s_measures():
    def scorer(probs, raters, *, spacing=None, strict=True):
        return {"gap": float(probs.mean()), "volume": -float(probs.mean()), "level": 0.0}

    methods = {"none": default_methods()["none"], "MHR": MHRIsotonicCalibrator()}
    (sentence,) = quick(make_cases(), stub(scorer), methods).trade_offs()
    assert sentence.startswith("MHR is better than none on gap (-")
    assert "but worse on volume (+" in sentence or "but worse on volume (-" in sentence


# Test set --------------------------------------------------------------------------------------------------------------------


def test_a_test_set_is_scored_by_maps_of_all_training_cases(cases, protocol, recorder):
    test = make_cases(4, seed=9, prefix="t")
    study = quick(cases, protocol, test_cases=test)
    fitted = MHRIsotonicCalibrator().fit_tally(tally_cases(cases))
    assert study.ids == ("t0", "t1", "t2", "t3")
    assert study.groups == ("t-patient0", "t-patient0", "t-patient1", "t-patient1")
    for i, case in enumerate(test):
        scores = protocol.score(fitted(case.probs), list(case.masks.values()), spacing=case.spacing)
        assert study.case_values("MHR", study.metrics[0])[i] == pytest.approx(scores["gap"], rel=1e-6)
    assert "4 cases in 2 groups" in study.description
    assert "fitted to 6 other cases in 3 groups" in study.description
    assert study.calibrators["MHR"].map_ == fitted.map_


def test_a_test_set_needs_no_protocol(cases):
    test = make_cases(4, seed=9, prefix="t")
    study = compare(cases, TWO, ["brier"], test_cases=test, n_resamples=50)
    again = compare(tally_cases(cases), TWO, ["brier"], test_cases=tally_cases(test), n_resamples=50)
    assert study.to_dict() == again.to_dict()
    fitted = MHRIsotonicCalibrator().fit_tally(tally_cases(cases))
    response = [np.mean(list(case.masks.values()), axis=0) for case in test]
    brier = [
        np.mean((p := fitted(case.probs.astype(float))) ** 2 - 2 * p * r + r)
        for case, r in zip(test, response, strict=True)
    ]
    assert study.case_values("MHR", study.metrics[0]) == pytest.approx(brier, rel=1e-6)


def test_a_patient_on_both_sides_is_refused(cases):
    test = [replace(case, id=f"t{i}") for i, case in enumerate(make_cases(2, seed=9))]
    with pytest.raises(ValueError, match=r"share 1 groups, such as 'c-patient0'"):
        compare(cases, TWO, test_cases=test)


# Checkpoints and failures ----------------------------------------------------------------------------------------------------


def test_a_rerun_scores_only_what_has_changed(cases, tmp_path):
    first, seen = Recorder(), []
    options = {"checkpoints": tmp_path, "case_progress": lambda case, what: seen.append(what)}
    before = quick(cases, stub(first), **options).to_dict()
    assert len(first.asked) == 6 * 2 * 2
    assert seen == ["tallied"] * 6 + ["scored"] * 6
    assert len(list((tmp_path / "scores").glob("*.json"))) == 6

    again = Recorder()
    seen.clear()
    assert quick(cases, stub(again), **options).to_dict() == before
    assert (again.asked, seen) == ([], ["unchanged"] * 12)

    more = Recorder()
    quick(cases, stub(more), ["none", "Platt"], **options)
    assert len(more.asked) == 6 * 1 * 2  # the new method; the baseline's map is known
    back = Recorder()
    quick(cases, stub(back), **options)
    assert back.asked == []


def test_a_changed_case_changes_the_maps_of_the_other_patients(cases, tmp_path):
    quick(cases, stub(Recorder()), checkpoints=tmp_path)
    masks = cases[0].masks
    changed = [replace(cases[0], raters=masks | {"a": 1 - masks["a"]}), *cases[1:]]
    scorer = Recorder()
    study = quick(changed, stub(scorer), checkpoints=tmp_path)
    # its own two maps; MHR for the four cases of other patients; the patient's other case keeps its map
    assert len(scorer.asked) == 2 * (2 + 4)
    fresh = quick(changed, stub(Recorder()))
    assert study.to_dict() == fresh.to_dict()


@pytest.mark.parametrize("change", ["options", "protocol", "damage", "labels"])
def test_other_options_protocols_and_damaged_files_are_scored_again(cases, tmp_path, change):
    quick(cases, stub(Recorder()), ["none"], checkpoints=tmp_path)
    scorer = Recorder()
    told, options = stub(scorer), {}
    if change == "options":
        options["options"] = LoadOptions(check_agreement=False)
    elif change == "protocol":
        told = stub(scorer, name="another")
    elif change == "damage":
        for path in (tmp_path / "scores").iterdir():
            path.write_text(path.read_text()[:60])
    else:
        told = stub(scorer, needs_vessels=True)
        cases = [replace(case, vessels=np.ones((6, 5, 4), np.uint8)) for case in cases]
        options["vessel_labels"] = {"PORTA": 1}
    quick(cases, told, ["none"], checkpoints=tmp_path, **options)
    assert len(scorer.asked) == 6 * 2
    if change == "labels":
        assert scorer.asked[0]["vessel_labels"] == {"PORTA": 1}
        assert scorer.asked[0]["vessels"].all()


def test_what_is_not_a_number_survives_a_checkpoint(cases, tmp_path):
    def scorer(probs, raters, *, spacing=None, strict=True):
        return {"gap": np.nan, "volume": np.inf, "level": 1 / 3}

    before = quick(cases, stub(scorer), ["none"], checkpoints=tmp_path)
    after = quick(cases, stub(None), ["none"], checkpoints=tmp_path)
    for metric in before.metrics:
        np.testing.assert_array_equal(before.case_values("none", metric), after.case_values("none", metric))
    assert "NaN" not in (tmp_path / "scores" / "c0.json").read_text()


def test_jobs_do_not_change_results(cases):
    assert quick(cases, stub(Recorder()), n_jobs=3).to_dict() == quick(cases, stub(Recorder())).to_dict()


def failing(case):
    """A scorer that refuses one case."""
    good = Recorder()

    def scorer(probs, raters, **options):
        if np.array_equal(raters[0], case.masks["a"]):
            msg = "no such vessel"
            raise ValueError(msg)
        return good(probs, raters, **options)

    return scorer


def test_a_case_that_fails_is_named_and_left_out_for_all_methods(cases, tmp_path):
    failures = {}
    study = quick(cases, stub(failing(cases[2])), failures=failures, checkpoints=tmp_path)
    assert list(failures) == ["c2"]
    assert str(failures["c2"]) == "no such vessel"
    assert study.ids == study.corrected.ids == ("c0", "c1", "c3", "c4", "c5")
    with pytest.warns(DeprecationWarning, match=r"Study\.sound is now called Study\.corrected"):
        assert study.sound is study.corrected
    assert len(study.tallied.ids) == 6
    assert study.description.startswith("Stub 2000: 5 cases in 3 groups")
    assert {path.stem for path in (tmp_path / "scores").iterdir()} == set(study.ids)
    scorer = Recorder()  # the program is mended
    assert quick(cases, stub(scorer), checkpoints=tmp_path).ids == study.tallied.ids
    assert len(scorer.asked) == 4


def test_without_failures_the_first_error_is_raised(cases):
    with pytest.raises(ValueError, match="no such vessel"):
        quick(cases, stub(failing(cases[2])))


def test_when_all_cases_fail_the_first_reason_is_told(cases):
    def scorer(*_, **__):
        msg = "no program"
        raise ValueError(msg)

    with pytest.raises(ValueError, match=r"None of the 6 cases could be scored by stub\. The first, 'c0': no program"):
        quick(cases, stub(scorer), failures={})


# Refusals --------------------------------------------------------------------------------------------------------------------


def test_a_cohort_needs_the_cases_it_was_made_of(cases, protocol):
    cohort = tally_cases(cases)
    with pytest.raises(ValueError, match="give the cases it was tallied from as cases="):
        quick(cohort, protocol)
    with pytest.raises(ValueError, match=r"'c1' is missing \(5 in all\)"):
        quick(cohort, protocol, cases=cases[:1])
    assert quick(cohort, protocol, cases=reversed(cases)).to_dict() == quick(cases, protocol).to_dict()


def test_wrong_protocols_are_refused(cases, recorder):
    with pytest.raises(ValueError, match=r"no protocol 'curvas'\. Did you mean 'curvas-2024' or 'curvas-pdacvi'"):
        quick(cases, "curvas")
    with pytest.raises(ValueError, match="scores label maps of several classes"):
        quick(cases, "curvas-2024")
    with pytest.raises(ValueError, match="vessel_labels name the labels in maps of vessels"):
        quick(cases, stub(recorder), vessel_labels={"PORTA": 1})
    with pytest.raises(ValueError, match="vessel_labels name the labels in maps of vessels"):
        compare(Cohort([tally(c.probs, list(c.masks.values())) for c in cases]), TWO, vessel_labels={"PORTA": 1})


# The challenge's own ---------------------------------------------------------------------------------------------------------


def test_the_challenge_is_scored_as_by_direct_calls():
    def case_of(phantom, vessels):
        from mrcalib import Case

        return Case(
            phantom.id, phantom.members.mean(axis=0), list(phantom.raters), phantom.group,
            vessels=vessels, spacing=phantom.spacing,
        )  # fmt: skip

    vessels = np.zeros((24, 24, 10), np.int16)
    vessels[8:12, 8:12] = 1
    vessels[14:17, 8:12] = 3
    cases = [case_of(p, vessels) for p in phantoms(3, (24, 24, 10), rng=0)]
    study = quick(cases, "curvas-pdacvi", ["none", "TwinTrack"], n_resamples=20)
    rules = get_protocol("curvas-pdacvi")
    for case in cases:
        calibrated = study.held_out[case.id]["TwinTrack"](case.probs)
        for strict, told in ((True, study), (False, study.corrected)):
            scores = rules.score(calibrated, list(case.raters), vessels=vessels, spacing=case.spacing, strict=strict)
            for metric in told.metrics:
                value = told.case_values("TwinTrack", metric)[told.ids.index(case.id)]
                np.testing.assert_equal(value, scores[metric.name])
    assert [m.label for m in study.metrics[:4]] == ["TDSC", "ECE", "CRPS", "PORTA"]
    without = quick([replace(case, vessels=None) for case in cases], "curvas-pdacvi", n_resamples=20)
    assert [m.label for m in without.metrics] == ["TDSC", "ECE", "CRPS"]
    assert without.metrics[2].unit == "mm³"
    bare = [replace(case, vessels=None, spacing=None) for case in cases]
    assert quick(bare, "curvas-pdacvi", n_resamples=20).metrics[2].unit == "voxels"
