"""The rows of a tally: occupied cells in one order, which is what makes merging exact and equality meaningful."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Cells"]

IntArray = NDArray[np.int64]
MERGED_AT_ONCE = 16


class Cells(NamedTuple):
    """Columns of equal length: how many voxels share a stratum, a bin and the raters who answered and who marked them.

    Attributes
    ----------
    stratum, bin : ndarray of shape (n_cells,), int64
    present, marked : ndarray of shape (n_cells,), int64
        Bit masks: bit r is rater r.
    voxels : ndarray of shape (n_cells,), int64
        How many.
    excess : ndarray of shape (n_cells,), int64
        Sum over the voxels of how far their probability lies above the foot of its bin, in the bin's unit.
    """

    stratum: IntArray
    bin: IntArray
    present: IntArray
    marked: IntArray
    voxels: IntArray
    excess: IntArray

    @classmethod
    def of(cls, *columns: ArrayLike) -> Cells:
        """Cells in ascending order of (stratum, bin, present, marked), those that are equal added up."""
        names = [np.asarray(c, dtype=np.int64) for c in columns[:4]]
        sums = [np.asarray(c, dtype=np.int64) for c in columns[4:]]
        order = _ascending(names)
        if order.size:
            names = [c[order] for c in names]
            starts = np.flatnonzero(np.append(True, np.any([np.diff(c) != 0 for c in names], axis=0)))
            names = [c[starts] for c in names]
            sums = [np.add.reduceat(c[order], starts) for c in sums]
        return cls.in_order(*names, *sums)

    @classmethod
    def in_order(cls, *columns: IntArray) -> Cells:
        """Cells that are different and in ascending order already."""
        for column in columns:
            column.flags.writeable = False
        return cls(*columns)

    @classmethod
    def empty(cls) -> Cells:
        """No cells."""
        none = np.empty(0, dtype=np.int64)
        return cls.of(none, none, none, none, none, none)

    @classmethod
    def merge(cls, parts: Sequence[Cells]) -> Cells:
        """The cells of all parts, each of which is in order already; a few at a time, so that little memory is taken."""
        occupied = [part for part in parts if part.bin.size]
        while len(occupied) > MERGED_AT_ONCE:
            starts = range(0, len(occupied), MERGED_AT_ONCE)
            occupied = [cls.merge(occupied[start : start + MERGED_AT_ONCE]) for start in starts]
        if len(occupied) < 2:
            return occupied[0] if occupied else cls.empty()
        return cls.of(*(np.concatenate(column) for column in zip(*occupied, strict=True)))

    def where(self, rows: NDArray[np.bool_]) -> Cells:
        """Some of the cells."""
        return Cells.of(*(column[rows] for column in self))

    def equal(self, other: Cells) -> bool:
        """Whether every column is the same."""
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self, other, strict=True))


def _ascending(names: Sequence[IntArray]) -> NDArray[np.intp]:
    """The order of rows by the first name, then by the next; parts that are in order already are merged in one go."""
    spans = [int(name.max(initial=0)) + 1 for name in names]
    if prod(spans) >= 1 << 62 or any(name.min(initial=0) < 0 for name in names):
        return np.lexsort(names[::-1])
    key = names[0]
    for name, span in zip(names[1:], spans[1:], strict=True):
        key = key * span + name
    return np.argsort(key, kind="stable")
