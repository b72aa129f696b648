"""Every method fitted to the sums of the cases of each fold's other side."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from mrcalib.calibrators import CaseAdaptiveCalibrator, VoteCalibrator
from mrcalib.calibrators._case_sums import CaseSums
from mrcalib.calibrators._source import Source
from mrcalib.cohort import Cohort
from mrcalib.exceptions import SaturationWarning
from mrcalib.responses import PooledResponses

__all__ = ["fitted_by_fold", "pass_on"]

BATCH = 32  # folds whose sums are held at a time


def fitted_by_fold(
    cohort: Cohort,
    methods: Mapping[str, VoteCalibrator],
    folds: Sequence[NDArray[np.intp]],
    *,
    in_sample: bool,
    keep: bool = True,
) -> Iterable[tuple[int, NDArray[np.intp], dict[str, VoteCalibrator]]]:
    """Each fold's number and test cases, with every method fitted to the sums of the other cases.

    Maps that are not kept have no provenance, whose hash of the sums takes as long as many a fit.
    """
    train = np.ones((len(folds), len(cohort)))
    if not in_sample:
        for row, fold in zip(train, folds, strict=True):
            row[fold] = 0.0
    grid, zeros = cohort.grid, cohort.n_zeros
    if any(method._tells_cases_apart() for method in methods.values()):
        cases = CaseSums.of_cohort(cohort, np.ones(len(cohort)))
    weights = {name: method._weights_of_cases(cohort) for name, method in methods.items()}
    rules = {name: _rule(name, method) for name, method in methods.items()}
    templates = {name: clone(method) for name, method in methods.items()}
    marked = {rules[name] for name, method in methods.items() if method._tells_marked_apart()}
    for start in range(0, len(folds), BATCH):
        batch = folds[start : start + BATCH]
        estimators: list[dict[str, VoteCalibrator]] = [{} for _ in batch]
        pooled_by_rule: dict[tuple[str, str, bool], list[PooledResponses]] = {}
        for name, method in methods.items():
            rule = rules[name]
            if rule not in pooled_by_rule:
                counts_of_cases = train[start : start + BATCH] * weights[name]
                pooled_by_rule[rule] = cohort.pooled_many(counts_of_cases, marked=rule in marked)
            for i, pooled in enumerate(pooled_by_rule[rule]):
                n_voxels, n_zeros = (float(train[start + i] @ counts) for counts in (cohort.n_voxels, zeros))
                source = Source(grid, pooled, n_voxels, n_zeros=n_zeros)
                if method._tells_cases_apart():
                    source = replace(source, by_case=cases.weighted(train[start + i] * weights[name]))
                if method._counts_votes():
                    source = replace(source, counts=cohort.vote_counts(train[start + i] * weights[name]))
                estimators[i][name] = _fitted(copy(templates[name]), source, cohort.raters, keep=keep)
        for i, fold in enumerate(batch):
            yield start + i + 1, fold, estimators[i]


def _rule(name: str, method: VoteCalibrator) -> tuple[str, str, bool]:
    """What the weights of the cases depend on: methods of one rule share their sums."""
    kind = ("rule", method.case_weight) if isinstance(method.case_weight, str) else ("of", name)
    return (*kind, method._keeps_zero())


def _fitted(method: VoteCalibrator, source: Source, raters: tuple[str, ...], *, keep: bool) -> VoteCalibrator:
    if keep or type(method).fit_source not in (VoteCalibrator.fit_source, CaseAdaptiveCalibrator.fit_source):
        method.fit_source(source, raters)
        method._forget()  # a study may keep the maps, and needs no sums with them
    else:
        method._fit_sums(source, raters)
    return method


def pass_on(caught: Sequence[warnings.WarningMessage], stacklevel: int) -> None:
    """Issue again what was warned of while fitting: saturation once, with the number of fits, the rest as it was."""
    saturated = [str(w.message) for w in caught if issubclass(w.category, SaturationWarning)]
    if saturated:
        msg = f"{saturated[0]} ({len(saturated)} of the fits; compare them with MHR on the grid.)"
        warnings.warn(msg, SaturationWarning, stacklevel=stacklevel)
    for other in caught:
        if not issubclass(other.category, SaturationWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
