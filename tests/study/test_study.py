"""A study: cross-validated without leaks, equal to loops over voxels, with paired intervals and honest verdicts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

import mrcalib
from mrcalib import (
    Case,
    Cohort,
    HardLabelCalibrator,
    IdentityCalibrator,
    MHRIsotonicCalibrator,
    PlattCalibrator,
    SaturationWarning,
    SingleRaterCalibrator,
    compare,
    tally,
)
from mrcalib.calibrators import Calibrator
from mrcalib.maps import PiecewiseLinearMap
from mrcalib.metrics import Metric, brier_score, get_metric
from mrcalib.resampling import bca_interval, bootstrap_counts, jackknife_counts
from mrcalib.study import default_methods

SIZES = (300, 500, 250, 400, 350, 600)
GROUPS = ("p", "p", "q", "q", "r", "s")
METRICS = ["mr_ece", "brier"]


def voxels(seed=0, sizes=SIZES, *, exponent=2.0, n_raters=3):
    """Per case: probabilities on a lattice that the grid tells apart, and overconfident against the raters."""
    rng = np.random.default_rng(seed)
    out = []
    for n in sizes:
        probs = (rng.integers(0, 65, n) / 64).astype(np.float32)
        out.append((probs, (rng.random((n_raters, n)) < probs**exponent).astype(np.uint8)))
    return out


def cohort_of(cases, groups=GROUPS, **options):
    return Cohort([tally(p, m) for p, m in cases], groups=list(groups)[: len(cases)], **options)


@pytest.fixture(scope="module")
def cohort():
    return cohort_of(voxels())


class Scaled(Calibrator):
    """Multiplies probabilities by a fixed factor, whatever the raters say."""

    def __init__(self, factor=1.0, *, case_weight="voxels"):
        self.factor = factor
        self.case_weight = case_weight

    def fit_map(self, data, rater_weight):
        return PiecewiseLinearMap([0.0, 1.0], [0.0, self.factor])


def mean_probability(better, name=None):
    """The mean calibrated probability: what a score would say that never looks at the raters."""

    def sums(rows):
        return np.array([rows.count @ rows.prob, rows.count.sum()])

    return ratio_of(sums, name or f"mean_{better}", f"mean {better}", better)


def ratio_of(sums_of_rows, its_name, its_label, its_better="lower"):
    """A metric that is the first sum over the second."""

    class Ratio(Metric):
        name, label, better = its_name, its_label, its_better

        def sums(self, responses):
            return sums_of_rows(responses)

        def value(self, sums):
            return sums[..., 0] / sums[..., 1]

    return Ratio()


def quick(cohort, methods=("none", "MHR"), metrics=tuple(METRICS), **options):
    return compare(cohort, methods, metrics, **({"n_resamples": 200} | options))


# Against loops over voxels -----------------------------------------------------------------------------------------------


def brier_by_loops(probs, masks):
    total = n = 0
    for i, p in enumerate(probs):
        for mask in masks:
            total += (float(p) - int(mask[i])) ** 2
            n += 1
    return total / n


def mr_ece_by_loops(probs, masks):
    bins = {}
    for i, p in enumerate(probs):
        which = sum(float(np.float32(p)) >= float(np.float32(k / 50)) for k in range(1, 50))
        for mask in masks:
            n, sum_p, sum_y = bins.get(which, (0, 0.0, 0.0))
            bins[which] = (n + 1, sum_p + float(p), sum_y + int(mask[i]))
    total = sum(n for n, _, _ in bins.values())
    return sum(abs(p - y) for _, p, y in bins.values()) / total


@pytest.mark.parametrize("method", ["none", "single-rater", "hard-label", "MHR"])
def test_scores_equal_explicit_loops_over_voxels_and_folds(cohort, method):
    from sklearn.isotonic import IsotonicRegression

    def isotonic(probs, response):
        return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(probs.astype(float), response).predict

    cases = voxels()
    maps = []
    for held_out in GROUPS:
        kept = [case for case, group in zip(cases, GROUPS, strict=True) if group != held_out]
        probs = np.concatenate([p for p, _ in kept])
        masks = np.concatenate([m for _, m in kept], axis=1)
        if method == "none":
            maps.append(lambda p: p.astype(float))
        elif method == "MHR":
            maps.append(isotonic(probs, masks.mean(axis=0)))
        elif method == "single-rater":
            maps.append(isotonic(probs, masks[0]))
        else:
            each = [isotonic(probs, mask) for mask in masks]
            maps.append(lambda p, each=each: np.mean([one(p) for one in each], axis=0))
    calibrated = [f(p.astype(float)) for f, (p, _) in zip(maps, cases, strict=True)]
    study = quick(cohort, [method])
    told = study.per_case().pivot_table(index="case", columns="metric", values="value")
    for metric, loops in (("brier", brier_by_loops), ("mr_ece", mr_ece_by_loops)):
        expected = [loops(p, m) for p, (_, m) in zip(calibrated, cases, strict=True)]
        assert told[metric].tolist() == pytest.approx(expected, rel=1e-9)
        assert study.table()[get_metric(metric).label].tolist() == pytest.approx([np.mean(expected)], rel=1e-9)
        everything = loops(np.concatenate(calibrated), np.concatenate([m for _, m in cases], axis=1))
        assert study.table("pooled")[get_metric(metric).label].tolist() == pytest.approx([everything], rel=1e-9)


def test_cases_and_their_cohort_give_the_same_study(cohort):
    cases = [
        Case(str(i), p, dict(zip("012", m, strict=True)), group=g)
        for i, ((p, m), g) in enumerate(zip(voxels(), GROUPS, strict=True))
    ]
    assert quick(cases).to_dict() == quick(cohort).to_dict() == quick(cases, n_jobs=3).to_dict()


def test_the_same_seed_gives_the_same_study_and_another_other_intervals(cohort):
    one, again, other = quick(cohort), quick(cohort), quick(cohort, random_state=1)
    assert one.to_dict() == again.to_dict()
    assert one.table().equals(other.table())
    assert not one.intervals()["low"].equals(other.intervals()["low"])


# No leaks --------------------------------------------------------------------------------------------------------------------

LEARNERS = [name for name in default_methods() if name != "none"]


def altered(which):
    """The same cases with the votes of one turned over."""
    cases = voxels()
    probs, masks = cases[which]
    return [*cases[:which], (probs, 1 - masks), *cases[which + 1 :]]


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
@pytest.mark.parametrize("cv", ["leave-one-group-out", 3])
def test_a_case_s_own_votes_do_not_reach_the_map_it_is_scored_with(cohort, cv):
    """Nor do those of its patient's other case: calibrated probabilities stay as they are."""
    seen = mean_probability("lower")
    before = quick(cohort, LEARNERS, [seen], cv=cv)
    after = quick(cohort_of(altered(0)), LEARNERS, [seen], cv=cv)
    for method in LEARNERS:
        old, new = before.case_values(method, seen), after.case_values(method, seen)
        assert old[1] == new[1]  # cases 0 and 1 are patient p
        assert old[0] == pytest.approx(new[0], rel=1e-13)  # its cells are added up in another order
        assert (old[2:] != new[2:]).any()


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
def test_the_score_of_a_case_does_not_depend_on_the_votes_of_its_patient_s_other_case(cohort):
    brier = brier_score
    before, after = (quick(c, LEARNERS, [brier]) for c in (cohort, cohort_of(altered(0))))
    for method in LEARNERS:
        old, new = before.case_values(method, brier), after.case_values(method, brier)
        assert old[1] == new[1]
        assert old[0] != new[0]


