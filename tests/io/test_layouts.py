"""Published data sets as they lie on disk: miniatures of each, with the junk, the gaps and the faults of the real ones."""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mrcalib.exceptions import GeometryError
from mrcalib.io import Case, LoadOptions, layout_info, read_layout, recognise_layout, scan_layout
from mrcalib.simulate import phantoms, write_curvas_pdacvi

SHAPE = (8, 7, 5)
SPACING = (0.8, 0.8, 2.0)


def write(path: Path, data: np.ndarray, spacing: tuple[float, ...] = SPACING) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([*spacing, 1.0][-4:])), path)
    return path


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def mask(seed: int, labels: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, labels + 1, SHAPE).astype(np.uint8)


def predict(folder: Path, *names: str, suffix: str = ".nii.gz") -> str:
    for seed, name in enumerate(names):
        probs = np.random.default_rng(seed).random(SHAPE).astype(np.float32)
        write(folder / f"{name}{suffix}", probs)
    return f"{folder}/{{case}}{suffix}"


def junk(folder: Path) -> None:
    """What archives made on a Mac, and file managers, leave behind."""
    inside = next(path for path in folder.rglob("*") if path.is_dir() and any(p.is_file() for p in path.iterdir()))
    touch(
        folder / "__MACOSX" / inside.name / "._annotation_1.nii.gz",
        folder / "__MACOSX" / inside.name / "annotation_1.nii.gz",
        folder / ".DS_Store",
        inside / ".DS_Store",
        inside / "._annotation_9.nii.gz",
        inside / "Thumbs.db",
        folder / "README.md",
    )


@pytest.fixture
def curvas_2024(tmp_path: Path) -> Path:
    """Two training cases nested twice, one for validation; masks as float with NIfTI scaling; one rater missing."""
    root = tmp_path / "CURVAS"
    for number, (split, case) in enumerate(
        [
            ("training_set/training_set", "UKCHLL001"),
            ("training_set/training_set", "UKCHLL010"),
            ("validation_set", "UKCHLL002"),
        ]
    ):
        folder = root / split / case
        write(folder / "image.nii.gz", np.zeros(SHAPE, np.int16))
        for rater in (1, 2, 3):
            if (case, rater) != ("UKCHLL010", 2):
                write(folder / f"annotation_{rater}.nii.gz", mask(10 * number + rater, 3))
    junk(root)
    return root


def test_curvas_2024_is_found_nested_and_split_with_missing_raters(curvas_2024):
    assert recognise_layout(curvas_2024) == "curvas-2024"
    found = scan_layout(curvas_2024)
    assert [(case.id, case.split) for case in found.cases] == [
        ("UKCHLL001", "training"),
        ("UKCHLL002", "validation"),
        ("UKCHLL010", "training"),
    ]
    assert found.rater_names == ("1", "2", "3")
    assert found.cases[2].raters["2"] is None
    assert found.cases[0].raters["3"] == curvas_2024 / "training_set/training_set/UKCHLL001/annotation_3.nii.gz"
    assert found.cases[0].image.name == "image.nii.gz"
    assert found.info.classes == {"pancreas": 1, "kidney": 2, "liver": 3}
    assert found.positive is None
    told = found.describe()
    assert told[0] == "curvas-2024, CURVAS 2024: 3 cases (2 training, 1 validation), 3 raters (1, 2, 3)"
    assert "rater 2 is missing, which is not an empty mask, in UKCHLL010" in told


def test_a_split_can_be_chosen_by_name_or_by_folder(curvas_2024):
    chosen = scan_layout(curvas_2024, split="training")
    assert [case.id for case in chosen.cases] == ["UKCHLL001", "UKCHLL010"]
    inner = scan_layout(curvas_2024 / "training_set")
    assert [case.id for case in inner.cases] == ["UKCHLL001", "UKCHLL010"]
    one = scan_layout(curvas_2024 / "validation_set" / "UKCHLL002")
    assert [(case.id, case.split) for case in one.cases] == [("UKCHLL002", "validation")]
    with pytest.raises(ValueError, match=r"got 'testing', there is training \(2 cases\), validation \(1 cases\)"):
        scan_layout(curvas_2024, split="testing")


