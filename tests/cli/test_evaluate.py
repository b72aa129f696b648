"""``mrcalib evaluate``, end to end."""

import json

import numpy as np
import pandas as pd
import pytest

import mrcalib
from mrcalib.cli._tables import decimals, number


@pytest.fixture
def calibrator(run, data, tmp_path):
    """A calibrator on disk, fitted to the cases that it is evaluated on."""
    assert run("fit", "--manifest", data / "manifest.csv", "-o", "calibrator.json").code == 0
    return tmp_path / "calibrator.json"


def test_values_are_those_of_the_public_functions(run, data, tmp_path):
    answer = run("evaluate", "--manifest", data / "manifest.csv", "--out", "scores")
    assert answer.code == 0, answer.err
    assert "MR-ECE ↓" in answer.out
    table = pd.read_csv(tmp_path / "scores" / "per_case.csv").set_index("case")
    loaded = mrcalib.io.read_manifest(data / "manifest.csv")[2].load()
    arrays = (loaded.probs, list(loaded.raters))
    row = table.loc["case003"]
    assert row["mr_ece"] == pytest.approx(
        mrcalib.metrics.expected_calibration_error(*arrays, roi=loaded.roi), abs=1e-12
    )
    assert row["tdsc"] == pytest.approx(mrcalib.metrics.threshold_dice(*arrays, roi=loaded.roi), abs=1e-12)
    assert row["brier"] == pytest.approx(mrcalib.metrics.brier_score(*arrays, roi=loaded.roi), abs=1e-12)
    summary = pd.read_csv(tmp_path / "scores" / "summary.csv").set_index("metric")
    assert summary.loc["brier", "mean"] == pytest.approx(table["brier"].mean())
    assert (summary["low"] <= summary["mean"]).all()
    assert (summary["mean"] <= summary["high"]).all()


def test_before_and_after_is_what_apply_writes(run, data, calibrator, tmp_path):
    words = ("--raters", f"{data}/labels/{{case}}/annotation_{{rater}}.nii.gz", "--metrics", "mr_ece", "auc", "--json")
    both = run("evaluate", "--probs", f"{data}/preds/{{case}}_1.nii.gz", *words, "--calibrator", calibrator)
    assert both.code == 0
    assert "fitted to 6 of these 6 cases" in both.err
    assert run("apply", calibrator, "--probs", f"{data}/preds/{{case}}_1.nii.gz", "-o", "out").code == 0
    after = run("evaluate", "--probs", "out/{case}.nii.gz", *words)
    before_and_after = {row["case"]: row for row in json.loads(both.out)["per_case"] if row["map"] == "calibrated"}
    for row in json.loads(after.out)["per_case"]:
        assert row["mr_ece"] == before_and_after[row["case"]]["mr_ece"]
        assert row["auc"] == before_and_after[row["case"]]["auc"]
    change = {row["metric"]: row for row in json.loads(both.out)["summary"] if row["map"] == "change"}
    assert change["mr_ece"]["mean"] < 0


def test_gates(run, data, calibrator):
    words = ("evaluate", "--manifest", data / "manifest.csv", "--metrics", "brier", "--calibrator", calibrator, "-q")
    answer = run(*words, "--max", "mr_ece=0.0001", "--min", "auc=0.5")
    assert answer.code == 4
    assert "gate failed: mr_ece must be at most 0.0001; the calibrated maps have 0.0" in answer.err
    assert "auc" not in answer.err
    assert "MR-ECE" in answer.out
    answer = run(*words, "--max", "mr_ece=0.5", "--json")
    assert answer.code == 0
    (gate,) = json.loads(answer.out)["gates"]
    assert gate["passed"]
    assert run(*words, "--max", "volume_bias=1e-9").code == 4
    assert run(*words, "--min", "dice=1").code == 4


def test_protocol_is_the_official_score(run, data, tmp_path):
    words = ("evaluate", "--manifest", data / "manifest.csv", "--protocol", "curvas-pdacvi", "--out", "scores")
    answer = run(*words)
    assert answer.code == 0, answer.err
    assert "In 6 of 6 cases the official box starts before the volume" in answer.out
    table = pd.read_csv(tmp_path / "scores" / "per_case.csv").set_index("case")
    loaded = mrcalib.io.read_manifest(data / "manifest.csv")[0].load()
    expected = mrcalib.protocols.curvas_pdacvi(loaded.probs, list(loaded.raters), spacing=loaded.spacing)
    for name in ("tdsc", "ece", "crps"):
        np.testing.assert_allclose(table.loc["case001", name], expected[name], rtol=1e-9)
    np.testing.assert_allclose(table.loc["case001", "ece_per_rater_3"], expected["ece_per_rater"][2])
    assert run(*words, "--max", "tdsc=0").code == 4
    assert run(*words, "--max", "mr_ece=1").code == 2
    assert run(*words, "--invalid", "drop").code == 2


def test_bad_cases_and_failing_gates(run, data):
    (data / "preds" / "case002_1.nii.gz").write_bytes(b"nonsense")
    words = ("evaluate", "--manifest", data / "manifest.csv", "--metrics", "brier", "-q")
    answer = run(*words, "--max", "brier=0")
    assert answer.code == 3  # the gate did not see all cases
    assert "gate failed" in answer.err
    assert "1 of 6 cases could not be used" in answer.err
    for path in (data / "preds").iterdir():
        path.write_bytes(b"nonsense")
    answer = run(*words)
    assert (answer.code, answer.out) == (3, "")
    assert "None of the 6 cases could be scored" in answer.err


def test_invalid_voxels_are_refused_or_left_out(run, tmp_path):
    rng = np.random.default_rng(0)
    for case in "ab":
        probs = rng.random((8, 8))
        probs[0] = np.nan
        np.save(tmp_path / f"{case}_prob.npy", probs)
        np.save(tmp_path / f"{case}_rater1.npy", (rng.random((8, 8)) < 0.5).astype(np.uint8))
    words = (
        "evaluate",
        "--probs",
        "{case}_prob.npy",
        "--raters",
        "{case}_rater{rater}.npy",
        "--metrics",
        "brier",
        "-q",
    )
    answer = run(*words)
    assert answer.code == 3
    assert "--invalid drop" in answer.err
    assert run(*words, "--invalid", "drop").code == 0


def test_numbers_for_a_table():
    assert [decimals(values) for values in ([0.0123], [0.9, 0.001], [161.0], [np.nan], [0.0])] == [4, 3, 0, 3, 3]
    assert number(np.nan, 3) == "-"
    assert number(0.12345, 3) == "0.123"
