"""``mrcalib compare`` and ``mrcalib demo``, end to end."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import mrcalib

FEW = ("--methods", "none", "MHR", "--metrics", "mr_ece", "brier", "--resamples", "50")


def _respoil(path, change):
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj), image.affine)
    nib.save(nib.Nifti1Image(array, affine), path)


def test_everything_is_written_and_told(run, data, tmp_path):
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW)
    assert answer.code == 0, answer.err
    out = tmp_path / "results"
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names >= {
        "table_mean.csv", "table_pooled.csv", "intervals.csv", "differences.csv", "per_case.csv", "study.json",
        "command.txt", "calibrators/none.json", "calibrators/MHR.json", "tallies/case001.npz",
    }  # fmt: skip
    assert not any("/." in f"/{name}" for name in names)
    pictures = sorted(name for name in names if name.endswith(".png"))
    assert pictures
    for name in pictures:
        assert name in answer.out
    assert "6 cases in 3 groups, 3 raters" in answer.out
    assert "Mean over cases" in answer.out
    assert "All voxels pooled" in answer.out
    assert "[6/6] case006 tallied" in answer.err
    command = (out / "command.txt").read_text()
    assert command.startswith("mrcalib compare --manifest ")
    assert f"mrcalib   {mrcalib.__version__}" in command
    table = pd.read_csv(out / "table_mean.csv", index_col="method")
    assert table.loc["MHR", "MR-ECE"] < table.loc["none", "MR-ECE"]
    assert len(pd.read_csv(out / "per_case.csv")) == 6 * 2 * 2


def test_a_rerun_reads_nothing_and_changes_nothing(run, data, tmp_path):
    words = ("compare", "--manifest", data / "manifest.csv", *FEW, "--no-figures")
    run(*words)
    files = [path for path in (tmp_path / "results").rglob("*") if path.suffix in (".csv", ".json")]
    before = {path: path.read_bytes() for path in files}
    answer = run(*words)
    assert answer.err.count("unchanged") == 6 + 1
    assert "6 cases: 6 unchanged" in answer.err
    assert {path: path.read_bytes() for path in files} == before

    mask = data / "labels" / "case002" / "annotation_1.nii.gz"
    _respoil(mask, lambda array, affine: (np.zeros_like(array), affine))
    assert "6 cases: 5 unchanged, 1 tallied" in _sorted_counts(run(*words).err)


def _sorted_counts(err):
    line = next(line for line in err.splitlines() if line.startswith("6 cases: "))
    return "6 cases: " + ", ".join(sorted(line.removeprefix("6 cases: ").split(", "), reverse=True))


def test_jobs_do_not_change_results(run, data, tmp_path):
    run("compare", "--manifest", data / "manifest.csv", *FEW, "--no-figures", "--out", "one")
    run("compare", "--manifest", data / "manifest.csv", *FEW, "--no-figures", "--out", "two", "--jobs", "3")
    assert (tmp_path / "one" / "study.json").read_bytes() == (tmp_path / "two" / "study.json").read_bytes()


def test_json_is_all_of_stdout(run, data):
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, "--json", "--quiet", "--no-figures")
    told = json.loads(answer.out)
    assert told["methods"] == ["none", "MHR"]
    assert answer.err == ""


def test_templates_and_groups_give_the_same_as_the_manifest(run, data, templates, tmp_path):
    answer = run("compare", *templates, *FEW, "--no-figures", "--cv", "none", "--out", "a")
    assert "Each case is a group of its own" in answer.err
    assert answer.code == 0
    answer = run(
        "compare", *templates, *FEW, "--no-figures", "--group", r"case00(\d)", "--roi", f"{data}/rois/{{case}}.nii.gz"
    )
    assert answer.code == 0
    assert "Each case" not in answer.err
    answer = run(
        "compare", "--manifest", data / "manifest.csv", "--probs-columns", "prob_1", *FEW, "--no-figures", "--out", "b"
    )
    assert answer.code == 0
    by_case = [pd.read_csv(tmp_path / folder / "per_case.csv").query("method == 'none'") for folder in ("results", "b")]
    np.testing.assert_array_equal(by_case[0]["value"], by_case[1]["value"])


def test_bad_cases_are_named_and_the_others_kept(run, data, tmp_path):
    path = data / "preds" / "case002_1.nii.gz"
    path.write_bytes(path.read_bytes()[:500])
    flip = np.diag([-1.0, 1, 1, 1])
    _respoil(data / "labels" / "case003" / "annotation_2.nii.gz", lambda array, affine: (array, affine @ flip))
    for member in (1, 2):
        _respoil(
            data / "preds" / f"case004_{member}.nii.gz",
            lambda array, affine: (np.float32(8) * array - np.float32(4), affine),
        )
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW, "--no-figures")
    assert answer.code == 3
    assert "3 of 6 cases could not be used; the results are of the others:" in answer.err
    assert "case002_1.nii.gz cannot be read as NIfTI" in answer.err
    assert "axis x flipped" in answer.err
    assert "'case004'" in answer.err
    assert "are the members logits?" in answer.err
    assert "3 cases in 2 groups" in answer.out
    assert len(pd.read_csv(tmp_path / "results" / "per_case.csv")) == 3 * 2 * 2


def test_logits_of_one_segmenter_are_recognised(run, data, templates):
    path = data / "preds" / "case004_1.nii.gz"
    _respoil(path, lambda array, affine: (np.float32(8) * array - np.float32(4), affine))
    answer = run("compare", *templates, *FEW, "--no-figures", "--quiet")
    assert answer.code == 3
    assert "if these are logits, give --logits" in answer.err
    assert "--invalid drop" in answer.err
    assert run("compare", *templates, *FEW, "--no-figures", "--quiet", "--invalid", "drop").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--manifest", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--probs", "x/{case}.npy", "--raters", "y/{case}.npy"], "No file matches 'x/{case}.npy'"),
        (["--manifest", "data/manifest.csv", "--rater-columns", "reader*"], "needs a column reader*"),
        (["--manifest", "data/manifest.csv", "--cv", "9"], "--cv 9 folds need 2 to 3"),
    ],
)
def test_bad_input_exits_with_3(run, data, words, told):
    answer = run("compare", *words, *FEW, "--quiet")
    assert (answer.code, answer.out) == (3, "")
    assert told in answer.err


def test_without_matplotlib_it_says_how_to_get_pictures(run, data, monkeypatch):
    monkeypatch.setattr("mrcalib.cli._files.find_spec", lambda name: None)
    answer = run("compare", "--manifest", data / "manifest.csv", *FEW)
    assert answer.code == 0
    assert "pip install 'mrcalib[plots]'" in answer.err
    answer = run("fit", "--manifest", data / "manifest.csv", "-o", "c.json", "--figure", "map.png")
    assert answer.code == 2


def test_a_code_page_without_arrows_is_no_error(run, data, monkeypatch):
    class Latin:
        encoding = "latin-1"
        text = ""

        def write(self, text):
            text.encode(self.encoding)
            self.text += text

        def flush(self):
            pass

    stream = Latin()
    monkeypatch.setattr("sys.stdout", stream)
    assert run("compare", "--manifest", data / "manifest.csv", *FEW, "--no-figures").code == 0
    assert "MR-ECE ?" in stream.text


@pytest.mark.slow
def test_demo_goes_all_the_way(run, tmp_path):
    answer = run("demo", "--cases", "4", "--out", "demo", "--quiet")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    assert "How to read this. MR-ECE is" in answer.out
    assert "mrcalib compare --manifest demo/data/manifest.csv --out demo/results" in answer.out
    assert "figures/case_case00" in answer.out
    assert len(list((tmp_path / "demo" / "results" / "figures").glob("*.png"))) >= 3
    last = answer.out.strip().splitlines()[-1].split()
    assert last[0] == "mrcalib"
    assert run(*last[1:]).code == 0
    assert len(list((tmp_path / "demo" / "calibrated").glob("*.nii.gz"))) == 4


def test_demo_leaves_other_folders_alone(run, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").touch()
    answer = run("demo", "--out", "thesis")
    assert answer.code == 2
    assert "holds other files" in answer.err
