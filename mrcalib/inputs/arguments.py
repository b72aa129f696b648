"""Checks of arguments that are not arrays of voxels: choices, numbers, labels, spacings, groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "check_choice",
    "check_count",
    "check_groups",
    "check_labels",
    "check_n_bins",
    "check_number",
    "check_positive",
    "check_spacing",
    "check_voxel_volume",
]


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        msg = f"{name} must be one of {', '.join(map(repr, choices))}; got {value!r}."
        raise ValueError(msg)


def check_count(name: str, value: object, minimum: int = 1) -> int:
    """``value`` as an int; ValueError unless it is a whole number of at least ``minimum``, and no truth value."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer) or value < minimum:
        msg = f"{name} must be a whole number of at least {minimum}; got {value!r}."
        raise ValueError(msg)
    return int(value)


def check_n_bins(n_bins: object, minimum: int = 1) -> int:
    """``n_bins`` as an int; ValueError unless it is a whole number of at least ``minimum``."""
    return check_count("n_bins", n_bins, minimum)


def check_number(name: str, value: object, low: float, high: float = np.inf, *, finite: bool = True) -> float:
    """``value`` as a float; ValueError unless it is a number from ``low`` to ``high``, and finite if it must be.

    Examples
    --------
    >>> check_number("threshold", 1, 0, 1)
    1.0
    """
    numbers = _numbers([value])
    found = np.nan if numbers is None else numbers[0]
    if not low <= found <= high or (finite and np.isinf(found)):  # NaN is not within any bounds
        where = f"of at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
        msg = f"{name} must be a number {where}; got {value!r}."
        raise ValueError(msg)
    return found


def check_positive(name: str, value: object) -> float:
    """``value`` as a float; ValueError unless it is a positive finite number, and no truth value."""
    found = _numbers([value])
    if found is None or not 0 < found[0] < np.inf:
        msg = f"{name} must be a positive, finite number; got {value!r}."
        raise ValueError(msg)
    return found[0]


def check_voxel_volume(volume: object) -> float:
    """The volume of a voxel as a float; ValueError unless it is a positive finite number."""
    return check_positive("voxel_volume", volume)


def check_labels(positive: Any, name: str = "positive") -> tuple[int, ...] | None:
    """The label values that mark a structure, as a tuple; None stands for masks of 0 and 1.

    Raises
    ------
    ValueError
        If there is none, or one is not a whole number, or 0, which is the background everywhere.

    Examples
    --------
    >>> check_labels(3), check_labels([1, 2]), check_labels(None)
    ((3,), (1, 2), None)
    """
    if positive is None:
        return None
    labels = tuple(np.atleast_1d(positive).tolist())
    if not labels or not all(type(label) is int and label != 0 for label in labels):
        msg = f"{name} must be the whole-number labels that mark the structure, not 0; got {positive!r}."
        raise ValueError(msg)
    return labels


def check_spacing(spacing: Any, n_axes: int | None = None, *, name: str = "spacing") -> tuple[float, ...]:
    """Voxel edges in mm, as floats.

    Parameters
    ----------
    spacing : sequence of float
        One edge for each axis.
    n_axes : int, optional
        How many there must be.
    name : str, default="spacing"
        Begins the error.

    Raises
    ------
    ValueError
        Unless all are finite positive numbers, as many as there are axes.

    Examples
    --------
    >>> check_spacing([1, 0.5])
    (1.0, 0.5)
    """
    edges = _numbers(spacing)
    if not edges or (n_axes is not None and len(edges) != n_axes):
        each = "each axis" if n_axes is None else f"each of {n_axes} axes"
        msg = f"{name} must be a positive voxel edge in mm for {each}; got {spacing!r}."
        raise ValueError(msg)
    if not all(0 < edge < np.inf for edge in edges):
        msg = f"{name} must be positive and finite, in mm; got {spacing!r}."
        raise ValueError(msg)
    return edges


def check_groups(groups: ArrayLike, name: str = "groups") -> NDArray[Any]:
    """Labels of groups (cases, patients, sites) as an array; ValueError if one of them is missing.

    Missing are None, NaN, NaT and masked entries: a patient whose number a table does not hold.

    Examples
    --------
    >>> check_groups([3, 3, 5])
    array([3, 3, 5])
    """
    labels = np.ma.asanyarray(groups) if np.ma.isMaskedArray(groups) else np.asarray(groups)
    missing, values = np.ma.getmaskarray(labels), np.ma.getdata(labels)
    if values.dtype.kind in "fc":
        missing = missing | np.isnan(values)
    elif values.dtype.kind in "mM":
        missing = missing | np.isnat(values)
    elif values.dtype.kind == "O" or (values.dtype.kind in "US" and not hasattr(groups, "dtype")):
        # NumPy turns the NaN of a list with words into the word "nan"
        found = [_is_missing(value) for value in np.asarray(groups, dtype=object).flat]
        missing = missing | np.array(found, dtype=bool).reshape(values.shape)
    if missing.any():
        msg = (
            f"{name} must not be missing; {np.count_nonzero(missing)} of {missing.size} are NaN or None. "
            "Fill them in, or leave out what they belong to."
        )
        raise ValueError(msg)
    return values


def _is_missing(value: object) -> bool:
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # those of pandas


def _numbers(values: Any) -> tuple[float, ...] | None:
    """Plain numbers as floats; None if there is something else among them, truth values included."""
    try:
        listed = [value.item() if isinstance(value, np.generic | np.ndarray) else value for value in values]
        if any(isinstance(value, bool | str | complex) or value is None for value in listed):
            return None
        return tuple(float(value) for value in listed)
    except (TypeError, ValueError):
        return None