def test_without_cross_validation_everything_is_seen(cohort):
    study = quick(cohort, cv=None)
    fitted = MHRIsotonicCalibrator().fit_tally(cohort)
    expected = [brier_by_loops(fitted(p.astype(float)), m) for p, m in voxels()]
    assert study.case_values("MHR", brier_score).tolist() == pytest.approx(expected)
    assert "fitted and scored on the same cases" in study.description
    honest = quick(cohort)
    assert study.table("pooled").loc["MHR", "Brier"] < honest.table("pooled").loc["MHR", "Brier"]


def test_folds_may_be_a_number_or_a_splitter(cohort):
    default = quick(cohort)
    assert quick(cohort, cv=LeaveOneGroupOut()).table().equals(default.table())
    assert quick(cohort, cv=4).table().equals(default.table())  # four groups
    two = quick(cohort, cv=2)
    assert not two.table().equals(default.table())
    splitter = GroupKFold(2, shuffle=True, random_state=0)
    assert quick(cohort, cv=splitter).table().equals(two.table())
    assert "4 folds by group" in default.description


def test_what_is_saved_is_fitted_to_all_cases(cohort, tmp_path):
    study = quick(cohort)
    assert study.calibrators["MHR"].map_ == MHRIsotonicCalibrator().fit_tally(cohort).map_
    study.calibrators["MHR"].save(tmp_path / "it.json")
    assert mrcalib.load(tmp_path / "it.json").provenance_["cases"] == list(cohort.ids)


