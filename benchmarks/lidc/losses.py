"""Where the volume and Dice are lost: by place, by size, by case, and by what a metric rewards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logit

from benchmarks.lidc.data import PLACES
from benchmarks.lidc.scoring import FloatArray, World
from mrcalib.metrics import get_metric
from mrcalib.resampling import percentile_interval, weighted_means

Records = list[dict[str, Any]]
CLIP = 2.0**-24


def _row(world: World, what: str, where: str, method: str, values: FloatArray) -> dict[str, Any]:
    """The mean over cases with its interval by patient; cases that are NaN are left out."""
    estimate = float(weighted_means(values, np.ones((1, values.size)))[0])
    low, high = percentile_interval(weighted_means(values, world.resamples), 0.95)
    return {
        "data": world.name,
        "what": what,
        "where": where,
        "method": method,
        "value": estimate,
        "low": low,
        "high": high,
    }


def _spread(world: World, what: str, method: str, values: FloatArray) -> dict[str, Any]:
    """The standard deviation between cases with its interval by patient."""
    first, second = (weighted_means(values**k, world.resamples) for k in (1, 2))
    low, high = percentile_interval(np.sqrt(np.maximum(second - first**2, 0)), 0.95)
    value = float(np.nanstd(values))
    return {
        "data": world.name,
        "what": what,
        "where": "all",
        "method": method,
        "value": value,
        "low": low,
        "high": high,
    }


def by_place(world: World, methods: dict[str, list[FloatArray]]) -> Records:
    """Predicted minus marked volume at each distance from the predicted boundary, mean over cases (mL)."""
    out = []
    for method, calibrated in methods.items():
        gap = np.zeros((len(world.rows), len(PLACES)))
        for i, (r, q) in enumerate(zip(world.rows, calibrated, strict=True)):
            part = r.count * (q - r.votes / r.answers) * r.voxel_volume
            gap[i] = np.bincount(world.strata[i] // 2, part, len(PLACES))
        out += [_row(world, "volume bias by place (mL)", p, method, gap[:, k]) for k, p in enumerate(PLACES)]
        out.append(_row(world, "volume bias by place (mL)", "everywhere", method, gap.sum(axis=1)))
    return out


def by_size(world: World, methods: dict[str, list[FloatArray]]) -> Records:
    """Predicted over marked volume minus 1, by tercile of the marked volume."""
    third = np.digitize(world.marked, np.quantile(world.marked, [1 / 3, 2 / 3]))
    out = []
    for method, calibrated in methods.items():
        volume = np.array([r.count @ q for r, q in zip(world.rows, calibrated, strict=True)])
        relative = np.divide(volume, world.marked, out=np.full(volume.size, np.nan), where=world.marked > 0) - 1
        for k, name in enumerate(("small", "middle", "large")):
            out.append(
                _row(world, "relative volume bias by size", name, method, np.where(third == k, relative, np.nan))
            )
    return out


def by_case(world: World, methods: dict[str, list[FloatArray]]) -> Records:
    """The shift of the logit that would give each case its marked volume: 0 for all cases if one map suited all."""
    out = []
    size = np.log(np.maximum(world.predicted, 1.0))
    for method, calibrated in methods.items():
        shift = np.full(len(world.rows), np.nan)
        for i, (r, q) in enumerate(zip(world.rows, calibrated, strict=True)):
            z = logit(np.clip(q, CLIP, 1 - CLIP))

            def excess(d: float, z: FloatArray = z, count: FloatArray = r.count, i: int = i) -> float:
                return float(count @ expit(z + d) - world.marked[i])

            if excess(-30.0) < 0 < excess(30.0):
                shift[i] = brentq(excess, -30.0, 30.0)
        out.append(_row(world, "logit shift that a case needs: mean", "all", method, shift))
        out.append(_spread(world, "logit shift that a case needs: spread", method, shift))
        known = ~np.isnan(shift)
        r = float(np.corrcoef(shift[known], size[known])[0, 1])
        columns = {"what": "its correlation with log predicted volume", "where": "all", "method": method, "value": r}
        out.append({"data": world.name, **columns, "low": np.nan, "high": np.nan})
    return out


def by_metric(world: World, calibrated: list[FloatArray]) -> Records:
    """Scores of predictors that know the answer: what each metric is highest for."""
    response = [r.votes / r.answers for r in world.rows]
    oracles = {
        "none": [r.prob for r in world.rows],
        "none, cut at 1/2": [(r.prob > 0.5) * 1.0 for r in world.rows],
        "case-adaptive": calibrated,
        "case-adaptive, cut at 1/2": [(q > 0.5) * 1.0 for q in calibrated],
        "case-adaptive, cut at 1/3": [(q > 1 / 3) * 1.0 for q in calibrated],
        "mean response itself": response,
        "majority (half or more)": [(m >= 0.5) * 1.0 for m in response],
    }
    out = []
    for method, values in oracles.items():
        for name in ("brier", "soft_dice", "tdsc", "volume_crps"):
            metric = get_metric(name)
            each = np.array([metric(replace(r, prob=q)) for r, q in zip(world.rows, values, strict=True)])
            out.append(_row(world, "what a metric rewards", name, method, each))
    return out
