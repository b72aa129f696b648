"""The door of the room, and the one pass over voxels: the different vote patterns, and which of them each voxel has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.patterns import count_codes, look_up, shift_in
from mrcalib._kernels.threads import over_runs
from mrcalib.inputs import CHUNK, Order, Voxels, bit_masks

__all__ = ["Raters", "VotePatterns", "find_patterns", "split_raters"]

Raters = ArrayLike | Sequence[ArrayLike | None]
"""Masks of 0 and 1: a stack, or a list with None for a missing rater."""

MAX_RATERS = 30
DENSE_BITS = 16  # up to here patterns are counted in a table of all possible ones


@dataclass(frozen=True, slots=True, eq=False)
class VotePatterns:
    """The different answers of the raters at a voxel, and which of them each voxel has.

    Attributes
    ----------
    answered, marked : ndarray of shape (n_patterns, n_raters), bool
        Who answered and who marked the voxel; a missing rater did neither.
    count : ndarray of shape (n_patterns,), int64
        Voxels of the pattern.
    """

    answered: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    count: NDArray[np.int64]
    shape: tuple[int, ...]
    _codes: NDArray[Any]
    _keys: NDArray[np.int64]
    _n_codes: int
    _order: Order

    @property
    def n_answers(self) -> NDArray[np.int64]:
        """Of each pattern, how many raters answered."""
        answers: NDArray[np.int64] = self.answered.sum(axis=1, dtype=np.int64)
        return answers

    @property
    def n_votes(self) -> NDArray[np.int64]:
        """Of each pattern, how many raters marked the voxel."""
        votes: NDArray[np.int64] = self.marked.sum(axis=1, dtype=np.int64)
        return votes

    @property
    def mean_vote(self) -> NDArray[np.float64]:
        """Of each pattern, the fraction of those who answered; NaN where nobody did."""
        answers = self.n_answers
        return np.where(answers > 0, self.n_votes / np.maximum(answers, 1), np.nan)

    def paint(self, values: NDArray[Any]) -> NDArray[Any]:
        """The array of ``shape`` in which each voxel has the value of its pattern."""
        table = np.zeros(self._n_codes, values.dtype)
        table[self._keys] = values
        out = np.empty(self._codes.size, values.dtype)
        over_runs(lambda start, stop: look_up(self._codes[start:stop], table, out[start:stop]), out.size)
        return out.reshape(self.shape, order=self._order)

    def count_inside(self, roi: ArrayLike) -> NDArray[np.int64]:
        """Voxels of each pattern inside a region; ValueError unless it has the masks' shape and holds 0 and 1 only."""
        inside = np.asarray(roi)
        if inside.shape != self.shape:
            msg = f"roi must have the shape of the masks, {self.shape}; got {inside.shape}."
            raise ValueError(msg)
        if inside.dtype != np.bool_ and not np.isin(np.unique(inside), (0, 1)).all():
            msg = f"roi must hold 0 and 1 only; got {inside.dtype} values up to {inside.max():g}; pass roi > 0."
            raise ValueError(msg)
        chosen = self._codes[inside.ravel(order=self._order).astype(bool, copy=False)]
        return np.bincount(chosen, minlength=self._n_codes)[self._keys]

    def require_answers(self, what: str) -> None:
        """ValueError if at some voxel no rater answered, where a mask has no value for that."""
        silent = int(self.count[self.n_answers == 0].sum())
        if silent:
            msg = (
                f"At {silent} of {self.count.sum()} voxels no rater answered (NaN or masked), so there is no {what}; leave "
                "them out of the masks, or take soft(raters), which is NaN there."
            )
            raise ValueError(msg)


def split_raters(raters: Raters, rater_axis: int = 0) -> list[NDArray[Any] | None]:
    """The raters' masks, of one shape, from a stack or a list; None where a rater is missing.

    Raises
    ------
    TypeError
        If they are not masks.
    ValueError
        If shapes differ, there is no voxel, no rater annotated, or there are more than 30 raters.
    """
    masks: list[NDArray[Any] | None]
    listed = isinstance(raters, list | tuple)
    if listed and (rater_axis == 0 or any(mask is None for mask in raters)):  # type: ignore[union-attr]
        masks = [None if mask is None else np.ma.asanyarray(mask) for mask in raters]  # type: ignore[union-attr]
    else:
        stack: Any = np.ma.asanyarray(raters)
        if stack.ndim == 0:
            msg = f"raters must be a stack or a list of masks; got {type(raters).__name__}."
            raise TypeError(msg)
        masks = list(np.moveaxis(stack, rater_axis, 0) if rater_axis else stack)
    if len(masks) > MAX_RATERS:
        hint = "Are raters last (rater_axis=-1), or is this one mask (pass [mask])?"
        msg = f"At most {MAX_RATERS} raters are supported; got {len(masks)}. {hint}"
        raise ValueError(msg)
    here = [(index, mask) for index, mask in enumerate(masks) if mask is not None]
    if not here:
        found = f"all {len(masks)} are missing (None)" if masks else "there are none"
        msg = f"At least one rater must have annotated; {found}."
        raise ValueError(msg)
    shape = here[0][1].shape
    for index, mask in here:
        if mask.shape != shape:
            msg = f"All masks must have one shape; rater {here[0][0]} has {shape}, rater {index} has {mask.shape}."
            raise ValueError(msg)
        if mask.dtype.kind not in "bifu":
            msg = f"raters must be masks of 0 and 1; rater {index} is an array of {mask.dtype}."
            raise TypeError(msg)
    if not shape or not here[0][1].size:
        msg = f"Each mask must be an array of at least one voxel; got the shape {shape}. One mask alone is [mask]."
        raise ValueError(msg)
    return [None if mask is None else _plain(mask) for mask in masks]


