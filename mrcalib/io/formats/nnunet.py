"""nnU-Net's exported probabilities (``.npz`` beside the segmentation), with their axes proved, not assumed.

The archive has no geometry; the segmentation beside it has one, and was made from the same probabilities. So the right
order of axes is the one under which the probabilities give back that segmentation.
"""

import logging
import warnings
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mrcalib.io.image import Volume
from mrcalib.io.probabilities import sums_to_one

__all__ = ["find_segmentation", "orient", "refuse_softmax"]

_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd")
_ALL_VOXELS = 0.999
# Where the foreground is small nearly all voxels agree under any order of axes, so the foreground must agree too. The
# margin leaves room for post-processing, which removes small components from the segmentation only.
_FOREGROUND = 0.9

_Labels = npt.NDArray[np.generic]


class _Order(NamedTuple):
    """Axes of the archive in the order that makes (x, y, z), then the axes to flip."""

    axes: tuple[int, ...]
    flips: tuple[int, ...]

    def apply(self, array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Reorder the first three axes of `array`."""
        return np.flip(array.transpose(*self.axes, *range(3, array.ndim)), self.flips)

    def __str__(self) -> str:
        flips = f" flipped on {', '.join('xyz'[axis] for axis in self.flips)}" if self.flips else ""
        return f"axes {self.axes}{flips}"


_STANDARD = _Order((2, 1, 0), ())


def find_segmentation(path: Path) -> Path | None:
    """The segmentation that nnU-Net wrote beside ``path``: same stem, image suffix; None if there is none."""
    beside = (path.with_name(path.name.removesuffix(".npz") + suffix) for suffix in _SUFFIXES)
    return next((candidate for candidate in beside if candidate.is_file()), None)


def refuse_softmax(path: Path) -> None:
    """Refuse an archive of nnU-Net version 1.

    Raises
    ------
    ValueError
        Always; says why and what to do.
    """
    msg = (
        f"{path} holds 'softmax', the export of nnU-Net version 1: it was resampled but not un-cropped, so its voxels "
        "are not those of the image, and where they belong is only in the .pkl beside it, which is not safe to open. "
        "Export again with nnU-Net version 2 (nnUNetv2_predict --save_probabilities)."
    )
    raise ValueError(msg)


def orient(probabilities: npt.NDArray[np.floating], segmentation: Volume, path: Path) -> Volume:
    """Bring nnU-Net version 2 probabilities into the segmentation's axes, proving the order.

    Parameters
    ----------
    probabilities : ndarray of shape (n_channels, z, y, x)
        The array under the key ``probabilities``.
    segmentation : Volume
        The label image that nnU-Net wrote beside it.
    path : Path
        The archive, for errors.

    Returns
    -------
    Volume
        Probabilities of shape ``(x, y, z, n_channels)``.

    Raises
    ------
    ValueError
        If no order of axes, or more than one besides the standard one, gives back the segmentation on 99.9 % of all
        voxels and on 90 % of the foreground; lists the orders tried.

    Warns
    -----
    UserWarning
        If the segmentation is empty, so that only the shape vouches for the order.
    """
    channels_last = np.moveaxis(probabilities, 0, -1)
    found, exclusive = _labels(channels_last)
    wanted = segmentation.data if exclusive else segmentation.data != 0
    scores = {_STANDARD: _agreement(_STANDARD.apply(found), wanted)}
    if not _proved(scores[_STANDARD]):
        for order in _other_orders(found.shape, wanted.shape):
            scores[order] = _agreement(order.apply(found), wanted)
    accepted = [order for order, score in scores.items() if _proved(score)]
    if len(accepted) != 1:
        best = sorted(scores.items(), key=lambda item: item[1][::-1], reverse=True)[:8]
        tried = "; ".join(f"{order}: {score[0]:.2%} of voxels, {score[1]:.2%} of foreground" for order, score in best)
        reason = "No order of axes gives" if not accepted else f"{len(accepted)} orders of axes give"
        msg = (
            f"{reason} back the segmentation beside {path} (99.9 % of voxels and 90 % of foreground are needed). "
            f"Tried, best first: {tried}. Are the two files of one run? Predict again with --save_probabilities."
        )
        raise ValueError(msg)
    order = accepted[0]
    if not wanted.any():
        msg = f"{path}: the segmentation beside it is empty, so only the shape vouches for the order of the axes."
        warnings.warn(msg, UserWarning, stacklevel=2)
    elif order != _STANDARD:
        logging.getLogger("mrcalib").info("%s: read with %s, which gives back the segmentation.", path, order)
    return Volume(order.apply(channels_last), segmentation.geometry)


def _labels(channels_last: npt.NDArray[np.floating]) -> tuple[_Labels, bool]:
    """Labels by argmax for exclusive classes; for regions, whether a voxel lies in any of them."""
    if sums_to_one(channels_last):
        return _largest(channels_last), True
    inside: npt.NDArray[np.bool_] = (channels_last > 0.5).any(axis=-1)  # type: ignore[assignment]
    return inside, False


def _largest(channels_last: npt.NDArray[np.floating]) -> _Labels:
    """``argmax`` over the channels, by comparing one after the other: several times faster than NumPy's, which is strided."""
    probs = np.moveaxis(channels_last, -1, 0)
    labels = np.zeros_like(probs[0], dtype=np.min_scalar_type(len(probs) - 1))
    slowest = int(np.argmax(np.abs(probs.strides[1:])))
    for found, section in zip(np.moveaxis(labels, slowest, 0), np.moveaxis(probs, slowest + 1, 0), strict=True):
        best = section[0].copy()
        for channel in range(1, len(section)):
            found[section[channel] > best] = channel
            np.maximum(best, section[channel], out=best)
    return labels


def _other_orders(stored: tuple[int, ...], wanted: tuple[int, ...]) -> list[_Order]:
    long = [axis for axis, size in enumerate(wanted) if size > 1]
    flips = [tuple(a for a, on in zip(long, bits, strict=True) if on) for bits in product((0, 1), repeat=len(long))]
    fitting = [axes for axes in permutations(range(3)) if tuple(stored[axis] for axis in axes) == wanted]
    orders = [_Order(axes, flip) for axes in fitting for flip in flips]
    return [order for order in orders if order != _STANDARD]


def _agreement(found: _Labels, wanted: _Labels) -> tuple[float, float]:
    """Fractions of all voxels, and of voxels that are foreground in either image, with equal labels."""
    if found.shape != wanted.shape:
        return 0.0, 0.0
    equal = found == wanted
    n_equal = np.count_nonzero(equal)
    n_foreground = found.size - np.count_nonzero((found == 0) & (wanted == 0))
    # Where either is foreground they are equal but for what is background in both.
    n_both = n_equal - (found.size - n_foreground)
    return n_equal / max(1, found.size), n_both / n_foreground if n_foreground else 1.0


def _proved(score: tuple[float, float]) -> bool:
    return score[0] >= _ALL_VOXELS and score[1] >= _FOREGROUND
