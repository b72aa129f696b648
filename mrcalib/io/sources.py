"""The sources of a case: files and arrays by role, how errors name them, and the fingerprint of their contents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import numpy as np

from mrcalib.exceptions import GeometryError
from mrcalib.inputs import as_array
from mrcalib.io.formats import companions, format_of, require_file

__all__ = ["Source", "Sources", "fingerprint", "in_case", "is_path", "name_of", "refuse_beside_header"]

Source: TypeAlias = Any
"""A file (str or Path), or voxels: whatever ``numpy.asarray`` understands, tensors, and nibabel images with their geometry."""


class Sources(Protocol):
    """What is read of a case: its files and arrays by role. `Case` and `Annotations` have it."""

    @property
    def id(self) -> str: ...
    @property
    def group(self) -> str | None: ...
    @property
    def members(self) -> tuple[Source, ...]: ...
    @property
    def masks(self) -> Mapping[str, Source | None]: ...
    @property
    def roi(self) -> Source | None: ...
    @property
    def coarse(self) -> Source | None: ...
    @property
    def image(self) -> Source | None: ...
    @property
    def vessels(self) -> Source | None: ...
    @property
    def spacing(self) -> tuple[float, ...] | None: ...
    @property
    def index_aligned(self) -> tuple[str, ...]: ...


def is_path(source: Source) -> bool:
    """Whether a source is a file, and not voxels in memory."""
    return isinstance(source, str | Path)


def name_of(role: str, source: Source | None) -> str:
    """What errors call a source: its role and its file."""
    return f"{role} ({source if is_path(source) else 'array'})"


@contextmanager
def in_case(case_id: str, what: str = "") -> Iterator[None]:
    """Put the name of the case, and of the source, before the message of a reader."""
    prefix = f"Case {case_id!r}, {what}: " if what else f"Case {case_id!r}: "
    try:
        yield
    except (ValueError, FileNotFoundError) as error:
        msg = f"{prefix}{error}"
        raise type(error)(msg) from error


def refuse_beside_header(sources: Iterable[Source | None], case_id: str) -> None:
    """Refuse pictures, whose rows come first, in a case of which another source has a header.

    On square images a mirror at the diagonal would pass unseen.

    Raises
    ------
    GeometryError
        If one of ``sources`` is such a file.
    """
    for source in sources:
        if isinstance(source, str | Path) and getattr(format_of(source), "rows_first", False):
            msg = (
                f"Case {case_id!r}: {source} has its rows first and no header, while other files of the case say in their "
                "headers how their axes lie; which pixel is which cannot be known. Save those as .npy, of shape "
                "(rows, columns)."
            )
            raise GeometryError(msg)


def fingerprint(
    case: Sources, digests: Mapping[Path, bytes] = MappingProxyType({}), *, counted_only: bool = False
) -> str:
    """SHA-256 over the roles and contents of a case's sources, as hex digits.

    Parameters
    ----------
    case : Sources
        The case.
    digests : mapping of Path to bytes
        SHA-256 of files that were read already; they are not read again.
    counted_only : bool
        Whether the image and the vessels are left out, which do not change what is counted.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    """
    total = hashlib.sha256()
    sources: list[tuple[str, Source | None]] = [(f"probs {i}", source) for i, source in enumerate(case.members)]
    sources += [(f"rater {name}", source) for name, source in case.masks.items()]
    sources.append(("roi", case.roi))
    if not counted_only:
        sources += [("image", case.image), ("vessels", case.vessels)]
    if case.coarse is not None:
        sources.append(("coarse", case.coarse))
    for role, source in sources:
        total.update(hashlib.sha256(role.encode()).digest())
        total.update(_content(case.id, role, source, digests))
    total.update(repr(tuple(float(edge) for edge in case.spacing or ())).encode())
    if case.index_aligned:
        total.update(f"by index {sorted(case.index_aligned)}".encode())
    return total.hexdigest()


def _content(case_id: str, role: str, source: Source | None, digests: Mapping[Path, bytes]) -> bytes:
    if source is None:
        return hashlib.sha256(b"missing").digest()
    if not is_path(source):
        array = np.asarray(as_array(source))
        digest = hashlib.sha256(f"array {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
        if getattr(source, "affine", None) is not None:
            digest.update(repr(np.asarray(source.affine).tolist()).encode())
        return digest.digest()
    path = Path(source)
    with in_case(case_id, role):
        require_file(path)
    return b"".join(digests.get(part) or _file_digest(part) for part in (path, *companions(path)))


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
