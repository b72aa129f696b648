"""Scores of the CURVAS 2024 challenge: pancreas, kidney and liver, three raters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import as_array, check_spacing
from mrcalib.metrics import gaussian_crps
from mrcalib.protocols._classes import check_class_probs, check_labels, label_map
from mrcalib.protocols._notes import rater_notes, volume_notes
from mrcalib.protocols._official import corrected_confidence_error, official_confidence_error, row_dice, truncated_crps
from mrcalib.protocols._protocol import CRPS_DISAGREEMENT, Disagreement, Measure, Protocol, register_protocol

__all__ = ["ORGANS", "curvas_2024"]

ORGANS: dict[str, int] = {"pancreas": 1, "kidney": 2, "liver": 3}

_N_RATERS = 3

Labels = NDArray[np.uint8]


def curvas_2024(
    probs: ArrayLike,
    raters: Any,
    spacing: float | Sequence[float] | None = None,
    *,
    prediction: ArrayLike | None = None,
    image: ArrayLike | None = None,
    strict: bool = True,
) -> dict[str, Any]:
    """Score one case as the CURVAS 2024 program does, as far as its behaviour is known, or as it means to.

    Parameters
    ----------
    probs : array_like of float, shape (3, *S) or (4, *S)
        Probabilities of pancreas, kidney and liver, in [0, 1]; of four the first is the background. S has two or three
        axes, (x, y) or (x, y, z).
    raters : array_like of shape (R, *S), or sequence
        Label maps: 0 background, 1 pancreas, 2 kidney, 3 liver; None in a list for a missing rater. The program takes
        exactly three; here any number counts alike.
    spacing : float or sequence of float, optional
        Volume of a voxel in mm³, or its edges in mm; the CRPS is then in mm³, else in voxels.
    prediction : array_like of int, shape S, optional
        The submitted label map, for Dice; by default the most probable of the four classes (the first of equal ones).
    image : array_like, shape S, optional
        The CT. The calibration error is then that of the box around its voxels above 0, else of the whole image.
    strict : bool, default=True
        Whether to keep the program's quirks, below.

    Returns
    -------
    dict
        ``dice`` : by organ, in [0, 1], higher is better: over the voxels about whose membership all raters agree.
        ``confidence`` : by organ, in [0, 1], higher is better: the mean of one minus the mean probability where no
        rater sees the organ, and of the mean probability where all do.
        ``ece`` : mean over raters of the top-label calibration error of the four classes, in 50 bins.
        ``ece_per_rater`` : list of one number a rater, NaN for missing ones.
        ``crps`` : by organ, of the predicted volume and the normal distribution of the raters' volumes (population
        variance).
        ``notes`` : list of sentences on what is not defined, or is not what it seems. A score that is perfect for want
        of anything to score is never without one.

    Raises
    ------
    ValueError
        If shapes do not fit, there is no voxel, a probability lies outside [0, 1], a label is unknown, or all raters are
        missing.

    Notes
    -----
    Kept in strict mode; what ``strict=False`` does instead is in brackets:

    - Dice is that of single rows of voxels: slices are taken for images and their rows for classes, so that the first
      row is left out and rows without reference do not count, false positives there included. [of the volume]
    - Volumes are looked up by position among the labels that an annotation holds: where one does not hold the
      pancreas, its volume of the pancreas is that of the kidney, and that of the liver stops the program; here the
      CRPS of that organ is NaN. [by label]
    - The background is 1 minus the sum, in float32. Where that is below 0 at a single voxel, if by 1e-7, all
      probabilities are taken for logits, and their softmax is scored. [it is 0 there, and all are divided by the sum;
      or the first of four probabilities, which are divided by their sum]
    - Confidences of exactly 1 are in a 51st bin; sums are float32, one voxel after another. [the last; float64]
    - The CRPS is integrated over mean ± 3 standard deviations: see `curvas_pdacvi`. [closed form]
    - Without a voxel in which all raters see the organ its confidence is NaN. [the same]

    Not known to the letter, and chosen here: (a) that consensus is about membership of one organ, so that a voxel on
    which raters disagree about the other organs is background for this one; voxels without consensus are background of
    prediction and reference. (b) Rows are the first axis of (x, y, z), and slices the last. (c) Dice is the mean over
    slices of the mean over their rows, which is how the function that the program calls reduces by default, but NaN,
    not 0, where no row counts. (d) The crop: the program scores a foreground crop of the CT, which is not described;
    the box around what is above 0 is the default of such a crop in MONAI.

    References
    ----------
    .. [1] CURVAS, https://curvas.grand-challenge.org.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.zeros((3, 8, 8, 4), dtype=np.uint8)
    >>> labels[:, 1:3], labels[:, 3:5], labels[:, 5:7] = 1, 2, 3
    >>> labels[2, 6, 0] = 0
    >>> probs = np.stack([(labels == c).mean(axis=0) for c in (1, 2, 3)])
    >>> scores = curvas_2024(probs, labels, strict=False)
    >>> scores["dice"]
    {'pancreas': 1.0, 'kidney': 1.0, 'liver': 1.0}
    >>> {organ: round(crps, 3) for organ, crps in scores["crps"].items()}
    {'pancreas': 0.0, 'kidney': 0.0, 'liver': 0.441}
    """
    p = check_class_probs(probs, len(ORGANS))
    shape = p.shape[1:]
    maps = check_labels(raters, shape, tuple(ORGANS.values()))
    there = [one for one in maps if one is not None]
    box = _box(image, shape)
    likeliest, confidence = _official_top(p[-len(ORGANS) :, *box]) if strict else _corrected_top(p[:, *box])
    error = official_confidence_error if strict else corrected_confidence_error
    errors = [math.nan if one is None else error(confidence.ravel(), (likeliest == one[box]).ravel()) for one in maps]
    if prediction is not None:
        submitted = label_map(prediction, shape, tuple(ORGANS.values()), "prediction")
    else:
        submitted = _corrected_top(p)[0]
    unit = 1.0 if spacing is None else math.prod(check_spacing(np.atleast_1d(spacing)))
    scores: dict[str, Any] = {
        "dice": {},
        "confidence": {},
        "ece": float(np.mean([e for e, one in zip(errors, maps, strict=True) if one is not None])),
        "ece_per_rater": errors,
        "crps": {},
    }
    notes = rater_notes(maps, _N_RATERS) + _sum_notes(p, box, strict=strict)
    for name, label in ORGANS.items():
        organ = p[label - len(ORGANS) - 1]
        everyone = np.logical_and.reduce([one == label for one in there])
        no_one = np.logical_and.reduce([one != label for one in there])
        scores["dice"][name] = _dice(submitted == label, everyone, no_one, strict=strict)
        scores["confidence"][name] = _confidence(organ, everyone, no_one)
        crps, more = _crps(organ, there, label, unit, strict=strict, name=name)
        scores["crps"][name] = crps
        notes += [*_organ_notes(name, everyone, no_one, scores["dice"][name]), *more]
    return scores | {"notes": notes}


def _official_top(organs: NDArray[Any]) -> tuple[Labels, NDArray[np.float32]]:
    """The most probable class of each voxel and its probability, as the program's estimator has them."""
    organs = organs.astype(np.float32)
    classes = np.concatenate([1 - organs.sum(axis=0, dtype=np.float32, keepdims=True), organs])
    if (classes[0] < 0).any():
        classes = np.exp(classes - classes.max(axis=0))
        classes /= classes.sum(axis=0)
    return classes.argmax(axis=0).astype(np.uint8), classes.max(axis=0)


