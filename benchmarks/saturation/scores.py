"""The paper's table for one setting: none, single-rater, hard-label and MHR, scored by TDSC, ECE and CRPS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.saturation.rules import RULES, Bins, Curve, FloatArray, Table, targets
from benchmarks.saturation.worlds import Fold, World
from mrcalib.metrics import mean_rater_ece, threshold_dice, volume_crps
from mrcalib.responses import Responses

THRESHOLDS = np.linspace(0.1, 0.8, 6)
TARGETS = ("single", "hard", "MHR")
PUBLISHED = {
    "none": (0.553, 0.0156, 6032.2),
    "single": (0.300, 0.0209, 10341.8),
    "hard": (0.307, 0.0209, 9859.8),
    "MHR": (0.569, 0.0147, 5924.4),
}
"""TDSC, ECE and CRPS of the paper's tables 1 and 2."""
TDSC, CRPS = threshold_dice, volume_crps
ECE = mean_rater_ece.with_options(kind="top-label")
Map = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Setting:
    """How a row of the table may have been made.

    Attributes
    ----------
    rule, n_bins
        How voxels become bins.
    scan, padding
        Prevalence of the voxels that are fitted to, by background of a kind added to each case; None: the region alone.
    region_only
        Whether a map that was fitted to the scan is applied to the region alone.
    keep
        Which voxels are fitted to.
    beyond
        What the map says beyond the mean probabilities of its first and last bins: constant ("clamp") or 0 ("zero").
    finish
        What becomes of the fitted values.
    cases
        Number of cases to fit to; all if None.
    """

    name: str
    rule: str = "tied"
    n_bins: int = 250
    scan: float | None = None
    padding: str = "zeros"
    region_only: bool = False
    keep: str = "all"
    beyond: str = "clamp"
    finish: str = ""
    cases: int | None = None


@dataclass(frozen=True)
class Row:
    """Means over the scored cases, the standard deviation of TDSC between them, and the mean ceiling of the folds' maps."""

    tdsc: float
    ece: float
    crps: float
    tdsc_sd: float
    ceiling: float


def bins_of(setting: Setting, fold: Fold) -> Bins:
    """The bins that a setting fits to."""
    cases = fold.scans(setting.scan, setting.padding).fit[: setting.cases]
    return RULES[setting.rule](Table.of(cases, _KEEP[setting.keep]), setting.n_bins)


def fit(setting: Setting, fold: Fold, rater: int = 0) -> dict[str, Map]:
    """The maps of the three targets."""
    bins = bins_of(setting, fold)
    if setting.finish == "each map thresholded at 1/2":
        values = targets(bins, rater, lambda y: (y > 0.5).astype(np.float64))
    else:
        values = targets(bins, rater)
    finish = _FINISH.get(setting.finish, _as_it_is)
    return {name: _then(Curve(bins.prob, y, setting.beyond), finish) for name, y in values.items()}


def table_of(setting: Setting, world: World, rater: int = 0) -> dict[str, Row]:
    """The rows none, single, hard and MHR."""
    names = ("none", *TARGETS)
    scored: dict[str, list[FloatArray]] = {name: [] for name in names}
    ceilings: dict[str, list[float]] = {name: [] for name in names}
    for fold in world.folds:
        volume = fold.test if setting.region_only else fold.scans(setting.scan, setting.padding).test
        for name, mapping in {"none": _as_it_is, **fit(setting, fold, rater)}.items():
            scored[name].append(score(mapping, volume, fold.test))
            ceilings[name].append(float(mapping(np.linspace(0, 1, 100_001)).max()))
    found = {}
    for name in names:
        cases = np.concatenate(scored[name])
        tdsc, ece, crps = cases.mean(axis=0).tolist()
        found[name] = Row(tdsc, ece, crps, float(cases[:, 0].std()), float(np.mean(ceilings[name])))
    return found


def score(mapping: Map, volume: Sequence[Responses], region: Sequence[Responses]) -> FloatArray:
    """TDSC of each whole case, ECE in its region, CRPS of the whole; (n_cases, 3)."""
    rows = []
    for whole, box in zip(volume, region, strict=True):
        mapped = whole.map(mapping)
        rows.append((TDSC(mapped), ECE(mapped if whole is box else box.map(mapping)), CRPS(mapped)))
    return np.array(rows)


def like_baselines(rows: dict[str, Row]) -> bool:
    """Whether single-rater and hard-label look as published: TDSC about .55 of the uncalibrated one, and ECE worse."""
    none = rows["none"]
    for name in ("single", "hard"):
        published = PUBLISHED[name][0] / PUBLISHED["none"][0]
        if abs(rows[name].tdsc / none.tdsc - published) > 0.1 or rows[name].ece <= none.ece:
            return False
    return True


def like_mhr(rows: dict[str, Row]) -> bool:
    """Whether MHR looks as published: neither TDSC nor ECE more than 3 % worse than the uncalibrated one."""
    none, mhr = rows["none"], rows["MHR"]
    return mhr.tdsc > 0.97 * none.tdsc and mhr.ece < 1.03 * none.ece


def _as_it_is(probs: FloatArray) -> FloatArray:
    return probs


def _then(first: Map, second: Map) -> Map:
    return lambda probs: second(first(probs))


def _balanced(rows: Responses) -> FloatArray:
    """As many voxels without a vote as with one."""
    marked = rows.votes > 0
    share = rows.count[marked].sum() / rows.count[~marked].sum()
    return np.where(marked, 1.0, min(1.0, share))


_KEEP: dict[str, Callable[[Responses], FloatArray] | None] = {
    "all": None,
    "p > 0": lambda rows: (rows.prob > 0).astype(np.float64),
    "p >= 1/2": lambda rows: (rows.prob >= 0.5).astype(np.float64),
    "balanced": _balanced,
}
_FINISH: dict[str, Map] = {
    "float16": lambda y: y.astype(np.float16).astype(np.float64),
    "whole percent": lambda y: np.round(y, 2),
    "stored as whole numbers": np.floor,
}
