"""Cases from a table, and back: one CSV row a case (wide), or one row a file (long).

Paths are relative to the folder of the manifest.
"""

import csv
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeAlias

import numpy as np

from mrcalib._files import atomic_write
from mrcalib.io.case import Annotations, Case
from mrcalib.io.sources import Source, is_path

__all__ = ["read_annotations", "read_manifest", "write_manifest"]

_PROBS = ("prob", "probs", "prob_*", "probability*")
_RATERS = ("rater_*", "annotation_*", "mask_*")
_EXTRAS = ("roi", "coarse", "image", "vessels")
_GROUPS = ("group", "patient", "site")
_NAMES = ("name", "rater", "member")
_LONG = ("case", "role", "name", "path", "group", "spacing")

_Rows: TypeAlias = Iterator[tuple[int, dict[str, str]]]
_ROLES = ("probs", "rater", "roi", "coarse", "image", "vessels")


@dataclass(slots=True)
class Draft:
    """What is known of a case so far: its first row, its words, and its files by role and name."""

    case: str
    row: int
    group: str = ""
    spacing: str = ""
    files: dict[str, dict[str, Path | None]] = field(default_factory=lambda: {role: {} for role in _ROLES})

    def only(self, role: str) -> Path | None:
        """The file of a role that has one at most."""
        return next(iter(self.files[role].values()), None)


class Drafts:
    """All drafts of a table, in its order."""

    def __init__(self, path: Path, roles: tuple[str, ...] = _ROLES) -> None:
        self.path = path
        self.roles = roles
        self.by_case: dict[str, Draft] = {}
        self.faults: list[str] = []

    def fault(self, row: int, words: str) -> None:
        """Remember what is wrong with a row."""
        self.faults.append(f"row {row}: {words}")

    def add(self, draft: Draft, row: int, role: str, name: str, cell: str) -> None:
        """Enter a file under its role and name; an empty cell is a missing rater, and a fault for any other role."""
        what = f"case {draft.case!r}: {role} {name}".rstrip()
        if role not in _ROLES:
            self.fault(row, f"case {draft.case!r}: role must be one of {', '.join(_ROLES)}; got {role!r}")
        elif role not in self.roles:
            return
        elif name in draft.files[role]:
            self.fault(row, f"{what} is there twice")
        elif not cell and role != "rater":
            self.fault(row, f"{what} has no path; only a rater may be missing")
        else:
            path = self.path.parent / cell if cell else None
            draft.files[role][name] = path
            if path and not path.is_file():
                self.fault(row, f"{what} {path} does not exist")

    def cases(self, *, require_raters: bool = True) -> list[Case]:
        """The finished cases; every one has all rater names of the table.

        Parameters
        ----------
        require_raters : bool, default=True
            Whether a case without any rater is a fault.

        Raises
        ------
        ValueError
            If anything is wrong with any row; lists the first ten faults.
        """
        spacings = self._checked_spacings(require_raters=require_raters)
        raters = self._rater_names()
        return [
            Case(
                id=case,
                probs=tuple(path for path in draft.files["probs"].values() if path),
                raters={name: draft.files["rater"].get(name) for name in raters},
                group=draft.group or None,
                roi=draft.only("roi"),
                coarse=draft.only("coarse"),
                image=draft.only("image"),
                vessels=draft.only("vessels"),
                spacing=spacings[case],
            )
            for case, draft in self.by_case.items()
        ]

    def annotations(self) -> list[Annotations]:
        """The masks of the cases; every one has all rater names of the table, and one mask at least.

        Raises
        ------
        ValueError
            As `cases`.
        """
        spacings = self._checked_spacings(require_raters=True)
        raters = self._rater_names()
        return [
            Annotations(case, {name: draft.files["rater"].get(name) for name in raters}, spacings[case])
            for case, draft in self.by_case.items()
        ]

    def _rater_names(self) -> dict[str, None]:
        return dict.fromkeys(name for draft in self.by_case.values() for name in draft.files["rater"])

    def _checked_spacings(self, *, require_raters: bool) -> dict[str, tuple[float, ...] | None]:
        """The voxel edges of all cases; ValueError if anything is wrong with any row."""
        spacings = {case: self._spacing(draft) for case, draft in self.by_case.items()}
        for draft in self.by_case.values():
            if "probs" in self.roles and not draft.files["probs"]:
                self.fault(draft.row, f"case {draft.case!r} has no probabilities")
            if require_raters and not any(draft.files["rater"].values()):
                self.fault(draft.row, f"case {draft.case!r} has no rater")
        if self.faults:
            listed = "\n  ".join(self.faults[:10])
            more = f"\n  and {len(self.faults) - 10} more" if len(self.faults) > 10 else ""
            msg = f"{self.path}: {len(self.faults)} faults; correct them and read it again:\n  {listed}{more}"
            raise ValueError(msg)
        return spacings

    def _spacing(self, draft: Draft) -> tuple[float, ...] | None:
        if not draft.spacing:
            return None
        try:
            edges = tuple(float(word) for word in re.split(r"[\sx;,]+", draft.spacing))
        except ValueError:
            edges = ()
        if not edges or not all(0 < edge < np.inf for edge in edges):
            words = f"spacing must be mm such as '0.7 0.7 2.5'; got {draft.spacing!r}"
            self.fault(draft.row, f"case {draft.case!r}: {words}")
        return edges


