"""The one door where arrays are checked: kinds and shapes here, values (``_refusals.py``) where they are read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._refusals import of_case
from mrcalib._voxels import Order, Voxels

__all__ = ["check_choice", "check_n_bins", "check_probs", "check_voxels"]

MAX_RATERS = 30
SAMPLE = 4096  # voxels that are looked at to recognise swapped arguments


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}."
        raise ValueError(msg)


def check_n_bins(n_bins: object, minimum: int = 1) -> int:
    """``n_bins`` as an int; ValueError unless it is a whole number of at least ``minimum``."""
    if isinstance(n_bins, bool) or not isinstance(n_bins, int | np.integer) or n_bins < minimum:
        msg = f"n_bins must be a whole number of at least {minimum}; got {n_bins!r}."
        raise ValueError(msg)
    return int(n_bins)


def check_probs(probs: ArrayLike, *, case: str | None = None) -> NDArray[Any]:
    """``probs`` as a floating-point array; its values are checked where they are read."""
    try:
        array = np.asarray(probs)
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


def _split_raters(
    raters: Any, probs: NDArray[Any], rater_axis: int | None, case: str | None
) -> list[NDArray[Any] | None]:
    """The raters' masks, each of the shape of probs, from a stack, a list with None, or one mask."""
    shape, shapes = probs.shape, _shapes(probs.shape)
    masks: list[NDArray[Any] | None]
    listed = isinstance(raters, list | tuple) and (rater_axis is None or any(r is None for r in raters))
    if listed and any(r is None or np.shape(r) in shapes for r in raters):
        masks = [None if r is None else _plain(np.ma.asanyarray(r)) for r in raters]
        for index, mask in enumerate(masks):
            if mask is not None and mask.shape not in shapes:
                msg = f"Each mask must have the shape of probs, {shape}; rater {index}{of_case(case)} has {mask.shape}."
                raise ValueError(msg)
    else:
        masks = _split_stack(np.ma.asanyarray(raters), probs, rater_axis, case)
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
    shape, shapes = probs.shape, _shapes(probs.shape)
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


def _flat(array: Any, order: Order) -> NDArray[Any]:
    flat: NDArray[Any] = array.ravel(order=order)
    return flat


def check_voxels(
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
    positive: int | Sequence[int] | None = None,
    soft: bool | None = None,
    case: str | None = None,
) -> Voxels:
    """Check a map of probabilities and its raters' masks, and lay both out flat.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities. A column (n, 1) counts as n voxels.
    raters : array_like or sequence
        Masks as DESIGN section 4 takes them: raters first ``(R, *S)`` or last ``(*S, R)``, a list of masks with None for a
        missing rater, one mask of shape S, or a float target of shape S in [0, 1] (an averaged response). NaN and masked
        entries are voxels that the rater did not answer.
    roi : array_like of bool, shape S, optional
        Voxels that count; all by default.
    strata : array_like of int, shape S, optional
        Stratum of each voxel, 0 to 254.
    rater_axis : int, optional
        Where the raters are in a stack that fits both ways.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.
    positive : int or sequence of int, optional
        Label values that mark the structure, where masks do not hold 0 and 1 only.
    soft : bool, optional
        Whether ``raters`` is an averaged response. By default a one-dimensional float target with fractions is.
    case : str, optional
        Named in errors.

    Returns
    -------
    Voxels
    """
    hidden = np.ma.getmask(probs)
    p = check_probs(probs, case=case)
    if p.ndim == 0:
        msg = "probs must be an array of voxels; got a single number."
        raise ValueError(msg)
    order: Order = "F" if p.flags.f_contiguous and not p.flags.c_contiguous else "C"
    if soft and isinstance(raters, list | tuple) and len(raters) == 1:
        raters = raters[0]
    target = None if _is_list_of_masks(raters) else np.asarray(raters)
    if not soft and target is not None:
        _refuse_swapped(p, target)
    soft_target: NDArray[Any] | None = None
    masks: tuple[NDArray[Any] | None, ...] = ()
    if target is not None and _is_soft(target, p.shape, soft=soft):
        unanswered = np.ma.getmask(raters)
        hidden = hidden if unanswered is np.ma.nomask else hidden | unanswered
        soft_target = _flat(_check_soft(np.where(unanswered, 0.0, target), case), order)
    else:
        masks = tuple(None if m is None else _flat(m, order) for m in _split_raters(raters, p, rater_axis, case))

    def flat(name: str, value: ArrayLike | None) -> NDArray[Any] | None:
        if value is None:
            return None
        array = np.asarray(value)
        if array.shape not in _shapes(p.shape):
            msg = f"{name} must have the shape of probs, {p.shape}; got {array.shape}{of_case(case)}."
            raise ValueError(msg)
        return _flat(array, order)

    inside = _check_roi(flat("roi", roi), case)
    if hidden is not np.ma.nomask and np.any(hidden):
        shown = ~_flat(hidden, order)
        inside = shown if inside is None else inside & shown
    labels = None if positive is None else tuple(np.atleast_1d(positive).tolist())
    if labels is not None and (not labels or not all(isinstance(label, int) and label != 0 for label in labels)):
        msg = f"positive must be the whole-number labels that mark the structure, not 0; got {positive!r}."
        raise ValueError(msg)
    return Voxels(
        _flat(p, order),
        masks,
        labels,
        soft_target,
        inside,
        _check_strata(flat("strata", strata), case),
        _check_weight(flat("sample_weight", sample_weight)),
        case,
        order,
        takes_soft=soft is not False,
    )


