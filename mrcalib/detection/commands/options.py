"""The options that the commands of ``mrcalib detect`` share, each declared once, and the values that they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._options import add_common, command, count, fraction

if TYPE_CHECKING:
    from mrcalib.cli._options import Parser, Subparsers

__all__ = ["action", "add_matching", "add_output", "add_raters", "add_scoring", "iou", "named"]

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
        type=_score,
        default=0.0,
        metavar="S",
        help="leave out detections of lower scores; calibration errors depend on it heavily (default: %(default)s)",
    )


def _most(text: str) -> int | None:
    """A whole number from 1 on, or "all"."""
    return None if text == "all" else count(text)


def add_scoring(parser: argparse.ArgumentParser, n_resamples: int) -> None:
    """How scores are taken."""
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--rater", metavar="NAME", help="score against this rater alone, such as a consensus (default: all)"
    )
    group.add_argument("--bins", type=count, default=20, metavar="N", help="bins of D-ECE (default: %(default)s)")
    group.add_argument(
        "--max-detections",
        type=_most,
        default=100,
        metavar="N",
        help="detections of an image and class that count for mAP and mAR, those of highest score, or all (default: "
        "%(default)s, as COCO)",
    )
    group.add_argument(
        "--resamples",
        type=count,
        default=n_resamples,
        metavar="N",
        help="bootstrap resamples of images, or of their groups (default: %(default)s)",
    )
    group.add_argument(
        "--level", type=fraction, default=0.95, metavar="P", help="level of intervals (default: %(default)s)"
    )
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of resamples (default: %(default)s)")


def add_output(parser: argparse.ArgumentParser, *flags: str, required: bool, writes: str) -> None:
    """Add the options of the folder that is written, of its pictures, and those that all commands have."""
    group = parser.add_argument_group("what is written")
    group.add_argument(*flags, type=Path, required=required, metavar="FOLDER", help=writes)
    group.add_argument("--no-figures", action="store_true", help="leave the pictures out")
    add_common(parser)
