"""Cases in the making, and the faults found on the way: a table is read to its end before anything is refused."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mrcalib.io.annotations import Annotations
from mrcalib.io.case import Case

__all__ = ["Draft", "Drafts"]

ROLES = ("probs", "rater", "roi", "coarse", "image", "vessels")


@dataclass(slots=True)
class Draft:
    """What is known of a case so far: its first row, its words, and its files by role and name."""

    case: str
    row: int
    group: str = ""
    spacing: str = ""
    files: dict[str, dict[str, Path | None]] = field(default_factory=lambda: {role: {} for role in ROLES})

    def only(self, role: str) -> Path | None:
        """The file of a role that has one at most."""
        return next(iter(self.files[role].values()), None)


class Drafts:
    """All drafts of a table, in its order."""

    def __init__(self, path: Path, roles: tuple[str, ...] = ROLES) -> None:
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
        if role not in ROLES:
            self.fault(row, f"case {draft.case!r}: role must be one of {', '.join(ROLES)}; got {role!r}")
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
