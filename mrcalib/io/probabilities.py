"""From what the members of an ensemble store to probabilities of foreground: logits, channels, pooling."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import TOLERANCE
from mrcalib.io.image import Volume
from mrcalib.io.masks import stacked
from mrcalib.options import Merge, Pooling

__all__ = ["CLIP", "ForegroundReader", "foreground_of", "pool", "require_real", "sums_to_one"]

CLIP = 2.0**-24
"""Probabilities are clipped to [CLIP, 1 - CLIP] before logits are taken: the last float32 below 1 is 1 - 2**-24."""

_Array = npt.NDArray[Any]


class ForegroundReader:
    """The foreground's probability, of one or several classes, of an image that comes part by part.

    What can only be known of the whole image is refused, or warned of, at the end: channels that are no exclusive classes,
    and logits that are probabilities already.

    Parameters
    ----------
    n_channels : int or None
        Of the image; None if it has no channel axis.
    dtype : data type
        Of the image: the probabilities are float64 where it is, else float32.
    foreground : sequence of (tuple of int or None)
        Of each class the channels that make it up. None: channel 1 of two that sum to 1 (background, foreground).
    merge : {"sum", "max"}
        Of several channels: the sum, of exclusive classes; or the largest, of regions that may overlap or nest.
    values : {"probabilities", "logits"}
        What is stored. Logits become probabilities by the softmax over the channels of exclusive classes
        (``merge="sum"``), else by the sigmoid.
    name : str
        The image, for errors.
    classes : bool
        Whether these are several classes: the channels must then sum to 1 within 1 %.

    Raises
    ------
    ValueError
        If the choice of channels is missing or out of range, or values are no real numbers.
    """

    def __init__(
        self,
        n_channels: int | None,
        dtype: np.dtype[Any],
        foreground: Sequence[tuple[int, ...] | None],
        *,
        merge: Merge = "sum",
        values: Literal["probabilities", "logits"] = "probabilities",
        name: str,
        classes: bool = False,
    ) -> None:
        self._n_channels, self._merge, self._name, self._classes = n_channels, merge, name, classes
        self._logits = values == "logits"
        self._foreground = tuple(foreground)
        if classes:
            _require_channels(n_channels, self._foreground, name)
        self._chosen = [_chosen_channels(one, n_channels, name) for one in self._foreground]
        several = any(len(one) > 1 for one in self._chosen)
        rounded = several and merge == "sum"  # a sum of channels is rounded to float32
        self.dtype = np.dtype(np.float64 if dtype == np.float64 and not rounded else np.float32)
        self._sums_matter = (n_channels or 1) > 1 and (
            (classes and not self._logits) or several or None in self._foreground
        )
        self._n_voxels = self._n_wrong = 0
        self._first_wrong = np.nan
        self._low, self._high = np.inf, -np.inf

    @property
    def needs_all(self) -> bool:
        """Whether every voxel of the image must be seen, so that nothing may be left out."""
        return self._logits or self._sums_matter

    def probabilities(self, data: _Array) -> _Array:
        """Of a part of shape S or (*S, n_channels): the probabilities of shape (n_classes, *S)."""
        if self._logits:
            low, high = _extremes(data)
            self._low, self._high = min(self._low, low), max(self._high, high)
            data = _from_logits(data, softmax=(self._n_channels or 1) > 1 and self._merge == "sum")
        if self._n_channels is None:
            return stacked([data.astype(self.dtype, copy=False)])
        if self._sums_matter:
            self._add_sums(data)
        return stacked([_merged(data, chosen, self._merge).astype(self.dtype, copy=False) for chosen in self._chosen])

    def finish(self) -> None:
        """Refuse what was found in all parts.

        Raises
        ------
        ValueError
            If channels that must be exclusive classes do not sum to 1, or logits all lie in [0, 1].

        Warns
        -----
        UserWarning
            If the largest of exclusive classes was asked for: the probability of either is their sum.
        """
        if self._logits and 0 <= self._low <= self._high <= 1:
            msg = (
                f"{self._name} was said to hold logits, but all its values lie in [0, 1]: they are probabilities already. "
                "Read it with values='probabilities'."
            )
            raise ValueError(msg)
        if not self._sums_matter:
            return
        if self._classes:
            self._refuse_overlapping_classes()
            return
        foreground = self._foreground[0]
        exclusive = self._n_wrong == 0
        if not exclusive and (foreground is None or self._merge == "sum"):
            msg = (
                f"The {self._n_channels} channels of {self._name} do not sum to 1: they are regions that may overlap, not "
                f"classes. Choose exactly one of them, for example foreground=(0,), or several with merge='max'; "
                f"got foreground={foreground}."
            )
            raise ValueError(msg)
        if exclusive and foreground is not None and self._merge == "max":
            msg = (
                f"The {self._n_channels} channels of {self._name} sum to 1: they are exclusive classes, and the probability "
                f"of any of {foreground} is their sum. The largest of them, as merge='max' asks for, is too small."
            )
            warnings.warn(msg, UserWarning, stacklevel=2)

    def _add_sums(self, data: _Array) -> None:
        for total in _sums_of_sections(data):
            far = np.abs(total - 1.0) > TOLERANCE if self._classes else ~(np.abs(total - 1.0) <= TOLERANCE)
            if far.any():
                self._first_wrong = self._first_wrong if self._n_wrong else float(total[far][0])
                self._n_wrong += int(np.count_nonzero(far))
            self._n_voxels += total.size

    def _refuse_overlapping_classes(self) -> None:
        if self._n_wrong:
            msg = (
                f"The {self._n_channels} channels of {self._name} do not sum to 1 at {self._n_wrong:,} of "
                f"{self._n_voxels:,} voxels ({self._first_wrong:.4g} at the first): they are regions that may overlap, not "
                "exclusive classes, or logits. Calibrate each region by itself (foreground=(1,), positive=(1,)), or export "
                "the softmax of classes."
            )
            raise ValueError(msg)


def foreground_of(volume: Volume, foreground: tuple[int, ...] | None, name: str) -> Volume:
    """The probability of the foreground of an image in memory: the sum of its channels, as `ForegroundReader` chooses them."""
    reader = ForegroundReader(volume.n_channels, volume.dtype, (foreground,), name=name)
    found = reader.probabilities(volume.data)[0]
    reader.finish()
    return Volume(found, volume.geometry, channels=False)


def _require_channels(n_channels: int | None, foreground: Sequence[tuple[int, ...] | None], name: str) -> None:
    """Refuse an image that has not a channel for the background and each class."""
    highest = max(channel for one in foreground for channel in one or ())
    if n_channels is None or n_channels < 2 or highest >= n_channels:
        several = n_channels is not None and n_channels > 1
        channels = f"{n_channels} channels, 0 to {(n_channels or 1) - 1}" if several else "one channel only"
        msg = (
            f"{name} has {channels}; expected one for the background and each class, up to channel {highest}. "
            "A file with a header counts its channels (a 4-D .nii.gz, a multi-channel .mha, nnU-Net's .npz); of an array "
            "or another .npy or .npz say which axis does, for example channel_axis=0."
        )
        raise ValueError(msg)


def _chosen_channels(foreground: tuple[int, ...] | None, n_channels: int | None, name: str) -> tuple[int, ...]:
    """The channels that make up the foreground; ValueError if the choice is missing or out of range."""
    if n_channels is None or n_channels == 1:
        if foreground not in (None, (0,)):
            msg = f"{name} has no channels to choose from, but foreground={foreground} was given; leave it out."
            raise ValueError(msg)
        return (0,)
    chosen = (1,) if foreground is None and n_channels == 2 else foreground
    if not chosen or not set(chosen) <= set(range(n_channels)) or len(set(chosen)) < len(chosen):
        msg = (
            f"{name} has {n_channels} channels (0 to {n_channels - 1}); say which of them are the foreground, "
            f"for example foreground=(1,); got foreground={foreground}."
        )
        raise ValueError(msg)
    return chosen


def _merged(data: _Array, chosen: tuple[int, ...], merge: Merge) -> _Array:
    if len(chosen) == 1:
        only: _Array = data[..., chosen[0]]
        return only
    if merge == "max":
        largest: _Array = np.max(data[..., chosen], axis=-1)
        return largest
    total = sum(data[..., channel].astype(np.float64) for channel in chosen)
    return np.asarray(total, dtype=np.float32)  # summed in float64, rounded once


def _from_logits(data: _Array, *, softmax: bool) -> npt.NDArray[np.float64]:
    """Probabilities of logits: the softmax over the last axis, or the sigmoid of each value; NaN stays NaN."""
    from scipy.special import expit
    from scipy.special import softmax as softmax_of

    logits = data.astype(np.float64)
    found: npt.NDArray[np.float64] = softmax_of(logits, axis=-1) if softmax else expit(logits, out=logits)
    return found


def _extremes(data: _Array) -> tuple[float, float]:
    """Smallest and largest value, NaN left out; (inf, -inf) where there is none."""
    return float(np.nanmin(data, initial=np.inf)), float(np.nanmax(data, initial=-np.inf))


def sums_to_one(data: _Array) -> bool:
    """Whether the last axis holds exclusive classes: every voxel sums to 1 within 1 % (half-precision softmax does)."""
    return all(np.all(np.abs(total - 1.0) <= TOLERANCE) for total in _sums_of_sections(data))


def _sums_of_sections(data: _Array) -> Iterable[npt.NDArray[np.float64]]:
    """Sums over the last axis, a section of the slowest axis at a time, so that they stay in the processor's cache."""
    if not data.size or data.ndim == 1:
        yield data.astype(np.float64).sum(axis=-1)
        return
    slowest = int(np.argmax(np.abs(data.strides[:-1])))
    for section in np.moveaxis(data, slowest, 0):
        total = np.zeros(section.shape[:-1])
        for channel in range(data.shape[-1]):
            total += section[..., channel]
        yield total


