"""What a challenge's protocol is: its measures, the scores of a case, and where its program and sound values part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import ArrayLike

from mrcalib.metrics import Metric
from mrcalib.metrics.base import FloatArray
from mrcalib.responses import Responses

__all__ = ["Disagreement", "Protocol", "measure"]


@dataclass(frozen=True, slots=True)
class Disagreement:
    """From when on two values of a measure differ enough to matter, and what to say of it.

    They do if one alone is defined, or if they differ by more than ``absolute`` *and* by more than ``relative`` of the
    larger: small values are not blown up, and large ones not held to their last digit.
    """

    absolute: float
    relative: float
    why: Callable[[float, float], str]

    def matters(self, strict: float, sound: float) -> bool:
        """Whether these differ enough."""
        if math.isnan(strict) or math.isnan(sound):
            return math.isnan(strict) != math.isnan(sound)
        gap = abs(strict - sound)
        return gap > self.absolute and gap > self.relative * max(abs(strict), abs(sound))


@dataclass(frozen=True)
class Protocol:
    """The scores of a challenge: one number a case and measure, by its program or as they should be.

    Attributes
    ----------
    name : str
        What `get_protocol` finds it by, such as "curvas-pdacvi".
    title : str
        For tables, such as "CURVAS-PDACVI 2025".
    measures : tuple of Metric
        The columns of its tables. Their statistics are one number a case, and their value is that number: `score`
        makes it. They are means over cases only.
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
        From the sound scores to further sentences.
    readings : tuple of str
        What strict and sound values are called.
    """

    name: str
    title: str
    measures: tuple[Metric, ...]
    needs_vessels: bool
    needs_classes: bool
    scorer: Callable[..., dict[str, Any]]
    flatten: Callable[[Mapping[str, Any]], dict[str, float]]
    rules: Mapping[str, Disagreement]
    beyond: Callable[[Mapping[str, float]], list[str]] | None = None
    readings: tuple[str, str] = ("by the program", "sound")

    def measures_for(self, *, vessels: bool) -> tuple[Metric, ...]:
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
            From voxel indices to RAS+ mm, for the anatomical planes of sound vascular invasion.
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
        told = self.detail(
            probs,
            raters,
            vessels=vessels,
            vessel_labels=vessel_labels,
            spacing=spacing,
            affine=affine,
            image=image,
            strict=strict,
        )
        return {m.name: math.nan for m in self.measures} | self.flatten(told)

    def disagreements(self, strict: Mapping[str, float], sound: Mapping[str, float]) -> list[str]:
        """A sentence for each measure whose strict and sound values differ enough to matter.

        Parameters
        ----------
        strict, sound : mapping of str to float
            Scores of a case, or means over cases.

        Returns
        -------
        list of str
            Empty where they agree. What is enough for a measure is said where its protocol is defined.
        """
        sentences = []
        by_name = {m.name: m for m in self._told(strict)}
        for name in self.differing(strict, sound):
            told, meant = strict.get(name, math.nan), sound.get(name, math.nan)
            values = f"{_number(told)} {self.readings[0]}, {_number(meant)} {self.readings[1]}"
            rule = self._rule(name)
            assert rule is not None
            sentences.append(f"{by_name[name].label}: {values}; {rule.why(told, meant)}.")
        return sentences + (self.beyond(sound) if self.beyond else [])

    def differing(self, strict: Mapping[str, float], sound: Mapping[str, float]) -> list[str]:
        """The names of the measures of which `disagreements` has a sentence."""
        names = []
        for m in self._told(strict):
            rule = self._rule(m.name)
            if rule is not None and rule.matters(strict.get(m.name, math.nan), sound.get(m.name, math.nan)):
                names.append(m.name)
        return names

    def _told(self, scores: Mapping[str, float]) -> list[Metric]:
        """The measures, and those of vessels of other names that these scores hold."""
        known = {m.name for m in self.measures}
        others = [name for name in scores if name.startswith("vi_") and name not in known]
        return [*self.measures, *(measure(n, n.removeprefix("vi_"), "lower", "°") for n in others)]

    def _rule(self, name: str) -> Disagreement | None:
        return self.rules.get(name, self.rules.get(name.split("_", maxsplit=1)[0]))


def measure(name: str, label: str, better: Literal["lower", "higher", "zero"], unit: str = "") -> Metric:
    """A measure of a protocol: its statistics are the one number that `Protocol.score` makes of a case."""
    return Measure(name, label, better, unit)


@dataclass(frozen=True)
class Measure(Metric):
    """A metric whose sums are the one number that `Protocol.score` makes of a case."""

    name: str  # type: ignore[misc]
    label: str  # type: ignore[misc]
    better: Literal["lower", "higher", "zero"]  # type: ignore[misc]
    unit: str  # type: ignore[misc]

    poolable = False

    def __post_init__(self) -> None:
        """Name and label are those given."""

    def sums(self, responses: Responses) -> FloatArray:  # noqa: ARG002
        msg = "A protocol's measure is not a sum over voxels: Protocol.score computes it from the arrays of a case."
        raise TypeError(msg)

    def value(self, sums: FloatArray) -> FloatArray:
        return sums[..., 0]


def _number(value: float) -> str:
    return "not defined" if math.isnan(value) else f"{value:.4g}"
