"""A table of counts while it is filled: count and sum of excess of a cell in one number, so that a voxel is one addition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mrcalib._cells import Cells
from mrcalib._kernels.tallying import count_voxels, unpack
from mrcalib.grid import ProbabilityGrid

__all__ = ["PATTERN_RATERS", "PackedTable"]

T = TypeVar("T", bound=np.generic)

PATTERN_RATERS = 8  # up to here vote patterns are counted in a dense table of 2**R columns

_CLOSED = np.uint64(1 << 63)
_NO_MASK = np.empty(0, np.uint8)
_NO_MASK.flags.writeable = False


class PackedTable:
    """Counts of voxels by bin and pattern of votes.

    Attributes
    ----------
    refused : int
        Voxels that were refused.
    """

    def __init__(self, grid: ProbabilityGrid, n_patterns: int) -> None:
        self._grid = grid
        self._slots = grid.slots
        excess_bits = 23 - grid.mantissa_bits
        count_bits = (63 - excess_bits) // 2  # n counts need log2(n) bits, their excess as many and its own
        self._count_at = 63 - count_bits
        self._room = (1 << count_bits) - 1
        self._free = self._room
        self._packed = np.zeros((n_patterns, self._slots.bin.size), np.uint64)
        self._packed[:, self._slots.closed] = _CLOSED
        self._sums = np.zeros((2, grid.n_bins, n_patterns), np.int64)
        self.refused = 0

    @staticmethod
    def bytes_of(grid: ProbabilityGrid, n_patterns: int) -> int:
        """Memory that a table takes."""
        return 8 * n_patterns * (grid.slots.bin.size + 2 * grid.n_bins)

    def add(self, p: NDArray[np.float32], masks: Sequence[NDArray[np.uint8]]) -> int:
        """Count voxels with each rater's answers (an empty mask is 0), or one mask that holds whole patterns.

        Returns
        -------
        int
            Bitwise or of all that the masks hold.
        """
        seen = start = 0
        while start < p.size:
            if self._free == 0:
                self._unpack()
            stop = min(p.size, start + self._free)
            answers = [_constant(mask[start:stop]) for mask in masks] + [_NO_MASK] * (PATTERN_RATERS - len(masks))
            refused, labels = count_voxels(
                _constant(p[start:stop]),
                tuple(answers),
                self._grid.mantissa_bits,
                self._slots.turn,
                self._slots.lower,
                self._packed.reshape(-1),
                self._count_at,
            )
            seen |= labels
            self.refused += refused
            self._free -= stop - start
            start = stop
        return seen

    def take(self, other: PackedTable) -> None:
        """Add what another table of the same grid has counted."""
        self._unpack()
        other._unpack()
        self._sums += other._sums
        self.refused += other.refused

    def cells(self, stratum: int, present: int) -> Cells:
        """All that was counted, as cells of a stratum and of the raters who answered."""
        self._unpack()
        count, excess = self._sums.reshape(2, -1)
        filled = np.flatnonzero(count != 0)
        bins, marked = np.divmod(filled, self._sums.shape[2])
        every = np.ones(filled.size, np.int64)
        return Cells.in_order(stratum * every, bins, present * every, marked, count[filled], excess[filled])

    def _unpack(self) -> None:
        if self._free < self._room:
            unpack(self._packed.reshape(-1), self._count_at, self._slots.bin, self._sums)
            self._free = self._room


def _constant(array: NDArray[T]) -> NDArray[T]:
    """A view that cannot be written to: all arguments of a kernel have one type, and it is compiled once."""
    view = array.view()
    view.flags.writeable = False
    return view
