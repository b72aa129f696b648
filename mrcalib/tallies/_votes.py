"""How many voxels of each bin had how many answers and votes: what calibrators of vote counts are fitted to.

And what some of the raters tell about how many of all raters mark a voxel: drawing raters without replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, bit_masks
from mrcalib.tallies._cells import Cells, equal_rows

__all__ = ["VoteCounts", "thinned", "thinning"]

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
    def from_rows(cls, bins: IntArray, answers: IntArray, votes: IntArray, weight: FloatArray) -> Self:
        """Vote counts from rows in any order: equal rows are added up, and rows without weight are left out."""
        used = weight > 0
        names, weight = [column[used] for column in (bins, answers, votes)], weight[used]
        order, starts = equal_rows(names)
        total = np.add.reduceat(weight[order], starts) if order.size else weight
        bins, answers, votes = (column[order[starts]] for column in names)
        return cls(bins, answers, votes, total)

    @classmethod
    def from_cells(cls, cells: Cells) -> Self:
        """Vote counts of the cells of a tally."""
        answers, votes = (np.bitwise_count(bits).astype(np.int64) for bits in (cells.present, cells.marked))
        return cls.from_rows(cells.bin, answers, votes, cells.voxels.astype(np.float64))

    @classmethod
    def from_voxels(cls, voxels: Voxels, grid: ProbabilityGrid) -> Self:
        """Vote counts of voxels, each with its sample weight."""
        parts = [cls.from_rows(*(np.empty(0, np.int64),) * 3, np.empty(0))]
        for chunk in voxels.chunks():
            bins = grid.locate(chunk.single()).astype(np.int64)
            answers, votes = (np.bitwise_count(bits).astype(np.int64) for bits in bit_masks(voxels, chunk))
            weight = np.ones(bins.size) if chunk.sample_weight is None else chunk.sample_weight
            known = (bins >= 0) & (answers > 0)
            parts.append(cls.from_rows(bins[known], answers[known], votes[known], weight[known]))
        return cls.merge(parts)

    @classmethod
    def merge(cls, parts: Sequence[VoteCounts]) -> Self:
        """Vote counts of all parts together."""
        columns = zip(*((p.bins, p.answers, p.votes, p.weight) for p in parts), strict=True)
        return cls.from_rows(*(np.concatenate(column) for column in columns))

    def where(self, rows: NDArray[np.bool_]) -> VoteCounts:
        """Some of the rows."""
        return VoteCounts(self.bins[rows], self.answers[rows], self.votes[rows], self.weight[rows])


@lru_cache(maxsize=256)
def thinning(n_all: int, n_some: int) -> FloatArray:
    """``P(m of n_some raters marked | c of n_all marked)``, of shape (n_all + 1, n_some + 1); each row sums to 1.

    ``n_some`` of the raters are drawn without regard to what they marked: a hypergeometric distribution. Read-only.

    Examples
    --------
    >>> thinning(2, 1).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    from scipy.special import comb

    c, m = np.arange(n_all + 1)[:, np.newaxis], np.arange(n_some + 1)
    table: FloatArray = comb(c, m) * comb(n_all - c, n_some - m) / comb(n_all, n_some)
    table.flags.writeable = False
    return table


def thinned(count_probs: FloatArray, n_raters: int) -> FloatArray:
    """Distributions over the votes of ``n_raters`` <= K raters, from those over the votes of all K, of shape (..., K + 1).

    Examples
    --------
    >>> import numpy as np
    >>> thinned(np.array([0.0, 1.0, 0.0]), 1).tolist()
    [0.5, 0.5]
    """
    n_all = count_probs.shape[-1] - 1
    return count_probs if n_raters == n_all else count_probs @ thinning(n_all, n_raters)
