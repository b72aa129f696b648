"""Which detection is which object, and the raters' votes that follow: a matched box is a vote for the detection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.boxes import match_in_order
from mrcalib.detection.boxes import Boxes, overlap_by_class
from mrcalib.detection.images import DetectionImage
from mrcalib.inputs import check_choice

__all__ = ["Matches", "Matching", "by_score", "check_threshold", "match", "match_at", "match_raters", "naming", "votes"]

Matching = Literal["greedy", "nearest"]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The object of each detection, where it has one, and how well they overlap.

    Attributes
    ----------
    is_true : ndarray of bool, shape (n,)
        Whether the detection has an object.
    object : ndarray of int, shape (n,)
        Position of its object; -1 where it has none.
    overlap : ndarray of float, shape (n,)
        Intersection over union with its object; where it has none, with the object of its class that it overlaps most.
    duplicate : ndarray of bool, shape (n,)
        Whether it finds an object again: the object that it overlaps most, enough for a match, has a detection of higher
        score (or an earlier one of equal score). "greedy" calls these false unless another object is left for them,
        "nearest" true.
    """

    is_true: NDArray[np.bool_]
    object: NDArray[np.intp]
    overlap: FloatArray
    duplicate: NDArray[np.bool_]


def match(detections: Boxes, objects: Boxes, iou_threshold: float = 0.5, matching: Matching = "greedy") -> Matches:
    """The object that each detection of one image finds, among those of one rater.

    Parameters
    ----------
    detections : Boxes
        With scores.
    objects : Boxes
        What the rater drew. Where boxes have labels, only those of equal labels match.
    iou_threshold : float, default=0.5
        Least intersection over union of a match, in [0, 1]; with 0 any overlap will do.
    matching : {"greedy", "nearest"}, default="greedy"
        "greedy" as in COCO: by descending score (equal scores in the given order), each detection takes the object that it
        overlaps most among those that no earlier detection has [1]_. "nearest" as in netcal: each detection takes the
        object of its class that it overlaps most, which several detections may share [2]_.

    Returns
    -------
    Matches
        Without detections, empty; without objects, all false.

    Raises
    ------
    ValueError
        If detections have no scores, an option is unknown, or one side has labels and the other has not.

    References
    ----------
    .. [1] Lin et al., "Microsoft COCO", ECCV 2014; the behaviour is that of pycocotools, without crowds and areas.
    .. [2] Küppers et al., "Multivariate confidence calibration for object detection", CVPRW 2020.

    Examples
    --------
    >>> twice = Boxes([[0, 0, 10, 10], [0, 0, 10, 9]], scores=[0.7, 0.9])
    >>> match(twice, Boxes([[0, 0, 10, 10]])).is_true.tolist()
    [False, True]
    >>> match(twice, Boxes([[0, 0, 10, 10]]), matching="nearest").is_true.tolist()
    [True, True]
    """
    check_threshold("iou_threshold", iou_threshold)
    return match_at(detections, objects, (iou_threshold,), matching)[0]


def match_at(
    detections: Boxes, objects: Boxes, iou_thresholds: Sequence[float], matching: Matching = "greedy"
) -> list[Matches]:
    """The matches at each threshold; overlaps are computed once."""
    check_choice("matching", matching, get_args(Matching))
    order = by_score(detections)
    overlap = overlap_by_class(detections, objects)
    n = len(detections)
    if not overlap.size:
        return [Matches(np.zeros(n, bool), np.full(n, -1), np.zeros(n), np.zeros(n, bool)) for _ in iou_thresholds]
    thresholds = np.array(iou_thresholds, dtype=np.float64)
    most, favourite = overlap.max(axis=1), overlap.argmax(axis=1)
    # The last assignment to an object stays, so that its detection of the highest score is kept.
    found = np.where((most > 0) & (most >= thresholds[:, np.newaxis]), favourite, -1)
    duplicate = np.empty(found.shape, dtype=bool)
    for t, nearest in enumerate(found):
        holder = np.full(len(objects) + 1, -1)  # one place more, for detections without an object (-1)
        holder[nearest[order[::-1]]] = order[::-1]
        duplicate[t] = (nearest >= 0) & (holder[nearest] != np.arange(n))
    if matching == "greedy":
        match_in_order(overlap, order, thresholds, found)
    own = overlap[np.arange(n), found]
    return [Matches(f >= 0, f, np.where(f >= 0, o, most), d) for f, o, d in zip(found, own, duplicate, strict=True)]


def by_score(detections: Boxes) -> NDArray[np.intp]:
    """Positions of the detections by descending score; equal scores stay in the given order."""
    if detections.scores is None:
        if len(detections):
            msg = "Detections must have scores; for boxes without, such as a rater's, use with_scores(np.ones(len(boxes)))."
            raise ValueError(msg)
        return np.empty(0, np.intp)
    return np.argsort(-detections.scores, kind="stable")


def check_threshold(name: str, value: float) -> None:
    """Raise ValueError unless ``value`` lies in [0, 1]."""
    if not 0 <= value <= 1:
        msg = f"{name} must lie in [0, 1]; got {value}."
        raise ValueError(msg)


def votes(
    image: DetectionImage, iou_threshold: float = 0.5, matching: Matching = "greedy", score_floor: float = 0.0
) -> tuple[NDArray[np.float64], list[NDArray[np.bool_] | None]]:
    """The scores of an image's detections, and for each rater a mask of those that match one of the rater's objects.

    ``mrcalib.tally(scores, masks)``, every calibrator and every binned metric take them as they take voxels.

    Parameters
    ----------
    image : DetectionImage
        With detections.
    iou_threshold, matching
        As in `match`.
    score_floor : float, default=0.0
        Detections with a lower score are left out. State it with every number: D-ECE depends on it heavily.

    Returns
    -------
    scores : ndarray of shape (n,)
        Of the detections left, in the image's order.
    masks : list of (ndarray of bool, shape (n,)) or None
        For each rater of the image, in order: whether the detection matches one of the rater's objects; None where the
        rater is missing.

    Raises
    ------
    ValueError
        If the image has no detections (None), or boxes and options do not fit.

    Examples
    --------
    >>> image = DetectionImage("1", detections=Boxes([[0, 0, 9, 9], [20, 20, 30, 30]], [0.9, 0.4]),
    ...                        raters={"a": [[0, 0, 9, 10]], "b": [], "c": None})
    >>> scores, masks = votes(image)
    >>> scores.tolist(), [None if mask is None else mask.tolist() for mask in masks]
    ([0.9, 0.4], [[True, False], [False, False], None])
    """
    detections, matches = match_raters(image, iou_threshold, matching, score_floor)
    assert detections.scores is not None
    return detections.scores, [None if found is None else found.is_true for found in matches.values()]


def match_raters(
    image: DetectionImage, iou_threshold: float, matching: Matching, score_floor: float
) -> tuple[Boxes, dict[str, Matches | None]]:
    """The detections above the floor, and their matches with each rater's objects."""
    check_threshold("score_floor", score_floor)
    detections = image.found(score_floor)
    matches: dict[str, Matches | None] = {}
    for rater, objects in image.raters.items():
        with naming(image, rater):
            matches[rater] = None if objects is None else match(detections, objects, iou_threshold, matching)
    return detections, matches


@contextmanager
def naming(image: DetectionImage, *raters: str) -> Iterator[None]:
    """Let a ValueError name the image and the raters in which it was raised."""
    try:
        yield
    except ValueError as error:
        names = " and ".join(map(repr, raters))
        msg = f"Image {image.id!r}, rater{'s' if len(raters) > 1 else ''} {names}: {error}"
        raise ValueError(msg) from error