def read_manifest(
    path: str | Path, *, probs: str | None = None, raters: str | None = None, require_raters: bool = True
) -> list[Case]:
    """Read the cases of a CSV table.

    Wide tables have the columns ``case``; probabilities ``prob``, ``probs``, ``prob_*``, ``probability*`` (several are
    the members of an ensemble); raters ``rater_*``, ``annotation_*``, ``mask_*`` (named by what follows the underscore;
    an empty cell is a missing rater); and, if there, ``group`` (or ``patient``, or ``site``), ``roi``, ``coarse``,
    ``image``, ``vessels``, ``spacing`` (mm, such as ``0.7 0.7 2.5``). Long tables have the columns ``case``, ``role``
    (probs, rater, roi, coarse, image or vessels), ``path``, and, if there, ``name`` (or ``rater``, ``member``),
    ``group``, ``spacing``.
    Other columns are logged and left out.

    Parameters
    ----------
    path : str or Path
        The table, UTF-8 with commas.
    probs, raters : str or None
        Patterns such as ``"prob_[0-9]"`` that choose the probability and rater columns of a wide table by name.
    require_raters : bool, default=True
        Whether every case must have a rater. False for cases that a calibrator is applied to.

    Returns
    -------
    list of Case
        In the order of the table. Every case has all rater names of the table, None where it lacks one.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If columns are missing, or a row is wrong: a case twice, no rater, no probabilities, files that do not exist.
        The first ten faults are listed with their rows (the header is row 1).

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("p.npy", "a.npy"):
    ...     (Path(folder.name) / name).touch()
    >>> table = Path(folder.name) / "cases.csv"
    >>> _ = table.write_text("case,patient,prob,rater_ann,rater_bo\\nA1,A,p.npy,a.npy,\\n")
    >>> [(case.id, case.group, case.rater_names, case.masks["bo"]) for case in read_manifest(table)]
    [('A1', 'A', ('ann', 'bo'), None)]
    >>> folder.cleanup()
    """
    drafts = Drafts(Path(path))
    _read(drafts, probs, raters, require_raters=require_raters)
    return drafts.cases(require_raters=require_raters)


def read_annotations(path: str | Path, *, raters: str | None = None) -> list[Annotations]:
    """Read only the raters' masks of a CSV table of cases, which need not name probabilities.

    Parameters
    ----------
    path, raters
        As for `read_manifest`; other files that the table names are not looked for.

    Returns
    -------
    list of Annotations
        In the order of the table. Every case has all rater names of the table, None where it lacks one.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If there is no column of raters, or a row is wrong, as for `read_manifest`.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (Path(folder) / "a.npy").touch()
    ...     table = Path(folder) / "cases.csv"
    ...     _ = table.write_text("case,rater_ann,rater_bo\\nA1,a.npy,\\n")
    ...     [(case.id, case.rater_names, case.masks["bo"]) for case in read_annotations(table)]
    [('A1', ('ann', 'bo'), None)]
    """
    drafts = Drafts(Path(path), ("rater",))
    _read(drafts, None, raters, require_raters=True)
    return drafts.annotations()


def _read(drafts: Drafts, probs: str | None, raters: str | None, *, require_raters: bool) -> None:
    """Enter all rows of the table."""
    path = drafts.path
    if not path.is_file():
        msg = f"The manifest {path} does not exist; expected a CSV table of cases."
        raise FileNotFoundError(msg)
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = [column.strip() for column in table.fieldnames or ()]
        table.fieldnames = columns
        _require(columns, "case", [column for column in columns if column == "case"], path)
        if "role" not in columns:
            patterns = (probs,) if probs else _PROBS, (raters,) if raters else _RATERS
            _read_wide(drafts, _rows(table, drafts), columns, *patterns, require_raters=require_raters)
        elif probs or raters:
            msg = f"{path} is a long table (it has a column 'role'); probs= and raters= choose columns of wide tables."
            raise ValueError(msg)
        else:
            _read_long(drafts, _rows(table, drafts), columns)


def write_manifest(cases: Iterable[Case], path: str | Path) -> None:
    """Write cases as a long table that `read_manifest` reads back, whole or not at all.

    Parameters
    ----------
    cases : iterable of Case
        All of their sources must be files.
    path : str or Path
        The CSV file. Paths below its folder are written relative to it, others absolute.

    Raises
    ------
    TypeError
        If a source is an array.
    """
    path = Path(path)
    rows = [row for case in cases for row in _long_rows(case, path.parent)]
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(_LONG)
        table.writerows(rows)


