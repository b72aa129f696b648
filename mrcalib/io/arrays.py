"""NumPy files: voxels without a header."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib._files import atomic_write

__all__ = ["read", "read_npz", "write_probability"]

_KEYS = ("probs", "probabilities", "mask", "softmax")


def read(path: Path) -> npt.NDArray[np.generic]:
    """Read a ``.npy`` array; pickles are refused.

    Raises
    ------
    ValueError
        If the file is damaged or holds Python objects.
    """
    try:
        with path.open("rb") as file:
            array: npt.NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read as a NumPy array: {error}. Save plain numbers with numpy.save."
        raise ValueError(msg) from error
    return array


def read_npz(path: Path) -> tuple[str, npt.NDArray[np.generic]]:
    """Read the image of a ``.npz`` archive and the key it lies under; pickles are refused.

    Parameters
    ----------
    path : Path
        An archive with a key ``probs``, ``probabilities`` or ``mask`` (the first that is there), or with one key.

    Returns
    -------
    key : str
    array : ndarray

    Raises
    ------
    ValueError
        If the archive is damaged, holds Python objects, or has several keys and none of the known ones.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            keys = list(archive.files)
            key = next((known for known in _KEYS if known in keys), keys[0] if len(keys) == 1 else None)
            if key is not None:
                return key, archive[key]
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        msg = f"{path} cannot be read as a NumPy archive: {error}. Save plain numbers with numpy.savez_compressed."
        raise ValueError(msg) from error
    msg = f"{path} must hold its image under the key 'probs', 'probabilities' or 'mask', or one key only; got {keys}."
    raise ValueError(msg)


def write_probability(path: Path, data: npt.ArrayLike) -> None:
    """Write probabilities as float32 to ``.npy``, or to ``.npz`` under the key ``probs``, whole or not at all."""
    array = np.asarray(data, dtype=np.float32)
    with atomic_write(path) as temporary:
        if path.suffix == ".npz":
            np.savez_compressed(temporary, probs=array)
        else:
            np.save(temporary, array)