def require_real(dtype: np.dtype[Any], name: str) -> None:
    """Refuse values that are no real numbers as probabilities.

    Raises
    ------
    ValueError
        If they are integers, or not numbers.
    """
    if dtype.kind != "f":
        msg = (
            f"{name} holds {dtype} values; probabilities are real numbers in [0, 1]. "
            "Is it a segmentation? Export the probabilities as float32."
        )
        raise ValueError(msg)


def pool(
    members: Iterable[npt.NDArray[np.floating]], pooling: Pooling, weights: Sequence[float] | None = None
) -> npt.NDArray[np.float32]:
    """Pool members voxel by voxel, accumulating in float64.

    A voxel at which a member is NaN or outside [0, 1] becomes NaN, so that pooling hides no bad value from the tally.

    Parameters
    ----------
    members : iterable of ndarray of shape S
        At least one; read one at a time.
    pooling : {"mean", "logit-mean"}
        Mean of the probabilities, or the sigmoid of the mean logit (after clipping by 2**-24).
    weights : sequence of float or None
        A positive weight for each member, in any unit; None weighs all alike.

    Returns
    -------
    ndarray of shape S, float32

    Raises
    ------
    ValueError
        If there is no member, or there are more or fewer weights than members.

    Examples
    --------
    >>> members = [np.array([0.5, 0.1]), np.array([0.5, 0.9])]
    >>> pool(members, "mean")
    array([0.5, 0.5], dtype=float32)
    >>> pool(members, "mean", (3, 1))
    array([0.5, 0.3], dtype=float32)
    >>> pool([np.array([0.5]), np.array([1.7])], "mean")
    array([nan], dtype=float32)
    """
    total: npt.NDArray[np.float64] | None = None
    count = 0
    for member in members:
        term = np.where((member >= 0) & (member <= 1), member, np.nan).astype(np.float64, copy=False)
        if pooling == "logit-mean":
            np.clip(term, CLIP, 1 - CLIP, out=term)
            term = np.log(term) - np.log1p(-term)
        if weights is not None:
            term *= _weight_of(count, weights)
        total = term if total is None else np.add(total, term, out=total)
        count += 1
    if total is None:
        msg = "Pooling needs at least one ensemble member; got none."
        raise ValueError(msg)
    if weights is not None:
        _weight_of(count - 1, weights, last=True)
    total /= count if weights is None else sum(weights)
    if pooling == "logit-mean":
        total = 1.0 / (1.0 + np.exp(-total))
    return total.astype(np.float32)


def _weight_of(member: int, weights: Sequence[float], *, last: bool = False) -> float:
    """The weight of a member, refused where there are not as many as members."""
    if member >= len(weights) or (last and member + 1 < len(weights)):
        found = member + 1 if last else f"at least {member + 1}"
        msg = f"weights must hold one number for each ensemble member, {found}; got {len(weights)}."
        raise ValueError(msg)
    return weights[member]
