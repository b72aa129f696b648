"""Containers of arrays: each gives the numbers that were put in, and masked entries stay masked."""

import numpy as np
import pytest

from mrcalib.inputs import as_array, check_voxels

VALUES = np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)


def test_arrays_are_not_copied():
    assert as_array(VALUES) is VALUES


def test_nested_lists_become_an_array():
    np.testing.assert_array_equal(as_array(VALUES.tolist()), VALUES)


def test_masked_entries_stay_masked_alone_and_in_a_list():
    masked = np.ma.masked_array(VALUES, VALUES > 0.5)
    np.testing.assert_array_equal(np.ma.getmaskarray(as_array(masked)), VALUES > 0.5)
    np.testing.assert_array_equal(np.ma.getmaskarray(as_array([masked, VALUES]))[0], VALUES > 0.5)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_tensors_are_detached_and_read_in_every_float_type(dtype):
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([0.0, 0.25, 1.0], dtype=getattr(torch, dtype), requires_grad=True)
    found = as_array(tensor)
    np.testing.assert_array_equal(found, [0, 0.25, 1])
    assert found.dtype == ("float32" if dtype == "bfloat16" else dtype)


def test_lists_of_tensors_are_stacked():
    torch = pytest.importorskip("torch")
    np.testing.assert_array_equal(as_array([torch.from_numpy(v).requires_grad_() for v in VALUES]), VALUES)


def test_nibabel_images_give_their_voxels():
    nib = pytest.importorskip("nibabel")
    np.testing.assert_array_equal(as_array(nib.Nifti1Image(VALUES, np.eye(4))), VALUES)


def test_simpleitk_images_give_their_voxels_as_x_y_z_and_channels_last():
    sitk = pytest.importorskip("SimpleITK")
    np.testing.assert_array_equal(as_array(sitk.GetImageFromArray(VALUES.T)), VALUES)
    channels = np.stack([VALUES, 1 - VALUES], axis=-1)
    image = sitk.GetImageFromArray(channels.transpose(2, 1, 0, 3), isVector=True)
    np.testing.assert_array_equal(as_array(image), channels)


def test_xarray_dask_and_zarr_are_read():
    xarray, dask = pytest.importorskip("xarray"), pytest.importorskip("dask.array")
    np.testing.assert_array_equal(as_array(xarray.DataArray(VALUES)), VALUES)
    np.testing.assert_array_equal(as_array(dask.from_array(VALUES, chunks=2)), VALUES)
    zarr = pytest.importorskip("zarr")
    np.testing.assert_array_equal(as_array(zarr.array(VALUES)), VALUES)


def test_raters_by_name_are_the_masks_in_their_order():
    voxels = check_voxels(VALUES, {"ann": VALUES > 0.3, "bo": None})
    np.testing.assert_array_equal(voxels.masks[0], (VALUES > 0.3).ravel())
    assert voxels.masks[1] is None
