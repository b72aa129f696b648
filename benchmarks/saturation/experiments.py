"""The experiments: each answers one question with one table (a list of rows, by column name)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.saturation.rules import Bins, Curve, FloatArray, Table, bound_on_target, pava, per_rater, targets, tied
from benchmarks.saturation.scores import (
    PUBLISHED,
    TDSC,
    THRESHOLDS,
    Setting,
    bins_of,
    like_baselines,
    like_mhr,
    score,
    table_of,
)
from benchmarks.saturation.surface import Surface
from benchmarks.saturation.worlds import Fold, World, prevalence_of
from mrcalib.responses import Responses

Records = list[dict[str, Any]]
_PROBE = np.linspace(0, 1, 10_001)

SCANS = (0.01, 0.003, 0.002, 0.001, 0.0003, 0.0001, 0.00001)
BINS = (10, 15, 20, 30, 50, 100, 250, 1000, 5000)
_AT_0_2_PERCENT: dict[str, dict[str, Any]] = {
    "hazy background": {"padding": "haze"},
    "applied to the region": {"region_only": True},
    "no bins": {"rule": "every value"},
    "ties split": {"rule": "split"},
    "ties split by case": {"rule": "split by case"},
    "quantile edges, no weights": {"rule": "quantile edges"},
    "uniform bins": {"rule": "uniform"},
    "bins in each case": {"rule": "per case"},
    "0 beyond the last bin": {"beyond": "zero"},
    "fitted where p > 0": {"keep": "p > 0"},
}
_AT_0_01_PERCENT: dict[str, dict[str, Any]] = {
    "no bins": {"rule": "every value"},
    "5000 bins": {"n_bins": 5000},
    "quantile edges, no weights": {"rule": "quantile edges"},
    "uniform bins": {"rule": "uniform"},
    "bins in each case": {"rule": "per case"},
    "fitted where p > 0": {"keep": "p > 0"},
}
SETTINGS: tuple[Setting, ...] = (
    Setting("region, 250 bins"),
    *(Setting(f"region, {m} bins", n_bins=m) for m in (10, 15, 20, 25, 50, 1000)),
    Setting("region, no bins", rule="every value"),
    Setting("region, ties split", rule="split"),
    Setting("region, ties split by case", rule="split by case"),
    Setting("region, quantile edges, no weights", rule="quantile edges"),
    Setting("region, uniform bins", rule="uniform"),
    Setting("region, bins in each case", rule="per case"),
    Setting("region, 0 beyond the last bin", beyond="zero"),
    Setting("region, fitted where p > 0", keep="p > 0"),
    Setting("region, fitted where p >= 1/2", keep="p >= 1/2"),
    Setting("region, background thinned to 1:1", keep="balanced"),
    Setting("region, maps thresholded at 1/2", finish="each map thresholded at 1/2"),
    Setting("region, float16 output", finish="float16"),
    Setting("region, output in whole percent", finish="whole percent"),
    Setting("region, output stored as whole numbers", finish="stored as whole numbers"),
    *(Setting(f"region, {n} calibration case{'s' * (n > 1)}", cases=n) for n in (1, 3, 10)),
    *(Setting(f"scan {scan:.3%}, 250 bins", scan=scan) for scan in (0.01, 0.003, 0.002, 0.0018, 0.001, 0.0003)),
    Setting("scan 0.001%, 250 bins", scan=0.00001),
    *(Setting(f"scan 0.200%, {name}", scan=0.002, **options) for name, options in _AT_0_2_PERCENT.items()),
    *(Setting(f"scan 0.010%, {name}", scan=0.0001, **options) for name, options in _AT_0_01_PERCENT.items()),
)


def typical_rater(world: World) -> int:
    """The rater who marks the median volume of all raters."""
    volume = np.sum([_volumes(case) for fold in world.folds for case in fold.fit], axis=0)
    return int(np.argsort(volume)[volume.size // 2])


def run_settings(world: World, settings: Sequence[Setting] = SETTINGS) -> Records:
    """The paper's table for every setting, and which of its rows look as published."""
    rater, own = typical_rater(world), min(prevalence_of(fold.fit) for fold in world.folds)
    found = []
    for setting in settings:
        if setting.scan is not None and setting.scan > own:
            continue
        rows = table_of(setting, world, rater)
        marks = {"like_baselines": like_baselines(rows), "like_mhr": like_mhr(rows)}
        for name, row in rows.items():
            found.append({"world": world.name, "setting": setting.name, "target": name, **vars(row), **marks})
    return found


