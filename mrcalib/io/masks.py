"""From stored label values to labels and votes. Every refusal names the file and says what was found in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import require_named
from mrcalib.io.image import Volume

__all__ = ["LabelReader", "VoteReader", "as_labels", "as_votes", "single_channel", "stacked"]

_NEARLY = 0.01
"""How far a stored value may lie from an integer: NIfTI scaling turns labels into near-integers."""

_Labels = npt.NDArray[np.integer]


class LabelReader:
    """Labels of an image that comes part by part; what is wrong with them is counted over all parts and refused at the end.

    Parameters
    ----------
    name : str
        What the image is, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._n_not_finite = 0

    def labels(self, data: npt.NDArray[Any]) -> _Labels:
        """Integer labels of a part; floats are rounded if all of them are nearly integers.

        Raises
        ------
        ValueError
            If a value is further than 0.01 from an integer, or is no real number.
        """
        if data.dtype.kind == "b":
            return data.view(np.uint8)
        if data.dtype.kind in "iu":
            return data
        if data.dtype.kind != "f":
            msg = f"{self._name} holds {data.dtype} values; expected a mask of integers."
            raise ValueError(msg)
        values = data.astype(np.float32 if data.dtype.itemsize < 8 else np.float64, copy=False)
        finite = np.isfinite(values)
        if not finite.all():
            self._n_not_finite += int(np.count_nonzero(~finite))
            values = np.where(finite, values, values.dtype.type(0))
        rounded = np.rint(values)
        far = np.abs(values - rounded) > _NEARLY
        if far.any() and not self._n_not_finite:
            msg = f"{self._name} holds {values[far][0]:.4g}, which is no label; expected integers. Is it a probability map?"
            raise ValueError(msg)
        labels: _Labels = rounded.astype(np.int32)
        return labels

    def finish(self) -> None:
        """Refuse what was found in all parts.

        Raises
        ------
        ValueError
            If a value was NaN or infinite.
        """
        if self._n_not_finite:
            msg = (
                f"{self._name} holds {self._n_not_finite} NaN or infinite voxels; a mask says 0 or a label everywhere. "
                "A missing rater is None."
            )
            raise ValueError(msg)


class VoteReader(LabelReader):
    """One rater's votes for one or several classes, of a mask that comes part by part.

    Parameters
    ----------
    name : str
        What the mask is, for errors.
    positive : sequence of (tuple of int or None)
        Of each class the labels that count as foreground. None: the mask must hold only 0 and 1.
    classes : mapping of str to int, optional
        Labels by name, of which the mask must hold no others besides 0.
    """

    def __init__(
        self, name: str, positive: Sequence[tuple[int, ...] | None], classes: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(name)
        self._positive = tuple(positive)
        self._classes = classes
        self._unknown: set[int] = set()

    def votes(self, data: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
        """The votes of a part, of shape (n_classes, *S); all 0 for an empty mask, which is a vote for background."""
        labels = self.labels(data)
        votes = [self._votes_of(labels, positive) for positive in self._positive]
        if self._classes is not None:
            n_known = sum(int(np.count_nonzero(one)) for one in votes) + int(np.count_nonzero(labels == 0))
            if n_known < labels.size:
                self._unknown |= set(np.unique(labels).tolist())
        return stacked(votes)

    def finish(self) -> None:
        """Refuse what was found in all parts.

        Raises
        ------
        ValueError
            If a value was NaN or infinite, or no known label; lists the labels.
        """
        super().finish()
        if not self._unknown:
            return
        found = np.array(sorted(self._unknown))
        if self._classes is not None:
            require_named(found, self._classes, self._name)
        listed = ", ".join(str(label) for label in found[:12]) + (", ..." if found.size > 12 else "")
        msg = f"{self._name} holds the labels {listed}; expected 0 and 1. Say which are foreground: positive=({found[-1]},)."
        raise ValueError(msg)

    def _votes_of(self, labels: _Labels, positive: tuple[int, ...] | None) -> npt.NDArray[np.uint8]:
        if positive is not None:
            chosen: npt.NDArray[np.bool_] = reduce(np.logical_or, [labels == label for label in positive])
            return chosen.view(np.uint8)
        negative = labels.dtype.kind != "u" and labels.min(initial=0) < 0
        if negative or labels.max(initial=0) > 1:
            self._unknown |= set(np.unique(labels).tolist())
            marked: npt.NDArray[np.bool_] = labels != 0
            return marked.view(np.uint8)
        votes: npt.NDArray[np.uint8] = labels.astype(np.uint8, copy=False)
        return votes


def as_labels(data: npt.NDArray[Any], name: str) -> _Labels:
    """Integer labels; floats are rounded if all of them are nearly integers.

    Parameters
    ----------
    data : ndarray
        Booleans, integers or near-integer floats.
    name : str
        What it is, for errors.

    Raises
    ------
    ValueError
        If a value is NaN, infinite, or further than 0.01 from an integer, or is no real number.

    Examples
    --------
    >>> as_labels(np.array([0.0, 0.9999, 3.0001]), "mask.nii.gz")
    array([0, 1, 3], dtype=int32)
    """
    reader = LabelReader(name)
    labels = reader.labels(data)
    reader.finish()
    return labels


def as_votes(data: npt.NDArray[Any], positive: tuple[int, ...] | None, name: str) -> npt.NDArray[np.uint8]:
    """One rater's votes: 1 where the mask holds the foreground, else 0.

    Parameters
    ----------
    data : ndarray
        Booleans, integers or near-integer floats.
    positive : tuple of int or None
        Labels that count as foreground. None: the mask must hold only 0 and 1.
    name : str
        What it is, for errors.

    Returns
    -------
    ndarray of uint8
        Same shape; an empty mask stays a vote for background everywhere.

    Raises
    ------
    ValueError
        If `positive` is None and there are other labels (lists them), or the values are not integers.

    Examples
    --------
    >>> as_votes(np.array([0, 2, 3]), (2, 3), "mask.nii.gz")
    array([0, 1, 1], dtype=uint8)
    """
    reader = VoteReader(name, (positive,))
    votes = reader.votes(data)
    reader.finish()
    found: npt.NDArray[np.uint8] = votes[0]
    return found


def single_channel(volume: Volume, name: str) -> Volume:
    """The same image without its channel axis, which must have length 1 if there is one.

    Raises
    ------
    ValueError
        If there are several channels.
    """
    if not volume.has_channels:
        return volume
    if volume.n_channels != 1:
        msg = f"{name} has {volume.n_channels} channels; expected one value a voxel. Save one mask a file."
        raise ValueError(msg)
    return Volume(volume.data[..., 0], volume.geometry, digest=volume.digest())


def stacked(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Arrays of one shape on a new first axis; a single one is not copied, and each stays contiguous in its order."""
    if len(parts) == 1:
        return parts[0][np.newaxis]
    if not (parts[0].flags.f_contiguous and not parts[0].flags.c_contiguous):
        return np.stack(parts)
    reversed_axes = np.stack([part.T for part in parts])
    return reversed_axes.transpose(0, *range(reversed_axes.ndim - 1, 0, -1))
