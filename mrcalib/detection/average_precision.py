"""Scores of ranked detections: average precision and recall as COCO defines them, and the LRP error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mrcalib.detection.images import DetectionImage
from mrcalib.detection.scores import DetectionScore, Ranking, interval_of, ranking
from mrcalib.metrics.base import FloatArray, mean_defined, ratio

__all__ = ["average_precision", "average_recall", "lrp"]

_COCO = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
_RECALLS = np.linspace(0.0, 1.0, 101)
_CHUNK = 1 << 22  # the largest number of elements of a table of resamples and detections, to bound memory


def average_precision(
    images: Iterable[DetectionImage],
    *,
    rater: str | None = None,
    iou_thresholds: Sequence[float] = _COCO,
    max_detections: int | None = 100,
    score_floor: float = 0.0,
    n_resamples: int = 0,
    level: float = 0.95,
    random_state: int | None = 0,
) -> DetectionScore:
    """Mean average precision (mAP) as COCO defines it, in two or three dimensions.

    The precision at a recall is the best precision at this recall or a higher one. It is averaged over 101 recalls from 0 to
    1, over classes with objects, and over thresholds. The value equals that of pycocotools without crowds and areas [1]_.

    Parameters
    ----------
    images : iterable of DetectionImage
        With detections. Images without objects or without detections count.
    rater : str, optional
        Whose objects count; needed where there are several raters.
    iou_thresholds : sequence of float, default=(0.5, 0.55, ..., 0.95)
        Thresholds of greedy matching.
    max_detections : int or None, default=100
        How many detections of a class in an image count, those of the highest scores; None for all. Images of microscopy
        may have more than 100 objects.
    score_floor : float, default=0.0
        Detections with a lower score are left out.
    n_resamples, level, random_state
        As in `detection_calibration`.

    Returns
    -------
    DetectionScore
        In [0, 1], 1 is best; 0 without detections, NaN without objects. ``details`` has the value of each threshold.

    Raises
    ------
    ValueError
        If there is no image, several raters and none is chosen, or an image has no detections (None).

    References
    ----------
    .. [1] Lin et al., "Microsoft COCO", ECCV 2014, arXiv:1405.0312.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> found = Boxes([[0, 0, 10, 10], [20, 20, 30, 30]], scores=[0.9, 0.8])
    >>> image = DetectionImage("1", detections=found, raters={"consensus": [[20, 20, 30, 30]]})
    >>> round(float(average_precision([image])), 4)
    0.5
    """
    ranked = ranking(images, rater, iou_thresholds, score_floor, max_detections)
    return _score("mAP", ranked, _precision_at_recalls, (n_resamples, level, random_state))


def average_recall(
    images: Iterable[DetectionImage],
    *,
    rater: str | None = None,
    iou_thresholds: Sequence[float] = _COCO,
    max_detections: int | None = 100,
    score_floor: float = 0.0,
    n_resamples: int = 0,
    level: float = 0.95,
    random_state: int | None = 0,
) -> DetectionScore:
    """Mean average recall (mAR) as COCO defines it, in two or three dimensions: the mean over thresholds and classes.

    Parameters
    ----------
    images, rater, iou_thresholds, max_detections, score_floor, n_resamples, level, random_state
        As in `average_precision`.

    Returns
    -------
    DetectionScore
        In [0, 1], 1 is best; 0 without detections, NaN without objects. ``details`` has the value of each threshold.

    Raises
    ------
    ValueError
        As in `average_precision`.

    References
    ----------
    .. [1] Lin et al., "Microsoft COCO", ECCV 2014, arXiv:1405.0312.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> found = Boxes([[20, 20, 30, 30]], scores=[0.8])
    >>> objects = [[20, 20, 30, 30], [50, 50, 60, 60]]
    >>> float(average_recall([DetectionImage("1", detections=found, raters={"consensus": objects})]))
    0.5
    """
    ranked = ranking(images, rater, iou_thresholds, score_floor, max_detections)
    return _score("mAR", ranked, _recall, (n_resamples, level, random_state))


Curve = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]


def _score(name: str, ranked: Ranking, curve: Curve, resampling: tuple[int, float, int | None]) -> DetectionScore:
    def by_threshold(counts: FloatArray) -> FloatArray:
        """Mean over classes with objects at each threshold, of shape (n, n_thresholds)."""
        values = [_of_class(ranked, c, counts, curve) for c in range(ranked.classes.size)]
        if not values:
            return np.full((len(counts), len(ranked.is_true)), np.nan)
        return mean_defined(np.moveaxis(np.stack(values), 0, -1))

    once = by_threshold(np.ones((1, len(ranked.groups))))[0]
    thresholds = ranked.facts["iou_thresholds"]
    return DetectionScore(
        name=name,
        **interval_of(lambda counts: mean_defined(by_threshold(counts)), ranked.groups, *resampling),
        **ranked.facts,
        details={
            "by_threshold": {f"{t:.4g}": float(v) for t, v in zip(thresholds, once, strict=True)},
            "n_classes": int(ranked.classes.size),
        },
    )


def _of_class(ranked: Ranking, index: int, counts: FloatArray, curve: Curve) -> FloatArray:
    """The values of one class at each threshold, with each image counted ``counts`` times; shape (n, n_thresholds)."""
    _, image, true, _ = ranked.of_class(index)
    n_objects = counts @ ranked.n_objects[:, index]
    out = np.empty((len(counts), len(true)))
    step = max(1, _CHUNK // max(1, image.size))
    for start in range(0, len(counts), step):
        part = slice(start, start + step)
        weight = counts[part][:, image]
        for t, is_true in enumerate(true):
            hits = np.cumsum(weight * is_true, axis=1)
            out[part, t] = curve(hits, np.cumsum(weight, axis=1), n_objects[part])
    return out


def _precision_at_recalls(hits: FloatArray, found: FloatArray, n_objects: FloatArray) -> FloatArray:
    """The mean over 101 recalls of the best precision at this recall or a higher one; NaN without objects."""
    if not hits.shape[1]:
        return np.where(n_objects > 0, 0.0, np.nan)
    precision = hits / (found + np.spacing(1.0))
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = ratio(hits, n_objects[:, np.newaxis])
    out = np.full(len(hits), np.nan)
    for row in np.flatnonzero(n_objects > 0):
        at = np.searchsorted(recall[row], _RECALLS, side="left")
        reached = at < recall.shape[1]
        out[row] = best[row, at[reached]].sum() / _RECALLS.size
    return out


def _recall(hits: FloatArray, _found: FloatArray, n_objects: FloatArray) -> FloatArray:
    last = hits[:, -1] if hits.shape[1] else np.zeros(len(hits))
    return ratio(last, n_objects)


def lrp(
    images: Iterable[DetectionImage],
    *,
    rater: str | None = None,
    iou_threshold: float = 0.5,
    optimal: bool = False,
    score_floor: float = 0.0,
    n_resamples: int = 0,
    level: float = 0.95,
    random_state: int | None = 0,
) -> DetectionScore:
    """The localisation recall precision error (LRP) [1]_: missed objects, false detections and inexact boxes in one number.

    ``(sum over true detections of (1 - overlap) / (1 - threshold) + false detections + missed objects)`` over the number of
    all three, averaged over the classes that have objects.

    Parameters
    ----------
    images : iterable of DetectionImage
        With detections.
    rater : str, optional
        Whose objects count; needed where there are several raters.
    iou_threshold : float, default=0.5
        Least overlap of a true detection, in [0, 1).
    optimal : bool, default=False
        Take the best score threshold of each class (optimal LRP) instead of all detections.
    score_floor : float, default=0.0
        Detections with a lower score are left out first.
    n_resamples, level, random_state
        As in `detection_calibration`. With ``optimal`` the best threshold is sought in each resample.

    Returns
    -------
    DetectionScore
        In [0, 1], 0 is best; 1 without detections, NaN without objects. ``details`` has the mean over classes of its
        ``localisation`` error (1 - overlap of true detections), ``false`` (1 - precision) and ``missed`` (1 - recall),
        and, if optimal, the ``score_threshold`` of each class.

    Raises
    ------
    ValueError
        As in `average_precision`, or if the threshold is 1.

    References
    ----------
    .. [1] Oksuz et al., "One metric to measure them all: localisation recall precision (LRP) for evaluating visual
       detection tasks", IEEE TPAMI 2021, arXiv:2011.10772.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> found = Boxes([[0, 0, 10, 9], [20, 20, 30, 30]], scores=[0.9, 0.2])
    >>> image = DetectionImage("1", detections=found, raters={"consensus": [[0, 0, 10, 10]]})
    >>> round(float(lrp([image])), 4), round(float(lrp([image], optimal=True)), 4)
    (0.6, 0.2)
    """
    if not 0 <= iou_threshold < 1:
        msg = f"iou_threshold must lie in [0, 1), since the error is divided by 1 - iou_threshold; got {iou_threshold}."
        raise ValueError(msg)
    ranked = ranking(images, rater, (iou_threshold,), score_floor)
    n_classes = ranked.classes.size

    def value(counts: FloatArray) -> FloatArray:
        if not n_classes:
            return np.full(len(counts), np.nan)
        errors = [_lrp_of_class(ranked, c, counts, iou_threshold, optimal=optimal) for c in range(n_classes)]
        return mean_defined(np.stack(errors, axis=-1))

    return DetectionScore(
        name="optimal LRP" if optimal else "LRP",
        **interval_of(value, ranked.groups, n_resamples, level, random_state),
        **ranked.facts,
        details=_lrp_parts(ranked, iou_threshold, optimal=optimal),
    )


def _lrp_of_class(ranked: Ranking, index: int, counts: FloatArray, threshold: float, *, optimal: bool) -> FloatArray:
    out = np.empty(len(counts))
    _, image, _, _ = ranked.of_class(index)
    step = max(1, _CHUNK // max(1, image.size))
    for start in range(0, len(counts), step):
        errors, _ = _lrp_curve(ranked, index, counts[start : start + step], threshold)
        out[start : start + step] = errors.min(axis=1) if optimal else errors[:, -1]
    return out


def _lrp_curve(
    ranked: Ranking, index: int, counts: FloatArray, threshold: float
) -> tuple[FloatArray, NDArray[np.intp]]:
    """The errors of one class without detections and with those down to each score, and the number of detections of each.

    The errors are NaN where the class has no object.
    """
    score, image, true, overlap = ranked.of_class(index)
    ends = np.append(0, np.flatnonzero(np.append(np.diff(score) < 0, [True] * (score.size > 0))) + 1)
    weight = counts[:, image]
    nothing = np.zeros((len(counts), 1))

    def sums(values: FloatArray) -> FloatArray:
        totals: FloatArray = np.concatenate([nothing, np.cumsum(weight * values, axis=1)], axis=1)[:, ends]
        return totals

    n_objects = (counts @ ranked.n_objects[:, index])[:, np.newaxis]
    hits, found = sums(true[0].astype(np.float64)), sums(np.ones(score.size))
    inexact = sums(true[0] * (1 - overlap[0])) / (1 - threshold)
    errors = ratio(inexact + (found - hits) + (n_objects - hits), found + n_objects - hits)
    return np.where(n_objects > 0, errors, np.nan), ends


def _lrp_parts(ranked: Ranking, threshold: float, *, optimal: bool) -> dict[str, object]:
    """The three parts of the error as means over classes and, if optimal, the best score threshold of each class."""
    parts, best = [], {}
    for c in range(ranked.classes.size):
        if not ranked.n_objects[:, c].sum():
            continue
        score, _, true, overlap = ranked.of_class(c)
        n = score.size
        if optimal:
            errors, ends = _lrp_curve(ranked, c, np.ones((1, len(ranked.groups))), threshold)
            n = int(ends[int(errors[0].argmin())])
            best[str(ranked.classes[c])] = float(score[n - 1]) if n else float("nan")
        hits = true[0, :n]
        n_hits, n_objects = np.array([float(hits.sum())]), ranked.n_objects[:, c].sum(keepdims=True)
        inexact = ratio(((1 - overlap[0, :n]) * hits).sum(keepdims=True), n_hits)
        parts.append(np.concatenate([inexact, 1 - ratio(n_hits, np.array([float(n)])), 1 - ratio(n_hits, n_objects)]))
    means = mean_defined(np.array(parts).T) if parts else np.full(3, np.nan)
    details: dict[str, object] = dict(zip(("localisation", "false", "missed"), map(float, means), strict=True))
    return details | ({"score_threshold": best} if optimal else {})
