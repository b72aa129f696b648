"""Cases from file names: templates such as ``probs/{case}_{member}.nii.gz`` matched on the file system.

``{case}`` takes as much of a name as it can, ``{rater}`` and ``{member}`` as little, so ``{case}_{rater}.nii.gz`` reads
``P01_left_2.nii.gz`` as case ``P01_left``, rater ``2``.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

from mrcalib.io.case import Annotations, Case

__all__ = ["discover", "discover_annotations", "find_by_case", "natural", "some_of"]

_PLACEHOLDERS = {"case": "[^/]+", "rater": "[^/]+?", "member": "[^/]+?"}
_TOKEN = re.compile(r"\{(\w*)\}|(\*)|(\?)|\[(!?)([^\]]+)\]|([^{*?\[]+|[{\[])")

_Found: TypeAlias = dict[str, dict[str, Path]]


def discover(
    probs: str,
    raters: str | None,
    *,
    roi: str | None = None,
    coarse: str | None = None,
    image: str | None = None,
    vessels: str | None = None,
    group: str | None = None,
) -> list[Case]:
    """Find cases by templates of their paths.

    Parameters
    ----------
    probs : str
        Holds ``{case}``, once or more. Each placeholder stands for a part of one file or folder name; ``*``, ``?`` and
        ``[1-3]`` match as in a shell. Several files of a case are members of an ensemble, distinguished by ``{member}`` or by
        what a wildcard matches.
    raters : str or None
        Holds ``{case}``, and ``{rater}`` if there are several. None: no raters (to apply a calibrator).
    roi, coarse, image, vessels : str or None
        Templates that give one file for every case.
    group : str or None
        Regular expression with one group, searched for in the case name: what it captures is the patient or site.

    Returns
    -------
    list of Case
        Sorted by name. All have the same rater names; a rater without a file for a case is missing (None).

    Raises
    ------
    ValueError
        If a template is malformed, matches nothing or two files for one place, if a case has no `roi`, `coarse`,
        `image` or `vessels`, if no case has both probabilities and a rater, or `group` does not fit a case.

    Warns
    -----
    UserWarning
        If there are cases with probabilities but without raters, or the reverse; they are left out.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name in ("P1_prob.npy", "P1_rater2.npy", "P2_prob.npy", "P2_rater1.npy"):
    ...     (Path(folder.name) / name).touch()
    >>> cases = discover(f"{folder.name}/{{case}}_prob.npy", f"{folder.name}/{{case}}_rater{{rater}}.npy")
    >>> [(case.id, case.masks["1"] is None) for case in cases]
    [('P1', True), ('P2', False)]
    >>> folder.cleanup()
    """
    members = find_by_case(probs, "member")
    masks = find_by_case(raters, "rater") if raters else {case: {} for case in members}
    extras = {
        role: find_by_case(template, None)
        for role, template in (("roi", roi), ("coarse", coarse), ("image", image), ("vessels", vessels))
        if template is not None
    }
    _report_unpaired(members, masks)
    both = sorted(members.keys() & masks.keys())
    if not both:
        msg = (
            f"No case has both probabilities and a rater: {probs!r} gives {some_of(members)}, "
            f"{raters!r} gives {some_of(masks)}. The two templates must give a case the same name."
        )
        raise ValueError(msg)
    for role, found in extras.items():
        lacking = [case for case in both if case not in found]
        if lacking:
            msg = f"{len(lacking)} cases have no {role}: {some_of(lacking)}. Add the files, or use a manifest."
            raise ValueError(msg)
    names = sorted({name for case in both for name in masks[case]}, key=natural)
    return [
        Case(
            id=case,
            probs=tuple(path for _, path in sorted(members[case].items(), key=lambda item: natural(item[0]))),
            raters={name: masks[case].get(name) for name in names},
            group=_group(case, group),
            **{role: found[case][""] for role, found in extras.items()},  # type: ignore[arg-type]
        )
        for case in both
    ]


def discover_annotations(raters: str) -> list[Annotations]:
    """Find the raters' masks of cases by a template of their paths.

    Parameters
    ----------
    raters : str
        As for `discover`.

    Returns
    -------
    list of Annotations
        Sorted by name. All have the same rater names; a rater without a file for a case is missing (None).

    Raises
    ------
    ValueError
        If the template is malformed, matches nothing, or two files for one place.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("P1_a.npy", "P1_b.npy", "P2_b.npy"):
    ...         (Path(folder) / name).touch()
    ...     [(case.id, case.masks["a"] is None) for case in discover_annotations(f"{folder}/{{case}}_{{rater}}.npy")]
    [('P1', False), ('P2', True)]
    """
    masks = find_by_case(raters, "rater")
    names = sorted({name for found in masks.values() for name in found}, key=natural)
    return [Annotations(case, {name: masks[case].get(name) for name in names}) for case in sorted(masks)]


def find_by_case(template: str, placeholder: str | None) -> _Found:
    """Files that match a template, by case and then by member or rater; ValueError if none does, or two for one place."""
    allowed = ("case",) if placeholder is None else ("case", placeholder)
    names = re.findall(r"\{(\w*)\}", template)
    if "case" not in names or not set(names) <= set(allowed):
        listed = " and ".join(f"{{{name}}}" for name in allowed)
        msg = (
            f"The template {template!r} must hold {{case}} and may hold {listed} only; got {names or 'no placeholder'}."
        )
        raise ValueError(msg)
    path = Path(template).expanduser()
    parts = path.parts
    fixed = next(number for number, part in enumerate(parts) if re.search(r"[{*?\[]", part))
    root = Path(*parts[:fixed])
    found: _Found = {}
    for file, bound in _walk(root, parts[fixed:], {}):
        held = found.setdefault(bound["case"], {})
        default = {"rater": "1", "member": file.name}.get(placeholder or "", "")
        key = bound.get(placeholder or "", default)
        if key in held:
            advice = f"distinguish them by {{{placeholder}}}, or " if placeholder else ""
            msg = (
                f"{template!r} matches two files for one place of case {bound['case']!r}: {held[key]} and {file}; "
                f"{advice}make the template narrower."
            )
            raise ValueError(msg)
        held[key] = file
    if not found:
        msg = f"No file matches {template!r}. Looked in {root.absolute()}, {_contents(root)}."
        raise ValueError(msg)
    return found


def _walk(folder: Path, parts: tuple[str, ...], bound: Mapping[str, str]) -> Iterator[tuple[Path, dict[str, str]]]:
    """Descend one path component a level; what a placeholder took higher up, it must take again further down."""
    if not folder.is_dir():
        return
    pattern = _component(parts[0], bound)
    for entry in sorted(folder.iterdir()):
        hidden = entry.name.startswith(".") and not parts[0].startswith(".")
        match = None if hidden else pattern.fullmatch(entry.name)
        if match is None:
            continue
        taken = {**bound, **match.groupdict()}
        if len(parts) > 1:
            yield from _walk(entry, parts[1:], taken)
        elif entry.is_file():
            yield entry, taken


def _component(part: str, bound: Mapping[str, str]) -> re.Pattern[str]:
    pieces = []
    seen: set[str] = set()
    for placeholder, star, mark, negated, characters, literal in _TOKEN.findall(part):
        if placeholder in bound:
            pieces.append(re.escape(bound[placeholder]))
        elif placeholder in seen:
            pieces.append(f"(?P={placeholder})")
        elif placeholder:
            seen.add(placeholder)
            pieces.append(f"(?P<{placeholder}>{_PLACEHOLDERS[placeholder]})")
        elif star or mark:
            pieces.append(".*" if star else ".")
        elif characters:
            pieces.append(f"[{'^' if negated else ''}{characters.replace(chr(92), chr(92) * 2)}]")
        else:
            pieces.append(re.escape(literal))
    return re.compile("".join(pieces))


def _report_unpaired(members: _Found, masks: _Found) -> None:
    for have, lack, found, other in (
        ("probabilities", "rater", members, masks),
        ("raters", "probabilities", masks, members),
    ):
        alone = sorted(found.keys() - other.keys())
        if alone and len(alone) < len(found):
            msg = f"{len(alone)} cases have {have} but no {lack}, and are left out: {some_of(alone)}."
            warnings.warn(msg, UserWarning, stacklevel=3)


def _group(case: str, pattern: str | None) -> str | None:
    if pattern is None:
        return None
    compiled = re.compile(pattern)
    match = compiled.search(case)
    if compiled.groups != 1 or match is None or not match[1]:
        msg = f"group={pattern!r} must capture the patient or site in one group; case {case!r} does not fit."
        raise ValueError(msg)
    return str(match[1])


def natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which '2' comes before '10', and numbers before words."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def some_of(names: "Mapping[str, object] | list[str]") -> str:
    """The first ten names, and how many more there are."""
    listed = sorted(names)
    return ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")


def _contents(folder: Path) -> str:
    if not folder.is_dir():
        return "which does not exist"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return f"which holds {some_of(names[:10])}" if names else "which is empty"
