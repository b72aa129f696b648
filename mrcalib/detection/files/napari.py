"""Rectangles as napari exports them, which is how MultiOrg stores its annotations: corners in row, column order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mrcalib._files import atomic_write
from mrcalib.detection.boxes import Boxes
from mrcalib.detection.files.box_sets import BoxSet, ImageEntry
from mrcalib.detection.files.rows import Failures, Outside, Row, Rules, boxes_of, load_json

__all__ = ["is_napari", "parse_napari", "read_napari", "write_napari"]

_SKEW = 0.01  # of a rectangle's extent: how far its corners may lie from those of the enclosing box


def is_napari(content: Any) -> bool:
    """Whether the content of a JSON file is a mapping of numbers to corners."""
    return isinstance(content, Mapping) and all(str(key).isdecimal() for key in content)


def read_napari(
    path: str | Path,
    *,
    image: str | None = None,
    source: str | None = None,
    size: tuple[float, ...] | None = None,
    enclose: bool = False,
    outside: Outside = "raise",
    failures: Failures | None = None,
) -> BoxSet:
    """Read the rectangles of one rater in one image: ``{"0": [[row, column], ...four corners], ...}``.

    Parameters
    ----------
    path : str or Path
        The file. Without rectangles, ``{}``, the rater found nothing.
    image : str, optional
        Name of the image; by default that of the folder, as in MultiOrg's ``image_*/``.
    source : str, optional
        Name of the rater; the file's stem by default.
    size : tuple of float, optional
        Width and height of the image, which the file does not contain.
    enclose : bool, default=False
        Take the enclosing box of a rectangle that is turned, or of another shape; by default these are refused.
    outside, failures
        As in `read_coco`.

    Returns
    -------
    BoxSet
        Of one image and one source.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such JSON, or a box is bad.

    References
    ----------
    .. [1] Bukas et al., "MultiOrg: a multi-rater organoid-detection dataset", NeurIPS 2024, arXiv:2410.14612.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "annotator_a.json"
    >>> _ = path.write_text('{"0": [[20, 10], [20, 40], [60, 40], [60, 10]]}')
    >>> read_napari(path, image="p1").of("annotator_a", "p1").coordinates.tolist()
    [[10.0, 20.0, 40.0, 60.0]]
    >>> folder.cleanup()
    """
    rules = Rules(outside=outside, enclose=enclose, failures=failures)
    return parse_napari(load_json(path), Path(path), rules, image=image, source=source, size=size)


def parse_napari(
    content: Any,
    path: Path,
    rules: Rules,
    *,
    image: str | None = None,
    source: str | None = None,
    size: tuple[float, ...] | None = None,
) -> BoxSet:
    """The boxes in the content of a file of napari's rectangles; see `read_napari`."""
    if not is_napari(content):
        msg = f"{path} does not hold napari's rectangles, an object such as {{'0': [[row, column], ...]}}."
        raise ValueError(msg)
    image = path.absolute().parent.name if image is None else image
    source = path.stem if source is None else source
    entry = ImageEntry(None if size is None else tuple(float(length) for length in size))
    found: dict[str, Boxes | None] = {}
    bad: Failures = {}
    try:
        rows = [_row(key, corners, path, image, enclose=rules.enclose) for key, corners in content.items()]
        found[image] = boxes_of(rows, f"image {image!r}, source {source!r}", entry.size, rules.outside)
    except ValueError as error:
        bad[image] = error
    return rules.without_bad(BoxSet({image: entry}, {source: found}), bad)


def write_napari(path: str | Path, boxes: Boxes) -> None:
    """Write the boxes of one rater in one image as napari's rectangles, whole or not at all.

    Parameters
    ----------
    path : str or Path
        The file.
    boxes : Boxes
        In two dimensions; scores and labels are not written.

    Raises
    ------
    ValueError
        If boxes have three dimensions.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.detection import Boxes
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "t0.json"
    >>> write_napari(path, Boxes([[10, 20, 40, 60]]))
    >>> path.read_text()
    '{"0": [[20.0, 10.0], [20.0, 40.0], [60.0, 40.0], [60.0, 10.0]]}\\n'
    >>> folder.cleanup()
    """
    if boxes.n_dims != 2:
        msg = "napari's rectangles have two dimensions; got boxes in three."
        raise ValueError(msg)
    content = {
        str(i): [[y0, x0], [y0, x1], [y1, x1], [y1, x0]]
        for i, (x0, y0, x1, y1) in enumerate(boxes.coordinates.tolist())
    }
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _row(key: str, corners: Any, path: Path, image: str, *, enclose: bool) -> Row:
    what = f"Rectangle {key!r} of image {image!r} in {path}"
    try:
        points = np.array(corners, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"{what} must be a list of [row, column]; got {corners!r}."
        raise ValueError(msg) from error
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or (len(points) != 4 and not enclose):
        msg = f"{what} must have four corners [row, column]; got an array of shape {points.shape}."
        raise ValueError(msg)
    low, high = points.min(axis=0), points.max(axis=0)
    if not enclose and np.isfinite(points).all():
        off = np.minimum(points - low, high - points) > _SKEW * (high - low) + 1e-9
        at = {tuple(corner) for corner in (points - low > (high - low) / 2).tolist()}
        if off.any() or (len(at) < 4 and (high > low).all()):
            msg = f"{what} is turned, or no rectangle: {points.tolist()}. Take the enclosing box by enclose=True."
            raise ValueError(msg)
    return Row(f"{path}, rectangle {key!r}", (low[1], low[0], high[1], high[0]))
