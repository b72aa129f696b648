"""``mrcalib fuse``, end to end."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from mrcalib import fusion
from mrcalib.io import read_labels, read_volume

AFFINE = np.array([[0.0, -2, 0, 7], [1.5, 0, 0, -3], [0, 0, 3, 11], [0, 0, 0, 1]])


@pytest.fixture
def masks(tmp_path, rng):
    """Two cases of three raters, of whom c did not annotate Q; a by template, in a flipped orientation."""
    base = np.zeros((9, 8, 6), np.uint8)
    base[2:7, 2:6, 1:5] = 1
    stored = {}
    for name in ("P_a", "P_b", "P_c", "Q_a", "Q_b"):
        stored[name] = np.where(rng.random(base.shape) < 0.05, 1 - base, base).astype(np.uint8)
        (tmp_path / "masks").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(stored[name], AFFINE), tmp_path / "masks" / f"{name}.nii.gz")
    return stored


RATERS = "masks/{case}_{rater}.nii.gz"


def test_help_teaches(run):
    answer = run("fuse", "--help")
    assert answer.code == 0
    for words in (
        "--method",
        "--raters",
        "--manifest",
        "--data",
        "--tie",
        "--sigma",
        "--threshold",
        "--overwrite",
        "--json",
    ):
        assert words in answer.out
    assert "mrcalib fuse" in answer.out.split("examples:")[1]
    assert "predictions" not in answer.out


@pytest.mark.parametrize(
    ("words", "fuse"),
    [
        (["soft"], fusion.soft),
        (["soft", "--threshold", "0.5"], lambda stack: fusion.soft(stack) >= 0.5),
        (["median"], fusion.median),
        (["majority", "--tie", "foreground"], lambda stack: fusion.majority(stack, tie="foreground")),
        (["majority"], fusion.majority),
        (["svls"], fusion.svls),
        (["svls", "--sigma", "2"], lambda stack: fusion.svls(stack, 2.0)),
        (["simple", "--alpha", "0.5"], lambda stack: fusion.simple(stack, alpha=0.5).mask),
        (["staple"], lambda stack: fusion.staple(stack).probability),
        (["staple", "--prior", "0.3", "--threshold", "0.5"], lambda s: fusion.staple(s, prior=0.3).probability >= 0.5),
        (
            ["soft-gaussian", "--sigma", "2", "--unit", "mm"],
            lambda stack: fusion.soft_gaussian(stack, 2.0, unit="mm", spacing=(1.5, 2.0, 3.0)),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_files_hold_what_the_library_gives(run, masks, tmp_path, words, fuse):
    answer = run("fuse", "--method", *words, "--raters", RATERS, "-o", "fused")
    assert answer.code == 0, answer.err
    assert answer.out == "fused/P.nii.gz\nfused/Q.nii.gz\n"
    for case, raters in (("P", "abc"), ("Q", "ab")):
        expected = fuse(np.stack([masks[f"{case}_{rater}"] for rater in raters]))
        written = nib.load(tmp_path / "fused" / f"{case}.nii.gz")
        np.testing.assert_array_equal(written.affine, AFFINE)
        is_map = expected.dtype.kind == "f"
        assert written.get_data_dtype() == (np.float32 if is_map else np.uint8)
        np.testing.assert_array_equal(np.asarray(written.dataobj), expected.astype(np.float32))
        sidecar = json.loads((tmp_path / "fused" / f"{case}.json").read_text())
        assert (sidecar["method"], sidecar["fused"]) == (words[0], f"{case}.nii.gz")
        assert sidecar["raters"]["c"] == ("masks/P_c.nii.gz" if case == "P" else None)
        assert set(sidecar["parameters"]) == {w[2:] for w in words if w.startswith("--")}


def test_staple_tells_of_each_rater(run, masks, tmp_path):
    answer = run("fuse", "--method", "staple", "--raters", RATERS, "-o", "out", "--json")
    told = json.loads(answer.out)
    result = fusion.staple([masks["Q_a"], masks["Q_b"], None])
    table = pd.read_csv(tmp_path / "out" / "raters.csv")
    assert table["case"].tolist() == ["P"] * 3 + ["Q"] * 3
    assert table["rater"].tolist() == ["a", "b", "c"] * 2
    np.testing.assert_array_equal(table["sensitivity"][3:], result.sensitivity)
    np.testing.assert_array_equal(table["specificity"][3:], result.specificity)
    assert table["prior"][3] == pytest.approx(result.prior, rel=1e-14)  # pandas 2 reads to the last bit but one
    assert (table["n_voxels"] == masks["Q_a"].size).all()
    assert told["cases"][1]["result"]["n_iter"] == result.n_iter
    text = run("fuse", "--method", "staple", "--raters", RATERS, "-o", "out")
    assert "2 cases: 2 unchanged" in text.err
    assert "sensitivity" in text.err
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "out" / "raters.csv"), table)


def test_a_manifest_needs_no_probabilities(run, masks, tmp_path):
    (tmp_path / "cases.csv").write_text(
        "case,prob,rater_x,rater_y\nP,not-there.nii.gz,masks/P_a.nii.gz,masks/P_b.nii.gz\nQ,,masks/Q_a.nii.gz,\n"
    )
    answer = run("fuse", "--method", "soft", "--manifest", "cases.csv", "-o", "fused")
    assert answer.code == 0, answer.err
    np.testing.assert_array_equal(
        read_volume(tmp_path / "fused" / "P.nii.gz").data, (masks["P_a"] / 2 + masks["P_b"] / 2)
    )
    np.testing.assert_array_equal(read_volume(tmp_path / "fused" / "Q.nii.gz").data, masks["Q_a"])
    (tmp_path / "long.csv").write_text(
        "case,role,path,name\nP,probs,no.nii.gz,\nP,rater,masks/P_a.nii.gz,x\nP,rater,,y\n"
    )
    assert run("fuse", "--method", "majority", "--manifest", "long.csv", "-o", "long").code == 0
    np.testing.assert_array_equal(read_labels(tmp_path / "long" / "P.nii.gz").data, masks["P_a"])
    (tmp_path / "none.csv").write_text("case,rater_x\nP,masks/absent.nii.gz\nQ,\n")
    answer = run("fuse", "--method", "soft", "--manifest", "none.csv", "-o", "none")
    assert answer.code == 3
    assert "does not exist" in answer.err
    assert "case 'Q' has no rater" in answer.err


def test_a_data_set_is_found_by_its_layout(run, tmp_path, rng):
    for case in ("UKCHLL001", "UKCHLL002"):
        (tmp_path / "data" / case).mkdir(parents=True)
        for rater in (1, 2, 3):
            mask = np.zeros((9, 8, 7), np.int16)
            mask[2:6, 2:6, 2 : 4 + rater % 2] = 1
            nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "data" / case / f"annotation_{rater}.nii.gz")
    answer = run(
        "fuse", "--method", "soft", "--data", "data", "--layout", "curvas-2024", "--positive", "1", "-o", "fused"
    )
    assert answer.code == 0, answer.err
    found = read_volume(tmp_path / "fused" / "UKCHLL001.nii.gz").data
    assert np.unique(found).tolist() == [0, np.float32(2 / 3), 1]


def test_files_that_it_did_not_make_and_inputs_are_kept(run, masks, tmp_path):
    words = ("fuse", "--method", "soft", "--raters", RATERS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    for case, rater in (("P", "a"), ("Q", "a")):
        shutil.copy(tmp_path / "masks" / f"{case}_{rater}.nii.gz", tmp_path / f"{case}.nii.gz")
    answer = run("fuse", "--method", "soft", "--raters", "{case}.nii.gz", "-o", ".")
    assert answer.code == 2
    assert "would overwrite an input" in answer.err

    out = tmp_path / "out"
    out.mkdir()
    (out / "P.nii.gz").write_text("thesis")
    (out / "Q.json").write_text("{}")
    answer = run(*words, "-o", "out")
    assert answer.code == 3
    assert answer.err.count("mrcalib fuse did not make it. Give --overwrite") == 2
    assert (out / "P.nii.gz").read_text() == "thesis"
    assert run(*words, "-o", "out", "--overwrite").code == 0
    assert "2 cases: 2 unchanged" in run(*words, "-o", "out").err
    assert "2 cases: 2 fused" in run("fuse", "--method", "median", "--raters", RATERS, "-o", "out").err
    (out / "raters.csv").write_text("name,salary\n")
    answer = run("fuse", "--method", "staple", "--raters", RATERS, "-o", "out")
    assert answer.code == 2
    assert "raters.csv exists" in answer.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()} == before
    assert run(*words, "-o", "masks/P_a.nii.gz").code == 2


def test_a_changed_input_is_fused_again(run, masks, tmp_path):
    words = ("fuse", "--method", "soft", "--raters", RATERS, "-o", "out")
    run(*words)
    nib.save(nib.Nifti1Image(masks["P_b"], AFFINE), tmp_path / "masks" / "P_a.nii.gz")
    assert "2 cases: 1 fused, 1 unchanged" in run(*words).err


def test_one_bad_case_does_not_lose_the_others(run, masks, tmp_path):
    nib.save(nib.Nifti1Image(masks["P_a"], np.eye(4)), tmp_path / "masks" / "P_b.nii.gz")
    answer = run("fuse", "--method", "staple", "--raters", RATERS, "-o", "out", "--quiet")
    assert answer.code == 3
    assert answer.out == "out/Q.nii.gz\n"
    assert "1 of 2 cases could not be used" in answer.err
    assert "rater 'b'" in answer.err
    assert set(pd.read_csv(tmp_path / "out" / "raters.csv")["case"]) == {"Q"}
    assert not (tmp_path / "out" / "P.nii.gz").exists()


def test_masks_that_look_flipped_or_hold_labels_are_refused(run, masks, tmp_path):
    lopsided = np.zeros((20, 8, 6), np.uint8)
    lopsided[1:7, 1:6, 1:5] = 1
    for rater, mask in (("a", lopsided), ("b", lopsided), ("c", lopsided[::-1])):
        nib.save(nib.Nifti1Image(255 * mask, np.eye(4)), tmp_path / "masks" / f"P_{rater}.nii.gz")
    words = ("fuse", "--method", "majority", "--raters", "masks/{case}_[abc].nii.gz", "-o", "out")
    assert "two files for one place" in run(*words).err
    words = ("fuse", "--method", "majority", "--raters", RATERS, "-o", "out", "--quiet")
    assert "--positive 255" in run(*words).err
    answer = run(*words, "--positive", "255")
    assert answer.code == 3
    assert "flipping axis 0" in answer.err
    assert "--no-agreement-check" in answer.err
    assert run(*words, "--positive", "1,255", "--no-agreement-check").code == 0
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "P.nii.gz").data, lopsided)


def test_arrays_without_geometry_stay_arrays(run, tmp_path):
    (tmp_path / "m").mkdir()
    for rater, mask in (("a", [[0, 1], [1, 1]]), ("b", [[0, 1], [0, 1]])):
        np.save(tmp_path / "m" / f"P_{rater}.npy", np.array(mask, np.uint8))
    for method, dtype in (("soft", np.float32), ("majority", np.uint8)):
        words = ("fuse", "--method", method, "--raters", "m/{case}_{rater}.npy", "-o", method)
        assert run(*words).out == f"{method}/P.npy\n"
        assert np.load(tmp_path / method / "P.npy").dtype == dtype
    smooth = ("fuse", "--method", "soft-gaussian", "--sigma", "1", "--raters", "m/{case}_{rater}.npy", "-o", "s")
    answer = run(*smooth, "--unit", "mm")
    assert answer.code == 3
    assert "give --spacing or --unit voxels" in answer.err
    assert run(*smooth, "--unit", "mm", "--spacing", "2,1").code == 0
    expected = fusion.soft_gaussian([np.load(p) for p in sorted((tmp_path / "m").iterdir())], (0.5, 1.0), unit="voxels")
    np.testing.assert_array_equal(np.load(tmp_path / "s" / "P.npy"), expected.astype(np.float32))
    answer = run("fuse", "--method", "majority", "--raters", "m/{case}_{rater}.npy", "-o", "n", "--suffix", ".nii.gz")
    assert answer.code == 3
    assert "the geometry is not known; write .npy or .npz instead" in answer.err


def test_random_draws_by_case_and_seed(run, masks, tmp_path):
    def drawn(folder, *words):
        assert run("fuse", "--method", "random", "-o", folder, *words).code == 0
        return read_labels(tmp_path / folder / "P.nii.gz").data

    first = drawn("one", "--raters", RATERS, "--seed", "3")
    (tmp_path / "p.csv").write_text(
        "case,rater_a,rater_b,rater_c\nP,masks/P_a.nii.gz,masks/P_b.nii.gz,masks/P_c.nii.gz\n"
    )
    np.testing.assert_array_equal(drawn("two", "--manifest", "p.csv", "--seed", "3"), first)
    found = {drawn(f"s{seed}", "--raters", RATERS, "--seed", str(seed)).tobytes() for seed in range(12)}
    assert len(found) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "the following arguments are required"),
        (["--method", "magic", "-o", "x"], "There is no method of fusion 'magic'. Known: soft, soft-gaussian"),
        (["--method", "soft", "-o", "x"], "say where the masks are: --raters TEMPLATE"),
        (
            ["--method", "soft", "-o", "x", "--raters", "a", "--manifest", "b"],
            "--raters and --manifest exclude each other",
        ),
        (["--method", "soft", "-o", "x", "--raters", "a", "--rater-columns", "b"], "chooses columns of a --manifest"),
        (["--method", "soft", "-o", "x", "--raters", "a", "--tie", "background"], "does not go with --method soft"),
        (["--method", "majority", "-o", "x", "--raters", "a", "--max-iter", "3"], "--max-iter does not go with"),
        (["--method", "soft-gaussian", "-o", "x", "--raters", "a"], "needs --sigma and --unit"),
        (["--method", "svls", "-o", "x", "--raters", "a", "--sigma", "0"], "expected a number above 0"),
    ],
)
def test_wrong_usage_exits_with_2(run, words, told):
    answer = run("fuse", *words)
    assert (answer.code, answer.out) == (2, "")
    assert told in answer.err
