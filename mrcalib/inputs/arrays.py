"""From whatever holds numbers to a NumPy array, and the check of the kind of probabilities."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs.messages import of_case

__all__ = ["as_array", "check_probs", "is_array", "voxel_shapes"]


def as_array(values: Any) -> NDArray[Any]:
    """The values as a NumPy array, in which masked entries stay masked.

    Parameters
    ----------
    values : object
        A NumPy array, numbers in nested lists, or a container that holds them: a PyTorch tensor (detached and copied from
        the GPU where it must be; bfloat16 becomes float32), a CuPy or JAX array, an xarray, Dask, Zarr, HDF5 or pandas object
        (read whole), a nibabel image, or a SimpleITK image (axes in the order x, y, z, channels last).

    Returns
    -------
    ndarray or masked array
        A view of the same memory where that is possible.

    Raises
    ------
    ValueError
        If lists are nested unevenly.

    Examples
    --------
    >>> as_array([[0.25, 0.5]])
    array([[0.25, 0.5 ]])
    """
    if isinstance(values, np.ndarray):
        array = values
    elif isinstance(values, list | tuple):
        array = np.ma.asanyarray([as_array(one) for one in values]) if _holds_arrays(values) else np.asarray(values)
        array = np.ma.getdata(array) if np.ma.getmask(array) is np.ma.nomask else array
    elif hasattr(values, "detach") and hasattr(values, "cpu"):
        array = _of_tensor(values)
    elif hasattr(values, "dataobj"):
        array = np.asanyarray(values.dataobj)
    elif hasattr(values, "GetNumberOfComponentsPerPixel"):
        array = _of_itk_image(values)
    elif hasattr(values, "__cuda_array_interface__") and hasattr(values, "get"):
        array = values.get()
    else:
        array = np.asarray(values)
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array


def _holds_arrays(values: Any) -> bool:
    """Whether a list holds arrays or other containers, and not numbers or lists of them."""
    return any(is_array(one) for one in values[:1])


def is_array(values: object) -> bool:
    """Whether this is an array or a container of one, with at least one axis; a list of numbers is not."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    shape = getattr(values, "shape", None)
    if shape is not None:
        return len(shape) > 0
    return hasattr(values, "GetNumberOfComponentsPerPixel")


def _of_tensor(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    if getattr(tensor, "is_sparse", False):
        tensor = tensor.to_dense()
    if "bfloat16" in str(tensor.dtype) or "float8" in str(tensor.dtype):  # types that NumPy does not have
        tensor = tensor.float()
    array: NDArray[Any] = tensor.numpy()
    return array


def _of_itk_image(image: Any) -> NDArray[Any]:
    """The voxels of a SimpleITK image; its module, which made the image, is loaded already."""
    stored = sys.modules["SimpleITK"].GetArrayFromImage(image)  # a view would outlive the image
    array: NDArray[Any] = stored.T if image.GetNumberOfComponentsPerPixel() == 1 else np.moveaxis(stored.T, 0, -1)
    return array


def check_probs(probs: ArrayLike, *, case: str | None = None) -> NDArray[Any]:
    """``probs`` as a floating-point array; its values are checked where they are read."""
    try:
        array = np.ma.getdata(as_array(probs))
    except ValueError as error:
        msg = (
            f"probs must be one array of floating-point probabilities; got a list of unlike parts{of_case(case)}. "
            "If these are masks, the arguments are (probs, raters), in this order."
        )
        raise TypeError(msg) from error
    if array.dtype.kind in "biu":
        msg = (
            f"probs must be floating-point probabilities; got {array.dtype}{of_case(case)}. If they are stored as whole "
            "numbers, divide by the largest code (255 for uint8); if these are masks, the arguments are (probs, raters), "
            "in this order."
        )
        raise TypeError(msg)
    if array.dtype.kind != "f":
        msg = f"probs must be an array of floating-point probabilities; got {array.dtype}{of_case(case)}."
        raise TypeError(msg)
    return array


def voxel_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of one value a voxel: that of probs, and for a column (n, 1) also (n,)."""
    return [shape, shape[:1]] if len(shape) == 2 and shape[1] == 1 else [shape]
