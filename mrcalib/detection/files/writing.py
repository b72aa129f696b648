"""Writing boxes as COCO JSON, with who looked at which image, and writing detections again with other scores."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib._files import atomic_write
from mrcalib.detection.files.box_sets import BoxSet
from mrcalib.detection.files.rows import load_json, number
from mrcalib.detection.files.table import open_table

__all__ = ["rescore", "write_coco", "write_coco_results"]

Scores = NDArray[np.float64]


def write_coco(path: str | Path, boxes: BoxSet) -> None:
    """Write a COCO object with images, annotations and categories, whole or not at all.

    Every image lists the ``raters`` (or models) that looked at it, and each annotation names its ``rater``, so that
    `read_coco` reads back the same; of a single source that looked at all images this is left out.

    Parameters
    ----------
    path : str or Path
        The file.
    boxes : BoxSet
        Images without a key are numbered from 1. Boxes without labels get the category 1, "object".

    Raises
    ------
    ValueError
        If two images have the same key.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.detection import Boxes
    >>> from mrcalib.detection.files import ImageEntry, read_coco
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "raters.json"
    >>> write_coco(path, BoxSet({"p": ImageEntry((90, 60))}, {"a": {"p": Boxes([[1, 2, 3, 5]])}, "b": {}}))
    >>> back = read_coco(path)
    >>> back.of("a", "p").coordinates.tolist(), back.of("b", "p")
    ([[1.0, 2.0, 3.0, 5.0]], None)
    >>> folder.cleanup()
    """
    keys = _keys(boxes)
    single = len(boxes.sources) == 1 and all(
        found.get(image) is not None for found in boxes.sources.values() for image in boxes.images
    )
    images = []
    for name, entry in boxes.images.items():
        looked = [source for source, found in boxes.sources.items() if found.get(name) is not None]
        images.append(
            {"id": keys[name], "file_name": name}
            | dict(zip(("width", "height", "depth"), map(_short, entry.size or ()), strict=False))
            | ({} if entry.group is None else {"group": entry.group})
            | ({} if single else {"raters": looked})
        )
    annotations: list[dict[str, Any]] = []
    for source, result in _results(boxes, keys):
        box = result["bbox"]
        extent = box[len(box) // 2 :]
        one = {"id": len(annotations) + 1, **result, "area": math.prod(extent), "iscrowd": 0}
        annotations.append(one if single else one | {"rater": source})
    names = dict(boxes.categories) or {1: "object"}
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label, "name": name} for label, name in names.items()],
    } | ({} if single else {"raters": list(boxes.sources)})
    _write_json(path, content)


def write_coco_results(path: str | Path, boxes: BoxSet, source: str | None = None) -> None:
    """Write the detections of one source as a list of COCO results, whole or not at all.

    Such a list contains no entry for an image in which the detector found nothing, nor any list of the images.

    Parameters
    ----------
    path : str or Path
        The file.
    boxes : BoxSet
        With scores.
    source : str, optional
        Whose boxes; needed where there are several.

    Raises
    ------
    ValueError
        If boxes have no scores, or there are several sources and none is chosen.
    """
    if source is None:
        if len(boxes.sources) != 1:
            msg = f"source must be one of {', '.join(map(repr, boxes.sources))}; a list of results is of one model."
            raise ValueError(msg)
        (source,) = boxes.sources
    one = BoxSet(boxes.images, {source: boxes.sources[source]}, boxes.categories)
    results = [result for _, result in _results(one, _keys(one))]
    if any("score" not in result for result in results):
        msg = f"The boxes of {source!r} have no scores; results of a detector have. Write them with write_coco."
        raise ValueError(msg)
    _write_json(path, results)


def _write_json(path: str | Path, content: Any) -> None:
    """Write JSON in one line, whole or not at all; numbers that are not finite are refused."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def _results(boxes: BoxSet, keys: Mapping[str, int | str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for source, by_image in boxes.sources.items():
        for image, found in by_image.items():
            if found is None:
                continue
            low = found.coordinates[:, : found.n_dims].tolist()
            extent = found.extent.tolist()
            for i in range(len(found)):
                result: dict[str, Any] = {
                    "image_id": keys[image],
                    "category_id": 1 if found.labels is None else int(found.labels[i]),
                    "bbox": [*low[i], *extent[i]],
                }
                yield source, result if found.scores is None else result | {"score": float(found.scores[i])}


def _keys(boxes: BoxSet) -> dict[str, int | str]:
    """Ids of the images: their own where all have one."""
    own = {name: entry.key for name, entry in boxes.images.items() if entry.key is not None}
    if len(own) < len(boxes.images):
        return {name: number for number, name in enumerate(boxes.images, start=1)}
    if len(set(own.values())) != len(own):
        msg = "Two images have the same key; keys must tell images apart."
        raise ValueError(msg)
    return own


def _short(length: float) -> float | int:
    return int(length) if float(length).is_integer() else length


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
        return _rescore_table(path, out, transform)
    content = load_json(path)
    listed = content.get("annotations") if isinstance(content, Mapping) else content
    if not isinstance(listed, list) or not all(isinstance(one, Mapping) for one in listed):
        msg = f"{path} holds no detections: expected COCO results, or an object with annotations that have scores."
        raise ValueError(msg)
    before = _checked_scores(
        [(one.get("score"), f"image {one.get('image_id')!r}, entry {i}") for i, one in enumerate(listed)], path
    )
    after = transform(before)
    fresh = [{**one, "score": float(score)} for one, score in zip(listed, after, strict=True)]
    _write_json(out, {**content, "annotations": fresh} if isinstance(content, Mapping) else fresh)
    return before


def _rescore_table(path: Path, out: Path, transform: Callable[[Scores], Scores]) -> Scores:
    columns, rows = open_table(path)
    if "score" not in columns:
        msg = f"{path} has no column 'score'; its columns are {', '.join(columns)}."
        raise ValueError(msg)
    boxes = [(line, cells) for line, cells in rows if any(cells[corner] for corner in ("x0", "y0", "x1", "y1"))]
    before = _checked_scores([(cells["score"], f"image {cells['image']!r}, row {line}") for line, cells in boxes], path)
    for (_, cells), score in zip(boxes, transform(before), strict=True):
        cells["score"] = repr(float(score))
    with atomic_write(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(cells for _, cells in rows)
    return before


def _checked_scores(scores: list[tuple[Any, str]], path: Path) -> Scores:
    values = []
    for score, where in scores:
        value = number(score, "The score", f"{where} of {path}")
        if not 0 <= value <= 1:
            msg = f"The score of {where} of {path} must be a probability in [0, 1]; got {value:g}."
            raise ValueError(msg)
        values.append(value)
    return np.array(values, dtype=np.float64)
