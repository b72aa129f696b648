"""Vascular invasion as the CURVAS-PDACVI 2025 program scores it, quirks included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.contact import count_edge_contacts
from mrcalib.metrics import PlaneContact, vascular_invasion
from mrcalib.metrics.overlap import THRESHOLDS
from mrcalib.metrics.vessel_slices import BITS, check_vessel_labels, check_vessels, crop_vessels

__all__ = [
    "OFFICIAL_VESSELS",
    "PLANES",
    "contact_notes",
    "corrected_invasion",
    "official_invasion",
    "official_wasserstein",
]

OFFICIAL_VESSELS = {"PORTA": 1, "SMV": 2, "AORTA": 3, "CELIAC TRUNK": 4, "SMA": 5}
PLANES = ("cor", "sag", "ax")

_KEYS = ("rater_mean", "rater_std", "prediction_mean", "prediction_std")
_SHORT = {"coronal": "cor", "sagittal": "sag", "axial": "ax"}
_SMALLEST_STD = 1e-6
_NOTHING = 1e-8  # what sums and standard deviations must exceed not to count as zero
_ABSENT = "The vessel is not in the labels; the program answers 0."
_TOO_SMALL = "The vessel is not in the labels, or no slice cuts across it, large and whole enough; nothing is measured."
_ALONG = "No slice of this plane cuts across the vessel; the plane is left out."
_CUBES = "Neither spacing nor affine is given; voxels are taken for cubes of 1 mm."
_BETWEEN = "A distribution has no weight on the program's grid from 0 to 360 degrees; the distance is a fixed value."


def official_invasion(
    probs: NDArray[Any],
    masks: Sequence[NDArray[Any] | None],
    vessels: ArrayLike,
    labels: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Degrees of contact of tumour and vessels, and how far those predicted are from those of the raters.

    In each slice with tumour and vessel the contact is counted in edge pixels of the vessel, divided by their number and
    multiplied by 360; the largest of all slices counts. A mean and a standard deviation over raters, and over the
    prediction's masks above the thresholds 0.1, 0.24, 0.38, 0.52, 0.66 and 0.8, stand for two normal distributions, whose
    Wasserstein distance is averaged over three planes.

    Parameters
    ----------
    probs : ndarray of float, shape (X, Y, Z)
        Probability of tumour.
    masks : sequence of ndarray or None
        Each rater's mask, of the shape of ``probs``; missing raters (None) are left out, empty masks are 0 degrees.
    vessels : array_like of int, shape (X, Y, Z)
        Labels of vessels.
    labels : mapping of str to int, optional
        Label of each vessel; those of the challenge by default.

    Returns
    -------
    dict
        ``vi`` : score of each vessel in degrees, from 0 (best) to 360.
        ``vi_detail`` : for each vessel and each of the planes "cor", "sag" and "ax" a dict of ``rater_mean``,
        ``rater_std``, ``prediction_mean`` and ``prediction_std`` in degrees, ``wasserstein``, and ``note``, a sentence
        where the distance means something else than it says, else None.

    Raises
    ------
    ValueError
        If the volume has not three axes, ``vessels`` does not fit, or no rater is there.
    TypeError
        If ``vessels`` holds no numbers.

    Notes
    -----
    Quirks, all kept:

    - The tumour is dilated by a cross in the slice. Edge pixels of the vessel under it count once. Each other edge pixel
      counts again for every kernel of [[1, 1]], [[1], [1]], [[1, 0], [0, 1]] and [[0, 1], [1, 0]] whose convolution with
      the dilated tumour, less the vessel's edge, is not 0 there: up to four times, so that **degrees may exceed 360**.
    - Kernels of two taps have no centre: tumour with one pixel in between counts below and to the right of a vessel only, and
      **a mirrored volume has another score**.
    - The largest slice counts, by degrees: one pixel of vessel under the tumour is 360.
    - Planes are array axes: "cor" is 0, "sag" 1 and "ax" 2, whatever the anatomy; lengths are pixels, not mm.
    - Where a vessel leaves the volume, its cut is an edge too. Beyond the border the last pixel is repeated; this is
      scipy's default and not settled by the official answers at hand.
    - Standard deviations have 1e-6 added. Densities are read at 1000 points from 0 to 360 and what lies beyond is cut.
    - A density whose sum is below 1e-8 counts as zero: a distribution beyond 360, or degrees on which all agree and that
      are no point of the grid. If both are, the distance is **0, however far apart they are**. If one is, it is the mean
      of the other, where that has no spread, else 360. The raters' mean and spread are divided by the sum of the density
      here; the prediction's mean is not, so that its spread is only zero where the mean is 0: 90 degrees of all raters
      and 200 of all thresholds are 360 apart instead of 110, and 90 of all raters and no contact predicted are **0**
      apart. That sums below 1e-8 count as zero is derived from the official answers: 1.2e-10 does, 8.6e-5 does not.
    - Wasserstein distances are averaged over planes, where the TwinTrack paper speaks of the most restrictive plane.
    - A vessel that is not in the labels, or that no tumour comes near, has 0 everywhere, a perfect score.

    Examples
    --------
    >>> import numpy as np
    >>> vessels, tumour = np.zeros((2, 12, 12, 12), dtype=int)
    >>> vessels[4:8, 4:8, :] = 5
    >>> tumour[2:10, 2:10, 3:9] = 1
    >>> scores = official_invasion(tumour.astype(float), [tumour] * 5, vessels)
    >>> scores["vi"]["SMA"], scores["vi_detail"]["SMA"]["ax"]["rater_mean"]
    (0.0, 360.0)
    """
    wanted = OFFICIAL_VESSELS if labels is None else check_vessel_labels(labels)
    if probs.ndim != 3:
        msg = f"The program scores volumes; got probs of shape {probs.shape}. strict=False takes images too."
        raise ValueError(msg)
    readers = [mask for mask in masks if mask is not None]
    if not readers:
        msg = "Vascular invasion needs at least one rater; all are missing (None)."
        raise ValueError(msg)
    degrees, absent = _degrees(probs, readers, check_vessels(vessels, probs.shape), wanted)
    scores, detail = {}, {}
    for v, name in enumerate(wanted):
        detail[name] = {
            plane: _plane_detail(degrees[a, v, : len(readers)], degrees[a, v, len(readers) :], absent=name in absent)
            for a, plane in enumerate(PLANES)
        }
        scores[name] = float(np.mean([contact["wasserstein"] for contact in detail[name].values()]))
    return {"vi": scores, "vi_detail": detail}


