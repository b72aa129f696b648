"""REFUGE with seven raters: optic disc and cup in fundus photographs."""

import re
from collections.abc import Iterable
from pathlib import Path

from mrcalib.io.layouts.model import LayoutCase, LayoutInfo
from mrcalib.io.layouts.tree import Folder, numbered, parents_of

__all__ = ["INFO", "find"]

INFO = LayoutInfo(
    name="refuge",
    title="REFUGE, seven raters",
    source="huggingface.co/datasets/realslimman/REFUGE-MultiRater",
    looked_for="folders with masks <id>_seg_cup_1.png to _7.png and <id>_seg_disc_1.png to _7.png",
    raters=("1", "2", "3", "4", "5", "6", "7"),
    positive=tuple(range(128, 256)),
    remarks=(
        "The copy with seven raters has a training and a test part of 400 photographs each, not the 1200 of REFUGE; "
        "patients are not named, so each photograph counts as one",
        "The official masks of REFUGE (.bmp, 0 cup, 128 disc, 255 background) are a consensus of the other polarity; they are "
        "no rater and are not read",
    ),
)

_MASK = re.compile(r"(.+)_seg_(cup|disc)(_c)?_\d+")
_SPLITS = {"training-400": "training", "validation-400": "validation", "test-400": "testing"}


def find(tree: Iterable[Folder]) -> list[LayoutCase]:
    """Cases of REFUGE with seven raters, one for each structure ("disc", "cup") of a photograph.

    Source: the copy named in `INFO`. Structure: ``Training-400/<id>/<id>.jpg`` with ``<id>_seg_cup_1.png`` to ``_7.png`` and
    ``<id>_seg_disc_1.png`` to ``_7.png``; the same below ``Test-400`` and, in some copies, ``Validation-400``. Masks are
    grey, structure above half of 255: white, against black in the official masks. Where only cropped masks are there
    (``<id>_seg_cup_c_1.png``), they go with ``<id>_cropped.jpg``.
    Each photograph counts as a patient, because REFUGE does not name patients.
    """
    cases = []
    for folder in tree:
        stems = sorted({(m[1], m[2]) for name in folder.images if (m := _MASK.fullmatch(name))})
        cases += [_case(folder, stem, structure) for stem, structure in stems]
    return cases


def _case(folder: Folder, stem: str, structure: str) -> LayoutCase:
    start = re.escape(f"{stem}_seg_{structure}")
    whole = numbered(folder.images, rf"{start}_(\d+)")
    masks = whole or numbered(folder.images, rf"{start}_c_(\d+)")
    used = {masks.get(number) for number in range(1, 8)}
    return LayoutCase(
        id=stem,
        group=stem,
        raters={str(number): folder.images[masks[number]] if number in masks else None for number in range(1, 8)},
        image=_picture(folder, stem if whole else f"{stem}_cropped"),
        split=next(
            (_SPLITS[p.name.lower()] for p in (folder.path, *parents_of(folder.path)) if p.name.lower() in _SPLITS), ""
        ),
        task=structure,
        left_out=tuple(name for name in folder.images if re.match(rf"{start}_", name) and name not in used),
    )


def _picture(folder: Folder, stem: str) -> Path | None:
    names = (f"{stem}{suffix}" for suffix in (".jpg", ".jpeg", ".png"))  # .bmp is the official mask
    return next((folder.path / name for name in names if name in folder.files), None)
