"""QUBIQ 2020 and 2021: several organs and tasks, two to seven raters."""

import re
from collections.abc import Iterable
from pathlib import Path

from mrcalib.io.layouts.model import LayoutCase, LayoutInfo
from mrcalib.io.layouts.tree import Folder, numbered, parents_of, split_named, split_of

__all__ = ["INFO", "find"]

INFO = LayoutInfo(
    name="qubiq",
    title="QUBIQ 2020 and 2021",
    source="qubiq.grand-challenge.org",
    looked_for="folders with masks task01_seg01.nii.gz, task01_seg02.nii.gz ...",
    protocol="qubiq",
)

_RATERS = {"brain-growth": 7, "brain-tumor": 3, "kidney": 3, "prostate": 6, "pancreas": 2, "pancreatic-lesion": 2}
_MASK = re.compile(r"task(\d+)_seg\d+")


def find(tree: Iterable[Folder]) -> list[LayoutCase]:
    """Cases of QUBIQ, one for each task of an image.

    Source: qubiq.grand-challenge.org. Structure: ``<organ>/Training/caseNN/`` and ``<organ>/Validation/caseNN/`` (2020),
    ``training_data_v3_QC/<organ>/caseNN/`` and ``validation_data_qubiq2021_QC/<organ>/caseNN/`` (2021), each with
    ``image.nii.gz`` and ``task0T_segRR.nii.gz``: task T, rater R. Raters: 7 for brain-growth, 3 for brain-tumor (three
    tasks, images of four channels) and kidney, 6 for prostate (two tasks; one subject has 5: the sixth is missing, not
    empty), 2 for pancreas and pancreatic-lesion (3-D). Masks hold 0 and 1. An image is a patient; ``case1-1`` and
    ``case1-2`` are taken for one patient, as their names suggest.
    """
    cases = []
    for folder in tree:
        tasks = sorted({int(match[1]) for name in folder.images if (match := _MASK.fullmatch(name))})
        for task in tasks:
            cases.append(_case(folder, task))
    return cases


def _case(folder: Folder, task: int) -> LayoutCase:
    masks = numbered(folder.images, rf"task0*{task}_seg(\d+)")
    organ = _organ(folder.path)
    numbers = sorted({*masks, *range(1, _RATERS.get(organ.lower().replace("_", "-"), 0) + 1)})
    return LayoutCase(
        id=folder.path.name,
        group=folder.path.name.partition("-")[0],
        raters={str(number): folder.images[masks[number]] if number in masks else None for number in numbers},
        image=folder.images.get("image"),
        split=split_of(folder.path),
        task=f"{organ}/task{task:02d}",
    )


def _organ(path: Path) -> str:
    """The nearest folder above that is not a split; what separates QUBIQ's parts."""
    return next((parent.name for parent in parents_of(path) if not split_named(parent.name)), "")
