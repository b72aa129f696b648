"""Vascular invasion: how far around a vessel tumour touches it, and what the prediction says of it against the raters.

Unlike the other metrics it is spatial, so it is computed from volumes and not from tallies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import as_array, check_voxels
from mrcalib.metrics.overlap import THRESHOLDS
from mrcalib.metrics.vessel_slices import (
    ContactRule,
    MaskOf,
    check_vessel_labels,
    check_vessels,
    degrees_of_contact,
    planes_of,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PlaneContact", "VascularInvasion", "vascular_contact", "vascular_invasion"]

_MIN_AREA = 7.0  # mm²
_MAX_ELONGATION = 2.0  # a vessel within 60 degrees of the slices' normal


@dataclass(frozen=True, slots=True, eq=False)
class PlaneContact:
    """Degrees of contact of one vessel in the slices of one plane.

    Attributes
    ----------
    degrees_raters : ndarray of shape (n_raters,)
        Of each rater's tumour, in [0, 360]; NaN for missing raters.
    degrees_prediction : ndarray of shape (n_thresholds,)
        Of the prediction above each threshold, in [0, 360].
    wasserstein : float
        Distance of the two in degrees.
    """

    degrees_raters: NDArray[np.float64]
    degrees_prediction: NDArray[np.float64]
    wasserstein: float


@dataclass(frozen=True, slots=True, eq=False)
class VascularInvasion:
    """Degrees of contact of each vessel, by rater and by threshold of the prediction, and how far they are apart.

    Everything is NaN for a vessel that is not there, or has no cross-section that counts: large enough, compact and whole.

    Attributes
    ----------
    thresholds : tuple of float
        Thresholds of the prediction.
    degrees_raters : dict of str to ndarray of shape (n_raters,)
        By vessel: the largest contact of each rater's tumour over the planes in which a cross-section counts, in
        [0, 360]; NaN for missing raters.
    degrees_prediction : dict of str to ndarray of shape (n_thresholds,)
        By vessel: the same of the prediction above each threshold.
    wasserstein : dict of str to float
        By vessel: the Wasserstein-1 distance of the two in degrees, from 0 (best) to 360.
    per_plane : dict of str to dict of str to PlaneContact
        The same by vessel and plane.
    """

    thresholds: tuple[float, ...]
    degrees_raters: dict[str, NDArray[np.float64]]
    degrees_prediction: dict[str, NDArray[np.float64]]
    wasserstein: dict[str, float]
    per_plane: dict[str, dict[str, PlaneContact]]

    def to_frame(self) -> pd.DataFrame:
        """One row for each vessel, plane and source: a rater or a threshold.

        Returns
        -------
        pandas.DataFrame
            Columns ``vessel``, ``plane`` ("any" for the largest of all), ``source`` ("rater" or "prediction"), ``which``
            (the rater's index, or the threshold) and ``degrees``.

        Examples
        --------
        >>> import numpy as np
        >>> vessel, tumour = np.zeros((2, 12, 12), dtype=int)
        >>> vessel[4:8, 4:8] = 1
        >>> tumour[8:, :] = 1
        >>> result = vascular_invasion(tumour.astype(float), [tumour], vessel, thresholds=[0.5])
        >>> print(result.to_frame().round(1).to_string(index=False))
        vessel plane     source  which  degrees
             1   any      rater    0.0     90.0
             1   any prediction    0.5     90.0
             1 slice      rater    0.0     90.0
             1 slice prediction    0.5     90.0
        """
        import pandas as pd

        rows = [
            (vessel, plane, source, which, degrees)
            for vessel, planes in self.per_plane.items()
            for plane, raters, predicted in [
                ("any", self.degrees_raters[vessel], self.degrees_prediction[vessel]),
                *((plane, found.degrees_raters, found.degrees_prediction) for plane, found in planes.items()),
            ]
            for source, names, values in [
                ("rater", range(len(raters)), raters),
                ("prediction", self.thresholds, predicted),
            ]
            for which, degrees in zip(names, values.tolist(), strict=True)
        ]
        return pd.DataFrame(rows, columns=["vessel", "plane", "source", "which", "degrees"])


def vascular_contact(
    tumour: ArrayLike,
    vessel: ArrayLike,
    spacing: Sequence[float] | None = None,
    *,
    affine: ArrayLike | None = None,
    contact_mm: float = 0.0,
    min_area_mm2: float = _MIN_AREA,
    max_elongation: float = _MAX_ELONGATION,
) -> dict[str, float]:
    r"""Degrees of a vessel's circumference that tumour touches, in slices of each plane.

    In a slice, a cross-section :math:`C` of the vessel is an 8-connected set of pixels with its holes filled. Its outline
    runs through the midpoints of the faces between pixels of :math:`C` and others, in straight segments (what marching
    squares draws at 1/2), measured in mm; a face :math:`f` has half of the two segments that meet in its midpoint, its
    length :math:`\ell_f`. A face is touched if the distance :math:`d_f` from its midpoint to a pixel of tumour, a
    rectangle, is at most ``contact_mm``: at 0, if either pixel beside the face is tumour, so that tumour within the vessel
    counts too. The degrees of a plane are those of the slice and cross-section where they are most,

    .. math:: 360 \cdot \max_C \frac{\sum_{f} \ell_f\,[d_f \le \mathtt{contact\_mm}]}{\sum_{f} \ell_f}.

    They are in [0, 360], do not change when volumes are mirrored, and never fall when tumour is added.

    Only cuts across a vessel say something of its circumference; a slice along it that grazes the wall is a sliver which can
    be surrounded although the vessel is not. So cross-sections count only up to an elongation, the ratio
    :math:`\sqrt{\lambda_1 / \lambda_2}` of the principal standard deviations of :math:`C`, a set of rectangles in mm, each
    of which adds :math:`\mathrm{edge}^2 / 12` to the second moments. A straight round vessel cut at an angle
    :math:`a` from perpendicular has :math:`1 / \cos a`. As every direction is within 54.7 degrees of an axis, where this
    is 1.73, at a limit of 2 such a vessel always counts in one plane at least.

    Parameters
    ----------
    tumour : array_like of bool, shape (X, Y, Z) or (X, Y)
        Mask of 0 and 1.
    vessel : array_like of bool, shape as ``tumour``
        Mask of 0 and 1.
    spacing : sequence of float, optional
        Edges of a voxel in mm, one for each axis. By default those of ``affine``, else 1.
    affine : array_like of shape (4, 4), optional
        From indices to RAS+ mm. It names the planes; its axes must be at right angles.
    contact_mm : float, default=0.0
        Distance in the slice that still counts as contact, in mm.
    min_area_mm2 : float, default=7.0
        Area from which a cross-section counts, in mm². The default is that of a disc 3 mm across: the arteries in question
        measure 6 mm and more, and below that a label's specks, and slices that graze a vessel, would count as surrounded
        when a few pixels of tumour are beside them. Lower it for vessels that are narrowed to less.
    max_elongation : float, default=2.0
        Elongation up to which a cross-section counts, at least 1. That of one which the image's border cuts is not known, and
        it does not count. ``math.inf`` admits all, those too.

    Returns
    -------
    dict of str to float
        Degrees by plane: "sagittal", "coronal" and "axial" if there is an affine, after the anatomical axes that are
        nearest to the slices' normals; else "axis 0", "axis 1" and "axis 2", the axis that slices are stacked along. "slice"
        for an image. NaN where no cross-section of the vessel counts, as in planes along it; 0 where there is no tumour.

    Raises
    ------
    ValueError
        If masks hold other values than 0 and 1, shapes differ or have not two or three axes, lengths are not positive,
        ``max_elongation`` is below 1, or ``spacing`` contradicts ``affine``.
    GeometryError
        If the affine's axes are not at right angles.

    Notes
    -----
    Elongation depends on the vessel only. It does not tell a whole cut from the corner that a slice takes off the end of a
    vessel which runs obliquely: where tumour goes to that end, half of a wall was up to 259 degrees on simulated tubes
    (``benchmarks/vascular``). Nor from a slice that grazes the outside of a bend whose axis has a radius below about three
    times the vessel's: up to 360. A vessel that is itself twice as wide as thick, flattened or two that run side by side
    in one label, does not count in the plane across it. With ``math.inf``, faces at the border of the image are no wall of
    the vessel: they are neither touched nor counted.

    Examples
    --------
    >>> import numpy as np
    >>> tumour, vessel = np.zeros((2, 20, 20, 10), dtype=bool)
    >>> vessel[8:12, 8:12, :] = True
    >>> tumour[4:16, 4:16, 3:7] = ~vessel[4:16, 4:16, 3:7]
    >>> contact = vascular_contact(tumour, vessel, affine=np.diag([1, 1, 2.5, 1]))
    >>> {plane: round(degrees, 1) for plane, degrees in contact.items()}
    {'sagittal': nan, 'coronal': nan, 'axial': 360.0}
    """
    masks = [np.ma.getdata(as_array(mask)) for mask in (tumour, vessel)]
    for name, mask in zip(("tumour", "vessel"), masks, strict=True):
        if mask.dtype.kind not in "biuf" or not ((mask == 0) | (mask == 1)).all():
            msg = f"{name} must be a mask of 0 and 1; got {mask.dtype} with other values. Pass labels == the one meant."
            raise ValueError(msg)
    if masks[0].shape != masks[1].shape:
        msg = f"tumour and vessel must have one shape; got {masks[0].shape} and {masks[1].shape}."
        raise ValueError(msg)
    planes = planes_of(masks[0].shape, spacing, affine)
    rule = ContactRule(contact_mm, min_area_mm2, max_elongation)
    degrees = degrees_of_contact([partial(_marked, masks[0])], masks[1], {"vessel": 1}, planes, rule)
    return {plane.name: float(degrees[k, 0, 0]) for k, plane in enumerate(planes)}


def vascular_invasion(
    probs: ArrayLike,
    raters: Any,
    vessels: ArrayLike,
    spacing: Sequence[float] | None = None,
    *,
    affine: ArrayLike | None = None,
    vessel_labels: Mapping[str, int] | None = None,
    thresholds: str | Sequence[float] = "curvas",
    contact_mm: float = 0.0,
    min_area_mm2: float = _MIN_AREA,
    max_elongation: float = _MAX_ELONGATION,
    rater_axis: int | None = None,
) -> VascularInvasion:
    """Compare the contact of tumour and vessels that is predicted with that which raters see.

    Each rater's tumour, and the prediction above each threshold, touches a vessel over some degrees of its circumference
    (`vascular_contact`); the largest of the planes that cut across the vessel is the involvement. The raters' degrees and
    the thresholds' are two empirical distributions, every rater counting alike and every threshold. Their Wasserstein-1
    distance, which is exact and assumes no shape, is the score.

    Parameters
    ----------
    probs : array_like of float, shape (X, Y, Z) or (X, Y)
        Probability of tumour in [0, 1].
    raters : array_like or sequence
        Masks, raters first ``(R, *S)`` or last ``(*S, R)``, or a list with None for a missing rater, who is left out. A
        rater who marked nothing sees a contact of 0 degrees.
    vessels : array_like of int, shape as ``probs``
        Labels of vessels, 0 for none.
    spacing, affine, contact_mm, min_area_mm2, max_elongation
        As in `vascular_contact`.
    vessel_labels : mapping of str to int, optional
        Label of each vessel to score. By default every label that occurs, named by its number.
    thresholds : {"curvas", "qubiq", "mrnet"} or sequence of float, default="curvas"
        Masks of the prediction are what lies strictly above. "curvas" is 0.1, 0.24, 0.38, 0.52, 0.66 and 0.8.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Returns
    -------
    VascularInvasion
        NaN for a vessel that is not there, or has no cross-section that counts.

    Raises
    ------
    ValueError
        If arrays do not fit, probabilities or masks hold other values than they may, no rater is there, a rater annotated
        part of the voxels only, a label is not a positive whole number, a length is not one, or ``max_elongation`` is
        below 1.
    GeometryError
        If the affine's axes are not at right angles.

    References
    ----------
    .. [1] TwinTrack, arXiv:2604.15950, appendix B: involvement is the most restrictive over axial, sagittal and coronal
       planes, and its distributions are compared by the Wasserstein distance. What the challenge's program does instead is
       `mrcalib.protocols.curvas_pdacvi`.

    Examples
    --------
    >>> import numpy as np
    >>> vessels, tumour = np.zeros((2, 20, 20, 10), dtype=int)
    >>> vessels[8:12, 8:12, :] = 3
    >>> tumour[4:16, 4:16, :] = 1
    >>> masks = [tumour, tumour, 0 * tumour, None]
    >>> result = vascular_invasion(0.7 * tumour, masks, vessels, vessel_labels={"aorta": 3})
    >>> result.degrees_raters["aorta"], result.degrees_prediction["aorta"]
    (array([360., 360.,   0.,  nan]), array([360., 360., 360., 360., 360.,   0.]))
    >>> round(result.wasserstein["aorta"], 6)
    60.0
    """
    voxels = check_voxels(probs, raters, rater_axis=rater_axis, soft=False, arguments=("rater_axis",))
    shape = as_array(probs).shape
    planes = planes_of(shape, spacing, affine)
    rule = ContactRule(contact_mm, min_area_mm2, max_elongation)
    p = voxels.probs.reshape(shape, order=voxels.order)
    masks = voxels.whole_masks(shape)
    if not (p.min() >= 0 and p.max() <= 1):
        voxels.refuse_probs()
    levels = _levels(thresholds)
    labels = check_vessels(vessels, shape)
    if vessel_labels is None:
        wanted = {str(label): int(label) for label in np.unique(labels) if label != 0}
    else:
        wanted = check_vessel_labels(vessel_labels)

    present = [r for r, mask in enumerate(masks) if mask is not None]
    sources: list[MaskOf] = [partial(_marked, mask) for mask in masks if mask is not None]
    sources += [partial(_above, p, np.float64(level)) for level in levels]
    degrees = degrees_of_contact(sources, labels, wanted, planes, rule)

    def split(values: NDArray[np.float64]) -> PlaneContact:
        by_rater = np.full(len(masks), np.nan)
        by_rater[present] = values[: len(present)]
        predicted = values[len(present) :].copy()
        return PlaneContact(by_rater, predicted, _wasserstein(values[: len(present)], predicted))

    largest = [split(values) for values in _largest(degrees)]
    return VascularInvasion(
        thresholds=levels,
        degrees_raters={name: found.degrees_raters for name, found in zip(wanted, largest, strict=True)},
        degrees_prediction={name: found.degrees_prediction for name, found in zip(wanted, largest, strict=True)},
        wasserstein={name: found.wasserstein for name, found in zip(wanted, largest, strict=True)},
        per_plane={
            name: {plane.name: split(degrees[k, v]) for k, plane in enumerate(planes)} for v, name in enumerate(wanted)
        },
    )


def _levels(thresholds: str | Sequence[float]) -> tuple[float, ...]:
    if isinstance(thresholds, str) and thresholds in THRESHOLDS:
        return THRESHOLDS[thresholds]
    if isinstance(thresholds, str):
        msg = f"thresholds must be numbers or one of {', '.join(map(repr, THRESHOLDS))}; got {thresholds!r}."
        raise ValueError(msg)
    levels = tuple(float(level) for level in thresholds)
    if not levels or not all(0 <= level < 1 for level in levels):
        msg = f"thresholds must be at least one number in [0, 1); got {list(levels)}."
        raise ValueError(msg)
    return levels


def _marked(mask: NDArray[Any], box: tuple[slice, ...]) -> NDArray[np.bool_]:
    return np.asarray(mask[box] != 0)


def _above(probs: NDArray[Any], level: np.float64, box: tuple[slice, ...]) -> NDArray[np.bool_]:
    return np.asarray(probs[box] > level)  # compared in float64, whatever the probabilities are


def _largest(degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest over planes, the first axis, leaving NaN out where there is another."""
    largest = np.where(np.isnan(degrees), -1.0, degrees).max(axis=0)
    return np.where(largest < 0, np.nan, largest)


def _wasserstein(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Exact Wasserstein-1 distance of two samples: the area between their distribution functions."""
    if np.isnan(first).any() or np.isnan(second).any():
        return math.nan
    points = np.sort(np.concatenate([first, second]))
    shares = [np.searchsorted(np.sort(some), points[:-1], side="right") / some.size for some in (first, second)]
    return float(np.abs(shares[0] - shares[1]) @ np.diff(points))
