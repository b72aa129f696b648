"""Parsers of commands, the options that several commands share, and the values that options take."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from mrcalib.cli._console import USAGE
from mrcalib.options import Number, Numbers
from mrcalib.registry import Registry

__all__ = [
    "Parser",
    "add_bootstrap",
    "add_common",
    "add_compression",
    "add_invalid",
    "add_jobs",
    "add_named",
    "add_overwrite",
    "add_scheduler",
    "command",
    "count",
    "fraction",
    "known_name",
    "positive",
    "spacing",
    "threads_for",
    "vessel_labels",
]

count = Number(int, at_least=1)
fraction = Number(above=0, below=1)
positive = Number(above=0)


class Parser(argparse.ArgumentParser):
    """A parser that answers a wrong option with one line, not with all options."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(USAGE, f"{self.prog}: error: {message}\n{self.prog} --help shows the options, with examples.\n")

    def format_help(self) -> str:
        """Return the help; what an option may name, plugins included, is looked up only here, since that takes a second."""
        for action in self._actions:
            if isinstance(action, _Named):
                action.describe()
        return super().format_help()


if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[Parser]


def command(
    subparsers: Subparsers,
    name: str,
    *,
    run: Callable[[argparse.Namespace], int],
    usage: str,
    description: str,
    examples: str,
    summary: str = "",
) -> Parser:
    """Return a command's parser, with its description above and its examples below the options."""
    parser = subparsers.add_parser(
        name,
        usage=" ".join(f"mrcalib {name} {usage} [options]".split()),
        help=summary,
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, actions=parser._actions)
    return parser


# Options of several commands --------------------------------------------------------------------------------------------


def add_common(parser: argparse.ArgumentParser, *, json: bool = True) -> None:
    """Add what every command understands."""
    group = parser.add_argument_group("words")
    if json:
        group.add_argument("--json", action="store_true", help="print the result as JSON, and nothing else, to stdout")
    group.add_argument("--quiet", "-q", action="store_true", help="no progress and no notes on stderr")
    group.add_argument(
        "--debug", action="store_true", help="show where an error came from (also: MRCALIB_DEBUG=1 in the environment)"
    )


def add_bootstrap(parser: argparse._ActionsContainer, *, what: str = "resamples") -> None:
    """Add the options of intervals."""
    parser.add_argument(
        "--resamples",
        dest="n_resamples",
        type=count,
        default=5000,
        metavar="N",
        help="bootstrap resamples of patients (default: %(default)s)",
    )
    parser.add_argument(
        "--level", type=fraction, default=0.95, metavar="P", help="level of intervals (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        dest="random_state",
        type=int,
        default=0,
        metavar="N",
        help=f"seed of {what} (default: %(default)s)",
    )


def add_jobs(parser: argparse._ActionsContainer) -> None:
    """Add the option that says how many cases are in memory at the same time."""
    parser.add_argument(
        "--jobs",
        type=count,
        default=1,
        metavar="N",
        help="cases read at the same time (default: %(default)s); memory grows with it",
    )


def add_compression(parser: argparse._ActionsContainer) -> None:
    """Add the option that says how small compressed files become."""
    parser.add_argument(
        "--compression",
        type=int,
        choices=range(1, 10),
        default=1,
        metavar="LEVEL",
        help="level of compressed files, from 1 (fast) to 9 (small, and much slower; default: %(default)s). Level 1 is fastest "
        "with the package isal",
    )


def add_overwrite(parser: argparse._ActionsContainer) -> None:
    """Add the option that says what becomes of files that are there."""
    parser.add_argument(
        "--overwrite", action="store_true", help="make everything again, and replace files that mrcalib did not make"
    )


def threads_for(jobs: int) -> int:
    """Return the threads that each of ``jobs`` cases may take, so that together they are no more than the processors."""
    n_processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, n_processors // jobs)


