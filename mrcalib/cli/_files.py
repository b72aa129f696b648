"""Files that commands write: whole or not at all, and made again only where what they are made of has changed."""

from __future__ import annotations

import json
import math
import platform
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._files import atomic_write
from mrcalib._version import __version__
from mrcalib.cli._console import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from mrcalib.io import Annotations, Case

__all__ = [
    "HOW_TO_GET_THEM",
    "Product",
    "check_products",
    "file_name",
    "files_of",
    "finished",
    "have_matplotlib",
    "require_matplotlib",
    "to_json",
    "write_command",
    "write_csv",
    "write_json",
    "write_text",
]

"""Of images that commands write."""
HOW_TO_GET_THEM = "pictures need matplotlib: pip install 'mrcalib[plots]'"
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "numba", "nibabel", "pandas")


# Small files ------------------------------------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """Return JSON of plain values, arrays' numbers and paths; what is not finite becomes null."""
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
    """Write UTF-8 text, and return the path."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write a value as JSON, and return the path."""
    return write_text(path, to_json(value) + "\n")


def write_csv(path: Path, table: pd.DataFrame, *, index: bool = False) -> Path:
    """Write a table with commas, all digits of its numbers, and nan as empty cells; return the path."""
    return write_text(path, table.to_csv(index=index, lineterminator="\n"))


def write_command(path: Path, words: Sequence[str]) -> Path:
    """Write the command line, when it ran, where, and with which versions; return the path."""
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
    """Return a file name for the name of a method or case.

    Examples
    --------
    >>> file_name("patient 7 (left)")
    'patient-7-left'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", title).strip("-.") or "_"


# Pictures ---------------------------------------------------------------------------------------------------------------


def have_matplotlib() -> bool:
    """Return whether pictures can be drawn."""
    return find_spec("matplotlib") is not None


def require_matplotlib(option: str) -> None:
    """Raise UsageError unless pictures can be drawn."""
    if not have_matplotlib():
        msg = f"{option}: {HOW_TO_GET_THEM}"
        raise UsageError(msg)


# Images -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Product:
    """A case, the images that it becomes, and the JSON file beside them that says what they were made of."""

    case: Any
    images: dict[str, Path]
    sidecar: Path


def files_of(case: Case | Annotations) -> list[Path]:
    """Return what a case is read from."""
    from mrcalib.io.formats import companions

    sources = (*case.members, case.roi, case.coarse) if hasattr(case, "probs") else case.masks.values()
    named = [Path(source) for source in sources if source is not None]
    return named + [other for path in named if path.is_file() for other in companions(path)]


def check_products(products: Sequence[Product], other_inputs: Iterable[Path], other_files: Iterable[Path] = ()) -> None:
    """Raise UsageError where files that are to be written would replace inputs, or each other."""
    inputs = {path.resolve() for one in products for path in files_of(one.case)}
    inputs |= {path.resolve() for path in other_inputs}
    taken: dict[Path, Path] = {}
    for one in products:
        for path in (*one.images.values(), one.sidecar, *other_files):
            if path.resolve() in inputs:
                msg = f"{path} would overwrite an input; give another folder or --suffix."
                raise UsageError(msg)
        source = files_of(one.case)[0]
        for path in (*one.images.values(), one.sidecar):
            if path in taken:
                msg = f"{taken[path]} and {source} would both become {path}; use different folders, or rename one of them."
                raise UsageError(msg)
            taken[path] = source


def finished(
    product: Product, made_of: Callable[[], Mapping[str, Any]], *, overwrite: bool, command: str
) -> dict[str, Any] | None:
    """Return what the sidecar says where all images are there and made of the same; None where they must be made.

    Raises
    ------
    ValueError
        If there is a file that the command did not make, and it may not be replaced.
    """
    there = [path for path in (*product.images.values(), product.sidecar) if path.exists()]
    if overwrite or not there:
        return None
    before = read_sidecar(product.sidecar)
    ours = images_in(before)
    strange = next((path for path in there if path.name not in ours and (path != product.sidecar or not ours)), None)
    if strange is not None:
        msg = f"{strange} exists, and mrcalib {command} did not make it. Give --overwrite, or another folder."
        raise ValueError(msg)
    complete = all(path.exists() for path in product.images.values())
    return before if complete and before.get("made_of") == json.loads(to_json(made_of())) else None


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return what a sidecar says; nothing where there is none or it is no JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def images_in(sidecar: Mapping[str, Any]) -> set[str]:
    """Return the names of the images that a sidecar knows, those of earlier runs with other options included."""
    alone = {sidecar[name] for name in ("map", "fused") if name in sidecar}
    return alone | {*sidecar.get("maps", ()), *sidecar.get("earlier", ())}
