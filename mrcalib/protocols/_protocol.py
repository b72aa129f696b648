"""What a challenge's protocol is: its measures, the scores of a case, and where its program's and the corrected values differ.

From when on two values differ enough to matter is what a reader of a table would act on. Dice: 0.001, a tenth of what
separates the methods of published tables. ECE: 0.0001, the last digit of such tables, and 2 %, which rounding of float32 sums
does not reach. CRPS: a voxel (or mm³), and 2 %: the program's quadrature is off by 1.2 % at most where it does not saturate.
Vascular invasion: 5 degrees and 10 %, since its two definitions agree no better on plain cases. In ECE, the probability of
foreground is reported beside that of the more probable label if its error is beyond 0.01 and three times as large: raters who
disagree make it two to three times as large without any fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from mrcalib.metrics import Metric
from mrcalib.metrics.base import FloatArray
from mrcalib.registry import Registry
from mrcalib.responses import Responses

__all__ = [
    "CRPS_DISAGREEMENT",
    "Disagreement",
    "Measure",
    "Protocol",
    "get_protocol",
    "register_protocol",
]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """From when on two values of a measure differ enough to matter, and what to say of it.

    They do if one alone is defined, or if they differ by more than ``absolute`` *and* by more than ``relative`` of the
    larger: small values are not blown up, and large ones not held to their last digit.
    """

    absolute: float
    relative: float
    why: Callable[[float, float], str]

    def matters(self, strict: float, corrected: float) -> bool:
        """Whether these differ enough."""
        if math.isnan(strict) or math.isnan(corrected):
            return math.isnan(strict) != math.isnan(corrected)
        gap = abs(strict - corrected)
        return gap > self.absolute and gap > self.relative * max(abs(strict), abs(corrected))


@dataclass(frozen=True)
class Measure(Metric):
    """A measure of a protocol: a metric whose sums are the one number that `Protocol.score` makes of a case.

    Parameters
    ----------
    name, label : str
        As of any metric.
    better : {"lower", "higher", "zero"}
        Which way is better.
    unit : str, default=""
        Such as "mm³".
    """

    name: str  # type: ignore[misc]
    label: str  # type: ignore[misc]
    better: Literal["lower", "higher", "zero"]  # type: ignore[misc]
    unit: str = ""  # type: ignore[misc]

    poolable = False

    def __post_init__(self) -> None:
        """Name and label are those given."""

    def sums(self, responses: Responses) -> FloatArray:  # noqa: ARG002
        """Raises TypeError: a measure is not a sum over voxels."""
        msg = "A protocol's measure is not a sum over voxels: Protocol.score computes it from the arrays of a case."
        raise TypeError(msg)

    def value(self, sums: FloatArray) -> FloatArray:
        """The one number of each case."""
        return sums[..., 0]


@dataclass(frozen=True)
class Protocol:
    """The scores of a challenge: one number a case and measure, by its program or as they should be.

    Attributes
    ----------
    name : str
        What `get_protocol` finds it by, such as "curvas-pdacvi".
    title : str
        For tables, such as "CURVAS-PDACVI 2025".
    measures : tuple of Measure
        The columns of its tables. Their sums are one number a case, and their value is that number: `score` makes it. They
        are means over cases only.
    needs_vessels : bool
        Whether some measures, those named "vi_...", need a map of vessels.
    needs_classes : bool
        Whether ``probs`` are per class ``(C, *S)`` and ``raters`` label maps, not foreground and masks.
    scorer : callable
        The function that scores a case.
    flatten : callable
        From what it answers to one number for each measure.
    rules : mapping of str to Disagreement
        By measure, or by what its name starts with: when two values differ enough to matter.
    beyond : callable, optional
        From the corrected scores to further sentences.
    readings : tuple of str
        What strict and corrected values are called.
    """

    name: str
    title: str
    measures: tuple[Measure, ...]
    needs_vessels: bool
    needs_classes: bool
    scorer: Callable[..., dict[str, Any]]
    flatten: Callable[[Mapping[str, Any]], dict[str, float]]
    rules: Mapping[str, Disagreement]
    beyond: Callable[[Mapping[str, float]], list[str]] | None = None
    readings: tuple[str, str] = ("by the program", "corrected")

    def measures_for(self, *, vessels: bool) -> tuple[Measure, ...]:
        """The measures of cases with or without a map of vessels."""
        return tuple(m for m in self.measures if vessels or not m.name.startswith("vi_"))

    def detail(
        self,
        probs: ArrayLike,
        raters: Any,
        *,
        vessels: ArrayLike | None = None,
        vessel_labels: Mapping[str, int] | None = None,
        spacing: float | Sequence[float] | None = None,
        affine: ArrayLike | None = None,
        image: ArrayLike | None = None,
        strict: bool = True,
    ) -> dict[str, Any]:
        """All that the protocol's function answers, with ``notes``: reasons of what is not defined or not as meant."""
        options: dict[str, Any] = {"spacing": spacing, "strict": strict}
        if self.needs_classes:
            options["image"] = image
        if self.needs_vessels and vessels is not None:
            options |= {"vessels": vessels, "vessel_labels": vessel_labels, "affine": affine}
        return self.scorer(probs, raters, **options)

    def score(
        self,
        probs: ArrayLike,
        raters: Any,
        *,
        vessels: ArrayLike | None = None,
        vessel_labels: Mapping[str, int] | None = None,
        spacing: float | Sequence[float] | None = None,
        affine: ArrayLike | None = None,
        image: ArrayLike | None = None,
        strict: bool = True,
    ) -> dict[str, float]:
        """One number for each measure, NaN where it is not defined.

        Parameters
        ----------
        probs : array_like of float, shape S, or (C, *S) where the protocol needs classes
            Probabilities in [0, 1].
        raters : array_like or sequence
            Masks, or label maps where the protocol needs classes; None in a list for a missing rater.
        vessels : array_like of int, shape S, optional
            Labels of vessels; without them measures named "vi_..." are NaN.
        vessel_labels : mapping of str to int, optional
            Names of vessels and their labels; those of the challenge by default. Vessels of other names have scores
            beyond ``measures``.
        spacing : float or sequence of float, optional
            Volume of a voxel in mm³, or its edges in mm.
        affine : array_like, shape (4, 4), optional
            From voxel indices to RAS+ mm, for the anatomical planes of corrected vascular invasion.
        image : array_like, shape S, optional
            The CT, whose foreground CURVAS 2024 crops to.
        strict : bool, default=True
            Whether to score as the program does, or as it should.

        Returns
        -------
        dict
            By the names of the measures. With ``strict=False`` there may be more, which `disagreements` reads.

        Raises
        ------
        ValueError
            As the protocol's function does.
        """
        answer = self.detail(
            probs,
            raters,
            vessels=vessels,
            vessel_labels=vessel_labels,
            spacing=spacing,
            affine=affine,
            image=image,
            strict=strict,
        )
        return {m.name: math.nan for m in self.measures} | self.flatten(answer)

    def disagreements(self, strict: Mapping[str, float], corrected: Mapping[str, float]) -> list[str]:
        """A sentence for each measure whose strict and corrected values differ enough to matter.

        Parameters
        ----------
        strict, corrected : mapping of str to float
            Scores of a case, or means over cases.

        Returns
        -------
        list of str
            Empty where they agree. What is enough for a measure is said where its protocol is defined.
        """
        sentences = []
        by_name = {m.name: m for m in self._measures_of(strict)}
        for name in self.differing(strict, corrected):
            program, meant = strict.get(name, math.nan), corrected.get(name, math.nan)
            values = f"{_number(program)} {self.readings[0]}, {_number(meant)} {self.readings[1]}"
            rule = self._rule(name)
            assert rule is not None
            sentences.append(f"{by_name[name].label}: {values}; {rule.why(program, meant)}.")
        return sentences + (self.beyond(corrected) if self.beyond else [])

    def differing(self, strict: Mapping[str, float], corrected: Mapping[str, float]) -> list[str]:
        """The names of the measures of which `disagreements` has a sentence."""
        names = []
        for m in self._measures_of(strict):
            rule = self._rule(m.name)
            if rule is not None and rule.matters(strict.get(m.name, math.nan), corrected.get(m.name, math.nan)):
                names.append(m.name)
        return names

    def _measures_of(self, scores: Mapping[str, float]) -> list[Measure]:
        """The measures, and those of vessels of other names that these scores hold."""
        known = {m.name for m in self.measures}
        others = [name for name in scores if name.startswith("vi_") and name not in known]
        return [*self.measures, *(Measure(n, n.removeprefix("vi_"), "lower", "°") for n in others)]

    def _rule(self, name: str) -> Disagreement | None:
        return self.rules.get(name, self.rules.get(name.split("_", maxsplit=1)[0]))


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4g}"


