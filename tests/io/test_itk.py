import sys

import numpy as np
import pytest

from mrcalib.io import Geometry, read_probability, read_volume, write_probability

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK is an optional extra")

OBLIQUE = np.array([[0.0, 0.5, 0, 11], [-0.7, 0, 0, 22], [0, 0, 2.5, -33], [0, 0, 0, 1.0]])


def phantom() -> np.ndarray:
    """No two axes, signs or sizes are alike."""
    return np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4) / 24


def test_a_point_keeps_its_world_place_up_to_the_sign_of_x_and_y(tmp_path):
    image = sitk.GetImageFromArray(phantom().T.copy())
    image.SetSpacing((0.5, 0.7, 2.5))
    image.SetOrigin((10.0, 20.0, 30.0))
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.data, phantom())
    x, y, z = image.TransformIndexToPhysicalPoint((1, 2, 3))
    assert volume.geometry.affine @ [1, 2, 3, 1] == pytest.approx([-x, -y, z, 1])
    assert volume.geometry.spacing == pytest.approx((0.5, 0.7, 2.5))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_itk_and_nifti_files_of_one_image_agree(tmp_path, suffix):
    geometry = Geometry((2, 3, 4), OBLIQUE)
    write_probability(tmp_path / f"a{suffix}", phantom(), geometry)
    write_probability(tmp_path / "a.nii.gz", phantom(), geometry)
    itk, nifti = read_probability(tmp_path / f"a{suffix}"), read_probability(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(itk.data, nifti.data)
    assert itk.geometry.displacement_mm(nifti.geometry) < 1e-4


def test_simpleitk_itself_places_our_nifti_and_our_mha_alike(tmp_path):
    geometry = Geometry((2, 3, 4), OBLIQUE)
    for name in ("a.mha", "a.nii"):
        write_probability(tmp_path / name, phantom(), geometry)
    mha, nifti = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.mha", "a.nii"))
    assert mha.GetPixelID() == sitk.sitkFloat32
    assert mha.TransformIndexToPhysicalPoint((1, 2, 3)) == pytest.approx(
        nifti.TransformIndexToPhysicalPoint((1, 2, 3)), abs=1e-4
    )


def test_a_header_with_its_data_in_a_second_file_is_read(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(phantom().T.copy()), str(tmp_path / "a.mhd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.mhd").data, phantom())


def test_two_dimensional_images_survive_a_round_trip(tmp_path):
    geometry = Geometry((2, 3), np.diag([-0.5, 0.7, 1.0, 1.0]))
    write_probability(tmp_path / "a.mha", phantom()[..., 0], geometry)
    volume = read_volume(tmp_path / "a.mha")
    np.testing.assert_array_equal(volume.data, phantom()[..., 0])
    assert geometry.displacement_mm(volume.geometry) < 1e-6


def test_vector_and_four_dimensional_images_have_channels_last(tmp_path):
    channels = np.stack([1 - phantom(), phantom()], axis=-1)
    vector = sitk.GetImageFromArray(channels.transpose(2, 1, 0, 3).copy(), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "v.mha"))
    stack = sitk.GetImageFromArray(channels.transpose(3, 2, 1, 0).copy(), isVector=False)
    sitk.WriteImage(stack, str(tmp_path / "s.mha"))
    for name in ("v.mha", "s.mha"):
        assert read_volume(tmp_path / name).geometry.shape == (2, 3, 4)
        np.testing.assert_array_equal(read_probability(tmp_path / name).data, phantom())


def test_a_damaged_file_is_refused_by_name(tmp_path):
    (tmp_path / "a.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    with pytest.raises(ValueError, match=r"a\.mha cannot be read by SimpleITK"):
        read_volume(tmp_path / "a.mha")


def test_sheared_axes_cannot_be_written(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    with pytest.raises(ValueError, match=r"not perpendicular.*write \.nii\.gz"):
        write_probability(tmp_path / "a.mha", phantom(), Geometry((2, 3, 4), sheared))


def test_the_absence_of_simpleitk_is_explained(tmp_path, monkeypatch):
    (tmp_path / "a.mha").touch()
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(ImportError, match=r"pip install 'mrcalib\[itk\]'"):
        read_volume(tmp_path / "a.mha")
