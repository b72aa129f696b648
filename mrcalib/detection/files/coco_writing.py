"""COCO JSON, written: what was drawn with who looked, and the results of one detector."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mrcalib._files import atomic_write
from mrcalib.detection.files.box_sets import BoxSet

__all__ = ["write_coco", "write_coco_results", "write_json"]


def write_coco(path: str | Path, boxes: BoxSet) -> None:
    """Write a COCO object with images, annotations and categories, whole or not at all.

    Every image lists the ``raters`` (or models) that looked at it, and each annotation names its ``rater``, so that
    `read_coco` reads back the same; of a single source that looked at all images this is left out.

    Parameters
    ----------
    path : str or Path
        The file.
    boxes : BoxSet
        Images without a key are numbered from 1. Boxes without labels are of category 1, "object".

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
    lone = len(boxes.sources) == 1 and all(
        found.get(image) is not None for found in boxes.sources.values() for image in boxes.images
    )
    images = []
    for name, entry in boxes.images.items():
        looked = [who for who, found in boxes.sources.items() if found.get(name) is not None]
        images.append(
            {"id": keys[name], "file_name": name}
            | dict(zip(("width", "height", "depth"), map(_short, entry.size or ()), strict=False))
            | ({} if entry.group is None else {"group": entry.group})
            | ({} if lone else {"raters": looked})
        )
    annotations: list[dict[str, Any]] = []
    for who, result in _results(boxes, keys):
        box = result["bbox"]
        extent = box[len(box) // 2 :]
        one = {"id": len(annotations) + 1, **result, "area": math.prod(extent), "iscrowd": 0}
        annotations.append(one if lone else one | {"rater": who})
    names = dict(boxes.categories) or {1: "object"}
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": label, "name": name} for label, name in names.items()],
    } | ({} if lone else {"raters": list(boxes.sources)})
    write_json(path, content)


def write_coco_results(path: str | Path, boxes: BoxSet, source: str | None = None) -> None:
    """Write the detections of one source as a list of COCO results, whole or not at all.

    Such a list does not tell which images there were: where the detector found nothing it says nothing.

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
        If boxes have no scores, or it is not said whose they are.
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
    write_json(path, results)


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON in one line, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, allow_nan=False) + "\n", encoding="utf-8")


def _results(boxes: BoxSet, keys: Mapping[str, int | str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for who, found in boxes.sources.items():
        for image, mine in found.items():
            if mine is None:
                continue
            low = mine.coordinates[:, : mine.n_dims].tolist()
            extent = mine.extent.tolist()
            for i in range(len(mine)):
                result: dict[str, Any] = {
                    "image_id": keys[image],
                    "category_id": 1 if mine.labels is None else int(mine.labels[i]),
                    "bbox": [*low[i], *extent[i]],
                }
                yield who, result if mine.scores is None else result | {"score": float(mine.scores[i])}


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
