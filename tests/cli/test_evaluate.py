"""``mrcalib evaluate``, end to end."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import mrcalib
from mrcalib.cli._console import decimals, number


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
    wrapped = "The box starts before the volume and wraps around: ece is that of a wrong region. (6 of 6 cases"
    assert wrapped in answer.out
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


def per_case(folder, case):
    return pd.read_csv(folder / "per_case.csv").set_index("case").loc[case]


def save_nifti(path, array, affine=np.diag([0.5, 1.0, 2.0, 1.0])):  # noqa: B008
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


@pytest.fixture
def organs(tmp_path):
    """Three cases with four channels, and three raters' label maps; the last rater sees less liver."""
    rng = np.random.default_rng(5)
    for case in ("c1", "c2", "c3"):
        labels = np.zeros((3, 12, 10, 6), dtype=np.uint8)
        labels[:, 1:4, 2:8], labels[:, 5:7, 2:8], labels[:, 8:11, 2:8] = 1, 2, 3
        labels[2, 10] = 0
        logits = rng.normal(0, 0.3, (4, 12, 10, 6))
        for c in range(4):
            logits[c] += 3 * (labels[0] == c)
        probs = np.exp(logits)
        probs = np.moveaxis(probs / probs.sum(axis=0), 0, -1).astype(np.float32)
        save_nifti(tmp_path / "organs" / f"{case}.nii.gz", probs)
        for r, one in enumerate(labels):
            save_nifti(tmp_path / "organs" / f"{case}_rater{r}.nii.gz", one)
        image = np.full((12, 10, 6), -1000, dtype=np.int16)
        image[1:, 1:9, 1:5] = 40
        save_nifti(tmp_path / "organs" / f"{case}_ct.nii.gz", image)
    return ["--probs", "organs/{case}.nii.gz", "--raters", "organs/{case}_rater{rater}.nii.gz"]


def test_sound_values_stand_beside_the_programs_where_they_differ(run, data, tmp_path):
    words = ("evaluate", "--manifest", data / "manifest.csv", "--protocol", "curvas-pdacvi", "--out", "scores")
    answer = run(*words)
    assert "ECE (corrected) ↓" in answer.out
    assert "TDSC (corrected)" not in answer.out
    assert "ece differs in 6 of 6 cases, such as case001." in answer.out
    assert "Vascular invasion" not in answer.out
    assert "vascular invasion is not scored" in answer.err
    shown = run(*words, "--corrected").out
    assert "TDSC (corrected) ↑" in shown
    assert "CRPS (corrected) mm³ ↓" in shown
    old = run(*words, "--sound", "--max", "ece_sound=0")
    assert "CRPS (corrected) mm³ ↓" in old.out
    assert "sound values are now called corrected" in old.err
    assert old.code == 4
    row = per_case(tmp_path / "scores", "case002")
    loaded = mrcalib.io.read_manifest(data / "manifest.csv")[1].load()
    protocol = mrcalib.protocols.get_protocol("curvas-pdacvi")
    corrected = protocol.score(loaded.probs, list(loaded.raters), spacing=loaded.spacing, strict=False)
    for name in ("tdsc", "ece", "crps"):
        assert row[f"{name}_corrected"] == pytest.approx(corrected[name])
    assert row["ece_foreground"] == pytest.approx(corrected["ece_foreground"])
    assert "Scored against 3 raters; the challenge's program takes 5." in row["notes"]
    told = json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert told["protocol"] == "curvas-pdacvi"
    assert run(*words, "--max", "ece_corrected=0").code == 4