def _why_crps(strict: float, corrected: float) -> str:
    if math.isnan(strict) and not math.isnan(corrected):
        return "an annotation lacks a label, at which the program stops"
    if strict == 0:
        return "the raters give one volume, for which the program answers 0 whatever the prediction"
    if strict < corrected:
        return (
            "the program integrates over three standard deviations of the raters' volumes only, so it saturates, and is 0 "
            "where they give one volume"
        )
    return "the program's volumes or its quadrature are off"


CRPS_DISAGREEMENT = Disagreement(1.0, 0.02, _why_crps)
"""Of the CURVAS programs, which compute the CRPS alike."""


_REGISTRY: Registry[Protocol] = Registry("protocol")


def register_protocol(protocol: Protocol) -> Protocol:
    """Add a protocol to those that `get_protocol` knows."""
    _REGISTRY.register(protocol.name, protocol, aliases=(protocol.title,))
    return protocol


def get_protocol(name: str) -> Protocol:
    """The protocol of this name.

    Parameters
    ----------
    name : str
        Its name or title, in any case; one of ``PROTOCOLS``: "curvas-pdacvi", "curvas-2024", "qubiq".

    Returns
    -------
    Protocol

    Raises
    ------
    ValueError
        If there is none; names the nearest ones, and all.

    Examples
    --------
    >>> [m.label for m in get_protocol("curvas-pdacvi").measures_for(vessels=False)]
    ['TDSC', 'ECE', 'CRPS']
    """
    return _REGISTRY.get(name)
