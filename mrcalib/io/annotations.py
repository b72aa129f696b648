"""The raters' masks of a case alone, without probabilities: what label fusion reads."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrcalib.io.fingerprint import fingerprint_annotations
from mrcalib.io.geometry import Geometry
from mrcalib.io.loading import load_annotations
from mrcalib.io.volume import Source

__all__ = ["Annotations", "LoadedAnnotations"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedAnnotations:
    """The masks of a case in memory, on one voxel grid.

    Attributes
    ----------
    id : str
    raters : tuple of (ndarray of shape S, uint8) or None
        Votes 0 or 1; None is a missing rater, an empty mask is not.
    rater_names : tuple of str
        In the order of `raters`.
    geometry : Geometry or None
        None if no mask has a header.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Annotations.spacing`.
    """

    id: str
    raters: tuple[npt.NDArray[np.uint8] | None, ...]
    rater_names: tuple[str, ...]
    geometry: Geometry | None
    spacing: tuple[float, ...] | None


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

    def __post_init__(self) -> None:
        if not self.id:
            msg = "A case needs a name; got an empty id."
            raise ValueError(msg)
        if all(mask is None for mask in self.masks.values()):
            msg = f"Case {self.id!r} needs the mask of one rater at least; got {dict(self.masks)}."
            raise ValueError(msg)

    @property
    def rater_names(self) -> tuple[str, ...]:
        """Names of all raters, missing ones included."""
        return tuple(self.masks)

    def load(self, *, positive: tuple[int, ...] | None = None, check_agreement: bool = True) -> LoadedAnnotations:
        """Read the masks, and check that all of them lie on one voxel grid.

        Parameters
        ----------
        positive : tuple of int or None
            Labels that count as foreground. None: masks must hold only 0 and 1.
        check_agreement : bool
            Refuse a rater who agrees with the others only after a flip or a shift.

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
        return load_annotations(self, positive, check_agreement=check_agreement)

    def fingerprint(self) -> str:
        """SHA-256 of the raters' names and the content of their masks, as hex digits.

        Raises
        ------
        FileNotFoundError
            If a file is missing.
        """
        return fingerprint_annotations(self)
