"""``--classes`` on compare, fit and apply, end to end on multi-channel files."""

import json
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import mrcalib
from mrcalib.cli._inputs import classes
from mrcalib.io import Case, LoadOptions, parts
from mrcalib.metrics import multiclass_report

SHAPE = (8, 9, 10)
AFFINE = np.diag([-2.0, 1.5, 3.0, 1.0])
ORGANS = "pancreas=1,liver=3:2"
LABELS = {"pancreas": 1, "liver": 3}
CHANNEL = {"pancreas": 1, "liver": 2}
N_CASES = 4


def save(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)


@pytest.fixture
def organs(tmp_path):
    """Four cases with three channels (background, pancreas, liver) and three raters; the last case lacks one."""
    rng = np.random.default_rng(0)
    shift = np.stack(np.meshgrid(*(np.linspace(-2, 2, n) for n in SHAPE), indexing="ij"))
    for number in range(1, N_CASES + 1):
        logits = np.stack([np.zeros(SHAPE), 2 * shift[0] - 1, 2 * shift[1] - 1], axis=-1)
        logits += rng.normal(size=logits.shape)
        sharp = np.exp(1.5 * logits)
        probs = (sharp / sharp.sum(axis=-1, keepdims=True)).astype(np.float32)
        save(tmp_path / f"preds/c{number}.nii.gz", probs)
        soft = np.exp(logits - 0.5 * np.array([0, 1, 1]))
        edges = np.cumsum(soft / soft.sum(axis=-1, keepdims=True), axis=-1)
        level = rng.random(SHAPE)
        for rater in range(1, 4 if number < N_CASES else 3):
            answer = (np.clip(level + 0.1 * rng.normal(size=SHAPE), 0, 0.999)[..., np.newaxis] > edges).sum(axis=-1)
            save(tmp_path / f"labels/c{number}_{rater}.nii.gz", np.array([0, 1, 3], np.uint8)[answer.clip(max=2)])
    return (
        "--probs", "preds/{case}.nii.gz", "--raters", "labels/{case}_{rater}.nii.gz", "--classes", ORGANS,
        "--no-agreement-check",
    )  # fmt: skip


def volume(path):
    return np.asarray(nib.load(path).dataobj)


def test_fit_writes_one_file_of_all_classes(run, organs, tmp_path):
    answer = run("fit", *organs, "-o", "organs.json", "--tallies", "tallies", "--figure", "map.png")
    assert answer.code == 0, answer.err
    together = mrcalib.load(tmp_path / "organs.json")
    assert (together.classes_, together.channels_) == (LABELS, CHANNEL)
    cases = mrcalib.io.discover("preds/{case}.nii.gz", "labels/{case}_{rater}.nii.gz")
    for name, label in LABELS.items():
        options = LoadOptions(foreground=(CHANNEL[name],), positive=(label,), check_agreement=False)
        alone = mrcalib.MHRIsotonicCalibrator().fit_cases(cases, options=options)
        assert together.calibrators_[name].map_ == alone.map_
        assert len(list((tmp_path / "tallies" / name).glob("*.npz"))) == N_CASES
    api = mrcalib.OneVsRestCalibrator(classes=LABELS)
    api.fit_cases(cases, channels=CHANNEL, options=LoadOptions(check_agreement=False))
    for name in LABELS:
        assert api.calibrators_[name].map_ == together.calibrators_[name].map_
    assert "liver: label 3, channel 2" in answer.out
    assert (tmp_path / "map.png").stat().st_size > 1000
    told = json.loads(run("fit", *organs, "-o", "exact.json", "--binning", "exact", "--json").out)
    assert list(told["classes"]) == list(LABELS)
    assert mrcalib.load(tmp_path / "exact.json").calibrators_["liver"].binning == "exact"


