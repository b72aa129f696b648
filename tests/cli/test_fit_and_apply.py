"""``mrcalib fit`` and ``mrcalib apply``, end to end."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest

import mrcalib


@pytest.fixture
def calibrator(run, data, tmp_path):
    """A calibrator on disk."""
    assert run("fit", "--manifest", data / "manifest.csv", "--method", "MHR", "-o", "calibrator.json").code == 0
    return tmp_path / "calibrator.json"


def test_fit_tells_what_it_fitted(run, data, tmp_path):
    answer = run(
        "fit", "--manifest", data / "manifest.csv", "--method", "Temperature", "-o", "t.json", "--figure", "map.png"
    )
    assert answer.code == 0, answer.err
    fitted = mrcalib.load(tmp_path / "t.json")
    assert f"temperature {1 / fitted.map_.slope:.4g}, above 1" in answer.out
    assert "fitted to 6 cases, 3 raters" in answer.out
    assert "calibrated probabilities lie between" in answer.out
    assert (tmp_path / "map.png").stat().st_size > 1000


def test_fit_is_what_compare_saves(run, data, calibrator, tmp_path):
    run(
        "compare", "--manifest", data / "manifest.csv", "--methods", "none", "MHR", "--metrics", "brier", "--no-figures",
        "--resamples", "10",
    )  # fmt: skip
    fitted, saved = mrcalib.load(calibrator), mrcalib.load(tmp_path / "results" / "calibrators" / "MHR.json")
    assert fitted.map_ == saved.map_
    words = "fit", "--manifest", data / "manifest.csv", "--method", "MHR", "-o", "again.json", "--tallies"
    answer = run(*words, "results/tallies")
    assert "6 cases: 6 unchanged" in answer.err
    assert mrcalib.load(tmp_path / "again.json").map_ == fitted.map_


def test_the_default_method_knows_the_case_and_gives_way_to_binning(run, data, tmp_path):
    words = "fit", "--manifest", data / "manifest.csv", "-o", "c.json"
    answer = run(*words)
    assert "case-adaptive: CaseAdaptiveCalibrator(" in answer.out
    assert "of a case of median volume" in answer.out
    assert isinstance(mrcalib.load(tmp_path / "c.json"), mrcalib.CaseAdaptiveCalibrator)
    answer = run(*words, "--binning", "equal-votes")
    assert "MHR-equal: MHRIsotonicCalibrator(binning=equal-votes, case_weight=equal" in answer.out


def test_a_case_has_the_map_of_its_region_of_interest(run, tmp_path):
    rng = np.random.default_rng(4)
    case = np.repeat(np.arange(40), 1000)
    probs = (rng.random(40_000) * rng.uniform(0.1, 1, 40)[case]).astype(np.float32)
    fitted = mrcalib.CaseAdaptiveCalibrator().fit(probs, rng.random((3, 40_000)) < probs, groups=case)
    fitted.save(tmp_path / "c.json")
    image = rng.random((10, 10, 10)).astype(np.float32)
    roi = np.zeros(image.shape, np.uint8)
    roi[:5] = 1
    np.save(tmp_path / "p.npy", image)
    np.save(tmp_path / "roi.npy", roi)
    assert run("apply", "c.json", "p.npy", "--roi", "roi.npy", "-o", "out.npy").code == 0
    written = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(written, fitted.map_for(image[roi == 1])(image))
    assert not np.array_equal(written, fitted(image))


def test_fit_takes_the_methods_own_options(run, data, tmp_path):
    manifest = data / "manifest.csv"
    answer = run(
        "fit",
        "--manifest",
        manifest,
        "--binning",
        "exact",
        "--case-weight",
        "equal",
        "--keep-zero",
        "-o",
        "c.json",
        "--json",
    )
    told = json.loads(answer.out)
    assert told["parameters"] == {"binning": "exact", "case_weight": "equal", "keep_zero": True, "n_bins": 250}
    assert told["written"] == ["c.json"]

    for rater, position in (("2", 1), ("0", 0)):  # a name where there is one, else a position
        assert (
            run("fit", "--manifest", manifest, "--method", "single-rater", "--rater", rater, "-o", "r.json").code == 0
        )
        by_position = mrcalib.SingleRaterCalibrator(rater=position).fit_cases(mrcalib.io.read_manifest(manifest))
        assert mrcalib.load(tmp_path / "r.json").map_ == by_position.map_

    answer = run("fit", "--manifest", manifest, "--method", "Platt", "--n-bins", "9", "-o", "p.json")
    assert answer.code == 2
    assert "--n-bins does not go with --method 'Platt'" in answer.err
    answer = run("fit", "--manifest", manifest, "--method", "single-rater", "--rater", "Bo", "-o", "p.json")
    assert answer.code == 2
    assert "there is no rater 'Bo'; there are 1, 2, 3" in answer.err
    assert not (tmp_path / "p.json").exists()


@pytest.mark.parametrize("binning", ["grid", "exact"])
def test_fit_uses_the_good_cases(run, data, tmp_path, binning):
    (data / "preds" / "case002_1.nii.gz").write_bytes(b"nonsense")
    answer = run("fit", "--manifest", data / "manifest.csv", "--binning", binning, "-o", "c.json", "--quiet")
    assert answer.code == 3
    assert "1 of 6 cases could not be used" in answer.err
    assert len(mrcalib.load(tmp_path / "c.json").provenance_["cases"]) == 5


def test_apply_writes_float32_in_place_of_a_quantised_header(run, calibrator, tmp_path):
    affine = np.array([[0.0, -2, 0, 7], [1.5, 0, 0, -3], [0, 0, 3, 11], [0, 0, 0, 1]])
    probs = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    image = nib.Nifti1Image(probs, affine)
    image.header.set_data_dtype(np.uint8)
    nib.save(image, tmp_path / "p.nii.gz")
    answer = run("apply", calibrator, "p.nii.gz", "-o", "out")
    assert answer.code == 0, answer.err
    assert answer.out == "out/p.nii.gz\n"
    assert "quantised" in answer.err
    written = nib.load(tmp_path / "out" / "p.nii.gz")
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.affine, affine)
    stored = np.asarray(nib.load(tmp_path / "p.nii.gz").dataobj, dtype=np.float32)
    np.testing.assert_allclose(np.asarray(written.dataobj), mrcalib.load(calibrator)(stored), atol=1e-6)


def test_apply_pools_ensembles_skips_what_is_done_and_keeps_out_of_the_roi(run, data, calibrator, tmp_path):
    words = ("apply", calibrator, "--manifest", data / "manifest.csv", "-o", "out")
    assert run(*words).code == 0
    case = mrcalib.io.read_manifest(data / "manifest.csv")[0].load()
    path = tmp_path / "out" / "case001.nii.gz"
    expected = mrcalib.load(calibrator)(case.probs)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), expected)

    before = path.stat().st_mtime_ns
    assert "6 cases: 6 unchanged" in run(*words).err
    assert path.stat().st_mtime_ns == before
    assert "6 cases: 6 calibrated" in run(*words, "--outside", "zero").err
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), np.where(case.roi, expected, 0))
    rows = json.loads(run(*words, "--outside", "zero", "--overwrite", "--json").out)
    assert {row["status"] for row in rows} == {"calibrated"}


def test_apply_never_overwrites_what_it_did_not_make(run, data, calibrator, tmp_path):
    source = data / "preds" / "case001_1.nii.gz"
    content = source.read_bytes()
    answer = run("apply", calibrator, source, "-o", source.parent)
    assert answer.code == 2
    assert "would overwrite an input" in answer.err
    assert run("apply", calibrator, source, "-o", source).code == 2
    (tmp_path / "link").symlink_to(source.parent)
    assert run("apply", calibrator, source, "-o", "link").code == 2
    assert source.read_bytes() == content

    other = tmp_path / "out" / "case001_1.nii.gz"
    other.parent.mkdir()
    other.write_text("thesis")
    answer = run("apply", calibrator, source, "-o", "out")
    assert answer.code == 3
    assert "did not make it. Give --overwrite" in answer.err
    assert other.read_text() == "thesis"
    assert run("apply", calibrator, source, "-o", "out", "--overwrite").code == 0

    twin = tmp_path / "twin" / source.name
    twin.parent.mkdir()
    shutil.copy(source, twin)
    answer = run("apply", calibrator, source, twin, "-o", "both")
    assert answer.code == 2
    assert "would both become" in answer.err


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_apply_without_geometry_keeps_the_format(run, calibrator, tmp_path, suffix):
    probs = np.linspace(0, 1, 12).reshape(3, 4)
    if suffix == ".npy":
        np.save(tmp_path / "p.npy", probs)
    else:
        np.savez(tmp_path / "p.npz", probs=probs)
    assert run("apply", calibrator, f"p{suffix}", "-o", "out").out == f"out/p{suffix}\n"
    written = np.load(tmp_path / "out" / f"p{suffix}")
    array = written if suffix == ".npy" else written["probs"]
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, mrcalib.load(calibrator)(probs), atol=1e-7)


def test_apply_reads_nnunet_exports(run, data, calibrator, tmp_path):
    source = nib.load(data / "preds" / "case001_1.nii.gz")
    probs = np.asarray(source.dataobj)
    both = np.stack([1 - probs, probs]).transpose(0, 3, 2, 1)
    np.savez(tmp_path / "case001.npz", probabilities=both)
    nib.save(nib.Nifti1Image((both.argmax(0).T).astype(np.uint8), source.affine), tmp_path / "case001.nii.gz")
    assert run("apply", calibrator, "case001.npz", "-o", "out").out == "out/case001.nii.gz\n"
    written = nib.load(tmp_path / "out" / "case001.nii.gz")
    np.testing.assert_allclose(written.affine, source.affine)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mrcalib.load(calibrator)(probs))
    assert run("apply", calibrator, "case001.npz", "-o", ".").code == 2  # the segmentation beside it is an input too


def test_apply_writes_mha_to_one_file(run, data, calibrator, tmp_path):
    pytest.importorskip("SimpleITK")
    source = data / "preds" / "case001_1.nii.gz"
    assert run("apply", calibrator, source, "-o", "new/one.mha").out == "new/one.mha\n"
    written = mrcalib.io.read_volume(tmp_path / "new" / "one.mha")
    np.testing.assert_allclose(written.geometry.affine, nib.load(source).affine, atol=1e-6)
    assert run("apply", calibrator, "new/one.mha", "-o", "out", "--suffix", ".nrrd").out == "out/one.nrrd\n"
    answer = run("apply", calibrator, source, "new/one.mha", "-o", "two.mha")
    assert answer.code == 2
    assert "is one file, but there are 2 cases" in answer.err


def test_apply_refuses_what_is_no_probability(run, data, calibrator, tmp_path):
    np.save(tmp_path / "logits.npy", np.array([[-3.0, 2.0], [0.5, np.nan]]))
    shutil.copy(data / "preds" / "case001_1.nii.gz", tmp_path / "good.nii.gz")
    answer = run("apply", calibrator, "logits.npy", "good.nii.gz", "-o", "out", "--quiet")
    assert answer.code == 3
    assert answer.out == "out/good.nii.gz\n"
    assert "3 of 4 voxels are NaN or outside [0, 1], from -3 to 2" in answer.err
    assert run("apply", calibrator, "logits.npy", "-o", "out", "--invalid", "keep").code == 0
    assert np.isnan(np.load(tmp_path / "out" / "logits.npy")).sum() == 3


def test_apply_names_what_is_missing(run, data, calibrator, tmp_path):
    assert "absent.json: No such file" in run("apply", "absent.json", "x.npy", "-o", "out").err
    (tmp_path / "other.json").write_text("{}")
    assert "is not a calibrator" in run("apply", "other.json", "x.npy", "-o", "out").err
    answer = run("apply", calibrator, "x.npy", "-o", "out")
    assert answer.code == 3
    assert "x.npy does not exist" in answer.err
    answer = run("apply", calibrator, "-o", "out")
    assert answer.code == 2
    answer = run("apply", calibrator, "x.npy", "--manifest", data / "manifest.csv", "-o", "out")
    assert "exclude each other" in answer.err
    answer = run("apply", calibrator, "x.npy", "-o", "out", "--outside", "zero")
    assert answer.code == 2
    assert "--outside zero needs" in answer.err


def test_apply_takes_a_roi_for_files(run, data, calibrator, tmp_path):
    source = data / "preds" / "case001_1.nii.gz"
    shutil.copy(source, tmp_path / "case001.nii.gz")
    words = ("apply", calibrator, "case001.nii.gz", "-o", "out", "--outside", "zero", "--roi")
    assert run(*words, f"{data}/rois/{{case}}.nii.gz").code == 0
    roi = np.asarray(nib.load(data / "rois" / "case001.nii.gz").dataobj) != 0
    assert not np.asarray(nib.load(tmp_path / "out" / "case001.nii.gz").dataobj)[~roi].any()


def test_apply_makes_the_same_files_however_many_cases_at_once(run, data, calibrator, tmp_path):
    words = ("apply", calibrator, "--manifest", data / "manifest.csv", "--outside", "zero", "-o")
    assert run(*words, "one").code == 0
    assert run(*words, "two", "--jobs", "2").code == 0
    for path in sorted((tmp_path / "one").glob("*.nii.gz")):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
    assert len(list((tmp_path / "two").iterdir())) == 12


def test_apply_compresses_as_it_is_told(run, data, calibrator, tmp_path):
    source = data / "preds" / "case001_1.nii.gz"
    for level in ("1", "9"):
        assert run("apply", calibrator, source, "-o", level, "--compression", level).code == 0
    fast, small = (tmp_path / level / source.name for level in ("1", "9"))
    assert small.stat().st_size < fast.stat().st_size
    np.testing.assert_array_equal(np.asarray(nib.load(small).dataobj), np.asarray(nib.load(fast).dataobj))
    answer = run("apply", calibrator, source, "-o", "out", "--compression", "0")
    assert answer.code == 2
    assert "--compression" in answer.err


def test_apply_keeps_the_old_map_and_what_it_was_made_of_where_a_file_is_damaged(run, data, calibrator, tmp_path):
    source = data / "preds" / "case001_1.nii.gz"
    words = ("apply", calibrator, source, "-o", "out")
    assert run(*words).code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    content = source.read_bytes()
    source.write_bytes(content[: len(content) // 2])
    answer = run(*words)
    assert answer.code == 3
    assert "is damaged or truncated" in answer.err
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    source.write_bytes(content)
    assert "1 unchanged" in run(*words).err


def test_one_file_of_all_raters_is_read_by_its_axis(run, tmp_path):
    rng = np.random.default_rng(0)
    for number in range(3):
        probs = rng.random((4, 5, 6), dtype=np.float32)
        masks = (rng.random((3, 4, 5, 6)) < probs).astype(np.uint8)
        np.save(tmp_path / f"c{number}_p.npy", probs)
        np.save(tmp_path / f"c{number}_all.npy", np.moveaxis(masks, 0, -1))
        for rater, mask in enumerate(masks, start=1):
            np.save(tmp_path / f"c{number}_r{rater}.npy", mask)
    apart = ("--probs", "{case}_p.npy", "--raters", "{case}_r{rater}.npy", "--method", "single-rater", "--rater", "2")
    stacked = (*apart[:3], "{case}_all.npy", *apart[4:], "--rater-axis", "-1")
    for name, words in (("apart", apart), ("stacked", stacked)):
        answer = run("fit", *words, "--no-agreement-check", "-o", f"{name}.json")
        assert answer.code == 0, answer.err
    one, other = (mrcalib.load(tmp_path / f"{name}.json") for name in ("apart", "stacked"))
    assert one.map_ == other.map_
    assert one.raters_ == other.raters_ == ("1", "2", "3")
