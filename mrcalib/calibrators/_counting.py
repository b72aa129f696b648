"""Arrays are counted: into a tally of each case, or into weighted sums where weights are no whole numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.calibrators._array_cases import ArrayCases
from mrcalib.calibrators._data import CalibrationData, Needs, data_of_cohort, pool_weighted
from mrcalib.cohort import Cohort, check_case_weight
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels
from mrcalib.tallies import Tally, tally_voxels

__all__ = ["Counted", "Rule", "count_arrays", "is_by_voxels", "reading_order"]

FloatArray = NDArray[np.float64]
Rule = str | ArrayLike
"""How cases count: "voxels", "equal" or one number a case."""
TOGETHER = ""
"""The name of the case that voxels belong to whose cases need not be known."""


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """What was counted of arrays, which ``partial_fit`` adds to.

    Attributes
    ----------
    raters : tuple of str
        Names of all raters so far.
    tallies : dict of str to Tally
        By name of the case.
    weighted : CalibrationData or None
        Sums of the voxels that have weights or averaged responses.
    n_calls : int
        How many calls of ``fit`` or ``partial_fit`` are in it.
    """

    raters: tuple[str, ...]
    tallies: dict[str, Tally]
    weighted: CalibrationData | None = None
    n_calls: int = 1

    def __add__(self, other: Counted) -> Counted:
        raters = tuple(dict.fromkeys(self.raters + other.raters))
        tallies = {name: part.with_raters(raters) for name, part in self.tallies.items()}
        for name, part in other.tallies.items():
            _add_to(tallies, name, part.with_raters(raters))
        weighted = [part.weighted for part in (self, other) if part.weighted is not None]
        total = weighted[0] + weighted[1] if len(weighted) == 2 else weighted[0] if weighted else None
        return Counted(raters, tallies, total, self.n_calls + 1)

    @property
    def grid(self) -> ProbabilityGrid:
        """The grid of the tallies and sums."""
        return next((part.grid for part in self.tallies.values()), None) or self.weighted.grid  # type: ignore[union-attr]

    @property
    def n_above_zero(self) -> float:
        """Number (or weight) of the voxels whose probability is not 0."""
        tallied = sum(part.n_voxels - part.n_zeros for part in self.tallies.values())
        return tallied + (0.0 if self.weighted is None else self.weighted.n_voxels - self.weighted.n_zeros)

    @property
    def cases(self) -> tuple[str, ...]:
        """The names of the cases, where there are names."""
        return tuple(name for name in self.tallies if name != TOGETHER)

    def data(self, needs: Needs, rule: Rule, *, keep_zero: bool, voxels: ArrayCases | None) -> CalibrationData:
        """The sums that a calibrator is fitted to.

        Parameters
        ----------
        needs : Needs
            What the method needs to know.
        rule : str or array_like
            How cases count.
        keep_zero : bool
            Whether "equal" looks only at the voxels above 0.
        voxels : ArrayCases, optional
            The voxels that were counted, if all of them are at hand for a second pass.
        """
        voxels = voxels if needs.second_pass else None
        if not self.tallies:
            assert self.weighted is not None
            if voxels is None:
                return self.weighted
            parts = voxels.parts
            return replace(self.weighted, voxels=lambda: [(part, 1.0) for part in parts], in_memory=True)
        cohort = Cohort(list(self.tallies.values()), list(self.tallies))
        size = cohort.n_voxels - cohort.n_zeros if keep_zero else cohort.n_voxels
        weight = check_case_weight("voxels" if list(self.tallies) == [TOGETHER] else rule, size)

        def again(weights: FloatArray) -> Iterable[tuple[Voxels, float]]:
            assert voxels is not None
            if len(weights) == 1:
                return [(part, 1.0) for part in voxels.parts]
            of_case = dict(zip(cohort.ids, weights, strict=True))
            factors = np.array([of_case[name] for name in voxels.names])
            return [(voxels.parts[i], float(factors[i])) for i in reading_order(factors)]

        (data,) = data_of_cohort(
            cohort, weight[np.newaxis], needs, voxels=None if voxels is None else again, in_memory=True
        )
        return data if self.weighted is None else data + self.weighted


def is_by_voxels(rule: Rule) -> bool:
    """Whether cases count by their voxels, so that they need not be told apart."""
    return isinstance(rule, str) and rule == "voxels"


def count_arrays(
    cases: ArrayCases, needs: Needs, rule: Rule, *, keep_zero: bool, invalid: str, n_calls: int = 0
) -> tuple[ArrayCases, Counted]:
    """The cases, with the weights of cases in their sample weights if these are needed; and what was counted of them.

    Parameters
    ----------
    cases : ArrayCases
        The voxels.
    needs : Needs
        What the method needs to know.
    rule : str or array_like
        How cases count.
    keep_zero : bool
        Whether "equal" looks only at the voxels above 0.
    invalid : {"raise", "drop"}
        What becomes of what is no probability.
    n_calls : int, default=0
        How many calls went before, from which voxels without a case have their name.
    """
    if any(part.soft is not None or part.sample_weight is not None for part in cases.parts):
        return _weighted(cases, needs, rule, keep_zero=keep_zero, invalid=invalid)
    return cases, _tallied(cases, needs, rule, invalid=invalid, n_calls=n_calls)


def _weighted(
    cases: ArrayCases, needs: Needs, rule: Rule, *, keep_zero: bool, invalid: str
) -> tuple[ArrayCases, Counted]:
    """The cases with their weights in the sample weights, and the sums under these, in floating point."""
    sizes = [1 if is_by_voxels(rule) else _n_answered(part, keep_zero=keep_zero) for part in cases.parts]
    factors = np.ones(len(sizes)) if cases.n_cases == 1 else check_case_weight(rule, sizes)
    parts = [_times(part, float(factor)) for part, factor in zip(cases.parts, factors, strict=True)]
    total, *others = (pool_weighted(part, needs, invalid=invalid) for part in parts)
    for data in others:
        total = total + data
    return replace(cases, parts=parts), Counted(cases.raters, {}, total)


def _tallied(cases: ArrayCases, needs: Needs, rule: Rule, *, invalid: str, n_calls: int) -> Counted:
    """A tally of each case; voxels without a case are named by the number of calls before."""
    tallies: dict[str, Tally] = {}
    together = is_by_voxels(rule) and not needs.cases
    names = cases.names if len(cases.names) == len(cases.parts) else (str(n_calls) if n_calls else TOGETHER,)
    for name, part in zip(names, cases.parts, strict=True):
        counted = tally_voxels(part, needs.grid, cases.raters, invalid=invalid)
        _add_to(tallies, TOGETHER if together else name, counted)
    return Counted(cases.raters, tallies)


def _add_to(tallies: dict[str, Tally], name: str, part: Tally) -> None:
    tallies[name] = tallies[name] + part if name in tallies else part


def _n_answered(voxels: Voxels, *, keep_zero: bool) -> int:
    """Voxels that some rater answered; with ``keep_zero`` those above 0."""
    answered = voxels.answered()
    return int(np.count_nonzero(answered & (voxels.probs != 0) if keep_zero else answered))


def _times(voxels: Voxels, factor: float) -> Voxels:
    """Voxels whose weights are ``factor`` times as large."""
    if factor == 1:
        return voxels
    weight = np.ones(voxels.n_voxels) if voxels.sample_weight is None else voxels.sample_weight
    return replace(voxels, sample_weight=weight * factor)


def reading_order(weights: FloatArray) -> list[int]:
    """The order in which cases are read a second time, without those of weight 0.

    It depends on the weights: what is added up in floating point is then the same in whatever order the cases come.
    """
    return [int(i) for i in np.argsort(weights, kind="stable") if weights[i] > 0]
