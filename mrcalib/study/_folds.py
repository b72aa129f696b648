"""Every method fitted to the sums of the cases of each fold's other side."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from mrcalib.calibrators import Calibrator, CaseSums, Needs, data_of_cohort
from mrcalib.cohort import Cohort
from mrcalib.exceptions import SaturationWarning
from mrcalib.study._kept_voxels import KeptVoxels

__all__ = ["fitted_by_fold", "fitted_to_all", "pass_on"]

BATCH = 32  # folds whose sums are held at a time


def fitted_to_all(
    cohort: Cohort, methods: Mapping[str, Calibrator], voxels: KeptVoxels | None = None
) -> dict[str, Calibrator]:
    """Every method fitted to all cases; ``voxels`` are read by those that need a second pass."""
    if voxels is None:
        return {name: clone(method).fit_tally(cohort) for name, method in methods.items()}
    fitted = {}
    for name, method in methods.items():
        weights = method.weights_of_cases(cohort)[np.newaxis]
        (data,) = data_of_cohort(cohort, weights, method.needs, voxels=voxels, in_memory=True)
        fitted[name] = clone(method).fit_data(data, cohort.raters, None, cohort.ids)
    return fitted


def fitted_by_fold(
    cohort: Cohort,
    methods: Mapping[str, Calibrator],
    folds: Sequence[NDArray[np.intp]],
    *,
    in_sample: bool,
    keep: bool = True,
    voxels: KeptVoxels | None = None,
) -> Iterable[tuple[int, NDArray[np.intp], dict[str, Calibrator]]]:
    """Each fold's number and test cases, with every method fitted to the sums of the other cases.

    Maps that are not kept have no provenance, whose hash of the sums takes as long as many a fit. ``voxels`` are read by the
    methods that need a second pass; without them these are fitted to the bins of the tallies.
    """
    train = np.ones((len(folds), len(cohort)))
    if not in_sample:
        for row, fold in zip(train, folds, strict=True):
            row[fold] = 0.0
    case_sums = CaseSums.of_cohort(cohort) if any(method.needs.cases for method in methods.values()) else None
    method_weights = {name: method.weights_of_cases(cohort) for name, method in methods.items()}
    by_weight: dict[bytes, dict[str, Calibrator]] = {}  # methods that weigh cases alike share the sums of their cases
    for name, method in methods.items():
        by_weight.setdefault(method_weights[name].tobytes(), {})[name] = method
    templates = {name: clone(method) for name, method in methods.items()}
    for start in range(0, len(folds), BATCH):
        batch = folds[start : start + BATCH]
        included = train[start : start + BATCH]
        estimators: list[dict[str, Calibrator]] = [{} for _ in batch]
        for together in by_weight.values():
            needs = _needs_of_all([method.needs for method in together.values()])
            weights = included * method_weights[next(iter(together))]
            for fitted, data in zip(
                estimators,
                data_of_cohort(
                    cohort, weights, needs, included=included, case_sums=case_sums, voxels=voxels, in_memory=True
                ),
                strict=True,
            ):
                for name in together:
                    fitted[name] = copy(templates[name]).fit_data(data, cohort.raters, provenance=keep)
        for i, fold in enumerate(batch):
            yield start + i + 1, fold, estimators[i]


def _needs_of_all(needs: Sequence[Needs]) -> Needs:
    """What several methods need to know together, on the grid of the tallies."""
    return Needs(
        needs[0].grid,
        cases=any(one.cases for one in needs),
        votes=any(one.votes for one in needs),
        marked=any(one.marked for one in needs),
    )


def pass_on(caught: Sequence[warnings.WarningMessage], stacklevel: int) -> None:
    """Issue again what was warned of while fitting: saturation once, with the number of fits, the rest as it was."""
    saturated = [str(w.message) for w in caught if issubclass(w.category, SaturationWarning)]
    if saturated:
        msg = f"{saturated[0]} ({len(saturated)} of the fits; compare them with MHR on the grid.)"
        warnings.warn(msg, SaturationWarning, stacklevel=stacklevel)
    for other in caught:
        if not issubclass(other.category, SaturationWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
