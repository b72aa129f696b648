"""Phantoms on disk: NIfTI files and a manifest."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcalib.simulate._nifti import write_nifti

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from mrcalib.simulate._phantom import Phantom


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
            write_nifti(folder / path, array, phantom.spacing)
        rows.append(row)
    if not rows:
        msg = "phantoms must hold at least one phantom; an iterator that was consumed before holds none."
        raise ValueError(msg)

    manifest = folder / "manifest.csv"
    unfinished = folder / ".manifest.csv"
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return unfinished.replace(manifest)