def test_more_folds_than_are_held_at_a_time_change_nothing(monkeypatch, cohort):
    expected = quick(cohort).to_dict()
    monkeypatch.setattr("mrcalib.study._folds.BATCH", 3)
    assert quick(cohort).to_dict() == expected


# Weights of cases ------------------------------------------------------------------------------------------------------------


def test_equal_cases_in_folds_are_equal_cases_of_the_training_set(cohort):
    methods = {"equal": MHRIsotonicCalibrator(case_weight="equal")}
    seen = mean_probability("lower")
    values = quick(cohort, methods, [seen]).case_values("equal", seen)
    train = Cohort(cohort.tallies[:5], groups=GROUPS[:5])  # without patient s, case 5
    fitted = MHRIsotonicCalibrator(case_weight="equal").fit_tally(train)
    assert values[5] == pytest.approx(fitted(voxels()[5][0].astype(float)).mean(), rel=1e-9)


@pytest.mark.parametrize("name", ["own", "voxels", "equal"])
def test_weights_of_a_method_are_its_own_whatever_its_name(cohort, name):
    weight = np.array([1.0, 1, 5, 0, 2, 0.5])
    methods = {"plain": MHRIsotonicCalibrator(), "even": MHRIsotonicCalibrator(case_weight="equal")}
    study = quick(cohort, methods | {name: MHRIsotonicCalibrator(case_weight=weight)})
    expected = quick(cohort, {"alone": MHRIsotonicCalibrator(case_weight=weight)})
    assert study.table().loc[name].tolist() == expected.table().loc["alone"].tolist()


# Intervals and verdicts ------------------------------------------------------------------------------------------------------


def test_intervals_are_those_of_a_bootstrap_of_groups(cohort):
    study = quick(cohort, n_resamples=500, random_state=7, level=0.9)
    counts = bootstrap_counts(GROUPS, 500, 7)
    brier = brier_score
    values, sums = study.case_values("MHR", brier), study.statistics["MHR", "brier"]
    samples = {"mean": counts @ values / counts.sum(axis=1), "pooled": (counts @ sums)[:, 1] / (counts @ sums)[:, 0]}
    for kind, drawn in samples.items():
        row = study.intervals(kind).query("method == 'MHR' and metric == 'brier'").iloc[0]
        assert row["estimate"] == study.table(kind).loc["MHR", "Brier"]
        assert row["bootstrap_mean"] == pytest.approx(drawn.mean())
        assert [row["low"], row["high"]] == pytest.approx(np.quantile(drawn, [0.05, 0.95]))


