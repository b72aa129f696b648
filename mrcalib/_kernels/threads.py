"""Dividing voxels among threads: kernels release the GIL, and no result depends on the number of threads."""

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
    """The results of ``work(start, stop)`` for runs of voxels of equal length, one run for each thread, in order.

    Parameters
    ----------
    work : callable
        Called with the first voxel of a run and the one after its last; must release the GIL to gain anything.
    n_voxels : int
        Number of voxels.
    n_jobs : int, optional
        Number of threads; -1 for the number of processors. By default the number of processors, but only as many threads as
        have a million voxels each: starting a thread costs about as much as counting a tenth of that.
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
