"""Files of every schema version are read, and say what they said when they were written; see golden/README.md."""

from __future__ import annotations

from math import exp, log
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import betabinom

import mrcalib
from mrcalib import Cohort, Tally, persistence, tallies

GOLDEN = Path(__file__).parent / "golden"
AT = np.array([0.0, 0.1, 0.25, 0.4, 0.6, 1.0])


def logit_map(slope, offset, clip):
    def value(p):
        p = min(max(p, clip), 1 - clip)
        return 1 / (1 + exp(-slope * log(p / (1 - p)) - offset))

    return [value(p) for p in AT]


def beta_map(a, b, c, clip):
    def value(p):
        p = min(max(p, clip), 1 - clip)
        return 1 / (1 + exp(-a * log(p) + b * log(1 - p) - c))

    return [value(p) for p in AT]


def raised_to_sum(values, total):
    values = np.array(values)
    power = brentq(lambda a: (values**a).sum() - total, 0.1, 10)
    return values**power


# Calibrator, parameters, and calibrated probabilities at AT.
CALIBRATORS = {
    "calibrator-v1-mhr.json": (
        mrcalib.MHRIsotonicCalibrator,
        {"binning": "grid", "n_bins": 250, "keep_zero": True, "case_weight": "equal"},
        [0, 0.16, 0.5, 0.5, 0.7, 1],
    ),
    "calibrator-v1-single-rater.json": (
        mrcalib.SingleRaterCalibrator,
        {"rater": "cy", "binning": "grid", "n_bins": 250, "keep_zero": False, "case_weight": "voxels"},
        [0, 0.4, 0.5, 0.8, 1, 1],
    ),
    "calibrator-v1-hard-label.json": (
        mrcalib.HardLabelCalibrator,
        {"binning": "grid", "n_bins": 250, "keep_zero": False, "case_weight": "voxels"},
        [0, 2 / 15, 0.5, 0.6, 0.8, 1],
    ),
    "calibrator-v1-temperature.json": (
        mrcalib.TemperatureScalingCalibrator,
        {"clip": 2.0**-24, "keep_zero": False, "case_weight": "voxels"},
        logit_map(0.5566493973730839, 0, 2.0**-24),
    ),
    "calibrator-v1-platt.json": (
        mrcalib.PlattCalibrator,
        {"clip": 0.01, "keep_zero": False, "case_weight": "voxels"},
        logit_map(0.9272539128707213, 0.6917328685741513, 0.01),
    ),
    "calibrator-v1-beta.json": (
        mrcalib.BetaCalibrator,
        {"clip": 0.01, "keep_zero": False, "case_weight": "voxels"},
        beta_map(0.7728921489891777, 1.2237734736068238, 0.3288173800050535, 0.01),
    ),
    "calibrator-v1-histogram.json": (
        mrcalib.HistogramBinningCalibrator,
        {"n_bins": 4, "strategy": "uniform", "keep_zero": False, "case_weight": "voxels"},
        [0.1, 0.1, 0.8, 0.8, 0.2, 1],
    ),
    "calibrator-v1-case-adaptive.json": (
        mrcalib.CaseAdaptiveCalibrator,
        {"n_sizes": 3, "volume": "segmenter", "keep_zero": False, "case_weight": "equal"},
        raised_to_sum([0, 0.16, 0.5, 0.5, 0.7, 1], AT.sum()),
    ),
    "calibrator-v1-ordinal.json": (
        mrcalib.OrdinalCalibrator,
        {"readout": "expected", "tie": "foreground", "n_raters": 2, "keep_zero": False, "case_weight": "voxels"},
        [0, 2 / 15, 0.5, 0.5, 0.7, 1],
    ),
    "calibrator-v1-beta-binomial.json": (
        mrcalib.BetaBinomialCalibrator,
        {"mean": "none", "dispersion": "constant", "keep_zero": False, "case_weight": "voxels"},
        AT,
    ),
    "calibrator-v1-identity.json": (mrcalib.IdentityCalibrator, {"case_weight": "voxels"}, AT),
}


@pytest.mark.parametrize("file", CALIBRATORS)
def test_calibrators_of_old_say_what_they_said(file):
    cls, parameters, expected = CALIBRATORS[file]
    calibrator = mrcalib.load(GOLDEN / file)
    assert type(calibrator) is cls
    assert calibrator.get_params() == parameters
    # A case's size is summed from its probabilities in float32, as tallies are.
    close = 1e-7 if cls is mrcalib.CaseAdaptiveCalibrator else 1e-12
    assert calibrator(AT) == pytest.approx(expected, rel=close, abs=1e-15)
    assert calibrator.raters_ == ("ann", "bo", "cy")
    assert calibrator.n_voxels_ == 12
    assert calibrator.provenance_["cases"] == ["one", "two"]


