"""Errors about values that are found to be wrong while voxels are read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProbabilityRange", "of_case", "refuse_labels", "refuse_probs"]

_LOGITS = "if these are logits, pass scipy.special.expit(logits) (of files: LoadOptions(values='logits'))"
_ROUNDING = 1e-5  # probabilities that are no further outside [0, 1] are taken for rounded ones


def of_case(case: str | None) -> str:
    """ " of case 'A'", or nothing where the case is not known."""
    return "" if case is None else f" of case {case!r}"


class ProbabilityRange:
    """Counts, part by part, how many values are no probabilities, and which values there are.

    Examples
    --------
    >>> found = ProbabilityRange()
    >>> found.add(np.array([0.5, 1.5])), found.add(np.array([np.nan]))
    (False, False)
    >>> found.n_voxels, found.n_wrong, found.n_nan, found.high
    (3, 2, 1, 1.5)
    """

    def __init__(self) -> None:
        self.n_voxels = self.n_wrong = self.n_nan = 0
        self.low, self.high = np.inf, -np.inf

    def add(self, probs: NDArray[Any]) -> bool:
        """Count the values of a part; whether all of them lie in [0, 1]."""
        self.n_voxels += probs.size
        if not probs.size:
            return True
        low, high = probs.min(), probs.max()
        if low >= 0 and high <= 1:  # not so for NaN
            self.low, self.high = min(self.low, float(low)), max(self.high, float(high))
            return True
        self.n_nan += int(np.isnan(probs).sum())
        self.n_wrong += int(np.count_nonzero(~((probs >= 0) & (probs <= 1))))
        self.low = min(self.low, float(np.nanmin(probs, initial=np.inf)))
        self.high = max(self.high, float(np.nanmax(probs, initial=-np.inf)))
        return False

    def refuse(self, case: str | None, *, arguments: Collection[str] = ()) -> None:
        """Raise ValueError with what was counted and the likely cause; ``case`` and ``arguments`` as for ``refuse_probs``."""
        low, high = (self.low, self.high) if self.low <= self.high else (np.nan, np.nan)
        what = (
            f"{self.n_wrong} of {self.n_voxels} voxels are not, {self.n_nan} of them NaN, all others between {low:g} and "
            f"{high:g}"
        )
        if self.n_nan < self.n_wrong and low >= -_ROUNDING and high <= 1 + _ROUNDING:
            hint = "that looks like rounding: clip them with np.clip(probs, 0, 1)"
        elif self.n_nan < self.n_wrong and low >= 0 and 1.5 < high <= 255:
            scale = 100 if high <= 100 else 255
            hint = f"divide by {scale} what is stored on that scale; {_LOGITS}"
        elif self.n_nan < self.n_wrong:
            hint = _LOGITS
        elif "invalid" in arguments and case is not None:
            hint = (
                "mask them with roi=; what is outside [0, 1] in one of several members is NaN, too: are the members logits? "
                "Then read them with LoadOptions(values='logits')"
            )
        else:
            hint = "mask them with roi=" if "roi" in arguments else "there must be a value at every voxel"
        where = "" if case is None else f" (case {case!r})"
        rest = ", or leave them out with invalid='drop'." if "invalid" in arguments else "."
        msg = f"probs must lie in [0, 1]{where}: {what}; {hint}{rest}"
        raise ValueError(msg)


def refuse_probs(probs: NDArray[Any], refused: int, case: str | None, *, arguments: Collection[str] = ()) -> None:
    """Raise ValueError for probabilities that are NaN or outside [0, 1], with the likely cause.

    Parameters
    ----------
    probs : ndarray of float
        All probabilities that were read.
    refused : int
        How many of them are NaN or outside [0, 1].
    case : str or None
        Named in the error.
    arguments : collection of str
        What the called function takes: "roi" and "invalid" are named as a way out only where they exist.
    """
    found = ProbabilityRange()
    found.add(probs)
    found.n_wrong = refused
    found.refuse(case, arguments=arguments)


def refuse_labels(mask: Any, rater: int | str, case: str | None, *, arguments: Collection[str] = ()) -> None:
    """Raise ValueError for a mask that holds other values than 0 and 1, with the likely cause.

    ``arguments`` is what the called function takes: "positive" and "soft" are named as a way out only where they exist.
    """
    found = np.unique(np.ma.compressed(mask) if np.ma.isMaskedArray(mask) else np.asarray(mask))
    found = found[~np.isnan(found)] if found.dtype.kind == "f" else found
    shown = ", ".join(f"{v:g}" for v in found[:6]) + (", ..." if found.size > 6 else "")
    labels = found[np.isfinite(found) & (found != 0)]
    if found.dtype.kind == "f" and ((found > 0) & (found < 1)).any() and found[0] >= 0 and found[-1] <= 1:
        way_out = "pass it as one target with soft=True" if "soft" in arguments else "give each rater's own mask"
        hint = f"if it is an average over raters, {way_out}"
    elif labels.size and "positive" in arguments:
        hint = f"pass positive={labels[-1]:g} if that value marks the structure"
    elif labels.size:
        hint = f"pass mask == {labels[-1]:g} if that value marks the structure"
    else:
        hint = "check the file"
    where = f"rater {rater}{of_case(case)}"
    msg = f"Masks of raters must hold 0 and 1 only (NaN where missing); {where} holds {shown}; {hint}."
    raise ValueError(msg)