def test_a_class_is_read_through_a_scaled_header(tmp_path, curvas_2024):
    folder = curvas_2024 / "validation_set" / "UKCHLL002"
    labels = mask(5, 3)
    image = nib.Nifti1Image(labels.astype(np.float32), np.diag([*SPACING, 1.0]))
    image.set_data_dtype(np.int16)
    nib.save(image, folder / "annotation_1.nii.gz")
    assert nib.load(folder / "annotation_1.nii.gz").dataobj.slope < 0.01
    (case,) = read_layout(curvas_2024, split="validation", probs=predict(tmp_path / "preds", "UKCHLL002"))
    loaded = case.load(options=LoadOptions(positive=(3,), check_agreement=False))
    np.testing.assert_array_equal(loaded.raters[0], labels == 3)


def test_a_mask_with_a_wrong_header_is_taken_by_index_with_a_warning(tmp_path):
    folder = tmp_path / "testing_set" / "UKCHLL007"
    masks = [mask(k, 3) for k in range(3)]
    for k, labels in enumerate(masks, start=1):
        write(folder / f"annotation_{k}.nii.gz", labels, (0.7, 0.7, 1.0) if k == 2 else (1.0, 1.0, 1.0))
    write(tmp_path / "preds" / "UKCHLL007.nii.gz", np.full(SHAPE, 0.5, np.float32), (1.0, 1.0, 1.0))
    found = scan_layout(tmp_path)
    assert [d.rater for d in found.defects] == ["2"]
    assert any("UKCHLL007, rater 2" in line and "by index" in line for line in found.describe())
    (case,) = found.with_predictions(f"{tmp_path}/preds/{{case}}.nii.gz")
    assert case.index_aligned == ("2",)
    options = LoadOptions(positive=(1,), check_agreement=False)
    with pytest.warns(UserWarning, match=r"header of rater '2' .* of case 'UKCHLL007' is known to be wrong.*0\.7"):
        loaded = case.load(options=options)
    np.testing.assert_array_equal(loaded.raters[1], masks[1] == 1)
    assert loaded.spacing == (1.0, 1.0, 1.0)

    write(folder / "annotation_2.nii.gz", masks[1], (1.0, 1.0, 1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        case.load(options=options)

    write(folder / "annotation_3.nii.gz", masks[2], (0.7, 0.7, 1.0))
    with pytest.raises(GeometryError, match="rater '3'"):
        case.load(options=options)
    write(folder / "annotation_2.nii.gz", masks[1][:-1], (1.0, 1.0, 1.0))
    with pytest.raises(GeometryError, match="shape"):
        case.load(options=options)


def test_the_case_without_a_pancreas_is_named(tmp_path):
    touch(*(tmp_path / "UKCHLL082" / f"annotation_{k}.nii.gz" for k in (1, 2, 3)))
    found = scan_layout(tmp_path)
    assert any("UKCHLL082, rater 3" in line and "no pancreas" in line for line in found.describe())
    assert found.cases[0].index_aligned == ()
    (tmp_path / "UKCHLL082" / "annotation_3.nii.gz").unlink()
    assert not scan_layout(tmp_path).defects


def test_a_faulty_mask_that_is_not_there_needs_no_remedy(tmp_path):
    touch(*(tmp_path / "UKCHLL007" / f"annotation_{k}.nii.gz" for k in (1, 3)))
    found = scan_layout(tmp_path)
    assert found.cases[0].index_aligned == ()
    predict(tmp_path / "preds", "UKCHLL007")
    assert found.with_predictions(f"{tmp_path}/preds/{{case}}.nii.gz")[0].rater_names == ("1", "3")


def test_a_wrong_header_never_gives_the_geometry(save):
    probs, votes = np.full(SHAPE, 0.5, np.float32), mask(1)
    wrong = save("wrong.nii.gz", votes, np.diag([0.7, 0.7, 1.0, 1.0]))
    right = save("right.nii.gz", votes, np.diag([1.0, 1.0, 1.0, 1.0]))
    alone = Case("A", probs, {"a": wrong}, index_aligned=("a",)).load()
    assert alone.geometry is None
    assert alone.voxel_volume_ml is None
    np.testing.assert_array_equal(alone.raters[0], votes)
    both = Case("A", probs, {"a": wrong, "b": right}, index_aligned=("a",)).load()
    assert both.spacing == (1.0, 1.0, 1.0)


def test_index_alignment_names_raters_and_is_part_of_the_fingerprint():
    array = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"index_aligned of case 'A' must name raters \(x\); got y"):
        Case("A", array, {"x": array}, index_aligned=("y",))
    assert (
        Case("A", array, {"x": array}, index_aligned=("x",)).fingerprint()
        != Case("A", array, {"x": array}).fingerprint()
    )


@pytest.fixture
def pdacvi(tmp_path: Path) -> Path:
    """Two cases: one complete, float64 masks, vessels; one lacks rater 4, vessels and has another annotation."""
    root = tmp_path / "PDACVI"
    for number, case in enumerate(("CURVASPDAC_00003", "CURVASPDAC_00029")):
        folder = root / case
        write(folder / "image.nii.gz", np.zeros(SHAPE, np.int16))
        write(folder / "annotation_staple.nii.gz", mask(99))
        for rater in range(1, 6):
            if (number, rater) != (1, 4):
                dtype = (np.float64, np.int32)[number]
                write(folder / f"annotation_{rater}.nii.gz", mask(rater).astype(dtype))
    write(root / "CURVASPDAC_00003" / "CURVASPDAC_00003_Vascular_seg.nii.gz", mask(0, 5))
    touch(root / "CURVASPDAC_00029" / "annotation_6.nii.gz")
    junk(root)
    return root


def test_pdacvi_has_five_raters_vessels_and_no_consensus(pdacvi):
    assert recognise_layout(pdacvi) == "curvas-pdacvi"
    found = scan_layout(pdacvi)
    assert found.rater_names == ("PANORAMA", "2", "3", "4", "5")
    first, second = found.cases
    assert first.raters["PANORAMA"].name == "annotation_1.nii.gz"
    assert first.vessels.name == "CURVASPDAC_00003_Vascular_seg.nii.gz"
    assert second.raters["4"] is None
    assert second.vessels is None
    paths = {path for case in found.cases for path in case.raters.values() if path}
    assert len(paths) == 9
    assert not any("staple" in path.name for path in paths)
    told = found.describe()
    assert "vessels in 1 of 2 cases, none in CURVASPDAC_00029" in told
    assert "annotation_staple is no rater's mask or member: left out (2 cases)" in told
    assert "annotation_6 is no rater's mask or member: left out (1 cases)" in told
    assert found.info.protocol == "curvas-pdacvi"
    assert list(found.info.vessel_labels.values()) == [1, 2, 3, 4, 5]


def test_pdacvi_with_predictions_loads(pdacvi, tmp_path):
    names = [f"{case}_{k}" for case in ("CURVASPDAC_00003", "CURVASPDAC_00029") for k in (1, 2)]
    predict(tmp_path / "preds", *names)
    cases = read_layout(pdacvi, probs=f"{tmp_path}/preds/{{case}}_{{member}}.nii.gz")
    assert [len(case.members) for case in cases] == [2, 2]
    assert [case.group for case in cases] == ["CURVASPDAC_00003", "CURVASPDAC_00029"]
    loaded = cases[0].load(options=LoadOptions(check_agreement=False))
    np.testing.assert_array_equal(loaded.raters[2], mask(3))
    assert loaded.vessels.max() == 5
    assert cases[1].load(options=LoadOptions(check_agreement=False)).raters[3] is None


def test_coarse_masks_and_regions_go_along(pdacvi, tmp_path):
    probs = predict(tmp_path / "preds", "CURVASPDAC_00003", "CURVASPDAC_00029")
    for role in ("coarse", "roi"):
        for case in ("CURVASPDAC_00003", "CURVASPDAC_00029"):
            write(tmp_path / role / f"{case}.nii.gz", mask(1))
    extras = {role: f"{tmp_path}/{role}/{{case}}.nii.gz" for role in ("coarse", "roi")}
    case = read_layout(pdacvi, probs=probs, **extras)[1]
    assert Path(case.coarse).parts[-2:] == ("coarse", "CURVASPDAC_00029.nii.gz")
    assert Path(case.roi).parts[-2:] == ("roi", "CURVASPDAC_00029.nii.gz")
    (tmp_path / "coarse" / "CURVASPDAC_00029.nii.gz").unlink()
    with pytest.raises(ValueError, match="1 cases have no coarse: CURVASPDAC_00029"):
        read_layout(pdacvi, probs=probs, **extras)


def test_two_vessel_files_are_not_chosen_between(pdacvi):
    touch(pdacvi / "CURVASPDAC_00003" / "vessels.nii.gz")
    with pytest.raises(ValueError, match=r"CURVASPDAC_00003 has 2 images named after vessels \(.*vessels\.nii\.gz"):
        scan_layout(pdacvi)


def test_without_any_vessels_it_is_said(tmp_path):
    touch(*(tmp_path / "CURVASPDAC_00001" / f"annotation_{k}.nii.gz" for k in range(1, 6)))
    assert any(line.startswith("no vessel files") for line in scan_layout(tmp_path).describe())


def test_a_data_set_holds_no_predictions_and_says_what_to_give(pdacvi):
    with pytest.raises(ValueError, match=r"holds no predictions.*probs='preds/\{case\}\.nii\.gz'"):
        read_layout(pdacvi)


def test_cases_and_predictions_that_do_not_meet_are_named(pdacvi, tmp_path):
    template = predict(tmp_path / "preds", "CURVASPDAC_00003", "CURVASPDAC_00777")
    with pytest.warns(UserWarning, match="left out") as told:
        cases = read_layout(pdacvi, probs=template)
    assert [case.id for case in cases] == ["CURVASPDAC_00003"]
    words = " ".join(str(warning.message) for warning in told)
    assert "1 cases have no prediction, and are left out: CURVASPDAC_00029" in words
    assert "not in the data set, and are left out: CURVASPDAC_00777" in words
    assert len(told) == 2
    other = predict(tmp_path / "other", "patient1")
    with pytest.raises(ValueError, match=r"No prediction belongs to a case: .* gives patient1, .* CURVASPDAC_00003"):
        read_layout(pdacvi, probs=other)


def test_cases_without_raters_are_for_applying_only(tmp_path):
    touch(tmp_path / "d" / "CURVASPDAC_00001" / "image.nii.gz", tmp_path / "d" / "CURVASPDAC_00002" / "image.nii.gz")
    probs = predict(tmp_path / "preds", "CURVASPDAC_00001", "CURVASPDAC_00002")
    with pytest.raises(ValueError, match=r"None of the 2 cases .* has a rater's mask"):
        read_layout(tmp_path / "d", probs=probs)
    cases = read_layout(tmp_path / "d", probs=probs, raters=False)
    assert [dict(case.masks) for case in cases] == [{}, {}]

    touch(tmp_path / "d" / "CURVASPDAC_00002" / "annotation_1.nii.gz")
    with pytest.warns(UserWarning, match="1 cases have no rater's mask, and are left out: CURVASPDAC_00001"):
        cases = read_layout(tmp_path / "d", probs=probs)
    assert [case.id for case in cases] == ["CURVASPDAC_00002"]
    assert scan_layout(tmp_path / "d").describe()[1:3] == [
        "no rater's mask in CURVASPDAC_00001",
        "no mask of rater 2, 3, 4, 5 in any case",
    ]


def test_phantoms_in_the_layout_are_read_as_a_data_set(tmp_path):
    cases = list(phantoms(2, (16, 14, 6), n_members=2, rng=0))
    write_curvas_pdacvi(tmp_path, cases)
    read = read_layout(
        tmp_path,
        probs=f"{tmp_path}/predictions/{{case}}_{{member}}.nii.gz",
        coarse=f"{tmp_path}/coarse/{{case}}.nii.gz",
    )
    assert [case.id for case in read] == ["CURVASPDAC_00001", "CURVASPDAC_00002"]
    for one, phantom in zip(read, cases, strict=True):
        loaded = one.load()
        np.testing.assert_array_equal(np.stack(loaded.raters), phantom.raters)
        np.testing.assert_allclose(loaded.probs, phantom.members.mean(0), atol=1e-6)


@pytest.fixture
def qubiq(tmp_path: Path) -> Path:
    """Prostate (two tasks, six raters, one subject with five) and kidney (one task), 2020's form; 2-D images."""
    root = tmp_path / "QUBIQ"
    data = np.eye(6, dtype=np.uint8)
    for case, split in (("case01", "Training"), ("case02", "Training"), ("case10", "Validation")):
        folder = root / "prostate" / split / case
        write(folder / "image.nii.gz", np.zeros((6, 6), np.float32))
        for task in (1, 2):
            for rater in range(1, 7):
                if (case, rater) != ("case02", 6):
                    write(folder / f"task{task:02d}_seg{rater:02d}.nii.gz", data)
    for rater in (1, 2, 3):
        write(root / "kidney" / "Training" / "case01" / f"task01_seg{rater:02d}.nii.gz", data)
    junk(root)
    return root


def test_qubiq_wants_one_task(qubiq):
    assert recognise_layout(qubiq) == "qubiq"
    with pytest.raises(
        ValueError, match=r"several tasks, kidney/task01, prostate/task01, prostate/task02: .*Choose one"
    ):
        scan_layout(qubiq)
    with pytest.raises(ValueError, match="several tasks, prostate/task01, prostate/task02"):
        scan_layout(qubiq, task="prostate")
    with pytest.raises(ValueError, match=r"no task 'heart'; there is kidney/task01, prostate/task01"):
        scan_layout(qubiq, task="heart")
    kidney = scan_layout(qubiq, task="kidney")
    assert [case.task for case in kidney.cases] == ["kidney/task01"]
    assert scan_layout(qubiq / "kidney").rater_names == ("1", "2", "3")


def test_qubiq_s_sixth_rater_is_missing_not_empty(qubiq, tmp_path):
    found = scan_layout(qubiq, task="prostate/task02")
    assert [(case.id, case.split) for case in found.cases] == [
        ("case01", "training"),
        ("case02", "training"),
        ("case10", "validation"),
    ]
    assert found.rater_names == ("1", "2", "3", "4", "5", "6")
    assert found.cases[1].raters["6"] is None
    assert found.cases[0].raters["6"].name == "task02_seg06.nii.gz"
    assert found.describe()[:2] == [
        "qubiq, QUBIQ 2020 and 2021: 3 cases (prostate/task02; 2 training, 1 validation), 6 raters (1, 2, 3, 4, 5, 6)",
        "rater 6 is missing, which is not an empty mask, in case02",
    ]
    for case in ("case01", "case02", "case10"):
        write(tmp_path / "p" / f"{case}.nii.gz", np.full((6, 6), 0.25, np.float32))
    cases = read_layout(qubiq, task="prostate/task02", probs=f"{tmp_path}/p/{{case}}.nii.gz")
    loaded = cases[1].load()
    assert [rater is None for rater in loaded.raters] == [False] * 5 + [True]
    np.testing.assert_array_equal(loaded.raters[0], np.eye(6))


def test_a_subject_alone_is_known_to_lack_its_sixth_rater_s_mask(qubiq):
    found = scan_layout(qubiq / "prostate" / "Training" / "case02", task="prostate/task01")
    assert found.rater_names == ("1", "2", "3", "4", "5")


def test_qubiq_2021_has_the_split_above_the_organ_and_several_images_a_patient(tmp_path):
    for split, case in (("training_data_v3_QC", "case1-1"), ("training_data_v3_QC", "case1-2"),
                        ("validation_data_qubiq2021_QC", "case7-1")):  # fmt: skip
        touch(*(tmp_path / split / "pancreas" / case / f"task01_seg{r:02d}.nii.gz" for r in (1, 2)))
    found = scan_layout(tmp_path)
    assert [(case.id, case.group, case.split, case.task) for case in found.cases] == [
        ("case1-1", "case1", "training", "pancreas/task01"),
        ("case1-2", "case1", "training", "pancreas/task01"),
        ("case7-1", "case7", "validation", "pancreas/task01"),
    ]


def test_brain_growth_has_seven_raters(tmp_path):
    for case, raters in (("case01", 7), ("case02", 7)):
        touch(
            *(tmp_path / "brain-growth" / "Training" / case / f"task01_seg{r:02d}.nii.gz" for r in range(1, raters + 1))
        )
    assert scan_layout(tmp_path).rater_names == tuple("1234567")


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Prob-U-Net's PNG export: two patients, square crops, masks of 0 and 255."""
    root = tmp_path / "lidc_png"
    for patient, stem in (("LIDC-IDRI-0001", "z-105.0_c0"), ("LIDC-IDRI-0001", "z-107.5_c0"), ("0002", "z-10.0_c1")):
        (root / "images" / patient).mkdir(parents=True, exist_ok=True)
        (root / "gt" / patient).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((6, 6), np.uint8)).save(root / "images" / patient / f"{stem}.png")
        for slot in range(4):
            reader = np.zeros((6, 6), np.uint8)
            reader[1 : 2 + slot, 2] = 255
            Image.fromarray(reader).save(root / "gt" / patient / f"{stem}_l{slot}.png")
    junk(root)
    return root


