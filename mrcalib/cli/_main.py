"""The parser of all commands, and what becomes of their errors."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress

from mrcalib._version import __version__
from mrcalib.cli._console import BAD_DATA, BROKEN_PIPE, INTERRUPTED, UNEXPECTED, USAGE, Console, UsageError
from mrcalib.cli._options import Parser

__all__ = ["build_parser", "main"]

_DESCRIPTION = """\
Calibrate segmentation probabilities to the raters: what fraction of the experts who annotate an image would mark this
voxel? mrcalib takes the probability maps of any segmenter and the masks of one or several raters, fits and compares
calibration methods by patient-wise cross-validation, and applies the one that you choose.
"""
_EPILOG = """\
start here:
  mrcalib demo                          simulated data, the whole way through, in seconds
  mrcalib compare --manifest cases.csv --out results
  mrcalib apply results/calibrators/MHR.json new/*.nii.gz -o calibrated

exit codes:
  0 done; 1 unexpected error; 2 wrong usage; 3 bad input data (also if some cases only could not be read);
  4 a gate of evaluate failed; 130 interrupted

Each command explains itself with examples: mrcalib compare --help
"""


_COMMANDS = {
    "demo": ("mrcalib.cli.demo", "simulated data, the whole way through, in seconds"),
    "compare": ("mrcalib.cli.compare", "compare calibration methods on your cases, by cross-validation"),
    "fit": ("mrcalib.cli.fit", "fit one calibrator to all cases and save it"),
    "apply": ("mrcalib.cli.apply", "calibrate probability maps with a saved calibrator"),
    "evaluate": ("mrcalib.cli.evaluate", "exact scores of probability maps against the raters"),
    "fuse": ("mrcalib.cli.fuse", "make one reference of several raters' masks"),
    "detect": ("mrcalib.detection.commands", "boxes of detectors and raters: evaluate, ensemble, fit, apply"),
}


def build_parser(words: Sequence[str] = ()) -> Parser:
    """Return the parser of ``mrcalib``, with the options of the command that the words call; others have a line in the help."""
    parser = Parser(
        prog="mrcalib",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"mrcalib {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    called = next((word for word in words if word in _COMMANDS), None)
    for name, (module, summary) in _COMMANDS.items():
        if name == called:
            importlib.import_module(module).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The words after ``mrcalib``; those of the process by default.

    Returns
    -------
    int
        The exit code, see ``mrcalib --help``.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser(words)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:  # --help, --version, or a wrong option
        return stop.code if isinstance(stop.code, int) else USAGE
    if args.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    args.words = words
    args.console = Console(quiet=args.quiet, actions=args.actions)
    try:
        return _guarded(args)
    except BrokenPipeError:
        _forget_stdout()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        args.console.complain("interrupted")
        return INTERRUPTED


def _guarded(args: argparse.Namespace) -> int:
    """The command's own answer, or that of its error in one line."""
    console: Console = args.console
    debug = args.debug or os.environ.get("MRCALIB_DEBUG", "0") not in ("", "0")
    name = f"mrcalib {args.command}"
    try:
        with console.listening():
            code: int = args.run(args)
    except BrokenPipeError:
        raise
    except Exception as error:
        if debug:
            console.complain(traceback.format_exc().rstrip())
        if isinstance(error, UsageError):
            console.complain(f"{name}: error: {error}\n{name} --help shows the options, with examples.")
            return USAGE
        if isinstance(error, ValueError | TypeError | OSError | ImportError):
            console.complain(f"{name}: error: {console.in_options(error)}")
            return BAD_DATA
        console.complain(f"{name}: unexpected {type(error).__name__}: {error}\nAdd --debug to see where it came from.")
        return UNEXPECTED
    return code


def _forget_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter does not trip over it when it ends."""
    with suppress(OSError, ValueError):  # it is not a file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
