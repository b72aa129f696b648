"""Small files that commands write: whole or not at all."""

from __future__ import annotations

import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._files import atomic_write
from mrcalib._version import __version__

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["file_name", "to_json", "write_command", "write_csv", "write_json", "write_text"]

_LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba", "nibabel", "pandas")


def to_json(value: Any) -> str:
    """JSON of plain values, arrays' numbers and paths; what is not finite becomes null."""
    return json.dumps(_plain(value), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON."""
    return write_text(path, to_json(value) + "\n")


def write_csv(path: Path, table: pd.DataFrame, *, index: bool = False) -> Path:
    """Write a table with commas, all digits of its numbers, and nan as empty cells."""
    return write_text(path, table.to_csv(index=index, lineterminator="\n"))


def write_command(path: Path, words: Sequence[str]) -> Path:
    """Write the command line, when it ran, where, and with which versions."""
    versions = [f"{name} {metadata.version(name)}" for name in _LIBRARIES]
    lines = (
        shlex.join(["mrcalib", *words]),
        "",
        f"date      {datetime.now().astimezone().isoformat(timespec='seconds')}",
        f"folder    {Path.cwd()}",
        f"mrcalib   {__version__}",
        f"python    {platform.python_version()} on {sys.platform} {platform.machine()}",
        f"libraries {', '.join(versions)}",
    )
    return write_text(path, "\n".join(lines) + "\n")


def file_name(title: str) -> str:
    """A file name of a method's or case's name.

    Examples
    --------
    >>> file_name("TwinTrack (250 bins)")
    'TwinTrack-250-bins'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-.") or "_"
