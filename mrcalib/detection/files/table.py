"""Boxes in a CSV table with a row for each box."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mrcalib._files import atomic_write
from mrcalib.detection.boxes import Boxes
from mrcalib.detection.files.box_sets import BoxSet, ImageEntry
from mrcalib.detection.files.rows import (
    GROUP_NAMES,
    RATER_NAMES,
    Failures,
    Outside,
    Row,
    Rules,
    boxes_of,
    first_of,
    number,
    size_of,
)

__all__ = ["open_table", "read_box_csv", "write_box_csv"]

_CATEGORY = ("category", "category_id", "label")
_EDGES = ("width", "height", "depth")
_FLAT = ("x0", "y0", "x1", "y1")
_DEEP = ("x0", "y0", "z0", "x1", "y1", "z1")


def open_table(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Columns and rows, with the numbers of their lines; cells are stripped.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it has no columns of boxes, or a row has too many cells.
    """
    if not path.is_file():
        msg = f"{path} does not exist; expected a table of boxes."
        raise FileNotFoundError(msg)
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames = [column.strip() for column in table.fieldnames or ()]
        missing = [column for column in ("image", *_FLAT) if column not in columns]
        if missing:
            msg = (
                f"{path} is no table of boxes: it lacks the columns {', '.join(missing)}; its columns are "
                f"{', '.join(columns) or 'none'}."
            )
            raise ValueError(msg)
        rows = []
        for row in table:
            if None in row or None in row.values():
                msg = f"{path}, row {table.line_num} has not as many cells as the header."
                raise ValueError(msg)
            rows.append((table.line_num, {column: cell.strip() for column, cell in row.items()}))
    return list(columns), rows


def read_box_csv(
    path: str | Path, *, source: str | None = None, outside: Outside = "raise", failures: Failures | None = None
) -> BoxSet:
    """Read a table with a row for each box, or one row for each image in which a source found nothing.

    Columns: ``image``; ``x0``, ``y0``, ``x1``, ``y1`` (and ``z0``, ``z1``) in pixels; and, if there, ``width``, ``height``
    (and ``depth``) of the image, ``rater`` (``annotator``, ``model``), ``n_boxes``, ``box``, ``score``, ``category`` (a
    whole number), ``group`` (``patient``, ``site``). A source that looked at an image and found nothing has one row with
    empty corners (``box`` -1); a source without a row for an image did not look at it.

    Parameters
    ----------
    path : str or Path
        The table, UTF-8 with commas.
    source : str, optional
        Name of the rater or model where no column names it; by default the stem of the file.
    outside, failures
        As in `read_coco`.

    Returns
    -------
    BoxSet
        Images in the order of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If columns are missing, a box is bad or there twice, ``n_boxes`` is not the number of rows, or rows contradict
        each other on an image.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "boxes.csv"
    >>> _ = path.write_text("image,rater,x0,y0,x1,y1\\np1,ann,1,2,3,4\\np1,bo,,,,\\n")
    >>> boxes = read_box_csv(path)
    >>> len(boxes.of("ann", "p1")), len(boxes.of("bo", "p1"))
    (1, 0)
    >>> folder.cleanup()
    """
    rules = Rules(outside=outside, failures=failures)
    path = Path(path)
    columns, rows = open_table(path)
    source_column = first_of((*RATER_NAMES, "model"), columns)
    corners = _DEEP if "z0" in columns and "z1" in columns else _FLAT
    entries: dict[str, ImageEntry] = {}
    listings: dict[str, dict[str, _Listing]] = {}  # by source and image
    bad: Failures = {}
    for line, cells in rows:
        image = cells["image"]
        name = cells[source_column] if source_column else source or path.stem
        if not image or not name:
            msg = f"{path}, row {line} names no {'image' if not image else source_column}."
            raise ValueError(msg)
        listing = listings.setdefault(name, {}).setdefault(image, _Listing())
        where = f"{path}, row {line}"
        try:
            entry = _entry(cells, columns, f"image {image!r} ({where})")
            if entries.setdefault(image, entry) != entry:
                msg = f"Image {image!r}: {where} contradicts an earlier row on its size or group."
                raise ValueError(msg)
            listing.stated.append(cells.get("n_boxes", ""))
            if not any(cells[corner] for corner in corners):
                listing.found_nothing = True
                continue
            box = cells.get("box", "")
            if box and box in listing.boxes:
                msg = f"Image {image!r}, source {name!r}: box {box} is there twice ({where})."
                raise ValueError(msg)
            listing.boxes.add(box)
            listing.rows.append(_row(cells, columns, corners, where, image))
        except ValueError as error:
            entries.setdefault(image, ImageEntry())
            bad.setdefault(image, error)
    sources: dict[str, dict[str, Boxes | None]] = {name: {} for name in listings}
    for name, by_image in listings.items():
        for image, listing in by_image.items():
            if image in bad:
                continue
            what = f"image {image!r}, source {name!r}"
            try:
                listing.check(f"{path}: {what}")
                sources[name][image] = boxes_of(
                    listing.rows, what, entries[image].size, outside, n_dims=len(corners) // 2
                )
            except ValueError as error:
                bad.setdefault(image, error)
    every = (row.label for by_image in listings.values() for listing in by_image.values() for row in listing.rows)
    categories = {label: str(label) for label in sorted({label for label in every if label is not None})}
    return rules.without_bad(BoxSet(entries, sources, categories), bad)


