"""Where words go: results to stdout; progress, notes, warnings and errors to stderr."""

from __future__ import annotations

import logging
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock
from typing import TextIO

from mrcalib.cli._words import in_options

__all__ = ["Console"]

_ALIKE = 3  # warnings from one place that are shown
_CLEAR = "\r\x1b[K"


class Console(logging.Handler):
    """The terminal, or what stands for it.

    Parameters
    ----------
    quiet : bool
        Whether progress and notes are left out; warnings and errors never are.
    """

    def __init__(self, *, quiet: bool) -> None:
        super().__init__(logging.INFO)
        self.quiet = quiet
        self._alike: Counter[tuple[str, int]] = Counter()
        self._last: dict[tuple[str, int], str] = {}
        self._on_counter = False
        self._writing = Lock()

    def show(self, text: str = "") -> None:
        """A result, to stdout."""
        self._write(sys.stdout, text)

    def note(self, text: str) -> None:
        """What is going on, to stderr, unless quiet."""
        if not self.quiet:
            self._write(sys.stderr, text)

    def complain(self, text: str) -> None:
        """A warning or an error, to stderr."""
        self._write(sys.stderr, text)

    def step(self, done: int, total: int, what: str) -> None:
        """Progress: a line a step, or one line that counts where stderr is a terminal."""
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
        """Show the cases (or images) that could not be used, each with its error."""
        if failures:
            others = "; the results are of the others" if len(failures) < n_cases else ""
            self.complain(f"{len(failures)} of {n_cases} {what} could not be used{others}:")
            for case, error in failures.items():
                told = in_options(error)
                self.complain(f"  {told}" if repr(case) in told else f"  {case}: {told}")

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Show what the library warns of and logs."""
        logger = logging.getLogger("mrcalib")
        level = logger.level
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
            logger.setLevel(level)
            for place, count in self._alike.items():
                if count > _ALIKE:
                    self.complain(f"warning: {count - _ALIKE} more like this: {self._last[place]}")

    def emit(self, record: logging.LogRecord) -> None:
        """A log record: a note up to INFO, else a warning."""
        text = record.getMessage()
        if record.levelno > logging.INFO:
            self.complain(f"warning: {text}")
        else:
            self.note(text)

    def _warning(
        self, message: Warning | str, _category: type[Warning], filename: str, lineno: int, *_: object
    ) -> None:
        place = (filename, lineno)
        self._alike[place] += 1
        self._last[place] = in_options(str(message))
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
