"""The doors through which image files come in; the suffix chooses the reader."""

import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mrcalib.io import arrays, itk, nifti, nnunet, png
from mrcalib.io.channels import foreground_of, from_logits, single
from mrcalib.io.files import require_file
from mrcalib.io.masks import as_labels
from mrcalib.io.stored import StoredVoxels
from mrcalib.io.volume import Volume
from mrcalib.options import Merge

__all__ = [
    "SUFFIXES",
    "companions",
    "open_stored",
    "read_labels",
    "read_probability",
    "read_volume",
    "require_real",
    "suffix_of",
    "warn_of_steps",
]

_NIFTI = (".nii.gz", ".nii")
_ITK = (".mha", ".mhd", ".nrrd")
SUFFIXES = (*_NIFTI, *_ITK, ".npy", ".npz", ".png")


def read_volume(path: str | Path) -> Volume:
    """Read an image file as stored; channels, if any, are last.

    Parameters
    ----------
    path : str or Path
        A ``.nii``, ``.nii.gz``, ``.mha``, ``.mhd``, ``.nrrd``, ``.npy``, ``.npz`` or ``.png`` file. A ``.npz`` with a 4-D
        array ``probabilities`` is an nnU-Net export and needs the segmentation beside it. A ``.png`` has one grey value
        a pixel and shape (rows, columns), as NumPy users read it.

    Returns
    -------
    Volume
        Voxels in ``(x, y, z)`` order; `geometry` is None for ``.png``, and for ``.npy`` and ``.npz`` not nnU-Net's.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is unknown, or the file is damaged.
    ImportError
        If the suffix needs SimpleITK or Pillow and it is not installed.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(Path(folder.name) / "mask.npy", np.eye(2, dtype=np.uint8))
    >>> read_volume(Path(folder.name) / "mask.npy").shape
    (2, 2)
    >>> folder.cleanup()
    """
    path = Path(path)
    suffix = suffix_of(path)
    require_file(path)
    if suffix in _NIFTI:
        return nifti.read(path)
    if suffix in _ITK:
        return itk.read(path)
    if suffix == ".png":
        return png.read(path)
    if suffix == ".npy":
        return Volume(arrays.read(path), None)
    return _read_npz(path)


def read_probability(
    path: str | Path,
    foreground: tuple[int, ...] | None = None,
    *,
    merge: Merge = "sum",
    values: Literal["probabilities", "logits"] = "probabilities",
) -> Volume:
    """Read the foreground probability from an image file. The range is not checked here.

    Parameters
    ----------
    path : str or Path
        As for `read_volume`; several channels are exclusive classes (or regions, of which one is chosen).
    foreground : tuple of int or None
        The channels that make up the foreground. None: channel 1 of two.
    merge : {"sum", "max"}
        Of several channels: the sum, of exclusive classes; or the largest, of regions that may overlap or nest.
    values : {"probabilities", "logits"}
        What is stored. Logits become probabilities: by the softmax over the channels of exclusive classes
        (``merge="sum"``), else by the sigmoid.

    Returns
    -------
    Volume
        float32, or float64 where the file stores float64.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file holds unscaled integers, `foreground` does not fit its channels, or logits all lie in [0, 1], or as
        `read_volume`.

    Warns
    -----
    UserWarning
        If the file stores scaled integers: the probabilities are quantised.
    """
    path = Path(path)
    volume = read_volume(path)
    warn_of_steps(path)
    require_real(volume.data.dtype, path)
    stored = volume.data.dtype
    if values == "logits":
        volume = from_logits(volume, str(path), merge)
    chosen = foreground_of(volume, foreground, str(path), merge)
    if stored == np.float64 or chosen.data.dtype == np.float32:
        return chosen
    return Volume(chosen.data.astype(np.float32), chosen.geometry)


