"""From checked voxels to the cells of a tally: the one pass."""

from __future__ import annotations

from collections import defaultdict
from math import prod

import numpy as np
from numpy.typing import NDArray

from mrcalib._cells import Cells
from mrcalib._kernels.tallying import add_counts, find_keys, pack_bits
from mrcalib._threads import over_runs
from mrcalib._voxels import CHUNK, Chunk, Voxels, bit_masks
from mrcalib.grid import ProbabilityGrid

__all__ = ["PATTERN_RATERS", "count_voxels"]

PATTERN_RATERS = 8  # up to here vote patterns are counted in a dense table of 2**R columns
TABLE_BYTES = 1 << 26  # of all dense tables of a thread
MERGE_AT = 16


def count_voxels(voxels: Voxels, grid: ProbabilityGrid, n_jobs: int | None = None) -> tuple[Cells, int]:
    """The cells of all voxels, and how many were refused; equal runs of voxels are counted by ``n_jobs`` threads."""
    count = _count_sparse if voxels.n_raters > PATTERN_RATERS else _count_dense
    parts = over_runs(lambda start, stop: count(voxels, grid, start, stop), voxels.n_voxels, n_jobs)
    return Cells.merge([cells for cells, _ in parts]), sum(refused for _, refused in parts)


def _count_dense(voxels: Voxels, grid: ProbabilityGrid, start: int, stop: int) -> tuple[Cells, int]:
    """Cells from tables with a column for each pattern of votes, one table a stratum and set of raters who answered.

    Where these sets are too many for a table each, the voxels of the rarer ones are sorted instead.
    """
    shape = (grid.n_bins, 1 << voxels.n_raters, 2)
    n_tables = max(1, TABLE_BYTES // (8 * prod(shape)))
    tables: defaultdict[tuple[int, int], NDArray[np.int64]] = defaultdict(lambda: np.zeros(shape, np.int64))
    rest = _Merged()
    everyone = sum(1 << r for r, mask in enumerate(voxels.masks) if mask is not None)
    keys, excess, votes = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.uint8)
    refused = 0
    for chunk in voxels.chunks(start, stop):
        n = chunk.probs.size
        p = chunk.single()
        find_keys(p, grid.mantissa_bits, keys, excess)
        if chunk.strata is None and not any(known.size for known in chunk.present):
            _pack(voxels, chunk, votes[:n])
            table = tables[0, everyone]
            refused += add_counts(p, keys[:n], excess[:n], votes[:n], grid.first, grid.lower, table)
            continue
        present, marked = bit_masks(voxels, chunk)
        strata = np.zeros(n, np.int64) if chunk.strata is None else chunk.strata.astype(np.int64)
        kinds = strata << PATTERN_RATERS | present
        found, index, size = np.unique(kinds, return_inverse=True, return_counts=True)
        sort = np.zeros(found.size, dtype=bool)
        for i in np.argsort(-size, kind="stable"):
            kind = divmod(int(found[i]), 1 << PATTERN_RATERS)
            if kind not in tables and len(tables) >= n_tables:
                sort[i] = True
                continue
            here = np.flatnonzero(index == i)
            columns = marked[here].astype(np.uint8)
            refused += add_counts(p[here], keys[here], excess[here], columns, grid.first, grid.lower, tables[kind])
        if sort.any():
            here = np.flatnonzero(sort[index])
            cells, bad = _sorted_cells(grid, p[here], excess[here], strata[here], present[here], marked[here])
            rest.add(cells)
            refused += bad
    for (stratum, present_raters), table in tables.items():
        if present_raters:
            bins, marked = np.nonzero(table[:, :, 0])
            count, total = table[bins, marked].T
            ones = np.ones(bins.size, np.int64)
            rest.add(Cells.in_order(stratum * ones, bins, present_raters * ones, marked, count, total))
    return rest.cells(), refused


def _pack(voxels: Voxels, chunk: Chunk, out: NDArray[np.uint8]) -> None:
    """Rater r's answers into bit r of ``out``."""
    if pack_bits(tuple(chunk.masks), out) > 1:
        voxels.refuse_labels(next(r for r, mask in enumerate(chunk.masks) if mask.max(initial=0) > 1))


def _count_sparse(voxels: Voxels, grid: ProbabilityGrid, start: int, stop: int) -> tuple[Cells, int]:
    """With more raters than a dense table of patterns can hold, all voxels are sorted, a chunk at a time."""
    rest = _Merged()
    keys, excess = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    refused = 0
    for chunk in voxels.chunks(start, stop):
        n = chunk.probs.size
        p = chunk.single()
        find_keys(p, grid.mantissa_bits, keys, excess)
        strata = np.zeros(n, np.int64) if chunk.strata is None else chunk.strata.astype(np.int64)
        cells, bad = _sorted_cells(grid, p, excess[:n], strata, *bit_masks(voxels, chunk))
        rest.add(cells)
        refused += bad
    return rest.cells(), refused


def _sorted_cells(
    grid: ProbabilityGrid, p: NDArray[np.float32], excess: NDArray[np.int32], *names: NDArray[np.int64]
) -> tuple[Cells, int]:
    """Cells of voxels given with their (stratum, present, marked), and how many were refused."""
    strata, present, marked = names
    bins = grid.locate(p)
    known = (bins >= 0) & (present != 0)
    columns = (strata, bins, present, marked, np.ones(p.size, np.int64), excess.astype(np.int64))
    return Cells.of(*(column[known] for column in columns)), int(np.count_nonzero(bins < 0))


class _Merged:
    """Cells that arrive in parts, merged as they come so that only different ones are held."""

    def __init__(self) -> None:
        self._parts = [Cells.empty()]

    def add(self, cells: Cells) -> None:
        self._parts.append(cells)
        if len(self._parts) > MERGE_AT:
            self._parts = [Cells.merge(self._parts)]

    def cells(self) -> Cells:
        return Cells.merge(self._parts)
