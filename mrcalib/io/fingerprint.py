"""What a case was computed from, as one number: a rerun skips the cases whose inputs are unchanged."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from mrcalib.io.files import require_file
from mrcalib.io.readers import companions
from mrcalib.io.volume import Source

if TYPE_CHECKING:
    from mrcalib.io.annotations import Annotations
    from mrcalib.io.case import Case

__all__ = ["fingerprint", "fingerprint_annotations"]


def fingerprint(case: "Case", digests: Mapping[Path, bytes] = MappingProxyType({})) -> str:
    """SHA-256 over the roles and contents of a case's sources; see `Case.fingerprint`.

    Parameters
    ----------
    case : Case
        The case.
    digests : mapping of Path to bytes
        SHA-256 of files that were read already; they are not read again.
    """
    total = hashlib.sha256()
    sources: list[tuple[str, Source | None]] = [(f"probs {i}", source) for i, source in enumerate(case.members)]
    sources += [(f"rater {name}", source) for name, source in case.masks.items()]
    sources += [("roi", case.roi), ("image", case.image), ("vessels", case.vessels)]
    if case.coarse is not None:
        sources.append(("coarse", case.coarse))
    for role, source in sources:
        total.update(hashlib.sha256(role.encode()).digest())
        total.update(_content(case.id, role, source, digests))
    total.update(repr(tuple(float(edge) for edge in case.spacing or ())).encode())
    if case.index_aligned:
        total.update(f"by index {sorted(case.index_aligned)}".encode())
    return total.hexdigest()


def fingerprint_annotations(case: "Annotations") -> str:
    """SHA-256 over the raters and the contents of their masks; see `Annotations.fingerprint`."""
    total = hashlib.sha256()
    for name, source in case.masks.items():
        role = f"rater {name}"
        total.update(hashlib.sha256(role.encode()).digest())
        total.update(_content(case.id, role, source))
    total.update(repr((tuple(float(edge) for edge in case.spacing or ()), sorted(case.index_aligned))).encode())
    return total.hexdigest()


def _content(
    case_id: str, role: str, source: Source | None, digests: Mapping[Path, bytes] = MappingProxyType({})
) -> bytes:
    if source is None:
        return hashlib.sha256(b"missing").digest()
    if isinstance(source, np.ndarray):
        digest = hashlib.sha256(f"array {source.dtype.str} {source.shape}".encode())
        digest.update(np.ascontiguousarray(source).data)
        return digest.digest()
    path = Path(source)
    try:
        require_file(path)
    except FileNotFoundError as error:
        msg = f"Case {case_id!r}, {role}: {error}"
        raise FileNotFoundError(msg) from error
    return b"".join(digests.get(part) or _file_digest(part) for part in (path, *companions(path)))


def _file_digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
