"""What a reader must know of a case's scores: which are not defined, or not what they seem, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["invasion_notes", "rater_notes", "volume_notes"]


def rater_notes(masks: Sequence[NDArray[Any] | None], expected: int) -> list[str]:
    """Raters who are missing, or who marked nothing; ``masks`` are not 0 where a rater marked something."""
    there = [mask for mask in masks if mask is not None]
    notes = [f"Rater {r} is missing and left out." for r, mask in enumerate(masks) if mask is None]
    if len(there) != expected:
        notes.append(f"Scored against {len(there)} {_raters(len(there))}; the challenge's program takes {expected}.")
    notes += [
        f"Rater {r} marked nothing; that is an answer. If the rater is missing, pass None."
        for r, mask in enumerate(masks)
        if mask is not None and not mask.any()
    ]
    return notes


def volume_notes(what: str, predicted: float, mean: float, std: float) -> list[str]:
    """Where the program's CRPS of a volume says little: raters who agree, and predictions far from theirs."""
    if std == 0:
        return [f"{what}: the raters give one volume; the program answers 0 whatever the prediction."]
    z = abs(predicted - mean) / std
    if z >= 3:
        return [
            f"{what}: the predicted volume is {z:.1f} standard deviations from the raters' mean; the program's value "
            "saturates at 2.44 standard deviations."
        ]
    return []


def invasion_notes(vi: Mapping[str, float] | None, detail: Mapping[str, Any] | None) -> list[str]:
    """Vessels without a score, and degrees that no vessel has."""
    notes = [f"vi of {name} is not defined." for name, value in (vi or {}).items() if math.isnan(value)]
    beyond = [name for name, planes in (detail or {}).items() if _largest(planes) > 360 + 1e-6]
    if beyond:
        notes.append(
            f"vi of {', '.join(beyond)}: contact of more than 360 degrees, as the program counts pixels twice."
        )
    return notes


def _largest(values: Any) -> float:
    """The largest number in nested mappings and lists; 0 where there is none."""
    if isinstance(values, Mapping):
        return max((_largest(item) for item in values.values()), default=0.0)
    numbers = (
        np.asarray(values, dtype=np.float64).ravel() if isinstance(values, float | int | list | np.ndarray) else ()
    )
    return float(np.nanmax(numbers, initial=0.0)) if len(numbers) else 0.0


def _raters(n: int) -> str:
    return "rater" if n == 1 else "raters"