def corrected_invasion(
    probs: NDArray[Any],
    masks: Sequence[NDArray[Any] | None],
    vessels: ArrayLike,
    labels: Mapping[str, int] | None = None,
    *,
    spacing: float | Sequence[float] | None = None,
    affine: ArrayLike | None = None,
) -> dict[str, Any]:
    """`mrcalib.metrics.vascular_invasion` under the keys of `official_invasion`; NaN for a vessel that is not there.

    ``vi`` compares the largest degrees over the planes that cut across the vessel; the others are NaN. Planes are "cor",
    "sag" and "ax" by the anatomy of ``affine``; without one they are "axis 0" to "axis 2", the axes that slices are stacked
    along. Without spacing and affine voxels are cubes.
    """
    edges = None if affine is not None and (spacing is None or np.ndim(spacing) == 0) else spacing
    if edges is not None and np.ndim(edges) == 0:
        msg = f"Contact in mm needs the edges of a voxel: spacing=(x, y, z) or affine=; got the volume {spacing} mm³."
        raise ValueError(msg)
    wanted = OFFICIAL_VESSELS if labels is None else labels
    found = vascular_invasion(probs, list(masks), vessels, edges, affine=affine, vessel_labels=wanted)  # type: ignore[arg-type]
    unknown = edges is None and affine is None
    detail = {
        name: {
            _SHORT.get(plane, plane): _corrected_detail(contact, left_out, unknown=unknown)
            for plane, contact in planes.items()
        }
        for name, planes in found.per_plane.items()
        for left_out in [_TOO_SMALL if np.isnan(found.wasserstein[name]) else _ALONG]
    }
    return {"vi": found.wasserstein, "vi_detail": detail}


def contact_notes(detail: Mapping[str, Mapping[str, Mapping[str, Any]]] | None) -> list[str]:
    """The notes of ``vi_detail``, each once with the vessels that it is about; none without detail.

    That a plane is left out is no news: every vessel runs along some plane.
    """
    about: dict[str, dict[str, None]] = {}
    for name, planes in (detail or {}).items():
        for contact in planes.values():
            if contact["note"] not in (None, _ALONG):
                about.setdefault(contact["note"], {})[name] = None
    return [f"vi of {', '.join(names)}: {note}" for note, names in about.items()]


