"""Fit by fold, score every case, and compare with paired resamples of patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators import CaseSums
from mrcalib.cohort import Cohort
from mrcalib.metrics import Metric, get_metric
from mrcalib.resampling import bootstrap_counts, percentile_interval, splits, weighted_means, weighted_values
from mrcalib.responses import Responses

FloatArray = NDArray[np.float64]
Statistics = dict[str, FloatArray]
Predict = Callable[[int], FloatArray]
Fit = Callable[["World", NDArray[np.intp]], Predict]

METRICS = (
    "mr_ece",
    "mean_rater_ece",
    "brier",
    "log_loss",
    "tdsc",
    "dice",
    "soft_dice",
    "volume_crps",
    "volume_bias",
    "volume_error",
)
BOUNDARY = "mr_ece_boundary"


@dataclass(frozen=True, eq=False)
class World:
    """A cohort with what remedies look at: each case's rows, strata, predicted and marked volume (in voxels)."""

    name: str
    cohort: Cohort
    rows: list[Responses]
    strata: list[NDArray[np.int64]]
    predicted: FloatArray
    marked: FloatArray
    folds: list[NDArray[np.intp]]
    resamples: FloatArray
    sums: CaseSums

    @classmethod
    def of(cls, name: str, cohort: Cohort, *, n_folds: int, n_resamples: int, seed: int) -> World:
        rows = [cohort.responses(i) for i in range(len(cohort))]
        return cls(
            name,
            cohort,
            rows,
            [part.cells.stratum for part in cohort.tallies],
            np.array([r.count @ r.prob for r in rows]),
            np.array([r.count @ (r.votes / r.answers) for r in rows]),
            splits(cohort.groups, n_folds, seed),
            bootstrap_counts(cohort.groups, n_resamples, seed),
            CaseSums.of_cohort(cohort),
        )

    @property
    def equal(self) -> FloatArray:
        """Factors that give all cases the same weight."""
        size = self.cohort.n_voxels
        return size.mean() / size


def held_out(world: World, fit: Fit) -> list[FloatArray]:
    """Each case's calibrated rows, by a fit without its patient."""
    found: list[Any] = [None] * len(world.rows)
    for fold in world.folds:
        predict = fit(world, np.setdiff1d(np.arange(len(world.rows)), fold))
        for case in fold:
            found[case] = np.clip(predict(case), 0.0, 1.0)
    return found


def statistics_of(world: World, calibrated: list[FloatArray]) -> Statistics:
    """Sums of every metric for each case."""
    rows = [replace(r, prob=p) for r, p in zip(world.rows, calibrated, strict=True)]
    found = {name: np.stack([get_metric(name).sums(r) for r in rows]) for name in METRICS}
    band = [_some(r, s % 2 == 1) for r, s in zip(rows, world.strata, strict=True)]
    return found | {BOUNDARY: np.stack([get_metric("mr_ece").sums(r) for r in band])}


def _some(rows: Responses, where: NDArray[np.bool_]) -> Responses:
    assert rows.present is not None and rows.marked is not None  # noqa: PT018 - narrows both for the reader
    columns = ("prob", "count", "answers", "votes", "present", "marked")
    return replace(rows, **{name: getattr(rows, name)[where] for name in columns})


def compared(world: World, method: str, mine: Statistics, reference: str, theirs: Statistics) -> list[dict[str, Any]]:
    """A row for each metric, mean over cases and pooled: estimate, paired difference, interval and verdict."""
    out = []
    for name, statistics in mine.items():
        metric = get_metric("mr_ece" if name == BOUNDARY else name)
        toward = np.abs if metric.better == "zero" else np.asarray
        sign = -1.0 if metric.better == "higher" else 1.0
        for kind in ("mean", "pooled") if metric.poolable else ("mean",):

            def under(sums: FloatArray, counts: FloatArray, kind: str = kind, metric: Metric = metric) -> FloatArray:
                if kind == "mean":
                    return weighted_means(metric.value(sums), counts)
                return weighted_values(metric.value, sums, counts, resampler=metric.resampler)

            once = np.ones((1, len(world.rows)))
            estimate, base = (float(under(sums, once)[0]) for sums in (statistics, theirs[name]))
            samples = toward(under(statistics, world.resamples)) - toward(under(theirs[name], world.resamples))
            low, high = percentile_interval(samples, 0.95)
            noise = 1e-9 * abs(base)  # a volume that is kept differs by rounding
            verdict = (
                "worse"
                if min(sign * low, sign * high) > noise
                else "better"
                if max(sign * low, sign * high) < -noise
                else ""
            )
            out.append(
                {
                    "data": world.name,
                    "method": method,
                    "metric": name,
                    "kind": kind,
                    "estimate": estimate,
                    "reference": reference,
                    "difference": float(toward(estimate) - toward(base)),
                    "low": float(low),
                    "high": float(high),
                    "verdict": verdict,
                }
            )
    return out
