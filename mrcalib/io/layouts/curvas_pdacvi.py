"""CURVAS-PDACVI 2025: pancreatic tumours and the vessels beside them, five raters."""

import re
from collections.abc import Iterable
from pathlib import Path

from mrcalib.io.layouts.curvas import find_cases
from mrcalib.io.layouts.model import LayoutCase, LayoutInfo
from mrcalib.io.layouts.tree import Folder

__all__ = ["INFO", "find"]

INFO = LayoutInfo(
    name="curvas-pdacvi",
    title="CURVAS-PDACVI 2025",
    source="Zenodo 15401568",
    looked_for="folders CURVASPDAC_##### with image.nii.gz and annotation_1.nii.gz to annotation_5.nii.gz",
    raters=("PANORAMA", "2", "3", "4", "5"),
    vessel_labels={"PORTA": 1, "SMV": 2, "AORTA": 3, "CELIAC TRUNK": 4, "SMA": 5},
    protocol="curvas-pdacvi",
)


def find(tree: Iterable[Folder]) -> list[LayoutCase]:
    """Cases of CURVAS-PDACVI.

    Source: Zenodo 15401568, later 15593628; 40 public training scans. Structure: ``CURVASPDAC_#####/`` with
    ``image.nii.gz``, ``annotation_1.nii.gz`` (taken over from PANORAMA) to ``annotation_5.nii.gz`` (the other experts),
    ``annotation_staple.nii.gz`` (a consensus, never a rater) and a vessel file, whose name is not documented: the image
    with "vasc" or "vessel" in its name, labels 1 portal vein, 2 superior mesenteric vein, 3 aorta, 4 celiac trunk,
    5 superior mesenteric artery. Masks hold 0 and 1 as float64 or integers; some scans have 1024 x 1024 pixels or
    as few as 55 slices. A scan is a patient.
    """
    return find_cases(tree, INFO, re.compile(r"CURVASPDAC_\d+"), _vessels)


def _vessels(folder: Folder) -> Path | None:
    found = [path for name, path in folder.images.items() if re.search("vasc|vessel", name, re.IGNORECASE)]
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        msg = (
            f"{folder.path} has {len(found)} images named after vessels ({names}); expected one. Move the others away."
        )
        raise ValueError(msg)
    return found[0] if found else None