def test_differences_are_paired(cohort):
    study = quick(cohort, n_resamples=500)
    counts = bootstrap_counts(GROUPS, 500, 0)
    gap = study.case_values("MHR", brier_score) - study.case_values("none", brier_score)
    drawn = counts @ gap / counts.sum(axis=1)
    row = study.differences().query("metric == 'brier'").iloc[0]
    assert row["difference"] == pytest.approx(gap.mean())
    assert [row["low"], row["high"]] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
    alone = study.intervals().query("metric == 'brier'")
    assert row["high"] - row["low"] < (alone["high"] - alone["low"]).min()


def test_a_method_does_not_differ_from_itself(cohort):
    told = quick(cohort, {"one": MHRIsotonicCalibrator(), "same": MHRIsotonicCalibrator()}).differences()
    assert told[["difference", "low", "high"]].to_numpy().tolist() == [[0, 0, 0]] * 2
    assert told["verdict"].tolist() == ["", ""]


def test_bca_intervals_are_those_of_resampling(cohort):
    study = quick(cohort, interval="bca", n_resamples=500)
    counts, left_out = bootstrap_counts(GROUPS, 500, 0), jackknife_counts(GROUPS)
    values = study.case_values("MHR", brier_score)
    expected = bca_interval(
        counts @ values / counts.sum(axis=1), values.mean(), left_out @ values / left_out.sum(axis=1)
    )
    row = study.intervals().query("method == 'MHR' and metric == 'brier'").iloc[0]
    assert [row["low"], row["high"]] == pytest.approx([float(end) for end in expected])
    percentile = quick(cohort, n_resamples=500).intervals().query("method == 'MHR' and metric == 'brier'").iloc[0]
    assert row["low"] != percentile["low"]
    gap = values - study.case_values("none", brier_score)
    expected = bca_interval(counts @ gap / counts.sum(axis=1), gap.mean(), left_out @ gap / left_out.sum(axis=1))
    row = study.differences().query("metric == 'brier'").iloc[0]
    assert [row["low"], row["high"]] == pytest.approx([float(end) for end in expected])


@pytest.mark.parametrize("kind", ["mean", "pooled"])
@pytest.mark.parametrize(("better", "verdict"), [("lower", "better"), ("higher", "worse")])
def test_verdicts_follow_the_direction_of_the_metric(cohort, kind, better, verdict):
    methods = {"none": IdentityCalibrator(), "half": Scaled(0.5)}
    study = quick(cohort, methods, [mean_probability(better)])
    assert study.differences(kind=kind)["verdict"].tolist() == [verdict]
    opposite = {"better": "worse", "worse": "better"}[verdict]
    assert study.differences("half", kind)["verdict"].tolist() == [opposite]


def bias(offset):
    """Signed: the mean probability minus ``offset``."""

    def sums(rows):
        return np.array([rows.count @ (rows.prob - offset), rows.count.sum()])

    return ratio_of(sums, "mean_zero", "mean zero", "zero")


@pytest.mark.parametrize(
    ("offset", "difference", "verdict"), [(0.0, -0.25, "better"), (0.5, 0.25, "worse"), (1.0, 0.25, "worse")]
)
def test_a_bias_is_better_when_nearer_to_zero_from_either_side(cohort, offset, difference, verdict):
    """The mean is about 1/2 without calibration, 1/4 with half of it."""
    study = quick(cohort, {"none": IdentityCalibrator(), "half": Scaled(0.5)}, [bias(offset)])
    row = study.differences().iloc[0]
    assert row["verdict"] == verdict
    assert row["difference"] == pytest.approx(difference, abs=0.03)
    assert "→0" in study.to_text()


