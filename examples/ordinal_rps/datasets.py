"""Data sets that are one file, or one folder, for all images: CoCaHis, LongCIU, and stacks of crops in an archive."""

import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats import require_file
from mrcalib.io.geometry import Geometry, require_match
from mrcalib.io.layouts.tree import split_named
from mrcalib.io.masks import as_labels, as_votes
from mrcalib.io.readers import read_volume
from ordinal_rps.images import AnnotatedImage

Stain = Literal["raw", "sn1", "sn2"]
_ATTRIBUTES = ("patient_num", "image_num", "train_test_split")
_COCAHIS_RATERS = tuple(f"GT{k}" for k in range(1, 8))


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
        msg = f"Reading {path} needs h5py: pip install h5py."
        raise ImportError(msg) from error
    return _cocahis_images(h5py, path, stain)


def _cocahis_images(h5py: Any, path: Path, stain: str) -> Iterator[AnnotatedImage]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        msg = f"{path} cannot be read as HDF5: {error}. The file is damaged; download it again."
        raise ValueError(msg) from error
    with file:
        needed = [f"HE/{stain}", *(f"GT/{rater}" for rater in _COCAHIS_RATERS)]
        lacking = [name for name in needed if name not in file]
        if lacking:
            msg = f"{path} lacks {', '.join(lacking)}; expected the layout of CoCaHis."
            raise ValueError(msg)
        images, masks = file[needed[0]], {rater: file[f"GT/{rater}"] for rater in _COCAHIS_RATERS}
        patients, numbers, splits = (_words(file["HE"], key, len(images), path) for key in _ATTRIBUTES)
        where = _cocahis_splits(patients, splits, path)
        for rater, mask in masks.items():
            if mask.shape != images.shape[:3]:
                msg = f"GT/{rater} of {path} has shape {mask.shape}; expected {images.shape[:3]}, as the images."
                raise ValueError(msg)
        for i in range(len(images)):
            name = f"{patients[i]}_{numbers[i]}"
            votes = {rater: _cocahis_votes(mask[i], f"GT/{rater} of {path}") for rater, mask in masks.items()}
            yield AnnotatedImage(name, patients[i], images[i], votes, where[i])


def _cocahis_votes(mask: npt.NDArray[np.generic], name: str) -> npt.NDArray[np.uint8]:
    """0 and 1, or 0 and 255; ValueError for other labels, and for both conventions in one mask."""
    return as_votes(mask, (255,) if set(np.unique(mask).tolist()) <= {0, 255} else None, name)


def _words(node: Any, key: str, n: int, path: Path) -> list[str]:
    values = np.ravel(node.attrs[key]) if key in node.attrs else np.array([])
    if len(values) != n:
        msg = f"The attribute {key} of HE in {path} has {len(values)} values; expected one for each of the {n} images."
        raise ValueError(msg)
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]


def _cocahis_splits(patients: list[str], splits: list[str], path: Path) -> list[str]:
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


Target = Literal["any", "ggo", "consolidation"]
_LONGCIU_LABELS: Mapping[Target, tuple[int, ...]] = {"any": (1, 2), "ggo": (1,), "consolidation": (2,)}
_LONGCIU_SPLITS = {"train": "training", "val": "validation", "test": "testing"}
_LONGCIU_RATERS = ("1", "2", "3")


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
    masks = {rater: _longciu_mask(root, rater, image.geometry, str(path), target) for rater in _LONGCIU_RATERS}
    where = _longciu_splits(root / "longciu_splits.json", image.shape[2])
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


def _longciu_mask(root: Path, rater: str, geometry: Geometry, name: str, target: Target) -> npt.NDArray[np.uint8]:
    path = root / f"longciu_{rater}_tgt.nii.gz"
    mask = read_volume(path)
    if mask.geometry is not None:
        require_match(mask.geometry, str(path), geometry, name)
    labels = as_labels(mask.data, str(path))
    found = np.unique(labels)
    if not set(found.tolist()) <= {0, 1, 2}:
        msg = f"{path} holds the labels {found.tolist()}; expected 0, 1 (ground-glass opacity) and 2 (consolidation)."
        raise ValueError(msg)
    return as_votes(labels, _LONGCIU_LABELS[target], str(path))


def _longciu_splits(path: Path, n_slices: int) -> list[str]:
    require_file(path)
    try:
        told = {name: [int(z) for z in json.loads(path.read_text(encoding="utf-8"))[name]] for name in _LONGCIU_SPLITS}
    except (KeyError, TypeError, ValueError) as error:
        msg = f'{path} must hold {{"train": [...], "val": [...], "test": [...]}} with numbers of slices; {error!r}.'
        raise ValueError(msg) from error
    if sorted(z for slices in told.values() for z in slices) != list(range(n_slices)):
        msg = f"{path} must name each of the {n_slices} slices, 0 to {n_slices - 1}, once in one split."
        raise ValueError(msg)
    home = {z: _LONGCIU_SPLITS[name] for name, slices in told.items() for z in slices}
    return [home[z] for z in range(n_slices)]


_STACK_SPLITS = {0: "training", 1: "validation", 2: "testing"}

_Arrays = Mapping[str, npt.NDArray[np.generic]]


