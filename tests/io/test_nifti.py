import gzip

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from mrcalib.io import Geometry, read_probability, read_volume, write_probability

AFFINE = np.array([[-0.7, 0, 0, 90], [0, 0.7, 0, -126], [0, 0, 2.5, -72], [0, 0, 0, 1.0]])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(data=arrays(np.float32, array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.floats(0, 1, width=32)))
def test_what_is_written_is_read_back_to_the_bit(tmp_path, data):
    for name in ("a.nii", "a.nii.gz", "a.npy", "a.npz"):
        write_probability(tmp_path / name, data, Geometry(data.shape, np.eye(4)))
        np.testing.assert_array_equal(read_probability(tmp_path / name).data, data)


def test_the_affine_survives_a_round_trip(tmp_path):
    geometry = Geometry((3, 4, 5), AFFINE)
    write_probability(tmp_path / "a.nii.gz", np.zeros((3, 4, 5)), geometry)
    assert geometry.displacement_mm(read_volume(tmp_path / "a.nii.gz").geometry) < 1e-4


def test_probabilities_are_written_as_float32_without_scaling(tmp_path):
    write_probability(tmp_path / "a.nii", np.full((2, 2, 2), 1e-7), Geometry((2, 2, 2), np.eye(4)))
    stored = nib.load(tmp_path / "a.nii")
    assert stored.get_data_dtype() == np.float32
    assert (stored.dataobj.slope, stored.dataobj.inter) == (1.0, 0.0)


def test_equal_probabilities_give_equal_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_probability(tmp_path / name / "p.nii.gz", np.zeros((4, 4, 4)), Geometry((4, 4, 4), np.eye(4)))
    assert (tmp_path / "a" / "p.nii.gz").read_bytes() == (tmp_path / "b" / "p.nii.gz").read_bytes()


def test_integer_masks_keep_their_integers(save):
    assert read_volume(save("m.nii.gz", np.eye(4, dtype=np.int16)[..., None])).data.dtype == np.int16


def test_big_endian_files_come_in_native_order(tmp_path):
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 0.25, ">f4"), np.eye(4), header), tmp_path / "a.nii")
    volume = read_probability(tmp_path / "a.nii")
    assert volume.data.dtype.isnative
    assert volume.data[0, 0, 0] == 0.25


@pytest.mark.parametrize("keep", [0, 40, 400, -50])
def test_a_truncated_file_is_refused_by_name(save, keep):
    path = save("a.nii.gz", np.random.default_rng(0).random((9, 9, 9)).astype(np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"a\.nii\.gz cannot be read as NIfTI.*damaged or truncated"):
        read_volume(path)


def test_a_truncated_uncompressed_file_is_refused_by_name(save):
    path = save("a.nii", np.zeros((9, 9, 9), np.float32))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"a\.nii cannot be read as NIfTI"):
        read_volume(path)


def test_a_file_of_other_content_is_refused_by_name(tmp_path):
    with gzip.open(tmp_path / "a.nii.gz", "wb") as file:
        file.write(b"not an image " * 100)
    with pytest.raises(ValueError, match=r"a\.nii\.gz cannot be read as NIfTI"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_header_without_a_valid_affine_is_refused_by_name(save):
    path = save("a.nii", np.zeros((2, 2, 2), np.uint8))
    content = bytearray(path.read_bytes())
    content[312:328] = bytes(16)  # srow_z
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.nii does not say where its voxels lie.*invertible"):
        read_volume(path)


def test_colour_voxels_are_refused(tmp_path):
    rgb = np.zeros((2, 2, 2), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match="expected integers or real numbers"):
        read_volume(tmp_path / "a.nii")


def test_scaled_integers_warn_that_they_are_quantised(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    nib.save(nib.Nifti1Image(np.linspace(0, 1, 8).reshape(2, 2, 2), np.eye(4), header), tmp_path / "p.nii")
    with pytest.warns(UserWarning, match=r"p\.nii stores .* quantised to 1/255"):
        volume = read_probability(tmp_path / "p.nii")
    assert volume.data.dtype == np.float32
    assert volume.data.max() == pytest.approx(1.0)


def test_unscaled_integers_are_no_probabilities(save):
    with pytest.raises(ValueError, match=r"p\.nii holds uint8 values.*Is it a segmentation"):
        read_probability(save("p.nii", np.ones((2, 2, 2), np.uint8)))


def test_disagreeing_qform_and_sform_are_reported(tmp_path):
    image = nib.Nifti1Image(np.zeros((4, 4, 4), np.float32), np.eye(4))
    shifted = np.eye(4)
    shifted[0, 3] = -3.0
    image.set_qform(shifted, code=1)
    image.set_sform(np.eye(4), code=1)
    nib.save(image, tmp_path / "a.nii")
    with pytest.warns(UserWarning, match=r"a\.nii.*qform and sform\) lie up to 3 mm apart"):
        volume = read_volume(tmp_path / "a.nii")
    assert volume.geometry.displacement_mm(Geometry((4, 4, 4), np.eye(4))) == 0.0