def test_lidc_slices_pair_images_and_readers_by_patient(slices, tmp_path):
    assert recognise_layout(slices) == "lidc"
    found = scan_layout(slices)
    assert [(case.id, case.group) for case in found.cases] == [
        ("0002_z-10.0_c1", "0002"),
        ("LIDC-IDRI-0001_z-105.0_c0", "LIDC-IDRI-0001"),
        ("LIDC-IDRI-0001_z-107.5_c0", "LIDC-IDRI-0001"),
    ]
    assert found.rater_names == ("1", "2", "3", "4")
    assert found.cases[1].raters["4"].name == "z-105.0_c0_l3.png"
    assert found.cases[1].image == slices / "images" / "LIDC-IDRI-0001" / "z-105.0_c0.png"
    assert found.positive == (1, 255)
    assert any("slots, not persons" in line for line in found.describe())
    (tmp_path / "p").mkdir()
    for case in found.cases:
        np.save(tmp_path / "p" / f"{case.id}.npy", np.full((6, 6), 0.5, np.float32))
    cases = found.with_predictions(f"{tmp_path}/p/{{case}}.npy")
    loaded = cases[0].load(options=LoadOptions(positive=found.positive))
    np.testing.assert_array_equal(loaded.raters[3][:, 2], [0, 1, 1, 1, 1, 0])
    assert loaded.raters[3].sum() == 4


