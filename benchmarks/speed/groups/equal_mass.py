"""250 bins of equal mass with exact edges and the sums of 5 raters in them (TwinTrack's binning), and isotonic on top."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.groups.isotonic import floor
from benchmarks.speed.jobs import Check, Goal, Group, Job

N_BINS = 250
PANDAS = "pandas.qcut with bincount"


def reference(data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability and isotonic mean response of each bin, from all voxels sorted; ties are never split."""

    def make() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.optimize import isotonic_regression

        order = np.argsort(data.probs, kind="stable")
        p, votes = data.probs[order], data.masks.sum(axis=0, dtype=np.uint8)[order]
        starts = np.unique(np.append(0, np.searchsorted(p, p[np.arange(1, N_BINS) * p.size // N_BINS])))
        weight = np.diff(np.append(starts, p.size)).astype(np.float64)
        mean = np.add.reduceat(p, starts, dtype=np.float64) / weight
        response = np.add.reduceat(votes, starts, dtype=np.int64) / (weight * len(data.masks))
        return mean, isotonic_regression(response, weights=weight).x

    return data.kept("equal mass", make)


def groups(data: Data) -> list[Group]:
    """One group."""
    probs, masks = data.probs, data.masks

    def check(calibrator: Any) -> Check:
        x, y = reference(data)
        return Check.within(np.abs(calibrator.map_(data.sample) - np.interp(data.sample, x, y)).max(), 1e-9)

    def pandas(_: int) -> tuple[Any, ...]:
        import pandas as pd

        bins = pd.qcut(probs, N_BINS, labels=False, duplicates="drop")
        n = int(bins.max()) + 1
        total = np.bincount(bins, probs, n)
        votes = np.stack([np.bincount(bins, mask, n) for mask in masks])
        return np.bincount(bins, minlength=n), total, votes

    def pandas_check(sums: tuple[Any, ...]) -> Check:
        """Its edges are interpolated, and its bins closed on the right: the sums over all bins are what can be checked."""
        weight, total, votes = sums
        off = np.abs(votes.sum(axis=1) - masks.sum(axis=1)).max() + abs(total.sum() / probs.sum(dtype=np.float64) - 1)
        found = Check.within(off, 1e-9, "largest difference of the sums over all bins")
        return Check(found.difference, found.right, f"{found.said}, {weight.size} bins")

    def netcal(*, equal_intervals: bool) -> Any:
        from netcal.binning import HistogramBinning

        calibrator = HistogramBinning(bins=N_BINS, equal_intervals=equal_intervals)
        calibrator.fit(data.wide, data.mean)
        return calibrator

    def netcal_check(calibrator: Any) -> Check:
        """Each of its bins has the mean response of its voxels, if it is right."""
        p = (np.arange(N_BINS) + 0.5) / N_BINS
        index = np.minimum((data.wide * N_BINS).astype(np.int64), N_BINS - 1)
        n = np.bincount(index, minlength=N_BINS)
        expected = np.bincount(index, data.mean, N_BINS) / np.maximum(n, 1)
        gap = np.where(n > 20, np.abs(calibrator.transform(p) - expected), 0)
        worst = int(gap.argmax())
        found = Check.within(gap.max(), 1e-3)
        says = f"at p = {p[worst]:.3f} it says {calibrator.transform(p)[worst]:.3f}"
        reason = f"{says} where the mean response is {expected[worst]:.3f}"
        return Check(
            found.difference, found.right, found.said if found.right else f"{reason}: soft labels are truncated"
        )

    def uncertainty(_: int) -> Any:
        import calibration

        calibrator = calibration.HistogramCalibrator(probs.size, N_BINS)
        calibrator.train_calibration(probs, masks[0].astype(np.int64))
        return calibrator

    def uncertainty_check(calibrator: Any) -> Check:
        gap = np.abs(np.asarray(calibrator.calibrate(data.sample)) - np.interp(data.sample, *reference(data))).max()
        return Check(
            float(gap), right=False, said=f"largest difference {gap:.1e}: one rater's labels, and ties are split"
        )

    ours = [
        Job(
            "equal mass, 250 bins",
            lambda _: mrcalib.MHRIsotonicCalibrator("equal-mass", N_BINS).fit(probs, masks),
            check,
        )
    ]
    peers = [
        Job(PANDAS, pandas, pandas_check, "pandas", threads=(2,), note="no isotonic fit in it"),
        Job(
            "netcal HistogramBinning, equal mass",
            lambda _: netcal(equal_intervals=False),
            None,
            "netcal",
            most=1e6,
            threads=(2,),
        ),
        Job(
            "netcal HistogramBinning, equal width",
            lambda _: netcal(equal_intervals=True),
            netcal_check,
            "netcal",
            most=1e6,
            threads=(2,),
        ),
        Job(
            "uncertainty-calibration HistogramCalibrator",
            uncertainty,
            uncertainty_check,
            "calibration",
            most=1e5,
            threads=(2,),
        ),
    ]
    title = "250 bins of equal mass with exact edges, isotonic included"
    return [Group("equal-mass", title, data.n, ours, peers, floor(data), Goal(8, {PANDAS: 25}))]
