"""Applying maps to every voxel: a piecewise linear one against a copy and np.interp, each other kind against a copy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from benchmarks.speed.data import Data
from benchmarks.speed.jobs import Check, Goal, Group, Job
from mrcalib.maps import BetaMap, CalibrationMap, LogitMap, StepMap

OTHER_MAPS = {
    "temperature": LogitMap(0.6),
    "Platt": LogitMap(0.6, -0.2),
    "beta": BetaMap(0.6, 0.8, 0.1),
    "histogram": StepMap(np.arange(15) / 15, np.linspace(0.02, 0.9, 15)),
}


def off_by(result: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest difference of two float32 arrays, in steps from one float32 to the next."""
    worst = 0.0
    for start in range(0, result.size, 1 << 22):
        one, other = (array[start : start + (1 << 22)].view(np.int32) for array in (result, expected))
        worst = max(worst, float(np.abs(one.astype(np.int64) - other).max(initial=0)))
    return worst


def job_of(name: str, fitted: CalibrationMap, probs: NDArray[Any]) -> Job:
    """One map into new memory, whose float32 results are compared with those that it computes in float64."""

    def check(found: NDArray[Any]) -> Check:
        some = probs[: 1 << 22]
        expected = fitted(some.astype(np.float64)).astype(np.float32)
        return Check.within(off_by(found[: some.size], expected), 4, "largest difference in float32 steps:")

    return Job(name, lambda _: fitted(probs), check)


def groups(data: Data) -> list[Group]:
    """Two groups; their bases are copies by as many threads: into memory that is there, and into new memory."""
    calibrator = mrcalib.MHRIsotonicCalibrator().fit(data.probs, data.masks)
    x, y = calibrator.map_.x, calibrator.map_.y
    room = np.zeros_like(data.probs)

    def copy(n_threads: int, room: NDArray[Any] = room) -> None:
        if n_threads == 1:
            np.copyto(room, data.probs)
            return
        bounds = np.linspace(0, data.n, n_threads + 1).astype(int)
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(lambda a, b: np.copyto(room[a:b], data.probs[a:b]), bounds[:-1], bounds[1:]))

    def check(result: NDArray[Any]) -> Check:
        """In units of the last place of float32; at most half a unit and its double rounding."""
        expected = data.kept("interp", lambda: np.interp(data.probs, x, y).astype(np.float32))
        worst = off_by(result.astype(np.float32), expected)
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
    base = Job("np.copyto", copy, note="into memory that is there")
    anew = Job("a copy into new memory", lambda n_threads: copy(n_threads, np.empty_like(data.probs)))
    others = [job_of(name, fitted, data.probs) for name, fitted in OTHER_MAPS.items()]
    return [
        Group(
            "transform",
            "Transform",
            data.n,
            ours,
            peers,
            base,
            Goal(2, {"np.interp": 20}),
        ),
        Group("maps", "Temperature, Platt, beta and histogram maps", data.n, others, (), anew, Goal(3)),
    ]
