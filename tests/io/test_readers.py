import subprocess
import sys

import numpy as np
import pytest

from mrcalib.io import Geometry, read_labels, read_probability, read_volume, write_probability

CLASSES = np.moveaxis(np.array([[[[0.7]], [[0.1]]], [[[0.2]], [[0.3]]], [[[0.1]], [[0.6]]]], np.float32), 0, -1)
GEOMETRY = Geometry((2, 3, 4), np.eye(4))


def test_an_unknown_suffix_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"a\.jpg has an unknown suffix; expected one of .*\.npz, .*\.nii\.gz"):
        read_volume(tmp_path / "a.jpg")


def test_a_missing_file_says_how_far_the_path_exists(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"does not exist .*as far as {tmp_path}"):
        read_volume(tmp_path / "gone" / "a.nii.gz")


def test_a_folder_is_no_file(tmp_path):
    (tmp_path / "a.nii").mkdir()
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("key", ["probs", "probabilities", "mask", "anything"])
def test_an_archive_is_read_by_its_known_or_its_only_key(tmp_path, key):
    np.savez(tmp_path / "a.npz", **{key: np.ones((2, 2), np.float32)})
    assert read_probability(tmp_path / "a.npz").shape == (2, 2)


def test_an_archive_of_unknown_keys_lists_them(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.ones(2), two=np.ones(2))
    with pytest.raises(ValueError, match=r"or one key only; got \['one', 'two'\]"):
        read_volume(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_pickles_are_refused(tmp_path, name):
    objects = np.array([{}], dtype=object)
    np.save(tmp_path / name, objects) if name == "a.npy" else np.savez(tmp_path / name, probs=objects)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a NumPy"):
        read_volume(tmp_path / name)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"noise"])
def test_damaged_numpy_files_are_refused_by_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a NumPy"):
        read_volume(tmp_path / name)


def test_foreground_channels_are_summed(save):
    path = save("p.nii.gz", CLASSES)
    assert read_probability(path, (1, 2)).data == pytest.approx(np.array([[[0.3]], [[0.9]]]))
    assert read_probability(path, (2,)).data == pytest.approx(np.array([[[0.1]], [[0.6]]]))


def test_of_two_classes_the_second_is_the_foreground(save):
    two = np.stack([CLASSES[..., 0], 1 - CLASSES[..., 0]], axis=-1)
    assert read_probability(save("p.nii.gz", two)).data == pytest.approx(np.array([[[0.3]], [[0.9]]]))


def test_vector_nifti_with_a_fifth_axis_has_channels_too(save):
    assert read_probability(save("p.nii.gz", CLASSES[:, :, :, None, :]), (0,)).shape == (2, 1, 1)


@pytest.mark.parametrize("foreground", [None, (3,), (1, 1)])
def test_a_missing_or_wrong_choice_of_channels_lists_their_number(save, foreground):
    with pytest.raises(ValueError, match=r"has 3 channels \(0 to 2\); say which of them are the foreground"):
        read_probability(save("p.nii.gz", CLASSES), foreground)


def test_overlapping_regions_are_not_summed(save):
    regions = np.full((2, 2, 2, 2), 0.9, np.float32)
    path = save("p.nii.gz", regions)
    for foreground in (None, (0, 1)):
        with pytest.raises(ValueError, match="do not sum to 1: they are regions that may overlap"):
            read_probability(path, foreground)
    assert read_probability(path, (0,)).data == pytest.approx(0.9)


def test_a_choice_of_channels_where_there_are_none_is_refused(save):
    with pytest.raises(ValueError, match="has no channels to choose from"):
        read_probability(save("p.nii", np.zeros((2, 2, 2), np.float32)), (1,))


def test_a_fourth_axis_of_one_is_no_channel_axis(save):
    assert read_probability(save("p.nii", np.zeros((2, 2, 2, 1), np.float32))).data.shape == (2, 2, 2)


