"""The options that the commands of ``mrcalib detect`` share, each declared once, and the values that they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mrcalib.cli._options import add_common, command, count, fraction

if TYPE_CHECKING:
    from mrcalib.cli._options import Parser, Subparsers

__all__ = ["action", "add_matching", "add_output", "add_raters", "add_scoring", "iou", "named"]

_FILES = """\
Each file is COCO JSON (one file a rater, or annotations that name their "rater"), a CSV table with a row a box (columns
image, rater, x0, y0, x1, y1; optional: width, height, score, category, group, n_boxes), or a template of napari's files of
rectangles, in which {case} stands for the image and {rater} for the rater. NAME=FILE names the rater or the model, whose
name is else that of the file. A rater who found nothing in an image is not one who did not look at it: an image that a
rater's file lists was looked at.
"""


def action(subparsers: Subparsers, name: str, **options: Any) -> Parser:
    """The parser of ``mrcalib detect NAME``, made as those of other commands."""
    parser = command(subparsers, name, **options)
    parser.usage = " ".join(f"mrcalib detect {name} {options['usage']} [options]".split())
    parser.set_defaults(command=f"detect {name}")
    return parser


def _number(valid: Callable[[float], bool], expected: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not valid(value):
            msg = f"expected {expected}; got {text!r}"
            raise argparse.ArgumentTypeError(msg)
        return value

    return parse


iou = _number(lambda value: 0 < value <= 1, "an overlap above 0, up to 1, such as 0.5")
_score = _number(lambda value: 0 <= value <= 1, "a score from 0 to 1")


def named(text: str) -> tuple[str | None, str]:
    """NAME=FILE, or FILE alone."""
    name, equals, path = text.partition("=")
    if not equals or "/" in name or Path(text).exists():
        return None, text
    if not name or not path:
        msg = f"expected NAME=FILE or FILE; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return name, path


def add_raters(
    parser: argparse.ArgumentParser, *, detections: Literal["none", "one", "several"] = "none", required: bool = True
) -> None:
    """Add the options of the files of boxes, and of how they are read."""
    group = parser.add_argument_group("where the boxes are", _FILES)
    group.add_argument(
        "--raters",
        type=named,
        nargs="+",
        required=required,
        metavar="[NAME=]FILE",
        help="the boxes that raters drew, in one or several files" + ("" if required else "; scores need them"),
    )
    if not required:
        group.add_argument(
            "--images",
            metavar="FILE",
            help="where there are no --raters: a COCO file that lists the images; its annotations are not read",
        )
    several = detections == "several"
    if detections != "none":
        group.add_argument(
            "--detections",
            type=named,
            required=not several,
            nargs="+" if several else None,
            default=[] if several else None,
            metavar="[NAME=]FILE",
            help=f"what {'each detector' if several else 'the detector'} found, with scores: COCO results, COCO JSON or CSV",
        )
    group.add_argument(
        "--group",
        metavar="REGEX",
        help=r"expression that captures the plate or patient in an image's name, such as '(plate\d+)_'; the images of a group "
        "stay together in resamples (default: the groups in the files, else each image is a group)",
    )
    group.add_argument(
        "--absent",
        choices=("empty", "missing"),
        help='where an image of a file with several raters does not list its "raters": a rater without a box there found '
        "nothing (empty) or did not look (missing) (default: such a file is refused)",
    )
    group.add_argument("--clip", action="store_true", help="cut boxes at the border of their image (default: refused)")
    group.add_argument(
        "--drop-crowds", action="store_true", help="leave out annotations of crowds (iscrowd) (default: refused)"
    )
    group.add_argument(
        "--enclose",
        action="store_true",
        help="for a shape of napari that is no upright rectangle, take the box that encloses it (default: refused)",
    )


def add_matching(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    """Add the conditions under which a detection has an object."""
    group = parser.add_argument_group("what counts as found")
    group.add_argument(
        "--iou",
        type=iou,
        nargs="+" if several else None,
        default=[0.5, 0.75] if several else 0.5,
        metavar="T",
        help="least intersection over union of a detection and its object (default: "
        f"{'0.5 0.75' if several else '%(default)s'})",
    )
    group.add_argument(
        "--matching",
        choices=("greedy", "nearest"),
        default="greedy",
        help="greedy: an object is found once, by the detection of the highest score, as in COCO; nearest: each detection "
        "takes the object that it overlaps most, which several may take, as in netcal (default: %(default)s)",
    )
    group.add_argument(
        "--score-floor",
        type=_score,
        default=0.0,
        metavar="S",
        help="leave out detections of lower scores; calibration errors depend heavily on this (default: %(default)s)",
    )


def _most(text: str) -> int | None:
    """A whole number from 1 on, or "all"."""
    return None if text == "all" else count(text)


def add_scoring(parser: argparse.ArgumentParser, n_resamples: int) -> None:
    """Add the options of scores and of their intervals."""
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--rater", metavar="NAME", help="score against this rater alone, such as a consensus (default: against all)"
    )
    group.add_argument(
        "--bins", type=count, default=20, metavar="N", help="number of bins of D-ECE (default: %(default)s)"
    )
    group.add_argument(
        "--max-detections",
        type=_most,
        default=100,
        metavar="N",
        help="how many detections of a class in an image count for mAP and mAR, those of the highest score; or 'all' "
        "(default: %(default)s, as in COCO)",
    )
    group.add_argument(
        "--resamples",
        type=count,
        default=n_resamples,
        metavar="N",
        help="number of bootstrap resamples of images, or of their groups (default: %(default)s)",
    )
    group.add_argument(
        "--level",
        type=fraction,
        default=0.95,
        metavar="P",
        help="confidence level of the intervals (default: %(default)s)",
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the resamples (default: %(default)s)")


def add_output(parser: argparse.ArgumentParser, *flags: str, required: bool, writes: str) -> None:
    """Add the options of the folder that is written, of its pictures, and those that all commands have."""
    group = parser.add_argument_group("what is written")
    group.add_argument(*flags, type=Path, required=required, metavar="FOLDER", help=writes)
    group.add_argument("--no-figures", action="store_true", help="write no figures")
    add_common(parser)
