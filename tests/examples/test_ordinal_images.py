"""Images with their raters, to train on: miniatures of each published layout, and what is refused."""

import json
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mrcalib.exceptions import GeometryError
from mrcalib.io import scan_layout

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
from ordinal_rps.datasets import read_cocahis, read_image_stack, read_longciu
from ordinal_rps.images import AnnotatedImage, read_annotated, read_image_folder

sys.path.pop(0)

RNG = np.random.default_rng(3)


def binary(*shape):
    return RNG.integers(0, 2, shape).astype(np.uint8)


def png(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data).save(path)


def nifti(path, data, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, np.diag([0.7, 0.8, 1.0, 1.0]) if affine is None else affine), path)


# The image itself ---------------------------------------------------------------------------------------------------------


def test_an_image_keeps_a_missing_rater_apart_from_an_empty_mask():
    image = AnnotatedImage("a", "p", np.zeros((4, 5, 3)), {"1": None, "2": np.zeros((4, 5), np.uint8)})
    assert image.shape == (4, 5)
    assert image.masks[0] is None
    assert image.masks[1].sum() == 0


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({}, "no rater's mask"),
        ({"1": None}, "no rater's mask"),
        ({"1": np.zeros((5, 4), np.uint8)}, "shape"),
        ({"1": np.zeros((4, 5), np.int64)}, "uint8"),
        ({"1": np.full((4, 5), 2, np.uint8)}, "0 and 1"),
    ],
)
def test_masks_that_are_none_are_refused(masks, words):
    with pytest.raises(ValueError, match=words):
        AnnotatedImage("a", "p", np.zeros((4, 5)), masks)


def test_masks_of_two_shapes_are_refused_even_if_each_could_fit():
    masks = {"1": np.zeros((4, 5), np.uint8), "2": np.zeros((4,), np.uint8)}
    with pytest.raises(ValueError, match="expected one shape"):
        AnnotatedImage("a", "p", np.zeros((4, 5)), masks)


# Stacks in one archive ----------------------------------------------------------------------------------------------------


def stack(path, *, width=13, packed=True, **changes):
    masks = binary(4, 3, 6, width)
    arrays = {
        "image": RNG.integers(0, 255, (4, 6, width)).astype(np.uint8),
        "masks": np.packbits(masks, axis=-1) if packed else masks,
        "patient": np.array([7, 7, 9, 11], np.int16),
        "nodule": np.array([1, 1, 1, 1]),
        "slice": np.array([3, 4, 3, 3]),
        "split": np.array([0, 0, 1, 2]),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return masks


@pytest.mark.parametrize("width", [8, 13, 16])
@pytest.mark.parametrize("packed", [True, False])
def test_a_stack_gives_back_every_mask(tmp_path, width, packed):
    masks = stack(tmp_path / "s.npz", width=width, packed=packed)
    images = read_image_stack(tmp_path / "s.npz")
    assert [(i.id, i.group, i.split) for i in images] == [
        ("7_1_3", "7", "training"),
        ("7_1_4", "7", "training"),
        ("9_1_3", "9", "validation"),
        ("11_1_3", "11", "testing"),
    ]
    for image, mask in zip(images, masks, strict=True):
        assert np.array_equal(np.stack(image.masks), mask)


def test_a_stack_says_who_is_missing(tmp_path):
    present = np.ones((4, 3), bool)
    present[2, 1] = False
    stack(tmp_path / "s.npz", present=present, split=None)
    images = read_image_stack(tmp_path / "s.npz")
    assert images[2].masks[1] is None
    assert images[1].masks[1] is not None
    assert {image.split for image in images} == {""}


def test_the_numbers_of_a_split_can_mean_something_else(tmp_path):
    stack(tmp_path / "s.npz", split=np.array([0, 0, 1, 1]))
    images = read_image_stack(tmp_path / "s.npz", splits={0: "training", 1: "test"})
    assert [image.split for image in images] == ["training", "training", "testing", "testing"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"patient": None}, "lacks patient"),
        ({"split": np.array([0, 1, 1, 2])}, "patient 7 is in two splits"),
        ({"split": np.array([0, 0, 5, 2])}, r"split of .* holds \[5\]"),
        ({"slice": np.array([3, 3, 3, 3])}, "several images of one patient"),
        ({"masks": np.zeros((4, 3, 6, 3), np.uint8)}, "must have shape"),
        ({"masks": np.full((4, 3, 6, 13), 2)}, "expected 0 and 1"),
        ({"nodule": np.array([1, 2])}, "nodule of"),
    ],
)
def test_a_stack_that_is_wrong_is_refused(tmp_path, changes, words):
    stack(tmp_path / "s.npz", **changes)
    with pytest.raises(ValueError, match=words):
        read_image_stack(tmp_path / "s.npz")


