"""Scores of all classes together, by maps that were fitted without the case's group."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mrcalib.cli._cases import each_case
from mrcalib.cli._console import Console, decimals, number, table
from mrcalib.cli._files import write_csv
from mrcalib.cli._inputs import load_options_of

if TYPE_CHECKING:
    import pandas as pd

    from mrcalib.calibrators import Calibrator
    from mrcalib.cohort import Cohort
    from mrcalib.io import Case, ImageClass

__all__ = ["report_together", "score_together"]

_LABELS = {
    "mr_ece": "MR-ECE",
    "brier": "Brier",
    "volume_bias": "volume bias",
    "tdsc": "TDSC",
    "argmax_dice": "argmax Dice",
    "top_label_ece": "top-label ECE",
    "sum_above_one": "sum above 1",
}


def score_together(
    cases: Sequence[Case], classes: Sequence[ImageClass], done: Mapping[str, Any], args: argparse.Namespace
) -> tuple[pd.DataFrame, dict[str, Exception]]:
    """Write the scores of each case, and their means; return the means, and the errors of cases that could not be scored.

    Parameters
    ----------
    cases : sequence of Case
        Those that all classes were compared on.
    classes : sequence of ImageClass
        In ascending order of label.
    done : mapping of str to Comparison
        What was found for each class.
    args : Namespace
        The options of the command.
    """
    import numpy as np
    import pandas as pd

    from mrcalib.io import load_classes
    from mrcalib.metrics import multiclass_report

    cohorts = {name: part.cohort for name, part in done.items()}
    fitted = _fitted_by_case(cohorts, next(iter(done.values())), args)
    labels = {one.name: one.label for one in classes}

    def work(case: Case) -> tuple[pd.DataFrame, str]:
        loaded = load_classes(case, classes, load_options_of(args))
        inside = np.ones(loaded.probs.shape[1:], bool) if loaded.case.roi is None else loaded.case.roi
        if args.invalid == "drop":
            inside = inside & np.all((loaded.probs >= 0) & (loaded.probs <= 1), axis=0)
        probs = [part[inside] for part in loaded.probs]  # what counts alone, as in the tallies
        parts = []
        for method, by_class in fitted[case.id].items():
            foreground = np.stack([by_class[one.name](p) for one, p in zip(classes, probs, strict=True)])
            report = multiclass_report(
                foreground,
                [None if votes is None else votes[inside] for votes in loaded.labels],
                labels,
                background=False,
                class_axis=0,
                voxel_volume=loaded.case.voxel_volume_ml or 1.0,
            )
            report.insert(0, "method", method)
            parts.append(report)
        scores = pd.concat(parts, ignore_index=True)
        scores.insert(0, "case", case.id)
        return scores, "scored in all classes"

    results, failures = each_case(cases, work, console=args.console, jobs=args.jobs)
    if not results:
        first, error = next(iter(failures.items()))
        msg = f"None of the {len(cases)} cases could be scored in all classes. The first, {first!r}: {error}"
        raise ValueError(msg)
    scores = pd.concat(results.values(), ignore_index=True)
    means = _means(scores)
    write_csv(args.out / "classes.csv", means)
    write_csv(args.out / "classes_per_case.csv", scores)
    return means, failures


def _fitted_by_case(
    cohorts: Mapping[str, Cohort], done: Any, args: argparse.Namespace
) -> dict[str, dict[str, dict[str, Calibrator]]]:
    """For each case, method and class what was fitted without the case's fold (with it where there are no folds)."""
    import numpy as np
    from sklearn.base import clone

    from mrcalib.resampling import splits

    first = next(iter(cohorts.values()))
    everyone = np.arange(len(first))
    folds = [everyone] if args.cv is None else splits(first.groups, args.cv, args.random_state)
    found: dict[str, dict[str, dict[str, Calibrator]]] = {}
    for number_done, fold in enumerate(folds, start=1):
        train = np.ones(len(first))
        if args.cv is not None:
            train[fold] = 0.0
        by_method: dict[str, dict[str, Calibrator]] = {}
        for method in done.study.methods:
            by_method[method] = {}
            for name, cohort in cohorts.items():
                one = clone(done.study.calibrators[method])
                one.fit_tally(cohort, case_weight=train * one.weights_of_cases(cohort))
                by_method[method][name] = one
        found |= {first.ids[i]: by_method for i in fold}
        args.console.step(number_done, len(folds), "folds fitted for all classes")
    return found


def _means(scores: pd.DataFrame) -> pd.DataFrame:
    """The mean over cases, in the order of the scores; a case that does not define a score is left out of its mean."""
    keys = ["method", "class", "metric", "better"]
    means = scores.groupby(keys, sort=False)[["kept", "renormalised"]].mean()
    counts = scores.groupby(keys, sort=False)["kept"].count().rename("n_cases")
    return means.join(counts).reset_index()


def report_together(means: pd.DataFrame, volume_unit: str, console: Console) -> None:
    from mrcalib.metrics.multiclass import ALL_CLASSES

    console.show("\n=== all classes together ===")
    console.show(
        "Mean over cases, by maps fitted without the case's fold. Where two numbers stand in a cell, the first is of the maps\n"
        "as they are (each a fraction of raters), the second of maps divided by their sum where that exceeds 1. Volumes are\n"
        f"in {volume_unit}."
    )
    together = means["class"] == ALL_CLASSES
    console.show(f"\n{_cells(means[~together], ['method', 'class'])}")
    console.show(f"\n{_cells(means[together], ['method'])}")


def _cells(means: pd.DataFrame, keys: list[str]) -> str:
    metrics = list(dict.fromkeys(means["metric"]))
    places = {m: decimals(means.loc[means["metric"] == m, "kept"].tolist()) for m in metrics}
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for line in means.to_dict("records"):
        cell = _cell(line, places[line["metric"]])
        rows.setdefault(tuple(line[key] for key in keys), {})[line["metric"]] = cell
    return table(
        [*keys, *(_LABELS.get(m, m) for m in metrics)],
        [[*key, *(row.get(m, "-") for m in metrics)] for key, row in rows.items()],
    )


def _cell(line: Mapping[Any, Any], places: int) -> str:
    kept, renormalised = (number(round(line[form], places) + 0.0, places) for form in ("kept", "renormalised"))
    alike = kept == renormalised or math.isnan(line["renormalised"])
    return kept if alike else f"{kept} | {renormalised}"