def add_scheduler(parser: argparse._ActionsContainer) -> None:
    """Add the options that say who works on the cases."""
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
        "files and write what is kept of them, so all must see the same folders; the cluster decides how many cases run "
        "at once",
    )


def add_invalid(parser: argparse._ActionsContainer) -> None:
    """Add the option that says what becomes of values that are no probabilities."""
    parser.add_argument(
        "--invalid",
        choices=("raise", "drop"),
        default="raise",
        help="what becomes of a case with probabilities that are NaN or outside [0, 1]: it is refused, or such voxels are left "
        "out (default: %(default)s)",
    )


# Values of options ------------------------------------------------------------------------------------------------------


def spacing(text: str) -> tuple[float, ...]:
    """Return the edges of a voxel in mm."""
    try:
        edges: tuple[float, ...] = Numbers(positive, "")(text.replace("x", ","))
    except argparse.ArgumentTypeError:
        msg = f"expected edges in mm such as 0.7,0.7,2.5; got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    return edges


def vessel_labels(text: str) -> dict[str, int]:
    """Return names of vessels and their labels, such as of ``PORTA=1,SMV=2``."""
    labels: dict[str, int] = {}
    for part in text.split(","):
        name, _, label = (word.strip() for word in part.partition("="))
        if not name or not label.isdigit() or int(label) < 1 or name in labels or int(label) in labels.values():
            msg = f"expected different names and labels such as PORTA=1,SMV=2; got {text!r}"
            raise argparse.ArgumentTypeError(msg)
        labels[name] = int(label)
    return labels


# Names that the library knows ---------------------------------------------------------------------------------------------

Kind: TypeAlias = Literal["method", "metric", "protocol", "protocol of masks", "layout", "file format"]


def _known(kind: Kind) -> tuple[Registry[Any], Sequence[str]]:
    """The table of all names of a kind, and those that are taken if none is said."""
    if kind == "method":
        from mrcalib.calibrators import CALIBRATORS
        from mrcalib.study import default_methods

        return CALIBRATORS, [*default_methods()]
    if kind == "metric":
        from mrcalib.metrics import METRICS, default_metrics

        return METRICS, [metric.name for metric in default_metrics()]
    names: Sequence[str]
    if kind == "file format":
        from mrcalib.io.formats import writable

        names = writable()
    elif kind == "layout":
        from mrcalib.io.layouts.reading import LAYOUTS as names
    else:
        from mrcalib.protocols import PROTOCOLS, get_protocol

        names = [name for name in PROTOCOLS if kind == "protocol" or not get_protocol(name).needs_classes]
    table: Registry[Any] = Registry(kind)
    for name in names:
        table.register(name, None)
    return table, names


def known_name(kind: Kind, text: str) -> str:
    """Return the library's name for what a text names in any spelling; ArgumentTypeError, with the nearest, if none."""
    try:
        return _known(kind)[0].canonical(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _Named(argparse._StoreAction):
    """An option that takes names; its help may hold %(names)s, %(usual)s and %(others)s."""

    kind: Kind

    def describe(self) -> None:
        table, usual = _known(self.kind)
        self.names = ", ".join(table.names())
        self.usual = ", ".join(usual)
        self.others = ", ".join(name for name in table.names() if name not in usual)


def add_named(parser: argparse._ActionsContainer, flag: str, kind: Kind, help: str, **more: Any) -> None:
    """Add an option whose values are names of a kind, in any spelling.

    Parameters
    ----------
    parser : argparse parser or group
        Where the option is added.
    flag : str
        Such as "--methods".
    kind : str
        What is named.
    help : str
        May hold %(names)s, %(usual)s and %(others)s: all names, those that are taken by default, and the others.
    **more
        As for ``add_argument``.
    """
    action = parser.add_argument(flag, action=_Named, type=lambda text: known_name(kind, text), help=help, **more)
    assert isinstance(action, _Named)
    action.kind = kind