def test_the_shared_lidc_stack_is_split_by_patient(shared):
    path = shared / "lidc64_dev.npz"
    if not path.exists():
        pytest.skip(f"the shared LIDC crops are not at {path}")
    images = read_image_stack(path)
    splits = {name: {i.group for i in images if i.split == name} for name in ("training", "validation")}
    assert [len(images), len(splits["training"]), len(splits["validation"])] == [5096, 323, 102]
    assert not splits["training"] & splits["validation"]
    assert all(len(image.masks) == 4 and image.shape == (64, 64) for image in images[:50])


# REFUGE -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refuge(tmp_path: Path) -> Path:
    """Two photographs; the second lacks a rater's cup. Official mask, crop and junk lie beside them."""
    for part, name in (("Training-400", "g0001"), ("Test-400", "T0002")):
        folder = tmp_path / part / name
        folder.mkdir(parents=True)
        Image.fromarray(RNG.integers(0, 255, (9, 11, 3)).astype(np.uint8)).save(folder / f"{name}.jpg")
        Image.fromarray(RNG.integers(0, 255, (5, 5, 3)).astype(np.uint8)).save(folder / f"{name}_cropped.jpg")
        for rater in range(1, 8):
            png(folder / f"{name}_seg_disc_{rater}.png", 255 * np.tri(9, 11, rater - 3, dtype=np.uint8))
            png(folder / f"{name}_seg_disc_c_{rater}.png", 255 * np.ones((5, 5), np.uint8))
            if (name, rater) != ("T0002", 4):
                png(
                    folder / f"{name}_seg_cup_{rater}.png",
                    np.where(np.tri(9, 11, -rater, dtype=bool), 200, 40).astype("uint8"),
                )
        png(tmp_path / "__MACOSX" / part / name / f"._{name}_seg_cup_1.png", binary(9, 11))
        Image.fromarray(np.full((9, 11), 128, np.uint8)).save(folder / f"{name}.bmp")
    return tmp_path


def test_refuge_gives_seven_raters_with_white_as_the_structure(refuge):
    found = scan_layout(refuge, task="disc")
    assert found.info.name == "refuge"
    images = {image.id: image for image in read_annotated(found)}
    assert [(i.id, i.split, tuple(i.raters)) for i in images.values()] == [
        ("T0002", "testing", tuple("1234567")),
        ("g0001", "training", tuple("1234567")),
    ]
    assert images["g0001"].image.shape == (9, 11, 3)
    for rater in range(1, 8):
        assert np.array_equal(images["g0001"].raters[str(rater)], np.tri(9, 11, rater - 3, dtype=np.uint8))


def test_refuge_cups_are_cut_at_half_of_255_and_a_missing_rater_is_none(refuge):
    images = {image.id: image for image in read_annotated(scan_layout(refuge, "refuge", task="cup"))}
    assert images["T0002"].raters["4"] is None
    assert np.array_equal(images["g0001"].raters["2"], np.tri(9, 11, -2, dtype=np.uint8))


def test_refuge_has_two_structures_that_are_not_one_task(refuge):
    with pytest.raises(ValueError, match="several tasks, cup, disc"):
        scan_layout(refuge)


def test_refuge_crops_are_used_where_nothing_else_is_there(tmp_path):
    folder = tmp_path / "Validation-400" / "V1"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(folder / "V1_cropped.jpg")
    for rater in (1, 2):
        png(folder / f"V1_seg_cup_c_{rater}.png", 255 * np.eye(5, dtype=np.uint8))
    (image,) = read_annotated(scan_layout(tmp_path))
    assert (image.split, image.image.shape, image.shape) == ("validation", (5, 5, 3), (5, 5))


def test_an_image_that_is_not_there_is_named(refuge):
    (refuge / "Training-400" / "g0001" / "g0001.jpg").unlink()
    with pytest.raises(ValueError, match="'g0001' has no image file"):
        list(read_annotated(scan_layout(refuge, task="disc")))


# QUBIQ and CURVAS, as layouts with headers --------------------------------------------------------------------------------


