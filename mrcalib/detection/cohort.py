"""Tallies of detections, which every calibrator and every binned metric take."""

from __future__ import annotations

from collections.abc import Iterable

from mrcalib.cohort import Cohort
from mrcalib.detection.images import DetectionImage
from mrcalib.detection.matching import Matching, votes
from mrcalib.grid import ProbabilityGrid
from mrcalib.tallies import Tally, tally

__all__ = ["detection_cohort", "detection_tally"]


def detection_tally(
    image: DetectionImage,
    iou_threshold: float = 0.5,
    matching: Matching = "greedy",
    score_floor: float = 0.0,
    *,
    grid: ProbabilityGrid | None = None,
) -> Tally:
    """The tally of the detections of an image, with the votes of its raters.

    Parameters
    ----------
    image, iou_threshold, matching, score_floor
        As in `votes`.
    grid : ProbabilityGrid, optional
        Bins of the scores; ``ProbabilityGrid.standard()`` by default.

    Returns
    -------
    Tally
        Of as many voxels as there are detections; without any, or if all raters are missing, the empty tally.

    Raises
    ------
    ValueError
        As in `votes`, or if the image names no rater.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> image = DetectionImage("1", detections=Boxes([[0, 0, 9, 9], [20, 20, 30, 30]], [0.9, 0.4]),
    ...                        raters={"a": [[0, 0, 9, 10]], "b": []})
    >>> detection_tally(image).cells.marked.tolist()
    [0, 1]
    """
    if not image.raters:
        msg = f"Image {image.id!r} names no rater; name those that did not look with None."
        raise ValueError(msg)
    scores, masks = votes(image, iou_threshold, matching, score_floor)
    present = {rater: mask for rater, mask in zip(image.raters, masks, strict=True) if mask is not None}
    if not present:
        return Tally.empty(grid, tuple(image.raters))
    counted = tally(scores, list(present.values()), grid=grid, rater_names=tuple(present), case=image.id, n_jobs=1)
    return counted.with_raters(tuple(image.raters))


def detection_cohort(
    images: Iterable[DetectionImage],
    iou_threshold: float = 0.5,
    matching: Matching = "greedy",
    score_floor: float = 0.0,
    *,
    grid: ProbabilityGrid | None = None,
) -> Cohort:
    """The tallies of the detections of images, each image a case: what ``fit_tally`` and ``compare`` take.

    Parameters
    ----------
    images : iterable of DetectionImage
        Their groups are those of the cohort; raters that an image does not name are missing there.
    iou_threshold, matching, score_floor
        As in `votes`. They are not stored; report them with every result.
    grid : ProbabilityGrid, optional
        As in `detection_tally`.

    Returns
    -------
    Cohort
        An image without detections, or one that no rater looked at, is a case without voxels.

    Raises
    ------
    ValueError
        As in `detection_tally`; if there is no image, or two have the same id.

    Examples
    --------
    >>> import mrcalib
    >>> from mrcalib.detection import Boxes
    >>> found = Boxes([[0, 0, 9, 9], [20, 20, 30, 30]], [0.9, 0.4])
    >>> images = [DetectionImage(name, detections=found, raters={"a": [[0, 0, 9, 10]], "b": []}) for name in "123"]
    >>> calibrator = mrcalib.MHRIsotonicCalibrator().fit_tally(detection_cohort(images))
    >>> found.with_scores(calibrator.transform(found.scores)).scores.round(6).tolist()
    [0.5, 0.0]
    """
    listed = list(images)
    tallies = [detection_tally(image, iou_threshold, matching, score_floor, grid=grid) for image in listed]
    return Cohort(tallies, [image.id for image in listed], [str(image.group) for image in listed])
