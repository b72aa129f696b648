"""The protocols by name, their measures, and from when on strict and sound values differ enough to matter.

Enough is what a reader of a table would act on. Dice: 0.001, a tenth of what parts the methods of published tables.
ECE: 0.0001, the last digit of such tables, and 2 %, which rounding of float32 sums does not reach. CRPS: a voxel (or
mm³), and 2 %: the program's quadrature is off by 1.2 % at most where it does not saturate. Vascular invasion: 5 degrees
and 10 %, since its two definitions agree no better on plain cases. In ECE, the probability of foreground is told beside
that of the more probable label if its error is beyond 0.01 and three times as large: raters who disagree make it two to
three times as large without any fault.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from mrcalib.inputs import check_choice
from mrcalib.protocols._protocol import Disagreement, Protocol, measure
from mrcalib.protocols.curvas2024 import ORGANS, curvas_2024
from mrcalib.protocols.pdacvi import curvas_pdacvi
from mrcalib.protocols.qubiq import qubiq

__all__ = ["PROTOCOLS", "get_protocol"]


def _pdacvi_numbers(told: Mapping[str, Any]) -> dict[str, float]:
    flat = {name: float(told[name]) for name in ("tdsc", "ece", "crps")}
    if "ece_foreground" in told:
        flat["ece_foreground"] = float(told["ece_foreground"])
    invasion: Mapping[str, float] = told["vi"] or {}
    return flat | {f"vi_{'CELIAC' if name == 'CELIAC TRUNK' else name}": float(v) for name, v in invasion.items()}


def _curvas_2024_numbers(told: Mapping[str, Any]) -> dict[str, float]:
    per_organ = ("dice", "confidence", "crps")
    return {f"{name}_{organ}": float(told[name][organ]) for name in per_organ for organ in ORGANS} | {
        "ece": told["ece"]
    }


def _qubiq_numbers(told: Mapping[str, Any]) -> dict[str, float]:
    return {"qubiq": float(told["dice"])}


def _qubiq(
    probs: ArrayLike,
    raters: Any,
    *,
    spacing: float | Sequence[float] | None,  # noqa: ARG001
    strict: bool,
) -> dict[str, Any]:
    return qubiq(probs, raters, strict=strict)


def _why_tdsc(strict: float, sound: float) -> str:
    if math.isnan(sound) and not math.isnan(strict):
        return "neither side has a voxel at any threshold, which the program scores as a perfect overlap"
    return "with a voxel or less on both sides, the 1e-6 in the program's denominator counts"


def _why_ece(strict: float, sound: float) -> str:
    if math.isnan(strict) and not math.isnan(sound):
        return "the program's box holds no voxel, or no rater marked one"
    return "the program's box wraps around the volume, or its float32 sums and its bin of certain voxels make the difference"


def _why_class_ece(strict: float, sound: float) -> str:  # noqa: ARG001
    return (
        "the program takes probabilities for logits where they sum to more than 1, its float32 sums round, and certain "
        "voxels have a bin of their own"
    )


def _why_row_dice(strict: float, sound: float) -> str:
    if math.isnan(strict) or math.isnan(sound):
        return "there is nothing to overlap where all raters agree, or not in the rows that the program looks at"
    return "the program averages Dice over single rows of voxels and leaves out those without reference"


def _why_confidence(strict: float, sound: float) -> str:  # noqa: ARG001
    return "one of them is not defined"


def _why_crps(strict: float, sound: float) -> str:
    if math.isnan(strict) and not math.isnan(sound):
        return "an annotation lacks a label, at which the program stops"
    if strict == 0:
        return "the raters give one volume, for which the program answers 0 whatever the prediction"
    if strict < sound:
        return (
            "the program integrates over three standard deviations of the raters' volumes only, so it saturates, and is 0 "
            "where they give one volume"
        )
    return "the program's volumes or its quadrature are off"


def _why_vi(strict: float, sound: float) -> str:
    if math.isnan(strict) or math.isnan(sound):
        return "one of them is not defined"
    return (
        "the program fits normal distributions to degrees of contact that it counts in pixels, up to more than 360, and "
        "averages over planes"
    )


def _why_qubiq(strict: float, sound: float) -> str:  # noqa: ARG001
    return "the organisers do not say whether a value equal to a threshold is foreground"


def _cancelled(sound: Mapping[str, float]) -> list[str]:
    """What top-label errors hide: excesses in either half that cancel."""
    label, foreground = sound.get("ece", math.nan), sound.get("ece_foreground", math.nan)
    if not (foreground > 0.01 and foreground > 3 * label):
        return []
    return [
        f"ECE: {label:.4g} for the more probable label, as the program has it, {foreground:.4g} for the probability of "
        "foreground; in the former, errors of either half cancel."
    ]


_DICE = Disagreement(0.001, 0.0, _why_tdsc)
_CRPS = Disagreement(1.0, 0.02, _why_crps)

_ALL = (
    Protocol(
        name="curvas-pdacvi",
        title="CURVAS-PDACVI 2025",
        measures=(
            measure("tdsc", "TDSC", "higher"),
            measure("ece", "ECE", "lower"),
            measure("crps", "CRPS", "lower", "mm³"),
            *(measure(f"vi_{name}", name, "lower", "°") for name in ("PORTA", "SMV", "AORTA", "CELIAC", "SMA")),
        ),
        needs_vessels=True,
        needs_classes=False,
        scorer=curvas_pdacvi,
        flatten=_pdacvi_numbers,
        rules={
            "tdsc": _DICE,
            "ece": Disagreement(1e-4, 0.02, _why_ece),
            "crps": _CRPS,
            "vi": Disagreement(5.0, 0.1, _why_vi),
        },
        beyond=_cancelled,
    ),
    Protocol(
        name="curvas-2024",
        title="CURVAS 2024",
        measures=(
            *(measure(f"dice_{organ}", f"Dice {organ}", "higher") for organ in ORGANS),
            *(measure(f"confidence_{organ}", f"confidence {organ}", "higher") for organ in ORGANS),
            measure("ece", "ECE", "lower"),
            *(measure(f"crps_{organ}", f"CRPS {organ}", "lower", "mm³") for organ in ORGANS),
        ),
        needs_vessels=False,
        needs_classes=True,
        scorer=curvas_2024,
        flatten=_curvas_2024_numbers,
        rules={
            "dice": Disagreement(0.001, 0.0, _why_row_dice),
            "confidence": Disagreement(0.001, 0.0, _why_confidence),
            "ece": Disagreement(1e-4, 0.02, _why_class_ece),
            "crps": _CRPS,
        },
    ),
    Protocol(
        name="qubiq",
        title="QUBIQ",
        measures=(measure("qubiq", "QUBIQ Dice", "higher"),),
        needs_vessels=False,
        needs_classes=False,
        scorer=_qubiq,
        flatten=_qubiq_numbers,
        rules={"qubiq": Disagreement(0.001, 0.0, _why_qubiq)},
        readings=("with > at the thresholds", "with >="),
    ),
)

_PROTOCOLS = {protocol.name: protocol for protocol in _ALL}

PROTOCOLS: tuple[str, ...] = tuple(_PROTOCOLS)
"""The names that `get_protocol` knows."""


def get_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Parameters
    ----------
    name : str
        One of ``PROTOCOLS``: "curvas-pdacvi", "curvas-2024", "qubiq".

    Returns
    -------
    Protocol

    Raises
    ------
    ValueError
        If there is none.

    Examples
    --------
    >>> [m.label for m in get_protocol("curvas-pdacvi").measures_for(vessels=False)]
    ['TDSC', 'ECE', 'CRPS']
    """
    check_choice("protocol", name, PROTOCOLS)
    return _PROTOCOLS[name]
