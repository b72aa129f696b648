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


def test_arrays_that_lie_elsewhere_are_read():
    dask, zarr = pytest.importorskip("dask.array"), pytest.importorskip("zarr")
    np.testing.assert_array_equal(as_array(dask.from_array(VALUES, chunks=2)), VALUES)
    np.testing.assert_array_equal(as_array(zarr.array(VALUES)), VALUES)


class Labelled:
    """What xarray, pandas and others offer NumPy."""

    shape = VALUES.shape

    def __array__(self, dtype=None, copy=None):
        return VALUES


class OnTheGpu:
    """What CuPy offers: NumPy may not convert it by itself."""

    shape = VALUES.shape
    __cuda_array_interface__ = None

    def get(self):
        return VALUES

    def __array__(self, dtype=None, copy=None):
        raise TypeError


@pytest.mark.parametrize("container", [Labelled, OnTheGpu])
def test_containers_of_other_libraries_are_read_by_what_they_offer(container):
    np.testing.assert_array_equal(as_array(container()), VALUES)
    np.testing.assert_array_equal(as_array([container(), container()]), [VALUES, VALUES])


def test_brain_floats_are_read_as_float32():
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    found = as_array(np.array([0.0, 0.25, 1.0], dtype=bfloat16))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0, 0.25, 1])


def test_raters_by_name_are_the_masks_in_their_order():
    voxels = check_voxels(VALUES, {"ann": VALUES > 0.3, "bo": None})
    np.testing.assert_array_equal(voxels.masks[0], (VALUES > 0.3).ravel())
    assert voxels.masks[1] is None
