"""How the maps that a calibrator was fitted to were read: recorded at the fit, compared when it is used."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import Console
from mrcalib.cli._inputs import load_options_of

if TYPE_CHECKING:
    from mrcalib.io import Case

__all__ = ["differences", "record_reading", "tell_differences"]

_OPTIONS = {
    "pooling": "--pooling",
    "weights": "--weights",
    "values": "values",
    "foreground": "--foreground",
    "merge": "--merge",
    "coarse_threshold": "--coarse-threshold",
    "margin_mm": "--margin",
    "outside": "--outside",
    "members": "members of an ensemble",
    "roi": "a ROI",
    "coarse": "a coarse segmentation",
}
_DEFAULT = {"weights": "equal", "foreground": "channel 1 of two"}


def record_reading(provenance: dict[str, Any], cases: Sequence[Case], args: argparse.Namespace) -> None:
    """Enter into a calibrator's provenance how the maps of the cases were read."""
    from mrcalib.scale import reading_of

    provenance["reading"] = reading_of(cases, load_options_of(args))


def tell_differences(
    provenance: Mapping[str, Any], cases: Sequence[Case], args: argparse.Namespace, console: Console
) -> None:
    """Warn where maps are read otherwise than those that the calibrator was fitted to; older files do not tell."""
    from mrcalib.scale import reading_of

    fitted_to = provenance.get("reading")
    if fitted_to is None:
        return
    found = differences(fitted_to, reading_of(cases, load_options_of(args)))
    if found:
        console.complain(
            f"warning: the calibrator was fitted to maps that were read otherwise: {'; '.join(found)}. "
            "Its probabilities hold for maps made as they were for the fit."
        )


def differences(fitted_to: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs, of what matters.

    Examples
    --------
    >>> common = {"members": [3], "roi": False, "coarse": True, "outside": "zero", "pooling": "mean", "coarse_threshold": 0.5}
    >>> differences(common | {"margin_mm": 20.0}, common | {"margin_mm": 5.0})
    ['--margin 20 then, 5 now']
    """
    both = (fitted_to, now)
    alone = all(reading.get("members") == [1] for reading in both)
    one_channel = all(len(reading.get("foreground") or (1,)) == 1 for reading in both)
    open_field = not any(reading.get("roi") or reading.get("coarse") for reading in both)
    no_coarse = not any(reading.get("coarse") for reading in both)
    idle = {
        *(("pooling", "weights") if alone else ()),
        *(("merge",) if one_channel else ()),
        *(("coarse_threshold", "margin_mm") if no_coarse else ()),
        # Zero outside is right for a map that was fitted inside only.
        *(("outside",) if open_field or now.get("outside") == "zero" else ()),
    }
    return [
        f"{words} {_told(name, fitted_to[name])} then, {_told(name, now[name])} now"
        for name, words in _OPTIONS.items()
        if name not in idle and name in fitted_to and name in now and fitted_to[name] != now[name]
    ]


def _told(name: str, value: Any) -> str:
    if value is None:
        return _DEFAULT.get(name, "none")
    if isinstance(value, bool):
        return "given" if value else "not given"
    if isinstance(value, list):
        return ",".join(f"{item:g}" for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
