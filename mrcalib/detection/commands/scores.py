"""The scores of one detector, and their mean over raters."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import UsageError

if TYPE_CHECKING:
    from mrcalib.detection.images import DetectionImage
    from mrcalib.detection.scores import DetectionScore

__all__ = [
    "ALL_RATERS",
    "bootstrap_of",
    "calibration",
    "matching_of",
    "mean_over_raters",
    "ranking_options",
    "raters_in",
    "row_of",
    "scores_of",
]

ALL_RATERS = "all raters"
_SHOWN_RATERS = 10


def raters_in(images: Sequence[DetectionImage], rater: str | None) -> list[str]:
    """The included raters: that of ``--rater``, or all."""
    names = list(dict.fromkeys(name for image in images for name in image.raters))
    if rater is None:
        return names
    if rater not in names:
        msg = f"--rater: there is no rater {rater!r}; there are {', '.join(names)}."
        raise UsageError(msg)
    return [rater]


def matching_of(args: argparse.Namespace) -> dict[str, Any]:
    """The conditions of a match but for the threshold."""
    return {"matching": args.matching, "score_floor": args.score_floor}


def bootstrap_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the bootstrap."""
    return {"n_resamples": args.resamples, "level": args.level, "random_state": args.seed}


def ranking_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of mAP and mAR."""
    return {"max_detections": args.max_detections, "score_floor": args.score_floor, **bootstrap_of(args)}


def calibration(
    images: Sequence[DetectionImage], threshold: float, args: argparse.Namespace, **options: Any
) -> DetectionScore:
    """D-ECE at a threshold, against the included rater, or over (detection, rater) pairs."""
    from mrcalib.detection.calibration import detection_calibration

    common = {"rater": args.rater, "bins": args.bins, **matching_of(args), **bootstrap_of(args)}
    return detection_calibration(images, iou_threshold=threshold, **(common | options))


def mean_over_raters(
    score: Callable[..., DetectionScore], images: Sequence[DetectionImage], raters: Sequence[str], **options: Any
) -> tuple[DetectionScore, list[DetectionScore]]:
    """The mean over raters of a score against each, and these scores.

    The mean has an interval only where all raters looked at the same images: else the resamples of one rater's images are
    not those of another's.
    """
    import numpy as np

    from mrcalib.resampling import percentile_interval

    each = [score(images, rater=rater, **options) for rater in raters]
    if len(each) == 1:
        return each[0], each
    values = np.array([one.value for one in each])
    low = high = math.nan
    samples = np.empty(0)
    if not any(one.n_left_out for one in each):
        samples = np.mean([one.samples for one in each], axis=0)
        if samples.size:
            low, high = (float(end) for end in percentile_interval(samples, each[0].level))
    known = values[~np.isnan(values)]
    return (
        replace(
            each[0],
            value=float(known.mean()) if known.size else math.nan,
            low=low,
            high=high,
            samples=samples,
            raters=tuple(raters),
            n_images=len(images),
            n_left_out=0,
            n_objects=sum(one.n_objects for one in each),
            n_duplicates=sum(one.n_duplicates for one in each),
            details={},
        ),
        each,
    )


def scores_of(
    images: Sequence[DetectionImage], args: argparse.Namespace
) -> tuple[list[tuple[str, DetectionScore]], list[DetectionScore]]:
    """All scores, each with the rater that it is against; and the calibration errors at each threshold, with their bins."""
    from mrcalib.detection.average_precision import average_precision, average_recall, lrp
    from mrcalib.detection.calibration import laece0

    raters = raters_in(images, args.rater)
    shown = raters[:_SHOWN_RATERS] if len(raters) > 1 else []
    against = ALL_RATERS if shown else raters[0]
    curves = [calibration(images, threshold, args) for threshold in args.iou]
    found: list[tuple[str, DetectionScore]] = [(against, curve) for curve in curves]
    for threshold in args.iou if shown else ():
        found.append((against, calibration(images, threshold, args, against="per-rater")))
        found += [(rater, calibration(images, threshold, args, rater=rater)) for rater in shown]
    coco = ranking_options(args)
    shared = {"score_floor": args.score_floor, **bootstrap_of(args)}
    ranked: list[tuple[Callable[..., DetectionScore], dict[str, Any]]] = [
        (average_precision, coco),
        (average_recall, coco),
        (laece0, shared),
        *((lrp, {"iou_threshold": threshold, **shared}) for threshold in args.iou if threshold < 1),
    ]
    for score, options in ranked:
        together, each = mean_over_raters(score, images, raters, **options)
        found.append((against, together))
        found += zip(shown, each, strict=False)
    return found, curves


def row_of(model: str, against: str, score: DetectionScore) -> dict[str, Any]:
    """A score as a row of a table, with what belongs to it."""
    return {
        "model": model,
        "score": score.name,
        "against": against,
        "iou": score.iou_thresholds[0] if len(score.iou_thresholds) == 1 else _span(score.iou_thresholds),
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "matching": score.matching,
        "score_floor": score.score_floor,
        "max_detections": score.max_detections,
        "bins": (score.details.get("bins") or (None,))[0],
        "n_images": score.n_images,
        "n_detections": score.n_detections,
        "n_objects": score.n_objects,
        "n_duplicates": score.n_duplicates,
    }


def _span(thresholds: Sequence[float]) -> str:
    return f"{thresholds[0]:g}-{thresholds[-1]:g}"
