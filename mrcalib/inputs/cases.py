"""Several cases at once: lists of images of different shapes, each with its own raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs.arguments import check_groups
from mrcalib.inputs.arrays import as_array, check_probs, is_array, voxel_shapes
from mrcalib.inputs.raters import split_raters

__all__ = ["InputCase", "case_items", "case_probs", "split_cases"]


@dataclass(frozen=True, slots=True, eq=False)
class InputCase:
    """One of several cases, as a user gave it: one image with its raters.

    Attributes
    ----------
    id : str
        The id of a `Case` object; else its position in the list: "0", "1", ...
    probs : ndarray of shape S, float
        Probabilities; their values are not checked.
    raters : list of (array_like of shape S or None), or array_like of shape S
        The raters' masks, None where a rater is missing; or the one mask or averaged target.
    rater_names : tuple of str
        The keys where raters are a dict, the names of a `Case` object; else "0", "1", ...
    group : str
        What resampling keeps together; the id by default.
    roi, sample_weight : array_like of shape S, or None
    voxel_volume : float or None
        Of a voxel, in mL; None where it is not known.
    """

    id: str
    probs: NDArray[Any]
    raters: Any
    rater_names: tuple[str, ...]
    group: str
    roi: Any = None
    sample_weight: Any = None
    voxel_volume: float | None = None

    def raters_of(self, names: Sequence[str]) -> list[Any]:
        """The masks of the raters of these names, None where this case does not have one of them."""
        masks = self.raters if isinstance(self.raters, list) else [self.raters]
        known = dict(zip(self.rater_names, masks, strict=True))
        return [known.get(name) for name in names]


def case_items(probs: Any) -> list[Any] | None:
    """The parts of ``probs`` if it holds several cases, and None if it is one image.

    Several cases are a list, a tuple, an iterator or another container of arrays, of `Case` objects, or of pairs of arrays
    ``(probs, raters)``. Arrays, tensors and numbers in nested lists are one image.
    """
    holds_objects = isinstance(probs, np.ndarray) and probs.dtype == np.dtype(object)
    if is_array(probs) and not holds_objects:
        return None
    if isinstance(probs, str | bytes | Mapping) or not hasattr(probs, "__iter__"):
        return None
    if isinstance(probs, list | tuple | np.ndarray):
        first = next(iter(probs), None)  # a long list of numbers must not be copied to be looked at
        if not _is_one_case(first):
            return None
    items = list(probs)
    return items if items and _is_one_case(items[0]) else None


def _is_one_case(item: object) -> bool:
    return is_array(item) or _is_case(item) or _is_pair(item)


def case_probs(probs: Any) -> list[Any] | None:
    """The probabilities of each case of a list, not checked; None if ``probs`` is one image."""
    items = case_items(probs)
    if items is None:
        return None
    loaded = [item.load() if hasattr(item, "load") else item for item in items]
    return [item.probs if _is_case(item) else item[0] if _is_pair(item) else item for item in loaded]


def split_cases(
    probs: Any,
    raters: Any = None,
    *,
    roi: Any = None,
    groups: Any = None,
    rater_axis: int | None = None,
    sample_weight: Any = None,
) -> list[InputCase] | None:
    """The cases that ``probs`` and ``raters`` hold, or None if they are one image or stack.

    Parameters
    ----------
    probs : iterable
        Images of probabilities, of any shapes, with ``raters`` beside them; or `Case` or loaded cases; or pairs
        ``(probs, raters)``. Numbers in nested lists are one image, and so is an array of any number of axes.
    raters : iterable, optional
        Of each image what ``raters`` is of one image: a stack, a list of masks with None for a missing rater, a dict of name
        and mask, one mask, or one averaged target.
    roi, sample_weight : iterable, optional
        Of each image an array of its shape, or None.
    groups : iterable, optional
        Group of each case; the case itself by default.
    rater_axis : int, optional
        Axis of the raters in each stack.

    Returns
    -------
    list of InputCase, or None

    Raises
    ------
    ValueError
        If there is no case, if lists are of different lengths, or if a case's arrays do not fit each other.
    TypeError
        If one of them does not hold probabilities.

    Examples
    --------
    >>> cases = split_cases([np.array([0.25, 0.5]), np.array([0.75])], [[[0, 1], [1, 1]], [[1], None]], groups=["a", "b"])
    >>> [(case.id, case.group, case.probs.size, case.rater_names) for case in cases]
    [('0', 'a', 2, ('0', '1')), ('1', 'b', 1, ('0', '1'))]
    >>> split_cases(np.array([0.25, 0.5]), [[0, 1], [1, 1]]) is None
    True
    """
    items = case_items(probs)
    if items is None:
        return None
    n = len(items)
    whole = [_is_case(item) for item in items]
    if any(whole) and not all(whole):
        msg = "A list of cases must hold either Case objects or arrays, not both."
        raise TypeError(msg)
    if all(whole) or raters is None:
        given = {"raters": raters, "roi": roi, "sample_weight": sample_weight} if all(whole) else {}
        for name, value in given.items():
            if value is not None:
                msg = f"Case objects have their own raters and region; {name} must be left out."
                raise ValueError(msg)
    labels = None if groups is None else _one_per_case("groups", groups, n)
    if labels is not None:
        check_groups(labels)
    named = None if labels is None else [str(label) for label in labels]
    if all(whole):
        return [_of_case(item, None if named is None else named[i]) for i, item in enumerate(items)]
    if raters is None:
        if not all(_is_pair(item) for item in items):
            msg = "A list of images needs raters, a list with the masks of each image; or give pairs (probs, raters)."
            raise ValueError(msg)
        items, raters = [item[0] for item in items], [item[1] for item in items]
    regions, weights = (
        [None] * n if value is None else _one_per_case(name, value, n)
        for name, value in (("roi", roi), ("sample_weight", sample_weight))
    )
    cases = []
    for i, (image, masks) in enumerate(zip(items, _one_per_case("raters", raters, n), strict=True)):
        array = check_probs(image, case=str(i))
        answers, names = _raters_of_image(masks, array, rater_axis, str(i))
        group = str(i) if named is None else named[i]
        cases.append(InputCase(str(i), array, answers, names, group, regions[i], weights[i]))
    return cases


def _raters_of_image(
    raters: Any, probs: NDArray[Any], rater_axis: int | None, case: str
) -> tuple[Any, tuple[str, ...]]:
    """The masks of an image, or its one target, and the raters' names."""
    if is_array(raters) and tuple(raters.shape) in voxel_shapes(probs.shape) and rater_axis is None:
        return as_array(raters), ("0",)
    if not isinstance(raters, Mapping | list | tuple) and not is_array(raters):
        msg = f"raters of case {case!r} must be masks; got {type(raters).__name__}."
        raise TypeError(msg)
    masks = split_raters(raters, probs, rater_axis, case)
    names = raters.keys() if isinstance(raters, Mapping) else range(len(masks))
    return masks, tuple(map(str, names))