def find_patterns(masks: Sequence[NDArray[Any] | None], positive: int | Sequence[int] | None = None) -> VotePatterns:
    """The vote patterns of masks that `split_raters` has checked; ValueError if they hold other values than 0 and 1."""
    here = [index for index, mask in enumerate(masks) if mask is not None]
    known = [mask for mask in masks if mask is not None]
    order: Order = "F" if all(m.flags.f_contiguous and not m.flags.c_contiguous for m in known) else "C"
    labels = _labels(positive)
    voxels = _voxels(known, labels, order)
    holes = any(_has_holes(mask) for mask in known)
    n_bits = len(known) * (2 if holes else 1)
    if n_bits <= DENSE_BITS:
        codes, n_codes, keys, names, count = _find_dense(voxels, n_bits, holes=holes)
    else:
        codes, n_codes, keys, names, count = _find_sparse(voxels, holes=holes)
    n_raters = len(known)
    bits = (names[:, None] >> np.arange(n_bits)) & 1 != 0
    marked, answered = np.zeros((2, names.size, len(masks)), dtype=bool)
    marked[:, here] = bits[:, :n_raters]
    answered[:, here] = bits[:, n_raters:] if holes else True
    return VotePatterns(answered, marked, count, known[0].shape, codes, keys, n_codes, order)


def _voxels(masks: Sequence[NDArray[Any]], positive: tuple[int, ...] | None, order: Order) -> Voxels:
    flat: tuple[NDArray[Any], ...] = tuple(mask.ravel(order=order) for mask in masks)
    nothing = np.broadcast_to(np.float32(0), flat[0].shape)  # there are no probabilities here
    return Voxels(nothing, flat, positive, None, None, None, None, None, order)


def _find_dense(voxels: Voxels, n_bits: int, *, holes: bool) -> tuple[Any, ...]:
    """Codes that are the bits of who marked and, above them, of who answered."""
    codes = np.empty(voxels.n_voxels, np.uint8 if n_bits <= 8 else np.uint16)

    def work(start: int, stop: int) -> NDArray[np.int64]:
        count = np.zeros(1 << n_bits, np.int64)
        for begin in range(start, stop, CHUNK):
            end = min(begin + CHUNK, stop)
            (chunk,) = voxels.chunks(begin, end)
            out = codes[begin:end]
            if holes:
                present, marked = bit_masks(voxels, chunk)
                out[:] = marked | present << voxels.n_raters
            else:
                out[:] = 0
                for rater in range(voxels.n_raters - 1, -1, -1):
                    if shift_in(chunk.masks[rater], out) > 1:
                        voxels.refuse_labels(rater)
            count_codes(out, count)
        return count

    count = np.sum(over_runs(work, voxels.n_voxels), axis=0)
    keys = np.flatnonzero(count)
    return codes, count.size, keys, keys, count[keys]


def _find_sparse(voxels: Voxels, *, holes: bool) -> tuple[Any, ...]:
    """Codes that are numbers in the list of patterns found."""
    codes = np.empty(voxels.n_voxels, np.uint32)
    found = []
    for start in range(0, voxels.n_voxels, CHUNK):
        (chunk,) = voxels.chunks(start, min(start + CHUNK, voxels.n_voxels))
        present, marked = bit_masks(voxels, chunk)
        names, codes[start : start + CHUNK] = np.unique(
            marked | present << voxels.n_raters if holes else marked, return_inverse=True
        )
        found.append(names)
    names = np.unique(np.concatenate(found))
    for number, local in enumerate(found):
        part = codes[number * CHUNK : (number + 1) * CHUNK]
        part[:] = np.searchsorted(names, local)[part]
    keys = np.arange(names.size)
    return codes, names.size, keys, names, np.bincount(codes, minlength=names.size)


def _plain(mask: NDArray[Any]) -> NDArray[Any]:
    """A masked array without masked entries as a plain one."""
    return np.ma.getdata(mask) if np.ma.isMaskedArray(mask) and not np.ma.getmask(mask).any() else mask


def _has_holes(mask: NDArray[Any]) -> bool:
    return bool(np.ma.isMaskedArray(mask) or (mask.dtype.kind == "f" and np.isnan(mask).any()))


def _labels(positive: int | Sequence[int] | None) -> tuple[int, ...] | None:
    labels = None if positive is None else tuple(np.atleast_1d(positive).tolist())
    if labels is not None and (not labels or not all(isinstance(label, int) and label != 0 for label in labels)):
        msg = f"positive must be the whole-number labels that mark the structure, not 0; got {positive!r}."
        raise ValueError(msg)
    return labels
