"""PNG masks, through Pillow (which matplotlib brings): rows first, without a place in the world.

All other formats are ``(x, y, z)``. A PNG is read as NumPy users read it, so it goes with ``.npy`` and ``.npz``, and not with
images whose headers order their axes.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from mrcalib.io.formats._registry import register_format
from mrcalib.io.image import Volume

__all__ = ["Png"]

_GREY = ("1", "L", "I", "I;16")


@register_format(".png")
class Png:
    """Pictures of one grey value a pixel; they are only read."""

    rows_first = True
    why_only_read = ".png holds 256 grey values, too few for probabilities; write .npy or .nii.gz instead"

    def open(self, path: Path) -> Volume:
        """A grey image as stored, of shape (rows, columns): integers, or booleans of an image of one bit.

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
