"""Reading the files that the options name: raters, models, and the images that both give together."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import UsageError

if TYPE_CHECKING:
    from mrcalib.detection.files import BoxSet
    from mrcalib.detection.images import DetectionImage

__all__ = ["Inputs", "as_texts", "images_of", "read_models", "read_raters"]


@dataclass
class Inputs:
    """The boxes of raters (or the images alone), those of each model, and the errors of images that cannot be used."""

    raters: BoxSet
    models: dict[str, BoxSet] = field(default_factory=dict)
    failures: dict[str, Exception] = field(default_factory=dict)


def _options(args: argparse.Namespace, failures: dict[str, Exception]) -> dict[str, Any]:
    return {
        "absent": args.absent,
        "outside": "clip" if args.clip else "raise",
        "crowds": "drop" if args.drop_crowds else "raise",
        "enclose": args.enclose,
        "failures": failures,
    }


def read_raters(args: argparse.Namespace) -> Inputs:
    """The raters' boxes; with ``--images`` the images alone.

    Raises
    ------
    UsageError
        If neither is given.
    """
    from mrcalib.detection.files import BoxSet, merge_boxes, read_boxes

    failures: dict[str, Exception] = {}
    listing: str | None = getattr(args, "images", None)
    if not args.raters:
        if listing is None:
            msg = "say which images there are: --raters FILE..., or --images FILE."
            raise UsageError(msg)
        read = read_boxes(listing, absent="empty", outside="clip", crowds="drop", failures={})
        return Inputs(BoxSet(read.images, {}, read.categories))
    sets = []
    for name, path in args.raters:
        args.console.note(f"reading {path}")
        sets.append(read_boxes(path, source=name, **_options(args, failures)))
    return Inputs(merge_boxes(sets), {}, failures)


def read_models(inputs: Inputs, files: Sequence[tuple[str | None, str]], args: argparse.Namespace) -> dict[str, BoxSet]:
    """The detections of models by name, which are added to ``inputs``; a warning names images that no rater's file has.

    Raises
    ------
    UsageError
        If two models have the same name.
    """
    from mrcalib.detection.files.box_sets import BoxSet, merge_listings
    from mrcalib.detection.files.reading import read_boxes

    found: dict[str, BoxSet] = {}
    extra: set[str] = set()
    for name, path in files:
        args.console.note(f"reading {path}")
        read = read_boxes(path, source=name, images=inputs.raters, **_options(args, inputs.failures))
        if name is not None and len(read.sources) == 1:
            read = read.renamed(name)
        merge_listings([inputs.raters, read])  # refuses files that contradict each other
        extra |= set(read.images) - set(inputs.raters.images)
        for model in read.sources:
            if model in found or model in inputs.models:
                msg = f"two models are named {model!r}; give each a name of its own, as NAME=FILE."
                raise UsageError(msg)
            found[model] = BoxSet(read.images, {model: read.sources[model]}, read.categories)
    if extra:
        listed = ", ".join(sorted(extra)[:5]) + (" ..." if len(extra) > 5 else "")
        args.console.complain(
            f"warning: {len(extra)} images of the detections are not among those of the raters: {listed}; they are left out."
        )
    inputs.models.update(found)
    return found


def images_of(inputs: Inputs, args: argparse.Namespace) -> dict[str, list[DetectionImage]]:
    """The images with the detections of each model; an image that a model was not run on cannot be used."""
    from mrcalib.detection.files import detection_images

    by_model = {
        model: detection_images(inputs.raters, found, group=args.group, skip=inputs.failures)
        for model, found in inputs.models.items()
    }
    for model, images in by_model.items():
        for image in images:
            if image.detections is None:
                msg = (
                    f"Image {image.id!r}: the file of model {model!r} does not list it. If the model ran and found nothing, "
                    "list the image without annotations."
                )
                inputs.failures.setdefault(image.id, ValueError(msg))
    return {model: [image for image in images if image.id not in inputs.failures] for model, images in by_model.items()}


def as_texts(failures: Mapping[str, Exception]) -> dict[str, str]:
    """The messages of errors by image, for files and ``--json``."""
    return {image: str(error) for image, error in failures.items()}
