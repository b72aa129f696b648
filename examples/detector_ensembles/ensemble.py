"""Rank the models of each strategy by their validation mAP, and pool the best: label-sampling (LSE) or rater-specific (RSE).

From here on there is no network, only boxes: the same functions serve any detector whose COCO results lie in its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from data import Sample, read_detections

from mrcalib.detection import Boxes, DetectionImage, LabelSamplingEnsemble, RaterSpecificEnsemble
from mrcalib.metrics import average_precision

FLOOR = 0.05  # a model's detections scored lower are not there, as torchvision has it
Found = list[Boxes]  # a model's detections, image by image


def images_of(samples: Sequence[Sample], raters: Sequence[str], found: Found | None = None) -> list[DetectionImage]:
    """Return the images with these raters' boxes, and a model's detections."""
    return [
        DetectionImage(
            sample.name,
            size=sample.size,
            detections=None if found is None else found[i],
            raters={rater: sample.boxes[rater] for rater in raters},
        )
        for i, sample in enumerate(samples)
    ]


def mean_ap(samples: Sequence[Sample], found: Found, raters: Sequence[str]) -> float:
    """Return the mAP against each rater's boxes, averaged over raters."""
    each = [average_precision(images_of(samples, [rater], found), max_detections=None) for rater in raters]
    return float(np.mean([float(score) for score in each]))


def ranked(models: Path, strategy: str, val: Sequence[Sample], raters: Sequence[str]) -> list[tuple[float, Path]]:
    """Return validation mAP and folder of every finished run of a strategy, best first.

    A rater-specific model is judged by its rater, a label-sampling model by all.
    """
    judges = raters if strategy == "ls" else [strategy]
    folders = [path.parent for path in sorted(models.glob(f"{strategy}-*/run.json"))]
    scores = [(mean_ap(val, read_detections(folder / "val.json", val, FLOOR), judges), folder) for folder in folders]
    return sorted(scores, key=lambda one: (-one[0], one[1].name))


def best(models: Path, val: Sequence[Sample], raters: Sequence[str], n: int) -> dict[str, list[Path]]:
    """Return the folders of the best models: n of label sampling ("ls"), n / R of each rater."""
    chosen = {name: n if name == "ls" else n // len(raters) for name in ("ls", *raters)}
    return {name: [path for _, path in ranked(models, name, val, raters)[:count]] for name, count in chosen.items()}


def found_in(
    folders: dict[str, list[Path]], split: str, samples: Sequence[Sample], floor: float = FLOOR
) -> dict[str, list[Found]]:
    """Return what these models found in the images of a split."""
    return {
        name: [read_detections(path / f"{split}.json", samples, floor) for path in paths]
        for name, paths in folders.items()
    }


def pool(
    models: dict[str, list[Found]], kind: str, size: int, score: str = "ensemble-size", method: str = "clique"
) -> Found:
    """Pool the best models: ``size`` label-sampling ones for "LSE", ``size / R`` of each rater for "RSE"."""
    raters = [name for name in models if name != "ls"]
    images = range(len(models["ls"][0]))
    if kind == "LSE":
        lse = LabelSamplingEnsemble(score=score, method=method, size=size)
        return [lse.combine([found[i] for found in models["ls"]]) for i in images]
    rse = RaterSpecificEnsemble(score=score, method=method, size=size)
    return [rse.combine({rater: [found[i] for found in models[rater]] for rater in raters}) for i in images]
