"""Errors about values that are found to be wrong while voxels are read."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["of_case", "refuse_labels", "refuse_probs"]

_LOGITS = "if these are logits, pass scipy.special.expit(logits) (of files: LoadOptions(values='logits'))"
_ROUNDING = 1e-5  # probabilities that are no further outside [0, 1] are taken for rounded ones


def of_case(case: str | None) -> str:
    """ " of case 'A'", or nothing where the case is not known."""
    return "" if case is None else f" of case {case!r}"


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
    n_nan = int(np.isnan(probs).sum())
    low, high = (float(np.nanmin(probs)), float(np.nanmax(probs))) if n_nan < probs.size else (np.nan, np.nan)
    what = f"{refused} of {probs.size} voxels are not, {n_nan} of them NaN, all others between {low:g} and {high:g}"
    if n_nan < refused and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        hint = "that looks like rounding: clip them with np.clip(probs, 0, 1)"
    elif n_nan < refused and low >= 0 and 1.5 < high <= 255:
        scale = 100 if high <= 100 else 255
        hint = f"divide by {scale} what is stored on that scale; {_LOGITS}"
    elif n_nan < refused:
        hint = _LOGITS
    else:
        hint = "mask them with roi=" if "roi" in arguments else "there must be a value at every voxel"
    where = "" if case is None else f" (case {case!r})"
    rest = ", or leave them out with invalid='drop'." if "invalid" in arguments else "."
    msg = f"probs must lie in [0, 1]{where}: {what}; {hint}{rest}"
    raise ValueError(msg)


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
