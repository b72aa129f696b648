"""What the pictures of predicted numbers of votes share: their cases, and how they are made of voxels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.inputs import case_items, check_groups
from mrcalib.metrics import count_responses
from mrcalib.plots._curves import split_rows
from mrcalib.plots._display import Display
from mrcalib.responses import Responses

__all__ = ["CountDisplay", "caption_of", "groups_of", "n_counted", "require_uncertain", "some"]


class CountDisplay(Display):
    """A picture of predicted numbers of votes."""

    from_responses: ClassVar[Any]
    """Of rows with predicted counts, one ``Responses`` a case; each picture has options of its own."""

    @classmethod
    def from_predictions(
        cls,
        count_probs: ArrayLike,
        raters: Any,
        *,
        groups: ArrayLike | None = None,
        class_axis: int = -1,
        roi: ArrayLike | None = None,
        rater_axis: int | None = None,
        **options: Any,
    ) -> Self:
        """The picture of voxels.

        Parameters
        ----------
        count_probs, raters, class_axis, roi, rater_axis
            As in ``mrcalib.metrics.count_responses``; or lists of them, with an entry a case.
        groups : array_like, shape S, optional
            Patient of each voxel, or of each case of a list. Intervals need it: voxels of an image are not independent.
        **options
            As in ``from_responses``.
        """
        several = case_items(count_probs)
        if several is not None:
            cases = _cases_of_list(several, raters, class_axis=class_axis, roi=roi, rater_axis=rater_axis)
            names = None if groups is None else [str(name) for name in check_groups(groups)]
            listed: Self = cls.from_responses(cases, groups=names, **options)
            return listed
        names = None if groups is None else [str(name) for name in np.unique(check_groups(groups))]
        cases = _cases_of(count_probs, raters, groups, class_axis=class_axis, roi=roi, rater_axis=rater_axis)
        made: Self = cls.from_responses(cases, groups=names, **options)
        return made


def _cases_of_list(count_probs: Sequence[Any], raters: Any, *, roi: Any, **options: Any) -> list[Responses]:
    """The rows of each case of a list."""
    n = len(count_probs)
    masks, regions = list(raters), [None] * n if roi is None else list(roi)
    for name, values in (("raters", masks), ("roi", regions)):
        if len(values) != n:
            msg = f"count_probs is a list of {n} cases, so {name} must have one entry for each of them; got {len(values)}."
            raise ValueError(msg)
    return [
        count_responses(probs, answers, roi=region, **options)
        for probs, answers, region in zip(count_probs, masks, regions, strict=True)
    ]


def _cases_of(count_probs: ArrayLike, raters: Any, groups: ArrayLike | None, **options: Any) -> list[Responses]:
    """The rows of each group in ascending order of its name, or of all voxels as one case."""
    if groups is None:
        return [count_responses(count_probs, raters, **options)]
    names, code = np.unique(check_groups(groups), return_inverse=True)
    # As a weight, the group of a voxel takes part in whatever selection the voxels undergo.
    weight = (code + 1.0).reshape(np.shape(groups))
    rows = count_responses(count_probs, raters, sample_weight=weight, **options)
    return split_rows(rows, rows.count.astype(np.intp) - 1, len(names))


def some(responses: Sequence[Responses]) -> Sequence[Responses]:
    if not responses:
        msg = "There is no case to show: responses is empty."
        raise ValueError(msg)
    return responses


def n_counted(responses: Sequence[Responses]) -> int:
    sizes = {None if case.count_probs is None else case.count_probs.shape[1] - 1 for case in some(responses)}
    n = sizes.pop()
    if n is None or sizes:
        msg = (
            "Every case needs predicted counts of the same number of raters: take the rows of a count calibrator's "
            "count_responses, or of mrcalib.metrics.count_responses."
        )
        raise ValueError(msg)
    return int(n)


def groups_of(responses: Sequence[Responses], groups: Sequence[str] | None) -> list[str]:
    if groups is not None and len(groups) != len(responses):
        msg = f"groups must have one entry for each of the {len(responses)} cases; got {len(groups)}."
        raise ValueError(msg)
    return [str(i) for i in range(len(responses))] if groups is None else [str(name) for name in groups]


def require_uncertain(n_voxels: float, certainty: float) -> None:
    if not n_voxels > 0:
        msg = f"There is no voxel whose most probable number of votes has a probability of at most {certainty:g}."
        raise ValueError(msg)


def caption_of(n_cases: int, n_groups: int, n_voxels: float, certainty: float) -> str:
    doubt = "" if certainty == 1 else f" whose votes are uncertain (no number above {certainty:.0%})"
    return f"{n_cases} cases in {n_groups} groups, {n_voxels:,.0f} voxels{doubt}"
