"""Calibration errors of every rater and of the mean human response in 50 bins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.groups.isotonic import TINY, floor
from benchmarks.speed.jobs import Check, Goal, Group, Job

N_BINS = 50
NUMPY, TORCH = "NumPy digitize once, float64", "torchmetrics, 5 raters"


def numpy_errors(probs: NDArray[Any], masks: NDArray[Any], n_bins: int = N_BINS) -> NDArray[np.float64]:
    """Each rater's ECE, then that of their mean, as one writes it in NumPy: digitised once."""
    p = probs.astype(np.float64)
    # Edges in float32: k / 50 in float64 would put the float32 nearest to an edge on the other side of it.
    edges = np.linspace(0, 1, n_bins + 1).astype(np.float32)
    index = np.minimum(np.digitize(probs, edges) - 1, n_bins - 1)
    total = np.bincount(index, p, n_bins)
    votes = np.stack([np.bincount(index, mask, n_bins) for mask in masks])
    gaps = np.abs(np.concatenate([total - votes, [total - votes.mean(axis=0)]])).sum(axis=1)
    return np.asarray(gaps / p.size)


def groups(data: Data) -> list[Group]:
    """One group; the row that asks both questions has the goals."""
    probs, masks = data.probs, data.masks

    def truth() -> NDArray[np.float64]:
        return np.asarray(data.kept("ece", lambda: numpy_errors(probs, masks)))

    def per_rater(values: Any) -> Check:
        off = np.abs(np.asarray(values) / truth()[: len(masks)] - 1).max()
        said = " / ".join(f"{v:.5f}" for v in values)
        real = " / ".join(f"{v:.5f}" for v in truth()[: len(masks)])
        right = bool(off < 1e-3)
        return Check(
            float(off), right, f"relative error {off:.0e}" + ("" if right else f": reports {said} where {real} is true")
        )

    def both(values: tuple[float, float]) -> Check:
        expected = truth()[:-1].mean(), truth()[-1]
        return Check.within(max(abs(v - e) for v, e in zip(values, expected, strict=True)), TINY)

    def one(index: slice) -> Any:
        return lambda value: Check.within(abs(value - truth()[index].mean()), TINY)

    def torchmetrics(_: int) -> list[float]:
        import torch
        from torchmetrics.functional.classification import binary_calibration_error

        p = torch.from_numpy(probs)
        return [float(binary_calibration_error(p, torch.from_numpy(mask), n_bins=N_BINS)) for mask in masks]

    def netcal(_: int) -> list[float]:
        from netcal.metrics import ECE

        return [float(ECE(N_BINS).measure(probs, mask)) for mask in masks]

    def uncertainty(_: int) -> list[float]:
        import calibration

        return [float(calibration.get_ece(probs, mask.astype(np.int64), num_bins=N_BINS)) for mask in masks]

    metrics = mrcalib.metrics
    options = {"n_bins": N_BINS}
    of_raters, of_mean = metrics.mean_rater_ece.with_options(**options), metrics.multirater_ece.with_options(**options)

    def both_of_one_tally(_: int) -> tuple[float, float]:
        responses = mrcalib.tally(probs, masks).responses()
        return of_raters(responses), of_mean(responses)

    ours = [
        Job(
            "ECE of 5 raters and MR-ECE",
            both_of_one_tally,
            both,
            note="one tally, both metrics of its responses",
        ),
        Job("mean rater ECE", lambda _: metrics.mean_rater_ece(probs, masks, **options), one(slice(-1))),
        Job("MR-ECE", lambda _: metrics.multirater_ece(probs, masks, **options), one(slice(-1, None))),
    ]
    peers = [
        Job(NUMPY, lambda _: numpy_errors(probs, masks)[:-1], per_rater, threads=(2,)),
        Job(TORCH, torchmetrics, per_rater, "torchmetrics", threads=(2,), note="counts in float32"),
        Job("netcal ECE, 5 raters", netcal, per_rater, "netcal", most=1e6, threads=(2,)),
        Job("uncertainty-calibration get_ece, 5 raters", uncertainty, per_rater, "calibration", most=1e5, threads=(2,)),
    ]
    title = "ECE for all raters and MR-ECE, 50 bins"
    return [Group("ece", title, data.n, ours, peers, floor(data), Goal(4, {NUMPY: 40, TORCH: 80}))]
