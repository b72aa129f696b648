"""Crops or slices of one size in a single NumPy archive, as LIDC-like derivatives are passed around."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats import require_file
from mrcalib.io.layouts.annotated import AnnotatedImage
from mrcalib.io.layouts.tree import split_named
from mrcalib.io.masks import as_votes

__all__ = ["read_image_stack"]

SPLITS = {0: "training", 1: "validation", 2: "testing"}

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
    votes = _votes(arrays["masks"], image, path)
    _check_rows(arrays, votes.shape[:2], path)
    names = list(_names(arrays))
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})[:5]
        msg = f"{path} holds several images of one patient, nodule and slice: {', '.join(twice)}."
        raise ValueError(msg)
    where = _splits(arrays, SPLITS if splits is None else splits, path)
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


def _votes(masks: npt.NDArray[np.generic], image: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.uint8]:
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


def _names(arrays: _Arrays) -> Iterator[str]:
    keys = [name for name in ("patient", "nodule", "slice") if name in arrays]
    for i in range(len(arrays["patient"])):
        parts = [str(arrays[key][i]) for key in keys]
        yield "_".join(parts if "slice" in arrays else [*parts, str(i)])


def _splits(arrays: _Arrays, names: Mapping[int, str], path: Path) -> list[str]:
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
