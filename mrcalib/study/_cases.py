"""The cases of a comparison as people hold them: tallies, cases on disk, or lists of images with their raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mrcalib.cohort import Cohort
from mrcalib.inputs import InputCase, as_array, case_items, check_groups, split_cases, split_missing
from mrcalib.io import Case
from mrcalib.tallies import tally

__all__ = ["by_position", "cases_in_order", "cases_of", "check_apart"]


def cases_of(
    source: Any, raters: Any = None, *, roi: Any = None, groups: Any = None, rater_axis: int | None = None
) -> Cohort | list[Case]:
    """A cohort as it is, and everything else as cases that can be read again.

    A Case holds whole masks, as files do. Images with voxels that a rater did not answer are therefore tallied here.

    Parameters
    ----------
    source : Cohort, iterable of Case, or list of images
        What is compared on. Images need ``raters``, or are pairs ``(probs, raters)``.
    raters, roi, groups, rater_axis
        As for ``mrcalib.inputs.split_cases``.

    Raises
    ------
    ValueError
        If arrays do not fit, one image is given, or there are raters beside cases that have their own.
    """
    given = {"raters": raters, "roi": roi, "groups": groups, "rater_axis": rater_axis}
    beside = [name for name, value in given.items() if value is not None]
    if isinstance(source, Cohort):
        if beside:
            msg = f"A Cohort has its raters, groups and regions; {beside[0]} must be left out."
            raise ValueError(msg)
        return source
    items = case_items(source)
    if items is None or all(isinstance(item, Case) for item in items):
        if items is None and (beside or hasattr(source, "shape")):
            msg = (
                "A comparison needs several cases: a list of images with a list of their raters, Case objects, or a Cohort; "
                f"got one {type(source).__name__}."
            )
            raise ValueError(msg)
        if items is None or beside in ([], ["groups"]):
            whole = list(source if items is None else items)
            return whole if groups is None else _regrouped(whole, list(groups))
    several = split_cases(items, raters, roi=roi, groups=groups, rater_axis=rater_axis)
    assert several is not None
    if any(_has_holes(mask) for one in several for mask in _masks(one)):
        return _tallied(several)
    return [Case(one.id, one.probs, _named(one), group=one.group, roi=one.roi) for one in several]


def by_position(positional: Sequence[Any], *, raters: Any, methods: Any, metrics: Any) -> tuple[Any, Any, Any]:
    """Raters, methods and metrics of ``compare``, whichever of them were given by position after the cases.

    Lists of images have their raters there, as in ``fit``; what follows, or stands there instead, are methods and metrics.

    Raises
    ------
    TypeError
        If an argument is given twice, or there are too many.
    """
    given = {"raters": raters, "methods": methods, "metrics": metrics}
    names = ["methods", "metrics"]
    if positional and raters is None and _are_raters(positional[0]):
        names.insert(0, "raters")
    if len(positional) > len(names):
        msg = f"compare takes cases, {', '.join(names)} by position, all else by keyword; got {len(positional) + 1} arguments."
        raise TypeError(msg)
    for name, value in zip(names, positional, strict=False):
        if given[name] is not None:
            msg = f"compare got {name} twice, by position and as {name}=."
            raise TypeError(msg)
        given[name] = value
    return given["raters"], given["methods"], given["metrics"]


def _are_raters(argument: Any) -> bool:
    """Whether an argument holds masks, and not methods or nothing."""
    if argument is None or isinstance(argument, Mapping | str):
        return False
    return not isinstance(argument, list | tuple) or not all(isinstance(name, str) for name in argument)


def _regrouped(cases: Sequence[Case], groups: Sequence[Any]) -> list[Case]:
    check_groups(groups)
    if len(groups) != len(cases):
        msg = f"groups must have one entry for each of the {len(cases)} cases; got {len(groups)}."
        raise ValueError(msg)
    return [replace(case, group=str(group)) for case, group in zip(cases, groups, strict=True)]


def _masks(one: InputCase) -> list[Any]:
    return one.raters if isinstance(one.raters, list) else [one.raters]


def _named(one: InputCase) -> dict[str, Any]:
    return dict(zip(one.rater_names, _masks(one), strict=True))


def _has_holes(mask: Any) -> bool:
    return mask is not None and split_missing(as_array(mask))[1] is not None


def _tallied(cases: Sequence[InputCase]) -> Cohort:
    tallies = [tally(one.probs, _named(one), roi=one.roi, case=one.id) for one in cases]
    return Cohort(tallies, [one.id for one in cases], [one.group for one in cases])


def check_apart(cohort: Cohort, test: Cohort) -> None:
    """Raise ValueError if two cohorts share a group."""
    shared = [group for group in dict.fromkeys(test.groups) if group in set(cohort.groups)]
    if shared:
        msg = (
            f"test_cases and the cases that maps are fitted to share {len(shared)} groups, such as {shared[0]!r}: scores "
            "would not be those of new patients. Take them out of one side, or give different patients different groups."
        )
        raise ValueError(msg)


def cases_in_order(cohort: Cohort, known: Sequence[Case] | None) -> list[Case]:
    """The cases of a cohort, in its order."""
    if known is None:
        msg = "A protocol scores voxels, which a Cohort does not hold: give the cases it was tallied from as cases=."
        raise ValueError(msg)
    by_id = {case.id: case for case in known}
    missing = [name for name in cohort.ids if name not in by_id]
    if missing:
        msg = (
            f"cases must hold every case of the cohort to be scored; {missing[0]!r} is missing ({len(missing)} in all)."
        )
        raise ValueError(msg)
    return [by_id[name] for name in cohort.ids]
