"""LongCIU: ground-glass opacities and consolidations of Long COVID in 90 CT slices, three raters."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats import require_file
from mrcalib.io.geometry import Geometry, require_match
from mrcalib.io.layouts.annotated import AnnotatedImage
from mrcalib.io.masks import as_labels, as_votes
from mrcalib.io.readers import read_volume

__all__ = ["read_longciu"]

Target = Literal["any", "ggo", "consolidation"]
_LABELS: Mapping[Target, tuple[int, ...]] = {"any": (1, 2), "ggo": (1,), "consolidation": (2,)}
_SPLITS = {"train": "training", "val": "validation", "test": "testing"}
_RATERS = ("1", "2", "3")


def read_longciu(folder: str | Path, target: Target = "any") -> list[AnnotatedImage]:
    """Read the slices of LongCIU.

    Source: doi 10.25820/data.007301. Structure: one folder with ``longciu_img.nii.gz`` (90 slices in Hounsfield units),
    ``longciu_1_tgt.nii.gz`` to ``longciu_3_tgt.nii.gz`` (0 background, 1 ground-glass opacity, 2 consolidation) and
    ``longciu_splits.json``, which gives the slices of "train", "val" and "test" by number. ``longciu_STAPLE_tgt.nii.gz`` is a
    consensus, made slice by slice, and ``longciu_medpseg_output.nii.gz`` a network's answer; they are no raters, so there are
    270 independent masks, not 360.

    Slices count along the third axis of ``(x, y, z)``; read as ``[z, y, x]`` by SimpleITK it is the first.

    Parameters
    ----------
    folder : str or Path
        Where these files lie.
    target : {"any", "ggo", "consolidation"}, default="any"
        What is foreground. The paper that trains on LongCIU (arXiv:2605.02437) does not say; "any" is both.

    Returns
    -------
    list of AnnotatedImage
        One a slice, "longciu_z00" to "longciu_z89", of shape (x, y). Whose slice it is is not published: each is a group of
        its own, and intervals are too narrow where several are of one patient.

    Raises
    ------
    FileNotFoundError
        If the image, a mask or the splits are missing.
    GeometryError
        If a mask lies elsewhere than the image.
    ValueError
        If `target` is unknown, labels are others than 0, 1 and 2, or the splits do not name every slice once.
    """
    if target not in get_args(Target):
        msg = f"target must be one of {', '.join(get_args(Target))}; got {target!r}."
        raise ValueError(msg)
    root = Path(folder).expanduser()
    path = root / "longciu_img.nii.gz"
    image = read_volume(path)
    if image.geometry is None or len(image.shape) != 3:
        msg = f"{path} has shape {image.shape}; expected slices along the third axis."
        raise ValueError(msg)
    masks = {rater: _mask(root, rater, image.geometry, str(path), target) for rater in _RATERS}
    where = _splits(root / "longciu_splits.json", image.shape[2])
    return [
        AnnotatedImage(
            id=f"longciu_z{z:02d}",
            group=f"longciu_z{z:02d}",
            image=image.data[:, :, z],
            raters={rater: mask[:, :, z] for rater, mask in masks.items()},
            split=where[z],
            spacing=image.geometry.spacing[:2],
        )
        for z in range(image.shape[2])
    ]


def _mask(root: Path, rater: str, geometry: Geometry, name: str, target: Target) -> npt.NDArray[np.uint8]:
    path = root / f"longciu_{rater}_tgt.nii.gz"
    mask = read_volume(path)
    if mask.geometry is not None:
        require_match(mask.geometry, str(path), geometry, name)
    labels = as_labels(mask.data, str(path))
    found = np.unique(labels)
    if not set(found.tolist()) <= {0, 1, 2}:
        msg = f"{path} holds the labels {found.tolist()}; expected 0, 1 (ground-glass opacity) and 2 (consolidation)."
        raise ValueError(msg)
    return as_votes(labels, _LABELS[target], str(path))


def _splits(path: Path, n_slices: int) -> list[str]:
    require_file(path)
    try:
        told = {name: [int(z) for z in json.loads(path.read_text(encoding="utf-8"))[name]] for name in _SPLITS}
    except (KeyError, TypeError, ValueError) as error:
        msg = f'{path} must hold {{"train": [...], "val": [...], "test": [...]}} with numbers of slices; {error!r}.'
        raise ValueError(msg) from error
    if sorted(z for slices in told.values() for z in slices) != list(range(n_slices)):
        msg = f"{path} must name each of the {n_slices} slices, 0 to {n_slices - 1}, once in one split."
        raise ValueError(msg)
    home = {z: _SPLITS[name] for name, slices in told.items() for z in slices}
    return [home[z] for z in range(n_slices)]
