"""A case in memory, and the choices made on the way there."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrcalib.io.geometry import Geometry
from mrcalib.options import LoadOptions

__all__ = ["DEFAULT_OPTIONS", "LoadOptions", "LoadedCase"]

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
