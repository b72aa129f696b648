"""The raters' masks: a stack with raters first or last, a list with None, a dict of names, or one mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs.arrays import as_array, voxel_shapes
from mrcalib.inputs.messages import of_case

__all__ = ["MAX_RATERS", "split_raters"]

MAX_RATERS = 30
SAMPLE = 4096  # voxels that are looked at to recognise swapped arguments


def split_raters(
    raters: Any, probs: NDArray[Any], rater_axis: int | None = None, case: str | None = None
) -> list[NDArray[Any] | None]:
    """The raters' masks, each of the shape of probs, from a stack, a list with None, a dict, or one mask."""
    raters = list(raters.values()) if isinstance(raters, Mapping) else raters
    shape, shapes = probs.shape, voxel_shapes(probs.shape)
    masks: list[NDArray[Any] | None]
    listed = isinstance(raters, list | tuple) and (rater_axis is None or any(r is None for r in raters))
    if listed and any(r is None or np.shape(r) in shapes for r in raters):
        masks = [None if r is None else _plain(as_array(r)) for r in raters]
        for index, mask in enumerate(masks):
            if mask is not None and mask.shape not in shapes:
                msg = f"Each mask must have the shape of probs, {shape}; rater {index}{of_case(case)} has {mask.shape}."
                raise ValueError(msg)
    else:
        masks = _split_stack(np.ma.asanyarray(as_array(raters)), probs, rater_axis, case)
    if all(mask is None for mask in masks):
        found = f"all {len(masks)} are missing (None)" if masks else "the stack of masks is empty"
        msg = f"At least one rater must have annotated{of_case(case)}; {found}."
        raise ValueError(msg)
    if len(masks) > MAX_RATERS:
        hint = "Are raters last (rater_axis=-1)?"
        msg = f"At most {MAX_RATERS} raters are supported; got {len(masks)}{of_case(case)}. {hint}"
        raise ValueError(msg)
    return masks


def _plain(array: Any) -> Any:
    """The array without the costs of a masked one, where nothing is masked."""
    return np.ma.getdata(array) if np.ma.getmask(array) is np.ma.nomask else array


def _split_stack(
    stack: Any, probs: NDArray[Any], rater_axis: int | None, case: str | None
) -> list[NDArray[Any] | None]:
    shape, shapes = probs.shape, voxel_shapes(probs.shape)
    if stack.dtype.kind not in "bifu":
        msg = f"raters must be masks of 0 and 1; got an array of {stack.dtype}{of_case(case)}."
        raise TypeError(msg)
    if rater_axis is None:
        if stack.shape in shapes:
            return [stack]
        first, last = stack.shape[1:] in shapes, stack.shape[:-1] in shapes
        if first and last:
            msg = (
                f"raters of shape {stack.shape} fit probs of shape {shape} with raters first and with raters last; "
                "pass rater_axis=0 or rater_axis=-1."
            )
            raise ValueError(msg)
        if not first and not last:
            _refuse_shape(stack, probs, case)
        rater_axis = 0 if first else -1
    moved = np.moveaxis(stack.data, rater_axis, 0)
    if moved.shape[1:] not in shapes:
        got = f"each mask has the shape {moved.shape[1:]}, but probs have {shape}"
        msg = f"With rater_axis={rater_axis} {got}{of_case(case)}."
        raise ValueError(msg)
    if not np.ma.isMaskedArray(stack) or stack.mask is np.ma.nomask:
        return list(moved)
    hidden = np.moveaxis(np.ma.getmaskarray(stack), rater_axis, 0)
    return [np.ma.MaskedArray(values, mask) for values, mask in zip(moved, hidden, strict=True)]


def _refuse_shape(stack: NDArray[Any], probs: NDArray[Any], case: str | None) -> None:
    shape = probs.shape
    if len(shape) == stack.ndim + 1 and stack.shape in (shape[1:], shape[:-1]):
        some = probs.reshape(-1)[:: max(1, probs.size // SAMPLE)]
        if np.isin(some, (0, 1)).all():
            msg = (
                f"probs have shape {shape} and raters {stack.shape}{of_case(case)}: the arguments look swapped; "
                "they are (probs, raters), in this order."
            )
        else:
            msg = (
                f"probs have one axis more, {shape}, than raters, {stack.shape}{of_case(case)}. If it holds classes or "
                "members of an ensemble, pass one map: the foreground channel, or the mean."
            )
    else:
        msg = (
            f"raters must be one mask of the shape of probs, {shape}, or a stack with raters first (R, *shape) or last "
            f"(*shape, R); got {stack.shape}{of_case(case)}."
        )
    raise ValueError(msg)
