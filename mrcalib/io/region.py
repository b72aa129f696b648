"""The region of interest of a case, and how much of what raters marked lies in it."""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mrcalib.options import LoadOptions
from mrcalib.roi import high_recall_roi

__all__ = ["Recall", "region_of"]

_Masks = Sequence[npt.NDArray[np.uint8] | None]
_Region = npt.NDArray[np.bool_]


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


class Recall:
    """Counts, part by part, what raters marked and how much of it lies in the region of interest.

    Parameters
    ----------
    n_raters : int
        How many raters there are.
    """

    def __init__(self, n_raters: int) -> None:
        self._marked = np.zeros((2, n_raters + 1), dtype=np.int64)  # in all and inside; the last column is the union

    def add(self, masks: _Masks, inside: tuple[_Masks, _Region | None] | None) -> None:
        """Count a part: its masks, and what of them lies in the box of the region, with the region there."""
        self._marked[0] += _counts(masks, None)
        if inside is not None:
            self._marked[1] += _counts(*inside)

    def shares(self, there: Sequence[bool]) -> tuple[float, tuple[float, ...]]:
        """The shares inside of the union and of each rater; nan where nothing was marked, or a rater is not ``there``."""
        total, inside = self._marked.tolist()
        shares = [part / whole if whole else float("nan") for part, whole in zip(inside, total, strict=True)]
        return shares[-1], tuple(
            share if known else float("nan") for share, known in zip(shares[:-1], there, strict=True)
        )


def _counts(masks: _Masks, region: _Region | None) -> npt.NDArray[np.int64]:
    found = np.zeros(len(masks) + 1, dtype=np.int64)
    union: _Region | None = None
    for rater, mask in enumerate(masks):
        if mask is None:
            continue
        marked = mask.view(np.bool_) if region is None else mask.view(np.bool_) & region
        found[rater] = np.count_nonzero(marked)
        union = marked if union is None else union | marked
    found[-1] = 0 if union is None else np.count_nonzero(union)
    return found
