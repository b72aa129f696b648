"""``--data``: cases of a published data set, as it lies on disk."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mrcalib.cli._exit import UsageError
from mrcalib.cli._names import LAYOUTS

if TYPE_CHECKING:
    from mrcalib.cli._console import Console
    from mrcalib.io import Case, LayoutFolder

__all__ = ["add_data", "cases_in_data", "check_data", "choose_classes"]

_CHOICES = ("layout", "split", "task")
_OWN = ("manifest", "raters", "image", "vessels", "group", "probs_columns", "rater_columns")
"""Options for what a data set's layout says itself."""


def add_data(group: argparse._ActionsContainer, *, predictions: bool = True) -> None:
    """The data set, and which part of it."""
    group.add_argument(
        "--data",
        metavar="FOLDER",
        help="published data set as it was unpacked: raters' masks, images and vessels are found by its layout"
        + (", predictions by --probs" if predictions else ""),
    )
    group.add_argument("--layout", choices=LAYOUTS, help="of the data set (default: recognised by its files)")
    group.add_argument(
        "--split", choices=("training", "validation", "testing"), help="of the data set (default: all that is there)"
    )
    group.add_argument("--task", metavar="TASK", help="of a data set with several, such as prostate/task02")


def check_data(args: argparse.Namespace) -> None:
    """UsageError for options that do not go with --data, or not without it."""
    if args.data is None:
        alone = [f"--{name}" for name in _CHOICES if getattr(args, name) is not None]
        if alone:
            msg = f"{', '.join(alone)} chooses from a data set; say where it is: --data FOLDER."
            raise UsageError(msg)
        return
    others = [f"--{name.replace('_', '-')}" for name in _OWN if getattr(args, name, None)]
    if others:
        msg = (
            f"--data and {', '.join(others)} exclude each other: the layout of the data set says what these would say."
        )
        raise UsageError(msg)


def choose_classes(args: argparse.Namespace) -> None:
    """Take the classes of the data set, where it has several and no option says which labels are meant."""
    if args.data is None or getattr(args, "protocol", None) or any((args.classes, args.positive, args.foreground)):
        return
    check_data(args)
    from mrcalib.io import layout_info, recognise_layout

    named = layout_info(args.layout or recognise_layout(args.data)).classes
    if named:
        args.classes = tuple((name, label, label) for name, label in named.items())
        told = ",".join(f"{name}={label}" for name, label in named.items())
        args.console.note(
            f"the data set has several classes: --classes {told} (one alone: --positive 1 --foreground 1)"
        )


def cases_in_data(args: argparse.Namespace) -> list[Case]:
    """The cases of the data set; says what was found, and reads labels as the data set has them unless told otherwise."""
    from mrcalib.io import scan_layout

    found = scan_layout(args.data, args.layout, split=args.split, task=args.task)
    console: Console = args.console
    for line in found.describe():
        console.note(line)
    if hasattr(args, "raters"):
        _set_defaults(args, found)
    return found.with_predictions(
        args.probs, coarse=getattr(args, "coarse", None), roi=args.roi, raters=hasattr(args, "raters")
    )


def _set_defaults(args: argparse.Namespace, found: LayoutFolder) -> None:
    """What the data set says of labels, where no option says it."""
    info = found.info
    if args.positive is None:
        args.positive = found.positive
    if getattr(args, "protocol", "") is None and info.protocol:
        args.console.note(f"the challenge scores these cases by --protocol {info.protocol}")
