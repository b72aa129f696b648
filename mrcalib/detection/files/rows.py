"""What all readers of boxes share: their options, and the way from the rows of a file to checked boxes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrcalib.detection.boxes import Boxes
from mrcalib.detection.files.box_sets import BoxSet
from mrcalib.inputs import check_choice

__all__ = [
    "Absent",
    "Crowds",
    "Failures",
    "Outside",
    "Row",
    "Rules",
    "boxes_of",
    "first_of",
    "load_json",
    "number",
    "size_of",
]

Absent = Literal["empty", "missing"]
Outside = Literal["raise", "clip"]
Crowds = Literal["raise", "drop"]
Failures = dict[str, Exception]

GROUP_NAMES = ("group", "patient", "site")
RATER_NAMES = ("rater", "annotator")
"""The names under which files give the group of an image and the rater of a box, the preferred one first."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The options of the readers (see `read_boxes`), checked.

    Raises
    ------
    ValueError
        If an option has an unknown value.
    """

    absent: Absent | None = None
    outside: Outside = "raise"
    crowds: Crowds = "raise"
    enclose: bool = False
    failures: Failures | None = None

    def __post_init__(self) -> None:
        if self.absent is not None:
            check_choice("absent", self.absent, ("empty", "missing"))
        check_choice("outside", self.outside, ("raise", "clip"))
        check_choice("crowds", self.crowds, ("raise", "drop"))

    def without_bad(self, boxes: BoxSet, bad: Failures) -> BoxSet:
        """The set without the boxes of bad images, whose errors go to ``failures``; without it the first one is raised."""
        if not bad:
            return boxes
        if self.failures is None:
            raise next(iter(bad.values()))
        self.failures.update(bad)
        sources = {
            source: {image: found for image, found in by_image.items() if image not in bad}
            for source, by_image in boxes.sources.items()
        }
        return BoxSet(boxes.images, sources, boxes.categories)


def load_json(path: str | Path) -> Any:
    """The content of a JSON file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is not JSON.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"{path} does not exist; expected a file of boxes."
        raise FileNotFoundError(msg)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not JSON: {error}."
        raise ValueError(msg) from error


@dataclass(frozen=True, slots=True)
class Row:
    """One box of a file: its place in the file (for errors), corners, score and label."""

    where: str
    corners: tuple[float, ...]
    score: float | None = None
    label: int | None = None


def boxes_of(
    rows: Sequence[Row], what: str, size: tuple[float, ...] | None, outside: Outside, n_dims: int = 2
) -> Boxes:
    """The boxes of one source in one image; ``what`` names both in errors.

    Raises
    ------
    ValueError
        If a box is bad, or only some rows have a score or a category.
    """
    if not rows:
        return Boxes(np.empty((0, 2 * (n_dims if size is None else len(size)))))
    if len({len(row.corners) for row in rows}) > 1:
        msg = f"All boxes of {what} must have the same number of dimensions; got 2-D and 3-D boxes."
        raise ValueError(msg)
    corners = np.array([row.corners for row in rows], dtype=np.float64)
    scores = _column(rows, [row.score for row in rows], "scores", what)
    labels = _column(rows, [row.label for row in rows], "a category", what)

    def checked(part: slice, image: str | None = None) -> Boxes:
        own_scores, own_labels = (None if values is None else values[part] for values in (scores, labels))
        boxes = Boxes(corners[part], own_scores, own_labels, image=image)
        if size is not None and outside == "raise":
            boxes.check_inside(size, image)
        return boxes

    try:
        boxes = checked(slice(None))
    except ValueError:
        # Boxes are checked one by one only now, to find the first bad one; checked with those before it, its number is right.
        for i, row in enumerate(rows):
            try:
                checked(slice(i, i + 1))
            except ValueError:
                checked(slice(i + 1), f"{what} ({row.where})")
        raise
    return boxes if size is None or outside == "raise" else boxes.clip(size)


def _column(rows: Sequence[Row], values: list[Any], name: str, what: str) -> Any:
    """An array of the values, or None where no row has one; ValueError where only some have."""
    known = [value is not None for value in values]
    if any(known) != all(known):
        msg = f"Either all boxes of {what} have {name}, or none; {rows[known.index(False)].where} has none."
        raise ValueError(msg)
    return np.array(values) if all(known) else None


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
    """Width, height (and depth) in a file; None if it has none of them."""
    known = [value for value in values if value not in (None, "")]
    if not known:
        return None
    lengths = tuple(number(value, "The size", where) for value in known)
    if values[:2] != list(known[:2]) or len(lengths) < 2 or not all(0 < x < math.inf for x in lengths):
        msg = f"The size of {where} must be width and height (and depth) above 0; got {list(values)}."
        raise ValueError(msg)
    return lengths


def first_of(names: Sequence[str], known: Any) -> str | None:
    """The first of the names that is known; None if none is."""
    return next((name for name in names if name in known), None)
