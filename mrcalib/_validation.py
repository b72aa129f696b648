"""The one door where arrays are checked; every refusal of an array is worded here.

Inside, arrays are one-dimensional views in a common order, and nothing is copied that a chunk of voxels can convert later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.responses import Responses

__all__ = [
    "Chunk",
    "Voxels",
    "check_choice",
    "check_probs",
    "check_voxels",
    "refuse_probs",
    "responses_by_chunk",
    "voxel_responses",
]

CHUNK = 1 << 17
MAX_RATERS = 30

Order = Literal["C", "F"]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A run of voxels, converted: those inside the region of interest, with what the raters said of them."""

    probs: NDArray[Any]
    masks: list[NDArray[np.uint8]]
    present: list[NDArray[np.uint8]]
    strata: NDArray[np.uint8] | None
    soft: NDArray[np.float64] | None
    sample_weight: NDArray[np.float64] | None

    def take(self, index: NDArray[np.intp]) -> Chunk:
        """Some of the voxels; an empty mask or presence stays empty."""

        def some(array: Any) -> Any:
            return None if array is None else array[index] if array.size else array

        return Chunk(
            self.probs[index],
            [some(mask) for mask in self.masks],
            [some(known) for known in self.present],
            some(self.strata),
            some(self.soft),
            some(self.sample_weight),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """Checked probabilities and answers as flat views; ``masks`` holds None for a missing rater."""

    probs: NDArray[Any]
    masks: tuple[NDArray[Any] | None, ...]
    positive: tuple[int, ...] | None
    soft: NDArray[Any] | None
    roi: NDArray[np.bool_] | None
    strata: NDArray[np.uint8] | None
    sample_weight: NDArray[Any] | None
    case: str | None

    @property
    def n_voxels(self) -> int:
        return int(self.probs.size)

    @property
    def n_raters(self) -> int:
        return 1 if self.soft is not None else len(self.masks)

    def chunks(self, start: int = 0, stop: int | None = None, size: int = CHUNK) -> Iterator[Chunk]:
        """Convert voxels ``start`` to ``stop``, ``size`` at a time; chunks with nothing in the ROI are skipped."""
        stop = self.n_voxels if stop is None else stop
        for a in range(start, stop, size):
            part = slice(a, min(a + size, stop))
            keep = None if self.roi is None else np.flatnonzero(self.roi[part])
            if keep is not None and keep.size == 0:
                continue

            def cut(array: NDArray[Any], part: slice = part, keep: NDArray[Any] | None = keep) -> NDArray[Any]:
                piece = array[part]
                return np.ascontiguousarray(piece) if keep is None else piece[keep]

            answers = [self._answers(r, mask, cut) for r, mask in enumerate(self.masks)]
            yield Chunk(
                cut(self.probs),
                [mask for mask, _ in answers],
                [present for _, present in answers],
                None if self.strata is None else cut(self.strata),
                None if self.soft is None else cut(self.soft).astype(np.float64),
                None if self.sample_weight is None else cut(self.sample_weight).astype(np.float64),
            )

    def _answers(self, rater: int, mask: NDArray[Any] | None, cut: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """A rater's answers (0 or 1) and presence; an empty presence array stands for "at every voxel"."""
        everywhere = np.empty(0, np.uint8)
        if mask is None:
            return everywhere, everywhere
        piece = cut(mask)
        present = everywhere
        if np.ma.isMaskedArray(mask) and np.ma.getmask(piece).any():
            present = (~np.ma.getmaskarray(piece)).astype(np.uint8)
            piece = np.ma.filled(piece, 0)
        elif np.ma.isMaskedArray(mask):
            piece = np.ma.getdata(piece)
        if piece.dtype.kind == "f":
            missing = np.isnan(piece)
            if missing.any():
                known = (~missing).astype(np.uint8)
                present = known if present.size == 0 else present & known
                piece = np.where(missing, 0, piece)
        if self.positive is not None:
            piece = np.isin(piece, self.positive)
        if piece.dtype.kind == "b":
            return piece.view(np.uint8), present
        if piece.dtype != np.uint8:
            binary = piece.astype(np.uint8)
            if not np.array_equal(binary, piece):
                self.refuse_labels(rater)
            piece = binary
        return piece, present

    def refuse_labels(self, rater: int) -> None:
        """Raise for a rater whose mask holds other values than 0 and 1."""
        mask = self.masks[rater]
        found = np.unique(
            np.ma.compressed(np.ma.masked_invalid(mask)) if np.ma.isMaskedArray(mask) else np.asarray(mask)
        )
        found = found[~np.isnan(found)] if found.dtype.kind == "f" else found
        shown = ", ".join(f"{v:g}" for v in found[:6]) + (", ..." if found.size > 6 else "")
        hint = f"pass positive={found[-1]:g} if that value marks the structure"
        if found.dtype.kind == "f" and found.size > 2 and found[0] >= 0 and found[-1] <= 1:
            hint = "if it is an average over raters, pass it as one target with soft=True"
        where = f"rater {rater}{_of(self.case)}"
        msg = f"Masks of raters must hold 0 and 1 only (NaN where missing); {where} holds {shown}; {hint}."
        raise ValueError(msg)


def _of(case: str | None) -> str:
    return "" if case is None else f" of case {case!r}"


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}."
        raise ValueError(msg)


def refuse_probs(probs: NDArray[Any], refused: int, case: str | None) -> None:
    """Raise for ``refused`` probabilities that are NaN or outside [0, 1]."""
    n_nan = int(np.isnan(probs).sum())
    low, high = (float(np.nanmin(probs)), float(np.nanmax(probs))) if n_nan < probs.size else (np.nan, np.nan)
    what = f"{refused} of {probs.size} voxels are not, {n_nan} of them NaN, the others between {low:g} and {high:g}"
    if n_nan < refused and low >= -1e-5 and high <= 1 + 1e-5:
        hint = "that looks like rounding: clip them with np.clip(probs, 0, 1)"
    elif n_nan < refused:
        hint = "if these are logits, pass scipy.special.expit(logits)"
    else:
        hint = "mask them with roi="
    where = "" if case is None else f" (case {case!r})"
    msg = f"probs must lie in [0, 1]{where}: {what}; {hint}, or leave them out with invalid='drop'."
    raise ValueError(msg)


def check_probs(probs: ArrayLike, *, case: str | None = None) -> NDArray[Any]:
    """``probs`` as a floating-point array; its values are checked where they are read."""
    array = np.asarray(probs)
    if array.dtype.kind in "biu":
        msg = (
            f"probs must be floating-point probabilities; got {array.dtype}{_of(case)}. If they are stored as whole numbers, "
            "divide by the largest code (255 for uint8); if these are masks, the arguments are (probs, raters), in this order."
        )
        raise TypeError(msg)
    if array.dtype.kind != "f":
        msg = f"probs must be an array of floating-point probabilities; got {array.dtype}{_of(case)}."
        raise TypeError(msg)
    return array


def _split_raters(
    raters: Any, shape: tuple[int, ...], rater_axis: int | None, case: str | None
) -> list[NDArray[Any] | None]:
    """The raters' masks, each of ``shape``, from a stack (raters first or last), a list with None, or one mask."""
    shapes = [shape] if not (len(shape) == 2 and shape[1] == 1) else [shape, shape[:1]]
    if isinstance(raters, list | tuple) and any(r is None or np.shape(r) in shapes for r in raters):
        masks: list[NDArray[Any] | None] = [None if r is None else np.ma.asanyarray(r) for r in raters]
        for index, mask in enumerate(masks):
            if mask is not None and mask.shape not in shapes:
                msg = f"Each mask must have the shape of probs, {shape}; rater {index}{_of(case)} has {mask.shape}."
                raise ValueError(msg)
        if all(mask is None for mask in masks):
            msg = f"At least one rater must have annotated{_of(case)}; all {len(masks)} are missing (None)."
            raise ValueError(msg)
        return masks
    stack = np.ma.asanyarray(raters)
    if stack.dtype.kind not in "bifu":
        msg = f"raters must be masks of 0 and 1; got an array of {stack.dtype}{_of(case)}."
        raise TypeError(msg)
    if rater_axis is None:
        if stack.shape in shapes:
            return [stack]
        first = any(stack.shape[1:] == s for s in shapes)
        last = any(stack.shape[:-1] == s for s in shapes)
        if first and last:
            msg = (
                f"raters of shape {stack.shape} fit probs of shape {shape} with raters first and with raters last; "
                "pass rater_axis=0 or rater_axis=-1."
            )
            raise ValueError(msg)
        if not first and not last:
            _refuse_shape(stack, shape, case)
        rater_axis = 0 if first else -1
    moved = np.moveaxis(stack.data, rater_axis, 0)
    if moved.shape[1:] not in shapes:
        msg = f"With rater_axis={rater_axis} each mask has the shape {moved.shape[1:]}, but probs have {shape}{_of(case)}."
        raise ValueError(msg)
    if not np.ma.isMaskedArray(stack) or stack.mask is np.ma.nomask:
        return list(moved)
    hidden = np.moveaxis(np.ma.getmaskarray(stack), rater_axis, 0)
    return [np.ma.MaskedArray(values, mask) for values, mask in zip(moved, hidden, strict=True)]


def _refuse_shape(stack: NDArray[Any], shape: tuple[int, ...], case: str | None) -> None:
    if len(shape) == stack.ndim + 1 and stack.shape in (shape[1:], shape[:-1]):
        msg = (
            f"probs have shape {shape} and raters {stack.shape}{_of(case)}: the arguments look swapped; "
            "they are (probs, raters), in this order."
        )
    else:
        msg = (
            f"raters must be one mask of the shape of probs, {shape}, or a stack with raters first (R, *shape) or last "
            f"(*shape, R); got {stack.shape}{_of(case)}."
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
    p = check_probs(probs, case=case)
    if p.ndim == 0:
        msg = "probs must be an array of voxels; got a single number."
        raise ValueError(msg)
    target = None if isinstance(raters, list | tuple) and any(r is None for r in raters) else np.asarray(raters)
    if p.dtype.kind == "f" and target is not None and target.dtype.kind == "f" and target.size and p.size:
        _refuse_swapped(p, target)
    one_column = p.ndim == 2 and p.shape[1] == 1
    order: Order = "F" if p.flags.f_contiguous and not p.flags.c_contiguous else "C"

    soft_target = None
    masks: tuple[NDArray[Any] | None, ...] = ()
    if target is not None and _is_soft(target, p.shape, one_column=one_column, soft=soft):
        soft_target = _flat(target, order)
        if np.isnan(soft_target).any() or soft_target.min(initial=0.0) < 0 or soft_target.max(initial=0.0) > 1:
            msg = f"A soft target must lie in [0, 1] without NaN{_of(case)}."
            raise ValueError(msg)
    else:
        split = _split_raters(raters, p.shape, rater_axis, case)
        if len(split) > MAX_RATERS:
            msg = f"At most {MAX_RATERS} raters are supported; got {len(split)}{_of(case)}. Are raters last (rater_axis=-1)?"
            raise ValueError(msg)
        masks = tuple(None if m is None else _flat(m, order) for m in split)

    def like_probs(name: str, value: ArrayLike | None) -> NDArray[Any] | None:
        if value is None:
            return None
        array = np.asarray(value)
        if array.shape != p.shape and not (one_column and array.shape == p.shape[:1]):
            msg = f"{name} must have the shape of probs, {p.shape}; got {array.shape}{_of(case)}."
            raise ValueError(msg)
        return _flat(array, order)

    inside = like_probs("roi", roi)
    if inside is not None and inside.dtype != np.bool_:
        if not np.isin(np.unique(inside), (0, 1)).all():
            msg = f"roi must hold 0 and 1 only{_of(case)}; got {inside.dtype} values up to {inside.max():g}."
            raise ValueError(msg)
        inside = inside.astype(bool)
    layers = like_probs("strata", strata)
    if layers is not None:
        if layers.dtype.kind not in "biu" or layers.min(initial=0) < 0 or layers.max(initial=0) > 254:
            msg = f"strata must be whole numbers from 0 to 254{_of(case)}; got {layers.dtype}."
            raise ValueError(msg)
        layers = layers.astype(np.uint8)
    weight = like_probs("sample_weight", sample_weight)
    if weight is not None and not (np.isfinite(weight).all() and weight.min(initial=0.0) >= 0):
        msg = "sample_weight must be finite and not negative."
        raise ValueError(msg)
    labels = None if positive is None else tuple(int(v) for v in np.atleast_1d(positive))
    return Voxels(_flat(p, order), masks, labels, soft_target, inside, layers, weight, case)


def _refuse_swapped(p: NDArray[Any], target: NDArray[Any]) -> None:
    """Raise where probs are binary and raters are not, in the same shapes: the arguments were swapped."""
    if p.shape != target.shape:
        return
    sample = slice(None, None, max(1, p.size // 4096))
    some_p, some_target = p.reshape(-1)[sample], target.reshape(-1)[sample]
    if np.isin(some_p, (0, 1)).all() and ((some_target > 0) & (some_target < 1)).mean() > 0.5:
        msg = (
            "probs hold only 0 and 1 and raters mostly fractions: the arguments look swapped; they are (probs, raters)."
        )
        raise ValueError(msg)


def _is_soft(target: NDArray[Any], shape: tuple[int, ...], *, one_column: bool, soft: bool | None) -> bool:
    same = target.shape == shape or (one_column and target.shape == shape[:1])
    if soft:
        if not same or target.dtype.kind != "f":
            got = f"{target.dtype} of shape {target.shape}"
            msg = f"With soft=True raters must be one float target of the shape of probs, {shape}; got {got}."
            raise ValueError(msg)
        return True
    if soft is False or not same or target.dtype.kind != "f" or (len(shape) > 1 and not one_column):
        return False
    known = target[~np.isnan(target)]
    return not np.isin(known, (0.0, 1.0)).all()


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


def bit_masks(voxels: Voxels, chunk: Chunk) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each voxel of a chunk, the raters who answered and those who marked it, as bit masks."""
    n = chunk.probs.size
    marked = np.zeros(n, dtype=np.int64)
    if voxels.soft is not None:
        return np.ones(n, dtype=np.int64), marked
    present = np.zeros(n, dtype=np.int64)
    for r, (mask, known) in enumerate(zip(chunk.masks, chunk.present, strict=True)):
        if mask.size == 0:
            continue
        if mask.max() > 1:
            voxels.refuse_labels(r)
        bit = np.int64(1 << r)
        here = known if known.size else np.uint8(1)
        present |= np.where(here, bit, 0)
        marked |= np.where(mask & here, bit, 0)
    return present, marked