def _is_case(item: object) -> bool:
    """Whether this is a `Case` or a `LoadedCase`; this room does not know the classes, which build on it."""
    return hasattr(item, "probs") and hasattr(item, "raters") and hasattr(item, "id")


def _is_pair(item: object) -> bool:
    """Whether this is a pair (probs, raters), such as data loaders give."""
    return isinstance(item, tuple | list) and len(item) == 2 and is_array(item[0])


def _of_case(case: Any, group: str | None) -> InputCase:
    loaded = case.load() if hasattr(case, "load") else case
    masks, names = list(loaded.raters), tuple(loaded.rater_names)
    volume = loaded.voxel_volume_ml
    return InputCase(loaded.id, loaded.probs, masks, names, group or loaded.group, loaded.roi, voxel_volume=volume)


def _one_per_case(name: str, values: Any, n: int) -> list[Any]:
    """The entries of an argument of which each case has one."""
    try:
        listed = list(values)
    except TypeError:
        listed = None
    if listed is None or isinstance(values, str | Mapping) or len(listed) != n:
        got = type(values).__name__ if listed is None or isinstance(values, str | Mapping) else len(listed)
        msg = f"probs is a list of {n} cases, so {name} must have one entry for each of them; got {got}."
        raise ValueError(msg)
    return listed
