"""From stored label values to votes. Every refusal names the file and says what was found in it."""

from functools import reduce

import numpy as np
import numpy.typing as npt

__all__ = ["as_labels", "as_votes"]

_NEARLY = 0.01
"""How far a stored value may lie from an integer: NIfTI scaling turns labels into near-integers."""


def as_labels(data: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.integer]:
    """Integer labels; floats are rounded if all of them are nearly integers.

    Parameters
    ----------
    data : ndarray
        Booleans, integers or near-integer floats.
    name : str
        What it is, for errors.

    Raises
    ------
    ValueError
        If a value is NaN, infinite, or further than 0.01 from an integer, or is no real number.

    Examples
    --------
    >>> as_labels(np.array([0.0, 0.9999, 3.0001]), "mask.nii.gz")
    array([0, 1, 3], dtype=int32)
    """
    if data.dtype.kind == "b":
        return data.view(np.uint8)
    if np.issubdtype(data.dtype, np.integer):
        return data  # type: ignore[return-value]
    if not np.issubdtype(data.dtype, np.floating):
        msg = f"{name} holds {data.dtype} values; expected a mask of integers."
        raise ValueError(msg)
    values = data.astype(np.float32 if data.dtype.itemsize < 8 else np.float64, copy=False)
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        msg = (
            f"{name} holds {bad} NaN or infinite voxels; a mask says 0 or a label everywhere. A missing rater is None."
        )
        raise ValueError(msg)
    rounded = np.rint(values)
    far = np.abs(values - rounded) > _NEARLY
    if far.any():
        msg = f"{name} holds {values[far][0]:.4g}, which is no label; expected integers. Is it a probability map?"
        raise ValueError(msg)
    labels: npt.NDArray[np.integer] = rounded.astype(np.int32)
    return labels


def as_votes(data: npt.NDArray[np.generic], positive: tuple[int, ...] | None, name: str) -> npt.NDArray[np.uint8]:
    """One rater's votes: 1 where the mask holds the foreground, else 0.

    Parameters
    ----------
    data : ndarray
        Booleans, integers or near-integer floats.
    positive : tuple of int or None
        Labels that count as foreground. None: the mask must hold only 0 and 1.
    name : str
        What it is, for errors.

    Returns
    -------
    ndarray of uint8
        Same shape; an empty mask stays a vote for background everywhere.

    Raises
    ------
    ValueError
        If `positive` is None and there are other labels (lists them), or the values are not integers.

    Examples
    --------
    >>> as_votes(np.array([0, 2, 3]), (2, 3), "mask.nii.gz")
    array([0, 1, 1], dtype=uint8)
    """
    labels = as_labels(data, name)
    if positive is not None:
        chosen: npt.NDArray[np.bool_] = reduce(np.logical_or, [labels == label for label in positive])
        return chosen.view(np.uint8)
    negative = labels.dtype.kind != "u" and labels.min(initial=0) < 0
    if negative or labels.max(initial=0) > 1:
        found = np.unique(labels)
        listed = ", ".join(str(label) for label in found[:12]) + (", ..." if len(found) > 12 else "")
        msg = f"{name} holds the labels {listed}; expected 0 and 1. Say which are foreground: positive=({found[-1]},)."
        raise ValueError(msg)
    return labels.astype(np.uint8, copy=False)
