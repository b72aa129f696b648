"""The table of counts that a tally is: its occupied cells in one order, which makes merging exact and equality meaningful."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Cells", "Columns", "equal_rows"]

IntArray = NDArray[np.int64]
Columns: TypeAlias = tuple[NDArray[Any], ...]
MERGED_AT_ONCE = 16
_LARGEST = np.iinfo(np.int64).max


class Cells(NamedTuple):
    """Columns of equal length: how many voxels share a stratum, a bin, the raters who answered and those who marked them.

    Attributes
    ----------
    stratum, bin : ndarray of shape (n_cells,), int64
    present, marked : ndarray of shape (n_cells,), int64
        The raters who answered and those who marked the voxel, as bit masks: bit r is rater r.
    voxels : ndarray of shape (n_cells,), int64
        Number of voxels in the cell.
    offset_sum : ndarray of shape (n_cells,), int64
        Sum of the voxels' offsets from the anchor of their bin (see ``mrcalib.grid``), in the bin's unit: with the number of
        voxels it gives the sum of their probabilities.
    """

    stratum: IntArray
    bin: IntArray
    present: IntArray
    marked: IntArray
    voxels: IntArray
    offset_sum: IntArray

    @classmethod
    def from_rows(cls, *columns: ArrayLike) -> Cells:
        """Cells in ascending order of (stratum, bin, present, marked); voxels and offsets of equal cells are added up."""
        names = [np.asarray(c, dtype=np.int64) for c in columns[:4]]
        sums = [np.asarray(c, dtype=np.int64) for c in columns[4:]]
        order, starts = equal_rows(names)
        if order.size:
            names = [c[order[starts]] for c in names]
            sums = [_add_up(c[order], starts) for c in sums]
        return cls.from_sorted(*names, *sums)

    @classmethod
    def from_sorted(cls, *columns: IntArray) -> Cells:
        """Cells from columns that are in ascending order and without repetition already."""
        for column in columns:
            column.flags.writeable = False
        return cls(*columns)

    @classmethod
    def empty(cls) -> Cells:
        """No cells."""
        none = np.empty(0, dtype=np.int64)
        return cls.from_rows(none, none, none, none, none, none)

    @classmethod
    def merge(cls, parts: Sequence[Cells]) -> Cells:
        """The cells of all parts together; a few parts are merged at a time, so that little memory is taken."""
        occupied = [part for part in parts if part.bin.size]
        while len(occupied) > MERGED_AT_ONCE:
            starts = range(0, len(occupied), MERGED_AT_ONCE)
            occupied = [cls.merge(occupied[start : start + MERGED_AT_ONCE]) for start in starts]
        if len(occupied) < 2:
            return occupied[0] if occupied else cls.empty()
        return cls.from_rows(*(np.concatenate(column) for column in zip(*occupied, strict=True)))

    def narrowed(self) -> Columns:
        """The columns in the smallest integer types that hold them, for files and for sending to other processes."""
        return tuple(column.astype(np.min_scalar_type(int(column.max(initial=0)))) for column in self)

    @classmethod
    def widened(cls, columns: Columns) -> Cells:
        """The cells whose columns ``narrowed`` gave."""
        return cls.from_sorted(*(column.astype(np.int64) for column in columns))

    def where(self, rows: NDArray[np.bool_]) -> Cells:
        """Some of the cells."""
        return Cells.from_sorted(*(column[rows] for column in self))

    def equal(self, other: Cells) -> bool:
        """Whether every column is the same."""
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self, other, strict=True))


def _add_up(column: IntArray, starts: NDArray[np.intp]) -> IntArray:
    """Sums of the runs of ``column`` that begin at ``starts``; OverflowError where int64 cannot hold one."""
    sums = np.add.reduceat(column, starts)
    # Seldom can a sum wrap around at all; then sums in floating point, which cannot, tell whether one did.
    if (
        int(column.max()) > _LARGEST // column.size
        and np.add.reduceat(column.astype(np.float64), starts).max() >= 2.0**63
    ):
        msg = "There are more voxels than a tally can count; was one tally added to itself again and again?"
        raise OverflowError(msg)
    return sums


def equal_rows(names: Sequence[IntArray]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which rows are equal in all columns ``names``.

    Returns
    -------
    order : ndarray of shape (n_rows,), int
        The rows in ascending order, equal ones side by side in the order in which they were given.
    starts : ndarray of shape (n_different,), int
        Where in ``order`` each different row begins.
    """
    order = _ascending(names)
    if order.size == 0:
        return order, order
    changes = np.any([np.diff(column[order]) != 0 for column in names], axis=0)
    return order, np.flatnonzero(np.append(True, changes))


def _ascending(names: Sequence[IntArray]) -> NDArray[np.intp]:
    """The order of rows by the first name, then by the next, and so on.

    Names are joined to one whole number where that fits into 62 bits. A stable sort of whole numbers then merges parts that
    are in order already, as those of a merge are, in one pass.
    """
    spans = [int(name.max(initial=0)) + 1 for name in names]
    if prod(spans) >= 1 << 62 or any(name.min(initial=0) < 0 for name in names):
        return np.lexsort(names[::-1])
    key = names[0]
    for name, span in zip(names[1:], spans[1:], strict=True):
        key = key * span + name
    return np.argsort(key, kind="stable")
