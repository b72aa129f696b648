"""An image in memory with the masks of its raters: what a network is trained on. Probabilities are not needed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["AnnotatedImage"]


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
