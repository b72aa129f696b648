"""Scores of the CURVAS-PDACVI 2025 challenge: pancreatic tumours, five raters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, check_probs, check_spacing, check_voxels, voxel_responses
from mrcalib.metrics import expected_calibration_error, gaussian_crps, mean_rater_ece, multirater_ece, threshold_dice
from mrcalib.protocols._invasion import contact_notes, corrected_invasion, official_invasion
from mrcalib.protocols._notes import invasion_notes, rater_notes, volume_notes
from mrcalib.protocols._official import Box, annotation_box, official_top_label_ece, truncated_crps, wraps
from mrcalib.protocols._protocol import CRPS_DISAGREEMENT, Disagreement, Measure, Protocol, register_protocol
from mrcalib.responses import Responses
from mrcalib.tallies import tally_voxels

__all__ = ["curvas_pdacvi"]

_N_RATERS = 5


def curvas_pdacvi(
    probs: ArrayLike,
    raters: Any,
    vessels: ArrayLike | None = None,
    spacing: float | Sequence[float] | None = None,
    *,
    affine: ArrayLike | None = None,
    vessel_labels: Mapping[str, int] | None = None,
    strict: bool = True,
) -> dict[str, Any]:
    """Score one case as the official CURVAS-PDACVI 2025 program does (version 86cfbeb), or as it means to.

    Parameters
    ----------
    probs : array_like of float, shape S
        Probability of tumour in [0, 1]. The program reads float32.
    raters : array_like or sequence
        Masks, raters first ``(R, *S)`` or last ``(*S, R)``, or a list with None for a rater who did not annotate the
        case. The program takes exactly five; here any number counts alike, and raters who are missing are left out.
    vessels : array_like of int, shape S, optional
        Labels of vessels, 0 for none; S has three axes then.
    spacing : float or sequence of float, optional
        Volume of a voxel in mm³, or its edges in mm; the CRPS is then in mm³, else in voxels. The corrected contact with
        vessels asks for edges, or ``affine``; without either, voxels are taken for cubes, and ``notes`` say so.
    affine : array_like of shape (4, 4), optional
        From indices to RAS+ mm: names the planes of the corrected contact with vessels. The program does not look at it.
    vessel_labels : mapping of str to int, optional
        Label of each vessel to score, under any names. By default those of the challenge: PORTA 1, SMV 2, AORTA 3, CELIAC
        TRUNK 4 and SMA 5.
    strict : bool, default=True
        Whether to keep the program's quirks, below.

    Returns
    -------
    dict
        ``tdsc`` : mean thresholded Dice, in [0, 1], higher is better.
        ``ece`` : mean over raters of the top-label calibration error (50 bins) in the box around all annotations.
        ``ece_per_rater`` : list of one number a rater, NaN for missing ones.
        ``dice_majority`` : Dice of ``probs > 0.5`` and of what more than half of the raters marked, in [0, 1].
        ``crps`` : of the predicted volume and the normal distribution of the raters' volumes (population variance).
        ``vi`` : vascular invasion, by vessel: a distance of the degrees of contact predicted from those that raters see,
        from 0 (best) to 360; None without ``vessels``.
        ``vi_detail`` : by vessel and plane ("cor", "sag", "ax") ``rater_mean``, ``rater_std``, ``prediction_mean`` and
        ``prediction_std`` in degrees, ``wasserstein``, and ``note``, a sentence or None; None without ``vessels``.
        ``box`` : first index and end of the box on each axis, None where no rater marked anything.
        ``box_wraps`` : whether a start is negative, so that the strict ``ece`` is that of a wrong region.
        ``notes`` : list of sentences on what is not defined, or is not what it seems: missing and empty raters, a box
        that wraps, raters who agree about the volume, a CRPS that saturates. A score that is perfect for want of
        anything to score is never without one.
        With ``strict=False`` also ``mr_ece`` and ``ece_foreground``: errors of the probability of foreground in the
        same box, against the mean human response and averaged over raters.

    Raises
    ------
    ValueError
        If a rater annotated part of the voxels only, there is no voxel, arrays do not fit, or the corrected contact with
        vessels is asked for with a spacing that is a volume.
    GeometryError
        If the axes of ``affine`` are not at right angles, for the corrected contact with vessels.

    Notes
    -----
    Kept in strict mode; what ``strict=False`` does instead is in brackets:

    - Thresholds are 0.1, 0.24, 0.38, 0.52, 0.66 and 0.8, and masks what is strictly above: the last asks for unanimity
      of five raters, and 0.24 and 0.38 for the same two votes. [the same]
    - 1e-6 is added to the denominator of Dice. [nothing is added]
    - Where neither side has a voxel at a threshold, its Dice is 1; that of the majority is 0. [1, but NaN where neither
      side has a voxel at any threshold; NaN]
    - The calibration error is that of the more probable label, although the challenge speaks of the probability of
      tumour: errors of either half cancel. [the same, with ``ece_foreground`` beside it]
    - Confidences that are 1 in float32 are in a bin of their own. [they are in the last bin]
    - Its sums are float32, one voxel after another: they round, and stop at 2**24 voxels of a bin. [float64]
    - The box spans 20 voxels below the annotations and 19 beyond; a negative start counts from the far end, so that a
      tumour near the low edge of the volume is left out in part or wholly; ``ece`` is NaN where that leaves no voxel.
      [it starts at 0]
    - Without any annotation, all raters having marked nothing, the program stops with an error; here ``ece`` is NaN
      alone. [the box is the whole volume]
    - The CRPS is integrated over mean ± 3 standard deviations, so it saturates at 2.44 of them, is 0 where raters agree
      about the volume whatever the prediction, and is off by 0.1 % (up to 1.2 %) elsewhere. [closed form, which is
      ``|v - mean|`` for agreement]
    - Volumes of a spacing: the program multiplies the prediction by the vector and fails; here it is their product.
      [the same]

    - Vascular invasion counts edge pixels of vessels in slices along array axes, some of them up to four times, so that
      degrees may exceed 360; it sees tumour with one pixel in between on two of four sides only, takes the largest slice
      however small, compares normal distributions on a grid that ends at 360, answers a fixed value where that has no weight (0
      where neither has, however far apart they are), and is a mean over planes. A vessel that is not in the labels scores
      0, a perfect score; so does one that no tumour comes near. Every quirk is described in
      ``mrcalib.protocols._invasion.official_invasion``. [`mrcalib.metrics.vascular_invasion`: shares of the circumference
      in mm, the largest of the anatomical planes that cut across the vessel, and the exact distance of the two samples;
      NaN for a vessel that is not in the labels, or that no slice cuts across, large and whole enough to measure]

    References
    ----------
    .. [1] CURVAS-PDACVI, https://curvas-pdacvi.grand-challenge.org.

    Examples
    --------
    >>> import numpy as np
    >>> masks = np.zeros((5, 48, 48, 48), dtype=np.uint8)
    >>> masks[:, 22:26, 22:26, 22:26] = 1
    >>> masks[4, 22] = 0
    >>> scores = curvas_pdacvi(masks.mean(axis=0), masks)
    >>> round(scores["tdsc"], 4), scores["box_wraps"]
    (1.0, False)
    >>> round(scores["crps"], 2), round(curvas_pdacvi(masks.mean(axis=0), masks, strict=False)["crps"], 2)
    (1.5, 1.5)
    """
    p = np.ascontiguousarray(check_probs(probs))
    p = p.astype(np.float32) if p.dtype == np.float16 else p
    voxels = check_voxels(p, raters, soft=False, arguments=())
    if voxels.n_voxels == 0:
        msg = f"There is no voxel to score: probs have the shape {p.shape}."
        raise ValueError(msg)
    masks = [None if mask is None else np.not_equal(mask, 0) for mask in voxels.whole_masks(p.shape)]
    annotators = [mask for mask in masks if mask is not None]
    responses = _rows(p, raters, voxels)

    box = annotation_box(np.any(annotators, axis=0), clamp=not strict)
    unit = 1.0 if spacing is None else math.prod(check_spacing(np.atleast_1d(spacing)))
    volumes = np.array([mask.sum() for mask in annotators], dtype=np.float64) * unit
    predicted, mean, std = float(p.sum()) * unit, float(volumes.mean()), float(volumes.std())
    invasion: dict[str, Any] = {"vi": None, "vi_detail": None}
    if vessels is not None and strict:
        invasion = official_invasion(p, masks, vessels, vessel_labels)
    elif vessels is not None:
        invasion = corrected_invasion(p, masks, vessels, vessel_labels, spacing=spacing, affine=affine)
    shared = {**invasion, "box": box, "box_wraps": wraps(box)}
    notes = rater_notes(masks, _N_RATERS) + (volume_notes("crps", predicted, mean, std) if strict else [])
    notes += invasion_notes(invasion["vi"], invasion["vi_detail"]) + contact_notes(invasion["vi_detail"])
    if strict:
        region = None if box is None else tuple(slice(*ends) for ends in box)
        errors = [
            math.nan if mask is None or region is None else official_top_label_ece(p[region], mask[region])
            for mask in masks
        ]
        ece = float(np.mean([e for e, mask in zip(errors, masks, strict=True) if mask is not None]))
        return {
            "tdsc": threshold_dice(responses, smooth=1e-6),
            "dice_majority": threshold_dice(responses, thresholds=[0.5], both_empty=0.0, smooth=1e-6),
            "ece": ece,
            "ece_per_rater": errors,
            "crps": truncated_crps(predicted, mean, std),
            **shared,
            "notes": notes + _box_notes(box, ece) + _overlap_notes(responses, "1, and dice_majority 0"),
        }
    region = (slice(None),) if box is None else tuple(slice(*ends) for ends in box)
    part, parts = p[region], [None if mask is None else mask[region] for mask in masks]
    inside, binned = voxel_responses(part, parts), _rows(part, parts, check_voxels(part, parts, soft=False))
    top_label = [expected_calibration_error(inside, target=r, kind="top-label") for r in range(len(masks))]
    return {
        "tdsc": math.nan if _nothing_overlaps(responses) else threshold_dice(responses),
        "dice_majority": threshold_dice(responses, thresholds=[0.5], both_empty=math.nan),
        "ece": float(np.mean([e for e, mask in zip(top_label, masks, strict=True) if mask is not None])),
        "ece_per_rater": top_label,
        "crps": float(gaussian_crps(float(p.sum(dtype=np.float64)) * unit, mean, std)),
        "mr_ece": multirater_ece(binned),
        "ece_foreground": mean_rater_ece(binned),
        **shared,
        "notes": [
            *notes,
            *([] if box else ["No rater marked a voxel: ece is that of the whole volume."]),
            *_overlap_notes(responses, "not defined"),
        ],
    }


def _nothing_overlaps(responses: Responses) -> bool:
    """Whether neither the prediction nor the raters exceed any threshold."""
    return not threshold_dice.sums(responses)[1:].any()


def _overlap_notes(responses: Responses, what: str) -> list[str]:
    if not _nothing_overlaps(responses):
        return []
    return [f"Neither the prediction nor the raters' mean exceeds any threshold: tdsc is {what}."]


def _box_notes(box: Box | None, ece: float) -> list[str]:
    """Why the strict ``ece`` is not defined, or that of a wrong region."""
    if box is None:
        return ["No rater marked a voxel: the program stops with an error, and ece is not defined."]
    if not wraps(box):
        return []
    if math.isnan(ece):
        return ["The box starts before the volume, wraps around and holds no voxel: ece is not defined."]
    return ["The box starts before the volume and wraps around: ece is that of a wrong region."]


def _rows(probs: NDArray[Any], raters: Any, voxels: Voxels) -> Responses:
    """Rows for threshold Dice and 50 bins: where p is float32 those of the tally, which is cut at their edges."""
    if probs.dtype != np.float32:
        return voxel_responses(probs, raters, soft=False, arguments=())
    names = tuple(str(r) for r in range(voxels.n_raters))
    return tally_voxels(voxels, ProbabilityGrid.standard(), names).responses()


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    flat = {name: float(scores[name]) for name in ("tdsc", "ece", "crps")}
    if "ece_foreground" in scores:
        flat["ece_foreground"] = float(scores["ece_foreground"])
    invasion: Mapping[str, float] = scores["vi"] or {}
    return flat | {f"vi_{'CELIAC' if name == 'CELIAC TRUNK' else name}": float(v) for name, v in invasion.items()}


def _why_tdsc(strict: float, corrected: float) -> str:
    if math.isnan(corrected) and not math.isnan(strict):
        return "neither side has a voxel at any threshold, which the program scores as a perfect overlap"
    return "with a voxel or less on both sides, the 1e-6 in the program's denominator counts"


def _why_ece(strict: float, corrected: float) -> str:
    if math.isnan(strict) and not math.isnan(corrected):
        return "the program's box holds no voxel, or no rater marked one"
    return "the program's box wraps around the volume, or its float32 sums and its bin of certain voxels make the difference"


def _why_vi(strict: float, corrected: float) -> str:
    if math.isnan(strict) or math.isnan(corrected):
        return "one of them is not defined"
    return (
        "the program fits normal distributions to degrees of contact that it counts in pixels, up to more than 360, and "
        "averages over planes"
    )


def _cancelled(corrected: Mapping[str, float]) -> list[str]:
    """What top-label errors hide: excesses in either half that cancel."""
    label, foreground = corrected.get("ece", math.nan), corrected.get("ece_foreground", math.nan)
    if not (foreground > 0.01 and foreground > 3 * label):
        return []
    return [
        f"ECE: {label:.4g} for the more probable label, as the program has it, {foreground:.4g} for the probability of "
        "foreground; in the former, errors of either half cancel."
    ]


PROTOCOL = register_protocol(
    Protocol(
        name="curvas-pdacvi",
        title="CURVAS-PDACVI 2025",
        measures=(
            Measure("tdsc", "TDSC", "higher"),
            Measure("ece", "ECE", "lower"),
            Measure("crps", "CRPS", "lower", "mm³"),
            *(Measure(f"vi_{name}", name, "lower", "°") for name in ("PORTA", "SMV", "AORTA", "CELIAC", "SMA")),
        ),
        needs_vessels=True,
        needs_classes=False,
        scorer=curvas_pdacvi,
        flatten=_numbers,
        rules={
            "tdsc": Disagreement(0.001, 0.0, _why_tdsc),
            "ece": Disagreement(1e-4, 0.02, _why_ece),
            "crps": CRPS_DISAGREEMENT,
            "vi": Disagreement(5.0, 0.1, _why_vi),
        },
        beyond=_cancelled,
    )
)
