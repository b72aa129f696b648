"""What a command answers: results to stdout; progress, notes, warnings and errors to stderr; an exit code to the shell."""

from __future__ import annotations

import argparse
import logging
import math
import re
import shlex
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TextIO

__all__ = [
    "ARROWS",
    "BAD_DATA",
    "BROKEN_PIPE",
    "GATE_FAILED",
    "INTERRUPTED",
    "OK",
    "UNEXPECTED",
    "USAGE",
    "Console",
    "UsageError",
    "decimals",
    "in_options",
    "number",
    "table",
]

OK = 0
UNEXPECTED = 1
USAGE = 2
BAD_DATA = 3
GATE_FAILED = 4
INTERRUPTED = 130
BROKEN_PIPE = 141

ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0", "": ""}
_ALIKE = 3  # warnings from one place that are shown
_CLEAR = "\r\x1b[K"


class UsageError(Exception):
    """Options that do not go together, or that lack one."""


# Words of the library in words of the command line ----------------------------------------------------------------------

_VALUE = r"""'(?:[^'\n]*)'|"(?:[^"\n]*)"|\((?:[^()]*)\)|\.\.\.|[^\s,;)'"]*[^\s,;.:)'"]"""


def in_options(error: BaseException | str, actions: Iterable[argparse.Action] = ()) -> str:
    """Return what an error says, with the flags of a command in place of the library's arguments.

    An argument that a message names with a value, such as ``margin_mm=20``, becomes the flag whose parsed value has this
    name. So the parser is the only table that is needed.

    Parameters
    ----------
    error : exception or str
        What the library says.
    actions : iterable of argparse.Action
        Options of the command's parser.

    Examples
    --------
    >>> parser = argparse.ArgumentParser()
    >>> margin = parser.add_argument("--margin", dest="margin_mm")
    >>> logits = parser.add_argument("--logits", dest="values", action="store_const", const="logits")
    >>> in_options("margin_mm=20.0 is too much; pass LoadOptions(values='logits').", [margin, logits])
    '--margin 20.0 is too much; pass --logits.'
    """
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    flags = {action.dest: action for action in actions if action.option_strings}
    if not flags:
        return text
    argument = re.compile(rf"(?P<name>\b(?:{'|'.join(map(re.escape, flags))}))=(?P<value>{_VALUE})?(?![=\w])")

    def flag_of(match: re.Match[str]) -> str:
        action, value = flags[match["name"]], (match["value"] or "...").strip("'\"")
        flag = max(action.option_strings, key=len)
        if value == "None":
            return f"no {flag}"
        if action.nargs == 0:
            return flag if value in ("...", str(action.const)) else f"no {flag}"
        if value == "...":
            return flag
        return f"{flag} {shlex.quote(value.strip('(,)').replace(', ', ','))}"

    text = re.sub(rf"\b(?:LoadOptions|Case)\(((?:\w+=(?:{_VALUE})(?:, )?)+)\)", r"\1", text)
    text = re.sub(r" \(LoadOptions(?:; [^()]*)?\)", "", text)  # where the argument is found in Python
    text = argument.sub(flag_of, text).replace("with no --", "without --")
    # A message may say both: "pass expit(logits) (of files: --logits)". Here everything is read of files.
    return re.sub(r"\bpass \S+ \(of files: ([^()]*)\)", r"give \1", text)


# Tables -----------------------------------------------------------------------------------------------------------------


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns side by side: the first to the left, the others to the right.

    Examples
    --------
    >>> table(["case", "dice"], [["A", "0.9"], ["B12", "0.85"]]).splitlines()
    ['case  dice', 'A      0.9', 'B12   0.85']
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, *rows)
    )


def decimals(values: Sequence[float]) -> int:
    """Return how many decimals show three significant digits of the largest value."""
    known = [abs(value) for value in values if math.isfinite(value) and value != 0]
    return min(6, max(0, 2 - math.floor(math.log10(max(known))))) if known else 3


