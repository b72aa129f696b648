"""Scores of the CURVAS-PDACVI 2025 challenge: pancreatic tumours, five raters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._rows import voxel_responses
from mrcalib._validation import check_probs
from mrcalib.metrics import ece_metric, gaussian_crps, threshold_dice_metric
from mrcalib.protocols._box import annotation_box, wraps
from mrcalib.protocols._top_label import official_top_label_ece
from mrcalib.protocols._truncated_crps import truncated_crps
from mrcalib.responses import Responses

__all__ = ["curvas_pdacvi"]


def curvas_pdacvi(
    probs: ArrayLike,
    raters: Any,
    vessels: ArrayLike | None = None,
    spacing: float | Sequence[float] | None = None,
    *,
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
    vessels : array_like, optional
        Not supported yet: vascular invasion arrives with the next release.
    spacing : float or sequence of float, optional
        Volume of a voxel in mm³, or its edges in mm; the CRPS is then in mm³, else in voxels.
    strict : bool, default=True
        Whether to keep the program's quirks, below.

    Returns
    -------
    dict
        ``tdsc`` : mean thresholded Dice, in [0, 1], higher is better.
        ``ece`` : mean over raters of the top-label calibration error (50 bins) in the box around all annotations.
        ``ece_per_rater`` : list of one number a rater, NaN for missing ones.
        ``crps`` : of the predicted volume and the normal distribution of the raters' volumes (population variance).
        ``vi`` : None.
        ``box`` : first index and end of the box on each axis, None where no rater marked anything.
        ``box_wraps`` : whether a start is negative, so that the strict ``ece`` is that of a wrong region.
        With ``strict=False`` also ``mr_ece`` and ``ece_foreground``: errors of the probability of foreground in the
        same box, against the mean human response and averaged over raters.

    Raises
    ------
    ValueError
        If vessels are given, a rater annotated part of the voxels only, there is no voxel, or arrays do not fit.

    Notes
    -----
    Kept in strict mode; what ``strict=False`` does instead is in brackets:

    - Thresholds are 0.1, 0.24, 0.38, 0.52, 0.66 and 0.8, and masks what is strictly above: the last asks for unanimity
      of five raters, and 0.24 and 0.38 for the same two votes. [the same]
    - 1e-6 is added to the denominator of Dice; where neither side has a voxel it is 1. [nothing is added]
    - The calibration error is that of the more probable label, although the challenge speaks of the probability of
      tumour: errors of either half cancel. [the same, with ``ece_foreground`` beside it]
    - Confidences that are 1 in float32 are in a bin of their own. [they are in the last bin]
    - Its sums are float32, one voxel after another: they round, and stop at 2**24 voxels of a bin. [float64]
    - The box spans 20 voxels below the annotations and 19 beyond; a negative start counts from the far end, so that a
      tumour near the low edge of the volume is left out in part or wholly; ``ece`` is NaN where that leaves no voxel.
      [it starts at 0]
    - Without any annotation the program stops with an error; here ``ece`` is NaN. [the box is the whole volume]
    - The CRPS is integrated over mean ± 3 standard deviations, so it saturates at 2.44 of them, is 0 where raters agree
      about the volume whatever the prediction, and is off by about 0.1 % elsewhere. [closed form, which is
      ``|v - mean|`` for agreement]
    - Volumes of a spacing: the program multiplies the prediction by the vector and fails; here it is their product.
      [the same]

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
    if vessels is not None:
        msg = "Vascular invasion scoring arrives with the next release; leave vessels out (None) for the other scores."
        raise ValueError(msg)
    p = np.ascontiguousarray(check_probs(probs))
    p = p.astype(np.float32) if p.dtype == np.float16 else p
    responses = voxel_responses(p, raters, soft=False)
    masks = _masks(responses, p.shape)
    annotators = [mask for mask in masks if mask is not None]

    box = annotation_box(np.any(annotators, axis=0), clamp=not strict)
    unit = 1.0 if spacing is None else math.prod(np.atleast_1d(np.asarray(spacing, dtype=np.float64)).tolist())
    volumes = np.array([mask.sum() for mask in annotators], dtype=np.float64) * unit
    predicted, mean, std = float(p.sum()) * unit, float(volumes.mean()), float(volumes.std())
    shared = {"vi": None, "box": box, "box_wraps": wraps(box)}
    if strict:
        region = None if box is None else tuple(slice(*ends) for ends in box)
        errors = [
            math.nan if mask is None or region is None else official_top_label_ece(p[region], mask[region])
            for mask in masks
        ]
        return {
            "tdsc": threshold_dice_metric(smooth=1e-6)(responses),
            "ece": float(np.mean([e for e, mask in zip(errors, masks, strict=True) if mask is not None])),
            "ece_per_rater": errors,
            "crps": truncated_crps(predicted, mean, std),
            **shared,
        }
    region = (slice(None),) if box is None else tuple(slice(*ends) for ends in box)
    inside = voxel_responses(p[region], [None if mask is None else mask[region] for mask in masks])
    top_label = [ece_metric(target=r, kind="top-label")(inside) for r in range(len(masks))]
    return {
        "tdsc": threshold_dice_metric()(responses),
        "ece": ece_metric(target="per-rater", kind="top-label")(inside),
        "ece_per_rater": top_label,
        "crps": float(gaussian_crps(float(p.sum(dtype=np.float64)) * unit, mean, std)),
        "mr_ece": ece_metric()(inside),
        "ece_foreground": ece_metric(target="per-rater")(inside),
        **shared,
    }


def _masks(responses: Responses, shape: tuple[int, ...]) -> list[NDArray[np.bool_] | None]:
    """Each rater's mask, None where missing; ValueError where a rater answered at part of the voxels only."""
    if math.prod(shape) == 0 or responses.present is None or responses.marked is None:
        msg = f"There is no voxel to score: probs have the shape {shape}."
        raise ValueError(msg)
    masks: list[NDArray[np.bool_] | None] = []
    for r in range(responses.n_raters):
        present = (responses.present >> r) & 1
        if not present.any():
            masks.append(None)
        elif present.all() and responses.n_rows == math.prod(shape):
            masks.append(((responses.marked >> r) & 1).astype(bool).reshape(shape))
        else:
            msg = f"Rater {r} annotated part of the voxels only; whole masks are needed, or None for a missing rater."
            raise ValueError(msg)
    return masks