def read_image_stack(path: str | Path, *, splits: Mapping[int, str] | None = None) -> list[AnnotatedImage]:
    """Read the images and masks of a NumPy archive.

    Parameters
    ----------
    path : str or Path
        A ``.npz`` file with ``image`` (n, H, W) or (n, H, W, channels) and ``masks`` (n, R, H, W), of 0 and 1 or packed
        along the last axis by ``np.packbits`` (n, R, H, ceil(W / 8)). ``patient`` (n,) is required, since images of a
        patient may not be on both sides of a split; ``nodule``, ``slice`` and ``split`` (n,) are optional. So is
        ``present`` (n, R), which is 0 where a rater is missing; without it, an empty mask is a vote for background.
    splits : mapping of int to str, optional
        What the numbers in ``split`` mean: "training", "validation" or "testing". By default 0, 1, 2 in this order.

    Returns
    -------
    list of AnnotatedImage
        In the order of the archive; its arrays are views where possible. Named after patient, nodule and slice where
        these are there, else numbered; the group is the patient. Raters are "1", "2", ...: in LIDC slots, not persons.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If an array is missing or of another shape, masks hold other values, a split is not named or a patient is in
        several of them, or a name is there twice.

    Examples
    --------
    >>> import tempfile
    >>> masks = np.zeros((2, 4, 8, 8), np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "stack.npz"
    ...     np.savez(path, image=np.zeros((2, 8, 8), np.uint8), masks=np.packbits(masks, axis=-1), patient=[7, 9])
    ...     [(image.id, image.group, image.shape, len(image.raters)) for image in read_image_stack(path)]
    [('7_0', '7', (8, 8), 4), ('9_1', '9', (8, 8), 4)]
    """
    path = Path(path)
    require_file(path)
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    _require(arrays, ("image", "masks", "patient"), path)
    image = arrays["image"]
    votes = _stack_votes(arrays["masks"], image, path)
    _check_rows(arrays, votes.shape[:2], path)
    names = list(_stack_names(arrays))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:5]
        msg = f"{path} holds several images of one patient, nodule and slice: {', '.join(twice)}."
        raise ValueError(msg)
    where = _stack_splits(arrays, _STACK_SPLITS if splits is None else splits, path)
    here = arrays.get("present", np.ones(votes.shape[:2], bool)) != 0
    return [
        AnnotatedImage(
            id=name,
            group=str(arrays["patient"][i]),
            image=image[i],
            raters={str(r + 1): votes[i, r] if here[i, r] else None for r in range(votes.shape[1])},
            split=where[i],
        )
        for i, name in enumerate(names)
    ]


def _require(arrays: _Arrays, names: tuple[str, ...], path: Path) -> None:
    lacking = [name for name in names if name not in arrays]
    if lacking:
        msg = f"{path} must hold the arrays {', '.join(names)}; it lacks {', '.join(lacking)} and holds {', '.join(arrays)}."
        raise ValueError(msg)


def _stack_votes(masks: npt.NDArray[np.generic], image: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.uint8]:
    expected = (image.shape[0], masks.shape[1] if masks.ndim > 1 else 0, *image.shape[1:3])
    packed = (*expected[:3], -(-expected[3] // 8)) if image.ndim in (3, 4) else ()
    if image.ndim in (3, 4) and masks.shape == expected:
        return as_votes(masks, None, f"masks of {path}")
    if masks.shape == packed and masks.dtype == np.uint8:
        return np.unpackbits(masks.astype(np.uint8, copy=False), axis=-1, count=expected[3])
    msg = (
        f"masks of {path} must have shape (n, R, H, W), or be uint8 of shape (n, R, H, ceil(W / 8)) as np.packbits makes "
        f"them, for an image of shape (n, H, W) or (n, H, W, channels); got {masks.shape} for {image.shape}."
    )
    raise ValueError(msg)


def _check_rows(arrays: _Arrays, shape: tuple[int, ...], path: Path) -> None:
    for name in ("patient", "nodule", "slice", "split", "present"):
        expected = shape if name == "present" else shape[:1]
        if name in arrays and arrays[name].shape != expected:
            msg = f"{name} of {path} must have shape {expected}; got {arrays[name].shape}."
            raise ValueError(msg)


def _stack_names(arrays: _Arrays) -> Iterator[str]:
    keys = [name for name in ("patient", "nodule", "slice") if name in arrays]
    for i in range(len(arrays["patient"])):
        parts = [str(arrays[key][i]) for key in keys]
        yield "_".join(parts if "slice" in arrays else [*parts, str(i)])


def _stack_splits(arrays: _Arrays, names: Mapping[int, str], path: Path) -> list[str]:
    if "split" not in arrays:
        return [""] * len(arrays["patient"])
    codes = [int(code) for code in arrays["split"].astype(np.int64)]
    unknown = sorted({code for code in codes if not split_named(names.get(code, ""))})
    if unknown:
        msg = (
            f"split of {path} holds {unknown}; say what that means, such as "
            f"splits={{{unknown[0]}: 'testing'}} ('training', 'validation' or 'testing')."
        )
        raise ValueError(msg)
    home: dict[str, int] = {}
    for patient, code in zip(arrays["patient"], codes, strict=True):
        if home.setdefault(str(patient), code) != code:
            msg = f"{path}: patient {patient} is in two splits, {home[str(patient)]} and {code}; expected one."
            raise ValueError(msg)
    return [split_named(names[code]) for code in codes]
