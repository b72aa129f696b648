"""What the two CURVAS challenges share: a folder a case, with ``image`` and ``annotation_k`` in it."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mrcalib.io.layouts.model import LayoutCase, LayoutInfo
from mrcalib.io.layouts.tree import Folder, numbered, split_of

__all__ = ["find_cases"]


def find_cases(
    tree: Iterable[Folder],
    info: LayoutInfo,
    case_name: re.Pattern[str],
    vessels_of: Callable[[Folder], Path | None] = lambda _: None,
) -> list[LayoutCase]:
    """The folders whose name is that of a case and that hold an image or a mask.

    Parameters
    ----------
    tree : iterable of Folder
        What to search.
    info : LayoutInfo
        Its raters, in order, are ``annotation_1``, ``annotation_2`` ...
    case_name : re.Pattern
        What names of cases look like.
    vessels_of : callable
        The vessel file of a folder.
    """
    cases = []
    for folder in tree:
        masks = numbered(folder.images, r"annotation_(\d+)")
        if case_name.fullmatch(folder.path.name) and (masks or "image" in folder.images):
            cases.append(_case(folder, info.raters, masks, info, vessels_of(folder)))
    return cases


def _case(
    folder: Folder, raters: Sequence[str], masks: dict[int, str], info: LayoutInfo, vessels: Path | None
) -> LayoutCase:
    name = folder.path.name
    used = {masks.get(number) for number in range(1, len(raters) + 1)}
    return LayoutCase(
        id=name,
        group=name,
        raters={
            rater: folder.images[masks[number]] if number in masks else None
            for number, rater in enumerate(raters, start=1)
        },
        image=folder.images.get("image"),
        vessels=vessels,
        split=split_of(folder.path),
        left_out=tuple(image for image in folder.images if image.startswith("annotation_") and image not in used),
        index_aligned=tuple(d.rater for d in info.defects if d.case == name and d.index_aligned),
    )
