"""Threshold Dice, volumes and their CRPS: from the tally, against NumPy on voxels; and the Gaussian CRPS of many volumes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.groups.isotonic import TINY, floor
from benchmarks.speed.jobs import Check, Group, Job
from mrcalib.metrics import gaussian_crps, threshold_dice, volume_crps
from mrcalib.metrics.overlap import THRESHOLDS

MOST = 10_000_000


def numpy_dice(probs: NDArray[Any], masks: NDArray[Any]) -> float:
    """Mean over the thresholds of CURVAS of the Dice of p > t and mean vote > t, as one writes it."""
    mean = masks.mean(axis=0)
    scores = []
    for t in THRESHOLDS["curvas"]:
        one, other = probs.astype(np.float64) > t, mean > t
        scores.append(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))
    return float(np.mean(scores))


def numpy_crps(value: Any, mean: Any, std: Any) -> Any:
    """Gneiting and Raftery (2007), equation 21."""
    from scipy.stats import norm

    z = (value - mean) / std
    return std * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))


def groups(data: Data) -> list[Group]:
    """Dice and CRPS of a case; the CRPS of many cases."""
    probs, masks = data.probs, data.masks

    def from_tally(n_threads: int) -> tuple[float, float]:
        rows = mrcalib.tally(probs, masks, n_jobs=n_threads).responses()
        return threshold_dice(rows), volume_crps(rows)

    def in_numpy(_: int) -> tuple[float, float]:
        volumes = masks.sum(axis=1, dtype=np.int64).astype(np.float64)
        crps = numpy_crps(probs.sum(dtype=np.float64), volumes.mean(), volumes.std())
        return numpy_dice(probs, masks), float(crps)

    def check(found: tuple[float, float]) -> Check:
        dice, crps = data.kept("dice", lambda: in_numpy(1))
        off = max(abs(found[0] - dice), abs(found[1] - crps) / data.n)
        return Check.within(off, TINY, "largest difference of Dice, and of volume as a share of the voxels,")

    n = min(data.n, MOST)
    rng = np.random.default_rng(3)
    value, mean, std = rng.normal(5, 1, n), rng.normal(5, 1, n), rng.gamma(2, 1, n)

    def crps_check(found: Any) -> Check:
        some = slice(100_000)
        return Check.within(np.abs(found[some] - numpy_crps(value[some], mean[some], std[some])).max(), 1e-12)

    def scoringrules_crps(_: int) -> Any:
        import scoringrules

        return scoringrules.crps_normal(value, mean, std)

    def properscoring_crps(_: int) -> Any:
        import properscoring

        return properscoring.crps_gaussian(value, mean, std)

    dice = Group(
        "dice",
        "Threshold Dice and volume CRPS of a case",
        data.n,
        [Job("tally, TDSC and volume CRPS", from_tally, check)],
        [Job("NumPy on voxels", in_numpy, check, threads=(2,))],
        floor(data),
    )
    crps = Group(
        "crps",
        "Gaussian CRPS",
        n,
        [Job("gaussian_crps", lambda _: gaussian_crps(value, mean, std), crps_check, threads=(2,))],
        [
            Job("scoringrules crps_normal", scoringrules_crps, crps_check, "scoringrules", threads=(2,)),
            Job("properscoring crps_gaussian", properscoring_crps, crps_check, "properscoring", threads=(2,)),
        ],
        unit="value",
    )
    return [dice] if data.kind != "coherent" else [dice, crps]
