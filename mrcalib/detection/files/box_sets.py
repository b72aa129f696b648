"""What files of boxes say: images, and the boxes of each source in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mrcalib.detection.boxes import Boxes
    from mrcalib.detection.images import DetectionImage

__all__ = ["BoxSet", "ImageEntry"]

Found = Mapping[str, "Boxes | None"]


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image as files of boxes name it.

    Parameters
    ----------
    size : tuple of float, optional
        Width, height (and depth) in pixels.
    group : str, optional
        Patient, plate or site.
    key : int or str, optional
        Its id in COCO files, by which lists of results refer to it.
    """

    size: tuple[float, ...] | None = None
    group: str | None = None
    key: int | str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class BoxSet:
    """Boxes of several sources (raters or models) in several images.

    Parameters
    ----------
    images : mapping of str to ImageEntry
        By name.
    sources : mapping of str to (mapping of str to Boxes or None)
        For each source its boxes by image: no boxes where it found nothing, None or no entry where it did not look.
    categories : mapping of int to str, default={}
        Names of the labels of boxes. Empty: boxes have no labels.

    Raises
    ------
    ValueError
        If a source has boxes in an image that is not listed.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> boxes = BoxSet({"1": ImageEntry((100, 80)), "2": ImageEntry()}, {"ann": {"1": Boxes([[0, 0, 9, 9]])}})
    >>> boxes
    <BoxSet: 1 box of 1 source in 2 images>
    >>> boxes.of("ann", "2") is None
    True
    """

    images: Mapping[str, ImageEntry]
    sources: Mapping[str, Found]
    categories: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for source, found in self.sources.items():
            unknown = [name for name in found if name not in self.images]
            if unknown:
                msg = f"Source {source!r} has boxes in image {unknown[0]!r}, which is not among images."
                raise ValueError(msg)

    def __repr__(self) -> str:
        n = sum(len(boxes) for found in self.sources.values() for boxes in found.values() if boxes is not None)
        counts = ((n, "box", "es"), (len(self.sources), "source", "s"), (len(self.images), "image", "s"))
        boxes, sources, images = (f"{k} {word}{'' if k == 1 else plural}" for k, word, plural in counts)
        return f"<BoxSet: {boxes} of {sources} in {images}>"

    def of(self, source: str, image: str) -> Boxes | None:
        """The boxes of one source in one image; None where it did not look."""
        return self.sources[source].get(image)

    def renamed(self, source: str) -> Self:
        """The same boxes under another name of their only source; ValueError if there are several."""
        if len(self.sources) != 1:
            msg = f"There are boxes of {len(self.sources)} sources ({', '.join(self.sources)}); one name cannot be theirs."
            raise ValueError(msg)
        (found,) = self.sources.values()
        return type(self)(self.images, {source: found}, self.categories)

    @classmethod
    def from_images(
        cls,
        images: Iterable[DetectionImage],
        *,
        detections: str | None = None,
        categories: Mapping[int, str] | None = None,
    ) -> Self:
        """The boxes of images in memory, to be written.

        Parameters
        ----------
        images : iterable of DetectionImage
            With different ids.
        detections : str, optional
            Take the detections, as the source of this name; by default the raters' boxes.
        categories : mapping of int to str, optional
            Names of labels; the labels themselves by default.

        Returns
        -------
        BoxSet

        Raises
        ------
        ValueError
            If two images have the same id.
        """
        listed = list(images)
        entries = {
            image.id: ImageEntry(image.size, None if image.group == image.id else image.group) for image in listed
        }
        if len(entries) != len(listed):
            names = [image.id for image in listed]
            msg = f"Images must have different names; {next(n for n in names if names.count(n) > 1)!r} is there twice."
            raise ValueError(msg)
        sources: dict[str, dict[str, Boxes | None]] = {}
        for image in listed:
            found = image.raters if detections is None else {detections: image.detections}
            for source, boxes in found.items():
                sources.setdefault(source, {})[image.id] = boxes
        every = (boxes for found in sources.values() for boxes in found.values())
        labels = {int(x) for boxes in every if boxes is not None and boxes.labels is not None for x in boxes.labels}
        named = {label: str(label) for label in sorted(labels)}
        return cls(entries, sources, named if categories is None else dict(categories))