def _corrected_detail(contact: PlaneContact, left_out: str, *, unknown: bool) -> dict[str, Any]:
    raters = contact.degrees_raters[~np.isnan(contact.degrees_raters)]
    absent = np.isnan(contact.degrees_prediction).any()
    moments = (
        [np.nan] * 4 if absent else [f(a) for a in (raters, contact.degrees_prediction) for f in (np.mean, np.std)]
    )
    note = left_out if absent else _CUBES if unknown else None
    numbers = dict(zip(_KEYS, (float(m) for m in moments), strict=True))
    return {**numbers, "wasserstein": contact.wasserstein, "note": note}


def _degrees(
    probs: NDArray[Any], readers: Sequence[NDArray[Any]], labels: NDArray[Any], wanted: Mapping[str, int]
) -> tuple[NDArray[np.float64], set[str]]:
    """Degrees of (plane, vessel, raters then thresholds), and the vessels that are not there."""

    def marked(mask: NDArray[Any], box: tuple[slice, ...]) -> NDArray[np.bool_]:
        return np.asarray(mask[box] != 0)

    def above(threshold: np.float64, box: tuple[slice, ...]) -> NDArray[np.bool_]:
        return np.asarray(probs[box] > threshold)  # float64 against float32: compared in float64

    sources = [partial(marked, mask) for mask in readers]
    sources += [partial(above, np.float64(t)) for t in THRESHOLDS["curvas"]]
    degrees = np.zeros((len(PLANES), len(wanted), len(sources)))
    crop = crop_vessels(labels, wanted, (2, 2, 2))
    if crop is None:
        return degrees, set(wanted)
    index = {name: c for c, names in enumerate(crop.names, start=1) for name in names}
    there = np.isin(np.arange(len(crop.names) + 1), crop.code)
    for first in range(0, len(sources), BITS):
        some = sources[first : first + BITS]
        bits = crop.pack(some)
        for axis in range(3):
            slices, code = (np.ascontiguousarray(np.moveaxis(a, axis, 0)) for a in (bits, crop.code))
            edges = np.zeros((len(crop.names) + 1, len(code)), dtype=np.int64)
            hits = np.zeros((*edges.shape, len(some)), dtype=np.int64)
            count_edge_contacts(slices, code, edges, hits)
            largest = (hits / np.maximum(edges, 1)[..., None] * 360).max(axis=1)
            for v, name in enumerate(wanted):
                degrees[axis, v, first : first + BITS] = largest[index[name]]
    return degrees, {name for name in wanted if not there[index[name]]}


def _plane_detail(raters: NDArray[np.float64], predicted: NDArray[np.float64], *, absent: bool) -> dict[str, Any]:
    moments = [raters.mean(), raters.std() + _SMALLEST_STD, predicted.mean(), predicted.std() + _SMALLEST_STD]
    numbers = [float(m) for m in moments]
    distance, on_grid = official_wasserstein(*numbers)
    note = _ABSENT if absent else None if on_grid else _BETWEEN
    return {**dict(zip(_KEYS, numbers, strict=True)), "wasserstein": distance, "note": note}


def official_wasserstein(mean_p: float, std_p: float, mean_q: float, std_q: float) -> tuple[float, bool]:
    """The program's distance of the raters' (p) and the prediction's (q) normal distributions, and whether it is one."""
    x = np.linspace(0, 360, 1000)
    p, q = (_density(x, *moments) for moments in ((mean_p, std_p), (mean_q, std_q)))
    p_is_zero, q_is_zero = p.sum() <= _NOTHING, q.sum() <= _NOTHING
    if p_is_zero and q_is_zero:
        return 0.0, False
    if q_is_zero:
        return _one_sided(x, p, float(x @ p / p.sum())), False
    if p_is_zero:
        return _one_sided(x, q, float(x @ q)), False
    below = np.cumsum(p / p.sum()) - np.cumsum(q / q.sum())
    return float(np.abs(below[:-1]) @ np.diff(x)), True


def _one_sided(x: NDArray[np.float64], density: NDArray[np.float64], mean: float) -> float:
    spread = np.sqrt((x - mean) ** 2 @ density / density.sum())
    return abs(mean) if spread <= _NOTHING else 360.0


def _density(x: NDArray[np.float64], mean: float, std: float) -> NDArray[np.float64]:
    density: NDArray[np.float64] = np.exp(-(((x - mean) / std) ** 2) / 2) / np.sqrt(2 * np.pi) / std
    return density
