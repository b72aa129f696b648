"""CURVAS 2024: pancreas, kidney and liver in 90 abdominal CT scans, three raters."""

import re
from collections.abc import Iterable

from mrcalib.io.layouts.curvas import find_cases
from mrcalib.io.layouts.model import Defect, LayoutCase, LayoutInfo
from mrcalib.io.layouts.tree import Folder

__all__ = ["INFO", "find"]

INFO = LayoutInfo(
    name="curvas-2024",
    title="CURVAS 2024",
    source="Zenodo 12687192",
    looked_for="folders UKCHLL### with image.nii.gz and annotation_1.nii.gz to annotation_3.nii.gz",
    raters=("1", "2", "3"),
    classes={"pancreas": 1, "kidney": 2, "liver": 3},
    protocol="curvas-2024",
    defects=(
        Defect(
            "UKCHLL007",
            "2",
            "the published header has another spacing than the image (0.7 against 1.0 mm) while the voxels match: they "
            "are taken by index, and its header is ignored",
            index_aligned=True,
        ),
        Defect(
            "UKCHLL082",
            "3",
            "the published mask has no pancreas: it counts as a vote for background everywhere; leave the rater out of "
            "this case if you hold it for missing",
        ),
    ),
)


def find(tree: Iterable[Folder]) -> list[LayoutCase]:
    """Cases of CURVAS 2024.

    Source: Zenodo 11147560, later 12687192; 20 scans for training, 5 for validation, 65 for testing. Structure:
    ``training_set/training_set/UKCHLL###/`` (nested twice in the archive), ``validation_set/UKCHLL###/``,
    ``testing_set/UKCHLL###/``, each with ``image.nii.gz`` and ``annotation_1.nii.gz`` to ``annotation_3.nii.gz``. Masks
    are label maps: 1 pancreas, 2 kidney, 3 liver; some carry a NIfTI scaling and are read as near-integers, rounded.
    A scan is a patient.
    """
    return find_cases(tree, INFO, re.compile(r"UKCHLL\d+"))
