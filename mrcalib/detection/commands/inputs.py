"""The options that say where boxes are and how they are matched, and the images that they give."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import Console, UsageError
from mrcalib.cli._options import command, count

if TYPE_CHECKING:
    from mrcalib.cli._options import Parser, Subparsers
    from mrcalib.detection.files import BoxSet
    from mrcalib.detection.images import DetectionImage

__all__ = [
    "Inputs",
    "action",
    "add_matching",
    "add_raters",
    "images_of",
    "iou",
    "matching_of",
    "named",
    "read_models",
    "read_raters",
]

_FILES = """\
Files are COCO JSON (one file a rater, or the rater in each annotation as "rater"), CSV tables with a row a box (columns
image, rater, x0, y0, x1, y1, and, if there, width, height, score, category, n_boxes), or rectangles of napari, by a
template with {case} for the image and {rater}. NAME=FILE names a rater or model; else the file's stem does.
A rater who looked and found nothing is not one who did not look: an image that a rater's file lists was looked at.
"""


def action(subparsers: Subparsers, name: str, **options: Any) -> Parser:
    """The parser of ``mrcalib detect NAME``."""
    parser = command(subparsers, name, **options)
    parser.usage = " ".join(f"mrcalib detect {name} {options['usage']} [options]".split())
    parser.set_defaults(command=f"detect {name}")
    return parser


def iou(text: str) -> float:
    """A number above 0, up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        msg = f"expected an overlap above 0, up to 1, such as 0.5; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def floor(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        msg = f"expected a score from 0 to 1; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def named(text: str) -> tuple[str | None, str]:
    """NAME=FILE, or FILE alone."""
    name, equals, path = text.partition("=")
    if not equals or "/" in name or Path(text).exists():
        return None, text
    if not name or not path:
        msg = f"expected NAME=FILE or FILE; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, path


def add_raters(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Where the raters' boxes are, and how files are read."""
    group = parser.add_argument_group("where the boxes are", _FILES)
    group.add_argument(
        "--raters",
        type=named,
        nargs="+",
        required=required,
        metavar="[NAME=]FILE",
        help="boxes that raters drew, one or several files" + ("" if required else " (needed for scores)"),
    )
    if not required:
        group.add_argument(
            "--images",
            metavar="FILE",
            help="COCO file that lists the images, where there are no --raters; its annotations are not read",
        )
    group.add_argument(
        "--group",
        metavar="REGEX",
        help=r"what an image's name tells of the plate or patient, such as '(plate\d+)_'; images of a group stay together in "
        "resamples (default: what files say, else each image is a group)",
    )
    group.add_argument(
        "--absent",
        choices=("empty", "missing"),
        help="raters in annotations: one without a box in an image found nothing, or did not look (default: refused where an "
        'image does not list its "raters")',
    )
    group.add_argument("--clip", action="store_true", help="cut boxes at the image's border (default: refused)")
    group.add_argument(
        "--drop-crowds", action="store_true", help="leave out annotations of crowds, iscrowd (default: refused)"
    )
    group.add_argument(
        "--enclose",
        action="store_true",
        help="of napari's shapes that are no upright rectangles take the enclosing box (default: refused)",
    )


def add_matching(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """What counts as found."""
    group = parser.add_argument_group("what counts as found")
    group.add_argument(
        "--iou",
        type=iou,
        nargs="+" if several else None,
        default=[0.5, 0.75] if several else 0.5,
        metavar="T",
        help=f"least overlap of a detection with its object (default: {'0.5 0.75' if several else '%(default)s'})",
    )
    group.add_argument(
        "--matching",
        choices=("greedy", "nearest"),
        default="greedy",
        help="greedy: an object is found once, by the highest score, as COCO counts; nearest: every detection takes the "
        "object that it overlaps most, as netcal counts (default: %(default)s)",
    )
    group.add_argument(
        "--score-floor",
        type=floor,
        default=0.0,
        metavar="S",
        help="leave out detections of lower scores; calibration errors depend on it heavily (default: %(default)s)",
    )


def matching_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_matching` but for the thresholds."""
    return {"matching": args.matching, "score_floor": args.score_floor}


@dataclass
class Inputs:
    """What was read: raters, or images alone; models by name; and the errors of images that cannot be used."""

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


def read_models(
    inputs: Inputs, files: Sequence[tuple[str | None, str]], args: argparse.Namespace, *, known: Sequence[str] = ()
) -> dict[str, BoxSet]:
    """What models found, each by its name; enters them into ``inputs`` and tells of images that no rater's file has.

    Raises
    ------
    UsageError
        If two models have the same name.
    """
    from mrcalib.detection.files import BoxSet, merge_boxes, read_boxes

    found: dict[str, BoxSet] = {}
    extra: set[str] = set()
    for name, path in files:
        args.console.note(f"reading {path}")
        read = read_boxes(path, source=name, images=inputs.raters, **_options(args, inputs.failures))
        if name is not None and len(read.sources) == 1:
            read = read.renamed(name)
        merge_boxes([BoxSet(part.images, {}, part.categories) for part in (inputs.raters, read)])
        extra |= set(read.images) - set(inputs.raters.images)
        for model in read.sources:
            if model in found or model in known:
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
                inputs.failures.setdefault(image.id, _not_run(model, image.id))
    return {model: [image for image in images if image.id not in inputs.failures] for model, images in by_model.items()}


def _not_run(model: str, image: str) -> ValueError:
    return ValueError(
        f"Image {image!r}: the file of model {model!r} does not list it. If the model ran and found nothing, list the image "
        "without annotations."
    )


def tell_failures(console: Console, failures: Mapping[str, Exception], n_images: int) -> None:
    """The images that could not be used, each with its error."""
    if failures:
        others = "; the results are of the others" if len(failures) < n_images else ""
        console.complain(f"{len(failures)} of {n_images} images could not be used{others}:")
        for image, error in failures.items():
            told = console.in_options(error)
            console.complain(f"  {told}" if repr(image) in told else f"  {image}: {told}")


def add_bootstrap(parser: argparse._ActionsContainer, n_resamples: int) -> None:
    """Resamples of images."""
    from mrcalib.cli._options import fraction

    parser.add_argument(
        "--resamples",
        type=count,
        default=n_resamples,
        metavar="N",
        help="bootstrap resamples of images, or of their groups (default: %(default)s)",
    )
    parser.add_argument(
        "--level", type=fraction, default=0.95, metavar="P", help="level of intervals (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of resamples (default: %(default)s)")