def run_ceilings(world: World, scans: Sequence[float] = SCANS, n_bins: Sequence[int] = BINS) -> Records:
    """How high a map can reach, by prevalence and number of bins, next to its bound n_bins x prevalence; and TDSC."""
    found = []
    fold = world.folds[0]
    own = prevalence_of(fold.fit)
    scenes = [(None, "zeros"), *((scan, kind) for kind in ("zeros", "haze") for scan in scans if scan <= own)]
    for scan, padding in scenes:
        scene = fold.scans(scan, padding)
        prevalence, table, surface = prevalence_of(scene.fit), Table.of(scene.fit), Surface(scene.test)
        for m in n_bins:
            bins = tied(table, m)
            for name in ("hard", "MHR"):
                values = targets(bins)[name]
                row = {
                    "world": world.name,
                    "padding": padding,
                    "prevalence": prevalence,
                    "n_bins": m,
                    "target": name,
                    "bound": min(1.0, m * prevalence),
                    "ceiling": float(values[-1]),
                    "tdsc": surface.tdsc(Curve(bins.prob, values)),
                }
                found.append(row)
    return found


def run_targets(world: World, settings: Sequence[Setting] = SETTINGS) -> Records:
    """How far hard-label and MHR are apart on the same bins, and how far they could be."""
    found = []
    own = min(prevalence_of(fold.fit) for fold in world.folds)
    for setting in settings:
        if setting.finish or (setting.scan is not None and setting.scan > own):
            continue
        for number, fold in enumerate(world.folds):
            scene = fold.scans(setting.scan, setting.padding)
            bins = bins_of(replace(setting, scan=None), scene)
            found.append({"world": world.name, "setting": setting.name, "fold": number, **compare_targets(bins, scene)})
    return found


def compare_targets(bins: Bins, scene: Fold) -> dict[str, float]:
    """Hard-label against MHR: values, ceilings, TDSC, and the largest change of TDSC that so small a change can make."""
    values = targets(bins)
    hard, mhr = (Curve(bins.prob, values[name]) for name in ("hard", "MHR"))
    after = np.mean([np.interp(_PROBE, bins.prob, fitted) for fitted in per_rater(bins)], axis=0)
    gap = float(np.abs(values["hard"] - values["MHR"]).max())
    surface = Surface(scene.test)
    return {
        "largest_difference": gap,
        "bound": bound_on_target(bins),
        "ceiling_hard": float(values["hard"][-1]),
        "ceiling_mhr": float(values["MHR"][-1]),
        "averaged_after_interpolation": float(np.abs(after - hard(_PROBE)).max()),
        "tdsc_hard": surface.tdsc(hard),
        "tdsc_mhr": surface.tdsc(mhr),
        "largest_tdsc_change": surface.band(mhr, gap),
    }


def run_raters(world: World, odd: Sequence[Responses], settings: Sequence[Setting]) -> Records:
    """Single-rater calibration by the rater it is fitted to: five ordinary ones and three odd ones; and panels with them."""
    fold = world.folds[0]
    test = fold.test
    names = ("1", "2", "3", "4", "5", "half-empty", "strict", "lax")
    panels = {"1-5": (0, 1, 2, 3, 4), "1-4, half-empty": (0, 1, 2, 3, 5), "1-4, lax": (0, 1, 2, 3, 7)}
    found = []
    for setting in settings:
        scene = Fold(list(odd), test).scans(setting.scan, setting.padding)
        bins = bins_of(replace(setting, scan=None), scene)
        maps = {f"single, {name}": fitted for name, fitted in zip(names, per_rater(bins), strict=True)}
        for name, chosen in panels.items():
            part = bins._replace(rates=bins.rates[list(chosen)])
            maps |= {f"{target}, {name}": targets(part)[target] for target in ("hard", "MHR")}
        for name, values in maps.items():
            tdsc, ece, crps = score(Curve(bins.prob, values), scene.test, test).mean(axis=0)
            row = {"tdsc": float(tdsc), "ece": float(ece), "crps": float(crps), "ceiling": float(values[-1])}
            found.append({"world": world.name, "setting": setting.name, "fitted_to": name, **row})
    return found


