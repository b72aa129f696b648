"""Images with the masks of their raters, to train on where no prediction is there yet: in memory, and read from folders."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib.exceptions import GeometryError
from mrcalib.io.case import Annotations
from mrcalib.io.formats import require_file
from mrcalib.io.geometry import Geometry, require_match
from mrcalib.io.image import Volume
from mrcalib.io.layouts.model import LayoutCase, LayoutFolder
from mrcalib.io.patterns import find_by_case, natural
from mrcalib.io.readers import read_volume

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedImage:
    """One image or slice and what each rater marked in it.

    Parameters
    ----------
    id : str
        Name of the image, unique in its data set.
    group : str
        Patient: what splits and resamples keep together.
    image : ndarray of shape S or (*S, n_channels)
        As stored; channels, if any, are last.
    raters : mapping of str to ndarray of shape S or None
        Votes 0 and 1 (uint8) by rater; None where the rater is missing, which an empty mask is not.
    split : {"training", "validation", "testing", ""}
        As published; "" where the data set has none.
    spacing : tuple of float or None
        Pixel edges in mm, where known.

    Raises
    ------
    ValueError
        If no rater gave a mask, or a mask is not of the image's shape or not of 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> votes = {"ann": np.eye(3, dtype=np.uint8), "bo": None}
    >>> image = AnnotatedImage("P1_z3", "P1", np.zeros((3, 3), np.int16), votes)
    >>> image.shape, image.masks[0].sum(), image.masks[1]
    ((3, 3), np.uint64(3), None)
    """

    id: str
    group: str
    image: npt.NDArray[np.generic]
    raters: Mapping[str, npt.NDArray[np.uint8] | None]
    split: str = ""
    spacing: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        given = [mask for mask in self.raters.values() if mask is not None]
        if not given:
            msg = f"Image {self.id!r} has no rater's mask; expected one at least."
            raise ValueError(msg)
        for name, mask in self.raters.items():
            if mask is None:
                continue
            if mask.shape not in (self.image.shape, self.image.shape[:-1]):
                msg = (
                    f"Image {self.id!r}: the mask of rater {name} has shape {mask.shape}; expected that of the image, "
                    f"{self.image.shape}, its channels left out."
                )
                raise ValueError(msg)
            if mask.shape != given[0].shape:
                msg = f"Image {self.id!r}: masks have the shapes {given[0].shape} and {mask.shape}; expected one shape."
                raise ValueError(msg)
            if mask.dtype != np.uint8 or mask.max(initial=0) > 1:
                msg = f"Image {self.id!r}: the mask of rater {name} must hold 0 and 1 as uint8; got {mask.dtype}."
                raise ValueError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, channels left out."""
        return next(mask.shape for mask in self.raters.values() if mask is not None)

    @property
    def masks(self) -> list[npt.NDArray[np.uint8] | None]:
        """The raters' votes in the order of their names, None where a rater is missing."""
        return list(self.raters.values())


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


def read_picture(path: Path) -> npt.NDArray[np.generic]:
    """Read a picture as stored, of shape (rows, columns) or (rows, columns, 3).

    Parameters
    ----------
    path : Path
        Grey pictures stay grey; palettes and colours become red, green and blue, and transparency is dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If Pillow is not installed.
    ValueError
        If the file is damaged.
    """
    try:
        from PIL import Image
    except ImportError as error:
        msg = f"Reading {path} needs Pillow: pip install pillow."
        raise ImportError(msg) from error
    require_file(path)
    try:
        with Image.open(path) as picture:
            grey = picture.mode in ("1", "L") or picture.mode.startswith(("I", "F"))
            data: npt.NDArray[np.generic] = np.asarray(picture if grey else picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{path} cannot be read as a picture: {error}. The file is damaged; export or copy it again."
        raise ValueError(msg) from error
    return data
