"""``--data``: a published data set as it lies on disk, with predictions beside it."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import mrcalib
from mrcalib.io import layout_info
from mrcalib.io.layouts.reading import LAYOUTS
from mrcalib.simulate import phantoms, write_curvas_pdacvi


@pytest.fixture(scope="session")
def pristine_pdacvi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pdacvi")
    write_curvas_pdacvi(folder, phantoms(3, (20, 20, 8), n_members=2, rng=0))
    return folder


@pytest.fixture
def pdacvi(pristine_pdacvi: Path, tmp_path: Path) -> Path:
    """Three cases, five raters of whom one is missing in the last, predictions of two members, coarse masks."""
    folder = Path(shutil.copytree(pristine_pdacvi, tmp_path / "pdacvi"))
    (folder / "training_set" / "CURVASPDAC_00003" / "annotation_4.nii.gz").unlink()
    return folder


def words(folder: Path) -> list[str]:
    return ["--data", str(folder), "--probs", f"{folder}/predictions/{{case}}_{{member}}.nii.gz"]


def test_names_are_those_of_the_library():
    assert [layout_info(name).name for name in LAYOUTS] == list(LAYOUTS)
    with pytest.raises(ValueError, match=", ".join(LAYOUTS)):
        layout_info("")


def test_compare_reads_a_data_set_and_says_what_it_found(run, pdacvi):
    coarse = f"{pdacvi}/coarse/{{case}}.nii.gz"
    answer = run(
        "compare", *words(pdacvi), "--coarse", coarse, "--methods", "none", "MHR", "--resamples", "20", "--no-figures"
    )
    assert answer.code == 0, answer.err
    assert "curvas-pdacvi, CURVAS-PDACVI 2025: 3 cases (3 training), 5 raters (PANORAMA, 2, 3, 4, 5)" in answer.err
    assert "rater 4 is missing, which is not an empty mask, in CURVASPDAC_00003" in answer.err
    assert "annotation_staple is no rater's mask or member: left out (3 cases)" in answer.err
    assert "no vessel files" in answer.err
    assert Path("results/calibrators/MHR.json").exists()


def test_quiet_says_nothing_of_it(run, pdacvi):
    answer = run("evaluate", *words(pdacvi), "--resamples", "20", "--quiet")
    assert (answer.code, answer.err) == (0, "")


def test_fit_and_apply_take_a_data_set_and_applying_needs_no_raters(run, pdacvi):
    answer = run("fit", *words(pdacvi), "-o", "c.json")
    assert answer.code == 0, answer.err
    for mask in (pdacvi / "training_set").rglob("annotation_*.nii.gz"):
        mask.unlink()
    answer = run("apply", "c.json", *words(pdacvi), "-o", "calibrated")
    assert answer.code == 0, answer.err
    assert sorted(path.name for path in Path("calibrated").glob("*.nii.gz")) == [
        f"CURVASPDAC_0000{k}.nii.gz" for k in (1, 2, 3)
    ]
    answer = run("fit", *words(pdacvi), "-o", "c.json")
    assert answer.code == 3
    assert "None of the 3 cases" in answer.err


def test_labels_are_read_as_the_data_set_has_them(run, tmp_path):
    for patient in ("A", "B"):
        (tmp_path / "gt" / patient).mkdir(parents=True)
        (tmp_path / "p").mkdir(exist_ok=True)
        for slot in range(4):
            mask = np.zeros((6, 6), np.uint8)
            mask[1:4, : 2 + slot] = 255
            Image.fromarray(mask).save(tmp_path / "gt" / patient / f"z_l{slot}.png")
        np.save(tmp_path / "p" / f"{patient}_z.npy", np.linspace(0, 1, 36, dtype=np.float32).reshape(6, 6))
    answer = run("evaluate", "--data", tmp_path, "--probs", "p/{case}.npy", "--metrics", "mr_ece", "--resamples", "20")
    assert answer.code == 0, answer.err
    assert "slots, not persons" in answer.err
    answer = run("evaluate", "--data", tmp_path, "--probs", "p/{case}.npy", "--positive", "7", "--metrics", "mr_ece",
                 "--max", "mr_ece=0.45")  # fmt: skip
    assert answer.code == 4  # nothing is foreground then: the mean probability is the error


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--raters", "x/{case}"], "--data and --raters exclude each other"),
        (["--manifest", "x.csv"], "--data and --manifest exclude each other"),
        (["--group", "(.)", "--vessels", "v/{case}"], "--data and --vessels, --group exclude each other"),
    ],
)
def test_what_the_layout_says_is_not_said_twice(run, pdacvi, extra, message):
    answer = run("compare", *words(pdacvi), *extra)
    assert answer.code == 2
    assert message in answer.err


def test_choosing_from_a_data_set_needs_one(run, templates):
    answer = run("compare", *templates, "--layout", "lidc", "--split", "testing")
    assert answer.code == 2
    assert "--layout, --split chooses from a data set; say where it is: --data FOLDER" in answer.err


def test_files_and_a_data_set_exclude_each_other(run, pdacvi):
    assert run("fit", *words(pdacvi), "-o", "c.json").code == 0
    answer = run("apply", "c.json", "x.nii.gz", "--data", pdacvi, "-o", "out")
    assert answer.code == 2
    assert "INPUT files and --data exclude each other" in answer.err


def test_a_folder_that_is_no_data_set_is_refused_in_the_words_of_the_command_line(run, pdacvi, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = run("compare", "--data", tmp_path / "empty", "--probs", "p/{case}.npy")
    assert answer.code == 3
    assert "none of the known layouts" in answer.err
    answer = run("compare", "--data", pdacvi, "--layout", "qubiq", "--probs", "p/{case}.npy")
    assert answer.code == 3
    assert "has not the layout 'qubiq'" in answer.err
    answer = run("compare", "--data", pdacvi)
    assert answer.code == 3
    assert "holds no predictions" in answer.err
    assert "--probs 'preds/{case}.nii.gz'" in answer.err


@pytest.fixture
def curvas_2024(tmp_path: Path) -> Path:
    """Three cases of three raters and four channels; every class is there."""
    rng = np.random.default_rng(0)
    blocks = np.zeros((8, 6, 4), int)
    blocks[1:3], blocks[3:5], blocks[5:7] = 1, 2, 3
    for case in ("UKCHLL001", "UKCHLL002", "UKCHLL003"):
        folder = tmp_path / "CURVAS" / "training_set" / "training_set" / case
        folder.mkdir(parents=True)
        (tmp_path / "p").mkdir(exist_ok=True)
        for rater in (1, 2, 3):
            labels = np.where(rng.random(blocks.shape) < 0.1, 0, blocks).astype(np.uint8)
            nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / f"annotation_{rater}.nii.gz")
        scores = rng.random((*blocks.shape, 4)) + 2 * np.eye(4)[blocks]
        probs = (scores / scores.sum(-1, keepdims=True)).astype(np.float32)
        nib.save(nib.Nifti1Image(probs, np.eye(4)), tmp_path / "p" / f"{case}.nii.gz")
    return tmp_path / "CURVAS"


def test_several_classes_are_those_of_the_data_set(run, curvas_2024):
    where = ("--data", curvas_2024, "--probs", "p/{case}.nii.gz")
    answer = run("fit", *where, "-o", "all.json")
    assert answer.code == 0, answer.err
    assert "several classes: --classes pancreas=1,kidney=2,liver=3" in answer.err
    assert set(mrcalib.load("all.json").classes_) == {"pancreas", "kidney", "liver"}
    answer = run("compare", *where, "--methods", "none", "MHR", "--resamples", "20", "--no-figures")
    assert answer.code == 0, answer.err
    assert Path("results/liver/calibrators/MHR.json").exists()
    answer = run("fit", *where, "--positive", "3", "--foreground", "3", "-o", "liver.json")
    assert answer.code == 0, answer.err
    assert type(mrcalib.load("liver.json")).__name__ == "CaseAdaptiveCalibrator"


def test_the_protocol_of_a_data_set_is_named_and_scores_it(run, curvas_2024):
    where = ("--data", curvas_2024, "--probs", "p/{case}.nii.gz")
    answer = run("evaluate", *where, "--protocol", "curvas-2024", "--resamples", "20")
    assert answer.code == 0, answer.err
    answer = run("evaluate", *where, "--positive", "3", "--foreground", "3", "--resamples", "20")
    assert answer.code == 0, answer.err
    assert "scores these cases by --protocol curvas-2024" in answer.err


def test_vessels_and_their_labels_are_those_of_the_protocol(run, tmp_path):
    from mrcalib.protocols._invasion import OFFICIAL_VESSELS

    assert dict(layout_info("curvas-pdacvi").vessel_labels) == OFFICIAL_VESSELS
    write_curvas_pdacvi(tmp_path / "v", phantoms(2, (16, 16, 6), n_members=1, vessels=True, rng=0))
    answer = run("evaluate", *words(tmp_path / "v"), "--metrics", "mr_ece", "--resamples", "20")
    assert answer.code == 0, answer.err
    assert "vessels in 2 of 2 cases" in answer.err
