"""The cases that arrays hold: those of a list, those that ``groups`` names, or all voxels as one case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._data import Needs
from mrcalib.inputs import InputCase, Voxels, check_groups, check_voxels, split_cases

__all__ = ["ArrayCases", "array_cases", "by_voxel", "check_cases"]

ARGUMENTS = ("roi", "rater_axis", "positive", "soft", "invalid")  # of fit, which messages may name as the way out


@dataclass(frozen=True, slots=True, eq=False)
class ArrayCases:
    """Checked voxels of one case or of several ones.

    Attributes
    ----------
    parts : list of Voxels
        Of each case. Where the cases need not be known, all voxels are one part.
    names : tuple of str
        The name of each case; empty where there is one case without a name.
    raters : tuple of str
        Names of the raters.
    raters_are_named : bool
        Whether these are names that were given, and not positions.
    """

    parts: list[Voxels]
    names: tuple[str, ...]
    raters: tuple[str, ...]
    raters_are_named: bool

    @property
    def n_cases(self) -> int:
        return max(1, len(set(self.names)))

    @property
    def n_voxels(self) -> int:
        return sum(part.n_voxels for part in self.parts)


def array_cases(
    probs: Any,
    raters: Any,
    *,
    groups: Any = None,
    roi: Any = None,
    rater_axis: int | None = None,
    sample_weight: Any = None,
    apart: bool = False,
    **options: Any,
) -> ArrayCases:
    """The cases of arrays, checked.

    Parameters
    ----------
    probs, raters
        As ``Calibrator.fit`` takes them: one image, or a list of cases.
    groups : array_like, optional
        Case of each voxel; or, of a list, the case of each entry.
    roi, rater_axis, sample_weight
        As for ``Calibrator.fit``.
    apart : bool, default=False
        Whether the voxels of each group are needed apart.
    **options : Any
        ``positive`` and ``soft``, for ``check_voxels``.
    """
    several = split_cases(probs, raters, roi=roi, groups=groups, rater_axis=rater_axis, sample_weight=sample_weight)
    if several is not None:
        return _of_list(several, options)
    voxels = check_voxels(
        probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, arguments=ARGUMENTS, **options
    )
    rater_names = voxels.rater_names
    are_named = rater_names != tuple(map(str, range(voxels.n_raters)))
    if groups is None:
        return ArrayCases([voxels], (), rater_names, are_named)
    labels = by_voxel(check_groups(groups), np.shape(probs)).ravel(order=voxels.order)
    names, index = np.unique(labels, return_inverse=True)
    if not apart:
        return ArrayCases([voxels], tuple(map(str, names)), rater_names, are_named)
    parts = _split(voxels, index.ravel(), names.size)
    return ArrayCases(parts, tuple(map(str, names)), rater_names, are_named)


def check_cases(
    cases: ArrayCases, needs: Needs, method: str, *, weighted: bool, by_case: bool, seen: tuple[str, ...] | None
) -> None:
    """Refuse voxels that cannot be fitted, or not together with those of the raters ``seen`` before.

    ``weighted`` says that there are sample weights, and ``by_case`` that cases do not count by their voxels.
    """
    if cases.n_voxels == 0:
        msg = "There is nothing to fit: probs is empty."
        raise ValueError(msg)
    if weighted and not any(part.sample_weight is not None and part.sample_weight.any() for part in cases.parts):
        msg = "There is nothing to fit: sample_weight is zero everywhere."
        raise ValueError(msg)
    if needs.votes and any(part.soft is not None for part in cases.parts):
        msg = f"{method} counts votes and needs each rater's mask; got one averaged (soft) target."
        raise ValueError(msg)
    if needs.cases and weighted and cases.names:
        msg = "sample_weight cannot be given with groups or a list of cases: the volume of a case is a count of voxels."
        raise ValueError(msg)
    if by_case and not cases.names and not needs.cases:
        msg = "case_weight needs groups= (the case of each voxel) in fit, or a list of cases; or use fit_cases."
        raise ValueError(msg)
    if seen is not None and seen != cases.raters and not cases.raters_are_named:
        msg = (
            f"partial_fit has seen the raters {', '.join(seen)}; these voxels have {len(cases.raters)} raters. "
            "Name them with a dict of name and mask, or give None for a rater who is missing."
        )
        raise ValueError(msg)


def _of_list(cases: Sequence[InputCase], options: dict[str, Any]) -> ArrayCases:
    """The cases of a list; entries of one group are parts of one case."""
    names = tuple(dict.fromkeys(name for case in cases for name in case.rater_names))
    are_named = any(case.rater_names != tuple(map(str, range(len(case.rater_names)))) for case in cases)
    if not are_named and len({len(case.rater_names) for case in cases}) > 1:
        first, other = next((cases[0], case) for case in cases if len(case.rater_names) != len(cases[0].rater_names))
        msg = (
            f"Case {first.id!r} has {len(first.rater_names)} raters and case {other.id!r} {len(other.rater_names)}. Name them "
            "with a dict of name and mask for each case, or give None for a rater who is missing."
        )
        raise ValueError(msg)
    parts = []
    for case in cases:
        answers = case.raters_of(names) if isinstance(case.raters, list) else case.raters
        parts.append(
            check_voxels(
                case.probs,
                answers,
                roi=case.roi,
                sample_weight=case.sample_weight,
                case=case.id,
                arguments=ARGUMENTS,
                **options,
            )
        )
    return ArrayCases(parts, tuple(case.group for case in cases), names, are_named)


def by_voxel(labels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Labels of voxels, or of the first axis, in the shape of the probabilities."""
    if labels.shape not in (shape, shape[:1]):
        msg = f"groups must have the shape of probs, {shape}; got {labels.shape}."
        raise ValueError(msg)
    spread = labels.reshape(labels.shape + (1,) * (len(shape) - labels.ndim))
    return np.broadcast_to(spread, shape)


def _split(voxels: Voxels, index: NDArray[np.intp], n: int) -> list[Voxels]:
    """The voxels of each of ``n`` cases; where each case lies in one piece, nothing is copied."""
    if (np.diff(index) >= 0).all():
        bounds = np.searchsorted(index, np.arange(n + 1))
        return [_part(voxels, slice(a, b)) for a, b in pairwise(bounds)]
    order = np.argsort(index, kind="stable")
    bounds = np.searchsorted(index[order], np.arange(n + 1))
    return [_part(voxels, order[a:b]) for a, b in pairwise(bounds)]


def _part(voxels: Voxels, where: Any) -> Voxels:
    def some(array: Any) -> Any:
        return None if array is None else array[where]

    return replace(
        voxels,
        probs=voxels.probs[where],
        masks=tuple(some(mask) for mask in voxels.masks),
        soft=some(voxels.soft),
        roi=some(voxels.roi),
        sample_weight=some(voxels.sample_weight),
    )
