"""The region of interest of a case: its ROI, its dilated coarse segmentation, or where both say so."""

import warnings

import numpy as np
import numpy.typing as npt

from mrcalib.options import LoadOptions
from mrcalib.roi import high_recall_roi

__all__ = ["region_of"]


def region_of(
    case_id: str,
    roi: npt.NDArray[np.bool_] | None,
    coarse: npt.NDArray[np.generic] | None,
    options: LoadOptions,
    spacing: tuple[float, ...] | None,
) -> npt.NDArray[np.bool_] | None:
    """The region of interest: the ROI, the dilated coarse segmentation, or where both say so; None if there is neither.

    Parameters
    ----------
    case_id : str
        Named in errors.
    roi : ndarray of shape S, bool, or None
        As the case's ROI file says.
    coarse : ndarray of shape S or None
        Mask (not 0 is inside) or probability map.
    options : LoadOptions
        Threshold and margin of the coarse segmentation, and what lies outside.
    spacing : tuple of float or None
        Voxel edges in mm.

    Raises
    ------
    ValueError
        If an option needs what the case does not have (a coarse segmentation, a region, the spacing), the coarse values are
        neither labels nor probabilities, or the region is empty and ``outside`` is "ignore".

    Warns
    -----
    UserWarning
        If the region is empty and ``outside`` is "zero": all probabilities become 0.
    """
    if options.margin_mm > 0 and coarse is None:
        msg = f"Case {case_id!r} has no coarse segmentation to dilate by margin_mm={options.margin_mm:g}; give coarse=."
        raise ValueError(msg)
    if coarse is None:
        if roi is None and options.outside == "zero":
            msg = f"Case {case_id!r} has neither roi= nor coarse=: outside='zero' needs to know what is inside."
            raise ValueError(msg)
        return roi
    if options.margin_mm > 0 and spacing is None:
        msg = (
            f"The spacing of case {case_id!r} is not known, so margin_mm={options.margin_mm:g} cannot be measured. "
            "Give its spacing (a column of the manifest, or Case(spacing=...))."
        )
        raise ValueError(msg)
    try:
        found = high_recall_roi(
            coarse, options.margin_mm, spacing or (1.0,) * coarse.ndim, threshold=options.coarse_threshold
        )
    except (ValueError, TypeError) as error:
        msg = f"Case {case_id!r}, the coarse segmentation: {error}"
        raise ValueError(msg) from error
    found = found if roi is None else found & roi
    if not found.any():
        _report_empty(case_id, options, of_both=roi is not None)
    return found


def _report_empty(case_id: str, options: LoadOptions, *, of_both: bool) -> None:
    what = "coarse segmentation and ROI have no voxel in common" if of_both else "the coarse segmentation is empty"
    threshold = f"(probabilities count above coarse_threshold={options.coarse_threshold:g})"
    if options.outside == "zero":
        msg = f"Case {case_id!r}: {what} {threshold}, so all its probabilities become 0."
        warnings.warn(msg, UserWarning, stacklevel=4)
        return
    msg = (
        f"Case {case_id!r}: {what} {threshold}, so no voxel of it would count. Correct the file, lower the threshold, "
        "leave the case out, or read it with outside='zero', by which all its probabilities become 0."
    )
    raise ValueError(msg)
