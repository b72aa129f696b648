"""How time grows with voxels, raters, cases, bins and threads."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import mrcalib
from benchmarks.speed.data import MOST_RATERS, Data, load
from benchmarks.speed.timing import limited_to, processors, read, seconds

VOXELS = (10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
SOME = 4_000_000  # voxels where something else grows
CASES = (8, 16, 32, 64, 128, 256)
ECE_BINS = (5, 15, 50, 150, 500)
MASS_BINS = (10, 50, 250, 1000)
MANTISSA_BITS = (4, 6, 7, 8, 10, 12)

Work = Callable[[], Any]


def of_voxels(data: Data) -> dict[str, Work]:
    """What is done to voxels, as called."""
    p, m = data.probs, data.masks
    calibrator = mrcalib.MHRIsotonicCalibrator().fit(p, m)
    return {
        "floor": lambda: read(p, m),
        "tally": lambda: mrcalib.tally(p, m),
        "MHR isotonic, grid": lambda: mrcalib.MHRIsotonicCalibrator().fit(p, m),
        "MHR isotonic, exact": lambda: mrcalib.MHRIsotonicCalibrator("exact").fit(p, m),
        "equal mass, 250 bins": lambda: mrcalib.MHRIsotonicCalibrator("equal-mass", 250).fit(p, m),
        "transform": lambda: calibrator.transform(p),
        "mean rater ECE": lambda: mrcalib.metrics.mean_rater_ece(p, m),
        "temperature": lambda: mrcalib.TemperatureScalingCalibrator().fit(p, m),
    }


def measure(options: Any) -> list[dict[str, Any]]:
    """Rows of (what grows, its value, work, seconds)."""
    rows: list[dict[str, Any]] = []

    def take(axis: str, value: float, work: dict[str, Work]) -> None:
        for name, run in work.items():
            taken = seconds(run, 5)
            row = {"axis": axis, "value": value, "work": name, "median": float(np.median(taken))}
            rows.append(row | {"low": min(taken), "high": max(taken)})
        print(f"  {axis}: {value:g}", file=sys.stderr)

    largest = max(options.voxels)
    some = load(min(SOME, largest), n_raters=MOST_RATERS)
    five = Data("coherent", some.probs, np.ascontiguousarray(some.masks[:5]))
    for n in VOXELS:
        if n <= largest:
            take("voxels", n, of_voxels(load(n)))
    for n_raters in range(1, MOST_RATERS + 1):
        take("raters", n_raters, of_voxels(Data("coherent", some.probs, np.ascontiguousarray(some.masks[:n_raters]))))
    for n_threads in range(1, len(processors()) + 1):
        with limited_to(n_threads):
            take("threads", n_threads, of_voxels(five))
    for n_bins in ECE_BINS:
        take(
            "bins",
            n_bins,
            {"mean rater ECE": lambda b=n_bins: mrcalib.metrics.mean_rater_ece(five.probs, five.masks, n_bins=b)},
        )  # type: ignore[misc]
    for n_bins in MASS_BINS:
        take(
            "bins",
            n_bins,
            {"equal mass": lambda b=n_bins: mrcalib.MHRIsotonicCalibrator("equal-mass", b).fit(five.probs, five.masks)},
        )  # type: ignore[misc]
    for bits in MANTISSA_BITS:
        grid = mrcalib.ProbabilityGrid(bits)
        take("bins", grid.n_bins, {"tally": lambda g=grid: mrcalib.tally(five.probs, five.masks, grid=g)})  # type: ignore[misc]
    parts = [mrcalib.tally(p, m) for p, m in five.cases(max(CASES))]
    for n_cases in CASES:
        take("cases", n_cases, of_cases(parts[:n_cases]))
    return rows


def of_cases(parts: list[mrcalib.Tally]) -> dict[str, Work]:
    """What is done to tallies; each repetition starts from a cohort that has kept nothing."""
    ids = [str(i) for i in range(len(parts))]

    def bootstrap() -> Any:
        return mrcalib.compare(mrcalib.Cohort(parts, ids), ["none"], cv=None, n_resamples=5000).intervals("pooled")

    return {
        "5000 resamples, every pooled metric": bootstrap,
        "leave-one-case-out, all methods": lambda: mrcalib.compare(mrcalib.Cohort(parts, ids), n_resamples=1),
    }