def warn_of_steps(path: Path) -> None:
    """Warn of a file that stores probabilities as scaled integers."""
    if suffix_of(path) in _NIFTI and (step := nifti.quantisation(path)) is not None:
        fraction = f"1/{round(1 / step)}" if 0 < step < 1 else f"{step:.3g}"
        msg = (
            f"{path} stores its probabilities as scaled integers: they are quantised to {fraction}, "
            "and smaller ones are lost. Write float32 if you can."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def require_real(dtype: np.dtype[Any], path: Path) -> None:
    """Refuse values that are no real numbers as probabilities.

    Raises
    ------
    ValueError
        If they are integers, or not numbers.
    """
    if dtype.kind != "f":
        msg = (
            f"{path} holds {dtype} values; probabilities are real numbers in [0, 1]. "
            "Is it a segmentation? Export the probabilities as float32."
        )
        raise ValueError(msg)


def open_stored(path: str | Path, *, digest: bool = False) -> StoredVoxels | None:
    """An image file whose voxels come in order, one value each; None where the whole file is needed at once.

    That is so for MetaImage, NRRD and PNG, for nnU-Net's exports (whose axes are proved on the whole), and for several
    channels (which a file stores after one another, or which are checked together).

    Parameters
    ----------
    path : str or Path
        As for `read_volume`.
    digest : bool
        Whether SHA-256 of the file is taken on the way.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the suffix is unknown, or the file is damaged.
    """
    path = Path(path)
    suffix = suffix_of(path)
    require_file(path)
    if suffix in _NIFTI:
        stored = nifti.open_stored(path, digest=digest)
        while len(stored.shape) > 3 and stored.shape[-1] == 1:
            stored.shape = stored.shape[:-1]
        streamed = len(stored.shape) <= 3
    elif suffix == ".npy":
        stored, streamed = arrays.open_stored(path, digest=digest), True
    elif suffix == ".npz":
        key, stored = arrays.open_stored_npz(path, digest=digest)
        streamed = key != "softmax" and (key != "probabilities" or len(stored.shape) != 4)
    else:
        return None
    if streamed and stored.shape and 0 not in stored.shape:
        return stored
    stored.close()
    return None


def read_labels(path: str | Path) -> Volume:
    """Read an image of integer labels, such as a vessel segmentation.

    Parameters
    ----------
    path : str or Path
        As for `read_volume`; one value a voxel, within 0.01 of an integer.

    Returns
    -------
    Volume
        Integer labels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a value is NaN or not an integer, or there are several channels, or as `read_volume`.
    """
    volume = single(read_volume(path), str(path))
    return Volume(as_labels(volume.data, str(path)), volume.geometry)


def suffix_of(path: Path) -> str:
    """The supported suffix that `path` ends in.

    Raises
    ------
    ValueError
        If it ends in none; lists them.
    """
    suffix = next((known for known in SUFFIXES if path.name.lower().endswith(known)), None)
    if suffix is None:
        msg = f"{path} has an unknown suffix; expected one of {', '.join(SUFFIXES)}."
        raise ValueError(msg)
    return suffix


def companions(path: Path) -> list[Path]:
    """Other files that reading `path` reads: the data of a ``.mhd``, the segmentation beside an nnU-Net export."""
    if path.name.lower().endswith(".mhd"):
        entries = dict(line.split("=", 1) for line in path.read_text("latin-1").splitlines() if "=" in line)
        named = {key.strip(): value.strip() for key, value in entries.items()}.get("ElementDataFile", "LOCAL")
        return [path.parent / named] if (path.parent / named).is_file() else []
    segmentation = nnunet.find_segmentation(path) if path.name.lower().endswith(".npz") else None
    return [segmentation] if segmentation else []


def _read_npz(path: Path) -> Volume:
    key, array = arrays.read_npz(path)
    if key == "softmax":
        nnunet.refuse_softmax(path)
    if key != "probabilities" or array.ndim != 4:
        return Volume(array, None)
    beside = nnunet.find_segmentation(path)
    if beside is None:
        msg = (
            f"{path} looks like an nnU-Net export, which has no geometry of its own; expected the segmentation of the "
            f"same name ({path.name.removesuffix('.npz')}.nii.gz, .nii, .mha or .nrrd) beside it."
        )
        raise ValueError(msg)
    return nnunet.orient(array.astype(np.float32, copy=False), read_labels(beside), path)
