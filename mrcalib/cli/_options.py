"""Options that several commands share, and the values that they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from mrcalib.cli._exit import USAGE

__all__ = [
    "Parser",
    "add_common",
    "add_compression",
    "add_invalid",
    "add_jobs",
    "add_labels",
    "add_scheduler",
    "below_one",
    "command",
    "count",
    "fraction",
    "metric_name",
    "millimetres",
    "name_of",
    "numbers",
    "spacing",
    "threads_for",
    "weights",
]


class Parser(argparse.ArgumentParser):
    """A parser that answers a wrong option with one line, not with all options."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(USAGE, f"{self.prog}: error: {message}\n{self.prog} --help shows the options, with examples.\n")


if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[Parser]


def command(
    subparsers: Subparsers,
    name: str,
    *,
    run: Callable[[argparse.Namespace], int],
    usage: str,
    summary: str,
    description: str,
    examples: str,
) -> Parser:
    """A command's parser, with its description above and its examples below the options."""
    parser = subparsers.add_parser(
        name,
        usage=" ".join(f"mrcalib {name} {usage} [options]".split()),
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run)
    return parser


def add_common(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """What every command understands."""
    group = parser.add_argument_group("words")
    if json:
        group.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else, to stdout")
    group.add_argument("--quiet", "-q", action="store_true", help="no progress and no notes on stderr")
    group.add_argument(
        "--debug", action="store_true", help="show where an error came from (also: MRCALIB_DEBUG=1 in the environment)"
    )


def add_labels(parser: argparse._ActionsContainer) -> None:
    """What in the raters' masks is foreground, and whether raters must overlap."""
    parser.add_argument(
        "--positive",
        type=numbers,
        metavar="LABELS",
        help="labels of the masks that are foreground, such as 255 (default: 1)",
    )
    parser.add_argument(
        "--no-agreement-check",
        action="store_true",
        help="accept a rater who agrees with the others only after a flip or a shift (default: refused)",
    )


def add_jobs(parser: argparse._ActionsContainer) -> None:
    """How many cases are in memory at the same time."""
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="cases read at the same time (default: %(default)s); memory grows with it",
    )


def add_compression(parser: argparse._ActionsContainer) -> None:
    """How small compressed files become."""
    parser.add_argument(
        "--compression",
        type=int,
        choices=range(1, 10),
        default=1,
        metavar="LEVEL",
        help="of compressed files, from 1 (fast) to 9 (small, and much slower; default: %(default)s). Level 1 is fastest with "
        "the package isal",
    )


def threads_for(jobs: int) -> int:
    """Threads that each of ``jobs`` cases may take, so that all of them together are no more than the processors."""
    import os

    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_processors // jobs)


def add_scheduler(parser: argparse._ActionsContainer) -> None:
    """Who works on the cases."""
    parser.add_argument(
        "--scheduler",
        choices=("threads", "dask"),
        default="threads",
        help="who reads the cases: --jobs threads of this process, or a Dask cluster: --jobs processes of this machine, or "
        "those at --dask-address (default: %(default)s)",
    )
    parser.add_argument(
        "--dask-address",
        metavar="URL",
        help="with --scheduler dask: the scheduler of a running cluster, such as tcp://10.0.0.1:8786. Its workers read the "
        "files and write what is kept of them, so all must see the same folders; how many cases run at once is theirs to say",
    )


def add_invalid(parser: argparse._ActionsContainer) -> None:
    """What becomes of values that are no probabilities."""
    parser.add_argument(
        "--invalid",
        choices=("raise", "drop"),
        default="raise",
        help="what becomes of a case with probabilities that are NaN or outside [0, 1]: refused, or such voxels left out "
        "(default: %(default)s)",
    )


def count(text: str) -> int:
    """A whole number from 1 on."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        msg = f"expected a whole number of at least 1; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def fraction(text: str) -> float:
    """A number between 0 and 1, both excluded."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        msg = f"expected a number between 0 and 1; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 0 on, with commas between them."""
    try:
        values = tuple(int(word) for word in text.split(","))
    except ValueError:
        values = (-1,)
    if min(values) < 0:
        msg = f"expected whole numbers such as 1 or 1,2; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return values


def below_one(text: str) -> float:
    """A number from 0 on, below 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        msg = f"expected a number from 0 on, below 1; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def millimetres(text: str) -> float:
    """A length from 0 on."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        msg = f"expected a length in mm, such as 20; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def weights(text: str) -> tuple[float, ...]:
    """Positive numbers, with commas between them."""
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < value < float("inf") for value in values):
        msg = f"expected positive numbers such as 2,1,1; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return values


def spacing(text: str) -> tuple[float, ...]:
    """Edges of a voxel in mm."""
    try:
        edges = tuple(float(word) for word in text.replace("x", ",").split(","))
    except ValueError:
        edges = ()
    if not edges or not all(0 < edge < float("inf") for edge in edges):
        msg = f"expected edges in mm such as 0.7,0.7,2.5; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return edges


def metric_name(text: str) -> str:
    """The registered name of the metric that a name, a label or a name in Python stands for."""
    from mrcalib.metrics import METRICS

    try:
        return METRICS.canonical(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def name_of(what: str, names: tuple[str, ...]) -> Callable[[str], str]:
    """One of ``names``, in upper or lower case."""
    known = {name.casefold(): name for name in names}

    def choose(text: str) -> str:
        if text.casefold() not in known:
            msg = f"there is no {what} {text!r}; there are {', '.join(map(repr, names))}"
            raise argparse.ArgumentTypeError(msg)
        return known[text.casefold()]

    return choose
