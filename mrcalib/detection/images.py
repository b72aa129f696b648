"""An image: what the detector found in it and what each rater drew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mrcalib.detection.boxes import Boxes, as_boxes

__all__ = ["DetectionImage"]


@dataclass(frozen=True, eq=False)
class DetectionImage:
    """An image with its detections and its raters' boxes: for detection what a case is for segmentation.

    Parameters
    ----------
    id : str
        Name of the image; every error contains it.
    group : str, optional
        Patient, plate or site, whose images stay together in resamples; by default the image is its own group.
    size : tuple of float, optional
        Width, height (and depth) in pixels. Where it is known, boxes must lie inside.
    detections : Boxes or array_like, optional
        What the detector found, with scores: ``Boxes.empty()`` where it found nothing, None where it was not run.
    raters : mapping of str to Boxes, array_like or None
        The boxes of each rater: an empty list where the rater found nothing, None where the rater did not look (missing).

    Raises
    ------
    ValueError
        If boxes are bad, lie outside the image, or differ in their number of dimensions; it names image and source.

    Examples
    --------
    >>> image = DetectionImage("plate 7", size=(100, 80), detections=Boxes([[0, 0, 10, 10]], [0.8]),
    ...                        raters={"a": [[1, 0, 10, 10]], "b": [], "c": None})
    >>> image.n_dims, [name for name, boxes in image.raters.items() if boxes is not None]
    (2, ['a', 'b'])
    """

    id: str
    group: str | None = None
    size: tuple[float, ...] | None = None
    detections: Boxes | None = None
    raters: Mapping[str, Boxes | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = str(self.id)
        size = None if self.size is None else tuple(float(length) for length in self.size)
        if size is not None and (len(size) not in (2, 3) or not all(0 < length < float("inf") for length in size)):
            msg = (
                f"size of image {name!r} must be (width, height) or (width, height, depth) in pixels; got {self.size}."
            )
            raise ValueError(msg)

        def checked(boxes: Boxes | None, source: str) -> Boxes | None:
            if boxes is None:
                return None
            where = f"{source} of image {name!r}"
            boxes = as_boxes(boxes, where)
            if size is not None and (len(boxes) or boxes.n_dims == len(size)):
                boxes.check_inside(size, where)
            return boxes

        detections = checked(self.detections, "the detections")
        raters = {str(rater): checked(boxes, f"rater {str(rater)!r}") for rater, boxes in self.raters.items()}
        dims = {boxes.n_dims for boxes in (detections, *raters.values()) if boxes is not None and len(boxes)}
        if len(dims) > 1:
            msg = f"All boxes of image {name!r} must have the same number of dimensions; got 2-D and 3-D boxes."
            raise ValueError(msg)
        if detections is not None and detections.scores is None:
            if len(detections):
                msg = f"The detections of image {name!r} must have scores; give them as Boxes(coordinates, scores)."
                raise ValueError(msg)
            detections = Boxes.empty(detections.n_dims)
        values = {
            "id": name,
            "group": name if self.group is None else str(self.group),
            "size": size,
            "detections": detections,
            "raters": raters,
        }
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    @property
    def n_dims(self) -> int:
        """2 or 3."""
        if self.size is not None:
            return len(self.size)
        known = [boxes for boxes in (self.detections, *self.raters.values()) if boxes is not None]
        return max((boxes.n_dims for boxes in known if len(boxes)), default=2)

    def found(self, score_floor: float = 0.0) -> Boxes:
        """The detections whose score is at least ``score_floor``; ValueError where the detector was not run."""
        if self.detections is None:
            msg = (
                f"Image {self.id!r} has no detections (None). If the detector ran and found nothing, give Boxes.empty(); "
                "else leave the image out."
            )
            raise ValueError(msg)
        return self.detections.above(score_floor)

    def with_detections(self, detections: Boxes | None) -> DetectionImage:
        """The same image and raters with the detections of another model, an ensemble or a calibrator."""
        return DetectionImage(self.id, self.group, self.size, detections, self.raters)