def test_an_exact_zero_is_still_kept():
    assert mrcalib.load(GOLDEN / "calibrator-v1-mhr.json").map_.keep_zero


def test_numbers_of_votes_of_old_are_predicted_as_they_were():
    ordinal = mrcalib.load(GOLDEN / "calibrator-v1-ordinal.json")
    expected = [
        [1, 0, 0],
        [11 / 15, 4 / 15, 0],
        [1 / 3, 1 / 3, 1 / 3],
        [1 / 3, 1 / 3, 1 / 3],
        [0.2, 0.2, 0.6],
        [0, 0, 1],
    ]
    assert ordinal.predict_counts(AT) == pytest.approx(np.array(expected), abs=1e-12)
    votes = mrcalib.load(GOLDEN / "calibrator-v1-beta-binomial.json")
    rho, n = 0.2410417499723015, 3
    assert (votes.rho_, votes.n_counted_) == ((rho,), n)
    mean, c = AT[1:-1], (1 - rho) / rho
    counts = betabinom.pmf(np.arange(n + 1), n, mean[:, None] * c, (1 - mean[:, None]) * c)
    assert votes.predict_counts(AT) == pytest.approx(np.array([[1, 0, 0, 0], *counts, [0, 0, 0, 1]]), rel=1e-9)


def test_calibrators_of_several_classes_of_old_say_what_they_said():
    together = mrcalib.load(GOLDEN / "classes-v1.json")
    assert type(together) is mrcalib.OneVsRestCalibrator
    assert together.classes_ == together.channels_ == {"pancreas": 1, "kidney": 2}
    assert (together.background, together.normalize, together.class_axis) == (True, True, None)
    assert together.raters_ == ("ann", "bo", "cy")
    assert together.calibrators_["pancreas"](AT) == pytest.approx([0, 0.16, 0.5, 0.5, 0.7, 1])
    assert together.calibrators_["kidney"](AT) == pytest.approx([0, 0, 0, 0.18, 0.3, 0.6])
    probs = np.array([[0.1, 0.6, 0.3], [0, 0.5, 0.5], [0.2, 0.8, 0], [0.5, 0.25, 0.25]])
    expected = [[0.24, 0.7, 0.06], [0.2, 0.5, 0.3], [0, 1, 0], [0.5, 0.5, 0]]
    assert together(probs) == pytest.approx(np.array(expected))
    assert together.predict(probs).tolist() == [1, 1, 1, 0]


def test_tallies_of_old_count_what_they_counted():
    part, header = Tally.load_with_header(GOLDEN / "tally-v1.npz")
    assert part.raters == ("ann", "bo", "cy")
    assert (part.n_voxels, part.refused) == (6, 1)
    pooled = part.pooled()
    assert pooled.prob_sum[0].tolist() == [0, 0.125, 0.25, 0.5, 0.75, 1]
    assert pooled.weight.tolist() == [[1] * 6, [1] * 6, [0] * 6]
    assert pooled.votes.tolist() == [[0, 0, 1, 0, 1, 1]] * 2 + [[0] * 6]
    assert part.grid == mrcalib.ProbabilityGrid.standard()
    assert (header["case"], header["group"], header["voxel_volume"], header["inputs"]) == ("two", "p", 0.002, "0" * 64)


def test_a_tally_of_old_still_merges_with_one_of_today():
    part = Tally.load(GOLDEN / "tally-v1.npz")
    probs, marks = np.array([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), [0, 0, 1, 0, 1, 1]
    today = mrcalib.tally(probs, [marks, marks, None], rater_names=["ann", "bo", "cy"])
    assert (part + today).n_voxels == 12
    assert (part + today).pooled().votes.tolist() == (2 * today.pooled().votes).tolist()


def test_a_folder_of_old_tallies_is_still_a_cohort(tmp_path):
    (tmp_path / "two.npz").write_bytes((GOLDEN / "tally-v1.npz").read_bytes())
    cohort = Cohort.load(tmp_path)
    assert (cohort.ids, cohort.groups, cohort.voxel_volume) == (("two",), ("p",), (0.002,))


def test_every_golden_file_is_read_by_a_test_and_the_present_schemas_have_theirs():
    files = {p.name for p in GOLDEN.iterdir() if p.suffix in (".json", ".npz")}
    assert files == {*CALIBRATORS, "classes-v1.json", "tally-v1.npz"}
    assert {f"tally-v{tallies.SCHEMA}.npz", f"classes-v{persistence.CLASSES_SCHEMA}.json"} <= files
    kinds = {name.split("-", 2)[2] for name in CALIBRATORS}
    assert {f"calibrator-v{persistence.SCHEMA}-{kind}" for kind in kinds} <= files