def _corrected_top(p: NDArray[Any]) -> tuple[Labels, NDArray[np.float64]]:
    """The most probable class of each voxel, the first of equal ones, and its share of the probabilities' sum."""
    organs, total = p[-len(ORGANS) :], p.sum(axis=0, dtype=np.float64)
    best = np.maximum(1 - total, 0.0) if p.shape[0] == len(ORGANS) else p[0].astype(np.float64)
    total = np.maximum(total, 1.0) if p.shape[0] == len(ORGANS) else np.where(total > 0, total, 1.0)
    best = np.where(p.any(axis=0), best, 1.0)
    likeliest = np.zeros(total.shape, dtype=np.uint8)
    for label, organ in enumerate(organs, start=1):
        above = organ > best
        likeliest[above] = label
        best[above] = organ[above]
    return likeliest, best / total


def _sum_notes(p: NDArray[Any], box: tuple[slice, ...], *, strict: bool) -> list[str]:
    """What becomes of probabilities that do not sum to 1, or are not there."""
    inside = p[:, *box]
    if inside.size == 0:
        return ["No voxel of the image is above 0: ece is not defined."]
    if strict:
        organs = inside[-len(ORGANS) :].astype(np.float32)
        if (1 - organs.sum(axis=0, dtype=np.float32) < 0).any():
            return ["Probabilities of organs sum to more than 1: the program takes all of them for logits in ece."]
        return []
    total = inside.sum(axis=0, dtype=np.float64)
    low, high = float(total.min()), float(total.max())
    if high > 1.01 or (p.shape[0] > len(ORGANS) and low < 0.99):
        return [
            f"Probabilities of a voxel sum to between {low:.4g} and {high:.4g}; ece is that of their shares of the sum."
        ]
    return []