def test_predictions_with_a_header_are_refused_for_png(slices, tmp_path):
    for case in scan_layout(slices).cases:
        write(tmp_path / "p" / f"{case.id}.nii.gz", np.zeros((6, 6), np.float32))
    with pytest.raises(GeometryError, match=r"rows first.*Save those as \.npy"):
        read_layout(slices, probs=f"{tmp_path}/p/{{case}}.nii.gz")


def test_lidc_splits_above_gt_are_told_apart(slices, tmp_path):
    slices.rename(tmp_path / "train")
    (tmp_path / "set").mkdir()
    (tmp_path / "train").rename(tmp_path / "set" / "train")
    assert {case.split for case in scan_layout(tmp_path / "set").cases} == {"training"}


def test_lidc_nodules_come_with_their_predictions(tmp_path):
    for nodule in ("P0003_N1", "P0003_N10", "P0003_N2"):
        for k in (1, 2, 3, 4):
            write(tmp_path / nodule / f"annotation_{k}.nii.gz", mask(0))
        for k in (1, 2, 3):
            write(tmp_path / nodule / f"prob_{k}.nii.gz", np.full(SHAPE, k / 4, np.float32))
        touch(tmp_path / nodule / "prob_single.nii.gz")
    found = scan_layout(tmp_path)
    assert [case.id for case in found.cases] == ["P0003_N1", "P0003_N2", "P0003_N10"]
    assert {case.group for case in found.cases} == {"P0003"}
    assert found.positive is None
    assert "prob_single is no rater's mask or member: left out (3 cases)" in found.describe()
    cases = read_layout(tmp_path)
    assert [path.name for path in cases[0].members] == [f"prob_{k}.nii.gz" for k in (1, 2, 3)]
    np.testing.assert_allclose(cases[0].load().probs, 0.5)

    mine = predict(tmp_path / "mine", "P0003_N1", "P0003_N2", "P0003_N10")
    assert [path.parent.name for case in read_layout(tmp_path, probs=mine) for path in case.members] == ["mine"] * 3


