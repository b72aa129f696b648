"""The images and masks of a data set, read: to train on, where no prediction is there yet."""

import re
from collections.abc import Iterator
from pathlib import Path

from mrcalib.exceptions import GeometryError
from mrcalib.io.case import Annotations
from mrcalib.io.geometry import Geometry, require_match
from mrcalib.io.image import Volume
from mrcalib.io.layouts.annotated import AnnotatedImage
from mrcalib.io.layouts.model import LayoutCase, LayoutFolder
from mrcalib.io.layouts.pictures import SUFFIXES, read_picture
from mrcalib.io.patterns import find_by_case, natural
from mrcalib.io.readers import read_volume

__all__ = ["read_annotated", "read_image_folder"]


def read_annotated(found: LayoutFolder, *, positive: tuple[int, ...] | None = None) -> Iterator[AnnotatedImage]:
    """Read the images and masks of a data set that `scan_layout` found, one by one.

    Parameters
    ----------
    found : LayoutFolder
        Of one task, as `scan_layout` gives it.
    positive : tuple of int or None
        Labels of the masks that are foreground, such as ``(1,)`` of CURVAS's classes. None: what the layout says of PNG
        masks, else masks must hold 0 and 1.

    Yields
    ------
    AnnotatedImage
        In the order of the cases, as stored: ``(x, y, z)`` where the files have a header, rows first where not. A case
        without any mask is passed over; a missing rater is None.

    Raises
    ------
    ValueError
        If a case has no image file, or a mask holds other labels or has another shape than its image.
    GeometryError
        If masks lie elsewhere than their image, by their headers (one that is known to be wrong is ignored), or a rater
        agrees with the others only after a flip or a shift.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.io import scan_layout
    >>> from mrcalib.simulate import phantoms, write_curvas_pdacvi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_curvas_pdacvi(folder, phantoms(2, (16, 16, 8), n_members=1, rng=0))
    ...     image = next(read_annotated(scan_layout(folder)))
    >>> image.id, image.shape, len(image.raters)
    ('CURVASPDAC_00001', (16, 16, 8), 5)
    """
    labels = found.positive if positive is None else positive
    for case in found.cases:
        if case.annotated:
            yield _annotated(case, labels)


def read_image_folder(
    images: str,
    raters: str,
    *,
    group: str | None = None,
    split: str = "",
    positive: tuple[int, ...] | None = None,
) -> Iterator[AnnotatedImage]:
    """Read images and masks that lie in any folders, by templates of their paths.

    Parameters
    ----------
    images : str
        Such as ``"images/{case}.png"``: pictures, or volumes as for `read_volume`.
    raters : str
        Such as ``"masks/{case}_{rater}.png"``; a rater without a file for a case is missing there (None).
    group : str or None
        Regular expression with one group, searched for in the case's name: what it captures is the patient. None: every
        case is one, which is wrong where slices of a patient are cases.
    split : {"training", "validation", "testing", ""}
        Of all these images.
    positive : tuple of int or None
        Labels that are foreground, such as ``(255,)``; None: masks must hold 0 and 1.

    Yields
    ------
    AnnotatedImage
        In natural order of their names, all with the same raters.

    Raises
    ------
    ValueError
        If a template matches nothing, a mask has no image, or `group` does not fit a case.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("P1_a", "P1_a_r1", "P1_a_r2"):
    ...         Image.fromarray(np.eye(4, dtype=np.uint8)).save(Path(folder) / f"{name}.png")
    ...     images = read_image_folder(f"{folder}/{{case}}_a.png", f"{folder}/{{case}}_a_r{{rater}}.png", group="(P[0-9]+)")
    ...     [(image.id, image.group, tuple(image.raters)) for image in images]
    [('P1', 'P1', ('1', '2'))]
    """
    pictures, masks = find_by_case(images, None), find_by_case(raters, "rater")
    lacking = sorted(masks.keys() - pictures.keys(), key=natural)
    if lacking:
        msg = f"{len(lacking)} cases have masks but no image: {', '.join(lacking[:10])}; {images!r} must give them one."
        raise ValueError(msg)
    names = sorted({name for found in masks.values() for name in found}, key=natural)
    for case in sorted(masks, key=natural):
        files = {name: masks[case].get(name) for name in names}
        yield _annotated(LayoutCase(case, _group(case, group), files, image=pictures[case][""], split=split), positive)


def _annotated(case: LayoutCase, positive: tuple[int, ...] | None) -> AnnotatedImage:
    if case.image is None:
        msg = f"Case {case.id!r} has no image file beside its masks; nothing can be trained on it. Add it, or leave it out."
        raise ValueError(msg)
    masks = Annotations(case.id, case.raters, index_aligned=case.index_aligned).load(positive=positive)
    image = _image(case.image)
    _check_place(image.geometry, masks.geometry, case)
    votes = dict(zip(masks.rater_names, masks.raters, strict=True))
    return AnnotatedImage(case.id, case.group, image.data, votes, case.split, masks.spacing)


def _image(path: Path) -> Volume:
    return Volume(read_picture(path), None) if path.name.lower().endswith(SUFFIXES) else read_volume(path)


def _check_place(image: Geometry | None, masks: Geometry | None, case: LayoutCase) -> None:
    if image is not None and masks is not None:
        require_match(image, str(case.image), masks, f"the masks of case {case.id!r}")
    elif image is not None or masks is not None:
        with_header, without = ("the image", "masks") if image else ("the masks", "the image")
        msg = (
            f"Case {case.id!r}: {with_header} say in a header how their axes lie, and {without} have none; which pixel is "
            "which cannot be known. Save both in one format."
        )
        raise GeometryError(msg)


def _group(case: str, pattern: str | None) -> str:
    if pattern is None:
        return case
    match = re.search(pattern, case)
    if match is None or match.re.groups != 1 or not match[1]:
        msg = f"group={pattern!r} must capture the patient in one group; case {case!r} does not fit."
        raise ValueError(msg)
    return str(match[1])
