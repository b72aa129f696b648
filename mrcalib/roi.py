"""Regions of interest of a coarse-to-fine pipeline: a coarse mask dilated in mm, and how much of the raters it keeps.

A voxel outside the region can never be called foreground, so what the region cuts off no calibration brings back:
`roi_recall` reports it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import as_array, check_number, check_spacing, refuse_labels, split_missing, split_raters

__all__ = ["RoiRecall", "dilate", "high_recall_roi", "roi_recall"]

_Mask: TypeAlias = npt.NDArray[np.bool_]

_SLACK = 1e-6
"""Relative, on the margin: headers keep spacings in float32, and 3 x 0.7 mm must lie within 2.1 mm."""

_NEARLY = 0.01
"""How far a stored label may lie from a whole number: NIfTI scaling turns labels into near-integers."""


@dataclass(frozen=True, slots=True)
class RoiRecall:
    """How much of what the raters marked lies inside a region of interest.

    Attributes
    ----------
    union : float
        Of the voxels that at least one rater marked, the share inside; nan where no rater marked any.
    per_rater : tuple of float
        Of each rater's own voxels, the share inside; nan for a missing rater and for an empty mask.
    """

    union: float
    per_rater: tuple[float, ...]


class RecallCounts:
    """Counts, part by part, what raters marked and how much of it lies in the region of interest.

    Parameters
    ----------
    n_raters : int
        How many raters there are.
    """

    def __init__(self, n_raters: int) -> None:
        self._marked = np.zeros(
            (2, n_raters + 1), dtype=np.int64
        )  # everywhere and inside; the last column is the union
        self._answered = np.zeros(n_raters, dtype=bool)

    def add(self, masks: Sequence[_Mask | None], inside: tuple[Sequence[_Mask | None], _Mask | None] | None) -> None:
        """Count a part.

        Parameters
        ----------
        masks : sequence of (ndarray of bool) or None
            What each rater marked.
        inside : tuple or None
            The same within the box of the region, and the region there; None where the part lies outside that box.
        """
        self._answered |= np.array([mask is not None for mask in masks], dtype=bool)
        self._marked[0] += _marked(masks, None)
        if inside is not None:
            self._marked[1] += _marked(*inside)

    def recall(self) -> RoiRecall:
        """The shares inside of all parts so far."""
        total, inside = self._marked.tolist()
        shares = [part / whole if whole else float("nan") for part, whole in zip(inside, total, strict=True)]
        own = [share if there else float("nan") for share, there in zip(shares[:-1], self._answered, strict=True)]
        return RoiRecall(shares[-1], tuple(own))


def _marked(masks: Sequence[_Mask | None], region: _Mask | None) -> npt.NDArray[np.int64]:
    """How many voxels of the region each rater marked, and then how many any rater did."""
    found = np.zeros(len(masks) + 1, dtype=np.int64)
    union: _Mask | None = None
    for rater, mask in enumerate(masks):
        if mask is None:
            continue
        inside = mask if region is None else mask & region
        found[rater] = np.count_nonzero(inside)
        union = inside if union is None else union | inside
    found[-1] = 0 if union is None else np.count_nonzero(union)
    return found


def dilate(mask: npt.ArrayLike, margin_mm: float, spacing: Sequence[float]) -> _Mask:
    """All voxels whose centre lies within ``margin_mm`` of the centre of a voxel of the mask.

    Exact for anisotropic voxels (Euclidean distance transform), and computed only in the mask's bounding box widened by the
    margin. What would lie beyond the volume is cut off.

    Parameters
    ----------
    mask : array_like of shape S
        Booleans or whole numbers; not 0 is inside. An empty mask stays empty.
    margin_mm : float
        At least 0; 0 gives the mask itself.
    spacing : sequence of float
        Voxel edges in mm, one for each axis.

    Returns
    -------
    ndarray of shape S, bool

    Raises
    ------
    ValueError
        If the margin is negative or not finite, or ``spacing`` does not fit the axes.
    TypeError
        If the mask holds real numbers: `high_recall_roi` thresholds probabilities.

    Examples
    --------
    >>> mask = np.zeros((1, 7), bool)
    >>> mask[0, 3] = True
    >>> dilate(mask, 2.0, (1.0, 1.0)).astype(int)
    array([[0, 1, 1, 1, 1, 1, 0]])
    >>> dilate(mask, 2.0, (1.0, 1.5)).astype(int)
    array([[0, 0, 1, 1, 1, 0, 0]])
    """
    inside = _as_mask(mask)
    margin = check_number("margin_mm", margin_mm, 0)
    edges = np.array(check_spacing(spacing, inside.ndim))
    within = margin * (1 + _SLACK)
    reach = np.floor(within / edges).astype(np.int64)
    box = _box(inside, reach)
    if box is None or not reach.any():
        return inside.copy()
    from scipy.ndimage import distance_transform_edt

    out = np.zeros(inside.shape, dtype=bool)
    out[box] = distance_transform_edt(~inside[box], sampling=edges) <= within
    return out


def high_recall_roi(coarse: npt.ArrayLike, margin_mm: float, spacing: Sequence[float], threshold: float = 0.5) -> _Mask:
    """The region of interest of a two-stage segmenter: a coarse segmentation, dilated (TwinTrack [1]_, section 2).

    Parameters
    ----------
    coarse : array_like of shape S
        The coarse stage's mask (not 0 is inside) or probability map (real numbers in [0, 1]), on the voxels of the fine
        stage.
    margin_mm : float
        By how much it is dilated, at least 0. Choose it such that `roi_recall` is near 1.
    spacing : sequence of float
        Voxel edges in mm, one for each axis.
    threshold : float, default=0.5
        In [0, 1): probabilities strictly above it are inside. Masks are not thresholded.

    Returns
    -------
    ndarray of shape S, bool
        Empty where nothing is above the threshold.

    Raises
    ------
    ValueError
        If values are NaN, or neither probabilities nor labels; or as `dilate`.

    References
    ----------
    .. [1] TwinTrack: post-hoc calibration to the mean human response, arXiv:2604.15950.

    Examples
    --------
    >>> high_recall_roi(np.array([0.1, 0.2, 0.7, 0.2, 0.0]), 1.0, (1.0,)).astype(int)
    array([0, 1, 1, 1, 0])
    """
    return dilate(_inside_of(np.ma.getdata(as_array(coarse)), threshold), margin_mm, spacing)


def roi_recall(
    roi: npt.ArrayLike,
    raters: Sequence[npt.ArrayLike | None] | Mapping[str, npt.ArrayLike | None] | npt.NDArray[np.generic],
) -> RoiRecall:
    """How much of what the raters marked lies inside a region of interest.

    Parameters
    ----------
    roi : array_like of shape S
        Not 0 is inside.
    raters : sequence of (array_like of shape S or None), mapping, or array_like of shape (R, *S) or (*S, R)
        Masks of 0 and 1; None is a missing rater and counts for nothing; NaN and masked entries are voxels that the rater did
        not answer.

    Returns
    -------
    RoiRecall
        ``union`` is nan where no rater marked any voxel.

    Raises
    ------
    ValueError
        If a mask has another shape than the region, or holds other values than 0 and 1.

    Examples
    --------
    >>> roi_recall([1, 1, 0, 0], [[1, 1, 0, 0], [0, 1, 1, 0], None])
    RoiRecall(union=0.6666666666666666, per_rater=(1.0, 0.5, nan))
    """
    inside = _as_mask(roi)
    masks = list(raters.values()) if isinstance(raters, Mapping) else raters
    if not isinstance(masks, list | tuple) or any(mask is not None for mask in masks):
        masks = split_raters(masks, inside.shape, of="roi", arguments=())
    votes = [None if mask is None else _votes(mask, rater) for rater, mask in enumerate(masks)]
    counts = RecallCounts(len(votes))
    counts.add(votes, (votes, inside))
    return counts.recall()


def _votes(mask: npt.NDArray[np.generic], rater: int) -> _Mask:
    values, _ = split_missing(mask)
    marked: _Mask = np.equal(values, 1)
    if not (marked | np.equal(values, 0)).all():
        refuse_labels(mask, rater, None)
    return marked


def _as_mask(mask: npt.ArrayLike) -> _Mask:
    array = np.ma.getdata(as_array(mask))
    if array.dtype.kind not in "biu":
        msg = f"a mask holds booleans or whole numbers; got {array.dtype}. For probabilities use high_recall_roi."
        raise TypeError(msg)
    inside: _Mask = array != 0
    return inside


def _inside_of(coarse: npt.NDArray[np.generic], threshold: float) -> _Mask:
    """A mask as it is, a probability map above the threshold."""
    if not 0 <= threshold < 1:
        msg = f"threshold must lie in [0, 1); got {threshold!r}."
        raise ValueError(msg)
    if coarse.dtype.kind != "f":
        return _as_mask(coarse)
    values: npt.NDArray[np.floating] = coarse  # type: ignore[assignment]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low >= 0 and high <= 1:  # False for NaN
        above: _Mask = values > threshold
        return above
    if low >= -_NEARLY and np.isfinite(high):
        labels = np.rint(values)
        if (np.abs(values - labels) <= _NEARLY).all():
            return _as_mask(labels.astype(np.int64))
    msg = (
        "a coarse segmentation is a mask of whole numbers or a probability map in [0, 1] without NaN; "
        f"got real numbers from {low:g} to {high:g}. If these are logits, save their sigmoid."
    )
    raise ValueError(msg)


def _box(mask: _Mask, reach: npt.NDArray[np.int64]) -> tuple[slice, ...] | None:
    """The bounding box of the mask, widened; None if the mask is empty."""
    slices = []
    for axis, (size, more) in enumerate(zip(mask.shape, reach.tolist(), strict=True)):
        occupied = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        if not occupied.size:
            return None
        slices.append(slice(max(0, int(occupied[0]) - more), min(size, int(occupied[-1]) + 1 + more)))
    return tuple(slices)