def test_half_precision_becomes_single(tmp_path):
    np.save(tmp_path / "p.npy", np.array([0.5], np.float16))
    assert read_probability(tmp_path / "p.npy").data.dtype == np.float32


def test_labels_of_several_channels_are_refused(save):
    with pytest.raises(ValueError, match=r"has 2 channels; expected one value a voxel"):
        read_labels(save("m.nii", np.zeros((2, 2, 2, 2), np.uint8)))


def test_a_probability_of_another_shape_than_its_geometry_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"shape \(2, 2\), the geometry \(2, 3, 4\)"):
        write_probability(tmp_path / "p.nii", np.zeros((2, 2)), GEOMETRY)


def test_a_format_with_a_header_needs_a_geometry(tmp_path):
    with pytest.raises(ValueError, match=r"geometry is not known; write \.npy or \.npz"):
        write_probability(tmp_path / "p.nii", np.zeros((2, 2)), None)


def test_a_format_of_two_files_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"second file.*write \.mha"):
        write_probability(tmp_path / "p.mhd", np.zeros((2, 3, 4)), GEOMETRY)


def test_an_unknown_suffix_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="unknown suffix"):
        write_probability(tmp_path / "p.jpg", np.zeros((2, 3, 4)), GEOMETRY)


@pytest.mark.parametrize("name", ["p.npy", "p.npz", "p.nii.gz"])
def test_double_precision_is_written_as_single(tmp_path, name):
    write_probability(tmp_path / name, np.zeros((2, 3, 4), np.float64), GEOMETRY)
    assert read_volume(tmp_path / name).data.dtype == np.float32


def test_importing_the_room_imports_no_image_library():
    code = "import sys, mrcalib.io; print([m for m in ('nibabel', 'SimpleITK', 'pandas') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_overlapping_regions_are_merged_by_the_largest(save):
    regions = np.stack([[0.9, 0.3], [0.4, 0.6], [0.1, 0.8]], axis=-1)[:, None, None].astype(np.float32)
    path = save("p.nii.gz", regions)
    assert read_probability(path, (0, 1), merge="max").data.ravel() == pytest.approx([0.9, 0.6])
    assert read_probability(path, (2,), merge="max").data.ravel() == pytest.approx([0.1, 0.8])
    with pytest.raises(ValueError, match="several with merge='max'"):
        read_probability(path, (0, 1))
    with pytest.raises(ValueError, match="say which of them are the foreground"):
        read_probability(path, None, merge="max")


def test_the_largest_of_exclusive_classes_is_warned_of(save):
    with pytest.warns(UserWarning, match="exclusive classes, and the probability of any of"):
        volume = read_probability(save("p.nii.gz", CLASSES), (1, 2), merge="max")
    assert volume.data.ravel() == pytest.approx(CLASSES[..., 1:].max(axis=-1).ravel())


def test_logits_of_classes_are_softmaxed_and_those_of_regions_are_not(save):
    logits = np.random.default_rng(0).normal(0, 4, (3, 2, 2, 3)).astype(np.float32)
    path = save("l.nii.gz", logits)
    exponents = np.exp(logits.astype(np.float64))
    shares = exponents / exponents.sum(axis=-1, keepdims=True)
    told = read_probability(path, (1, 2), values="logits")
    assert told.data.dtype == np.float32
    np.testing.assert_allclose(told.data, shares[..., 1] + shares[..., 2], rtol=1e-5)
    regions = read_probability(path, (1, 2), merge="max", values="logits").data
    np.testing.assert_allclose(regions, (1 / (1 + np.exp(-logits.astype(np.float64))))[..., 1:].max(axis=-1), rtol=1e-6)
    two = read_probability(save("two.nii.gz", logits[..., :2]), values="logits").data
    np.testing.assert_allclose(two, 1 / (1 + np.exp(logits[..., 0] - logits[..., 1])), rtol=1e-5)
