"""Labels of several exclusive classes: their names, and one class against the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Classes", "against_rest", "named_classes", "require_named"]

Classes: TypeAlias = Mapping[str, int] | Sequence[int]
"""Labels of the foreground classes, by name or in a list; 0 is the background and is not named."""

TOLERANCE = 0.01
"""How far the probabilities of exclusive classes may sum from 1: a softmax in half precision does."""


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
    """Refuse a label map with labels that no class names; ``name`` begins the error.

    Raises
    ------
    ValueError
        Lists the labels, and the classes that there are.
    """
    values = labels.compressed() if isinstance(labels, np.ma.MaskedArray) else labels
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else values
    known = [0, *classes.values()]
    if sum(int(np.count_nonzero(values == label)) for label in known) < values.size:
        found = np.unique(values[~np.isin(values, known)])
        listed = ", ".join(f"{label:g}" for label in found[:8].tolist()) + (", ..." if found.size > 8 else "")
        told = ", ".join(f"{class_name}={label}" for class_name, label in classes.items())
        msg = (
            f"{name} holds {listed}, which no class names (0 is the background; classes: {told}). "
            "Name every label among the classes, or set it to 0 if it is background."
        )
        raise ValueError(msg)


def against_rest(labels: NDArray[Any], label: int) -> NDArray[Any]:
    """One rater's votes for a class: 1 at its label, else 0; what is NaN or masked stays so.

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
