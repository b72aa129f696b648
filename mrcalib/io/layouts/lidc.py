"""Crops of lung nodules derived from LIDC-IDRI, four readers."""

import re
from collections.abc import Iterable

from mrcalib.io.layouts.model import LayoutCase, LayoutInfo
from mrcalib.io.layouts.tree import Folder, numbered, parents_of, split_named

__all__ = ["INFO", "find", "refusal"]

INFO = LayoutInfo(
    name="lidc",
    title="LIDC-IDRI, derived crops",
    source="doi 10.7937/K9/TCIA.2015.LO9QL9SX",
    looked_for="PNG pairs images/<patient>/<name>.png and gt/<patient>/<name>_l0.png to _l3.png, or folders "
    "P####_N# with annotation_1.nii.gz to annotation_4.nii.gz",
    raters=("1", "2", "3", "4"),
    positive=(1, 255),
    remarks=(
        "LIDC's rater numbers are slots, not persons: reader 1 of one patient is not reader 1 of another. "
        "single-rater, hard-label and every per-rater figure then speak of slots; conclusions on a reader do not hold",
    ),
)

_NODULE = re.compile(r"(P\d+)_N\d+")
_MASK = re.compile(r"(.+)_l([0-3])")


def find(tree: Iterable[Folder]) -> list[LayoutCase]:
    """Cases of two public derivatives of LIDC-IDRI; the patient is the group.

    Source: LIDC-IDRI (The Cancer Imaging Archive, doi 10.7937/K9/TCIA.2015.LO9QL9SX). Up to four readers marked each
    nodule; a reader who marked nothing gave an empty mask, a vote for background, and is not missing. A slot is not a
    person: what is fitted to one rater does not carry over to other patients.

    PNG slices, as exported for the Probabilistic U-Net: ``images/<patient>/z-105.0_c0.png`` with
    ``gt/<patient>/z-105.0_c0_l0.png`` to ``_l3.png``, also below ``train``, ``val`` and ``test``; the case is named
    ``<patient>_z-105.0_c0``, masks hold 0 and 255 (or 1). A PNG has its rows first and no header, so predictions must
    be ``.npy`` or ``.npz`` of shape (rows, columns).

    Nodule volumes: ``P0003_N1/`` with ``image.nii.gz``, ``annotation_1.nii.gz`` to ``annotation_4.nii.gz`` and
    the predictions of an ensemble, ``prob_1.nii.gz`` ... (``prob_single`` is no member of it).

    The export as a pickle is refused: see `refusal`.
    """
    folders = list(tree)
    slices, nodules = _slices(folders), [_nodule(folder) for folder in folders if _is_nodule(folder)]
    if slices and nodules:
        msg = (
            f"{folders[0].path} holds both LIDC slices as PNG ({slices[0].id}) and LIDC nodules as volumes "
            f"({nodules[0].id}); name the folder of one of them."
        )
        raise ValueError(msg)
    return slices or nodules


def refusal(tree: Iterable[Folder]) -> str:
    """Why a pickle that lies there is not read; "" if there is none."""
    pickles = [
        folder.path / name for folder in tree for name in folder.files if name.lower().endswith((".pickle", ".pkl"))
    ]
    if not pickles:
        return ""
    return (
        f" {pickles[0]} is a Python pickle, as LIDC crops are also spread: opening one runs whatever code is in it, so "
        "mrcalib never does. Convert it where you trust its origin, to PNG or NIfTI files or with numpy.save."
    )


def _slices(folders: Iterable[Folder]) -> list[LayoutCase]:
    by_path = {folder.path: folder for folder in folders}
    cases = []
    for folder in by_path.values():
        patient, above = folder.path.name, parents_of(folder.path)
        if above[0].name != "gt":
            continue
        images = by_path.get(folder.path.parent.parent / "images" / patient)
        stems = dict.fromkeys(match[1] for name in folder.images if (match := _MASK.fullmatch(name)))
        cases += [
            LayoutCase(
                id=f"{patient}_{stem}",
                group=patient,
                raters={str(slot + 1): folder.images.get(f"{stem}_l{slot}") for slot in range(4)},
                image=None if images is None else images.images.get(stem),
                split=split_named(above[1].name),
            )
            for stem in stems
        ]
    return cases


def _is_nodule(folder: Folder) -> bool:
    return bool(_NODULE.fullmatch(folder.path.name) and numbered(folder.images, r"annotation_(\d+)"))


def _nodule(folder: Folder) -> LayoutCase:
    masks, members = (numbered(folder.images, rf"{role}_(\d+)") for role in ("annotation", "prob"))
    used = {*(masks.get(slot) for slot in range(1, 5)), *members.values()}
    return LayoutCase(
        id=folder.path.name,
        group=folder.path.name.partition("_")[0],
        raters={str(slot): folder.images[masks[slot]] if slot in masks else None for slot in range(1, 5)},
        image=folder.images.get("image"),
        probs=tuple(folder.images[name] for name in members.values()),
        left_out=tuple(
            name for name in folder.images if name.startswith(("annotation_", "prob_")) and name not in used
        ),
    )