def run_capped(world: World, caps: FloatArray) -> Records:
    """TDSC of min(p, cap): by its closed form from the uncalibrated Dice coefficients, and measured."""
    cases = [case for fold in world.folds for case in fold.test]
    surface = Surface(cases)
    dice, empty = surface.dice(np.positive).mean(axis=0), surface.empty.mean(axis=0)
    found = []
    for cap in caps:
        alive = cap > THRESHOLDS
        measured = float(np.mean([TDSC(case.map(partial(np.minimum, cap))) for case in cases]))
        row = {"cap": float(cap), "alive": int(alive.sum()), "closed_form": float(np.where(alive, dice, empty).mean())}
        found.append({"world": world.name, **row, "measured": measured})
    return found


def run_thresholds(world: World) -> Records:
    """The Dice coefficient at each threshold without calibration, and how often no voxel is marked by that many raters."""
    surface = Surface([case for fold in world.folds for case in fold.test])
    dice, empty = surface.dice(np.positive).mean(axis=0), surface.empty.mean(axis=0)
    return [
        {"world": world.name, "threshold": float(t), "dice": float(d), "no_such_voxel": float(e)}
        for t, d, e in zip(THRESHOLDS, dice, empty, strict=True)
    ]


def run_adversary(n_tables: int, seed: int) -> Records:
    """The largest gaps in TDSC between the two targets on the same bins that random tables of five raters show.

    A table is one pooled case of 2 to 6 bins, with random counts of all 32 vote patterns: raters need not mark more where p
    is higher, as they do in all data here. ``pooled`` is the mass in bins that a rater's fit moves, averaged over raters.
    """
    rng = np.random.default_rng(seed)
    patterns = (np.arange(32)[:, None] >> np.arange(5)) & 1
    best: dict[str, dict[str, Any]] = {}
    for _ in range(n_tables):
        n = int(rng.integers(2, 7))
        count = rng.gamma(0.15, size=(n, 32)) * np.exp(rng.normal(0, 1.5, size=(n, 1)))
        weight = count.sum(axis=1)
        rates = (count @ patterns / weight[:, None]).T
        fits = np.array([pava(r, weight) for r in rates])
        hard, mhr = fits.mean(axis=0), pava(rates.mean(axis=0), weight)
        scores = [_tdsc_of_table(values, count, patterns.mean(axis=1)) for values in (hard, mhr)]
        row = {
            "tdsc_hard": scores[0],
            "tdsc_mhr": scores[1],
            "gap": scores[1] - scores[0],
            "ceiling_hard": float(hard[-1]),
            "ceiling_mhr": float(mhr[-1]),
            "pooled": float(np.average(np.abs(fits - rates) > 1e-12, axis=1, weights=weight).mean()),
        }
        for name, sign in (("MHR better", 1), ("hard-label better", -1)):
            if name not in best or sign * row["gap"] > sign * best[name]["gap"]:
                best[name] = {"case": name, "n_bins": n, **row}
    return list(best.values())


def run_published() -> Records:
    """What the published intervals say of the spread between cases, if they are normal intervals of a mean of 64."""
    intervals = {"none": (0.478, 0.625), "single": (0.258, 0.341), "hard": (0.266, 0.349), "MHR": (0.496, 0.638)}
    found: Records = []
    for name, (low, high) in intervals.items():
        sd = (high - low) / (2 * 1.96) * np.sqrt(64)
        mean = PUBLISHED[name][0]
        found.append({"target": name, "tdsc": mean, "sd_from_interval": float(sd)})
    for row in found:
        row["tdsc_to_none"] = row["tdsc"] / found[0]["tdsc"]
        row["sd_to_none"] = row["sd_from_interval"] / found[0]["sd_from_interval"]
    return found


def _tdsc_of_table(values: FloatArray, count: FloatArray, response: FloatArray) -> float:
    dice = []
    for t in THRESHOLDS:
        size, given = count[values > t].sum(), count[:, response > t].sum()
        shared = count[values > t][:, response > t].sum()
        dice.append(2 * shared / (size + given) if size + given > 0 else 1.0)
    return float(np.mean(dice))


def _volumes(case: Responses) -> FloatArray:
    assert case.marked is not None
    return np.array([case.count @ (case.marked >> r & 1) for r in range(case.n_raters)])