def test_qubiq_images_keep_their_channels_and_missing_raters(tmp_path):
    for case, raters in (("case01", (1, 2, 3)), ("case02", (1, 3))):
        folder = tmp_path / "brain-tumor" / "Training" / case
        nifti(folder / "image.nii.gz", RNG.random((6, 5, 1, 4)).astype(np.float32))
        for rater in raters:
            nifti(folder / f"task01_seg{rater:02d}.nii.gz", np.tri(6, 5, rater, dtype=np.uint8)[..., None])
    images = list(read_annotated(scan_layout(tmp_path)))
    assert [image.split for image in images] == ["training", "training"]
    assert images[1].raters["2"] is None
    assert images[0].image.shape[-1] == 4
    assert np.array_equal(images[0].raters["3"].squeeze(), np.tri(6, 5, 3, dtype=np.uint8))


def test_a_mask_elsewhere_than_its_image_is_refused(tmp_path):
    folder = tmp_path / "kidney" / "Training" / "case01"
    nifti(folder / "image.nii.gz", np.zeros((6, 5, 2), np.float32), np.diag([-0.7, 0.8, 1.0, 1.0]))
    for rater in (1, 2, 3):
        nifti(folder / f"task01_seg0{rater}.nii.gz", binary(6, 5, 2))
    with pytest.raises(GeometryError, match=r"image\.nii\.gz"):
        list(read_annotated(scan_layout(tmp_path)))


def test_classes_are_chosen_by_label(tmp_path):
    folder = tmp_path / "training_set" / "UKCHLL001"
    labels = RNG.integers(0, 4, (6, 5, 2)).astype(np.uint8)
    nifti(folder / "image.nii.gz", np.zeros((6, 5, 2), np.int16))
    for rater in (1, 2, 3):
        nifti(folder / f"annotation_{rater}.nii.gz", labels)
    (image,) = read_annotated(scan_layout(tmp_path), positive=(2,))
    assert np.array_equal(image.masks[0], labels == 2)
    with pytest.raises(ValueError, match="expected 0 and 1"):
        list(read_annotated(scan_layout(tmp_path)))


# LongCIU ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def longciu(tmp_path: Path) -> Path:
    """Six slices of another size on each axis, so that a transposed reading cannot pass."""
    nifti(tmp_path / "longciu_img.nii.gz", RNG.integers(-1000, 0, (7, 5, 6)).astype(np.int16))
    for rater in (1, 2, 3):
        labels = np.zeros((7, 5, 6), np.uint8)
        labels[rater:, :, 2], labels[:, rater, 4] = 1, 2
        nifti(tmp_path / f"longciu_{rater}_tgt.nii.gz", labels)
    nifti(tmp_path / "longciu_STAPLE_tgt.nii.gz", np.ones((7, 5, 6), np.uint8))
    (tmp_path / "longciu_splits.json").write_text(json.dumps({"train": [0, 2, 4], "val": [1], "test": [3, 5]}))
    return tmp_path


def test_longciu_slices_lie_along_the_third_axis_and_the_consensus_is_no_rater(longciu):
    images = read_longciu(longciu)
    assert [(i.id, i.split) for i in images[:2]] == [("longciu_z00", "training"), ("longciu_z01", "validation")]
    assert len(images) == 6
    assert all(i.shape == (7, 5) and tuple(i.raters) == ("1", "2", "3") for i in images)
    assert [image.raters["3"].sum() for image in images] == [0, 0, 4 * 5, 0, 7, 0]


def test_longciu_targets_are_one_label_or_both(longciu):
    sums = {t: [image.raters["1"].sum() for image in read_longciu(longciu, t)] for t in ("any", "ggo", "consolidation")}
    assert sums["ggo"][2], sums["consolidation"][4] == (6 * 5, 7)
    assert sums["ggo"][4] == sums["consolidation"][2] == 0
    assert sums["any"] == np.add(sums["ggo"], sums["consolidation"]).tolist()


def test_longciu_that_is_wrong_is_refused(longciu):
    with pytest.raises(ValueError, match="target must be one of"):
        read_longciu(longciu, "lung")
    splits = longciu / "longciu_splits.json"
    splits.write_text(json.dumps({"train": [0, 1, 2, 4], "val": [1], "test": [3, 5]}))
    with pytest.raises(ValueError, match="once in one split"):
        read_longciu(longciu)
    splits.write_text("{}")
    with pytest.raises(ValueError, match="must hold"):
        read_longciu(longciu)
    nifti(longciu / "longciu_2_tgt.nii.gz", np.full((7, 5, 6), 3, np.uint8))
    with pytest.raises(ValueError, match=r"holds the labels \[3\]"):
        read_longciu(longciu)
    nifti(longciu / "longciu_2_tgt.nii.gz", np.zeros((6, 5, 7), np.uint8))
    with pytest.raises(GeometryError, match="axes seem reversed"):
        read_longciu(longciu)