def test_apply_writes_a_map_for_each_class_and_the_labels(run, organs, tmp_path):
    run("fit", *organs, "-o", "organs.json")
    words = ("apply", "organs.json", "--probs", "preds/{case}.nii.gz", "-o", "out", "--normalize", "--argmax")
    answer = run(*words)
    assert answer.code == 0, answer.err
    together = mrcalib.load(tmp_path / "organs.json")
    for number in range(1, N_CASES + 1):
        probs = np.moveaxis(volume(tmp_path / f"preds/c{number}.nii.gz"), -1, 0)
        kept, normalized = together(probs), together(probs, normalize=True)
        for position, name in enumerate(LABELS, start=1):
            assert np.array_equal(volume(tmp_path / f"out/c{number}_{name}.nii.gz"), kept[position])
            again = volume(tmp_path / f"out/c{number}_{name}_normalized.nii.gz")
            assert np.array_equal(again, normalized[position])
        labels = nib.load(tmp_path / f"out/c{number}_labels.nii.gz")
        assert labels.get_data_dtype() == np.uint8
        assert np.array_equal(labels.affine, AFFINE)
        assert np.array_equal(np.asarray(labels.dataobj), together.predict(probs))
        assert set(np.unique(together.predict(probs))) == {0, 1, 3}

    assert "4 cases: 4 unchanged" in run(*words).err
    rows = json.loads(run(*words[:-2], "--json").out)
    assert {row["status"] for row in rows} == {"calibrated"}
    assert rows[0]["labels"] is None
    assert "4 cases: 4 calibrated" in run(*words).err  # they are known to be its own

    (tmp_path / "out/c1_classes.json").unlink()
    answer = run(*words)
    assert answer.code == 3
    assert "c1_pancreas.nii.gz exists, and mrcalib apply did not make it" in answer.err
    assert run(*words, "--overwrite").code == 0


def test_apply_takes_the_map_of_the_region_of_interest(run, organs, tmp_path):
    run("fit", *organs, "-o", "organs.json")
    together = mrcalib.load(tmp_path / "organs.json")
    rng = np.random.default_rng(4)
    probs = rng.random(40_000) * np.repeat(rng.uniform(0.1, 1, 40), 1000)
    adaptive = mrcalib.CaseAdaptiveCalibrator(volume="segmenter")
    adaptive.fit(probs, rng.random((3, probs.size)) < probs, groups=np.repeat(np.arange(40), 1000))
    together.calibrators_ = dict.fromkeys(LABELS, adaptive)
    together.save(tmp_path / "adaptive.json")
    roi = np.zeros(SHAPE, np.uint8)
    roi[2:5] = 1
    save(tmp_path / "rois/c1.nii.gz", roi)
    words = "apply", "adaptive.json", "preds/c1.nii.gz", "--roi", "rois/{case}.nii.gz", "-o", "out"
    answer = run(*words)
    assert answer.code == 0, answer.err
    liver = volume(tmp_path / "preds/c1.nii.gz")[..., CHANNEL["liver"]]
    written = volume(tmp_path / "out/c1_liver.nii.gz")
    assert np.array_equal(written, adaptive.map_for(liver[roi == 1])(liver))
    assert not np.array_equal(written, adaptive(liver))


def test_apply_takes_other_channels_and_zero_outside(run, organs, tmp_path):
    run("fit", *organs, "-o", "organs.json")
    source = volume(tmp_path / "preds/c1.nii.gz")
    save(tmp_path / "new/c1.nii.gz", source[..., [0, 2, 1]])
    roi = np.zeros(SHAPE, np.uint8)
    roi[2:5] = 1
    save(tmp_path / "rois/c1.nii.gz", roi)
    answer = run(
        "apply", "organs.json", "new/c1.nii.gz", "-o", "out", "--classes", "pancreas=1:2,liver=3:1",
        "--roi", "rois/{case}.nii.gz", "--outside", "zero", "--argmax",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    kept = mrcalib.load(tmp_path / "organs.json")(np.moveaxis(source, -1, 0))
    assert np.array_equal(volume(tmp_path / "out/c1_liver.nii.gz"), np.where(roi, kept[2], 0))
    assert not volume(tmp_path / "out/c1_labels.nii.gz")[roi == 0].any()
    answer = run("apply", "organs.json", "new/c1.nii.gz", "-o", "two", "--classes", "pancreas=1,liver=2")
    assert answer.code == 2
    assert "which are pancreas=1,liver=3; only channels may differ" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "one.nii.gz"), "makes one for each of its classes; give a folder"),
        (("-o", "out", "--foreground", "1"), "--foreground does not go with several classes"),
    ],
)
def test_apply_refuses_what_does_not_go_with_classes(run, organs, words, message):
    run("fit", *organs, "-o", "organs.json")
    answer = run("apply", "organs.json", "preds/c1.nii.gz", *words)
    assert answer.code == 2
    assert message in answer.err


