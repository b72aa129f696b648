"""The table of file formats, and from a path to the format that reads or writes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mrcalib.io.image import Image
from mrcalib.registry import Registry

__all__ = [
    "FORMATS",
    "ImageFormat",
    "companions",
    "format_of",
    "has_header",
    "open_image",
    "readable",
    "register_format",
    "require_file",
    "stem_of",
    "suffix_of",
    "writable",
]


class ImageFormat(Protocol):
    """What a class under ``register_format`` must have: a method ``open``. The rest is optional.

    Attributes
    ----------
    has_header : bool
        Whether files say where their voxels lie, so that images with a geometry can be written; False if missing.
    rows_first : bool
        Whether the first axis counts rows, as in pictures, so that files do not go with images that have a header; False if
        missing.

    Methods
    -------
    open(path, digest=False)
        An image; see `mrcalib.io.Image`. ``Volume(array, geometry)`` is the one in memory. ``digest`` is passed to formats
        that name it: they take SHA-256 of the file on the way, which ``image.digest()`` then returns.
    write(path, data, geometry, compression)
        Write a whole image; without this method, files are only read. The caller renames a finished file to its final name.
    companions(path)
        Other files that reading ``path`` reads.
    """

    def open(self, path: Path) -> Image: ...


FORMATS: Registry[Any] = Registry("file format")
"""Instances of the format classes, by suffix."""

Kind = TypeVar("Kind", bound=type)


def register_format(*suffixes: str) -> Callable[[Kind], Kind]:
    """A decorator that registers a class as the file format of these suffixes.

    Parameters
    ----------
    *suffixes : str
        Such as ".nii.gz"; the longest suffix of a path decides.

    Returns
    -------
    callable
        Takes and returns a class as `ImageFormat` describes it, which is instantiated without arguments.

    Raises
    ------
    ValueError
        If a suffix is taken, or does not begin with a dot.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib.io import FORMATS, Volume, read_volume, register_format
    >>> import tempfile
    >>> @register_format(".raw8")
    ... class Raw:
    ...     def open(self, path):
    ...         return Volume(np.fromfile(path, np.uint8).reshape(2, -1), None)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "mask.raw8").write_bytes(bytes([0, 1, 1, 0]))
    ...     read_volume(f"{folder}/mask.raw8").data.tolist()
    [[0, 1], [1, 0]]
    >>> FORMATS.unregister(".raw8")
    """

    def register(kind: Kind) -> Kind:
        made = kind()
        for suffix in suffixes:
            if not suffix.startswith("."):
                msg = f"The suffix of a file format begins with a dot, such as '.nii.gz'; got {suffix!r}."
                raise ValueError(msg)
            FORMATS.register(suffix, made)
        return kind

    return register


def readable() -> tuple[str, ...]:
    """All suffixes that can be read."""
    return FORMATS.names()


def writable() -> tuple[str, ...]:
    """All suffixes that can be written."""
    return tuple(suffix for suffix, one in FORMATS.items() if hasattr(one, "write") or hasattr(one, "header"))


def suffix_of(path: str | Path) -> str:
    """The registered suffix that ``path`` ends in, in lower case.

    Raises
    ------
    ValueError
        If it ends in none; lists them.
    """
    name = Path(path).name.lower()
    found = [suffix for suffix in FORMATS.names() if name.endswith(suffix)]
    if not found:
        msg = f"{path} has an unknown suffix; expected one of {', '.join(readable())}."
        raise ValueError(msg)
    return max(found, key=len)


def format_of(path: str | Path) -> Any:
    """The format of a path, by its suffix; ValueError as ``suffix_of``."""
    return FORMATS.get(suffix_of(path))


def stem_of(path: Path) -> str:
    """The name of a file without the suffix of its format, or without its last suffix if that is of no format."""
    suffix = next(
        (known for known in sorted(FORMATS.names(), key=len, reverse=True) if path.name.lower().endswith(known)), ""
    )
    return path.name[: len(path.name) - len(suffix or path.suffix)] or path.name


def has_header(path: Path) -> bool:
    """Whether a file says where its voxels lie, by its format or its companion; assumed where the suffix is of no format."""
    known = any(path.name.lower().endswith(suffix) for suffix in FORMATS.names())
    return not known or getattr(format_of(path), "has_header", False) or (path.is_file() and bool(companions(path)))


def companions(path: Path) -> list[Path]:
    """Other files that reading ``path`` reads, such as the data of a ``.mhd``; none if the suffix is unknown."""
    name = path.name.lower()
    if not any(name.endswith(suffix) for suffix in FORMATS.names()):
        return []
    find = getattr(format_of(path), "companions", None)
    return [] if find is None else list(find(path))


def require_file(path: Path) -> None:
    """Refuse a path at which there is no file.

    Raises
    ------
    FileNotFoundError
        If there is none; says how much of the path exists.
    """
    if not path.is_file():
        folder = next((parent for parent in path.parents if parent.is_dir()), None)
        where = "is a folder" if path.is_dir() else f"does not exist (the path exists as far as {folder})"
        msg = f"{path} {where}; expected an image file."
        raise FileNotFoundError(msg)


def open_image(path: str | Path, *, digest: bool = False) -> Image:
    """An image file, opened by the format of its suffix.

    Parameters
    ----------
    path : str or Path
        The file.
    digest : bool
        Whether SHA-256 of the file is to be taken on the way, where its format does that.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is unknown, or the file is damaged.
    """
    path = Path(path)
    found = format_of(path)
    require_file(path)
    takes_digest = digest and "digest" in inspect.signature(found.open).parameters
    image: Image = found.open(path, digest=True) if takes_digest else found.open(path)
    return image
