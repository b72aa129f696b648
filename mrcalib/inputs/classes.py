"""Several exclusive classes as arrays: their names, the axis that counts them, and the raters' label maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs.arrays import TOLERANCE, check_probs, is_array
from mrcalib.inputs.raters import is_list_of_masks, split_missing, split_raters

__all__ = [
    "Classes",
    "against_rest",
    "named_classes",
    "require_exclusive",
    "require_named",
    "split_channels",
    "split_labels",
]

Classes: TypeAlias = Mapping[str, int] | Sequence[int]
"""Labels of the foreground classes, by name or in a list; 0 is the background and is not named."""


def named_classes(classes: Classes) -> dict[str, int]:
    """Label by name, in ascending order of label; a label without a name is called after itself.

    Raises
    ------
    ValueError
        If there is none, a label is repeated, or is not a whole number from 1 on.
    TypeError
        If ``classes`` is neither a mapping nor a sequence of labels.

    Examples
    --------
    >>> named_classes({"liver": 3, "pancreas": 1})
    {'pancreas': 1, 'liver': 3}
    >>> named_classes([1, 2])
    {'1': 1, '2': 2}
    """
    given: Any = classes
    if isinstance(given, str) or not isinstance(given, Mapping | Sequence | np.ndarray):
        msg = (
            f"classes must map names to labels, such as {{'pancreas': 1, 'liver': 3}}, or list labels; got {classes!r}."
        )
        raise TypeError(msg)
    named: dict[Any, Any] = dict(given) if isinstance(given, Mapping) else {str(label): label for label in given}
    wrong = [v for v in named.values() if isinstance(v, bool) or not isinstance(v, int | np.integer) or v < 1]
    if wrong or not named or len(set(named.values())) < len(classes):
        got = f"the label {wrong[0]!r}" if wrong else "none" if not named else f"{classes!r}"
        msg = f"classes must have different labels, whole numbers from 1 on (0 is the background); got {got}."
        raise ValueError(msg)
    return {str(name): int(label) for name, label in sorted(named.items(), key=lambda item: item[1])}


def require_named(labels: NDArray[Any], classes: Mapping[str, int], name: str) -> None:
    """Raise ValueError for a label map with labels that no class names; ``name`` begins the error, which lists them."""
    values, _ = split_missing(labels)  # what is missing counts as 0, the background
    expected = [0, *classes.values()]
    if sum(int(np.count_nonzero(values == label)) for label in expected) < values.size:
        found = np.unique(values[~np.isin(values, expected)])
        listed = ", ".join(f"{label:g}" for label in found[:8].tolist()) + (", ..." if found.size > 8 else "")
        named = ", ".join(f"{class_name}={label}" for class_name, label in classes.items())
        msg = (
            f"{name} holds {listed}, which no class names (0 is the background; classes: {named}). "
            "Name every label among the classes, or set it to 0 if it is background."
        )
        raise ValueError(msg)


def against_rest(labels: NDArray[Any], label: int) -> NDArray[Any]:
    """One rater's votes for a class: 1 at its label, else 0; what is NaN or masked stays missing.

    Examples
    --------
    >>> against_rest(np.array([0, 2, 1]), 2)
    array([0, 1, 0], dtype=uint8)
    >>> against_rest(np.array([0, 2, np.nan]), 2)
    array([ 0.,  1., nan], dtype=float32)
    """
    plain = np.ma.getdata(labels)
    votes: NDArray[Any] = (plain == label).view(np.uint8)
    if plain.dtype.kind == "f" and (unknown := np.isnan(plain)).any():
        votes = np.where(unknown, np.float32(np.nan), votes)
    hidden = np.ma.getmask(labels)
    return votes if hidden is np.ma.nomask else np.ma.MaskedArray(votes, hidden)


def split_channels(
    probs: ArrayLike, *, n_channels: int | None, class_axis: int | None = None, labels: Any = None
) -> tuple[list[NDArray[Any]], int]:
    """The channels of ``probs``, each of the shape of the image, and the axis (0 or -1) that counts them.

    Parameters
    ----------
    probs : array_like of float, shape (C, *S) or (*S, C)
        Probabilities.
    n_channels : int or None
        How many channels there must be.
    class_axis : {0, -1}, optional
        Axis of the classes where both would do.
    labels : array_like or sequence, optional
        The raters' label maps, which have the shape S.

    Raises
    ------
    ValueError
        If no axis fits, or both do.
    TypeError
        If ``probs`` are not floating-point, or masked.
    """
    if np.ma.isMaskedArray(probs):
        msg = "probs of several classes must be a plain array; leave voxels out with roi= instead of a mask."
        raise TypeError(msg)
    array = check_probs(probs)
    labels = list(labels.values()) if isinstance(labels, Mapping) else labels
    if class_axis not in (None, 0, -1):
        msg = f"class_axis must be 0 (classes first), -1 (classes last) or None (found by shape); got {class_axis!r}."
        raise ValueError(msg)
    shapes = {0: array.shape[1:], -1: array.shape[:-1]} if array.ndim > 1 else {}
    fitting = [
        axis
        for axis, shape in shapes.items()
        if class_axis in (None, axis)
        and n_channels in (None, array.shape[axis])
        and (labels is None or _has_shape(labels, shape))
    ]
    if len(fitting) == 2:
        msg = f"probs of shape {array.shape} may have the classes first or last; pass class_axis=0 or class_axis=-1."
        raise ValueError(msg)
    if not fitting:
        count = "the classes" if n_channels is None else f"{n_channels} channels"
        where = {None: "first or last", 0: "first", -1: "last"}[class_axis]
        beside = "" if labels is None else f", beside the axes of the label maps (of shape {_stored_shape(labels)})"
        msg = (
            f"probs must have {count} on the axis that comes {where}{beside}; got shape {array.shape}. "
            "With background=True the first channel is the background, and counts."
        )
        raise ValueError(msg)
    return list(np.moveaxis(array, fitting[0], 0)), fitting[0]


def _has_shape(labels: Any, shape: tuple[int, ...]) -> bool:
    """Whether ``labels`` may be one label map of this shape, a stack of them, or a list with None."""
    if is_list_of_masks(labels, shape):
        return all(one is None or _shape(one) == shape for one in labels)
    stored = _stored_shape(labels)
    return shape in (stored, stored[1:], stored[:-1])


def _stored_shape(labels: Any) -> tuple[int, ...]:
    """The shape of all label maps together; a list of them is not stacked for that."""
    if isinstance(labels, list | tuple):
        return (len(labels), *next((_shape(one) for one in labels if one is not None), ()))
    return _shape(labels)


def _shape(values: Any) -> tuple[int, ...]:
    return tuple(values.shape) if is_array(values) else np.shape(values)


def require_exclusive(channels: Sequence[NDArray[Any]], *, background: bool, roi: ArrayLike | None = None) -> None:
    """Raise ValueError for channels that are not exclusive classes: with background they sum to 1, without to no more.

    Sums may be off by `TOLERANCE`. NaN is refused where values are read. The error says at how many voxels sums are wrong.
    """
    total = np.zeros_like(channels[0], dtype=np.float64)
    for channel in channels:
        total += channel
    if roi is not None and np.shape(roi) == total.shape:  # another shape is refused where voxels are read
        total = total[np.asarray(roi) != 0]
    beyond = total - 1.0
    wrong = (np.abs(beyond) if background else beyond) > TOLERANCE
    if wrong.any():
        hint = "; if there is no background among them, pass background=False" if background else ""
        msg = (
            f"The {len(channels)} channels sum to {'other than' if background else 'more than'} 1 at "
            f"{np.count_nonzero(wrong):,} of {total.size:,} voxels ({total[wrong][0]:.4g} at the first): they are not "
            f"exclusive classes, but regions that may overlap, or logits. Calibrate each region by itself, or give the "
            f"softmax{hint}."
        )
        raise ValueError(msg)


def split_labels(
    labels: Any, image: NDArray[Any], classes: Mapping[str, int], rater_axis: int | None = None
) -> list[NDArray[Any] | None]:
    """The raters' label maps, None where one is missing.

    Parameters
    ----------
    labels : array_like, sequence or mapping
        Whole-number labels: raters first ``(R, *S)`` or last ``(*S, R)``, a list or dict with None for a missing rater, or one
        map of shape S. NaN and masked entries are voxels that the rater did not answer.
    image : ndarray of shape S, float
        A channel.
    classes : mapping of str to int
        All labels that may occur besides 0.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.

    Raises
    ------
    ValueError
        If shapes do not fit, or there is a label that no class names.
    """
    maps = split_raters(labels, image, rater_axis)
    for number, one in enumerate(maps):
        if one is not None:
            require_named(one, classes, f"The label map of rater {number}")
    return maps
