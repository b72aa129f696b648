"""Runs of voxels over threads: kernels release the GIL, and results do not depend on how many threads there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

__all__ = ["n_processors", "over_runs"]

T = TypeVar("T")
WORTH_A_THREAD = 1 << 20


def over_runs(work: Callable[[int, int], T], n_voxels: int, n_jobs: int | None = None) -> list[T]:
    """``work(start, stop)`` for equal runs of voxels, one a thread, in order.

    ``n_jobs`` None takes as many threads as there are processors, and no more than give each a million voxels; -1 takes as
    many as there are processors.
    """
    wanted = n_processors() if n_jobs is None or n_jobs < 0 else n_jobs
    n = min(wanted, n_voxels // WORTH_A_THREAD if n_jobs is None else n_voxels)
    if n <= 1:
        return [work(0, n_voxels)]
    bounds = np.linspace(0, n_voxels, n + 1).astype(int).tolist()
    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(work, bounds[:-1], bounds[1:]))


def n_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
