"""One door for all files of boxes: what a file is, its name and content tell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from mrcalib.detection.files.box_sets import BoxSet
from mrcalib.detection.files.coco import Absent, Failures, load_json, parse_coco
from mrcalib.detection.files.joining import merge_boxes
from mrcalib.detection.files.napari import is_napari, parse_napari
from mrcalib.detection.files.rows import Outside
from mrcalib.detection.files.table import read_box_csv
from mrcalib.io.patterns import find_by_case, natural

__all__ = ["read_boxes"]


def read_boxes(
    path: str | Path,
    *,
    source: str | None = None,
    images: BoxSet | None = None,
    absent: Absent | None = None,
    outside: Outside = "raise",
    crowds: Literal["raise", "drop"] = "raise",
    enclose: bool = False,
    failures: Failures | None = None,
) -> BoxSet:
    """Read a file of boxes: COCO JSON in any form, a CSV table, or napari's rectangles.

    Parameters
    ----------
    path : str or Path
        A ``.json`` or ``.csv`` file; or, for napari's, a template such as ``"test/{case}/{case}_{rater}.json"``, in which
        ``{case}`` stands for the image. A rater without a file for an image did not look at it.
    source : str, optional
        Whose boxes they are, where the file does not tell; its stem by default.
    images, absent, crowds
        As in `read_coco`.
    outside, failures
        As in `read_coco`.
    enclose
        As in `read_napari`.

    Returns
    -------
    BoxSet

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        As in `read_coco`, `read_box_csv` and `read_napari`.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = Path(folder.name) / "boxes.csv"
    >>> _ = path.write_text("image,rater,x0,y0,x1,y1\\np1,ann,1,2,3,4\\np1,bo,,,,\\n")
    >>> read_boxes(path)
    <BoxSet: 1 box of 2 sources in 1 image>
    >>> folder.cleanup()
    """
    if "{" in str(path):
        found = find_by_case(str(path), "rater")
        raters = sorted({rater for files in found.values() for rater in files}, key=natural)
        parts = [
            parse_napari(
                load_json(found[image][rater]),
                found[image][rater],
                image=image,
                source=rater,
                enclose=enclose,
                outside=outside,
                failures=failures,
            )
            for rater in raters
            for image in sorted(found, key=natural)
            if rater in found[image]
        ]
        return merge_boxes(parts)
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return read_box_csv(path, source=source, outside=outside, failures=failures)
    content = load_json(path)
    if isinstance(content, Mapping) and is_napari(content):
        return parse_napari(content, path, source=source, enclose=enclose, outside=outside, failures=failures)
    return parse_coco(
        content,
        path,
        source=source,
        images=images,
        absent=absent,
        outside=outside,
        crowds=crowds,
        failures=failures,
    )
