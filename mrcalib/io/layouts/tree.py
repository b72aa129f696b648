"""What lies below a folder, without the junk that archives and file systems leave there."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mrcalib.io.formats import readable
from mrcalib.io.patterns import natural

__all__ = ["Folder", "numbered", "parents_of", "split_named", "split_of", "walk"]

_DEPTH = 6
"""Levels below the folder: archives nest (``training_set/training_set/case``), home folders are not searched."""

_JUNK = re.compile(r"\..*|_+MACOSX|Thumbs\.db|desktop\.ini", re.IGNORECASE)
_SPLIT = re.compile(r"(train|val|test)(ing|idation)?(_(set|data)\w*)?", re.IGNORECASE)
_SPLITS = {"train": "training", "val": "validation", "test": "testing"}


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, the names of its files, and its images by their names without suffix."""

    path: Path
    files: tuple[str, ...]
    images: dict[str, Path]


def walk(root: Path) -> list[Folder]:
    """A folder and all folders below it, sorted; links are followed, junk is not.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it is a file, or a folder holds one image in two formats.
    """
    if root.is_file():
        msg = f"{root} is a file; expected the folder of a data set. If it is an archive, unpack it."
        raise ValueError(msg)
    if not root.is_dir():
        msg = f"The folder {root} does not exist; expected the folder of a data set."
        raise FileNotFoundError(msg)
    folders = []
    for name, below, files in os.walk(root, followlinks=True):
        path = Path(name)
        deep = len(path.relative_to(root).parts) >= _DEPTH
        below[:] = [] if deep else sorted((n for n in below if not _JUNK.fullmatch(n)), key=natural)
        kept = sorted((n for n in files if not _JUNK.fullmatch(n)), key=natural)
        folders.append(Folder(path, tuple(kept), _images(path, kept)))
    return folders


def numbered(images: Iterable[str], pattern: str) -> dict[int, str]:
    """The names that match ``pattern``, by the number in its only group.

    Raises
    ------
    ValueError
        If two names have one number.
    """
    found: dict[int, str] = {}
    for name in images:
        match = re.fullmatch(pattern, name)
        if match is None:
            continue
        number = int(match[1])
        if number in found:
            msg = f"{found[number]} and {name} have the same number; leave one of them."
            raise ValueError(msg)
        found[number] = name
    return dict(sorted(found.items()))


def split_of(path: Path) -> str:
    """ "training", "validation" or "testing", as the nearest of the two folders above says; else ""."""
    return next(filter(None, (split_named(parent.name) for parent in parents_of(path))), "")


def split_named(name: str) -> str:
    """The split that a folder's name stands for; "" if it stands for none."""
    match = _SPLIT.fullmatch(name)
    return _SPLITS[match[1].lower()] if match else ""


def parents_of(path: Path) -> list[Path]:
    """The two folders above, nearest first, also where the path is relative."""
    absolute = Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would rename what is linked
    return list(absolute.parents)[:2]


def _images(path: Path, names: Iterable[str]) -> dict[str, Path]:
    images: dict[str, Path] = {}
    for name in names:
        suffix = next((known for known in readable() if name.lower().endswith(known)), None)
        if suffix is None:
            continue
        stem = name[: -len(suffix)]
        if stem in images:
            msg = f"{path} holds one image in two formats, {images[stem].name} and {name}; leave one of them."
            raise ValueError(msg)
        images[stem] = path / name
    return images
