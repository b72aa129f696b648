"""From checked voxels to the cells of a tally: the one pass."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from mrcalib._cells import Cells
from mrcalib._packed import PATTERN_RATERS, PackedTable
from mrcalib._threads import over_runs
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import CHUNK, Voxels, bit_masks

__all__ = ["VoxelCounts", "count_voxels"]

TABLE_BYTES = 1 << 26  # of all dense tables of a thread
MERGE_AT = 16


def count_voxels(voxels: Voxels, grid: ProbabilityGrid, n_jobs: int | None = None) -> tuple[Cells, int]:
    """The cells of all voxels, and how many were refused; equal runs of voxels are counted by ``n_jobs`` threads."""

    def count(start: int, stop: int) -> VoxelCounts:
        counts = VoxelCounts(grid, voxels.n_raters)
        counts.add(voxels, start, stop)
        return counts

    first, *others = over_runs(count, voxels.n_voxels, n_jobs)
    for other in others:
        first.take(other)
    return first.cells(), first.refused


class VoxelCounts:
    """Voxels that are counted as they come: in tables, or sorted where there are too many patterns of votes for tables."""

    def __init__(self, grid: ProbabilityGrid, n_raters: int) -> None:
        self._grid = grid
        self._in_tables = n_raters <= PATTERN_RATERS
        n_patterns = 1 << n_raters if self._in_tables else 1
        self._max_tables = max(1, TABLE_BYTES // PackedTable.bytes_of(grid, n_patterns))
        # by stratum and raters who answered
        self._tables = defaultdict[tuple[int, int], PackedTable](lambda: PackedTable(grid, n_patterns))
        self._parts = [Cells.empty()]
        self._refused = 0

    @property
    def refused(self) -> int:
        """How many probabilities were refused."""
        return self._refused + sum(table.refused for table in self._tables.values())

    def add(self, voxels: Voxels, start: int = 0, stop: int | None = None) -> None:
        """Count a run of voxels.

        Tables have a column for each pattern of votes. Where strata and sets of raters who answered are too many for a table
        each, the voxels of the rarer ones are sorted instead.
        """
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
            rest = self._to_tables(p, strata, present, marked) if self._in_tables else slice(None)
            self._merge(*_sorted_cells(self._grid, p[rest], strata[rest], present[rest], marked[rest]))

    def take(self, other: VoxelCounts) -> None:
        """Add what was counted elsewhere."""
        for kind, table in other._tables.items():
            if kind in self._tables:
                self._tables[kind].take(table)
            else:
                self._tables[kind] = table
        self._merge(Cells.merge(other._parts), other._refused)

    def cells(self) -> Cells:
        """The cells of all voxels that some rater answered."""
        return Cells.merge([*self._parts, *(table.cells(*kind) for kind, table in self._tables.items() if kind[1])])

    def _to_tables(
        self, p: NDArray[np.float32], strata: NDArray[np.int64], present: NDArray[np.int64], marked: NDArray[np.int64]
    ) -> NDArray[np.intp]:
        """Count what has a table; the others' index is returned."""
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

    def _merge(self, cells: Cells, refused: int) -> None:
        """Cells that arrive in parts are merged as they come, so that only different ones are held."""
        self._parts.append(cells)
        self._refused += refused
        if len(self._parts) > MERGE_AT:
            self._parts = [Cells.merge(self._parts)]


def _sorted_cells(grid: ProbabilityGrid, p: NDArray[np.float32], *names: NDArray[np.int64]) -> tuple[Cells, int]:
    """Cells of voxels given with their (stratum, present, marked), and how many were refused."""
    strata, present, marked = names
    bins, excess = grid.locate_with_excess(p)
    known = (bins >= 0) & (present != 0)
    columns = (strata, bins, present, marked, np.ones(p.size, np.int64), excess)
    return Cells.of(*(column[known] for column in columns)), int(np.count_nonzero(bins < 0))