def _rows(table: "csv.DictReader[str]", drafts: Drafts) -> _Rows:
    """Rows that are not empty, stripped, with their numbers."""
    for row in table:
        if None in row:
            drafts.fault(table.line_num, "more cells than the header has columns; quote paths that hold commas")
        cells = {column: (cell or "").strip() for column, cell in row.items() if column is not None}
        if any(cells.values()) and not cells["case"]:
            drafts.fault(table.line_num, "no name in column 'case'")
        elif cells["case"]:
            yield table.line_num, cells


def _read_wide(
    drafts: Drafts,
    rows: _Rows,
    columns: Sequence[str],
    prob_patterns: Sequence[str],
    rater_patterns: Sequence[str],
    *,
    require_raters: bool,
) -> None:
    probs = [column for column in columns if _matches(column, prob_patterns)]
    raters = [column for column in columns if _matches(column, rater_patterns) and column not in probs]
    if "probs" in drafts.roles:
        _require(columns, " or ".join(prob_patterns), probs, drafts.path)
    if require_raters:
        _require(columns, " or ".join(rater_patterns), raters, drafts.path)
    names = _rater_names(raters)
    extras = [column for column in _EXTRAS if column in columns]
    group = next((column for column in _GROUPS if column in columns), "")
    _log_left_out(drafts.path, columns, {"case", group, "spacing", *extras, *probs, *raters})
    for row, cells in rows:
        case = cells["case"]
        if case in drafts.by_case:
            drafts.fault(row, f"case {case!r} is already on row {drafts.by_case[case].row}")
            continue
        draft = drafts.by_case[case] = Draft(case, row, cells.get(group, ""), cells.get("spacing", ""))
        for column in probs:
            drafts.add(draft, row, "probs", column, cells[column])
        for name, column in zip(names, raters, strict=True):
            drafts.add(draft, row, "rater", name, cells[column])
        for column in extras:
            if cells[column]:
                drafts.add(draft, row, column, "", cells[column])


def _read_long(drafts: Drafts, rows: _Rows, columns: Sequence[str]) -> None:
    _require(columns, "path", [column for column in columns if column == "path"], drafts.path)
    group = next((column for column in _GROUPS if column in columns), "")
    _log_left_out(drafts.path, columns, {"case", "role", "path", group, "spacing", *_NAMES})
    for row, cells in rows:
        case, role = cells["case"], cells["role"]
        draft = drafts.by_case.setdefault(case, Draft(case, row))
        for what, said in (("group", cells.get(group, "")), ("spacing", cells.get("spacing", ""))):
            before = getattr(draft, what)
            if said and before and said != before:
                drafts.fault(row, f"case {case!r}: {what} {said!r} contradicts {before!r} on an earlier row")
            setattr(draft, what, before or said)
        name = ""
        if role in ("probs", "rater"):
            named = (cells[column] for column in _NAMES if cells.get(column))
            name = next(named, str(len(draft.files[role]) + 1))
        drafts.add(draft, row, role, name, cells["path"])


def _require(columns: Sequence[str], wanted: str, found: Sequence[str], path: Path) -> None:
    if not found:
        msg = f"{path} needs a column {wanted}; its columns are {', '.join(columns) or 'none'}."
        raise ValueError(msg)


def _matches(column: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(column, pattern) for pattern in patterns)


def _rater_names(columns: Sequence[str]) -> list[str]:
    """What follows the known prefixes; the whole columns where that would give two of them one name."""
    prefixes = {column: next((p[:-1] for p in _RATERS if fnmatchcase(column, p)), "") for column in columns}
    names = [column.removeprefix(prefix) or column for column, prefix in prefixes.items()]
    return names if len(set(names)) == len(columns) else list(columns)


def _log_left_out(path: Path, columns: Sequence[str], used: set[str]) -> None:
    left_out = [column for column in columns if column not in used]
    if left_out:
        logging.getLogger("mrcalib").info("%s: columns left out: %s", path, ", ".join(left_out))


def _long_rows(case: Case, folder: Path) -> Iterator[tuple[str, ...]]:
    group = "" if case.group in (None, case.id) else str(case.group)
    spacing = " ".join(repr(float(edge)) for edge in case.spacing or ())
    entries: list[tuple[str, str, Source | None]] = [("probs", str(i), s) for i, s in enumerate(case.members, start=1)]
    entries += [("rater", name, source) for name, source in case.masks.items()]
    extras = (("roi", case.roi), ("coarse", case.coarse), ("image", case.image), ("vessels", case.vessels))
    entries += [(role, "", source) for role, source in extras if source is not None]
    for role, name, source in entries:
        if source is not None and not is_path(source):
            msg = f"{role} {name} of case {case.id!r} is an array; a manifest holds paths. Save it to a file first."
            raise TypeError(msg)
        yield case.id, role, name, "" if source is None else _relative(Path(source), folder), group, spacing


def _relative(path: Path, folder: Path) -> str:
    # Not resolve(): a link inside the folder must stay inside, and relative.
    absolute, root = Path(os.path.abspath(path)), Path(os.path.abspath(folder))  # noqa: PTH100
    return (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix()
