"""Several classes on the command line: the option that names them, and the options of one class against the rest."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Any

from mrcalib.cli._exit import UsageError

if TYPE_CHECKING:
    from mrcalib.io import ImageClass

__all__ = ["add_classes", "check_class_options", "classes_of", "for_class"]

_RESERVED = ("calibrators", "figures", "tallies")  # folders that stand beside those of classes
_HELP = (
    "several exclusive classes, each calibrated against the rest: name and label in the masks, such as "
    "pancreas=1,kidney=2,liver=3; the label is also the channel of the probabilities, or say pancreas=1:4. Name all labels "
    "of the masks but 0, the background"
)


def add_classes(parser: argparse._ActionsContainer, *, more: str = "") -> None:
    """The option --classes."""
    parser.add_argument("--classes", type=classes, metavar="NAME=LABEL[:CHANNEL],...", help=_HELP + more)


def classes(text: str) -> tuple[tuple[str, int, int], ...]:
    """Names with labels and channels.

    Examples
    --------
    >>> classes("pancreas=1,liver=3:2")
    (('pancreas', 1, 1), ('liver', 3, 2))
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)=(\d+)(?::(\d+))?\s*", part)
        if not match or int(match[2]) == 0:
            msg = (
                f"expected name=label or name=label:channel, labels from 1 on, such as pancreas=1,liver=3; got {part!r}"
            )
            raise argparse.ArgumentTypeError(msg)
        found.append((match[1], int(match[2]), int(match[3] or match[2])))
    for what, values in zip(("name", "label", "channel"), zip(*found, strict=True), strict=True):
        if len({str(value).casefold() for value in values}) < len(found):
            msg = f"every class needs a {what} of its own; got {text!r}"
            raise argparse.ArgumentTypeError(msg)
    taken = next((name for name, _, _ in found if name.casefold() in _RESERVED), None)
    if taken is not None:
        msg = f"a class cannot be called {taken!r}, which is a folder of results"
        raise argparse.ArgumentTypeError(msg)
    return tuple(sorted(found, key=lambda one: one[1]))


def classes_of(args: argparse.Namespace) -> tuple[ImageClass, ...]:
    """The classes that were named, in ascending order of label."""
    from mrcalib.io import ImageClass

    return tuple(ImageClass(*one) for one in args.classes)


def check_class_options(args: argparse.Namespace) -> None:
    """UsageError for options that do not go with classes."""
    given = [f"--{name}" for name in ("foreground", "positive", "protocol", "test-manifest") if _given(args, name)]
    if getattr(args, "merge", "sum") == "max":
        given.append("--merge max")
    if given:
        msg = (
            f"{given[0]} does not go with several classes: each has one channel and one label (--classes), which exclude the "
            "others."
        )
        raise UsageError(msg)


def _given(args: argparse.Namespace, name: str) -> bool:
    return getattr(args, name.replace("-", "_"), None) is not None


def for_class(args: argparse.Namespace, one: ImageClass, **changes: Any) -> argparse.Namespace:
    """The options that read this class against the rest."""
    of_class = {"classes": None, "foreground": (one.position,), "positive": (one.label,)}
    return argparse.Namespace(**vars(args) | of_class | changes)