def test_an_interval_that_holds_zero_has_no_verdict(cohort):
    rng = np.random.default_rng(1)

    def sums(rows):  # as if methods differed at random between cases
        return np.array([rng.normal(), 1.0])

    noise = ratio_of(sums, "noise", "noise")
    assert quick(cohort, metrics=[noise]).differences()["verdict"].tolist() == [""]


def test_calibration_is_found_to_help_where_it_does(cohort):
    told = quick(cohort, ["none", "MHR", "hard-label", "Platt"], n_resamples=1000).differences()
    assert set(told["verdict"]) == {"better"}
    honest = cohort_of(voxels(exponent=1.0))
    told = quick(honest, ["none", "MHR"], n_resamples=1000).differences()
    assert "better" not in set(told.query("metric == 'brier'")["verdict"])


def test_trade_offs_are_said_in_a_sentence(cohort):
    methods = {"none": IdentityCalibrator(), "half": Scaled(0.5), "same": Scaled(1.0)}
    study = quick(cohort, methods, [mean_probability("lower"), mean_probability("higher")])
    (sentence,) = study.trade_offs()
    gap = study.differences().query("method == 'half'")["difference"].iloc[0]
    assert sentence == f"half is better than none on mean lower ({gap:+.2g}) but worse on mean higher ({gap:+.2g})."
    assert [sentence.split()[0] for sentence in study.trade_offs("half")] == ["none", "same"]
    assert study.unharmed() == ()
    assert quick(cohort).trade_offs() == []
    assert quick(cohort).unharmed() == ("MHR",)


# Undefined values ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_an_empty_case():
    cases = voxels()
    return cohort_of([(cases[0][0], np.zeros_like(cases[0][1])), *cases[1:]])


def test_a_case_without_foreground_has_no_auc_and_is_left_out_of_the_mean(with_an_empty_case):
    study = quick(with_an_empty_case, metrics=["auc", "brier"])
    auc = get_metric("auc")
    values = study.case_values("none", auc)
    assert np.isnan(values).tolist() == [True] + [False] * 5
    assert study.table().loc["none", auc.label] == pytest.approx(values[1:].mean())
    assert not np.isnan(study.table("pooled").loc["none", auc.label])
    assert not study.intervals()[["low", "high"]].isna().any(axis=None)
    assert study.per_case()["value"].isna().sum() == 2


def test_a_metric_that_no_case_defines_is_nan_everywhere_and_breaks_nothing():
    cases = [(p, np.zeros_like(m)) for p, m in voxels()]
    study = quick(cohort_of(cases), metrics=["auc", "brier"])
    auc = get_metric("auc").label
    assert study.table()[auc].isna().all()
    assert study.intervals().query("metric == 'auc'")[["estimate", "low", "high"]].isna().all(axis=None)
    assert study.differences().query("metric == 'auc'")["verdict"].tolist() == [""]
    assert "nan" in study.to_text()
    told = json.loads(json.dumps(study.to_dict(), allow_nan=False))
    assert [r["estimate"] for r in told["intervals"] if r["metric"] == "auc"] == [None] * 4


def test_a_resample_without_any_defined_case_is_left_out():
    cases = [(p, np.zeros_like(m) if i else m) for i, (p, m) in enumerate(voxels())]
    row = quick(cohort_of(cases, groups="abcdef"), ["none"], ["auc"]).intervals().iloc[0]
    assert row["low"] == row["high"] == pytest.approx(row["estimate"])


# Tables ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(cohort):
    return compare(cohort, n_resamples=100)


def test_the_default_study_has_all_methods_and_metrics(full):
    assert full.methods == tuple(default_methods())
    assert [m.name for m in full.metrics] == [m.name for m in mrcalib.metrics.default_metrics()]
    assert full.table().shape == (len(full.methods), 11)
    assert full.table().index.tolist() == list(default_methods())
    assert len(full.per_case()) == len(full.methods) * len(full.metrics) * 6
    assert full.per_case().columns.tolist() == ["case", "group", "method", "metric", "value"]
    assert full.intervals().columns.tolist() == [
        "method", "metric", "kind", "estimate", "bootstrap_mean", "low", "high",
    ]  # fmt: skip
    assert len(full.differences()) == (len(full.methods) - 1) * 11


