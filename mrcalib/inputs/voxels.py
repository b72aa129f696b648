"""Probabilities and raters as checked voxels, and as one row of responses a voxel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs.arguments import check_labels
from mrcalib.inputs.arrays import as_array, check_probs, voxel_shapes
from mrcalib.inputs.chunks import Order, Voxels, bit_masks
from mrcalib.inputs.messages import of_case, refuse_probs
from mrcalib.inputs.raters import SAMPLE, split_raters
from mrcalib.responses import Responses

__all__ = ["check_voxels", "responses_by_chunk", "voxel_responses"]


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
    raters = list(raters.values()) if isinstance(raters, Mapping) else raters
    p = check_probs(probs, case=case)
    if p.ndim == 0:
        msg = "probs must be an array of voxels; got a single number."
        raise ValueError(msg)
    order: Order = "F" if p.flags.f_contiguous and not p.flags.c_contiguous else "C"
    if soft and isinstance(raters, list | tuple) and len(raters) == 1:
        raters = raters[0]
    target = None if _is_list_of_masks(raters) else as_array(raters)
    if not soft and target is not None:
        _refuse_swapped(p, target)
    soft_target: NDArray[Any] | None = None
    masks: tuple[NDArray[Any] | None, ...] = ()
    if target is not None and _is_soft(target, p.shape, soft=soft):
        unanswered = np.ma.getmask(raters)
        hidden = hidden if unanswered is np.ma.nomask else hidden | unanswered
        soft_target = _flat(_check_soft(np.where(unanswered, 0.0, target), case), order)
    else:
        masks = tuple(None if m is None else _flat(m, order) for m in split_raters(raters, p, rater_axis, case))

    def flat(name: str, value: ArrayLike | None) -> NDArray[Any] | None:
        if value is None:
            return None
        array = np.ma.getdata(as_array(value))
        if array.shape not in voxel_shapes(p.shape):
            msg = f"{name} must have the shape of probs, {p.shape}; got {array.shape}{of_case(case)}."
            raise ValueError(msg)
        return _flat(array, order)

    inside = _check_roi(flat("roi", roi), case)
    if hidden is not np.ma.nomask and np.any(hidden):
        shown = ~_flat(hidden, order)
        inside = shown if inside is None else inside & shown
    labels = check_labels(positive)
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
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
    positive: int | Sequence[int] | None = None,
    soft: bool | None = None,
    voxel_volume: float = 1.0,
) -> Iterator[Responses]:
    """One row of ``Responses`` for each voxel of the ROI that a rater answered, a chunk at a time."""
    voxels = check_voxels(
        probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, positive=positive, soft=soft
    )
    for chunk in voxels.chunks():
        if not np.all((chunk.probs >= 0) & (chunk.probs <= 1)):
            flat = voxels.probs if voxels.roi is None else voxels.probs[voxels.roi]
            refuse_probs(flat, int(np.count_nonzero(~((flat >= 0) & (flat <= 1)))), voxels.case)
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


def voxel_responses(probs: ArrayLike, raters: Any, **options: Any) -> Responses:
    """All rows of ``responses_by_chunk`` together, about 50 bytes a voxel; for statistics that need them at once."""
    parts = list(responses_by_chunk(probs, raters, **options))
    if not parts:
        voxels = check_voxels(probs, raters, **{k: v for k, v in options.items() if k != "voxel_volume"})
        none, bits = np.empty(0), None if voxels.soft is not None else np.empty(0, np.int64)
        return Responses(none, none, none, none, voxels.n_raters, bits, bits, options.get("voxel_volume", 1.0))

    def together(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    prob, count, answers, votes, present, marked = map(
        together, ("prob", "count", "answers", "votes", "present", "marked")
    )
    return Responses(prob, count, answers, votes, parts[0].n_raters, present, marked, parts[0].voxel_volume)