def number(value: float, places: int) -> str:
    """Return a value for a cell; a dash where it is not defined."""
    return "-" if math.isnan(value) else f"{value:.{places}f}"


# Streams ----------------------------------------------------------------------------------------------------------------


class Console(logging.Handler):
    """The terminal, or what stands for it.

    Parameters
    ----------
    quiet : bool
        Whether progress and notes are left out; warnings and errors never are.
    actions : iterable of argparse.Action
        Options of the command that runs, in whose words the library's messages are shown.
    """

    def __init__(self, *, quiet: bool, actions: Iterable[argparse.Action] = ()) -> None:
        super().__init__(logging.INFO)
        self.quiet = quiet
        self._actions = tuple(actions)
        self._alike: Counter[tuple[str, int]] = Counter()
        self._last: dict[tuple[str, int], str] = {}
        self._on_counter = False
        self._writing = Lock()

    def in_options(self, error: BaseException | str) -> str:
        """Return what an error says, in the words of the command that runs."""
        return in_options(error, self._actions)

    def show(self, text: str = "") -> None:
        """Write a result to stdout."""
        self._write(sys.stdout, text)

    def note(self, text: str) -> None:
        """Write what is going on to stderr, unless quiet."""
        if not self.quiet:
            self._write(sys.stderr, text)

    def complain(self, text: str) -> None:
        """Write a warning or an error to stderr."""
        self._write(sys.stderr, text)

    def step(self, done: int, total: int, what: str) -> None:
        """Write progress: a line for each step, or one line that counts where stderr is a terminal."""
        if self.quiet:
            return
        text = f"[{done:>{len(str(total))}}/{total}] {what}"
        if not sys.stderr.isatty():
            self._write(sys.stderr, text)
            return
        with self._writing:
            sys.stderr.write(_CLEAR + text + ("\n" if done == total else ""))
            sys.stderr.flush()
            self._on_counter = done < total

    def failures(self, failures: Mapping[str, Exception], n_cases: int, what: str = "cases") -> None:
        """Write which cases (or images) could not be used, each with its error."""
        if failures:
            others = "; the results are of the others" if len(failures) < n_cases else ""
            self.complain(f"{len(failures)} of {n_cases} {what} could not be used{others}:")
            for case, error in failures.items():
                said = self.in_options(error)
                self.complain(f"  {said}" if repr(case) in said else f"  {case}: {said}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show what the library warns of and logs."""
        logger = logging.getLogger("mrcalib")
        threshold = logger.level
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ResourceWarning):
                    warnings.simplefilter("ignore", category)
                warnings.showwarning = self._warning  # type: ignore[assignment]
                yield
        finally:
            logger.removeHandler(self)
            logger.setLevel(threshold)
            for place, count in self._alike.items():
                if count > _ALIKE:
                    self.complain(f"warning: {count - _ALIKE} more like this: {self._last[place]}")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a log record: as a note up to INFO, else as a warning."""
        text = self.in_options(record.getMessage())
        if record.levelno > logging.INFO:
            self.complain(f"warning: {text}")
        else:
            self.note(text)

    def _warning(
        self, message: Warning | str, _category: type[Warning], filename: str, lineno: int, *_: object
    ) -> None:
        place = (filename, lineno)
        self._alike[place] += 1
        self._last[place] = self.in_options(str(message))
        if self._alike[place] <= _ALIKE:
            self.complain(f"warning: {self._last[place]}")

    def _write(self, stream: TextIO, text: str) -> None:
        encoding = getattr(stream, "encoding", None) or "utf-8"
        known = text.encode(encoding, "replace").decode(encoding)  # a code page without arrows must not end a study
        with self._writing:
            if self._on_counter:
                sys.stderr.write(_CLEAR)
                self._on_counter = False
            stream.write(known + "\n")
            stream.flush()