def test_apply_never_overwrites_an_input_or_makes_a_file_twice(run, organs, tmp_path):
    run("fit", *organs, "-o", "organs.json")
    (tmp_path / "preds/c1.nii.gz").rename(tmp_path / "preds/c2_liver.nii.gz")
    answer = run("apply", "organs.json", "--probs", "preds/{case}.nii.gz", "-o", "preds")
    assert answer.code == 2
    assert "would overwrite an input" in answer.err
    (tmp_path / "preds/c2_liver.nii.gz").rename(tmp_path / "preds/c2_liver_normalized.nii.gz")


def test_a_calibrator_of_one_class_does_not_take_the_options(run, organs):
    assert run("fit", "--probs", "preds/{case}.nii.gz", "--raters", "labels/{case}_{rater}.nii.gz", "--foreground", "1",
               "--positive", "1", "--no-agreement-check", "-o", "one.json").code == 0  # fmt: skip
    answer = run("apply", "one.json", "preds/c1.nii.gz", "--foreground", "1", "-o", "out", "--argmax")
    assert answer.code == 2
    assert "--argmax needs a calibrator of several classes" in answer.err


FEW = ("--methods", "none", "MHR", "--metrics", "mr_ece", "brier", "--resamples", "20", "--no-figures")


def test_compare_makes_a_comparison_a_class_and_scores_all_together(run, organs, tmp_path):
    answer = run("compare", *organs, *FEW)
    assert answer.code == 0, answer.err
    out = tmp_path / "results"
    for name in LABELS:
        assert (out / name / "table_mean.csv").exists()
        assert len(list((out / "tallies" / name).glob("*.npz"))) == N_CASES
    means = pd.read_csv(out / "classes.csv")
    assert set(means["method"]) == {"none", "MHR"}
    assert set(means["class"]) == {*LABELS, "all classes"}
    assert (means["n_cases"] == N_CASES).all()

    by_case = pd.read_csv(out / "classes_per_case.csv")
    cases = mrcalib.io.discover("preds/{case}.nii.gz", "labels/{case}_{rater}.nii.gz")
    others = mrcalib.OneVsRestCalibrator(classes=LABELS).fit_cases(
        cases[1:], channels=CHANNEL, options=LoadOptions(check_agreement=False)
    )
    probs = np.moveaxis(volume(tmp_path / "preds/c1.nii.gz"), -1, 0)
    raters = [volume(tmp_path / f"labels/c1_{r}.nii.gz") for r in (1, 2, 3)]
    for method, maps in (("MHR", others(probs)), ("none", probs)):
        expected = multiclass_report(maps, raters, LABELS, voxel_volume=0.009)
        told = by_case[(by_case["case"] == "c1") & (by_case["method"] == method)]
        assert told["metric"].tolist() == expected["metric"].tolist()
        assert told["kept"].tolist() == pytest.approx(expected["kept"].tolist(), rel=1e-5, abs=1e-9)
        assert told["renormalised"].tolist() == pytest.approx(expected["renormalised"].tolist(), rel=1e-5, abs=1e-9)

    fitted = mrcalib.load(out / "calibrators" / "MHR.json")
    everyone = mrcalib.OneVsRestCalibrator(classes=LABELS).fit_cases(
        cases, channels=CHANNEL, options=LoadOptions(check_agreement=False)
    )
    assert fitted.channels_ == CHANNEL
    assert np.array_equal(fitted(probs), everyone(probs))
    assert "=== pancreas ===" in answer.out
    assert "=== all classes together ===" in answer.out
    assert "top-label ECE" in answer.out
    assert (out / "command.txt").exists()

    told = json.loads(run("compare", *organs, *FEW, "--json", "--cv", "none").out)
    assert list(told["classes"]) == list(LABELS)
    assert {row["class"] for row in told["together"]} == {*LABELS, "all classes"}


def test_a_case_that_is_no_softmax_is_told_and_the_others_go_on(run, organs, tmp_path):
    spoiled = tmp_path / "preds/c2.nii.gz"
    save(spoiled, np.clip(volume(spoiled) * 2, 0, 1))
    stray = tmp_path / "labels/c3_1.nii.gz"
    save(stray, np.where(volume(stray) == 3, 2, volume(stray)).astype(np.uint8))
    answer = run("compare", *organs, *FEW)
    assert answer.code == 3
    assert "2 of 4 cases could not be used" in answer.err
    assert "regions that may overlap" in answer.err
    assert "it holds 2, which no class names" in answer.err
    assert set(pd.read_csv(tmp_path / "results" / "classes_per_case.csv")["case"]) == {"c1", "c4"}
    answer = run("fit", *organs, "-o", "organs.json")
    assert answer.code == 3
    assert mrcalib.load(tmp_path / "organs.json").provenance_["cases"] == ["c1", "c4"]


