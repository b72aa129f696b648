"""The two-stage pipeline on the command line: one table of coarse masks, members and raters drives every command."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest

import mrcalib
from mrcalib.io import LoadOptions, read_manifest
from mrcalib.roi import dilate

READING = ("--margin", "3", "--outside", "zero")
OPTIONS = LoadOptions(margin_mm=3.0, outside="zero")
FEW = (
    "--methods",
    "none",
    "MHR",
    "TwinTrack",
    "--metrics",
    "brier",
    "mr_ece",
    "--resamples",
    "20",
    "--no-figures",
)


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def write_table(path, rows, leave_out=()):
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [name for name in rows[0] if name not in leave_out], extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.fixture
def rows(data):
    """The rows of a table with coarse masks, some voxels of what the segmenters call foreground, and no ROI."""
    with (data / "manifest.csv").open(encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    (data / "coarse").mkdir()
    for row in found:
        members = [nib.load(data / row[f"prob_{k}"]) for k in (1, 2)]
        mean = np.mean([np.asarray(m.dataobj) for m in members], axis=0)
        sparse = np.zeros(mean.shape, np.uint8)
        sparse[::2, ::2, ::2] = mean[::2, ::2, ::2] > 0.5
        sparse[np.unravel_index(mean.argmax(), mean.shape)] = 1
        row["coarse"] = f"coarse/{row['case']}.nii.gz"
        nib.save(nib.Nifti1Image(sparse, members[0].affine), data / row["coarse"])
        del row["roi"]
    return found


@pytest.fixture
def manifest(data, rows):
    return write_table(data / "pipeline.csv", rows)


def test_one_table_drives_compare_fit_apply_and_evaluate(run, data, manifest, rows, tmp_path):
    compared = run("compare", "--manifest", manifest, *READING, *FEW, "--out", "results")
    assert compared.code == 0, compared.err
    fitted = run(
        "fit", "--manifest", manifest, *READING, "--method", "MHR", "-o", "c.json", "--tallies", "results/tallies"
    )
    assert fitted.code == 0, fitted.err
    assert "6 cases: 6 unchanged" in fitted.err
    calibrator = mrcalib.load(tmp_path / "c.json")
    assert calibrator.keep_zero
    assert calibrator.map_ == mrcalib.load(tmp_path / "results" / "calibrators" / "MHR.json").map_

    cases = read_manifest(manifest)
    loaded = [case.load(options=OPTIONS) for case in cases]
    inside = [case.probs > 0 for case in loaded]
    by_hand = mrcalib.MHRIsotonicCalibrator(keep_zero=True).fit(
        np.concatenate([case.probs[there] for case, there in zip(loaded, inside, strict=True)]),
        [np.concatenate([case.raters[r][there] for case, there in zip(loaded, inside, strict=True)]) for r in range(3)],
    )
    assert calibrator.map_ == by_hand.map_
    assert calibrator.n_voxels_ == sum(there.sum() for there in inside)

    raters = [name for name in rows[0] if name.startswith("annotation_")]
    unread = write_table(data / "new.csv", rows, leave_out=raters)
    applied = run("apply", "c.json", "--manifest", unread, *READING, "-o", "out")
    assert applied.code == 0, applied.err
    assert "read otherwise" not in applied.err
    for case, read in zip(cases, loaded, strict=True):
        written = voxels(tmp_path / "out" / f"{case.id}.nii.gz")
        region = dilate(voxels(case.coarse), 3.0, read.spacing)
        assert 0 < region.mean() < 1
        assert not written[~region].any()
        members = np.mean([voxels(path).astype(np.float64) for path in case.members], axis=0).astype(np.float32)
        np.testing.assert_array_equal(written, np.where(region, by_hand(members), np.float32(0)))

    words = ("--manifest", manifest, *READING, "--metrics", "brier", "--json", "--quiet")
    told = json.loads(run("evaluate", *words, "--calibrator", "c.json").out)
    brier = {row["map"]: row["mean"] for row in told["summary"]}
    expected = [
        mrcalib.metrics.brier_score(voxels(tmp_path / "out" / f"{case.id}.nii.gz"), list(case.raters))
        for case in loaded
    ]
    assert brier["calibrated"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_recall_is_printed_and_warned_of_and_survives_checkpoints(run, manifest, data, rows):
    missing = nib.load(data / rows[2]["coarse"])
    corner = np.zeros(missing.shape, np.uint8)
    corner[0, 0, 0] = 1
    nib.save(nib.Nifti1Image(corner, missing.affine), data / rows[2]["coarse"])
    recalls = {case.id: case.load(options=OPTIONS).roi_recall for case in read_manifest(manifest)}
    assert recalls["case003"] == 0
    answers = [run("compare", "--manifest", manifest, *READING, *FEW) for _ in range(2)]
    assert "6 cases: 6 unchanged" in answers[1].err
    for answer in answers:
        assert answer.code == 0, answer.err
        assert f"holds {np.mean(list(recalls.values())):.1%} of what any rater marked (mean of 6 cases)" in answer.err
        assert "at least 0.0% (case003)" in answer.err
        low = [case for case, recall in recalls.items() if recall < 0.95]
        assert f"warning: in {len(low)} of 6 cases the region of interest holds less than 95%" in answer.err
        assert "case003 (0.0%)" in answer.err
    told = json.loads(
        run("fit", "--manifest", manifest, *READING, "-o", "c.json", "--tallies", "results/tallies", "--json").out
    )
    assert told["roi_recall"] == pytest.approx(recalls)


def test_no_word_of_recall_where_the_region_holds_everything(run, manifest):
    answer = run("fit", "--manifest", manifest, "--margin", "100", "-o", "c.json")
    assert "holds 100.0% of what any rater marked" in answer.err
    assert "warning" not in answer.err


@pytest.mark.parametrize("binning", ["exact", "equal-mass"])
def test_second_passes_see_the_same_region(run, manifest, tmp_path, binning):
    words = "--method", "MHR", "--binning", binning, "--n-bins", "20", "-o", "c.json"
    answer = run("fit", "--manifest", manifest, *READING, *words)
    assert answer.code == 0, answer.err
    expected = mrcalib.MHRIsotonicCalibrator(binning, 20, keep_zero=True).fit_cases(
        read_manifest(manifest), options=OPTIONS
    )
    assert mrcalib.load(tmp_path / "c.json").map_ == expected.map_


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
def test_bins_of_equal_mass_hold_no_zeros(run, manifest, tmp_path):
    assert run("compare", "--manifest", manifest, *READING, *FEW).code == 0
    twintrack = mrcalib.load(tmp_path / "results" / "calibrators" / "TwinTrack.json")
    assert twintrack.keep_zero
    assert twintrack.map_.x[0] > 0


def test_apply_and_evaluate_warn_where_maps_are_read_otherwise(run, data, manifest, rows):
    assert run("fit", "--manifest", manifest, *READING, "-o", "c.json").code == 0
    told = json.loads((data.parent / "c.json").read_text())["provenance"]["reading"]
    assert (told["margin_mm"], told["outside"], told["members"], told["coarse"]) == (3.0, "zero", [2], True)
    answer = run("apply", "c.json", "--manifest", manifest, "--margin", "5", "--pooling", "logit-mean", "-o", "out")
    assert answer.code == 0, answer.err
    assert (
        "fitted to maps that were read otherwise: --pooling mean then, logit-mean now; --margin 3 then, 5 now; "
        "--outside zero then, ignore now."
    ) in answer.err
    single = write_table(data / "single.csv", rows, leave_out=("prob_2", "coarse"))
    answer = run("evaluate", "--manifest", single, "--calibrator", "c.json", "--metrics", "brier", "--resamples", "5")
    assert "members of an ensemble 2 then, 1 now" in answer.err
    assert "a coarse segmentation given then, not given now" in answer.err


def test_zero_outside_is_right_for_a_map_that_was_fitted_inside(run, manifest, tmp_path):
    assert run("fit", "--manifest", manifest, "--margin", "3", "--method", "temperature", "-o", "c.json").code == 0
    calibrator = mrcalib.load(tmp_path / "c.json")
    assert not calibrator.keep_zero
    assert calibrator(np.zeros(1)) > 0
    words = ("--manifest", manifest, *READING)
    assert "otherwise" not in run("apply", "c.json", *words, "-o", "out").err
    expected = []
    for case in read_manifest(manifest):
        loaded = case.load(options=OPTIONS)
        written = voxels(tmp_path / "out" / f"{case.id}.nii.gz")
        np.testing.assert_array_equal(written, np.where(loaded.region, calibrator(loaded.probs), np.float32(0)))
        expected.append(mrcalib.metrics.brier_score(written, list(loaded.raters)))
    told = json.loads(run("evaluate", *words, "--calibrator", "c.json", "--metrics", "brier", "--json", "--quiet").out)
    assert [r["brier"] for r in told["per_case"] if r["map"] == "calibrated"] == pytest.approx(expected, abs=1e-12)


def test_apply_makes_maps_again_when_the_region_changes(run, manifest):
    assert run("fit", "--manifest", manifest, *READING, "-o", "c.json").code == 0
    words = ("apply", "c.json", "--manifest", manifest, "-o", "out")
    assert "6 calibrated" in run(*words, *READING).err
    assert "6 unchanged" in run(*words, *READING).err
    assert "6 calibrated" in run(*words, "--outside", "zero", "--margin", "4").err


def test_coarse_masks_by_template_are_those_of_the_table(run, data, templates, rows, tmp_path):
    words = ("--coarse", f"{data}/coarse/{{case}}.nii.gz", *READING)
    assert run("fit", *templates, *words, "-o", "t.json").code == 0
    single = write_table(data / "single.csv", rows, leave_out=("prob_2",))
    assert run("fit", "--manifest", single, *READING, "-o", "m.json").code == 0
    assert mrcalib.load(tmp_path / "t.json").map_ == mrcalib.load(tmp_path / "m.json").map_
    source = data / "preds" / "case001_1.nii.gz"
    (tmp_path / "case001.nii.gz").write_bytes(source.read_bytes())
    answer = run("apply", "t.json", "case001.nii.gz", *words, "-o", "out")
    assert answer.code == 0, answer.err
    region = dilate(voxels(data / "coarse" / "case001.nii.gz"), 3.0, nib.load(source).header.get_zooms())
    assert not voxels(tmp_path / "out" / "case001.nii.gz")[~region].any()


def test_an_empty_coarse_mask_costs_its_case_or_makes_it_zero(run, data, rows, manifest):
    empty = nib.load(data / rows[0]["coarse"])
    nib.save(nib.Nifti1Image(np.zeros(empty.shape, np.uint8), empty.affine), data / rows[0]["coarse"])
    answer = run("fit", "--manifest", manifest, "--margin", "3", "-o", "c.json")
    assert answer.code == 3
    assert "Case 'case001': the coarse segmentation is empty" in answer.err
    assert "read it with --outside zero" in answer.err
    assert "above --coarse-threshold 0.5" in answer.err
    answer = run("fit", "--manifest", manifest, *READING, "-o", "c.json")
    assert answer.code == 0
    assert "warning: Case 'case001': the coarse segmentation is empty" in answer.err


@pytest.mark.parametrize("word", ["fit", "compare", "evaluate", "apply"])
def test_a_region_that_is_not_there_is_refused(run, data, rows, word):
    bare = write_table(data / "bare.csv", rows, leave_out=("coarse",))
    words = {"fit": ("-o", "x.json"), "apply": ("-o", "out"), "compare": (), "evaluate": ()}[word]
    if word == "apply":
        assert run("fit", "--manifest", bare, "-o", "c.json").code == 0
        words = ("c.json", *words)
    answer = run(word, *words, "--manifest", bare, "--outside", "zero")
    assert answer.code == 2
    assert "--outside zero needs to know what is inside, and case 'case001' has neither" in answer.err
    answer = run(word, *words, "--manifest", bare, "--margin", "2")
    assert answer.code == 2
    assert "--margin dilates a coarse segmentation, and case 'case001' has none" in answer.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--margin", "-1"), "expected a number of at least 0"),
        (("--coarse-threshold", "1"), "expected a number of at least 0 and below 1"),
        (("--weights", "1,0"), "expected numbers above 0 such as 2,1,1"),
        (("--outside", "calibrated"), "invalid choice"),
        (("--merge", "mean"), "invalid choice"),
    ],
)
def test_values_out_of_range_are_wrong_usage(run, words, told):
    answer = run("fit", "--manifest", "m.csv", "-o", "c.json", *words)
    assert answer.code == 2
    assert told in answer.err


def test_logits_and_weights_reach_the_fit(run, data, rows, tmp_path):
    for row in rows:
        for member in ("prob_1", "prob_2"):
            image = nib.load(data / row[member])
            probs = np.clip(np.asarray(image.dataobj, np.float64), 1e-12, 1 - 1e-12)
            row[f"logits_{member}"] = f"logits_{member}_{row['case']}.nii.gz"
            logits = np.log(probs / (1 - probs)).astype(np.float32)
            nib.save(nib.Nifti1Image(logits, image.affine), data / row[f"logits_{member}"])
    manifest = write_table(data / "logits.csv", rows)
    words = ("fit", "--manifest", manifest, "--probs-columns", "logits_*", "--method", "temperature", "-o")
    assert run(*words, "l.json", "--logits", "--weights", "3,1").code == 0
    direct = ("fit", "--manifest", manifest, "--probs-columns", "prob_*", "--method", "temperature", "-o")
    assert run(*direct, "p.json", "--weights", "3,1").code == 0
    assert run(*direct, "q.json").code == 0
    of_logits, of_probs, equal = (mrcalib.load(tmp_path / f"{n}.json").temperature_ for n in "lpq")
    assert of_logits == pytest.approx(of_probs, rel=1e-4)
    assert abs(of_probs / equal - 1) > 1e-3

    answer = run(*words, "x.json", "--quiet")
    assert answer.code == 3
    assert "Then read them with --logits" in answer.err
    answer = run(*direct, "x.json", "--logits")
    assert answer.code == 3
    assert "they are probabilities already. Read it without --logits" in answer.err
    answer = run(*direct, "x.json", "--weights", "1,2,3")
    assert answer.code == 3
    assert "has 2 members, --weights 1.0,2.0,3.0" in answer.err
