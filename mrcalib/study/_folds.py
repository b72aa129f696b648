"""Every method fitted to the sums of the cases of each fold's other side."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from mrcalib.calibrators import Calibrator, CaseSums, KeptVoxels, Needs, data_of_cohort
from mrcalib.cohort import Cohort
from mrcalib.exceptions import SaturationWarning
from mrcalib.scale import voxels_of_case

if TYPE_CHECKING:
    from mrcalib.io import Case, LoadOptions

__all__ = ["fitted_by_fold", "fitted_to_all", "pass_on", "voxels_to_reread"]

BATCH = 32  # folds whose sums are held at a time


def fitted_to_all(
    cohort: Cohort, methods: Mapping[str, Calibrator], voxels: KeptVoxels | None = None
) -> dict[str, Calibrator]:
    """Every method fitted to all cases; ``voxels`` are those of a second pass."""
    fitted = {}
    for name, method in methods.items():
        weight = method.weights_of_cases(cohort)
        again = None if voxels is None or not method.needs.second_pass else voxels.weighted
        (data,) = data_of_cohort(cohort, weight[np.newaxis], method.needs, voxels=again, in_memory=True)
        fitted[name] = clone(method).fit_data(data, cohort.raters, cases=cohort.ids)
    return fitted


def voxels_to_reread(
    cohort: Cohort,
    methods: Mapping[str, Calibrator],
    folds: Sequence[NDArray[np.intp]],
    cases: Sequence[Case] | None,
    options: LoadOptions,
    *,
    n_jobs: int | None,
) -> KeptVoxels | None:
    """The voxels that some fit must look into, read from the cases once; None if no method does, or without cases."""
    rereading = {name: method for name, method in methods.items() if method.needs.second_pass}
    if not rereading or cases is None:
        return None
    train = np.vstack([_training(cohort, folds, in_sample=False), np.ones(len(cohort))])
    train = train[train.any(axis=1)]
    cells: set[tuple[int, int]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the fits proper will warn
        for method in rereading.values():
            weights = method.weights_of_cases(cohort)
            for start in range(0, len(train), BATCH):
                included = train[start : start + BATCH]
                for data in data_of_cohort(cohort, included * weights, method.needs, included=included):
                    if data.pooled.weight.any():
                        clone(method).fit_data(replace(data, to_open=cells), cohort.raters, provenance=False)
    read = [partial(voxels_of_case, case, raters=cohort.raters, options=options) for case in cases]
    return KeptVoxels(read, cells, n_jobs)


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

    Maps that are not kept have no provenance, whose hash of the sums takes as long as many a fit. ``voxels`` are those of a
    second pass, for the methods that make one.
    """
    train = _training(cohort, folds, in_sample=in_sample)
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
            again = None if voxels is None else voxels.weighted
            fold_data = data_of_cohort(
                cohort, weights, needs, included=included, case_sums=case_sums, voxels=again, in_memory=True
            )
            for fitted, data in zip(estimators, fold_data, strict=True):
                for name, method in together.items():
                    mine = data if method.needs.second_pass else replace(data, voxels=None)
                    fitted[name] = copy(templates[name]).fit_data(mine, cohort.raters, provenance=keep)
        for i, fold in enumerate(batch):
            yield start + i + 1, fold, estimators[i]


def _training(cohort: Cohort, folds: Sequence[NDArray[np.intp]], *, in_sample: bool) -> NDArray[np.float64]:
    """1 for the cases that each fold's maps are fitted to, else 0; shape (n_folds, n_cases)."""
    train = np.ones((len(folds), len(cohort)))
    if not in_sample:
        for row, fold in zip(train, folds, strict=True):
            row[fold] = 0.0
    return train


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
