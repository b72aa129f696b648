"""Probabilities and raters as checked voxels, and as one row of responses a voxel."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs.arguments import check_labels, check_positive
from mrcalib.inputs.arrays import as_array, check_probs, refuse_classes, voxel_shapes
from mrcalib.inputs.chunks import Order, Voxels, bit_masks
from mrcalib.inputs.messages import of_case
from mrcalib.inputs.raters import SAMPLE, is_list_of_masks, names_of_raters, split_raters
from mrcalib.responses import Responses

__all__ = ["check_masks", "check_roi", "check_voxels", "responses_by_chunk", "voxel_responses"]


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
    arguments: Collection[str] = ("roi", "rater_axis"),
) -> Voxels:
    """Check a map of probabilities and its raters' masks, and lay both out flat, without a copy where that is possible.

    Shapes, kinds and axes are checked here; values where they are read, a run of voxels at a time.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities, in any container that `as_array` takes. A column (n, 1) counts as n voxels. Masked entries are
        left out.
    raters : array_like, sequence or mapping
        What `split_raters` takes; or a float target of shape S in [0, 1], an averaged response. NaN and masked entries are
        voxels that the rater did not answer.
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
    arguments : collection of str, default=("roi", "rater_axis")
        Those of "roi", "rater_axis", "positive", "soft" and "invalid" that the function takes which the user called: errors
        advise no other.

    Returns
    -------
    Voxels

    Raises
    ------
    ValueError
        If shapes do not fit, or fit in two ways; if ``probs`` hold the channels of a softmax; or if the region, strata,
        weights or labels are not what they must be.
    TypeError
        If probabilities are not floating-point numbers, or masks not numbers.
    """
    arguments = frozenset(arguments)
    hidden = np.ma.getmask(probs)
    p = check_probs(probs, case=case)
    if p.ndim == 0:
        msg = "probs must be an array of voxels; got a single number."
        raise ValueError(msg)
    refuse_classes(p, case)
    order: Order = "F" if p.flags.f_contiguous and not p.flags.c_contiguous else "C"
    names = tuple(map(str, raters)) if isinstance(raters, Mapping) else ()
    raters = list(raters.values()) if isinstance(raters, Mapping) else raters
    if soft and isinstance(raters, list | tuple) and len(raters) == 1:
        raters = raters[0]
    target = None if is_list_of_masks(raters, p.shape) else as_array(raters)
    if not soft and target is not None:
        _refuse_swapped(p, target, arguments)
    soft_target: NDArray[Any] | None = None
    masks: tuple[NDArray[Any] | None, ...] = ()
    if target is not None and _is_soft(target, p.shape, soft=soft):
        unanswered = np.ma.getmask(target)
        hidden = hidden if unanswered is np.ma.nomask else hidden | unanswered
        soft_target = _check_soft(np.where(unanswered, 0.0, np.ma.getdata(target)), case).ravel(order=order)
    else:
        split = split_raters(raters if target is None else target, p, rater_axis, case, arguments=arguments)
        masks = tuple(None if mask is None else mask.ravel(order=order) for mask in split)

    def flat(name: str, value: ArrayLike | None) -> NDArray[Any] | None:
        return None if value is None else _beside(name, value, p.shape, case).ravel(order=order)

    inside = None if roi is None else check_roi(roi, p.shape, case).ravel(order=order)
    if hidden is not np.ma.nomask and np.any(hidden):
        shown = ~hidden.ravel(order=order)
        inside = shown if inside is None else inside & shown
    return Voxels(
        p.ravel(order=order),
        masks,
        check_labels(positive),
        soft_target,
        inside,
        _check_strata(flat("strata", strata), case),
        _check_weight(flat("sample_weight", sample_weight)),
        case,
        order,
        names or names_of_raters(raters, max(1, len(masks))),
        arguments,
    )


def check_masks(
    raters: Any,
    *,
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
    arguments: Collection[str] = ("rater_axis", "positive"),
) -> tuple[Voxels, tuple[int, ...]]:
    """Check raters' masks without probabilities, as label fusion takes them, and lay them out flat.

    Parameters
    ----------
    raters, rater_axis
        As `split_raters` takes them where there are no probabilities.
    positive : int or sequence of int, optional
        Label values that mark the structure, where masks do not hold 0 and 1 only.
    arguments : collection of str
        As for `check_voxels`.

    Returns
    -------
    voxels : Voxels
        Their probabilities are 0 everywhere.
    shape : tuple of int
        Of a mask.
    """
    masks = split_raters(raters, None, rater_axis)
    present = [mask for mask in masks if mask is not None]
    shape = present[0].shape
    order: Order = "F" if all(mask.flags.f_contiguous and not mask.flags.c_contiguous for mask in present) else "C"
    flat = tuple(None if mask is None else mask.ravel(order=order) for mask in masks)
    nothing = np.broadcast_to(np.float32(0), (present[0].size,))
    voxels = Voxels(
        nothing,
        flat,
        check_labels(positive),
        None,
        None,
        None,
        None,
        None,
        order,
        names_of_raters(raters, len(masks)),
        frozenset(arguments),
    )
    return voxels, shape


def check_roi(
    roi: ArrayLike, shape: tuple[int, ...], case: str | None = None, *, of: str = "probs"
) -> NDArray[np.bool_]:
    """A region of interest as truth values, of the ``shape`` of the voxels that it is for; ``of`` names them in the error."""
    return _check_roi(_beside("roi", roi, shape, case, of=of), case)


def _beside(
    name: str, values: ArrayLike, shape: tuple[int, ...], case: str | None, *, of: str = "probs"
) -> NDArray[Any]:
    """An array of one number a voxel."""
    array: NDArray[Any] = np.ma.getdata(as_array(values))
    if array.shape not in voxel_shapes(shape):
        msg = f"{name} must have the shape of {of}, {shape}; got {array.shape}{of_case(case)}."
        raise ValueError(msg)
    if array.dtype.kind not in "biuf":
        msg = f"{name} must hold numbers; got {array.dtype}{of_case(case)}."
        raise TypeError(msg)
    return array


def _check_roi(inside: NDArray[Any], case: str | None) -> NDArray[np.bool_]:
    if inside.dtype != np.bool_ and not np.isin(np.unique(inside), (0, 1)).all():
        msg = f"roi must hold 0 and 1 only{of_case(case)}; got {inside.dtype} values up to {inside.max():g}; pass roi > 0."
        raise ValueError(msg)
    return inside.astype(bool, copy=False)


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


def _refuse_swapped(probs: NDArray[Any], target: NDArray[Any], arguments: Collection[str]) -> None:
    """Raise where probs are binary and raters are not, in the same shape."""
    if target.dtype.kind != "f" or probs.shape != target.shape or not probs.size:
        return
    every = slice(None, None, max(1, probs.size // SAMPLE))
    some_probs, some_target = probs.reshape(-1)[every], target.reshape(-1)[every]
    suspicious = np.isin(some_probs, (0, 1)).all() and ((some_target > 0) & (some_target < 1)).any()
    if suspicious and np.isin(probs, (0, 1)).all():
        msg = "probs hold only 0 and 1 and raters fractions: the arguments look swapped; they are (probs, raters)."
        if "soft" in arguments:
            msg += " If raters are an average indeed, pass soft=True."
        raise ValueError(msg)


def _is_soft(target: NDArray[Any], shape: tuple[int, ...], *, soft: bool | None) -> bool:
    """Whether the target is an averaged response: said so, or one float a voxel of a flat table, with fractions."""
    fits = target.shape in voxel_shapes(shape) and target.dtype.kind == "f"
    if soft and not fits:
        got = f"{target.dtype} of shape {target.shape}"
        msg = f"With soft=True raters must be one float target of the shape of probs, {shape}; got {got}."
        raise ValueError(msg)
    if soft is not None or not fits:
        return bool(soft)
    flat_table = len(shape) == 1 or len(voxel_shapes(shape)) == 2
    return flat_table and not np.isin(target[~np.isnan(target)], (0.0, 1.0)).all()


def responses_by_chunk(
    probs: ArrayLike, raters: Any, *, voxel_volume: float = 1.0, **options: Any
) -> Iterator[Responses]:
    """One row of `Responses` for each voxel of the region that a rater answered, a run of voxels at a time.

    ``options`` are those of `check_voxels`. Statistics of single voxels must be exact, so their probabilities are not binned.

    Raises
    ------
    ValueError
        If probabilities are NaN or outside [0, 1], or masks hold other values than 0 and 1; or as `check_voxels`.
    """
    return _rows(check_voxels(probs, raters, **options), check_positive("voxel_volume", voxel_volume))


def _rows(voxels: Voxels, voxel_volume: float) -> Iterator[Responses]:
    for chunk in voxels.chunks():
        if not np.all((chunk.probs >= 0) & (chunk.probs <= 1)):
            voxels.refuse_probs()
        present, marked = bit_masks(voxels, chunk)
        known = present != 0
        prob = chunk.probs[known].astype(np.float64)
        count = np.ones(prob.size) if chunk.sample_weight is None else chunk.sample_weight[known]
        if chunk.soft is not None:
            yield Responses(prob, count, np.ones(prob.size), chunk.soft[known], 1, voxel_volume=voxel_volume)
            continue
        present, marked = present[known], marked[known]
        answers, votes = (np.bitwise_count(bits).astype(np.float64) for bits in (present, marked))
        yield Responses(prob, count, answers, votes, voxels.n_raters, present, marked, voxel_volume)


def voxel_responses(probs: ArrayLike, raters: Any, *, voxel_volume: float = 1.0, **options: Any) -> Responses:
    """All rows of `responses_by_chunk` together, about 50 bytes a voxel; for statistics that need them at once."""
    voxels = check_voxels(probs, raters, **options)
    volume = check_positive("voxel_volume", voxel_volume)
    parts = list(_rows(voxels, volume))
    if not parts:
        none, bits = np.empty(0), None if voxels.soft is not None else np.empty(0, np.int64)
        return Responses(none, none, none, none, voxels.n_raters, bits, bits, volume)

    def together(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    prob, count, answers, votes, present, marked = map(
        together, ("prob", "count", "answers", "votes", "present", "marked")
    )
    return Responses(prob, count, answers, votes, voxels.n_raters, present, marked, volume)
