"""What the library warns of and logs on a worker, taken down so that the user's own process can say it."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["Saying", "overheard", "say_again"]

_LOGGER = "mrcalib"


class Saying(NamedTuple):
    """A warning, or a line of the log where ``category`` is None."""

    text: str
    category: type[Warning] | None
    level: int
    filename: str = ""
    lineno: int = 0


class _Listening(threading.local):
    """What this thread has said since it is listened to; None where nobody listens. Workers may run several threads."""

    said: list[Saying] | None = None


_here = _Listening()
_elsewhere = warnings.showwarning
_installing = threading.Lock()


def _take_down(  # noqa: PLR0917
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    if _here.said is None:
        _elsewhere(message, category, filename, lineno, file, line)
    else:
        _here.said.append(Saying(str(message), category, logging.WARNING, filename, lineno))


class _Notebook(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _here.said is not None:
            _here.said.append(Saying(record.getMessage(), None, record.levelno))


def _install() -> None:
    """Hooks of the whole process, because a filter for one thread does not exist."""
    global _elsewhere  # noqa: PLW0603
    with _installing:
        if warnings.showwarning is not _take_down:
            _elsewhere = warnings.showwarning
            warnings.showwarning = _take_down
        logger = logging.getLogger(_LOGGER)
        if not any(isinstance(handler, _Notebook) for handler in logger.handlers):
            logger.addHandler(_Notebook())
            logger.setLevel(logging.INFO)


@contextmanager
def overheard() -> Iterator[list[Saying]]:
    """Collect what this thread says, instead of showing it."""
    _install()
    before, _here.said = _here.said, []
    try:
        yield _here.said
    finally:
        _here.said = before


def say_again(said: list[Saying]) -> None:
    """Warn and log here what was said on a worker."""
    for one in said:
        if one.category is None:
            logging.getLogger(_LOGGER).log(one.level, one.text)
        else:
            warnings.warn_explicit(one.text, one.category, one.filename, one.lineno)