@dataclass(slots=True)
class _Listing:
    """The rows of one source for one image."""

    rows: list[Row] = field(default_factory=list)
    boxes: set[str] = field(default_factory=set)
    """The names of the boxes, in the column ``box``."""
    stated: list[str] = field(default_factory=list)
    """The cells of the column ``n_boxes``."""
    found_nothing: bool = False

    def check(self, what: str) -> None:
        """Raise ValueError if the rows contradict each other on how many boxes there are."""
        n = len(self.rows)
        if self.found_nothing and (n or len(self.stated) > 1):
            msg = f"{what} has a row without a box, which says that nothing was found, and other rows."
            raise ValueError(msg)
        for stated in self.stated:
            if stated and number(stated, "n_boxes", what) != n:
                msg = f"{what} says n_boxes {stated}, but has {n} rows of boxes."
                raise ValueError(msg)


def _entry(cells: Mapping[str, str], columns: list[str], where: str) -> ImageEntry:
    group = first_of(GROUP_NAMES, columns)
    return ImageEntry(size_of([cells.get(edge) for edge in _EDGES], where), (cells[group] or None) if group else None)


def _row(cells: Mapping[str, str], columns: list[str], corners: tuple[str, ...], where: str, image: str) -> Row:
    what = f"image {image!r} ({where})"
    category = first_of(_CATEGORY, columns)
    label = cells[category] if category else ""
    if label and not label.lstrip("-").isdecimal():
        msg = f"{category} of {what} must be a whole number; got {label!r}."
        raise ValueError(msg)
    score = cells.get("score", "")
    return Row(
        where,
        tuple(number(cells[corner] or "nan", f"{corner}", what) for corner in corners),
        number(score, "The score", what) if score else None,
        int(label) if label else None,
    )


def write_box_csv(path: str | Path, boxes: BoxSet) -> None:
    """Write a table that `read_box_csv` reads back, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The table.
    boxes : BoxSet
        Keys of images and names of categories are not written.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.detection import Boxes
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "boxes.csv"
    >>> found = {"p": Boxes([[1, 2, 3, 5]], scores=[0.5])}
    >>> write_box_csv(path, BoxSet({"p": ImageEntry((90, 60))}, {"model": found}))
    >>> path.read_text().splitlines()
    ['image,width,height,rater,n_boxes,box,x0,y0,x1,y1,score', 'p,90,60,model,1,0,1.0,2.0,3.0,5.0,0.5']
    >>> folder.cleanup()
    """
    present = [found for by_image in boxes.sources.values() for found in by_image.values() if found is not None]
    deep = any(len(found) and found.n_dims == 3 for found in present)
    corners = _DEEP if deep else _FLAT
    edges = _EDGES if deep else _EDGES[:2]
    grouped = any(entry.group is not None for entry in boxes.images.values())
    scored = any(found.scores is not None for found in present)
    labelled = any(found.labels is not None and len(found) for found in present)
    header = ["image", *edges, "rater", "n_boxes", "box", *corners]
    header += ["score"] * scored + ["category"] * labelled + ["group"] * grouped
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, header, restval="", lineterminator="\n")
        table.writeheader()
        for image, entry in boxes.images.items():
            about: dict[str, Any] = {"image": image} | ({"group": entry.group or ""} if grouped else {})
            about |= {edge: f"{x:g}" if x < 1e6 else repr(x) for edge, x in zip(edges, entry.size or (), strict=False)}
            for source, by_image in boxes.sources.items():
                found = by_image.get(image)
                if found is None:
                    continue
                first_cells = about | {"rater": source, "n_boxes": len(found)}
                table.writerows(_cells(found, i, corners, first_cells) for i in range(len(found)))
                if not len(found):
                    table.writerow(first_cells | {"box": -1})


def _cells(boxes: Boxes, index: int, corners: tuple[str, ...], about: Mapping[str, Any]) -> dict[str, Any]:
    cells = dict(about) | {"box": index}
    cells |= dict(zip(corners, boxes.coordinates[index].tolist(), strict=True))
    if boxes.scores is not None:
        cells["score"] = float(boxes.scores[index])
    if boxes.labels is not None:
        cells["category"] = int(boxes.labels[index])
    return cells
