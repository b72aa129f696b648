"""A detection is a voxel: its score the probability, a rater's box that it matches that rater's vote."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mrcalib.boxes._boxes import Boxes
from mrcalib.boxes._image import DetectionImage
from mrcalib.boxes._matching import Matches, Matching, check_threshold, match

__all__ = ["match_raters", "votes"]


def votes(
    image: DetectionImage, iou_threshold: float = 0.5, matching: Matching = "greedy", score_floor: float = 0.0
) -> tuple[NDArray[np.float64], list[NDArray[np.bool_] | None]]:
    """The detections of an image as scores, and what each rater says of them, as masks.

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
        try:
            matches[rater] = None if objects is None else match(detections, objects, iou_threshold, matching)
        except ValueError as error:
            msg = f"Image {image.id!r}, rater {rater!r}: {error}"
            raise ValueError(msg) from error
    return detections, matches
