"""Reading a file of boxes of any kind: its name and its content say which kind it is."""

from __future__ import annotations

from pathlib import Path

from mrcalib.detection.files.box_sets import BoxSet, merge_boxes
from mrcalib.detection.files.coco import parse_coco
from mrcalib.detection.files.napari import is_napari, parse_napari
from mrcalib.detection.files.rows import Absent, Crowds, Failures, Outside, Rules, load_json
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
    crowds: Crowds = "raise",
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
        Name of the rater or model where the file names none; by default the stem of the file.
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
    rules = Rules(absent, outside, crowds, enclose, failures)
    if "{" in str(path):
        files = find_by_case(str(path), "rater")
        raters = sorted({rater for found in files.values() for rater in found}, key=natural)
        return merge_boxes(
            parse_napari(load_json(files[image][rater]), files[image][rater], rules, image=image, source=rater)
            for rater in raters
            for image in sorted(files, key=natural)
            if rater in files[image]
        )
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return read_box_csv(path, source=source, outside=outside, failures=failures)
    content = load_json(path)
    if is_napari(content):
        return parse_napari(content, path, rules, source=source)
    return parse_coco(content, path, rules, source=source, images=images)
