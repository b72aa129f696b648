"""Applying a piecewise linear map to every voxel, against a copy and np.interp."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.jobs import Check, Goal, Group, Job


def groups(data: Data) -> list[Group]:
    """One group; its base is a copy into memory that is there, by as many threads."""
    calibrator = mrcalib.MHRIsotonicCalibrator().fit(data.probs, data.masks)
    x, y = calibrator.map_.x, calibrator.map_.y
    room = np.zeros_like(data.probs)

    def copy(n_threads: int) -> None:
        if n_threads == 1:
            np.copyto(room, data.probs)
            return
        bounds = np.linspace(0, data.n, n_threads + 1).astype(int)
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(lambda a, b: np.copyto(room[a:b], data.probs[a:b]), bounds[:-1], bounds[1:]))

    def check(result: NDArray[Any]) -> Check:
        """In units of the last place of float32; at most half a unit and its double rounding."""
        expected = data.kept("interp", lambda: np.interp(data.probs, x, y).astype(np.float32))
        worst = 0.0
        for start in range(0, data.n, 1 << 22):
            mine, other = (
                array[start : start + (1 << 22)].view(np.int32) for array in (result.astype(np.float32), expected)
            )
            worst = max(worst, float(np.abs(mine.astype(np.int64) - other).max(initial=0)))
        return Check.within(worst, 1, "largest difference from np.interp in float32 steps:")

    result = np.zeros_like(data.probs)
    ours = [
        Job("transform", lambda _: calibrator.map_(data.probs, out=result), check, note=f"out=; {x.size} knots"),
        Job("transform into new memory", lambda _: calibrator.transform(data.probs), check),
    ]
    peers = [
        Job("np.interp", lambda _: np.interp(data.probs, x, y), check, threads=(2,), note="one thread, float64"),
        Job(
            "probs.copy()",
            lambda _: data.probs.copy(),
            threads=(2,),
            note="a copy into new memory, as transform makes one",
        ),
    ]
    return [
        Group(
            "transform",
            "Transform",
            data.n,
            ours,
            peers,
            Job("np.copyto", copy, note="into memory that is there"),
            Goal(2, {"np.interp": 20}),
        )
    ]