def test_volumes_are_not_pooled(full):
    unpooled = {m.label for m in full.metrics if not m.poolable}
    assert unpooled
    assert set(full.table()) - set(full.table("pooled")) == unpooled
    for frame in (full.intervals("pooled"), full.differences(kind="pooled")):
        assert {m.label for m in full.metrics if m.name in set(frame["metric"])}.isdisjoint(unpooled)


def test_the_description_says_what_was_done(full, cohort):
    assert full.description == (
        "6 cases in 4 groups, 3 raters, 2,400 voxels; 4 folds by group; 100 resamples of groups, 95% percentile intervals"
        "; bins of TwinTrack (off by at most 1) start where those of the tallies do, since there were no voxels to read again"
    )
    assert full.volume_unit == "voxels"
    known = cohort_of(voxels(), voxel_volume=[0.002] * 6)
    assert quick(known, metrics=["volume_crps"]).volume_unit == "mL"


def test_volumes_are_in_the_unit_of_the_table():
    cases = voxels()
    one, two = (quick(cohort_of(cases, voxel_volume=[v] * 6), metrics=["volume_crps"]) for v in (1.0, 0.5))
    assert two.table().to_numpy() == pytest.approx(one.table().to_numpy() / 2)
    assert "CRPS voxels ↓" in one.to_text()
    assert "CRPS mL ↓" in two.to_text()


def test_the_text_marks_the_best_and_what_differs(cohort):
    methods = {"none": IdentityCalibrator(), "half": Scaled(0.5)}
    metrics = [mean_probability("lower"), mean_probability("higher")]
    study = quick(cohort, methods, metrics)
    whole, half = study.table().loc["none"].iloc[0], study.table().loc["half"].iloc[0]
    assert study.to_text().splitlines() == [
        "Mean over cases; * best, + better and - worse than none (95% interval excludes 0)",
        "",
        "      mean lower ↓  mean higher ↑",
        f"none       {whole:.3f}          {whole:.3f}* ",
        f"half       {half:.3f}*+        {half:.3f} -",
    ]
    assert study.to_text("pooled").startswith("All voxels pooled; * best")


def test_the_text_fits_a_terminal_and_shows_every_metric(full):
    for kind in ("mean", "pooled"):
        lines = full.to_text(kind).splitlines()
        assert max(map(len, lines)) <= 120
        header = " ".join(lines)
        assert all(label in header for label in full.table(kind))
        blocks = sum(line.startswith("none") for line in lines)
        assert all(sum(line.startswith(f"{m} ") for line in lines) >= blocks for m in full.methods)


def test_the_dictionary_is_json_and_complete(full):
    told = json.loads(json.dumps(full.to_dict(), allow_nan=False))
    assert told["methods"] == list(full.methods)
    assert [m["name"] for m in told["metrics"]] == [m.name for m in full.metrics]
    poolable = sum(m.poolable for m in full.metrics)
    assert len(told["intervals"]) == len(full.methods) * (11 + poolable)
    assert len(told["differences"]) == (len(full.methods) - 1) * (11 + poolable)
    assert told["n_resamples"] == 100
    assert {r["verdict"] for r in told["differences"]} <= {"better", "worse", ""}


def test_saturation_is_told_once_with_how_often():
    cases = voxels()
    rare = [
        (p / 64, (np.random.default_rng(i).random(m.shape) < p**8 / 20).astype(int)) for i, (p, m) in enumerate(cases)
    ]
    with pytest.warns(SaturationWarning, match=r"saturates.*\(\d+ of the fits") as caught:
        quick(cohort_of(rare), {"few": MHRIsotonicCalibrator("equal-mass", 2)})
    assert len(caught) == 1
    assert caught[0].filename.endswith("test_study.py")


