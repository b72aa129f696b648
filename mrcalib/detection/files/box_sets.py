"""The content of files of boxes: images, and the boxes of each source in them; and images made of it."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from mrcalib.detection.boxes import Boxes
from mrcalib.detection.images import DetectionImage

__all__ = ["BoxSet", "ImageEntry", "detection_images", "merge_boxes", "merge_listings"]

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


def merge_boxes(sets: Iterable[BoxSet]) -> BoxSet:
    """The boxes of several files together, such as one file a rater.

    Parameters
    ----------
    sets : iterable of BoxSet
        Images of the same name are the same.

    Returns
    -------
    BoxSet
        Images and sources in the order in which they come. A source that a file does not name, or whose file does not
        list an image, did not look at that image.

    Raises
    ------
    ValueError
        If files contradict each other: sizes, groups or ids of an image, names of a category, or two boxes of one source
        in one image.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> a = BoxSet({"1": ImageEntry(), "2": ImageEntry()}, {"ann": {"1": Boxes([]), "2": Boxes([])}})
    >>> b = BoxSet({"2": ImageEntry((9, 9))}, {"bo": {"2": Boxes([])}})
    >>> both = merge_boxes([a, b])
    >>> both, both.of("bo", "1") is None
    (<BoxSet: 0 boxes of 2 sources in 2 images>, True)
    """
    images: dict[str, ImageEntry] = {}
    by_key: dict[int | str, str] = {}
    sources: dict[str, dict[str, Boxes | None]] = {}
    categories: dict[int, str] = {}
    for one in sets:
        for name, entry in one.images.items():
            images[name] = _joined(name, images.get(name, entry), entry)
            if entry.key is not None and by_key.setdefault(entry.key, name) != name:
                msg = (
                    f"Image id {entry.key!r} is {by_key[entry.key]!r} in one file and {name!r} in another; ids must mean the "
                    "same image in all files, and images be named alike."
                )
                raise ValueError(msg)
        for source, found in one.sources.items():
            known_boxes = sources.setdefault(source, {})
            for name, boxes in found.items():
                if boxes is not None and known_boxes.get(name) is not None:
                    msg = f"There are boxes of {source!r} in image {name!r} in two files; give each source a name of its own."
                    raise ValueError(msg)
                known_boxes[name] = boxes if boxes is not None else known_boxes.get(name)
        for label, title in one.categories.items():
            known = categories.get(label, title)
            if known != title and str(label) not in (known, title):
                msg = f"Category {label} is {known!r} in one file and {title!r} in another."
                raise ValueError(msg)
            categories[label] = title if known == str(label) else known
    return BoxSet(images, sources, categories)


def merge_listings(sets: Iterable[BoxSet]) -> BoxSet:
    """The images and categories of several files together, without boxes; ValueError as in `merge_boxes`."""
    return merge_boxes(BoxSet(one.images, {}, one.categories) for one in sets)


def _joined(name: str, first: ImageEntry, second: ImageEntry) -> ImageEntry:
    values = {}
    for attribute in ("size", "group", "key"):
        one, two = getattr(first, attribute), getattr(second, attribute)
        if one is not None and two is not None and one != two:
            what = "id" if attribute == "key" else attribute
            msg = f"Image {name!r} has {what} {one!r} in one file and {two!r} in another."
            raise ValueError(msg)
        values[attribute] = two if one is None else one
    return ImageEntry(**values)


def detection_images(
    raters: BoxSet,
    detections: BoxSet | None = None,
    *,
    source: str | None = None,
    group: str | None = None,
    skip: Container[str] = (),
) -> list[DetectionImage]:
    """Images with the raters' boxes and the detections of one model.

    Parameters
    ----------
    raters : BoxSet
        Every source is a rater.
    detections : BoxSet, optional
        With scores. By default images are without detections, for what is about raters alone.
    source : str, optional
        Whose detections; needed where there are several.
    group : str, optional
        Regular expression with one group, searched for in the image's name: what it captures is the plate, patient or
        site. By default the group that the files give.
    skip : container of str, default=()
        Names of images to leave out, such as the failures of reading.

    Returns
    -------
    list of DetectionImage
        One for each image of ``raters``. Where there is one category only, boxes are without labels.

    Raises
    ------
    ValueError
        If images contradict each other, a model's boxes have no scores, or ``group`` does not fit an image.

    Examples
    --------
    >>> from mrcalib.detection import Boxes
    >>> raters = BoxSet({"1": ImageEntry()}, {"ann": {"1": Boxes([[0, 0, 9, 9]])}})
    >>> found = BoxSet({"1": ImageEntry()}, {"model": {"1": Boxes([[0, 0, 9, 8]], scores=[0.9])}})
    >>> [image] = detection_images(raters, found)
    >>> image.detections, image.raters
    (<Boxes: 1 in 2-D with scores>, {'ann': <Boxes: 1 in 2-D>})
    """
    found: Mapping[str, Boxes | None] = {}
    categories = set(raters.categories)
    entries = dict(raters.images)
    if detections is not None:
        if source is None and len(detections.sources) != 1:
            msg = f"source must be one of {', '.join(map(repr, detections.sources))}; detections are of one model."
            raise ValueError(msg)
        found = detections.sources[next(iter(detections.sources)) if source is None else source]
        together = merge_listings([raters, detections])
        categories, entries = set(together.categories), dict(together.images)
    one_kind = len(categories) <= 1

    def kept(boxes: Boxes | None) -> Boxes | None:
        return _without_labels(boxes) if boxes is not None and one_kind else boxes

    return [
        DetectionImage(
            name,
            _group(name, group) or entries[name].group,
            entries[name].size,
            kept(found.get(name)),
            {rater: kept(drawn.get(name)) for rater, drawn in raters.sources.items()},
        )
        for name in raters.images
        if name not in skip
    ]


def _without_labels(boxes: Boxes) -> Boxes:
    return boxes if boxes.labels is None else type(boxes)(boxes.coordinates, boxes.scores)


def _group(name: str, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    compiled = re.compile(pattern)
    match = compiled.search(name)
    if compiled.groups != 1 or match is None or not match[1]:
        msg = f"group={pattern!r} must capture the plate, patient or site in one group; image {name!r} does not fit."
        raise ValueError(msg)
    return str(match[1])