def test_nothing_usable_is_an_error(run, organs):
    answer = run("fit", *organs[:-3], "--classes", "pancreas=1", "-o", "organs.json")
    assert answer.code == 3
    assert "None of the 4 cases could be tallied" in answer.err


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_options_that_exclude_classes_are_refused(run, organs, command):
    out = ("-o", "organs.json") if command == "fit" else ()
    for extra in (("--foreground", "1"), ("--positive", "1"), ("--merge", "max")):
        answer = run(command, *organs, *extra, *out)
        assert answer.code == 2
        assert "does not go with several classes" in answer.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pancreas", "expected name=label"),
        ("a=0", "labels from 1 on"),
        ("a=1,a=2", "name of its own"),
        ("a=1,b=1", "label of its own"),
        ("a=1,b=2:1", "channel of its own"),
        ("../a=1", "expected name=label"),
        ("tallies=1", "cannot be called 'tallies'"),
        ("", "expected name=label"),
    ],
)
def test_wrong_classes_are_usage_errors(run, organs, text, message):
    answer = run("fit", *organs[:4], "--classes", text, "-o", "o.json")
    assert answer.code == 2
    assert message in answer.err


def test_classes_are_read_in_ascending_order_of_label():
    assert classes("liver=3:5, pancreas=1") == (("pancreas", 1, 1), ("liver", 3, 5))


def test_arrays_in_memory_are_sent_to_fit(organs):
    case = Case("A", np.zeros(SHAPE, np.float32), [np.zeros(SHAPE, np.uint8)])
    with pytest.raises(ValueError, match="say which axis does, for example channel_axis=0"):
        mrcalib.OneVsRestCalibrator(classes=LABELS).fit_cases([case])


@pytest.mark.parametrize(
    ("words", "n_readings"),
    [
        (("fit", "-o", "organs.json", "--tallies", "tallies"), 1),
        (("fit", "-o", "organs.json", "--binning", "exact"), 2),
        (("compare", "--methods", "none", "MHR", "--resamples", "20", "--out", "results"), 2),
        (("compare", "--methods", "none", "MHR", "--resamples", "20", "--out", "results", "--cv", "none"), 2),
    ],
)
def test_each_file_is_read_once_for_all_classes_and_once_more_to_fit_or_score_voxels(
    run, organs, monkeypatch, words, n_readings
):
    read = Counter()
    opened = parts.open_image

    def counted(path, **options):
        read[Path(path).name] += 1
        return opened(path, **options)

    monkeypatch.setattr(parts, "open_image", counted)
    assert run(words[0], *organs, *words[1:]).code == 0
    names = {path.name for folder in ("preds", "labels") for path in Path(folder).iterdir()}
    assert read == dict.fromkeys(names, n_readings)


def test_classes_of_arrays_without_a_header_say_which_axis_counts_them(run, organs, tmp_path):
    for path in sorted((tmp_path / "preds").iterdir()):
        np.save(path.with_name(path.name.replace(".nii.gz", ".npy")), np.moveaxis(volume(path), -1, 0))
    for path in sorted((tmp_path / "labels").iterdir()):
        np.save(path.with_name(path.name.replace(".nii.gz", ".npy")), volume(path))
    bare = ("--probs", "preds/{case}.npy", "--channel-axis", "0")
    raters = ("--raters", "labels/{case}_{rater}.npy", "--classes", ORGANS, "--no-agreement-check")
    assert run("fit", *organs, "-o", "header.json").code == 0
    assert run("fit", *bare, *raters, "-o", "bare.json").code == 0
    with_header, without = (mrcalib.load(tmp_path / name) for name in ("header.json", "bare.json"))
    for name in LABELS:
        assert with_header.calibrators_[name].map_ == without.calibrators_[name].map_
    answer = run("apply", "bare.json", *bare, "-o", "out", "--argmax")
    assert answer.code == 0, answer.err
    probs = np.load(tmp_path / "preds/c1.npy")
    assert np.array_equal(np.load(tmp_path / "out/c1_liver.npy"), without(probs)[2])
    assert np.array_equal(np.load(tmp_path / "out/c1_labels.npy"), without.predict(probs))
