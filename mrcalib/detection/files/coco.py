"""Reading COCO JSON: boxes of raters, in one file for each or with the rater in each annotation, and of detectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mrcalib.detection.boxes import Boxes
from mrcalib.detection.files.box_sets import BoxSet, ImageEntry
from mrcalib.detection.files.rows import (
    GROUP_NAMES,
    RATER_NAMES,
    Absent,
    Crowds,
    Failures,
    Outside,
    Row,
    Rules,
    boxes_of,
    load_json,
    number,
    size_of,
)

__all__ = ["parse_coco", "read_coco"]

_Rows: TypeAlias = dict[str, dict[str, list[Row]]]  # by source and image


def read_coco(
    path: str | Path,
    *,
    source: str | None = None,
    images: BoxSet | None = None,
    absent: Absent | None = None,
    outside: Outside = "raise",
    crowds: Crowds = "raise",
    failures: Failures | None = None,
) -> BoxSet:
    """Read COCO JSON: annotations of raters, a detector's results, or both in one form.

    An object with ``images``, ``annotations`` and ``categories`` is of one source, who looked at all its images, unless
    each annotation names its ``rater`` (or ``annotator``). Images may list their ``raters``, those who looked and found
    nothing included, and their ``group`` (``patient``, ``site``). Annotations may have a ``score``. A list is
    results of a detector that ran on all ``images``. A ``bbox`` is x, y, width, height; or x, y, z, width, height, depth.

    Parameters
    ----------
    path : str or Path
        The file.
    source : str, optional
        Name of its rater or model; by default the stem of the file. Annotations that name their rater keep that name.
    images : BoxSet, optional
        The images that a list of results is about, and the known categories.
    absent : {"empty", "missing"}, optional
        Whether a rater without a box in an image that does not list its ``raters`` found nothing there, or did not look.
        By default a file in which this matters is refused.
    outside : {"raise", "clip"}, default="raise"
        What becomes of boxes that reach outside an image of known size.
    crowds : {"raise", "drop"}, default="raise"
        What becomes of annotations of whole crowds (``iscrowd``), which are no objects.
    failures : dict, optional
        Filled with the error of each image that has a bad box, by name. The image stays among the images, without boxes;
        `detection_images` leaves it out with ``skip=failures``. By default the first error is raised.

    Returns
    -------
    BoxSet
        Images are named by ``file_name``, or by their id where they have none. Labels are category ids. Without
        annotations, no boxes: all found nothing.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not COCO JSON; an id is there twice; an image or a category is not known; a box is inverted, without
        extent, outside the image or not finite; or it is unknown who looked at an image.

    References
    ----------
    .. [1] https://cocodataset.org/#format-data and https://cocodataset.org/#format-results

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> import json
    >>> path = Path(folder.name) / "ann.json"
    >>> _ = path.write_text(json.dumps({
    ...     "images": [{"id": 1, "file_name": "p1.png", "width": 90, "height": 60}, {"id": 2, "file_name": "p2.png"}],
    ...     "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 20, 30, 40]}],
    ...     "categories": [{"id": 1, "name": "organoid"}]}))
    >>> boxes = read_coco(path)
    >>> boxes.of("ann", "p1.png").coordinates.tolist(), len(boxes.of("ann", "p2.png"))
    ([[10.0, 20.0, 40.0, 60.0]], 0)
    >>> folder.cleanup()
    """
    rules = Rules(absent, outside, crowds, failures=failures)
    return parse_coco(load_json(path), Path(path), rules, source=source, images=images)


def parse_coco(
    content: Any, path: Path, rules: Rules, *, source: str | None = None, images: BoxSet | None = None
) -> BoxSet:
    """The boxes in the content of a COCO file; see `read_coco`."""
    frame = _frame(content, path, images)
    field = _rater_field(frame.annotations, path)
    bad: Failures = {}
    rows = _rows_of(frame, field, source or path.stem, rules, bad)
    if field is None:
        rows = _of_the_only_source(frame, rows, source or path.stem)
    # Annotations that name no rater are of one source, who looked at all images.
    sources = _sources_of(frame, rows, rules.absent if field else "empty", rules.outside, bad)
    found = (row.label for by_image in rows.values() for listed in by_image.values() for row in listed)
    labels = sorted({label for label in found if label is not None})
    categories = frame.categories or {label: str(label) for label in labels}
    return rules.without_bad(BoxSet(frame.entries, sources, categories), bad)


@dataclass(frozen=True, slots=True)
class _Frame:
    """The content of a file besides boxes: images, who looked at each (None where the file does not say), categories."""

    path: Path
    entries: dict[str, ImageEntry]
    looked: dict[str, list[str] | None]
    categories: dict[int, str]
    annotations: list[Any]
    raters: list[str]

    @property
    def named(self) -> list[str]:
        """All raters that an image lists."""
        return list(dict.fromkeys(rater for raters in self.looked.values() if raters for rater in raters))


def _frame(content: Any, path: Path, images: BoxSet | None) -> _Frame:
    if not isinstance(content, list):
        entries, looked = _images(content, path)
        annotations, categories = _list_of(content, "annotations", path), _categories(content, path)
    elif images is not None:
        entries, looked = dict(images.images), dict.fromkeys(images.images)
        annotations, categories = content, dict(images.categories)
    else:
        msg = (
            f"{path} is a list of results, which names images by number only: give the file with the images too "
            "(images=; on the command line --raters or --images)."
        )
        raise ValueError(msg)
    _check_ids([one.get("id") for one in annotations if isinstance(one, Mapping)], "annotation", path)
    raters = content.get("raters") or [] if isinstance(content, Mapping) else []
    return _Frame(path, entries, looked, categories, annotations, [str(rater) for rater in raters])


def _rows_of(frame: _Frame, field: str | None, only_source: str, rules: Rules, bad: Failures) -> _Rows:
    """The boxes by source and image; the first error of each image goes to ``bad``."""
    names = _names_by_key(frame.entries, frame.path)
    rows: _Rows = {}
    for position, one in enumerate(frame.annotations):
        image = _image_of(one, position, names, frame.path)
        source = str(one[field]) if field else only_source
        listed = rows.setdefault(source, {}).setdefault(image, [])
        where = f"{frame.path}, {_place(one, position)}"
        try:
            if not one.get("iscrowd"):
                listed.append(_row(one, where, image, frame.categories))
            elif rules.crowds == "raise":
                msg = (
                    f"Image {image!r}, source {source!r}: {where} is a crowd (iscrowd), which is no object; leave crowds out "
                    "by crowds='drop'."
                )
                raise ValueError(msg)
        except ValueError as error:
            bad.setdefault(image, error)
    return rows


def _of_the_only_source(frame: _Frame, rows: _Rows, source: str) -> _Rows:
    """The rows of annotations that name no rater, under the name of their source."""
    only = next(iter(rows.values()), {})
    named = frame.named
    if not named:
        return {source: only}
    if only and len(named) > 1:
        msg = f"{frame.path}: images list the raters {', '.join(named)}, but annotations do not name theirs (field 'rater')."
        raise ValueError(msg)
    return {named[0]: only}


def _sources_of(
    frame: _Frame, rows: _Rows, absent: Absent | None, outside: Outside, bad: Failures
) -> dict[str, dict[str, Boxes | None]]:
    """The boxes of each source in each image that it looked at."""
    sources: dict[str, dict[str, Boxes | None]] = {
        source: {} for source in dict.fromkeys([*frame.raters, *frame.named, *rows])
    }
    for image, entry in frame.entries.items():
        n_dims = 2 if entry.size is None else len(entry.size)
        try:
            for source, found in sources.items():
                drawn = rows.get(source, {}).get(image)
                if _looked(frame, image, source, absent, drew=drawn is not None):
                    what = f"image {image!r}, source {source!r}"
                    found[image] = boxes_of(drawn or [], what, entry.size, outside, n_dims)
        except ValueError as error:
            bad.setdefault(image, error)
    return sources


def _looked(frame: _Frame, image: str, source: str, absent: Absent | None, *, drew: bool) -> bool:
    raters = frame.looked[image]
    if raters is not None:
        if drew and source not in raters:
            msg = f"{frame.path}: {source!r} has boxes in image {image!r}, whose list of raters is {', '.join(raters)}."
            raise ValueError(msg)
        return source in raters
    if not drew and absent is None:
        msg = (
            f"{frame.path}: rater {source!r} has no box in image {image!r}, and the image does not list its raters. Did the "
            "rater look and find nothing (absent='empty'), or not look (absent='missing')?"
        )
        raise ValueError(msg)
    return drew or absent == "empty"


def _list_of(content: Any, key: str, path: Path) -> list[Any]:
    found = content.get(key) if isinstance(content, Mapping) else None
    if not isinstance(found, list):
        has = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        msg = f"{path} is not COCO JSON: it has no list {key!r} (it has {has or 'nothing'})."
        raise ValueError(msg)
    return found


def _images(content: Any, path: Path) -> tuple[dict[str, ImageEntry], dict[str, list[str] | None]]:
    """Images by name, and the raters who looked at each; None where the file does not list them."""
    entries: dict[str, ImageEntry] = {}
    looked: dict[str, list[str] | None] = {}
    listed = _list_of(content, "images", path)
    for position, image in enumerate(listed):
        if not isinstance(image, Mapping) or not isinstance(image.get("id"), int | str):
            msg = f"{path}: entry {position} of images has no id."
            raise ValueError(msg)
        name = str(image.get("file_name") or image["id"])
        if name in entries:
            msg = f"{path}: two images are named {name!r}; images must have different names."
            raise ValueError(msg)
        group = next((str(image[key]) for key in GROUP_NAMES if image.get(key) is not None), None)
        size = size_of([image.get(edge) for edge in ("width", "height", "depth")], f"image {name!r} in {path}")
        entries[name] = ImageEntry(size, group, image["id"])
        raters = image.get("raters")
        if raters is not None and not isinstance(raters, list):
            msg = f"{path}: raters of image {name!r} must be a list of names; got {raters!r}."
            raise ValueError(msg)
        looked[name] = None if raters is None else [str(rater) for rater in raters]
    _check_ids([image["id"] for image in listed], "image", path)
    return entries, looked


def _categories(content: Mapping[str, Any], path: Path) -> dict[int, str]:
    listed = content.get("categories") or []
    for one in listed:
        if not isinstance(one, Mapping) or not isinstance(one.get("id"), int):
            msg = f"{path}: every category must have a whole number as id; got {one!r}."
            raise ValueError(msg)
    _check_ids([one["id"] for one in listed], "category", path)
    return {one["id"]: str(one.get("name", one["id"])) for one in listed}


def _check_ids(ids: Sequence[Any], what: str, path: Path) -> None:
    seen: set[Any] = set()
    for one in ids:
        if one is None:
            continue
        if one in seen:
            msg = f"{path}: {what} id {one!r} is there twice; ids must be different."
            raise ValueError(msg)
        seen.add(one)


def _names_by_key(entries: Mapping[str, ImageEntry], path: Path) -> dict[int | str, str]:
    unnumbered = next((name for name, entry in entries.items() if entry.key is None), None)
    if unnumbered is not None:  # images of a table, which COCO files can only mean by name
        return {**{name: name for name in entries}, **{int(name): name for name in entries if name.isdecimal()}}
    _check_ids([entry.key for entry in entries.values()], "image", path)
    return {entry.key: name for name, entry in entries.items() if entry.key is not None}


def _rater_field(annotations: Sequence[Any], path: Path) -> str | None:
    """The field that names the rater, where annotations have one."""
    for field in RATER_NAMES:
        have = [isinstance(one, Mapping) and one.get(field) is not None for one in annotations]
        if all(have) and have:
            return field
        if any(have):
            position = have.index(False)
            msg = f"{path}: some annotations name their {field}, {_place(annotations[position], position)} does not."
            raise ValueError(msg)
    return None


def _image_of(one: Any, position: int, names: Mapping[int | str, str], path: Path) -> str:
    if not isinstance(one, Mapping):
        msg = f"{path}: entry {position} of the annotations must be an object; got {one!r}."
        raise ValueError(msg)
    key = one.get("image_id")
    if isinstance(key, bool) or not isinstance(key, int | str) or key not in names:
        known = ", ".join(map(str, list(names)[:5])) + (" ..." if len(names) > 5 else "")
        msg = f"{path}, {_place(one, position)}: there is no image with id {key!r}; ids are {known or 'none'}."
        raise ValueError(msg)
    return names[key]


def _place(one: Any, position: int) -> str:
    named = isinstance(one, Mapping) and one.get("id") is not None
    return f"annotation id {one['id']}" if named else f"entry {position}"


def _row(one: Mapping[str, Any], where: str, image: str, categories: Mapping[int, str]) -> Row:
    box = one.get("bbox")
    what = f"image {image!r} ({where})"
    if not isinstance(box, list) or len(box) not in (4, 6):
        msg = f"The bbox of {what} must be [x, y, width, height] (or 6 numbers in 3-D); got {box!r}."
        raise ValueError(msg)
    numbers = [_coordinate(value, what) for value in box]
    n_dims = len(box) // 2
    low, extent = numbers[:n_dims], numbers[n_dims:]
    score = one.get("score")
    label = one.get("category_id")
    if label is not None and (isinstance(label, bool) or not isinstance(label, int)):
        msg = f"category_id of {what} must be a whole number; got {label!r}."
        raise ValueError(msg)
    if categories and label not in categories:
        known = ", ".join(map(str, sorted(categories)))
        msg = f"category_id {label!r} of {what} is not known; known are {known}."
        raise ValueError(msg)
    return Row(
        where,
        (*low, *(start + length for start, length in zip(low, extent, strict=True))),
        None if score is None else number(score, "The score", what),
        label,
    )


def _coordinate(value: Any, what: str) -> float:
    """A number, or NaN for null, as which some programs write it; the checks of boxes name it."""
    if value is None:
        return float("nan")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    msg = f"The bbox of {what} must hold numbers; got {value!r}."
    raise ValueError(msg)
