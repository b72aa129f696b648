"""What the metrics of detections share: a score with its interval and conditions, and the ranking of all detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.detection.boxes import Boxes
from mrcalib.detection.images import DetectionImage
from mrcalib.detection.matching import by_score, check_threshold, match_at, naming
from mrcalib.metrics.base import FloatArray
from mrcalib.metrics.reliability import ReliabilityCurve
from mrcalib.resampling import bootstrap_counts, percentile_interval

__all__ = ["DetectionScore", "Ranking", "interval_of", "listed", "one_rater", "ranking"]


@dataclass(frozen=True, slots=True, eq=False)
class DetectionScore:
    """A score of detections over images, with its interval and the conditions under which it holds.

    Attributes
    ----------
    name : str
        Such as "D-ECE".
    value : float
        NaN where it is not defined.
    low, high : float
        Percentile interval of the bootstrap over groups of images; NaN without resamples.
    samples : ndarray of shape (n_resamples,)
        The score of each resample; empty without.
    level : float
        Of the interval.
    n_images : int
        Images that count: those without detections or objects do, those that no included rater looked at do not.
    n_left_out : int
        Images that no included rater looked at.
    n_detections : int
        Detections that count.
    n_objects : int
        Objects of all included raters.
    n_duplicates : int
        Pairs of a detection and a rater in which an object is found again (``Matches.duplicate``), at the first of
        ``iou_thresholds``.
    raters : tuple of str
        The included raters: one, or all.
    iou_thresholds : tuple of float
        Thresholds at which the score was taken, or over which it was averaged.
    matching : str
        "greedy" or "nearest".
    score_floor : float
        Detections with a lower score were left out.
    max_detections : int or None
        Detections of a class in an image that count at most; None if all do.
    details : mapping
        What else belongs to the score, such as its number of bins or its parts.
    curve : ReliabilityCurve or None
        The bins of a calibration error of the score alone.
    """

    name: str
    value: float
    low: float
    high: float
    samples: FloatArray
    level: float
    n_images: int
    n_left_out: int
    n_detections: int
    n_objects: int
    n_duplicates: int
    raters: tuple[str, ...]
    iou_thresholds: tuple[float, ...]
    matching: str
    score_floor: float
    max_detections: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    curve: ReliabilityCurve | None = None

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        interval = "" if np.isnan(self.low) else f" [{self.low:.4f}, {self.high:.4f}]"
        return (
            f"<{self.name}: {self.value:.4f}{interval}, {self.n_detections} detections in {self.n_images} images, "
            f"{self.matching} matching, score floor {self.score_floor:g}, {self.n_duplicates} duplicates>"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the resamples and the curve, as JSON values; NaN is None."""
        names = [name for name in DetectionScore.__slots__ if name not in ("samples", "curve", "details")]
        values = {name: getattr(self, name) for name in names} | dict(self.details)
        return {name: _json_value(value) for name, value in values.items()}


def _json_value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_json_value(one) for one in value]
    return None if isinstance(value, float) and np.isnan(value) else value


def listed(images: Iterable[DetectionImage]) -> list[DetectionImage]:
    """The images; ValueError if there is none, or two have the same name."""
    found = list(images)
    if not found:
        msg = "There must be at least one image."
        raise ValueError(msg)
    names = [image.id for image in found]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        msg = f"Images must have different names; repeated: {', '.join(twice[:5])}."
        raise ValueError(msg)
    return found


def raters_of(images: Sequence[DetectionImage], rater: str | None) -> tuple[str, ...]:
    """The included raters: all that images name, or the one that is asked for; ValueError if there is none."""
    names = tuple(dict.fromkeys(name for image in images for name in image.raters))
    if rater is None and names:
        return names
    if rater in names:
        return (str(rater),)
    msg = (
        f"There is no rater {rater!r}; there are {', '.join(map(repr, names))}." if names else "No image names a rater."
    )
    raise ValueError(msg)


def one_rater(images: Sequence[DetectionImage], rater: str | None) -> str:
    """The rater whose objects count: the only one, or the one that is asked for."""
    names = raters_of(images, rater)
    if len(names) > 1:
        msg = f"This score is taken against one rater; choose rater= from {', '.join(map(repr, names))}."
        raise ValueError(msg)
    return names[0]


