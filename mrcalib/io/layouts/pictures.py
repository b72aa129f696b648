"""Pictures to look at or to train on: grey or colour, through Pillow. Masks are read by `png`, which refuses colours."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats import require_file

__all__ = ["SUFFIXES", "read_picture"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")


def read_picture(path: Path) -> npt.NDArray[np.generic]:
    """Read a picture as stored, of shape (rows, columns) or (rows, columns, 3).

    Parameters
    ----------
    path : Path
        Grey pictures stay grey; palettes and colours become red, green and blue, and transparency is dropped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ImportError
        If Pillow is not installed.
    ValueError
        If the file is damaged.
    """
    try:
        from PIL import Image
    except ImportError as error:
        msg = f"Reading {path} needs Pillow: pip install pillow."
        raise ImportError(msg) from error
    require_file(path)
    try:
        with Image.open(path) as picture:
            grey = picture.mode in ("1", "L") or picture.mode.startswith(("I", "F"))
            data: npt.NDArray[np.generic] = np.asarray(picture if grey else picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{path} cannot be read as a picture: {error}. The file is damaged; export or copy it again."
        raise ValueError(msg) from error
    return data
