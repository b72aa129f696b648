"""What is known of a data set's layout, and what was found of it in a folder."""

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mrcalib.io.case import Case
from mrcalib.io.formats import format_of
from mrcalib.io.patterns import find_by_case, natural, some_of
from mrcalib.io.sources import refuse_beside_header

__all__ = ["Defect", "LayoutCase", "LayoutFolder", "LayoutInfo"]


@dataclass(frozen=True, slots=True)
class Defect:
    """A known fault of one mask of a published data set.

    Parameters
    ----------
    case, rater : str
        Whose mask.
    words : str
        What is wrong, and what it means for results.
    index_aligned : bool
        Whether the header is wrong but the voxels match, so that they are taken by index.

    Examples
    --------
    >>> from mrcalib.io import layout_info
    >>> [(fault.case, fault.rater, fault.index_aligned) for fault in layout_info("curvas-2024").defects]
    [('UKCHLL007', '2', True), ('UKCHLL082', '3', False)]
    """

    case: str
    rater: str
    words: str
    index_aligned: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LayoutInfo:
    """What is known of a published data set.

    Parameters
    ----------
    name : str
        Such as "curvas-pdacvi".
    title : str
        For people.
    source : str
        Where it is published.
    looked_for : str
        The files by which it is recognised.
    raters : tuple of str
        Names of the raters; empty where they differ from task to task.
    classes : mapping of str to int
        Labels of the masks by name, if there are several; empty for masks of 0 and 1.
    positive : tuple of int or None
        Labels that are foreground in PNG masks; None where masks hold 0 and 1, or several classes.
    vessel_labels : mapping of str to int
        Labels of the vessel files by name.
    protocol : str or None
        The challenge protocol that scores it.
    defects : tuple of Defect
        Known faults of single masks.
    remarks : tuple of str
        What to know before drawing conclusions.

    Examples
    --------
    >>> from mrcalib.io import layout_info
    >>> layout_info("curvas-2024").classes["liver"]
    3
    """

    name: str
    title: str
    source: str
    looked_for: str
    raters: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    positive: tuple[int, ...] | None = None
    vessel_labels: Mapping[str, int] = field(default_factory=dict)
    protocol: str | None = None
    defects: tuple[Defect, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class LayoutCase:
    """One image of a data set: its files, without predictions unless the data set holds some.

    Parameters
    ----------
    id, group : str
        Name of the case, and its patient.
    raters : mapping of str to Path or None
        Masks by rater; None where this rater gave none.
    image, vessels : Path or None
        None where the folder has none.
    probs : tuple of Path
        Predictions that lie in the data set itself; nearly always empty.
    split : str
        "training", "validation", "testing" or "".
    task : str
        Where a data set has several, such as "prostate/task02"; else "".
    left_out : tuple of str
        Files that look like a rater's mask or a prediction and are none.
    index_aligned : tuple of str
        Raters whose header is known to be wrong (`Case.index_aligned`).

    Examples
    --------
    >>> LayoutCase("case02", "case02", {"1": Path("case02/task01_seg01.nii.gz"), "2": None}).annotated
    True
    """

    id: str
    group: str
    raters: Mapping[str, Path | None]
    image: Path | None = None
    vessels: Path | None = None
    probs: tuple[Path, ...] = ()
    split: str = ""
    task: str = ""
    left_out: tuple[str, ...] = ()
    index_aligned: tuple[str, ...] = ()

    @property
    def annotated(self) -> bool:
        """Whether any rater's mask is there."""
        return any(self.raters.values())


@dataclass(frozen=True, slots=True, eq=False)
class LayoutFolder:
    """The cases of a data set as found in a folder; `with_predictions` joins them with a model's answers.

    Parameters
    ----------
    folder : Path
        Where it was looked for.
    info : LayoutInfo
        What is known of the layout.
    cases : tuple of LayoutCase
        In natural order of their names, all with the same rater names.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.io import scan_layout
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for rater in ("1", "3"):
    ...         mask = Path(folder) / "UKCHLL082" / f"annotation_{rater}.nii.gz"
    ...         mask.parent.mkdir(exist_ok=True)
    ...         mask.touch()
    ...     found = scan_layout(folder)
    >>> found.rater_names, [fault.words[:34] for fault in found.defects]
    (('1', '3'), ['the published mask has no pancreas'])
    """

    folder: Path
    info: LayoutInfo
    cases: tuple[LayoutCase, ...]

    @property
    def rater_names(self) -> tuple[str, ...]:
        """Raters with at least one mask."""
        return tuple(self.cases[0].raters) if self.cases else ()

    @property
    def positive(self) -> tuple[int, ...] | None:
        """What `LoadOptions.positive` should be for these masks; None where they hold 0 and 1, or several classes."""
        masks = (path for case in self.cases for path in case.raters.values() if path)
        return self.info.positive if any(path.suffix.lower() == ".png" for path in masks) else None

    @property
    def defects(self) -> tuple[Defect, ...]:
        """The known faults that these cases have."""
        masks = {(case.id, rater) for case in self.cases for rater, path in case.raters.items() if path}
        return tuple(defect for defect in self.info.defects if (defect.case, defect.rater) in masks)

    def describe(self) -> list[str]:
        """Say what was found: cases, raters and who of them is missing, vessels, known faults, files left out.

        Returns
        -------
        list of str
            One sentence a line.
        """
        lines = [self._counts(), *self._missing()]
        if self.info.vessel_labels:
            lines.append(self._vessels())
        lines += [f"known fault, case {d.case}, rater {d.rater}: {d.words}" for d in self.defects]
        left_out = Counter(name for case in self.cases for name in case.left_out)
        lines += [f"{name} is no rater's mask or member: left out ({n} cases)" for name, n in left_out.items()]
        return [*lines, *self.info.remarks]

    def with_predictions(
        self, probs: str | None = None, *, coarse: str | None = None, roi: str | None = None, raters: bool = True
    ) -> list[Case]:
        """Join the cases with a model's probabilities.

        Parameters
        ----------
        probs : str or None
            Template of the probability maps such as ``"preds/{case}_{member}.nii.gz"``, read as by `discover`. None:
            predictions that lie in the data set itself.
        coarse, roi : str or None
            Templates that give one file for every case: a coarse mask, a region of interest.
        raters : bool
            Whether a case needs a rater. False: the cases have none, as to apply a calibrator.

        Returns
        -------
        list of Case
            In the order of `cases`. All have the same rater names, None where a rater is missing.

        Raises
        ------
        ValueError
            If there are no predictions, they fit no case, no case has a rater, or a case has no coarse mask or region.
        GeometryError
            If the masks are PNG, which have no header, and the predictions have one.

        Warns
        -----
        UserWarning
            If cases have no prediction or no rater, or predictions no case; they are left out.
        """
        members = self._own_members() if probs is None else _members(probs)
        cases = self.cases if raters else tuple(replace(c, raters={}, index_aligned=()) for c in self.cases)
        annotated = [case for case in cases if case.annotated or not raters]
        if not annotated:
            msg = (
                f"None of the {len(self.cases)} cases in {self.folder} has a rater's mask; expected "
                f"{self.info.looked_for}. Without raters, calibrators can be applied only."
            )
            raise ValueError(msg)
        _report("have no rater's mask", (case.id for case in cases if raters and not case.annotated))
        both = [case for case in annotated if members.get(case.id)]
        if not both:
            msg = (
                f"No prediction belongs to a case: {probs!r} gives {some_of(members)}, {self.folder} holds "
                f"{some_of([case.id for case in annotated])}. {{case}} must stand for the name of the case."
            )
            raise ValueError(msg)
        _report("have no prediction", (case.id for case in annotated if not members.get(case.id)))
        known = {case.id for case in self.cases}
        _report("have predictions but are not in the data set", (name for name in members if name not in known))
        extras = {role: found for role, found in (("coarse", coarse), ("roi", roi)) if found is not None}
        files = {role: self._extra(role, template, both) for role, template in extras.items()}
        return [
            _joined(case, members[case.id], {role: found[case.id] for role, found in files.items()}) for case in both
        ]

    def _own_members(self) -> dict[str, tuple[Path, ...]]:
        members = {case.id: case.probs for case in self.cases}
        if not any(members.values()):
            msg = (
                f"The data set in {self.folder} ({self.info.title}) holds no predictions, and probabilities are what is "
                "calibrated. Say where your model's are: probs='preds/{case}.nii.gz', or "
                "probs='preds/{case}_{member}.nii.gz' for an ensemble."
            )
            raise ValueError(msg)
        return members

    def _extra(self, role: str, template: str, cases: Iterable[LayoutCase]) -> dict[str, Path]:
        found = {case: files[""] for case, files in find_by_case(template, None).items()}
        lacking = [case.id for case in cases if case.id not in found]
        if lacking:
            msg = f"{len(lacking)} cases have no {role}: {some_of(lacking)}. Add the files, or leave {role} out."
            raise ValueError(msg)
        return found

    def _counts(self) -> str:
        splits = Counter(case.split for case in self.cases if case.split)
        counts = [f"{count} {split}" for split, count in splits.items()]
        tasks = sorted({case.task for case in self.cases} - {""})
        where = f" ({'; '.join([*tasks, ', '.join(counts)] if counts else tasks)})" if counts or tasks else ""
        names = self.rater_names
        raters = f"{len(names)} raters ({', '.join(names)})" if names else "no raters"
        return f"{self.info.name}, {self.info.title}: {len(self.cases)} cases{where}, {raters}"

    def _missing(self) -> list[str]:
        lines = []
        for rater in self.rater_names:
            without = [case.id for case in self.cases if case.annotated and case.raters[rater] is None]
            if without:
                lines.append(f"rater {rater} is missing, which is not an empty mask, in {some_of(without)}")
        bare = [case.id for case in self.cases if not case.annotated]
        never = [name for name in self.info.raters if name not in self.rater_names]
        lines += [f"no rater's mask in {some_of(bare)}"] if bare else []
        lines += [f"no mask of rater {', '.join(never)} in any case"] if never and self.rater_names else []
        return lines

    def _vessels(self) -> str:
        without = [case.id for case in self.cases if case.vessels is None]
        if len(without) == len(self.cases):
            return "no vessel files (names that hold 'vasc' or 'vessel'): vascular invasion cannot be scored"
        found = f"vessels in {len(self.cases) - len(without)} of {len(self.cases)} cases"
        return f"{found}, none in {some_of(without)}" if without else found


def _members(template: str) -> dict[str, tuple[Path, ...]]:
    found = find_by_case(template, "member")
    return {case: tuple(files[name] for name in sorted(files, key=natural)) for case, files in found.items()}


def _report(words: str, names: Iterable[str]) -> None:
    listed = list(names)
    if listed:
        msg = f"{len(listed)} cases {words}, and are left out: {some_of(listed)}."
        warnings.warn(msg, UserWarning, stacklevel=4)


def _joined(case: LayoutCase, members: tuple[Path, ...], extras: Mapping[str, Path]) -> Case:
    if any(getattr(format_of(path), "has_header", False) for path in (*members, *extras.values())):
        refuse_beside_header(case.raters.values(), case.id)
    rest: dict[str, Any] = dict(extras)
    return Case(
        id=case.id,
        probs=members,
        raters=case.raters,
        group=case.group,
        image=case.image,
        vessels=case.vessels,
        index_aligned=case.index_aligned,
        **rest,
    )