def test_the_shared_nodules_are_recognised(shared):
    found = scan_layout(shared / "lidc_cases")
    assert (found.info.name, len(found.cases)) == ("lidc", 170)
    case = found.with_predictions()[0]
    assert len(case.members) == 3
    assert case.load().raters[3].any()


@pytest.mark.parametrize("layout", [None, "lidc"])
def test_a_pickle_is_refused_and_never_opened(tmp_path, layout):
    (tmp_path / "data_lidc.pickle").write_bytes(b"cos\nsystem\n(S'touch opened'\ntR.")
    with pytest.raises(ValueError, match=r"data_lidc\.pickle is a Python pickle.*never does.*Convert it"):
        scan_layout(tmp_path, layout)
    assert not (tmp_path / "opened").exists()


def test_both_forms_of_lidc_in_one_folder_are_refused(slices):
    touch(slices / "P0001_N1" / "annotation_1.nii.gz")
    with pytest.raises(ValueError, match=r"both LIDC slices as PNG .* and LIDC nodules as volumes"):
        scan_layout(slices)


def test_an_unknown_folder_says_what_was_looked_for_and_what_is_there(tmp_path):
    touch(tmp_path / "scans" / "a.dcm")
    with pytest.raises(ValueError, match=r"UKCHLL###.*CURVASPDAC.*task01_seg01.*P####_N#.*Found 1 files.*scans/a\.dcm"):
        recognise_layout(tmp_path)


