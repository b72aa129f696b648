"""How many voxels of each bin had how many answers and votes: what calibrators of vote counts are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, bit_masks
from mrcalib.tallies import Cells

if TYPE_CHECKING:
    from mrcalib.cohort import Cohort

__all__ = ["CohortCounts", "VoteCounts"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class VoteCounts:
    """Rows in ascending order of (bin, answers, votes), all different, with the voxels (or their weight) of each.

    Attributes
    ----------
    bins, answers, votes : ndarray of shape (n_rows,), int64
    weight : ndarray of shape (n_rows,), float64
        Positive.
    """

    bins: IntArray
    answers: IntArray
    votes: IntArray
    weight: FloatArray

    @classmethod
    def of(cls, bins: IntArray, answers: IntArray, votes: IntArray, weight: FloatArray) -> Self:
        """Rows in any order, equal ones added up, those of no weight left out."""
        used = weight > 0
        keys = np.stack([bins[used], answers[used], votes[used]])
        rows, index = np.unique(keys, axis=1, return_inverse=True)
        total = np.bincount(index.ravel(), weight[used], rows.shape[1]).astype(np.float64)
        return cls(rows[0], rows[1], rows[2], total)

    @classmethod
    def of_cells(cls, cells: Cells) -> Self:
        """Those of a tally."""
        answers, votes = (np.bitwise_count(bits).astype(np.int64) for bits in (cells.present, cells.marked))
        return cls.of(cells.bin, answers, votes, cells.voxels.astype(np.float64))

    @classmethod
    def of_voxels(cls, voxels: Voxels, grid: ProbabilityGrid) -> Self:
        """Those of voxels with weights."""
        parts = [cls.of(*(np.empty(0, np.int64),) * 3, np.empty(0))]
        for chunk in voxels.chunks():
            bins = grid.locate(chunk.single()).astype(np.int64)
            answers, votes = (np.bitwise_count(bits).astype(np.int64) for bits in bit_masks(voxels, chunk))
            weight = np.ones(bins.size) if chunk.sample_weight is None else chunk.sample_weight
            known = (bins >= 0) & (answers > 0)
            parts.append(cls.of(bins[known], answers[known], votes[known], weight[known]))
        return cls.merge(parts)

    @classmethod
    def merge(cls, parts: Sequence[VoteCounts]) -> Self:
        """All rows of all parts."""
        columns = zip(*((p.bins, p.answers, p.votes, p.weight) for p in parts), strict=True)
        return cls.of(*(np.concatenate(column) for column in columns))

    def where(self, rows: NDArray[np.bool_]) -> VoteCounts:
        """Some of the rows."""
        return VoteCounts(self.bins[rows], self.answers[rows], self.votes[rows], self.weight[rows])


@dataclass(frozen=True, slots=True, eq=False)
class CohortCounts:
    """The rows of many cases on common rows, so that sums under many weights of the cases cost little.

    Attributes
    ----------
    rows : VoteCounts
        Of all cases together.
    case, index : ndarray of shape (n,), int64
        Case and row of each entry.
    voxels : ndarray of shape (n,), float64
        Voxels of this case in this row.
    """

    rows: VoteCounts
    case: IntArray
    index: IntArray
    voxels: FloatArray

    @classmethod
    def of(cls, cohort: Cohort) -> Self:
        """Those of a cohort's tallies."""
        parts = [VoteCounts.of_cells(part.cells) for part in cohort]
        keys = np.concatenate([np.stack([p.bins, p.answers, p.votes]) for p in parts], axis=1)
        rows, index = np.unique(keys, axis=1, return_inverse=True)
        voxels = np.concatenate([p.weight for p in parts])
        index = index.ravel()
        total = np.bincount(index, voxels, rows.shape[1]).astype(np.float64)
        case = np.repeat(np.arange(len(parts)), [p.weight.size for p in parts])
        return cls(VoteCounts(rows[0], rows[1], rows[2], total), case, index, voxels)

    def weighted(self, weight: FloatArray) -> VoteCounts:
        """Their sum with a factor for each case."""
        total = np.bincount(self.index, weight[self.case] * self.voxels, self.rows.weight.size).astype(np.float64)
        rows = VoteCounts(self.rows.bins, self.rows.answers, self.rows.votes, total)
        return rows.where(total > 0)
