"""Cells of tallies as they travel between processes: in the smallest whole numbers that hold them, without their grid."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mrcalib.grid import ProbabilityGrid
from mrcalib.tallies import Cells

__all__ = ["Columns", "packed", "shared_grid", "unpacked"]

Columns: TypeAlias = tuple[NDArray[Any], ...]


def packed(cells: Cells) -> Columns:
    """The columns of cells, none of which is negative, each in the smallest type."""
    return tuple(column.astype(np.min_scalar_type(int(column.max(initial=0)))) for column in cells)


def unpacked(columns: Columns) -> Cells:
    """What was packed."""
    return Cells.in_order(*(column.astype(np.int64) for column in columns))


@lru_cache(maxsize=8)
def shared_grid(mantissa_bits: int, edges: tuple[float, ...]) -> ProbabilityGrid:
    """One grid a process: its tables are larger than most tallies."""
    return ProbabilityGrid(mantissa_bits, edges)
