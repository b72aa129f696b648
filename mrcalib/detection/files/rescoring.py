"""New scores in a file of detections, all else as it was."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib._files import atomic_write
from mrcalib.detection.files.coco import load_json
from mrcalib.detection.files.coco_writing import write_json
from mrcalib.detection.files.rows import number
from mrcalib.detection.files.table import open_table

__all__ = ["rescore"]

Scores = NDArray[np.float64]


def rescore(path: str | Path, out: str | Path, transform: Callable[[Scores], Scores]) -> Scores:
    """Write a file of detections again with other scores; all other fields, order and ids stay.

    Parameters
    ----------
    path : str or Path
        COCO JSON whose annotations or results have a ``score``, or a CSV table of boxes with such a column.
    out : str or Path
        Where to write; not ``path``. Written whole or not at all.
    transform : callable
        From all scores to new ones, such as a calibrator's ``transform``.

    Returns
    -------
    ndarray of shape (n,)
        The scores that the file had.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a detection has no score, or one outside [0, 1], or the output is the input.

    Examples
    --------
    >>> import json, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "found.json"
    >>> _ = path.write_text('[{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5, "note": "kept"}]')
    >>> rescore(path, path.with_name("calibrated.json"), lambda scores: scores**2).tolist()
    [0.5]
    >>> json.loads(path.with_name("calibrated.json").read_text())[0]["score"]
    0.25
    >>> folder.cleanup()
    """
    path, out = Path(path), Path(out)
    if out.exists() and out.samefile(path):
        msg = f"The output {out} is the input; inputs are never overwritten."
        raise ValueError(msg)
    if path.suffix.lower() == ".csv":
        return _table(path, out, transform)
    content = load_json(path)
    listed = content.get("annotations") if isinstance(content, Mapping) else content
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        msg = f"{path} holds no detections: expected COCO results, or an object with annotations that have scores."
        raise ValueError(msg)
    before = _checked(
        [(one.get("score"), f"image {one.get('image_id')!r}, entry {i}") for i, one in enumerate(listed)], path
    )
    after = transform(before)
    fresh = [{**one, "score": float(score)} for one, score in zip(listed, after, strict=True)]
    write_json(out, {**content, "annotations": fresh} if isinstance(content, Mapping) else fresh)
    return before


def _table(path: Path, out: Path, transform: Callable[[Scores], Scores]) -> Scores:
    columns, rows = open_table(path)
    if "score" not in columns:
        msg = f"{path} has no column 'score'; its columns are {', '.join(columns)}."
        raise ValueError(msg)
    boxes = [(line, cells) for line, cells in rows if any(cells[corner] for corner in ("x0", "y0", "x1", "y1"))]
    before = _checked([(cells["score"], f"image {cells['image']!r}, row {line}") for line, cells in boxes], path)
    for (_, cells), score in zip(boxes, transform(before), strict=True):
        cells["score"] = repr(float(score))
    with atomic_write(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(cells for _, cells in rows)
    return before


def _checked(scores: list[tuple[Any, str]], path: Path) -> Scores:
    values = []
    for score, where in scores:
        value = number(score, "The score", f"{where} of {path}")
        if not 0 <= value <= 1:
            msg = f"The score of {where} of {path} must be a probability in [0, 1]; got {value:g}."
            raise ValueError(msg)
        values.append(value)
    return np.array(values, dtype=np.float64)
