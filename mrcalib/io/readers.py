"""Image files read whole: as stored, as probabilities of the foreground, or as labels."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Literal

from mrcalib.io.formats import open_image
from mrcalib.io.image import Volume, in_memory
from mrcalib.io.masks import as_labels, single_channel
from mrcalib.io.parts import MemberPart
from mrcalib.options import LoadOptions, Merge

__all__ = ["read_labels", "read_probability", "read_volume"]


def read_volume(path: str | Path) -> Volume:
    """Read an image file as stored; channels, if any, are last.

    Parameters
    ----------
    path : str or Path
        A file of a registered format: ``.nii``, ``.nii.gz``, ``.mha``, ``.mhd``, ``.nrrd``, ``.npy``, ``.npz``, ``.png`` and
        what plugins add. A ``.npz`` with a 4-D array ``probabilities`` is an nnU-Net export and needs the segmentation beside
        it. A ``.png`` has one grey value a pixel and shape (rows, columns), as NumPy users read it.

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
    >>> import numpy as np
    >>> folder = tempfile.TemporaryDirectory()
    >>> np.save(Path(folder.name) / "mask.npy", np.eye(2, dtype=np.uint8))
    >>> read_volume(Path(folder.name) / "mask.npy").shape
    (2, 2)
    >>> folder.cleanup()
    """
    return in_memory(open_image(path))


def read_probability(
    path: str | Path,
    foreground: tuple[int, ...] | None = None,
    *,
    merge: Merge = "sum",
    values: Literal["probabilities", "logits"] = "probabilities",
    channel_axis: int | None = None,
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
    channel_axis : int, optional
        Which axis of a ``.npy`` or ``.npz`` file counts channels.

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
    options = LoadOptions(foreground=foreground, merge=merge, values=values, channel_axis=channel_axis)
    with closing(open_image(path)) as image:
        part = MemberPart(image, str(path), options, (foreground,))
        return Volume(part.whole()[0], part.geometry, channels=False)


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
    volume = single_channel(read_volume(path), str(path))
    return Volume(as_labels(volume.data, str(path)), volume.geometry, channels=False)
