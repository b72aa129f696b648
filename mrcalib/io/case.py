"""Cases: where their probabilities and raters' masks are. Nothing is read before `load` or `open`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import check_spacing
from mrcalib.io.classes import ImageClass
from mrcalib.io.loaded import LoadedAnnotations, LoadedCase, load_annotations, load_case
from mrcalib.io.slabs import OpenCase
from mrcalib.io.sources import Source, fingerprint, is_path
from mrcalib.options import DEFAULT_OPTIONS, LoadOptions

__all__ = ["Annotations", "Case"]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One image: its probabilities, its raters, and what else is known of it.

    Parameters
    ----------
    id : str
        Name of the case, unique in a study.
    probs : Source or tuple of Source
        Foreground probabilities of shape S; several are the members of an ensemble. A source is a file, or voxels in memory:
        an array, or what becomes one (a PyTorch tensor, an xarray, Dask or Zarr array, a nibabel image with its geometry).
    raters : mapping, sequence or array of shape (R, *S)
        Masks by rater name, or in order (named "1", "2", ...). None stands for a missing rater; an empty mask does not.
    group : str or None
        Patient or site; the id if None.
    roi, vessels : Source or None
        Region of interest (not 0 is inside) and vessel labels, on the same voxels.
    image : Source or None
        The image itself; kept for display, not read by `load`.
    spacing : tuple of float or None
        Voxel edges in mm, for arrays and files that have no header.
    index_aligned : tuple of str
        Raters whose headers are known to be wrong while their voxels match: placed by index, only their shape is
        checked. `load` warns of those whose header does differ.
    coarse : Source or None
        Segmentation of a coarse first stage, on the same voxels: a mask (not 0 is inside) or a probability map. Dilated by
        ``LoadOptions.margin_mm``, it is the region of interest (within `roi`, if there is one too).

    Raises
    ------
    ValueError
        If the id is empty, there are no probabilities, `spacing` is not positive and finite, or `index_aligned` names no rater.
    TypeError
        If `raters` is a single path.

    Examples
    --------
    >>> probs = np.array([[0.2, 0.8], [0.4, 0.9]], np.float32)
    >>> case = Case("A", probs, {"ann": np.array([[0, 1], [0, 1]]), "bo": None})
    >>> case.group, case.rater_names
    ('A', ('ann', 'bo'))
    >>> loaded = case.load()
    >>> loaded.raters[0].sum(), loaded.raters[1]
    (np.uint64(2), None)
    """

    id: str
    probs: Source | tuple[Source, ...]
    raters: Mapping[str, Source | None] | Sequence[Source | None] | npt.NDArray[np.generic] | Any
    group: str | None = None
    roi: Source | None = None
    image: Source | None = None
    vessels: Source | None = None
    spacing: tuple[float, ...] | None = None
    index_aligned: tuple[str, ...] = ()
    coarse: Source | None = None

    def __post_init__(self) -> None:
        if not self.id:
            msg = "A case needs a name; got an empty id."
            raise ValueError(msg)
        if is_path(self.raters):
            msg = f"raters of case {self.id!r} must be a mapping or a list of masks; got the single path {self.raters}."
            raise TypeError(msg)
        if not self.members:
            msg = f"Case {self.id!r} needs at least one source of probabilities; got an empty tuple."
            raise ValueError(msg)
        _check_spacing(self)
        if not set(self.index_aligned) <= set(self.masks):
            unknown = ", ".join(sorted(set(self.index_aligned) - set(self.masks)))
            msg = f"index_aligned of case {self.id!r} must name raters ({', '.join(self.masks)}); got {unknown}."
            raise ValueError(msg)
        object.__setattr__(self, "group", self.group or self.id)

    @property
    def members(self) -> tuple[Source, ...]:
        """The sources of probabilities: one, or the members of an ensemble."""
        return tuple(self.probs) if isinstance(self.probs, tuple | list) else (self.probs,)

    @property
    def masks(self) -> dict[str, Source | None]:
        """The raters' masks by name, None where a rater is missing."""
        if isinstance(self.raters, Mapping):
            return {str(name): source for name, source in self.raters.items()}
        return {str(number): source for number, source in enumerate(self.raters, start=1)}

    @property
    def rater_names(self) -> tuple[str, ...]:
        """Names of all raters, missing ones included."""
        return tuple(self.masks)

    def load(self, *, options: LoadOptions = DEFAULT_OPTIONS) -> LoadedCase:
        """Read everything but the image, and check that all of it lies on one voxel grid.

        Parameters
        ----------
        options : LoadOptions
            How probabilities are pooled, labels read, and the region of interest made.

        Returns
        -------
        LoadedCase

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        GeometryError
            If a source lies on other voxels, or a rater agrees with the others only after a flip or a shift.
        ValueError
            If a file is damaged, or holds something else than its role says; or if an option asks for what the case does
            not have (weights of other members, a margin without a coarse segmentation or without spacing).
        """
        return load_case(self, options)

    def open(
        self,
        *,
        options: LoadOptions = DEFAULT_OPTIONS,
        classes: Sequence[ImageClass] | None = None,
        crop: bool = False,
    ) -> OpenCase:
        """Open the files of the case to read them slab by slab, in bounded memory; `load` reads the same in one slab.

        Headers are checked at once, voxels as they are read. Read whole are only: MetaImage, NRRD and PNG files, nnU-Net
        exports, files with several channels, a coarse segmentation (with its ROI file), files whose memory order (C or Fortran)
        is not that of the first file; and masks, one at a time, of raters who hardly overlap (``check_agreement``).

        Parameters
        ----------
        options : LoadOptions
            As for `load`.
        classes : sequence of ImageClass, optional
            Classes that are read in one pass, each from its channel and its label; as for `load_classes`.
        crop : bool
            Whether voxels outside the bounding box of the region of interest are left out: their probabilities are not
            converted, and of uncompressed files not read. Not with ``outside="zero"``, by which they count.

        Returns
        -------
        OpenCase
            To be used in a ``with`` statement, and read once.

        Raises
        ------
        FileNotFoundError, GeometryError, ValueError
            As `load`; what is wrong with voxels is reported when they are read.

        Examples
        --------
        >>> case = Case("A", np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4), [np.ones((2, 3, 4), np.uint8)])
        >>> with case.open() as opened:
        ...     [(slab.index[0], slab.probs.shape) for slab in opened.slabs(n_voxels=12)]
        [(slice(0, 1, None), (1, 1, 3, 4)), (slice(1, 2, None), (1, 1, 3, 4))]
        """
        return OpenCase(self, options, classes=classes, crop=crop)

    def fingerprint(self) -> str:
        """SHA-256 of the content and role of every source, as hex digits.

        Equal contents give equal fingerprints wherever the files lie; neither the name of the case nor the options of
        `load` enter.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        """
        return fingerprint(self)


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """The masks of one image by rater. Nothing is read before `load`.

    Parameters
    ----------
    id : str
        Name of the case, unique in a study.
    masks : mapping of str to Source or None
        Masks by rater name. None stands for a missing rater; an empty mask does not.
    spacing : tuple of float or None
        Voxel edges in mm, for arrays and files that have no header.
    index_aligned : tuple of str
        Raters whose headers are known to be wrong while their voxels match, as for `Case`.

    Raises
    ------
    ValueError
        If the id is empty or there is no mask.

    Examples
    --------
    >>> case = Annotations("A", {"ann": np.array([[0, 1], [0, 1]]), "bo": None})
    >>> case.load().raters[0].sum(), case.load().raters[1]
    (np.uint64(2), None)
    """

    id: str
    masks: Mapping[str, Source | None]
    spacing: tuple[float, ...] | None = None
    index_aligned: tuple[str, ...] = ()
    group = None
    members = ()
    roi = coarse = image = vessels = None

    def __post_init__(self) -> None:
        if not self.id:
            msg = "A case needs a name; got an empty id."
            raise ValueError(msg)
        _check_spacing(self)
        if all(mask is None for mask in self.masks.values()):
            msg = f"Case {self.id!r} needs the mask of one rater at least; got {dict(self.masks)}."
            raise ValueError(msg)

    @property
    def rater_names(self) -> tuple[str, ...]:
        """Names of all raters, missing ones included."""
        return tuple(self.masks)

    def load(
        self,
        *,
        positive: tuple[int, ...] | None = None,
        check_agreement: bool = True,
        rater_axis: int | None = None,
    ) -> LoadedAnnotations:
        """Read the masks, and check that all of them lie on one voxel grid.

        Parameters
        ----------
        positive : tuple of int or None
            Labels that count as foreground. None: masks must hold only 0 and 1.
        check_agreement : bool
            Refuse a rater who agrees with the others only after a flip or a shift.
        rater_axis : int, optional
            Which axis of one mask without a header counts raters.

        Returns
        -------
        LoadedAnnotations

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        GeometryError
            If a mask lies on other voxels, or a rater agrees with the others only after a flip or a shift.
        ValueError
            If a file is damaged or is no mask.
        """
        options = LoadOptions(positive=positive, check_agreement=check_agreement, rater_axis=rater_axis)
        return load_annotations(self, options)

    def fingerprint(self) -> str:
        """SHA-256 of the raters' names and the content of their masks, as hex digits.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        """
        return fingerprint(self)


def _check_spacing(case: Case | Annotations) -> None:
    """Refuse voxel edges that are not finite and positive; keep them as floats."""
    if case.spacing is not None:
        object.__setattr__(case, "spacing", check_spacing(case.spacing, name=f"spacing of case {case.id!r}"))