@pytest.mark.slow
def test_vascular_invasion_of_named_vessels(run, data, tmp_path):
    cases = mrcalib.io.read_manifest(data / "manifest.csv")
    for case in cases:
        volume = mrcalib.io.read_volume(case.members[0])
        vessels = np.zeros(volume.shape, dtype=np.uint8)
        vessels[8:12, 8:12, :] = 7
        save_nifti(data / "vessels" / f"{case.id}.nii.gz", vessels, volume.geometry.affine)
    words = (
        *("evaluate", "--protocol", "curvas-pdacvi", "--probs", f"{data}/preds/{{case}}_1.nii.gz"),
        *("--raters", f"{data}/labels/{{case}}/annotation_{{rater}}.nii.gz", "--out", "scores"),
    )
    answer = run(*words, "--vessels", f"{data}/vessels/{{case}}.nii.gz", "--vessel-labels", "HEPATIC=7,SMA=5")
    assert answer.code == 0, answer.err
    assert "HEPATIC ° ↓" in answer.out
    case = mrcalib.io.discover(words[4], words[6], vessels=f"{data}/vessels/{{case}}.nii.gz")[0]
    loaded = case.load()
    options = {"spacing": loaded.spacing, "vessel_labels": {"HEPATIC": 7, "SMA": 5}}
    row = per_case(tmp_path / "scores", case.id)
    for strict, suffix in ((True, ""), (False, "_corrected")):
        told = mrcalib.protocols.curvas_pdacvi(
            loaded.probs,
            list(loaded.raters),
            loaded.vessels,
            affine=loaded.geometry.affine,
            strict=strict,
            **options,
        )
        assert row[f"vi_HEPATIC{suffix}"] == pytest.approx(told["vi"]["HEPATIC"])
        assert row[f"vi_SMA{suffix}"] == pytest.approx(told["vi"]["SMA"], nan_ok=True)
    assert "vi_PORTA" not in row or np.isnan(row["vi_PORTA"])
    assert "SMA" in answer.out
    assert run(*words, "--vessel-labels", "SMA=5").code == 2  # no vessels
    for wrong in ("SMA", "SMA=x", "SMA=1,SMA=2", "SMA=1,SMV=1", "SMA=0"):
        refused = run(*words, "--vessels", "v/{case}.nii.gz", "--vessel-labels", wrong)
        assert refused.code == 2
        assert "expected different names and labels" in refused.err


def test_the_calibrated_maps_are_scored_too(run, data, calibrator, tmp_path):
    words = ("evaluate", "--manifest", data / "manifest.csv", "--protocol", "qubiq", "--calibrator", calibrator)
    answer = run(*words, "--out", "scores", "--metrics-json", "gc/metrics.json")
    assert answer.code == 0, answer.err
    table = pd.read_csv(tmp_path / "scores" / "per_case.csv").set_index(["case", "map"])
    loaded = mrcalib.io.read_manifest(data / "manifest.csv")[4].load()
    after = mrcalib.protocols.qubiq(mrcalib.load(calibrator)(loaded.probs), list(loaded.raters))
    assert table.loc[("case005", "calibrated"), "qubiq"] == pytest.approx(after["dice"])
    assert table.loc[("case005", "calibrated"), "qubiq_corrected"] == pytest.approx(after["dice_inclusive"])
    told = json.loads((tmp_path / "gc" / "metrics.json").read_text())
    assert list(told["case"]) == ["qubiq"]  # of the calibrated maps, by the program
    assert told["case"]["qubiq"]["case005"] == pytest.approx(after["dice"])
    assert told["aggregates"]["qubiq"]["count"] == 6
    assert told["aggregates"]["qubiq"]["mean"] == pytest.approx(table.xs("calibrated", level="map")["qubiq"].mean())
    run(*words, "--corrected", "--metrics-json", "gc/metrics.json")
    assert list(json.loads((tmp_path / "gc" / "metrics.json").read_text())["case"]) == ["qubiq", "qubiq_corrected"]


def test_metrics_json_of_metrics(run, data, tmp_path):
    words = ("evaluate", "--manifest", data / "manifest.csv", "--metrics", "brier", "auc", "-q")
    assert run(*words, "--metrics-json", "metrics.json").code == 0
    told = json.loads((tmp_path / "metrics.json").read_text())
    assert list(told["case"]) == ["brier", "auc"]
    assert sorted(told["case"]["brier"]) == [f"case00{i}" for i in range(1, 7)]


def test_curvas_2024_end_to_end(run, organs, tmp_path):
    words = ("evaluate", *organs, "--protocol", "curvas-2024", "--out", "scores")
    answer = run(*words)
    assert answer.code == 0, answer.err
    assert "Dice pancreas ↑" in answer.out
    assert "without --image, ece is that of the whole volume" in answer.err
    probs = np.moveaxis(nib.load(tmp_path / "organs" / "c2.nii.gz").get_fdata(dtype=np.float32), -1, 0)[1:]
    labels = [nib.load(tmp_path / "organs" / f"c2_rater{r}.nii.gz").get_fdata() for r in range(3)]
    image = nib.load(tmp_path / "organs" / "c2_ct.nii.gz").get_fdata()
    for options, extra in (((), {}), (("--image", "organs/{case}_ct.nii.gz"), {"image": image})):
        assert run(*words, *options).code == 0
        row = per_case(tmp_path / "scores", "c2")
        for strict, suffix in ((True, ""), (False, "_corrected")):
            told = mrcalib.protocols.curvas_2024(probs, labels, (0.5, 1.0, 2.0), strict=strict, **extra)
            assert row[f"ece{suffix}"] == pytest.approx(told["ece"])
            for name in ("dice", "confidence", "crps"):
                assert row[f"{name}_liver{suffix}"] == pytest.approx(told[name]["liver"])


