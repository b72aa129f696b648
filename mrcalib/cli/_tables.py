"""Tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ["ARROWS", "decimals", "number", "table"]

ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0", "": ""}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side: the first to the left, the others to the right.

    Examples
    --------
    >>> table(["case", "dice"], [["A", "0.9"], ["B12", "0.85"]]).splitlines()
    ['case  dice', 'A      0.9', 'B12   0.85']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def decimals(values: Sequence[float]) -> int:
    """Decimals that show three significant digits of the largest value."""
    known = [abs(value) for value in values if math.isfinite(value) and value != 0]
    return min(6, max(0, 2 - math.floor(math.log10(max(known))))) if known else 3


def number(value: float, places: int) -> str:
    """A value for a cell; a dash where it is not defined."""
    return "-" if math.isnan(value) else f"{value:.{places}f}"
