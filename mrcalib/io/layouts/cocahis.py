"""CoCaHis: liver metastases of colon cancer in 82 stained frozen sections, seven raters; one HDF5 file."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats import require_file
from mrcalib.io.layouts.annotated import AnnotatedImage
from mrcalib.io.layouts.tree import split_named
from mrcalib.io.masks import as_votes

__all__ = ["read_cocahis"]

Stain = Literal["raw", "sn1", "sn2"]
_RATERS = tuple(f"GT{k}" for k in range(1, 8))


def read_cocahis(path: str | Path, stain: Stain = "raw") -> Iterator[AnnotatedImage]:
    """Read the images of CoCaHis one by one.

    Source: cocahis.irb.hr. Structure: ``CoCaHis.hdf5`` with ``HE/raw``, ``HE/sn1`` and ``HE/sn2`` (82, 1037, 1388, 3), the
    stained sections as scanned and with two normalisations of the stain; on ``HE`` the attributes ``train_test_split``,
    ``patient_num`` and ``image_num``; ``GT/GT1`` to ``GT/GT7`` (82, 1037, 1388) of 0 and 1, in some copies 0 and 255, and
    ``GT/GT_majority_vote``, which is a consensus and no rater. The 82 sections are of 19 patients (a paper calls them
    whole slides of colon; they are frozen sections of the liver): patients are the groups.

    Parameters
    ----------
    path : str or Path
        The file. Reading it needs h5py.
    stain : {"raw", "sn1", "sn2"}, default="raw"
        As scanned, or one of the normalisations.

    Yields
    ------
    AnnotatedImage
        In the order of the file, named ``<patient>_<image number>``, of shape (rows, columns) with three channels. Its
        training part holds no validation images: take patients from it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If h5py is not installed.
    ValueError
        If the file holds something else than said above, or a patient is both in training and in testing.
    """
    if stain not in get_args(Stain):
        msg = f"stain must be one of {', '.join(get_args(Stain))}; got {stain!r}."
        raise ValueError(msg)
    path = Path(path)
    require_file(path)
    try:
        h5py: Any = import_module("h5py")
    except ImportError as error:
        msg = f"Reading {path} needs h5py: pip install 'mrcalib[hdf5]'."
        raise ImportError(msg) from error
    return _images(h5py, path, stain)


def _images(h5py: Any, path: Path, stain: str) -> Iterator[AnnotatedImage]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} cannot be read as HDF5: {error}. The file is damaged; download it again."
        raise ValueError(msg) from error
    with file:
        needed = [f"HE/{stain}", *(f"GT/{rater}" for rater in _RATERS)]
        lacking = [name for name in needed if name not in file]
        if lacking:
            msg = f"{path} lacks {', '.join(lacking)}; expected the layout of CoCaHis."
            raise ValueError(msg)
        images, masks = file[needed[0]], {rater: file[f"GT/{rater}"] for rater in _RATERS}
        patients, numbers, splits = (_words(file["HE"], key, len(images), path) for key in _ATTRIBUTES)
        where = _splits(patients, splits, path)
        for rater, mask in masks.items():
            if mask.shape != images.shape[:3]:
                msg = f"GT/{rater} of {path} has shape {mask.shape}; expected {images.shape[:3]}, as the images."
                raise ValueError(msg)
        for i in range(len(images)):
            name = f"{patients[i]}_{numbers[i]}"
            votes = {rater: _votes(mask[i], f"GT/{rater} of {path}") for rater, mask in masks.items()}
            yield AnnotatedImage(name, patients[i], images[i], votes, where[i])


_ATTRIBUTES = ("patient_num", "image_num", "train_test_split")


def _votes(mask: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    """0 and 1, or 0 and 255; ValueError for other labels, and for both conventions in one mask."""
    return as_votes(mask, (255,) if set(np.unique(mask).tolist()) <= {0, 255} else None, name)


def _words(node: Any, key: str, n: int, path: Path) -> list[str]:
    values = np.ravel(node.attrs[key]) if key in node.attrs else np.array([])
    if len(values) != n:
        msg = f"The attribute {key} of HE in {path} has {len(values)} values; expected one for each of the {n} images."
        raise ValueError(msg)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _splits(patients: list[str], splits: list[str], path: Path) -> list[str]:
    found = [split_named(name) for name in splits]
    if not all(found):
        msg = f"train_test_split of {path} holds {sorted(set(splits))}; expected 'train' and 'test'."
        raise ValueError(msg)
    home: dict[str, str] = {}
    for patient, split in zip(patients, found, strict=True):
        if home.setdefault(patient, split) != split:
            msg = f"{path}: patient {patient} is in two splits; expected one."
            raise ValueError(msg)
    return found
