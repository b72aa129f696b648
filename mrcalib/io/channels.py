"""From the channels of a multi-class image to the one image that is calibrated: the foreground's."""

import warnings

import numpy as np
import numpy.typing as npt

from mrcalib.io.volume import Volume
from mrcalib.options import Merge

__all__ = ["extremes", "foreground_of", "from_logits", "inverse_logit", "require_logits", "single"]


def foreground_of(volume: Volume, foreground: tuple[int, ...] | None, name: str, merge: Merge = "sum") -> Volume:
    """Probability of the foreground: the channels that make it up, merged.

    Parameters
    ----------
    volume : Volume
        Probabilities, with or without a channel axis.
    foreground : tuple of int or None
        The channels to merge. None: channel 1 of two that sum to 1 (background, foreground).
    name : str
        The file, for errors.
    merge : {"sum", "max"}
        Of several channels: the sum, of exclusive classes; or the largest, of regions that may overlap or nest.

    Returns
    -------
    Volume
        Without channel axis; a sum is accumulated in float64 and returned as float32.

    Raises
    ------
    ValueError
        If the choice is missing, out of range, or asks for the sum of channels that are not exclusive classes.

    Warns
    -----
    UserWarning
        If the largest of exclusive classes is asked for: the probability of either is their sum.
    """
    if not volume.has_channels or volume.data.shape[-1] == 1:
        if foreground not in (None, (0,)):
            msg = f"{name} has no channels to choose from, but foreground={foreground} was given; leave it out."
            raise ValueError(msg)
        return single(volume, name)
    n_channels = volume.data.shape[-1]
    chosen = (1,) if foreground is None and n_channels == 2 else foreground
    if not chosen or not set(chosen) <= set(range(n_channels)) or len(set(chosen)) < len(chosen):
        msg = (
            f"{name} has {n_channels} channels (0 to {n_channels - 1}); say which of them are the foreground, "
            f"for example foreground=(1,); got foreground={foreground}."
        )
        raise ValueError(msg)
    exclusive = (foreground is None or len(chosen) > 1) and sums_to_one(volume.data)
    if (foreground is None or (len(chosen) > 1 and merge == "sum")) and not exclusive:
        msg = (
            f"The {n_channels} channels of {name} do not sum to 1: they are regions that may overlap, not classes. "
            f"Choose exactly one of them, for example foreground=(0,), or several with merge='max'; "
            f"got foreground={foreground}."
        )
        raise ValueError(msg)
    if len(chosen) == 1:
        return Volume(volume.data[..., chosen[0]], volume.geometry)
    if merge == "max":
        if exclusive:
            msg = (
                f"The {n_channels} channels of {name} sum to 1: they are exclusive classes, and the probability of any of "
                f"{chosen} is their sum. The largest of them, as merge='max' asks for, is too small."
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        largest: npt.NDArray[np.floating] = np.max(volume.data[..., chosen], axis=-1)
        return Volume(largest, volume.geometry)
    total = sum(volume.data[..., channel].astype(np.float64) for channel in chosen)
    return Volume(np.asarray(total, dtype=np.float32), volume.geometry)


def from_logits(volume: Volume, name: str, merge: Merge = "sum") -> Volume:
    """Probabilities from logits: the softmax over the channels of exclusive classes, else the sigmoid of each channel.

    Parameters
    ----------
    volume : Volume
        Logits, with or without a channel axis.
    name : str
        The file, for errors.
    merge : {"sum", "max"}
        Several channels are exclusive classes ("sum": softmax), or regions that may overlap ("max": sigmoid).

    Returns
    -------
    Volume
        float64, of the same shape. NaN stays NaN.

    Raises
    ------
    ValueError
        If all values lie in [0, 1]: they are probabilities already.

    Examples
    --------
    >>> from_logits(Volume(np.array([-2.0, 0.0]), None), "logits.npy").data.round(3)
    array([0.119, 0.5  ])
    """
    require_logits(*extremes(volume.data), name)
    return inverse_logit(volume, merge)


def inverse_logit(volume: Volume, merge: Merge = "sum") -> Volume:
    """As `from_logits`, of part of an image: whether these are logits is told from the whole (`require_logits`)."""
    from scipy.special import expit, softmax

    logits = volume.data.astype(np.float64)
    if volume.has_channels and logits.shape[-1] > 1 and merge == "sum":
        return Volume(softmax(logits, axis=-1), volume.geometry)
    return Volume(expit(logits, out=logits), volume.geometry)


def extremes(data: npt.NDArray[np.generic]) -> tuple[float, float]:
    """Smallest and largest value, NaN left out; (inf, -inf) where there is none."""
    values: npt.NDArray[np.floating] = data  # type: ignore[assignment]
    return float(np.nanmin(values, initial=np.inf)), float(np.nanmax(values, initial=-np.inf))


def require_logits(low: float, high: float, name: str) -> None:
    """Refuse an image of which all values lie in [0, 1]: they are probabilities already.

    Raises
    ------
    ValueError
        If they do; says how to read it.
    """
    if 0 <= low <= high <= 1:
        msg = (
            f"{name} was said to hold logits, but all its values lie in [0, 1]: they are probabilities already. "
            "Read it with values='probabilities'."
        )
        raise ValueError(msg)


def single(volume: Volume, name: str) -> Volume:
    """The same image without its channel axis, which must have length 1 if there is one.

    Raises
    ------
    ValueError
        If there are several channels.
    """
    if not volume.has_channels:
        return volume
    if volume.data.shape[-1] != 1:
        msg = f"{name} has {volume.data.shape[-1]} channels; expected one value a voxel. Save one mask a file."
        raise ValueError(msg)
    return Volume(volume.data[..., 0], volume.geometry)


def sums_to_one(data: npt.NDArray[np.generic]) -> bool:
    """Whether the last axis holds exclusive classes: every voxel sums to 1 within 1 % (half-precision softmax does)."""
    slowest = int(np.argmax(np.abs(data.strides[:-1])))
    for section in np.moveaxis(data, slowest, 0):  # of which the sums stay in the processor's cache
        total = sum(section[..., channel].astype(np.float64) for channel in range(data.shape[-1]))
        if not np.all(np.abs(total - 1.0) <= 0.01):
            return False
    return True