def _box(image: ArrayLike | None, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box around the voxels of the image above 0; everything without an image."""
    if image is None:
        return tuple(slice(None) for _ in shape)
    above = as_array(image) > 0
    if above.shape != shape:
        msg = f"image must have the shape of a class of probs, {shape}; got {above.shape}."
        raise ValueError(msg)
    box = []
    for axis in range(above.ndim):
        found = np.flatnonzero(above.any(axis=tuple(a for a in range(above.ndim) if a != axis)))
        box.append(slice(int(found[0]), int(found[-1]) + 1) if found.size else slice(0, 0))
    return tuple(box)


def _dice(
    predicted: NDArray[np.bool_], everyone: NDArray[np.bool_], no_one: NDArray[np.bool_], *, strict: bool
) -> float:
    predicted = predicted & (everyone | no_one)
    if strict:
        return row_dice(predicted, everyone)
    total = int(predicted.sum()) + int(everyone.sum())
    return 2 * int((predicted & everyone).sum()) / total if total else math.nan


def _confidence(organ: NDArray[Any], everyone: NDArray[np.bool_], no_one: NDArray[np.bool_]) -> float:
    if not everyone.any() or not no_one.any():
        return math.nan
    return float(((1 - organ[no_one].mean(dtype=np.float64)) + organ[everyone].mean(dtype=np.float64)) / 2)


def _crps(
    organ: NDArray[Any], there: Sequence[Labels], label: int, unit: float, *, strict: bool, name: str
) -> tuple[float, list[str]]:
    """The CRPS of an organ's volume, and what is to be said of it."""
    counts = [np.bincount(one.ravel(), minlength=len(ORGANS) + 1) for one in there]
    notes = []
    if strict:
        held = [count[count > 0] for count in counts]
        if any(label >= len(present) for present in held):
            return math.nan, [
                f"crps of {name}: an annotation holds fewer labels than the program takes for granted; it stops with an "
                "error there."
            ]
        if any(not (count[: label + 1] > 0).all() for count in counts):
            notes.append(f"crps of {name}: an annotation lacks a label, so the program takes another organ's volume.")
        volumes = np.array([present[label] for present in held], dtype=np.float64) * unit
    else:
        volumes = np.array([count[label] for count in counts], dtype=np.float64) * unit
    predicted = float(organ.sum(dtype=np.float32 if strict else np.float64)) * unit
    mean, std = float(volumes.mean()), float(volumes.std())
    if not strict:
        return float(gaussian_crps(predicted, mean, std)), notes
    return truncated_crps(predicted, mean, std), notes + volume_notes(f"crps of {name}", predicted, mean, std)


def _organ_notes(name: str, everyone: NDArray[np.bool_], no_one: NDArray[np.bool_], dice: float) -> list[str]:
    notes = []
    if no_one.all():
        notes.append(f"No rater marked the {name}.")
    if not everyone.any():
        notes.append(f"No voxel is marked as {name} by all raters: its confidence is not defined.")
    if not no_one.any():
        notes.append(f"Every voxel is marked as {name} by some rater: its confidence is not defined.")
    if math.isnan(dice):
        notes.append(f"dice of {name} is not defined: there is nothing to overlap where all raters agree.")
    return notes


def _numbers(scores: Mapping[str, Any]) -> dict[str, float]:
    per_organ = ("dice", "confidence", "crps")
    return {f"{name}_{organ}": float(scores[name][organ]) for name in per_organ for organ in ORGANS} | {
        "ece": scores["ece"]
    }


def _why_class_ece(strict: float, corrected: float) -> str:  # noqa: ARG001
    return (
        "the program takes probabilities for logits where they sum to more than 1, its float32 sums round, and certain "
        "voxels have a bin of their own"
    )


def _why_row_dice(strict: float, corrected: float) -> str:
    if math.isnan(strict) or math.isnan(corrected):
        return "there is nothing to overlap where all raters agree, or not in the rows that the program looks at"
    return "the program averages Dice over single rows of voxels and leaves out those without reference"


def _why_confidence(strict: float, corrected: float) -> str:  # noqa: ARG001
    return "one of them is not defined"


PROTOCOL = register_protocol(
    Protocol(
        name="curvas-2024",
        title="CURVAS 2024",
        measures=(
            *(Measure(f"dice_{organ}", f"Dice {organ}", "higher") for organ in ORGANS),
            *(Measure(f"confidence_{organ}", f"confidence {organ}", "higher") for organ in ORGANS),
            Measure("ece", "ECE", "lower"),
            *(Measure(f"crps_{organ}", f"CRPS {organ}", "lower", "mm³") for organ in ORGANS),
        ),
        needs_vessels=False,
        needs_classes=True,
        scorer=curvas_2024,
        flatten=_numbers,
        rules={
            "dice": Disagreement(0.001, 0.0, _why_row_dice),
            "confidence": Disagreement(0.001, 0.0, _why_confidence),
            "ece": Disagreement(1e-4, 0.02, _why_class_ece),
            "crps": CRPS_DISAGREEMENT,
        },
    )
)
