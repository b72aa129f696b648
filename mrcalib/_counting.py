"""From checked voxels to the cells of a tally: the one pass."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from mrcalib._cells import Cells
from mrcalib._kernels.tallying import add_counts, find_keys, push_bit
from mrcalib._threads import over_runs
from mrcalib._validation import CHUNK, Chunk, Voxels, bit_masks
from mrcalib.grid import ProbabilityGrid

__all__ = ["PATTERN_RATERS", "count_voxels"]

PATTERN_RATERS = 8  # up to here vote patterns are counted in a dense table of 2**R columns


def count_voxels(voxels: Voxels, grid: ProbabilityGrid, n_jobs: int | None = None) -> tuple[Cells, int]:
    """The cells of all voxels, and how many were refused; equal runs of voxels are counted by ``n_jobs`` threads."""
    count = _count_sparse if voxels.n_raters > PATTERN_RATERS else _count_dense
    parts = over_runs(lambda start, stop: count(voxels, grid, start, stop), voxels.n_voxels, n_jobs)
    return Cells.merge([cells for cells, _ in parts]), sum(refused for _, refused in parts)


def _count_dense(voxels: Voxels, grid: ProbabilityGrid, start: int, stop: int) -> tuple[Cells, int]:
    """Cells from tables with a column for each pattern of votes."""
    shape = (grid.n_bins, 1 << voxels.n_raters, 2)
    # by stratum and raters who are present
    tables: defaultdict[tuple[int, int], NDArray[np.int64]] = defaultdict(lambda: np.zeros(shape, np.int64))
    everyone = sum(1 << r for r, mask in enumerate(voxels.masks) if mask is not None)
    keys, excess, votes = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.uint8)
    refused = 0
    for chunk in voxels.chunks(start, stop):
        n = chunk.probs.size
        p = chunk.probs.astype(np.float32, copy=False)
        find_keys(p, grid.mantissa_bits, keys, excess)
        if chunk.strata is None and not any(known.size for known in chunk.present):
            _pack(voxels, chunk, votes[:n])
            table = tables[0, everyone]
            refused += add_counts(p, keys[:n], excess[:n], votes[:n], grid.first, grid.lower, table)
            continue
        present, marked = bit_masks(voxels, chunk)
        strata = np.zeros(n, np.int64) if chunk.strata is None else chunk.strata.astype(np.int64)
        kinds = strata << PATTERN_RATERS | present
        for kind in np.unique(kinds):
            here = np.flatnonzero(kinds == kind)
            table = tables[divmod(int(kind), 1 << PATTERN_RATERS)]
            columns = marked[here].astype(np.uint8)
            refused += add_counts(p[here], keys[here], excess[here], columns, grid.first, grid.lower, table)
    parts = []
    for (stratum, present_raters), table in tables.items():
        if present_raters:
            bins, marked = np.nonzero(table[:, :, 0])
            count, total = table[bins, marked].T
            ones = np.ones(bins.size, np.int64)
            parts.append(Cells(stratum * ones, bins, present_raters * ones, marked, count, total))
    return Cells.merge(parts), refused


def _pack(voxels: Voxels, chunk: Chunk, out: NDArray[np.uint8]) -> None:
    """Rater r's answers into bit r of ``out``."""
    out[:] = 0
    for r in range(len(chunk.masks) - 1, -1, -1):
        if chunk.masks[r].size == 0:
            np.add(out, out, out=out)
        elif push_bit(chunk.masks[r], out) > 1:
            voxels.refuse_labels(r)


def _count_sparse(voxels: Voxels, grid: ProbabilityGrid, start: int, stop: int) -> tuple[Cells, int]:
    """With more raters than a dense table of patterns can hold, each chunk's cells are sorted."""
    parts = [Cells.empty()]
    keys, excess = np.empty(CHUNK, np.int32), np.empty(CHUNK, np.int32)
    refused = 0
    for chunk in voxels.chunks(start, stop):
        n = chunk.probs.size
        find_keys(chunk.probs.astype(np.float32, copy=False), grid.mantissa_bits, keys, excess)
        bins = grid.locate(chunk.probs)
        refused += int(np.count_nonzero(bins < 0))
        present, marked = bit_masks(voxels, chunk)
        strata = np.zeros(n, np.int64) if chunk.strata is None else chunk.strata.astype(np.int64)
        known = (bins >= 0) & (present != 0)
        ones = np.ones(n, np.int64)
        parts.append(
            Cells.of(*(column[known] for column in (strata, bins, present, marked, ones, excess[:n].astype(np.int64))))
        )
    return Cells.merge(parts), refused
