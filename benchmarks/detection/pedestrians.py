"""Real boxes of people in street scenes, seven annotators an image and an expert on most: what needs no pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

import mrcalib
from mrcalib.detection import Boxes, DetectionImage, LabelSamplingEnsemble, detection_cohort, votes
from mrcalib.detection.files import detection_images, read_box_csv
from mrcalib.metrics import average_precision, detection_calibration, rater_agreement

EXPERT = "gt"
THRESHOLDS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
N_FOLDS = 5
MATCHED = 0.5  # least overlap of a vote


def read(path: Path) -> list[DetectionImage]:
    """Read the images; those annotated by the same seven people in a row are a group, for they came as a batch."""
    images, group, before = [], 0, None
    for image in detection_images(read_box_csv(path)):
        who = {name for name, boxes in image.raters.items() if boxes is not None} - {EXPERT}
        group += who != before
        before = who
        images.append(DetectionImage(image.id, f"batch {group}", image.size, raters=image.raters))
    return images


def agreement(images: Sequence[DetectionImage]) -> pd.DataFrame:
    """Agreement over thresholds of overlap: between annotators, and of annotators with the expert."""
    people = sorted({name for image in images for name in image.raters} - {EXPERT})
    pairs = {
        "annotator and annotator": rater_agreement(images, people, iou_thresholds=THRESHOLDS),
        "annotator and expert": rater_agreement(images, reference=EXPERT, iou_thresholds=THRESHOLDS),
    }
    rows = []
    for name, found in pairs.items():
        matches, first, second = (np.nansum(x, axis=(0, 1)) for x in (found.n_matches, found.n_first, found.n_second))
        each = found.image_f1.reshape(-1, len(THRESHOLDS))
        f1_of_pairs = found.f1
        for t, threshold in enumerate(THRESHOLDS):
            rows.append(
                {
                    "who": name,
                    "iou": threshold,
                    "n_pairs": len(found.pairs),
                    "precision": matches[t] / first,
                    "recall": matches[t] / second,
                    "f1": 2 * matches[t] / (first + second),
                    "mean_f1_of_images": np.nanmean(each[:, t]),
                    "mean_f1_of_pairs": f1_of_pairs[:, t].mean(),
                }
            )
    return pd.DataFrame(rows)


def annotators(images: Sequence[DetectionImage]) -> pd.DataFrame:
    """Each annotator as a detector against the expert, at overlap 0.3 and 0.5."""
    return pd.DataFrame(rater_agreement(images, reference=EXPERT, iou_thresholds=(0.3, 0.5)).table())


def annotators_of(image: DetectionImage) -> dict[str, Boxes]:
    """The boxes of the annotators who looked."""
    return {name: boxes for name, boxes in image.raters.items() if name != EXPERT and boxes is not None}


def others(images: Sequence[DetectionImage]) -> list[DetectionImage]:
    """Each annotator of each image as a detector whose scores are the share of the six others that have the box."""
    found = []
    for image in images:
        people = annotators_of(image)
        for name, boxes in people.items():
            rest = {other: theirs for other, theirs in people.items() if other != name}
            certain = boxes.with_scores(np.ones(len(boxes)))
            _, masks = votes(DetectionImage(image.id, detections=certain, raters=rest), MATCHED)
            share = np.mean([mask for mask in masks if mask is not None], axis=0)
            expert = {EXPERT: image.raters.get(EXPERT)}
            scored = boxes.with_scores(share)
            found.append(DetectionImage(f"{image.id} {name}", image.group, image.size, scored, expert))
    return found


def pooled(images: Sequence[DetectionImage]) -> list[DetectionImage]:
    """All seven annotators pooled: one box a group, its score the share of the seven that have it."""
    seven = LabelSamplingEnsemble(MATCHED)
    return [
        DetectionImage(
            image.id,
            image.group,
            image.size,
            seven.combine(annotators_of(image)),
            {EXPERT: image.raters.get(EXPERT)},
        )
        for image in images
    ]


def calibrated(images: Sequence[DetectionImage], seed: int = 0) -> list[DetectionImage]:
    """The images with scores calibrated to the expert, by maps that did not see their batch."""
    groups = np.array([str(image.group) for image in images])
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    out: dict[str, DetectionImage] = {}
    for held in np.array_split(names, N_FOLDS):
        inside = np.isin(groups, held)
        fitted = mrcalib.MHRIsotonicCalibrator().fit_tally(
            detection_cohort([image for image, left in zip(images, inside, strict=True) if not left], MATCHED)
        )
        for image in (one for one, left in zip(images, inside, strict=True) if left):
            boxes = image.found()
            scores = fitted.transform(boxes.scores) if len(boxes) else boxes.scores
            out[image.id] = image.with_detections(boxes.with_scores(scores))
    return [out[image.id] for image in images]


def share_as_score(images: Sequence[DetectionImage], n_resamples: int = 1000) -> pd.DataFrame:
    """Agreement as a score, as it is and calibrated, against the expert; intervals by batch."""
    seen = [image for image in images if image.raters.get(EXPERT) is not None]
    rows = []
    for name, detected in (("one annotator, share of six others", others(seen)), ("seven pooled", pooled(seen))):
        for state, shown in (("share", detected), ("calibrated", calibrated(detected))):
            error = detection_calibration(shown, iou_threshold=MATCHED, n_resamples=n_resamples)
            precision = average_precision(
                shown, iou_thresholds=(MATCHED,), max_detections=None, n_resamples=n_resamples
            )
            rows.append(
                {"detections": name, "score": state, "n_images": len(seen), "n_detections": error.n_detections}
                | {"n_objects": error.n_objects, "n_duplicates": error.n_duplicates}
                | {"d_ece": float(error), "d_ece_low": error.low, "d_ece_high": error.high}
                | {"ap50": float(precision), "ap50_low": precision.low, "ap50_high": precision.high}
            )
    return pd.DataFrame(rows)


def curve(images: Sequence[DetectionImage]) -> pd.DataFrame:
    """How often the expert has a box that so many of seven annotators have."""
    seen = [image for image in pooled(images) if image.raters.get(EXPERT) is not None]
    scores, true = [], []
    for image in seen:
        score, (mask,) = votes(image, MATCHED)
        scores.append(np.round(7 * score).astype(int))
        true.append(mask)
    table = pd.DataFrame({"annotators": np.concatenate(scores), "expert_has_it": np.concatenate(true)})
    agreed = table.groupby("annotators")["expert_has_it"].agg(["size", "mean"]).reset_index()
    return agreed.rename(columns={"size": "boxes", "mean": "expert_has_it"})
