"""PNG masks: rows first, no place in the world, and never beside images that have one."""

import numpy as np
import pytest
from PIL import Image

from mrcalib.exceptions import GeometryError
from mrcalib.io import Case, LoadOptions, read_labels, read_probability, read_volume, write_probability

MASK = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)


def test_rows_come_first_as_numpy_users_read_them(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "m.png")
    volume = read_volume(tmp_path / "m.png")
    assert volume.geometry is None
    np.testing.assert_array_equal(volume.data, MASK)


def test_an_image_of_one_bit_holds_0_and_1(tmp_path):
    Image.fromarray(MASK > 0).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png").data, MASK // 255)


def test_sixteen_bits_keep_their_labels(tmp_path):
    labels = np.array([[0, 1000], [40000, 3]], np.uint16)
    Image.fromarray(labels).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "m.png").data, labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_colours_and_palettes_are_refused(tmp_path, mode):
    Image.fromarray(MASK).convert(mode).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=rf"m\.png is an image of mode '{mode}' .*expected one grey value"):
        read_volume(tmp_path / "m.png")


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n truncated"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "m.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.png cannot be read as PNG"):
        read_volume(tmp_path / "m.png")


def test_a_png_is_no_probability_map(tmp_path):
    Image.fromarray(MASK).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match="holds uint8 values; probabilities are real numbers"):
        read_probability(tmp_path / "m.png")
    with pytest.raises(ValueError, match=r"\.png holds 256 grey values"):
        write_probability(tmp_path / "p.png", np.zeros((2, 3)), None)


def test_masks_go_with_arrays_and_not_with_headers(tmp_path, save):
    Image.fromarray(MASK).save(tmp_path / "m.png")
    probs = (MASK / 300).astype(np.float32)
    np.save(tmp_path / "p.npy", probs)
    loaded = Case("A", tmp_path / "p.npy", {"1": tmp_path / "m.png"}).load(options=LoadOptions(positive=(255,)))
    np.testing.assert_array_equal(loaded.raters[0], MASK // 255)

    header = save("p.nii.gz", probs)
    with pytest.raises(GeometryError, match=r"Case 'A': .*m\.png has its rows first.*Save those as \.npy"):
        Case("A", header, {"1": tmp_path / "m.png"}).load(options=LoadOptions(positive=(255,)))
