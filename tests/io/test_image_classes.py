"""Several classes of one file: read as each alone would be, and refused where they are not exclusive."""

import nibabel as nib
import numpy as np
import pytest

from mrcalib.io import Case, Geometry, ImageClass, LoadOptions, load_classes, read_labels, require_classes, write_labels

ORGANS = (ImageClass("pancreas", 1), ImageClass("kidney", 2), ImageClass("liver", 3))
AFFINE = np.diag([-2.0, 1.5, 3.0, 1.0])
SHAPE = (4, 5, 6)


def softmax(seed=0):
    """Probabilities with channels last."""
    return np.random.default_rng(seed).dirichlet([2.0, 1, 1, 1], size=SHAPE).astype(np.float32)


def save(path, data):
    nib.save(nib.Nifti1Image(data, AFFINE), path)
    return path


@pytest.fixture
def case(tmp_path):
    rng = np.random.default_rng(4)
    masks = {str(r): rng.integers(0, 4, SHAPE, dtype=np.uint8) for r in (1, 2)}
    raters = {name: save(tmp_path / f"rater_{name}.nii.gz", mask) for name, mask in masks.items()}
    members = tuple(save(tmp_path / f"prob_{m}.nii.gz", softmax(m)) for m in (1, 2))
    return Case("A", members, raters | {"3": None})


@pytest.mark.parametrize("pooling", ["mean", "logit-mean"])
def test_each_class_is_what_reading_it_alone_gives(case, pooling):
    options = LoadOptions(pooling=pooling, check_agreement=False)
    loaded = load_classes(case, ORGANS, options)
    assert loaded.probs.shape == (3, *SHAPE)
    for one, probs in zip(ORGANS, loaded.probs, strict=True):
        alone = case.load(options=one.options(options))
        assert np.array_equal(probs, alone.probs)
        for labels, votes in zip(loaded.labels[:2], alone.raters[:2], strict=True):
            assert np.array_equal(labels == one.label, votes == 1)
    assert loaded.labels[2] is None
    assert np.array_equal(loaded.geometry.affine, AFFINE)
    if pooling == "mean":
        pooled = (softmax(1) + softmax(2)) / 2
        assert loaded.probs == pytest.approx(np.moveaxis(pooled, -1, 0)[1:], abs=1e-6)


def test_the_channel_may_differ_from_the_label(case):
    options = LoadOptions(check_agreement=False)
    swapped = load_classes(case, (ImageClass("a", 1, 3), ImageClass("b", 2, 0), ImageClass("c", 3, 1)), options)
    plain = load_classes(case, ORGANS, options)
    assert np.array_equal(swapped.probs[0], plain.probs[2])
    assert np.array_equal(swapped.probs[2], plain.probs[0])
    assert swapped.probs[1] == pytest.approx(1 - plain.probs.sum(axis=0), abs=1e-6)
    assert np.array_equal(swapped.labels[0], plain.labels[0])


def test_nnunet_exports_of_several_classes_are_read(tmp_path):
    probs = softmax()
    np.savez(tmp_path / "a.npz", probabilities=probs.transpose(3, 2, 1, 0))
    save(tmp_path / "a.nii.gz", probs.argmax(axis=-1).astype(np.uint8))
    loaded = load_classes(Case("A", tmp_path / "a.npz", {}), ORGANS)
    assert np.array_equal(loaded.probs, np.moveaxis(probs, -1, 0)[1:])
    assert loaded.labels == ()


def test_regions_are_refused_with_words(tmp_path, case):
    regions = save(tmp_path / "regions.nii.gz", np.clip(softmax() * 2, 0, 1))
    with pytest.raises(
        ValueError, match=r"Case 'B', the probabilities: The 4 channels .* are regions that may overlap"
    ):
        require_classes(Case("B", regions, {}), ORGANS)
    with pytest.raises(ValueError, match="merge='max' is for regions"):
        require_classes(case, ORGANS, LoadOptions(merge="max"))


def test_logits_become_the_softmax(tmp_path):
    logits = save(tmp_path / "logits.nii.gz", np.log(softmax()))
    options = LoadOptions(values="logits")
    loaded = load_classes(Case("B", logits, {}), ORGANS, options)
    assert loaded.probs == pytest.approx(np.moveaxis(softmax(), -1, 0)[1:], abs=1e-5)
    with pytest.raises(ValueError, match="do not sum to 1"):
        require_classes(Case("B", logits, {}), ORGANS)


