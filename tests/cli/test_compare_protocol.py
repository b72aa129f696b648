"""``mrcalib compare --protocol``: a challenge paper's tables and figures, end to end."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mrcalib.protocols import get_protocol
from mrcalib.simulate import phantoms, write_dataset

FEW = ("--methods", "none", "TwinTrack", "--metrics", "mean_rater_ece", "brier", "--resamples", "50")
CURVAS = ("--protocol", "curvas-pdacvi")


@pytest.fixture
def with_vessels(data):
    """The data set's manifest with a column of vessels."""
    table = pd.read_csv(data / "manifest.csv")
    for case in table["case"]:
        image = nib.load(data / f"images/{case}.nii.gz")
        labels = np.zeros(image.shape, np.uint8)
        labels[4:8, 6:12] = 1
        labels[12:16, 6:12] = 2
        nib.save(nib.Nifti1Image(labels, image.affine), data / f"vessels_{case}.nii.gz")
    table["vessels"] = [f"vessels_{case}.nii.gz" for case in table["case"]]
    table.to_csv(data / "with_vessels.csv", index=False)
    return data / "with_vessels.csv"


@pytest.mark.slow
def test_tables_and_figures_of_the_paper_are_written_and_told(run, with_vessels, tmp_path):
    answer = run("compare", "--manifest", with_vessels, *FEW, *CURVAS)
    assert answer.code == 0, answer.err
    out = tmp_path / "results"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names >= {
        "table1.csv", "table1.tex", "table2.csv", "table2.tex", "table1_corrected.tex", "table2_corrected.csv",
        "protocol_per_case.csv", "protocol_differences.csv", "protocol.json", "disputes.csv", "scores/case001.json",
        "figures/figure2_reliability.png", "figures/figure2_reliability.svg", "figures/figure3_cases.png",
        "figures/figure3_cases.svg", "table_mean.csv", "study.json", "calibrators/TwinTrack.json",
    }  # fmt: skip
    assert "Table 1: bootstrap means" in answer.out
    assert "Table 2: bootstrap means with 95% intervals" in answer.out
    assert "PORTA" in answer.out
    assert "Where the program's value and the corrected one differ" in answer.out
    assert "Mean over cases" in answer.out
    assert "figures/figure3_cases.svg" in answer.out
    assert "scores whole images: outside the region of interest every method predicts 0" in answer.err
    table = pd.read_csv(out / "table1.csv", index_col="method")
    assert table.index.tolist() == ["none", "TwinTrack"]
    per_case = pd.read_csv(out / "protocol_per_case.csv")
    assert set(per_case["scored"]) == {"program", "corrected"}
    tdsc = per_case.query("metric == 'tdsc' and scored == 'program' and method == 'none'")["value"]
    assert table.loc["none", "TDSC"] == pytest.approx(tdsc.mean(), rel=0.1)
    assert len(tdsc) == 6
    told = json.loads((out / "protocol.json").read_text())
    assert told["protocol"] == "curvas-pdacvi"
    assert "tallied" not in told
    assert len(pd.read_csv(out / "disputes.csv")) == len(told["disputes"]) > 0


@pytest.mark.slow
def test_a_rerun_scores_nothing_and_changes_nothing(run, data, tmp_path):
    words = ("compare", "--manifest", data / "manifest.csv", *FEW, *CURVAS, "--no-figures")
    assert "6 cases: 6 scored" in run(*words).err
    files = [path for path in (tmp_path / "results").rglob("*") if path.suffix in (".csv", ".json", ".tex")]
    before = {path: path.read_bytes() for path in files}
    answer = run(*words)
    assert answer.err.count("6 cases: 6 unchanged") == 2
    assert {path: path.read_bytes() for path in files} == before


def test_sound_tables_of_an_earlier_run_do_not_stay(run, data, tmp_path, monkeypatch):
    words = ("compare", "--manifest", data / "manifest.csv", *FEW, *CURVAS, "--no-figures")
    run(*words)
    assert (tmp_path / "results" / "table1_corrected.tex").exists()
    monkeypatch.setattr("mrcalib.protocols.Protocol.disagreements", lambda *_: [])
    answer = run(*words)
    assert not (tmp_path / "results" / "table1_corrected.tex").exists()
    assert "corrected" not in answer.out


