"""A case in memory, and the choices made on the way there."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrcalib.io.geometry import Geometry
from mrcalib.io.pooling import Pooling

__all__ = ["DEFAULT_OPTIONS", "LoadOptions", "LoadedCase"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a case is read.

    Parameters
    ----------
    pooling : {"mean", "logit-mean"}
        Ensemble members: mean of the probabilities, or sigmoid of the mean logit (probabilities clipped by 2**-24).
    foreground : tuple of int or None
        Channels of a multi-class probability file that are summed into the foreground. None: channel 1 of two.
    positive : tuple of int or None
        Labels that count as foreground in the raters' masks. None: masks must hold only 0 and 1.
    check_agreement : bool
        Refuse a rater who agrees with the others only after a flip or a shift.

    Raises
    ------
    ValueError
        If `pooling` is not one of the two, or `foreground` or `positive` is an empty tuple.
    """

    pooling: Pooling = "mean"
    foreground: tuple[int, ...] | None = None
    positive: tuple[int, ...] | None = None
    check_agreement: bool = True

    def __post_init__(self) -> None:
        if self.pooling not in ("mean", "logit-mean"):
            msg = f"pooling must be 'mean' or 'logit-mean'; got {self.pooling!r}."
            raise ValueError(msg)
        for name, chosen in (("foreground", self.foreground), ("positive", self.positive)):
            if chosen == ():
                msg = f"{name} must name at least one value, or be None; got an empty tuple."
                raise ValueError(msg)


DEFAULT_OPTIONS = LoadOptions()


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCase:
    """A case in memory, on one voxel grid.

    Parameters
    ----------
    id, group : str
        The case, and the patient or site it belongs to.
    probs : ndarray of shape S
        float32, or float64 where the only source stores float64. Not range-checked.
    raters : tuple of (ndarray of shape S, uint8) or None
        Votes 0 or 1; None is a missing rater, an empty mask is not.
    rater_names : tuple of str
        In the order of `raters`.
    roi : ndarray of shape S, bool, or None
        Where the ROI file is not 0.
    geometry : Geometry or None
        None if no source has a header.
    voxel_volume_ml : float or None
        None if neither a header nor `Case.spacing` tells it.
    vessels : ndarray of shape S, integer labels, or None
        As stored.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Case.spacing`.
    """

    id: str
    group: str
    probs: npt.NDArray[np.floating]
    raters: tuple[npt.NDArray[np.uint8] | None, ...]
    rater_names: tuple[str, ...]
    roi: npt.NDArray[np.bool_] | None
    geometry: Geometry | None
    voxel_volume_ml: float | None
    vessels: npt.NDArray[np.integer] | None = None
    spacing: tuple[float, ...] | None = None
