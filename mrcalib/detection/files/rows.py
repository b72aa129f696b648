"""From the rows of a file to checked boxes, so that a bad one is named by its place in the file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from mrcalib.detection.boxes import Boxes

__all__ = ["Outside", "Row", "boxes_of", "number", "size_of"]

Outside = Literal["raise", "clip"]


@dataclass(frozen=True, slots=True)
class Row:
    """One box of a file: where it stands, corners, score, label."""

    where: str
    corners: tuple[float, ...]
    score: float | None = None
    label: int | None = None


def boxes_of(
    rows: Sequence[Row], who: str, size: tuple[float, ...] | None, *, outside: Outside = "raise", n_dims: int = 2
) -> Boxes:
    """The boxes of one source in one image; ``who`` names both, for errors.

    Raises
    ------
    ValueError
        If a box is bad, or rows differ in what they tell.
    """
    from mrcalib.detection.boxes import Boxes

    if not rows:
        width = 2 * (n_dims if size is None else len(size))
        return Boxes(np.empty((0, width)))
    scored = [row.score is not None for row in rows]
    if any(scored) != all(scored):
        msg = f"Either all boxes of {who} have scores, or none; {rows[scored.index(False)].where} has none."
        raise ValueError(msg)
    if len({len(row.corners) for row in rows}) > 1:
        msg = f"All boxes of {who} must have the same number of dimensions; got 2-D and 3-D boxes."
        raise ValueError(msg)
    labelled = [row.label is not None for row in rows]
    if any(labelled) != all(labelled):
        msg = f"Either all boxes of {who} have a category, or none; {rows[labelled.index(False)].where} has none."
        raise ValueError(msg)
    corners = np.array([row.corners for row in rows], dtype=np.float64)
    scores = np.array([row.score for row in rows], dtype=np.float64) if all(scored) else None
    labels = None if rows[0].label is None else np.array([row.label for row in rows], dtype=np.int64)

    def some(stop: int, start: int = 0, image: str | None = None) -> None:
        boxes = Boxes(corners[start:stop], None if scores is None else scores[start:stop], image=image)
        if size is not None and outside == "raise":
            boxes.check_inside(size, image)

    try:
        some(len(rows))
    except ValueError:
        first = next(i for i in range(len(rows)) if _fails(some, i))
        some(first + 1, image=f"{who} ({rows[first].where})")
        raise
    boxes = Boxes(corners, scores, labels)
    return boxes if size is None or outside == "raise" else boxes.clip(size)


def _fails(check: Any, index: int) -> bool:
    try:
        check(index + 1, index)
    except ValueError:
        return True
    return False


def number(value: Any, what: str, where: str) -> float:
    """A number of a file, which may be text; NaN passes, for the checks of boxes to name."""
    if not isinstance(value, bool):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    msg = f"{what} of {where} must be a number; got {value!r}."
    raise ValueError(msg)


def size_of(values: Sequence[Any], where: str) -> tuple[float, ...] | None:
    """Width, height (and depth) as a file tells them; None if it does not."""
    known = [value for value in values if value not in (None, "")]
    if not known:
        return None
    lengths = tuple(number(value, "The size", where) for value in known)
    if values[:2] != list(known[:2]) or len(lengths) < 2 or not all(0 < x < math.inf for x in lengths):
        msg = f"The size of {where} must be width and height (and depth) above 0; got {list(values)}."
        raise ValueError(msg)
    return lengths