def test_a_label_that_no_class_names_is_refused(case):
    with pytest.raises(
        ValueError, match=r"Case 'A', rater '1' \(.*\): it holds 3, which no class names .*pancreas=1, kidney=2"
    ):
        load_classes(case, ORGANS[:2])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ((ImageClass("a", 1, 4),), "has 4 channels, 0 to 3; expected .* up to channel 4"),
        ((ImageClass("a", 1), ImageClass("a", 2)), "different names"),
        ((ImageClass("a", 1), ImageClass("b", 1, 2)), "different labels"),
        ((ImageClass("a", 1), ImageClass("b", 2, 1)), "different channels"),
        ((), "there must be one; got none"),
    ],
)
def test_classes_that_do_not_fit_are_refused(case, classes, message):
    with pytest.raises(ValueError, match=message):
        require_classes(case, classes)


def test_files_and_arrays_without_channels_are_refused(tmp_path):
    single = save(tmp_path / "single.nii.gz", softmax()[..., 0])
    with pytest.raises(ValueError, match="has one channel only"):
        require_classes(Case("B", single, {}), ORGANS)
    np.save(tmp_path / "bare.npy", softmax())
    with pytest.raises(ValueError, match="counts channels, say which, for example channel_axis=0"):
        require_classes(Case("B", tmp_path / "bare.npy", {}), ORGANS)
    with pytest.raises(ValueError, match=r"has one channel only; .*channel_axis=0"):
        require_classes(Case("B", softmax()[..., 0], {}), ORGANS)


@pytest.mark.parametrize("axis", [0, -1])
def test_arrays_and_files_without_a_header_say_which_axis_counts_channels(tmp_path, axis):
    probs = np.moveaxis(softmax(), -1, axis)
    np.save(tmp_path / "bare.npy", probs)
    options = LoadOptions(channel_axis=axis)
    for source in (probs, tmp_path / "bare.npy"):
        loaded = load_classes(Case("B", source, {}), ORGANS, options)
        assert np.array_equal(loaded.probs, np.moveaxis(softmax(), -1, 0)[1:])
        alone = Case("B", source, {}).load(options=LoadOptions(channel_axis=axis, foreground=(2,)))
        assert np.array_equal(alone.probs, softmax()[..., 2])


@pytest.mark.parametrize("arguments", [("", 1), ("a", 0), ("a", 1, -1)])
def test_a_class_needs_a_name_a_label_and_a_channel(arguments):
    with pytest.raises(ValueError, match="A class needs"):
        ImageClass(*arguments)


@pytest.mark.parametrize(("highest", "dtype"), [(3, np.uint8), (300, np.int16), (70_000, np.int32)])
@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".npy", ".npz"])
def test_labels_are_written_as_they_are(tmp_path, highest, dtype, suffix):
    if suffix == ".mha":
        pytest.importorskip("SimpleITK")
    labels = np.random.default_rng(0).integers(0, highest, SHAPE)
    labels[0, 0, 0] = highest
    write_labels(tmp_path / f"l{suffix}", labels, Geometry(SHAPE, AFFINE))
    again = read_labels(tmp_path / f"l{suffix}")
    assert again.data.dtype == dtype
    assert np.array_equal(again.data, labels)
    if suffix in (".nii.gz", ".mha"):
        assert again.geometry.affine == pytest.approx(AFFINE)


@pytest.mark.parametrize(
    ("name", "labels", "message"),
    [
        ("l.png", np.zeros(SHAPE, int), "holds 256 grey values"),
        ("l.nii", np.zeros((2, 2, 2), int), "must be equal"),
        ("l.nii", np.zeros(SHAPE), "whole numbers"),
        ("l.nii", np.full(SHAPE, -1), "whole numbers"),
    ],
)
def test_what_is_no_label_map_is_not_written(tmp_path, name, labels, message):
    with pytest.raises(ValueError, match=message):
        write_labels(tmp_path / name, labels, Geometry(SHAPE, AFFINE))
    assert not list(tmp_path.iterdir())
