"""The words for values that are found wrong while voxels are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ProbabilityRange", "of_case", "refuse_labels", "refuse_probs"]

_LOGITS = "if these are logits, pass scipy.special.expit(logits) (of files: LoadOptions(values='logits'))"


def of_case(case: str | None) -> str:
    """ " of case 'A'", or nothing where the case is not known."""
    return "" if case is None else f" of case {case!r}"


class ProbabilityRange:
    """Counts, part by part, how many values are no probabilities, and which values there are.

    Examples
    --------
    >>> found = ProbabilityRange()
    >>> found.add(np.array([0.5, 1.5]))
    >>> found.add(np.array([np.nan]))
    >>> found.n_voxels, found.n_wrong, found.n_nan, found.high
    (3, 2, 1, 1.5)
    """

    def __init__(self) -> None:
        self.n_voxels = self.n_wrong = self.n_nan = 0
        self.low, self.high = np.inf, -np.inf

    def add(self, probs: NDArray[Any]) -> None:
        """Count the values of a part."""
        self.n_voxels += probs.size
        self.n_nan += int(np.isnan(probs).sum())
        self.n_wrong += int(np.count_nonzero(~((probs >= 0) & (probs <= 1))))
        self.low = min(self.low, float(np.nanmin(probs, initial=np.inf)))
        self.high = max(self.high, float(np.nanmax(probs, initial=-np.inf)))

    def refuse(self, case: str | None, *, droppable: bool = True) -> None:
        """Raise ValueError with what was counted; ``droppable`` where ``invalid=`` is an option of the caller."""
        low, high = (self.low, self.high) if self.low <= self.high else (np.nan, np.nan)
        what = (
            f"{self.n_wrong} of {self.n_voxels} voxels are not, {self.n_nan} of them NaN, all others between {low:g} and "
            f"{high:g}"
        )
        if self.n_nan < self.n_wrong and low >= -1e-5 and high <= 1 + 1e-5:
            hint = "that looks like rounding: clip them with np.clip(probs, 0, 1)"
        elif self.n_nan < self.n_wrong and low >= 0 and 1.5 < high <= 255:
            scale = 100 if high <= 100 else 255
            hint = f"divide by {scale} what is stored on that scale; {_LOGITS}"
        elif self.n_nan < self.n_wrong:
            hint = _LOGITS
        else:
            hint = "mask them with roi=" if droppable else "there must be a value at every voxel"
        where = "" if case is None else f" (case {case!r})"
        rest = ", or leave them out with invalid='drop'." if droppable else "."
        msg = f"probs must lie in [0, 1]{where}: {what}; {hint}{rest}"
        raise ValueError(msg)


def refuse_probs(probs: NDArray[Any], refused: int, case: str | None, *, droppable: bool = True) -> None:
    """Raise for ``refused`` probabilities that are NaN or outside [0, 1]; ``droppable`` where ``invalid=`` is an option."""
    found = ProbabilityRange()
    found.add(probs)
    found.n_wrong = refused
    found.refuse(case, droppable=droppable)


def refuse_labels(mask: Any, rater: int, case: str | None, *, takes_soft: bool) -> None:
    """Raise for a mask that holds other values than 0 and 1; ``takes_soft`` where an averaged target is accepted."""
    found = np.unique(np.ma.compressed(mask) if np.ma.isMaskedArray(mask) else np.asarray(mask))
    found = found[~np.isnan(found)] if found.dtype.kind == "f" else found
    shown = ", ".join(f"{v:g}" for v in found[:6]) + (", ..." if found.size > 6 else "")
    labels = found[np.isfinite(found) & (found != 0)]
    hint = f"pass positive={labels[-1]:g} if that value marks the structure" if labels.size else "check the file"
    if found.dtype.kind == "f" and ((found > 0) & (found < 1)).any() and found[0] >= 0 and found[-1] <= 1:
        hint = "if it is an average over raters, "
        hint += "pass it as one target with soft=True" if takes_soft else "give each rater's own mask"
    where = f"rater {rater}{of_case(case)}"
    msg = f"Masks of raters must hold 0 and 1 only (NaN where missing); {where} holds {shown}; {hint}."
    raise ValueError(msg)