def test_an_empty_folder_a_file_and_none_are_told_apart(tmp_path):
    with pytest.raises(ValueError, match="Found no files there"):
        recognise_layout(tmp_path)
    touch(tmp_path / "training_set.zip")
    with pytest.raises(ValueError, match=r"training_set\.zip is a file.*unpack it"):
        scan_layout(tmp_path / "training_set.zip")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        recognise_layout(tmp_path / "nowhere")


def test_a_wrong_layout_is_refused_by_name_or_by_what_is_there(pdacvi):
    with pytest.raises(
        ValueError, match=r"no layout 'pdacvi'; expected one of curvas-2024, curvas-pdacvi, qubiq, lidc"
    ):
        scan_layout(pdacvi, "pdacvi")
    with pytest.raises(ValueError, match=r"has not the layout 'qubiq': looked for .*task01_seg01.*CURVASPDAC_00003"):
        scan_layout(pdacvi, "qubiq")
    with pytest.raises(ValueError, match="no task 'x'; there is only one, without a name"):
        scan_layout(pdacvi, task="x")
    with pytest.raises(ValueError, match="no layout 'acdc'"):
        layout_info("acdc")


def test_a_folder_of_two_data_sets_is_ambiguous_until_one_is_named(curvas_2024, pdacvi, tmp_path):
    with pytest.raises(
        ValueError, match=r"2 data sets: curvas-2024 \(3 cases.*curvas-pdacvi \(2 cases.*layout='curvas-2024'"
    ):
        recognise_layout(tmp_path)
    assert len(scan_layout(tmp_path, "curvas-pdacvi").cases) == 2


