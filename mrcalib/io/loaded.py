"""A case in memory, and the choices made on the way there."""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcalib.io.channels import Merge
from mrcalib.io.geometry import Geometry
from mrcalib.io.pooling import Pooling

__all__ = ["DEFAULT_OPTIONS", "LoadOptions", "LoadedCase"]

_CHOICES = {
    "pooling": ("mean", "logit-mean"),
    "values": ("probabilities", "logits"),
    "merge": ("sum", "max"),
    "outside": ("ignore", "zero"),
}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a case is read.

    Parameters
    ----------
    pooling : {"mean", "logit-mean"}
        Ensemble members: mean of the probabilities, or sigmoid of the mean logit (probabilities clipped by 2**-24).
    foreground : tuple of int or None
        Channels of a multi-class probability file that make up the foreground. None: channel 1 of two.
    positive : tuple of int or None
        Labels that count as foreground in the raters' masks. None: masks must hold only 0 and 1.
    check_agreement : bool
        Refuse a rater who agrees with the others only after a flip or a shift.
    weights : tuple of float or None
        A positive weight for each ensemble member, in the order of `Case.members`. None weighs all alike.
    values : {"probabilities", "logits"}
        What the members store. Logits become probabilities: by the softmax over the channels of exclusive classes
        (``merge="sum"``), else by the sigmoid.
    merge : {"sum", "max"}
        Several channels of `foreground`: the sum, of exclusive classes; or the largest, of regions that may overlap or
        nest (nnU-Net's region-based training).
    coarse_threshold : float
        In [0, 1): where a coarse probability map is above it, the region of interest begins.
    margin_mm : float
        By how much the coarse segmentation is dilated into the region of interest.
    outside : {"ignore", "zero"}
        Voxels outside the region of interest: they do not count, and keep their probabilities; or their probabilities
        become exactly 0 and they count like all others, as where a two-stage segmenter does not look.

    Raises
    ------
    ValueError
        If an option is not one of its choices or out of range, or `foreground` or `positive` is an empty tuple.

    Examples
    --------
    >>> LoadOptions(margin_mm=20.0, outside="zero").to_dict()["margin_mm"]
    20.0
    """

    pooling: Pooling = "mean"
    foreground: tuple[int, ...] | None = None
    positive: tuple[int, ...] | None = None
    check_agreement: bool = True
    weights: tuple[float, ...] | None = None
    values: Literal["probabilities", "logits"] = "probabilities"
    merge: Merge = "sum"
    coarse_threshold: float = 0.5
    margin_mm: float = 0.0
    outside: Literal["ignore", "zero"] = "ignore"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                msg = f"{name} must be {' or '.join(map(repr, choices))}; got {getattr(self, name)!r}."
                raise ValueError(msg)
        if not 0 <= self.coarse_threshold < 1:
            msg = f"coarse_threshold must lie in [0, 1); got {self.coarse_threshold!r}."
            raise ValueError(msg)
        if not (isfinite(self.margin_mm) and self.margin_mm >= 0):
            msg = f"margin_mm must be a finite number of at least 0; got {self.margin_mm!r}."
            raise ValueError(msg)
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
            if not self.weights or not all(isfinite(weight) and weight > 0 for weight in self.weights):
                msg = (
                    f"weights must be positive numbers; got {self.weights}. Leave a member out rather than weigh it 0."
                )
                raise ValueError(msg)
        for name, chosen in (("foreground", self.foreground), ("positive", self.positive)):
            if chosen == ():
                msg = f"{name} must name at least one value, or be None; got an empty tuple."
                raise ValueError(msg)

    def to_dict(self) -> dict[str, Any]:
        """What makes the probabilities of a case, as JSON values; how masks are read is left out."""
        return {
            "pooling": self.pooling,
            "weights": None if self.weights is None else list(self.weights),
            "values": self.values,
            "foreground": None if self.foreground is None else list(self.foreground),
            "merge": self.merge,
            "coarse_threshold": self.coarse_threshold,
            "margin_mm": self.margin_mm,
            "outside": self.outside,
        }


DEFAULT_OPTIONS = LoadOptions()


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCase:
    """A case in memory, on one voxel grid.

    Parameters
    ----------
    id, group : str
        The case, and the patient or site it belongs to.
    probs : ndarray of shape S
        float32, or float64 where the only source stores float64. Not range-checked. Exactly 0 outside `region` where
        ``outside="zero"`` was asked for.
    raters : tuple of (ndarray of shape S, uint8) or None
        Votes 0 or 1; None is a missing rater, an empty mask is not.
    rater_names : tuple of str
        In the order of `raters`.
    roi : ndarray of shape S, bool, or None
        The voxels that count; None if all do, as with ``outside="zero"``.
    geometry : Geometry or None
        None if no source has a header.
    voxel_volume_ml : float or None
        None if neither a header nor `Case.spacing` tells it.
    vessels : ndarray of shape S, integer labels, or None
        As stored.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Case.spacing`.
    region : ndarray of shape S, bool, or None
        The region of interest, whatever becomes of the voxels outside: where the ROI is not 0 and the dilated coarse
        segmentation lies. None if the case has neither.
    roi_recall : float or None
        Of the voxels that at least one rater marked, the share inside `region`; nan if there is none. None without a region
        or without raters.
    rater_recalls : tuple of float or None
        Of each rater's own voxels, the share inside `region`; nan for a missing rater and an empty mask. None as above.
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
    region: npt.NDArray[np.bool_] | None = None
    roi_recall: float | None = None
    rater_recalls: tuple[float, ...] | None = None

    def calibrated_by(
        self, calibrate: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]
    ) -> npt.NDArray[np.floating]:
        """The probabilities that ``calibrate`` makes of these, as ``mrcalib apply`` writes them.

        Parameters
        ----------
        calibrate : callable
            A calibrator, or what else maps an array of probabilities to a new one of its shape.

        Returns
        -------
        ndarray of shape S
            Exactly 0 outside `region` where ``outside="zero"`` was asked for, whatever the map says of 0.
        """
        calibrated = calibrate(self.probs)
        if self.region is not None and self.roi is None:
            calibrated = np.where(self.region, calibrated, calibrated.dtype.type(0))
        return calibrated
