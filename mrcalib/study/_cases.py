"""The cases of a comparison as people hold them: tallies, cases on disk, or lists of images with their raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mrcalib.cohort import Cohort
from mrcalib.inputs import InputCase, case_items, check_groups, split_cases
from mrcalib.io import Case

__all__ = ["are_raters", "cases_of"]


def cases_of(
    source: Any, raters: Any = None, *, roi: Any = None, groups: Any = None, rater_axis: int | None = None
) -> Cohort | list[Case]:
    """A cohort as it is, and everything else as cases that can be read again.

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
    return [_case(one) for one in several]


def are_raters(methods: Any) -> bool:
    """Whether the second argument holds masks and not methods: lists of images have their raters there, as in ``fit``."""
    if methods is None or isinstance(methods, Mapping | str):
        return False
    return not isinstance(methods, list | tuple) or not all(isinstance(name, str) for name in methods)


def _regrouped(cases: Sequence[Case], groups: Sequence[Any]) -> list[Case]:
    check_groups(groups)
    if len(groups) != len(cases):
        msg = f"groups must have one entry for each of the {len(cases)} cases; got {len(groups)}."
        raise ValueError(msg)
    return [replace(case, group=str(group)) for case, group in zip(cases, groups, strict=True)]


def _case(one: InputCase) -> Case:
    masks = one.raters if isinstance(one.raters, list) else [one.raters]
    return Case(one.id, one.probs, dict(zip(one.rater_names, masks, strict=True)), group=one.group, roi=one.roi)
