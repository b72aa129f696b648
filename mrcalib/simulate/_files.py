"""Phantoms on disk: with a manifest, or laid out as the CURVAS-PDACVI data set."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcalib.io import Geometry, atomic_write, write_labels, write_probability

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mrcalib.simulate._phantom import Phantom

_RATERS = 5


def write_dataset(folder: str | Path, phantoms: Iterable[Phantom]) -> Path:
    """Write phantoms as NIfTI files with a manifest, laid out as a reader study would be.

    ``images/{case}.nii.gz`` (float32), ``preds/{case}_{member}.nii.gz`` (float32), ``labels/{case}/annotation_{rater}``
    ``.nii.gz`` (uint8), ``rois/{case}.nii.gz`` (uint8) and ``manifest.csv``: one row a case with the columns ``case``,
    ``group``, ``image``, ``roi``, ``prob_1`` ..., ``annotation_1`` ..., paths relative to the manifest. Axes are RAS+,
    the world's origin is the middle of the volume. The truth is not written: real data have none.

    Files of the same name are replaced. The manifest comes last, so that a folder with one is complete.

    Parameters
    ----------
    folder : str or Path
        Where to write; created if need be.
    phantoms : iterable of Phantom
        Cases with the same raters and the same number of members, consumed one by one.

    Returns
    -------
    Path
        The manifest.

    Raises
    ------
    ValueError
        If there is no phantom, two share an id, or their raters or numbers of members differ.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.simulate import phantoms, write_dataset
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manifest = write_dataset(folder, phantoms(2, (16, 16, 8), n_raters=2, n_members=1, rng=0))
    ...     print(manifest.read_text().splitlines()[0])
    case,group,image,roi,prob_1,annotation_1,annotation_2
    """
    folder = Path(folder)
    rows: list[dict[str, str]] = []
    for phantom in phantoms:
        arrays: dict[str, tuple[str, NDArray[Any]]] = {
            "image": (f"images/{phantom.id}.nii.gz", phantom.image),
            "roi": (f"rois/{phantom.id}.nii.gz", phantom.roi.astype(np.uint8)),
        }
        for k, member in enumerate(phantom.members, start=1):
            arrays[f"prob_{k}"] = (f"preds/{phantom.id}_{k}.nii.gz", member)
        for name, mask in zip(phantom.rater_names, phantom.raters, strict=True):
            arrays[f"annotation_{name}"] = (f"labels/{phantom.id}/annotation_{name}.nii.gz", mask)
        row = {"case": phantom.id, "group": phantom.group} | {column: path for column, (path, _) in arrays.items()}
        if rows and row.keys() != rows[0].keys():
            msg = (
                f"Phantoms of one data set share their raters and members; {phantom.id!r} has {sorted(row)}, "
                f"{rows[0]['case']!r} has {sorted(rows[0])}. Write them to separate folders."
            )
            raise ValueError(msg)
        if any(row["case"] == other["case"] for other in rows):
            msg = f"Two phantoms have the id {phantom.id!r}; their files would overwrite each other."
            raise ValueError(msg)
        for path, array in arrays.values():
            _write(folder / path, array, phantom.spacing)
        rows.append(row)
    if not rows:
        msg = "phantoms must hold at least one phantom; an iterator that was consumed before holds none."
        raise ValueError(msg)

    manifest = folder / "manifest.csv"
    with atomic_write(manifest) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def write_curvas_pdacvi(folder: str | Path, phantoms: Iterable[Phantom], *, coarse_mm: float = 5.0) -> Path:
    """Write phantoms in the layout of CURVAS-PDACVI, with predictions beside them.

    ``training_set/CURVASPDAC_00001/`` ... holds ``image.nii.gz`` (float32), ``annotation_1.nii.gz`` to ``annotation_5``
    ``.nii.gz`` (uint8), ``annotation_staple.nii.gz`` (uint8) and, of phantoms that have vessels, ``vessels.nii.gz``
    (uint8, labels 1 to 5). The published consensus is by STAPLE; here a majority vote stands in for it, since no reader
    of the layout may use it as a rater. Outside the data set, as a user's own files are:
    ``predictions/CURVASPDAC_00001_1.nii.gz`` ... (float32, one for each member), and ``coarse/CURVASPDAC_00001.nii.gz``
    (uint8), the organ as a coarse first stage sees it: a majority vote over blocks of ``coarse_mm``, on the same voxels.

    Parameters
    ----------
    folder : str or Path
        Where to write; created if need be. Its ``training_set`` must be new: the folders are the list of cases.
    phantoms : iterable of Phantom
        Cases with five raters, consumed one by one, numbered in their order.
    coarse_mm : float
        Edge of the coarse mask's blocks in mm, positive; at least one voxel.

    Returns
    -------
    Path
        ``folder/training_set``.

    Raises
    ------
    ValueError
        If there is no phantom, one has not five raters, `coarse_mm` is not positive, or ``training_set`` holds files.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.simulate import phantoms, write_curvas_pdacvi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     data = write_curvas_pdacvi(folder, phantoms(1, (16, 16, 8), n_members=1, rng=0))
    ...     print(*sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.nii.gz"))[:3])
    coarse/CURVASPDAC_00001.nii.gz predictions/CURVASPDAC_00001_1.nii.gz training_set/CURVASPDAC_00001/annotation_1.nii.gz
    """
    if not 0 < coarse_mm < math.inf:
        msg = f"coarse_mm must be a positive, finite number; got {coarse_mm!r}."
        raise ValueError(msg)
    folder = Path(folder)
    training = folder / "training_set"
    if training.exists() and any(training.iterdir()):
        msg = f"{training} holds files, which would count as cases; give a new folder."
        raise ValueError(msg)
    number = 0
    for number, phantom in enumerate(phantoms, start=1):
        name = f"CURVASPDAC_{number:05d}"
        if len(phantom.raters) != _RATERS:
            msg = f"CURVAS-PDACVI has {_RATERS} raters; phantom {phantom.id!r} has {len(phantom.raters)}. Use write_dataset."
            raise ValueError(msg)
        for path, array in _files(name, phantom, coarse_mm).items():
            _write(folder / path, array, phantom.spacing)
    if not number:
        msg = "phantoms must hold at least one phantom; an iterator that was consumed before holds none."
        raise ValueError(msg)
    return training


def _files(name: str, phantom: Phantom, coarse_mm: float) -> dict[str, NDArray[Any]]:
    """The arrays of a case by their paths, the predictions first: a case that is listed has them."""
    case = f"training_set/{name}"
    files: dict[str, NDArray[Any]] = {
        f"predictions/{name}_{k}.nii.gz": member for k, member in enumerate(phantom.members, start=1)
    }
    files[f"coarse/{name}.nii.gz"] = _coarse(phantom.roi, phantom.spacing, coarse_mm)
    files[f"{case}/image.nii.gz"] = phantom.image
    if phantom.vessels is not None:
        files[f"{case}/vessels.nii.gz"] = phantom.vessels
    files[f"{case}/annotation_staple.nii.gz"] = (2 * phantom.raters.sum(0) > _RATERS).astype(np.uint8)
    for k, mask in enumerate(phantom.raters, start=1):
        files[f"{case}/annotation_{k}.nii.gz"] = mask
    return files


def _coarse(organ: NDArray[np.bool_], spacing: tuple[float, float, float], edge: float) -> NDArray[np.uint8]:
    """The majority in each block, spread over its voxels again."""
    share = organ.astype(np.float64)
    for axis, step in enumerate(spacing):
        block = max(1, round(edge / step))
        starts = np.arange(0, organ.shape[axis], block)
        sizes = np.diff([*starts, organ.shape[axis]])
        shape = [1, 1, 1]
        shape[axis] = len(sizes)
        share = np.add.reduceat(share, starts, axis=axis) / sizes.reshape(shape)
        share = np.repeat(share, sizes, axis=axis)
    return (share >= 0.5).astype(np.uint8)


def _write(path: Path, array: NDArray[Any], spacing: tuple[float, float, float]) -> None:
    """Write an image or a label map with RAS+ axes and the world's origin in its middle."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -0.5 * np.multiply(spacing, np.subtract(array.shape, 1))
    write = write_probability if array.dtype.kind == "f" else write_labels
    write(path, array, Geometry(array.shape, affine))