# CoCaHis ------------------------------------------------------------------------------------------------------------------


def cocahis(path, *, scale=1, splits=(b"train", b"train", b"test"), leave_out=""):
    h5py = pytest.importorskip("h5py", reason="h5py reads CoCaHis")
    masks = binary(7, 3, 5, 6)
    with h5py.File(path, "w") as file:
        for stain in ("raw", "sn1", "sn2"):
            file[f"HE/{stain}"] = RNG.integers(0, 255, (3, 5, 6, 3)).astype(np.uint8)
        for key, values in {
            "patient_num": [b"4", b"4", b"9"],
            "image_num": [b"1", b"2", b"1"],
            "train_test_split": list(splits),
        }.items():
            file["HE"].attrs[key] = values
        for k in range(7):
            if f"GT{k + 1}" != leave_out:
                file[f"GT/GT{k + 1}"] = masks[k] * np.uint8(scale)
        file["GT/GT_majority_vote"] = np.ones((3, 5, 6), np.uint8)
    return masks


@pytest.mark.parametrize("scale", [1, 255])
def test_cocahis_gives_seven_raters_and_its_patients(tmp_path, scale):
    masks = cocahis(tmp_path / "CoCaHis.hdf5", scale=scale)
    images = list(read_cocahis(tmp_path / "CoCaHis.hdf5", "sn1"))
    told = [(i.id, i.group, i.split) for i in images]
    assert told == [("4_1", "4", "training"), ("4_2", "4", "training"), ("9_1", "9", "testing")]
    assert images[0].image.shape == (5, 6, 3)
    for n, image in enumerate(images):
        assert tuple(image.raters) == tuple(f"GT{k}" for k in range(1, 8))
        assert np.array_equal(np.stack(image.masks), masks[:, n])


def test_cocahis_that_is_wrong_is_refused(tmp_path):
    cocahis(tmp_path / "a.hdf5", leave_out="GT3")
    with pytest.raises(ValueError, match="lacks GT/GT3"):
        list(read_cocahis(tmp_path / "a.hdf5"))
    cocahis(tmp_path / "b.hdf5", splits=(b"train", b"test", b"test"))
    with pytest.raises(ValueError, match="patient 4 is in two splits"):
        list(read_cocahis(tmp_path / "b.hdf5"))
    (tmp_path / "c.hdf5").write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        list(read_cocahis(tmp_path / "c.hdf5"))
    with pytest.raises(ValueError, match="stain must be one of"):
        read_cocahis(tmp_path / "a.hdf5", "blue")


# Any folder ---------------------------------------------------------------------------------------------------------------


def test_a_plain_folder_is_read_by_templates(tmp_path):
    png(tmp_path / "images" / "P1_a.png", RNG.integers(0, 255, (6, 4, 3)).astype(np.uint8))
    png(tmp_path / "images" / "P1_b.png", RNG.integers(0, 255, (6, 4)).astype(np.uint8))
    for case, rater in (("P1_a", "x"), ("P1_a", "y"), ("P1_b", "y")):
        png(tmp_path / "masks" / f"{case}_{rater}.png", 255 * np.tri(6, 4, dtype=np.uint8))
    arguments = (f"{tmp_path}/images/{{case}}.png", f"{tmp_path}/masks/{{case}}_{{rater}}.png")
    a, b = read_image_folder(*arguments, group=r"(P\d+)", positive=(255,), split="testing")
    assert (a.group, b.group, a.split) == ("P1", "P1", "testing")
    assert (a.image.shape, b.image.shape) == ((6, 4, 3), (6, 4))
    assert np.array_equal(a.raters["x"], np.tri(6, 4, dtype=np.uint8))
    assert b.raters["x"] is None
    with pytest.raises(ValueError, match="must capture the patient"):
        list(read_image_folder(*arguments, group="(Q)", positive=(255,)))
    (tmp_path / "images" / "P1_b.png").unlink()
    with pytest.raises(ValueError, match="masks but no image: P1_b"):
        list(read_image_folder(*arguments, positive=(255,)))


def test_a_picture_beside_a_mask_with_a_header_is_refused(tmp_path):
    png(tmp_path / "a.png", binary(6, 6))
    nifti(tmp_path / "a_1.nii.gz", binary(6, 6, 1))
    with pytest.raises(GeometryError, match="the masks say in a header"):
        list(read_image_folder(f"{tmp_path}/{{case}}.png", f"{tmp_path}/{{case}}_{{rater}}.nii.gz"))
