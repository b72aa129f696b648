"""Calibration errors of detections: how far scores are from the fraction of raters who have an object there (D-ECE)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.detection.boxes import Boxes
from mrcalib.detection.images import DetectionImage
from mrcalib.detection.matching import Matching, match_raters
from mrcalib.detection.scores import DetectionScore, interval_of, listed, ranking, raters_of
from mrcalib.grid import edges_of_uniform_bins
from mrcalib.inputs import check_choice, check_n_bins
from mrcalib.metrics.base import FloatArray, mean_defined, ratio
from mrcalib.metrics.bins import locate
from mrcalib.metrics.reliability import ReliabilityCurve

__all__ = ["detection_calibration", "detection_ece", "laece0"]

Against = Literal["pairs", "mean", "per-rater"]
Feature = Literal["x", "y", "z", "width", "height", "depth"]


def detection_ece(
    scores: ArrayLike,
    true: ArrayLike,
    features: ArrayLike | None = None,
    *,
    bins: int | Sequence[int] = 20,
    sample_threshold: int = 1,
) -> float:
    """The D-ECE of detections that were matched before: their expected calibration error.

    ``sum_b n_b / N * |precision of b - mean score of b|`` over bins b of the score, or of the score and further features
    of the box [1]_. Bins are closed on the left, on float32 numbers; 1 is in the last.

    Parameters
    ----------
    scores : array_like of float, shape (n,)
        The scores of the detections, in [0, 1].
    true : array_like of bool or float, shape (n,)
        Whether each detection has an object; or the fraction of raters who have one there.
    features : array_like of float, shape (n, k), optional
        Further features, such as position and size, scaled to [0, 1]. Values in pixels are refused: netcal silently clips
        them to 1, so that the error of the score alone is left.
    bins : int or sequence of int, default=20
        Number of bins of the score, or of the score and of each feature; one number holds for all. Report it with the error.
    sample_threshold : int, default=1
        Bins of fewer detections add no error, though their detections count in N, as in netcal: the larger this number,
        the smaller the error.

    Returns
    -------
    float
        In [0, 1], 0 is best.

    Raises
    ------
    ValueError
        If there is no detection, shapes do not fit, or a number lies outside [0, 1].

    References
    ----------
    .. [1] Küppers et al., "Multivariate confidence calibration for object detection", CVPRW 2020, arXiv:2004.13546.

    Examples
    --------
    >>> round(detection_ece([0.9, 0.9, 0.4, 0.4], [True, True, False, True], bins=10), 4)
    0.1
    """
    score = _unit_interval("scores", scores)
    answer = _unit_interval("true", true)
    columns = [score]
    if features is not None:
        table = np.asarray(features, dtype=np.float64)
        if table.ndim != 2 or len(table) != score.size:
            msg = f"features must have shape ({score.size}, k), a row a detection; got {table.shape}."
            raise ValueError(msg)
        columns += [_unit_interval(f"features[:, {k}]", column) for k, column in enumerate(table.T)]
    if score.ndim != 1 or answer.shape != score.shape:
        msg = f"scores and true must be one number a detection; got shapes {score.shape} and {answer.shape}."
        raise ValueError(msg)
    if not score.size:
        msg = "There is no detection to score."
        raise ValueError(msg)
    n_bins = _bins_of(bins, len(columns))
    sums = _sums(_cells(columns, n_bins), math.prod(n_bins), np.ones(score.size), score, answer)
    return float(_error(sums, sample_threshold))


def _unit_interval(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if not np.all((array >= 0) & (array <= 1)):
        hint = "; divide pixels by the image's size" if name.startswith("features") else ""
        msg = f"{name} must lie in [0, 1] without NaN; got {np.min(array):g} to {np.max(array):g}{hint}."
        raise ValueError(msg)
    return array


def _bins_of(bins: int | Sequence[int], n_columns: int) -> tuple[int, ...]:
    each = (bins,) * n_columns if isinstance(bins, int | np.integer) else tuple(bins)
    if len(each) != n_columns:
        msg = f"bins must be one number, or one for the score and each feature ({n_columns} in all); got {bins!r}."
        raise ValueError(msg)
    return tuple(check_n_bins(n) for n in each)


def _cells(columns: Sequence[FloatArray], n_bins: tuple[int, ...]) -> NDArray[np.intp]:
    """The cell of each detection: the number of its bin, or of its combination of bins of several columns."""
    index = [locate(column, edges_of_uniform_bins(n)) for column, n in zip(columns, n_bins, strict=True)]
    return np.ravel_multi_index(tuple(index), n_bins)


def _sums(cell: NDArray[np.intp], n_cells: int, weight: FloatArray, score: FloatArray, votes: FloatArray) -> FloatArray:
    """Number of detections, weight, weighted sum of scores and sum of votes of each cell; shape (4, n_cells)."""
    rows = (np.ones(cell.size), weight, weight * score, votes)
    return np.stack([np.bincount(cell, row, n_cells) for row in rows])


def _error(sums: FloatArray, sample_threshold: int) -> FloatArray:
    """The calibration error of sums (..., 4, n_cells)."""
    count, weight, score, votes = (sums[..., row, :] for row in range(4))
    gap = np.where(count >= sample_threshold, np.abs(score - votes), 0.0)
    return ratio(gap.sum(axis=-1), weight.sum(axis=-1))


def detection_calibration(
    images: Iterable[DetectionImage],
    *,
    against: Against = "pairs",
    rater: str | None = None,
    features: Sequence[Feature] = (),
    bins: int | Sequence[int] = 20,
    sample_threshold: int = 1,
    iou_threshold: float = 0.5,
    matching: Matching = "greedy",
    score_floor: float = 0.0,
    n_resamples: int = 0,
    level: float = 0.95,
    random_state: int | None = 0,
) -> DetectionScore:
    """The D-ECE of a detector over images, against one rater or several.

    Parameters
    ----------
    images : iterable of DetectionImage
        With detections. An image in which the detector found nothing counts (in resamples), and so does one in which a
        rater found nothing: there all detections are false for this rater.
    against : {"pairs", "mean", "per-rater"}, default="pairs"
        "pairs" is the multi-rater D-ECE: each pair of a detection and a rater who looked is a sample. "mean": each
        detection is a sample, with the mean response of its raters; this differs only where raters are missing.
        "per-rater" is the mean of each rater's own D-ECE. It is large where raters disagree, and never smaller than that of
        pairs where all raters looked at all images.
    rater : str, optional
        Include this rater alone, such as a consensus; by default all.
    features : sequence of {"x", "y", "z", "width", "height", "depth"}, optional
        Bin also by the centre and extent of the boxes, divided by the size of the image, which must be known.
    bins, sample_threshold
        As in `detection_ece`. The paper does not state its number of bins; 20 is that of netcal's script.
    iou_threshold : float, default=0.5
        Least overlap of a match.
    matching : {"greedy", "nearest"}, default="greedy"
        Whether an object is found by one detection (COCO) or by several (netcal); see `mrcalib.detection.match`.
    score_floor : float, default=0.0
        Detections with a lower score are left out; D-ECE depends heavily on it.
    n_resamples : int, default=0
        Number of bootstrap resamples of groups of images.
    level : float, default=0.95
        Confidence level of the interval.
    random_state : int, optional
        Seed of the bootstrap.

    Returns
    -------
    DetectionScore
        NaN if there is no detection. ``details`` has bins, features, ``against`` and ``sample_threshold``; ``curve`` is
        the reliability curve (of pairs or mean) unless there are features.

    Raises
    ------
    ValueError
        If there is no image, an image has no detections (None), an option is unknown, or a size is needed and not known.

    References
    ----------
    .. [1] Küppers et al., "Multivariate confidence calibration for object detection", CVPRW 2020, arXiv:2004.13546.
    .. [2] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       equation 1.

    Examples
    --------
    >>> found = Boxes([[0, 0, 9, 9], [20, 20, 30, 30]], scores=[0.5, 0.1])
    >>> image = DetectionImage("1", detections=found, raters={"a": [[0, 0, 9, 10]], "b": []})
    >>> round(float(detection_calibration([image])), 4)
    0.05
    >>> round(float(detection_calibration([image], against="per-rater")), 4)
    0.3
    """
    check_choice("against", against, get_args(Against))
    n_bins = _bins_of(bins, 1 + len(features))
    every = listed(images)
    names = raters_of(every, rater)
    seen = [image for image in every if any(image.raters.get(name) is not None for name in names)]
    total: dict[str, Any] = {"n_detections": 0, "n_objects": 0, "n_duplicates": 0}
    statistics = []
    for image in seen:
        chosen = DetectionImage(
            image.id, image.group, None, image.detections, {name: image.raters.get(name) for name in names}
        )
        found, matches = match_raters(chosen, iou_threshold, matching, score_floor)
        assert found.scores is not None
        columns = [found.scores, *_features(found, features, image)]
        present = {name: one for name, one in matches.items() if one is not None}
        masks = {name: one.is_true.astype(np.float64) for name, one in present.items()}
        statistics.append(_statistics(columns, n_bins, masks, names, against))
        total["n_detections"] += len(found)
        total["n_objects"] += sum(len(boxes) for boxes in chosen.raters.values() if boxes is not None)
        total["n_duplicates"] += sum(int(one.duplicate.sum()) for one in present.values())
    table = np.array(statistics)

    def value(counts: FloatArray) -> FloatArray:
        sums = np.tensordot(counts, table, axes=1)  # (n, targets, 4, cells)
        return mean_defined(_error(sums, sample_threshold))

    kind = {"pairs": "multi-rater D-ECE", "mean": "D-ECE of the mean response", "per-rater": "mean rater D-ECE"}
    return DetectionScore(
        name="D-ECE" if len(names) == 1 else kind[against],
        **interval_of(value, [str(image.group) for image in seen], n_resamples, level, random_state),
        n_images=len(seen),
        n_left_out=len(every) - len(seen),
        **total,
        raters=names,
        iou_thresholds=(float(iou_threshold),),
        matching=matching,
        score_floor=float(score_floor),
        details={
            "against": against,
            "bins": n_bins,
            "features": tuple(features),
            "sample_threshold": sample_threshold,
        },
        curve=_curve(table, n_bins[0], len(names)) if seen and not features and against != "per-rater" else None,
    )


def _statistics(
    columns: Sequence[FloatArray],
    n_bins: tuple[int, ...],
    masks: dict[str, FloatArray],
    names: tuple[str, ...],
    against: Against,
) -> FloatArray:
    """The sums of `_sums` for each target of one image; shape (n_targets, 4, n_cells)."""
    cell, n_cells, score = _cells(columns, n_bins), math.prod(n_bins), columns[0]
    one = np.ones(score.size)
    if against == "per-rater":
        nothing = np.zeros((4, n_cells))
        return np.stack([_sums(cell, n_cells, one, score, masks[name]) if name in masks else nothing for name in names])
    votes: FloatArray = np.sum(list(masks.values()), axis=0)
    if against == "mean":
        return _sums(cell, n_cells, one, score, votes / len(masks))[np.newaxis]
    return _sums(cell, n_cells, one * len(masks), score, votes)[np.newaxis]


def _features(boxes: Boxes, features: Sequence[Feature], image: DetectionImage) -> list[FloatArray]:
    """The values of the features of each box, divided by the size of the image."""
    columns = []
    for feature in features:
        check_choice("features", feature, get_args(Feature))
        axis = get_args(Feature).index(feature) % 3
        if image.size is None or axis >= len(image.size):
            msg = f"Feature {feature!r} needs the size of image {image.id!r} along that axis; got size={image.size}."
            raise ValueError(msg)
        n_dims = len(image.size)
        table = (boxes.centre if feature in "xyz" else boxes.extent).reshape(-1, n_dims)
        columns.append(np.clip(table[:, axis] / image.size[axis], 0.0, 1.0))
    return columns


def _curve(table: FloatArray, n_bins: int, n_raters: int) -> ReliabilityCurve:
    _, weight, score, votes = table.sum(axis=0)[0]
    own = np.full((n_raters, n_bins), np.nan)
    return ReliabilityCurve(
        edges=np.array([0.0, *edges_of_uniform_bins(n_bins), 1.0]),
        mean_prob=ratio(score, weight),
        response=ratio(votes, weight),
        count=weight,
        rater_response=own[:0],
        rater_count=own[:0],
    )


def laece0(
    images: Iterable[DetectionImage],
    *,
    rater: str | None = None,
    bins: int = 25,
    score_floor: float = 0.0,
    n_resamples: int = 0,
    level: float = 0.95,
    random_state: int | None = 0,
) -> DetectionScore:
    """LaECE0: the calibration error of scores as estimates of the overlap with the object [1]_.

    Detections are matched greedily with whatever they overlap, so the response of a detection is its intersection over
    union, 0 where it has no object. The error of each class with detections is averaged over these classes.

    Parameters
    ----------
    images : iterable of DetectionImage
        With detections.
    rater : str, optional
        Whose objects count; needed where there are several raters.
    bins : int, default=25
        Number of bins of the score, as in the paper.
    score_floor : float, default=0.0
        Detections with a lower score are left out; the paper chooses it by LRP on validation images, class by class.
    n_resamples, level, random_state
        As in `detection_calibration`.

    Returns
    -------
    DetectionScore
        In [0, 1], 0 is best; NaN if there is no detection.

    Raises
    ------
    ValueError
        As in `detection_calibration`, or if there are several raters and none is chosen.

    References
    ----------
    .. [1] Kuzucu et al., "On calibration of object detectors: pitfalls, evaluation and baselines", ECCV 2024,
       arXiv:2405.20459.

    Examples
    --------
    >>> found = Boxes([[0, 0, 10, 5], [20, 20, 30, 30]], scores=[0.9, 0.2])
    >>> image = DetectionImage("1", detections=found, raters={"consensus": [[0, 0, 10, 10]]})
    >>> round(float(laece0([image])), 4)  # (|0.9 - 0.5| + |0.2 - 0|) / 2
    0.3
    """
    n_bins = check_n_bins(bins)
    ranked = ranking(images, rater, (0.0,), score_floor)
    n_images = len(ranked.groups)
    table = np.zeros((n_images, ranked.classes.size, 4, n_bins))
    for c in range(ranked.classes.size):
        score, image, _, overlap = ranked.of_class(c)
        cell = image * n_bins + _cells([score], (n_bins,))  # the bins of each image apart
        sums = _sums(cell, n_images * n_bins, np.ones(score.size), score, overlap[0])
        table[:, c] = sums.reshape(4, n_images, n_bins).swapaxes(0, 1)

    def value(counts: FloatArray) -> FloatArray:
        return mean_defined(_error(np.tensordot(counts, table, axes=1), 1))

    return DetectionScore(
        name="LaECE0",
        **interval_of(value, ranked.groups, n_resamples, level, random_state),
        **ranked.facts,
        details={"bins": (n_bins,), "n_classes": int(ranked.classes.size)},
    )