def _check_roi(inside: NDArray[Any] | None, case: str | None) -> NDArray[np.bool_] | None:
    if inside is not None and inside.dtype != np.bool_ and not np.isin(np.unique(inside), (0, 1)).all():
        msg = f"roi must hold 0 and 1 only{of_case(case)}; got {inside.dtype} values up to {inside.max():g}; pass roi > 0."
        raise ValueError(msg)
    return None if inside is None else inside.astype(bool, copy=False)


def _check_strata(strata: NDArray[Any] | None, case: str | None) -> NDArray[np.uint8] | None:
    if strata is None:
        return None
    low, high = strata.min(initial=0), strata.max(initial=0)
    if strata.dtype.kind not in "biu" or low < 0 or high > 254:
        msg = f"strata must be whole numbers from 0 to 254{of_case(case)}; got {strata.dtype} from {low} to {high}."
        raise ValueError(msg)
    return strata.astype(np.uint8)


def _check_weight(weight: NDArray[Any] | None) -> NDArray[Any] | None:
    if weight is not None and not (np.isfinite(weight).all() and weight.min(initial=0.0) >= 0):
        msg = "sample_weight must be finite and not negative."
        raise ValueError(msg)
    return weight


def _check_soft(target: NDArray[Any], case: str | None) -> NDArray[Any]:
    if not np.all((target >= 0) & (target <= 1)):
        msg = f"A soft target must lie in [0, 1] without NaN{of_case(case)}."
        raise ValueError(msg)
    return target


def _shapes(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shapes of one value a voxel: that of probs, and for a column (n, 1) also (n,)."""
    return [shape, shape[:1]] if len(shape) == 2 and shape[1] == 1 else [shape]


def _is_list_of_masks(raters: Any) -> bool:
    """Whether ``raters`` lists masks as arrays or None, which must not be stacked to be looked at."""
    return isinstance(raters, list | tuple) and any(r is None or (hasattr(r, "shape") and r.shape) for r in raters)


def _refuse_swapped(probs: NDArray[Any], target: NDArray[Any]) -> None:
    """Raise where probs are binary and raters are not, in the same shape."""
    if target.dtype.kind != "f" or probs.shape != target.shape or not probs.size:
        return
    every = slice(None, None, max(1, probs.size // SAMPLE))
    some_probs, some_target = probs.reshape(-1)[every], target.reshape(-1)[every]
    suspicious = np.isin(some_probs, (0, 1)).all() and ((some_target > 0) & (some_target < 1)).any()
    if suspicious and np.isin(probs, (0, 1)).all():
        msg = (
            "probs hold only 0 and 1 and raters fractions: the arguments look swapped; they are (probs, raters). "
            "If raters are an average indeed, pass soft=True."
        )
        raise ValueError(msg)


def _is_soft(target: NDArray[Any], shape: tuple[int, ...], *, soft: bool | None) -> bool:
    """Whether the target is an averaged response: said so, or one float a voxel of a flat table, with fractions."""
    fits = target.shape in _shapes(shape) and target.dtype.kind == "f"
    if soft and not fits:
        got = f"{target.dtype} of shape {target.shape}"
        msg = f"With soft=True raters must be one float target of the shape of probs, {shape}; got {got}."
        raise ValueError(msg)
    if soft is not None or not fits:
        return bool(soft)
    flat_table = len(shape) == 1 or len(_shapes(shape)) == 2
    return flat_table and not np.isin(target[~np.isnan(target)], (0.0, 1.0)).all()
