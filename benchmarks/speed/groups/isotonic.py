"""The tally, and the isotonic maps to the mean human response, on the grid and exact; against isotonic regression elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.jobs import Check, Goal, Group, Job
from benchmarks.speed.timing import read

BEST = "scikit-learn isotonic, float64"
TINY = 2.0**-33  # what each voxel below 2**-32 counts as in a tally: means over voxels are off by no more


def floor(data: Data) -> Job:
    """One read of the probabilities and all masks."""
    return Job("floor: read all inputs", lambda _: read(data.probs, data.masks), threads=(1,))


def knots(data: Data) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The exact isotonic map, by SciPy on the voxels pooled by probability: what maps are compared with."""

    def make() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.optimize import isotonic_regression

        order = np.argsort(data.probs, kind="stable")
        p, votes = data.probs[order], data.masks.sum(axis=0, dtype=np.uint8)[order]
        start = np.flatnonzero(np.append(True, p[1:] != p[:-1]))
        weight = np.diff(np.append(start, p.size)).astype(np.float64)
        mean = np.add.reduceat(votes, start, dtype=np.int64) / (weight * len(data.masks))
        fit = isotonic_regression(mean, weights=weight).x
        return p[start].astype(np.float64), fit

    return data.kept("knots", make)


def against_exact(data: Data, mapped: NDArray[np.float64], tolerance: float, mean: float = np.inf) -> Check:
    """The largest difference between a map at the sample and the exact one; the mean one, too, where it has a tolerance."""
    gap = np.abs(mapped - np.interp(data.sample, *knots(data)))
    found = Check.within(gap.max(), tolerance, "largest difference from the exact map")
    return Check(found.difference, found.right and bool(gap.mean() <= mean), f"{found.said}, mean {gap.mean():.0e}")


def count_check(data: Data, tallied: mrcalib.Tally) -> Check:
    """Vote patterns and cumulated bins counted again in NumPy; the sum of probabilities in float64."""

    def reference() -> tuple[Any, ...]:
        codes = np.zeros(data.n, np.uint8)
        for r, mask in enumerate(data.masks):
            codes |= mask << np.uint8(r)
        patterns = np.bincount(codes, minlength=1 << len(data.masks))
        edges = np.float32(np.arange(1, 50) / 50)
        above = np.array([np.count_nonzero(data.probs >= e) for e in edges])
        return patterns, edges, above, float(data.probs.sum(dtype=np.float64))

    patterns, edges, above, total = data.kept("counts", reference)
    cells = tallied.cells
    mine = np.bincount(cells.marked, cells.voxels, patterns.size)
    lower = tallied.grid.lower[cells.bin]
    mine_above = np.array([cells.voxels[lower >= e].sum() for e in edges])
    wrong = np.abs(mine - patterns).max() + np.abs(mine_above - above).max()
    responses = tallied.responses()
    off = abs(responses.prob @ responses.count - total) / data.n
    return Check(
        float(wrong), bool(wrong == 0 and off <= TINY), f"{wrong:.0f} voxels miscounted, mean of p off by {off:.0e}"
    )


def groups(data: Data) -> list[Group]:
    """Tally, grid fit, exact fit."""
    probs, masks = data.probs, data.masks

    def mapped(calibrator: Any) -> NDArray[np.float64]:
        return np.asarray(calibrator.map_(data.sample))

    def fit(binning: str) -> Any:
        return lambda _: mrcalib.MHRIsotonicCalibrator(binning).fit(probs, masks)

    tally = Job("tally", lambda k: mrcalib.tally(probs, masks, n_jobs=k), lambda t: count_check(data, t))
    grid = Job(
        "MHR isotonic, grid",
        fit("grid"),
        lambda c: against_exact(data, mapped(c), 1, 1e-3),
        note="approximate by design",
    )
    exact = Job("MHR isotonic, exact", fit("exact"), lambda c: against_exact(data, mapped(c), 1e-7))
    found = peers(data)
    return [
        Group(
            "tally",
            "Tally of 5 raters with vote patterns",
            data.n,
            [tally],
            found[:1],
            floor(data),
            Goal(4, {BEST: 100}),
        ),
        Group(
            "grid", "MHR isotonic on the grid, tally included", data.n, [grid], found, floor(data), Goal(4, {BEST: 200})
        ),
        Group("exact", "MHR isotonic, exact", data.n, [exact], found[:1], floor(data), Goal(20, {BEST: 40})),
    ]


def peers(data: Data) -> list[Job]:
    """The best one first. They are given float64 probabilities and the mean vote ready made."""
    n_raters = len(data.masks)

    def sklearn(x: Any) -> Any:
        from sklearn.isotonic import IsotonicRegression

        return IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(x, data.mean)

    def scipy(_: int) -> Any:
        from scipy.optimize import isotonic_regression

        order = np.argsort(data.wide)
        return data.wide[order], isotonic_regression(data.mean[order]).x

    def netcal(_: int) -> Any:
        from netcal.binning import IsotonicRegression

        calibrator = IsotonicRegression()
        calibrator.fit(data.wide, data.mean)
        return calibrator

    def probmetrics(_: int) -> Any:
        from probmetrics.calibrators import get_calibrator

        calibrator = get_calibrator("isotonic")
        calibrator.fit(np.stack([1 - data.wide, data.wide], axis=1), data.masks[0].astype(np.int64))
        return calibrator

    def check(predict: Any) -> Any:
        return lambda fitted: against_exact(data, predict(fitted), 1e-7)

    def check_hard(calibrator: Any) -> Check:
        p = data.sample
        found = against_exact(data, calibrator.predict_proba(np.stack([1 - p, p], axis=1))[:, 1], 1e-7)
        return Check(
            found.difference, right=False, said=f"{found.said}: it fits one rater's labels, not the mean of {n_raters}"
        )

    return [
        Job(BEST, lambda _: sklearn(data.wide), check(lambda f: f.predict(data.sample)), "sklearn", threads=(2,)),
        Job(
            "scikit-learn isotonic, float32",
            lambda _: sklearn(data.probs),
            check(lambda f: f.predict(data.sample.astype(np.float32))),
            "sklearn",
            most=1e7,
            threads=(2,),
            note="float32 within 1e-6 are merged",
        ),
        Job(
            "SciPy isotonic_regression after argsort",
            scipy,
            check(lambda f: np.interp(data.sample, *_ends(*f))),
            "scipy",
            threads=(2,),
            note="equal probabilities are split",
        ),
        Job(
            "netcal IsotonicRegression",
            netcal,
            check(lambda f: f.transform(data.sample)),
            "netcal",
            most=1e6,
            threads=(2,),
        ),
        Job("probmetrics isotonic", probmetrics, check_hard, "probmetrics", most=1e6, threads=(2,)),
    ]


def _ends(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The last fitted value of each different x."""
    last = np.append(x[1:] != x[:-1], True)
    return x[last], y[last]
