"""PNG masks, through Pillow (which matplotlib brings): rows first, without a place in the world.

Everything else here is ``(x, y, z)``. A PNG is read as NumPy users read it, so it goes with ``.npy`` and ``.npz``, and not
with images whose headers order their axes: on square images a mirror at the diagonal would pass unseen.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib.exceptions import GeometryError
from mrcalib.io.volume import Source, Volume

__all__ = ["read", "refuse_beside_header"]

_GREY = ("1", "L", "I", "I;16")


def read(path: Path) -> Volume:
    """Read a grey image as stored, of shape (rows, columns).

    Parameters
    ----------
    path : Path
        A ``.png`` file of one grey value a pixel.

    Returns
    -------
    Volume
        Integers, or booleans of an image of one bit; no geometry.

    Raises
    ------
    ImportError
        If Pillow is not installed.
    ValueError
        If the file is damaged, or holds colours or a palette.
    """
    try:
        from PIL import Image
    except ImportError as error:
        msg = "Reading .png needs Pillow: pip install pillow."
        raise ImportError(msg) from error
    try:
        with Image.open(path) as image:
            mode = image.mode
            # Pillow's pixels of one bit are bytes of 255
            data: npt.NDArray[np.generic] = np.asarray(image.convert("L")) > 0 if mode == "1" else np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{path} cannot be read as PNG: {error}. The file is damaged; export or copy it again."
        raise ValueError(msg) from error
    if mode not in _GREY:
        msg = f"{path} is an image of mode {mode!r} (colours, transparency or a palette); expected one grey value a pixel."
        raise ValueError(msg)
    return Volume(data, None)


def refuse_beside_header(sources: Iterable[Source | None], case: str) -> None:
    """Refuse PNG files in a case of which another source has a header.

    Raises
    ------
    GeometryError
        If one of ``sources`` is a ``.png`` file.
    """
    for source in sources:
        if isinstance(source, str | Path) and str(source).lower().endswith(".png"):
            msg = (
                f"Case {case!r}: {source} has its rows first and no header, while other files of the case say in their "
                "headers how their axes lie; which pixel is which cannot be known. Save those as .npy, of shape "
                "(rows, columns)."
            )
            raise GeometryError(msg)