def test_progress_counts_the_folds(cohort):
    seen = []
    quick(cohort, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_raters_may_be_missing_in_cases(cohort):
    cases = voxels()
    parts = [tally(p, [m[0], None if i % 2 else m[1], m[2]]) for i, (p, m) in enumerate(cases)]
    study = quick(Cohort(parts, groups=GROUPS), ["none", "hard-label", "MHR"], ["mr_ece", "brier", "mean_rater_ece"])
    assert np.isfinite(study.table().to_numpy()).all()
    expected = [brier_by_loops(p.astype(float), m[[0, 2]] if i % 2 else m) for i, (p, m) in enumerate(cases)]
    assert study.case_values("none", brier_score).tolist() == pytest.approx(expected)


# Refusals --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"methods": ["MRH"]}, ValueError, "There is no method 'MRH'. Did you mean 'MHR'.*Known: "),
        ({"methods": []}, ValueError, "There is no method to compare"),
        ({"methods": {"a": 3}}, TypeError, "methods must be calibrators by name; 'a' is a int"),
        ({"metrics": ["breir"]}, ValueError, "There is no metric 'breir'. Did you mean 'brier'"),
        ({"metrics": ["brier", "brier"]}, ValueError, "Metrics must have different names; got brier, brier"),
        ({"interval": "normal"}, ValueError, "interval must be one of 'percentile', 'bca'; got 'normal'"),
        ({"cv": "kfold"}, ValueError, "cv must be 'leave-one-group-out', a number of folds or a scikit-learn splitter"),
        ({"cv": 5}, ValueError, r"cv=5 folds need 2 to 4 \(the number of groups\)"),
        ({"cv": 1}, ValueError, "cv=1 folds need 2 to 4"),
        (
            {"methods": {"e": MHRIsotonicCalibrator("exact")}},
            ValueError,
            "'e' reads the voxels twice, and a Cohort does not",
        ),
        (
            {"methods": {"s": SingleRaterCalibrator("ann")}},
            ValueError,
            "rater must be a position from 0 to 2 or one of",
        ),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(cohort, options, error, message):
    with pytest.raises(error, match=message):
        quick(cohort, **options)


@pytest.mark.parametrize("level", [0, 1, 95, -0.5])
def test_a_wrong_level_is_refused(cohort, level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        quick(cohort, level=level)


def test_an_exact_method_is_refused_before_any_work(cohort):
    done = []
    with pytest.raises(ValueError, match="reads the voxels twice"):
        quick(cohort, {"e": MHRIsotonicCalibrator("exact")}, progress=lambda *of: done.append(of))
    assert done == []


def test_folds_that_leave_cases_out_are_refused(cohort):
    from sklearn.model_selection import GroupShuffleSplit

    with pytest.raises(ValueError, match="every case"):
        quick(cohort, cv=GroupShuffleSplit(1, test_size=0.5, random_state=0))


def test_one_group_cannot_be_cross_validated(cohort):
    alone = Cohort(cohort.tallies, groups=["p"] * 6)
    with pytest.raises(ValueError, match="needs at least two groups; got 1"):
        quick(alone)
    assert quick(alone, cv=None).table().shape == (2, 2)


def test_wrong_questions_to_a_study_are_refused(cohort):
    study = quick(cohort)
    for ask in (study.table, study.intervals, study.to_text):
        with pytest.raises(ValueError, match="kind must be one of 'mean', 'pooled'; got 'median'"):
            ask("median")
    with pytest.raises(ValueError, match="reference must be one of 'none', 'MHR'; got 'Platt'"):
        study.differences("Platt")


def test_methods_given_are_not_fitted_themselves(cohort):
    mine = {"mine": HardLabelCalibrator(), "platt": PlattCalibrator()}
    quick(cohort, mine)
    assert not hasattr(mine["mine"], "map_")