def test_curvas_2024_of_a_calibrator_of_several_classes(run, organs, calibrator, tmp_path):
    classes = "pancreas=1,kidney=2,liver=3"
    fitted = run("fit", *organs, "--classes", classes, "-o", "organs.json")
    assert fitted.code == 0, fitted.err
    words = ("evaluate", *organs, "--protocol", "curvas-2024")
    answer = run(*words, "--calibrator", "organs.json", "--out", "scores")
    assert answer.code == 0, answer.err
    assert "fitted to 3 of these 3 cases" in answer.err
    table = pd.read_csv(tmp_path / "scores" / "per_case.csv").set_index(["case", "map"])
    probs = np.moveaxis(nib.load(tmp_path / "organs" / "c1.nii.gz").get_fdata(dtype=np.float32), -1, 0)
    labels = [nib.load(tmp_path / "organs" / f"c1_rater{r}.nii.gz").get_fdata() for r in range(3)]
    told = mrcalib.protocols.curvas_2024(mrcalib.load(tmp_path / "organs.json")(probs)[1:], labels, strict=False)
    assert table.loc[("c1", "calibrated"), "ece_corrected"] == pytest.approx(told["ece"], abs=1e-5)
    refused = run(*words, "--calibrator", calibrator)
    assert refused.code == 2
    assert "scores several, but the calibrator was fitted to one class" in refused.err
    refused = run("evaluate", *organs, "--protocol", "qubiq", "--calibrator", "organs.json")
    assert refused.code == 2
    assert "scores one, but the calibrator was fitted to several classes" in refused.err
    refused = run("evaluate", *organs, "--calibrator", "organs.json")
    assert refused.code == 2


def test_a_case_that_fails_does_not_lose_the_others(run, data, tmp_path):
    (data / "preds" / "case002_1.nii.gz").write_bytes(b"nonsense")
    words = ("evaluate", "--manifest", data / "manifest.csv", "--protocol", "curvas-pdacvi", "--out", "scores")
    answer = run(*words, "--metrics-json", "metrics.json")
    assert answer.code == 3
    assert "1 of 6 cases could not be used" in answer.err
    assert "such as case001" in answer.out
    assert "of 5 cases" in answer.out
    assert len(pd.read_csv(tmp_path / "scores" / "per_case.csv")) == 5
    assert json.loads((tmp_path / "metrics.json").read_text())["aggregates"]["tdsc"]["count"] == 5


def test_a_score_that_some_cases_do_not_define_says_of_how_many_it_is(run, organs, tmp_path):
    path = tmp_path / "organs" / "c3_rater1.nii.gz"
    labels = np.asarray(nib.load(path).dataobj)
    save_nifti(path, np.where(labels == 1, 0, labels).astype(np.uint8))
    answer = run("evaluate", *organs, "--protocol", "curvas-2024", "--out", "scores")
    assert answer.code == 0
    (line,) = [line for line in answer.out.splitlines() if line.startswith("CRPS liver mm³")]
    assert line.endswith("(2 of 3 cases)")
    assert "crps_liver differs in 1 of 3 cases, such as c3." in answer.out
    summary = pd.read_csv(tmp_path / "scores" / "summary.csv").set_index("metric")
    assert summary.loc["crps_liver", "n_cases"] == 2
    assert summary.loc["crps_liver_corrected", "n_cases"] == 3


def test_options_that_need_a_protocol(run, data):
    words = ("evaluate", "--manifest", data / "manifest.csv")
    assert "--corrected goes with --protocol only" in run(*words, "--corrected").err
    assert run(*words, "--vessel-labels", "SMA=5").code == 2
    refused = run(*words, "--protocol", "curvas-2024", "--positive", "1")
    assert refused.code == 2
    assert "leave out --foreground and --positive" in refused.err
