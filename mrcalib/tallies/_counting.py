"""From checked voxels to the cells of a tally: the one pass over the voxels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.tallying import count_voxels as count_in_table
from mrcalib._kernels.tallying import unpack
from mrcalib._kernels.threads import over_runs
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import CHUNK, Voxels, bit_masks
from mrcalib.tallies._cells import Cells

__all__ = ["PATTERN_RATERS", "CountTable", "VoxelCounts", "count_voxels"]

T = TypeVar("T", bound=np.generic)

PATTERN_RATERS = 8  # up to here vote patterns are counted in a dense table of 2**R columns
TABLE_BYTES = 1 << 26  # of all dense tables of a thread
MERGE_AT = 16
_BLOCKED = np.uint64(1 << 63)
_NO_MASK = np.empty(0, np.uint8)
_NO_MASK.flags.writeable = False


def count_voxels(voxels: Voxels, grid: ProbabilityGrid, n_jobs: int | None = None) -> tuple[Cells, int]:
    """The cells of all voxels, and how many probabilities were invalid; ``n_jobs`` threads count a run of voxels each."""

    def count(start: int, stop: int) -> VoxelCounts:
        counts = VoxelCounts(grid, voxels.n_raters)
        counts.add(voxels, start, stop)
        return counts

    first, *others = over_runs(count, voxels.n_voxels, n_jobs)
    for other in others:
        first.merge(other)
    return first.cells(), first.refused


class VoxelCounts:
    """The counts of voxels while they are read, in dense tables or, where there are too many vote patterns, in sorted cells.

    A table has a column for each pattern of votes, and there is one table for each stratum and set of raters who answered.
    Where these are too many for the memory, voxels of the rarer ones are sorted instead.
    """

    def __init__(self, grid: ProbabilityGrid, n_raters: int) -> None:
        self._grid = grid
        self._in_tables = n_raters <= PATTERN_RATERS
        n_patterns = 1 << n_raters if self._in_tables else 1
        self._max_tables = max(1, TABLE_BYTES // CountTable.bytes_of(grid, n_patterns))
        # by stratum and raters who answered
        self._tables = defaultdict[tuple[int, int], CountTable](lambda: CountTable(grid, n_patterns))
        self._sorted = [Cells.empty()]
        self._refused = 0

    @property
    def refused(self) -> int:
        """How many voxels were left out because their probability is NaN or outside [0, 1]."""
        return self._refused + sum(table.refused for table in self._tables.values())

    def add(self, voxels: Voxels, start: int = 0, stop: int | None = None) -> None:
        """Count a run of voxels."""
        everyone = sum(1 << r for r, mask in enumerate(voxels.masks) if mask is not None)
        whole = self._in_tables and voxels.ready
        for chunk in voxels.chunks(start, stop, max(1, voxels.n_voxels) if whole else CHUNK):
            p = chunk.single()
            if self._in_tables and chunk.strata is None and not any(known.size for known in chunk.present):
                if self._tables[0, everyone].add(p, chunk.masks) > 1:
                    voxels.refuse_labels(next(r for r, mask in enumerate(chunk.masks) if mask.max(initial=0) > 1))
                continue
            present, marked = bit_masks(voxels, chunk)
            strata = np.zeros(p.size, np.int64) if chunk.strata is None else chunk.strata.astype(np.int64)
            rest = self._add_to_tables(p, strata, present, marked) if self._in_tables else slice(None)
            self._add_sorted(*_sorted_cells(self._grid, p[rest], strata[rest], present[rest], marked[rest]))

    def merge(self, other: VoxelCounts) -> None:
        """Add what was counted elsewhere."""
        for kind, table in other._tables.items():
            if kind in self._tables:
                self._tables[kind].merge(table)
            else:
                self._tables[kind] = table
        self._add_sorted(Cells.merge(other._sorted), other._refused)

    def cells(self) -> Cells:
        """The cells of all voxels that some rater answered."""
        tables = (table.cells(*kind) for kind, table in self._tables.items() if kind[1])
        return Cells.merge([*self._sorted, *tables])

    def _add_to_tables(
        self, p: NDArray[np.float32], strata: NDArray[np.int64], present: NDArray[np.int64], marked: NDArray[np.int64]
    ) -> NDArray[np.intp]:
        """Count the voxels whose stratum and raters have a table, and return the positions of the others."""
        kinds = strata << PATTERN_RATERS | present
        found, index, size = np.unique(kinds, return_inverse=True, return_counts=True)
        left = np.zeros(found.size, dtype=bool)
        for i in np.argsort(-size, kind="stable"):
            kind = divmod(int(found[i]), 1 << PATTERN_RATERS)
            if kind not in self._tables and len(self._tables) >= self._max_tables:
                left[i] = True
                continue
            here = np.flatnonzero(index == i)
            self._tables[kind].add(p[here], [marked[here].astype(np.uint8)])
        return np.flatnonzero(left[index])

    def _add_sorted(self, cells: Cells, refused: int) -> None:
        """Keep cells, and merge those kept when there are many, so that only different ones take memory."""
        self._sorted.append(cells)
        self._refused += refused
        if len(self._sorted) > MERGE_AT:
            self._sorted = [Cells.merge(self._sorted)]


def _sorted_cells(grid: ProbabilityGrid, p: NDArray[np.float32], *names: NDArray[np.int64]) -> tuple[Cells, int]:
    """Cells of voxels given with their (stratum, present, marked), and how many probabilities were invalid."""
    strata, present, marked = names
    bins, offset = grid.locate_with_offset(p)
    known = (bins >= 0) & (present != 0)
    columns = (strata, bins, present, marked, np.ones(p.size, np.int64), offset)
    return Cells.from_rows(*(column[known] for column in columns)), int(np.count_nonzero(bins < 0))


class CountTable:
    """A dense table of counts by bin and pattern of votes, which a kernel fills.

    The kernel adds to one uint64 a counter: the number of voxels in the high bits, the sum of their offsets in the low ones,
    and the highest bit for counters that must not count. With k bits for the number, offsets of b bits add up to less than
    2**(k + b), so 2 k + b <= 63 keeps both parts apart for 2**k - 1 voxels (8e6 with 7 bits of mantissa). After so many the
    counters are emptied into ``sums``, two int64 a bin and pattern.

    Attributes
    ----------
    refused : int
        Voxels whose probability was NaN or outside [0, 1].
    """

    def __init__(self, grid: ProbabilityGrid, n_patterns: int) -> None:
        self._grid = grid
        self._counters = grid.counters
        offset_bits = 23 - grid.mantissa_bits
        count_bits = (63 - offset_bits) // 2
        self._count_at = 63 - count_bits
        self._capacity = (1 << count_bits) - 1  # voxels between two emptyings
        self._free = self._capacity
        self._packed = np.zeros((n_patterns, self._counters.bin.size), np.uint64)
        self._packed[:, self._counters.blocked] = _BLOCKED
        self._sums = np.zeros((2, grid.n_bins, n_patterns), np.int64)
        self.refused = 0

    @staticmethod
    def bytes_of(grid: ProbabilityGrid, n_patterns: int) -> int:
        """Memory that a table takes."""
        return 8 * n_patterns * (grid.counters.bin.size + 2 * grid.n_bins)

    @property
    def sums(self) -> NDArray[np.int64]:
        """Number of voxels and sum of their offsets, of shape (2, n_bins, n_patterns)."""
        self._empty_counters()
        return self._sums

    def add(self, p: NDArray[np.float32], masks: Sequence[NDArray[np.uint8]]) -> int:
        """Count voxels with each rater's mask (an empty one is 0 everywhere), or with one mask that holds whole patterns.

        Returns
        -------
        int
            Bitwise or of all that the masks hold: more than 1 where one holds other labels than 0 and 1.
        """
        labels = start = 0
        while start < p.size:
            if self._free == 0:
                self._empty_counters()
            stop = min(p.size, start + self._free)
            answers = [constant(mask[start:stop]) for mask in masks] + [_NO_MASK] * (PATTERN_RATERS - len(masks))
            refused, seen = count_in_table(
                constant(p[start:stop]),
                tuple(answers),
                self._grid.mantissa_bits,
                self._counters.first_sub_bin,
                self._counters.sub_bin_lower,
                self._packed.reshape(-1),
                self._count_at,
            )
            labels |= seen
            self.refused += refused
            self._free -= stop - start
            start = stop
        return labels

    def merge(self, other: CountTable) -> None:
        """Add what another table of the same grid has counted."""
        self.sums[:] += other.sums
        self.refused += other.refused

    def cells(self, stratum: int, present: int) -> Cells:
        """All that was counted, as cells of a stratum and of the raters who answered."""
        count, offset_sum = self.sums.reshape(2, -1)
        filled = np.flatnonzero(count != 0)
        n_patterns = self.sums.shape[2]  # a power of 2: shifts take far less time than divisions
        bins, marked = filled >> (n_patterns.bit_length() - 1), filled & (n_patterns - 1)
        strata, raters = np.full(filled.size, stratum, np.int64), np.full(filled.size, present, np.int64)
        return Cells.from_sorted(strata, bins, raters, marked, count[filled], offset_sum[filled])

    def _empty_counters(self) -> None:
        if self._free < self._capacity:
            unpack(self._packed.reshape(-1), self._count_at, self._counters.bin, self._sums)
            self._free = self._capacity


def constant(array: NDArray[T]) -> NDArray[T]:
    """A view that cannot be written to: then all arguments have one type, and the kernel is compiled once."""
    view = array.view()
    view.flags.writeable = False
    return view