def test_the_same_files_give_the_values_of_direct_calls(run, data, tmp_path):
    run(
        "compare",
        "--manifest",
        data / "manifest.csv",
        "--methods",
        "none",
        *FEW[3:],
        *CURVAS,
        "--no-figures",
        "--quiet",
    )
    told = pd.read_csv(tmp_path / "results" / "protocol_per_case.csv").query(
        "scored == 'program' and case == 'case003'"
    )
    members = [nib.load(data / f"preds/case003_{k}.nii.gz") for k in (1, 2)]
    probs = np.mean([np.asarray(m.dataobj) for m in members], axis=0)
    inside = np.asarray(nib.load(data / "rois/case003.nii.gz").dataobj) != 0
    masks = [np.asarray(nib.load(data / f"labels/case003/annotation_{r}.nii.gz").dataobj) for r in (1, 2, 3)]
    spacing = members[0].header.get_zooms()
    own = get_protocol("curvas-pdacvi").score(np.where(inside, probs, 0), masks, spacing=[float(s) for s in spacing])
    values = told.set_index("metric")["value"]
    for name in ("tdsc", "ece", "crps"):
        np.testing.assert_allclose(values[name], own[name], rtol=1e-5)


def test_json_is_all_of_stdout(run, data):
    words = ("--json", "--quiet", "--no-figures")
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, *CURVAS, *words)
    told = json.loads(answer.out)
    assert told["protocol"] == "curvas-pdacvi"
    assert told["tallied"]["methods"] == ["none", "TwinTrack"]


@pytest.mark.slow
def test_a_test_set_of_its_own(run, data, tmp_path):
    members = phantoms(8, (20, 20, 8), n_raters=3, n_members=2, cases_per_group=2, rng=0)
    test = [case for case in members if case.group == "patient004"]
    write_dataset(tmp_path / "test", test)
    words = ("--test-manifest", tmp_path / "test" / "manifest.csv", "--cases-shown", "case008", "--formats", "png")
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, *CURVAS, *words)
    assert answer.code == 0, answer.err
    assert "2 cases in 1 groups" in answer.out
    assert "fitted to 6 other cases in 3 groups" in answer.out
    out = tmp_path / "results"
    assert {path.stem for path in (out / "test-tallies").iterdir()} == {"case007", "case008"}
    assert {path.stem for path in (out / "scores").iterdir()} == {"case007", "case008"}
    assert (out / "figures" / "figure3_cases.png").exists()

    answer = run(
        "compare", "--manifest", data / "manifest.csv", "--test-manifest", data / "manifest.csv", *FEW, *CURVAS
    )
    assert answer.code == 3
    assert "share 3 groups, such as 'patient001'" in answer.err


def test_a_case_that_cannot_be_scored_is_named(run, data, tmp_path, monkeypatch):
    from mrcalib.protocols import Protocol

    score = Protocol.score
    bad = np.asarray(nib.load(data / "labels/case002/annotation_1.nii.gz").dataobj)

    def picky(self, probs, raters, **options):
        if np.array_equal(raters[0], bad):
            msg = "no such vessel"
            raise ValueError(msg)
        return score(self, probs, raters, **options)

    monkeypatch.setattr(Protocol, "score", picky)
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, *CURVAS, "--no-figures")
    assert answer.code == 3
    assert "1 of 6 cases could not be used; the results are of the others:" in answer.err
    assert "case002: no such vessel" in answer.err
    assert "5 cases in 3 groups" in answer.out
    assert (tmp_path / "results" / "table1.tex").exists()


@pytest.mark.slow
def test_without_images_there_is_no_picture_of_cases(run, data, tmp_path):
    table = pd.read_csv(data / "manifest.csv").drop(columns="image")
    table.to_csv(data / "blind.csv", index=False)
    answer = run("compare", "--manifest", data / "blind.csv", *FEW, *CURVAS, "--formats", "png")
    assert answer.code == 0, answer.err
    assert "no picture of cases: their images are not known" in answer.err
    assert "No vessels are given" in answer.err
    drawn = {path.name for path in (tmp_path / "results" / "figures").iterdir()}
    assert "figure2_reliability.png" in drawn
    assert "figure3_cases.png" not in drawn


@pytest.mark.slow
def test_an_image_on_other_voxels_loses_one_row_only(run, data, tmp_path):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), data / "images" / "case001.nii.gz")
    shown = ("--cases-shown", "case001", "case004")
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, *CURVAS, "--formats", "png", *shown)
    assert answer.code == 0, answer.err
    assert "warning: case case001 is not in figure 3: image must have the shape of probs" in answer.err
    assert (tmp_path / "results" / "figures" / "figure3_cases.png").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--reference", "none"], "--reference goes with --protocol"),
        (["--cases-shown", "case001"], "--cases-shown goes with --protocol"),
        (["--vessel-labels", "PORTA=1"], "--vessel-labels goes with --protocol"),
        ([*CURVAS, "--reference", "Platt"], "--reference 'Platt' is not among --methods"),
        ([*CURVAS, "--cases-shown", "case009"], "there is no case 'case009' among those that are scored"),
        (["--protocol", "curvas-2024"], "There is no protocol of masks 'curvas-2024'"),
    ],
)
def test_wrong_usage_exits_with_2_before_any_work(run, data, tmp_path, words, told):
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, *words)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err
    assert not (tmp_path / "results").exists()
