"""Writing files so that a reader finds a whole file or none, and file names for case ids."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ["atomic_write", "file_stem", "is_unfinished"]


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """A context that gives a temporary path to write to, renames it to `path` on success and removes it on failure.

    The temporary file lies in the same folder (made if need be) and ends in the same name, so that writers which look
    at the suffix see the right one. The move is one rename: a reader sees the old file or the new one, never half.

    Parameters
    ----------
    path : str or Path
        The final name. An existing file is replaced.

    Yields
    ------
    Path
        Where to write. The file must exist when the block ends.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> target = Path(folder.name) / "result.json"
    >>> with atomic_write(target) as temporary:
    ...     _ = temporary.write_text("{}")
    >>> target.read_text()
    '{}'
    >>> folder.cleanup()
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid4().hex[:12]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def is_unfinished(path: Path) -> bool:
    """Whether a file is one that `atomic_write` leaves behind if its process is killed."""
    return re.match(r"\.[0-9a-f]{12}-", path.name) is not None


def file_stem(name: str) -> str:
    """A file name for a case id: the id itself if it is a valid name, else a readable part of it and a hash of the id.

    Examples
    --------
    >>> file_stem("P01_left")
    'P01_left'
    >>> file_stem("site/1")
    'site_1-62222977'
    """
    readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    if readable == name and not name.startswith("."):
        return name
    return f"{readable.lstrip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
