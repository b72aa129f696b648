"""From whatever holds numbers to a NumPy array, and what an array of probabilities must be."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs.messages import of_case

__all__ = ["TOLERANCE", "as_array", "check_probs", "is_array", "refuse_classes", "voxel_shapes"]

TOLERANCE = 0.01
"""How far the probabilities of exclusive classes may sum from 1: a softmax in half precision does."""

_MAX_CLASSES = 256
_LOOK = 16  # positions on each axis at which sums over classes are looked at first


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
    # Types that NumPy does not know, such as bfloat16 of ml_dtypes, are of kind V.
    return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.name == "bfloat16" else array


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


def refuse_classes(probs: NDArray[Any], case: str | None = None) -> None:
    """Raise ValueError if the first or last axis of ``probs`` counts exclusive classes: if it sums to 1 at every voxel.

    So do the channels of a softmax and the columns of ``predict_proba``; an image does not, whatever it shows, unless it is
    constant or has but two positions besides. Few voxels are looked at unless their sums are 1.

    Examples
    --------
    >>> foreground = np.array([0.1, 0.9, 0.4, 0.2])
    >>> refuse_classes(np.stack([1 - foreground, foreground]))
    Traceback (most recent call last):
    ...
    ValueError: probs of shape (2, 4) hold 2 classes: they sum to 1 on axis 0. Pass the foreground's channel, such as ...
    """
    for axis in (0, -1) if probs.ndim > 1 else ():
        if _sums_to_one(probs, axis):
            channel = "probs[1]" if axis == 0 else "probs[..., 1]"
            msg = (
                f"probs of shape {probs.shape}{of_case(case)} hold {probs.shape[axis]} classes: they sum to 1 on axis {axis}. "
                f"Pass the foreground's channel, such as {channel}; several classes are calibrated by OneVsRestCalibrator."
            )
            raise ValueError(msg)


def _sums_to_one(probs: NDArray[Any], axis: int) -> bool:
    n_classes = probs.shape[axis]
    if not 2 <= n_classes <= _MAX_CLASSES or probs.size < 3 * n_classes:
        return False
    classes_first = np.moveaxis(probs, axis, 0)
    places = classes_first.shape[1:]
    middle = classes_first[(slice(None), *(length // 2 for length in places))]
    if abs(float(middle.sum()) - 1) > TOLERANCE:  # not so where it is NaN
        return False
    some = classes_first[(slice(None), *(slice(None, None, max(1, length // _LOOK)) for length in places))]
    if not _all_one(some) or np.nanmin(some) == np.nanmax(some):
        return False
    return _all_one(classes_first)


def _all_one(classes_first: NDArray[Any]) -> bool:
    total = classes_first.sum(axis=0, dtype=np.float64)
    known = total[~np.isnan(total)]
    return known.size >= 3 and bool((np.abs(known - 1) <= TOLERANCE).all())


def voxel_shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of one value a voxel: that of probs, and for a column (n, 1) also (n,)."""
    return [shape, shape[:1]] if len(shape) == 2 and shape[1] == 1 else [shape]
