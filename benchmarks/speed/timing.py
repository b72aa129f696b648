"""Seconds of a piece of work on so many processors, and the floor: one read of all inputs by a compiled loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

ENOUGH = 1.0  # seconds after which a piece of work is not repeated more often than it must be
MOST = 25


def processors() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


@contextmanager
def limited_to(n_threads: int) -> Iterator[None]:
    """Let this thread and those that it starts use so many processors; mrcalib takes as many threads as there are.

    Where processors cannot be taken away (not on Linux) nothing happens, and ``n_threads`` below all of them means nothing.
    """
    before = processors()
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    os.sched_setaffinity(0, before[:n_threads])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def seconds(work: Callable[[], Any], at_least: int, *, warm: bool = True) -> list[float]:
    """Seconds of each repetition, after one that is not counted unless the caller has made it."""
    if warm:
        work()
    found: list[float] = []
    while len(found) < at_least or (sum(found) < ENOUGH and len(found) < MOST):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


@numba.njit(nogil=True)
def read_words(words: Any) -> Any:
    """Read eight bytes at a time: small integers would be widened one by one, which is up to three times slower."""
    seen = np.uint64(0)
    for i in range(words.size):
        seen |= words[i]
    return seen


def words_of(array: NDArray[Any]) -> NDArray[np.uint64]:
    """The bytes of an array eight at a time, without those left over at the end."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return flat[: flat.size // 8 * 8].view(np.uint64)


def read(*arrays: NDArray[Any]) -> int:
    """The floor: all bytes of the inputs are read once, by one thread."""
    seen = 0
    for array in arrays:
        seen |= int(read_words(words_of(array)))
    return seen


def resident(n_bytes: int) -> None:
    """Have a virtual machine give this process its memory now, and not while something is timed."""
    np.ones(n_bytes, np.uint8)