def interval_of(
    value: Callable[[FloatArray], FloatArray],
    groups: Sequence[str],
    n_resamples: int,
    level: float,
    random_state: int | None,
) -> dict[str, Any]:
    """The score, its interval and its resamples, from a function of how often each image counts (n, n_images)."""
    if not 0 < level < 1 or n_resamples < 0:
        msg = f"level must lie between 0 and 1, and n_resamples be at least 0; got {level} and {n_resamples}."
        raise ValueError(msg)
    estimate = float(value(np.ones((1, len(groups))))[0]) if groups else float("nan")
    samples = np.empty(0)
    low = high = float("nan")
    if n_resamples and groups:
        samples = value(bootstrap_counts(groups, n_resamples, random_state))
        low, high = (float(end) for end in percentile_interval(samples, level))
    return {"value": estimate, "low": low, "high": high, "samples": samples, "level": level}


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """All images' detections against one rater, by descending score, equal ones in the order of images.

    Attributes
    ----------
    score, label, image : ndarray of shape (n,)
        Score, class and position of the image of each detection.
    is_true : ndarray of bool, shape (n_thresholds, n)
        Whether it has an object, by greedy matching.
    overlap : ndarray of shape (n_thresholds, n)
        With its object; 0 without.
    classes : ndarray of shape (n_classes,)
        All classes of detections or objects; 0 alone where there are no labels.
    n_objects : ndarray of shape (n_images, n_classes)
        Objects of each image.
    """

    score: FloatArray
    label: NDArray[np.int64]
    image: NDArray[np.intp]
    is_true: NDArray[np.bool_]
    overlap: FloatArray
    classes: NDArray[np.int64]
    n_objects: FloatArray
    groups: tuple[str, ...]
    facts: dict[str, Any]

    def of_class(self, index: int) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.bool_], FloatArray]:
        """Score, image, is_true and overlap of the detections of one class."""
        here = self.label == self.classes[index]
        return self.score[here], self.image[here], self.is_true[:, here], self.overlap[:, here]


def ranking(
    images: Iterable[DetectionImage],
    rater: str | None,
    iou_thresholds: Sequence[float],
    score_floor: float,
    max_detections: int | None = None,
) -> Ranking:
    """Match the detections of all images with one rater's objects at these thresholds."""
    check_threshold("score_floor", score_floor)
    thresholds = tuple(float(t) for t in iou_thresholds)
    if not thresholds:
        msg = "iou_thresholds must hold at least one number in [0, 1]; got none."
        raise ValueError(msg)
    for threshold in thresholds:
        check_threshold("iou_thresholds", threshold)
    if max_detections is not None and max_detections < 1:
        msg = f"max_detections must be at least 1, or None for all; got {max_detections}."
        raise ValueError(msg)
    every = listed(images)
    name = one_rater(every, rater)
    seen = [image for image in every if image.raters.get(name) is not None]
    score, label, true, overlap, n_objects = [], [], [], [], []
    n_duplicates = 0
    for image in seen:
        objects = image.raters[name]
        assert objects is not None
        found = image.found(score_floor)
        found = found[by_score(found)]
        if max_detections is not None:
            found = found[_rank_in_class(_labels_of(found)) < max_detections]
        with naming(image, name):
            matches = match_at(found, objects, thresholds)
        assert found.scores is not None
        score.append(found.scores)
        label.append(_labels_of(found))
        true.append(np.stack([one.is_true for one in matches]))
        overlap.append(np.stack([np.where(one.is_true, one.overlap, 0.0) for one in matches]))
        n_objects.append(_labels_of(objects))
        n_duplicates += int(matches[0].duplicate.sum())
    # The empty arrays give the others their type where no image is left.
    scores, labels = np.concatenate([np.empty(0), *score]), np.concatenate([np.empty(0, np.int64), *label])
    order = np.argsort(-scores, kind="stable")
    no_detection = np.empty((len(thresholds), 0))
    classes = np.unique(np.concatenate([labels, *n_objects]))
    counts = [np.bincount(np.searchsorted(classes, own), minlength=classes.size) for own in n_objects]
    objects_by_class = np.array(counts, dtype=np.float64).reshape(len(seen), classes.size)
    return Ranking(
        score=scores[order],
        label=labels[order],
        image=np.repeat(np.arange(len(seen)), [one.size for one in score])[order],
        is_true=np.concatenate([no_detection.astype(bool), *true], axis=1)[:, order],
        overlap=np.concatenate([no_detection, *overlap], axis=1)[:, order],
        classes=classes,
        n_objects=objects_by_class,
        groups=tuple(str(one.group) for one in seen),
        facts={
            "n_images": len(seen),
            "n_left_out": len(every) - len(seen),
            "n_detections": scores.size,
            "n_objects": int(objects_by_class.sum()),
            "n_duplicates": n_duplicates,
            "raters": (name,),
            "iou_thresholds": thresholds,
            "matching": "greedy",
            "score_floor": float(score_floor),
            "max_detections": max_detections,
        },
    )


def _labels_of(boxes: Boxes) -> NDArray[np.int64]:
    return np.zeros(len(boxes), np.int64) if boxes.labels is None else boxes.labels


def _rank_in_class(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """For each box the number of boxes of the same class that come before it."""
    order = np.argsort(labels, kind="stable")
    _, start, size = np.unique(labels[order], return_index=True, return_counts=True)
    rank = np.empty(labels.size, np.intp)
    rank[order] = np.arange(labels.size) - np.repeat(start, size)
    return rank
