"""The one pass over voxels that label fusion makes: which vote patterns there are, and which of them each voxel has.

A vote pattern says of each rater whether the voxel was marked, and whether it was answered at all. Of R raters there are few
different patterns beside the number of voxels, so what depends on votes alone is computed for each pattern and then looked up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.patterns import count_codes, look_up, shift_in
from mrcalib._kernels.threads import over_runs
from mrcalib.inputs import CHUNK, Order, Voxels, bit_masks, check_masks, check_roi

__all__ = ["Raters", "VotePatterns", "find_patterns"]

Raters = ArrayLike | Sequence[ArrayLike | None] | Mapping[str, ArrayLike | None]
"""Masks of 0 and 1: a stack, or a list or dict with None for a missing rater."""

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
    shape : tuple of int
        Of a mask.
    """

    answered: NDArray[np.bool_]
    marked: NDArray[np.bool_]
    count: NDArray[np.int64]
    shape: tuple[int, ...]
    _codes: NDArray[Any]  # of each voxel, flat in the order of memory
    _keys: NDArray[np.int64]  # the code of each pattern
    _n_codes: int
    _order: Order

    @property
    def n_answers(self) -> NDArray[np.int64]:
        """How many raters answered, of each pattern."""
        answers: NDArray[np.int64] = self.answered.sum(axis=1, dtype=np.int64)
        return answers

    @property
    def n_votes(self) -> NDArray[np.int64]:
        """How many raters marked the voxel, of each pattern."""
        votes: NDArray[np.int64] = self.marked.sum(axis=1, dtype=np.int64)
        return votes

    @property
    def mean_vote(self) -> NDArray[np.float64]:
        """The fraction of those who answered, of each pattern; NaN where nobody did."""
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
        chosen = self._codes[check_roi(roi, self.shape, of="the masks").ravel(order=self._order)]
        return np.bincount(chosen, minlength=self._n_codes)[self._keys]

    def require_answers(self, what: str) -> None:
        """Raise ValueError if at some voxel no rater answered, where a mask has no value for that."""
        unanswered = int(self.count[self.n_answers == 0].sum())
        if unanswered:
            msg = (
                f"At {unanswered} of {self.count.sum()} voxels no rater answered (NaN or masked), so there is no {what}; "
                "leave them out of the masks, or take soft(raters), which is NaN there."
            )
            raise ValueError(msg)


def find_patterns(
    raters: Raters, rater_axis: int | None = None, positive: int | Sequence[int] | None = None
) -> VotePatterns:
    """The vote patterns of masks; errors are those of `soft`."""
    voxels, shape = check_masks(raters, rater_axis=rater_axis, positive=positive)
    present = [rater for rater, mask in enumerate(voxels.masks) if mask is not None]
    holes = any(_has_holes(mask) for mask in voxels.masks if mask is not None)
    n_bits = len(present) * (2 if holes else 1)
    if n_bits <= DENSE_BITS:
        codes, n_codes, keys, names, count = _find_dense(voxels, present, holes=holes)
    else:
        codes, n_codes, keys, names, count = _find_sparse(voxels, present, holes=holes)
    bits = (names[:, None] >> np.arange(n_bits)) & 1 != 0
    marked, answered = np.zeros((2, names.size, voxels.n_raters), dtype=bool)
    marked[:, present] = bits[:, : len(present)]
    answered[:, present] = bits[:, len(present) :] if holes else True
    return VotePatterns(answered, marked, count, shape, codes, keys, n_codes, voxels.order)


def _find_dense(voxels: Voxels, present: Sequence[int], *, holes: bool) -> tuple[Any, ...]:
    """Codes that are the bits of who marked and, above them, of who answered; counted in a table of all codes."""
    n_bits = len(present) * (2 if holes else 1)
    codes = np.empty(voxels.n_voxels, np.uint8 if n_bits <= 8 else np.uint16)

    def work(start: int, stop: int) -> NDArray[np.int64]:
        count = np.zeros(1 << n_bits, np.int64)
        for begin in range(start, stop, CHUNK):
            end = min(begin + CHUNK, stop)
            (chunk,) = voxels.chunks(begin, end)
            out = codes[begin:end]
            if holes:
                out[:] = _names(voxels, chunk, present, holes=True)
            else:
                out[:] = 0
                for rater in reversed(present):
                    if shift_in(chunk.masks[rater], out) > 1:
                        voxels.refuse_labels(rater)
            count_codes(out, count)
        return count

    count = np.sum(over_runs(work, voxels.n_voxels), axis=0)
    keys = np.flatnonzero(count)
    return codes, count.size, keys, keys, count[keys]


def _find_sparse(voxels: Voxels, present: Sequence[int], *, holes: bool) -> tuple[Any, ...]:
    """Codes that are numbers in the list of patterns found, where a table of all possible ones would be too large."""
    codes = np.empty(voxels.n_voxels, np.uint32)
    found = []
    for start in range(0, voxels.n_voxels, CHUNK):
        (chunk,) = voxels.chunks(start, min(start + CHUNK, voxels.n_voxels))
        names, codes[start : start + CHUNK] = np.unique(
            _names(voxels, chunk, present, holes=holes), return_inverse=True
        )
        found.append(names)
    names = np.unique(np.concatenate(found))
    for number, local in enumerate(found):
        part = codes[number * CHUNK : (number + 1) * CHUNK]
        part[:] = np.searchsorted(names, local)[part]
    keys = np.arange(names.size)
    return codes, names.size, keys, names, np.bincount(codes, minlength=names.size)


def _names(voxels: Voxels, chunk: Any, present: Sequence[int], *, holes: bool) -> NDArray[np.int64]:
    """The pattern of each voxel as a number: a bit for each present rater who marked and, above, for each who answered."""
    answered, marked = bit_masks(voxels, chunk)
    if len(present) < voxels.n_raters:  # bits of missing raters are closed up
        answered, marked = (_close_up(bits, present) for bits in (answered, marked))
    return marked | answered << len(present) if holes else marked


def _close_up(bits: NDArray[np.int64], present: Sequence[int]) -> NDArray[np.int64]:
    packed = np.zeros_like(bits)
    for place, rater in enumerate(present):
        packed |= (bits >> rater & 1) << place
    return packed


def _has_holes(mask: NDArray[Any]) -> bool:
    return bool(np.ma.isMaskedArray(mask) or (mask.dtype.kind == "f" and np.isnan(mask).any()))