def test_a_case_that_is_there_twice_is_refused_with_both_places(pdacvi):
    touch(pdacvi / "copy" / "CURVASPDAC_00003" / "annotation_1.nii.gz")
    with pytest.raises(ValueError, match=r"more than once \(CURVASPDAC_00003\).*copy/CURVASPDAC_00003"):
        scan_layout(pdacvi)


def test_one_image_in_two_formats_is_not_chosen_between(pdacvi):
    touch(pdacvi / "CURVASPDAC_00003" / "annotation_1.mha")
    with pytest.raises(ValueError, match=r"one image in two formats, annotation_1\.mha and annotation_1\.nii\.gz"):
        scan_layout(pdacvi)


def test_one_rater_under_two_numbers_is_not_chosen_between(pdacvi):
    touch(pdacvi / "CURVASPDAC_00003" / "annotation_01.nii.gz")
    with pytest.raises(ValueError, match="annotation_1 and annotation_01 have the same number"):
        scan_layout(pdacvi)


def test_links_are_followed(pdacvi, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "data").symlink_to(pdacvi, target_is_directory=True)
    assert len(scan_layout(tmp_path / "home").cases) == 2


def test_folders_far_below_and_links_in_circles_are_not_searched(tmp_path):
    touch(tmp_path / "1/2/3/4/5" / "CURVASPDAC_00001" / "annotation_1.nii.gz")
    touch(tmp_path / "1/2/3/4/5/6" / "CURVASPDAC_00002" / "annotation_1.nii.gz")
    assert [case.id for case in scan_layout(tmp_path).cases] == ["CURVASPDAC_00001"]
    (tmp_path / "1/2/3/4/5/6" / "CURVASPDAC_00002" / "again").symlink_to(tmp_path, target_is_directory=True)
    assert [case.id for case in scan_layout(tmp_path / "1").cases] == ["CURVASPDAC_00001", "CURVASPDAC_00002"]
