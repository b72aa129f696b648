"""A group of pieces of work that answer one question, mrcalib's and its peers', and how they are measured and checked."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.timing import limited_to, seconds

Row = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """What became of the comparison of a result with an independent one."""

    difference: float
    right: bool
    said: str

    @classmethod
    def within(cls, difference: float, tolerance: float, what: str = "largest difference") -> Check:
        """Right where the difference is no larger than this (and not NaN)."""
        right = bool(difference <= tolerance)
        return cls(float(difference), right, f"{what} {difference:.1e}" + ("" if right else f", above {tolerance:.0e}"))


@dataclass(frozen=True)
class Job:
    """A piece of work as its users would call it.

    Attributes
    ----------
    name : str
    run : callable
        Takes the number of threads.
    check : callable
        From what ``run`` returned to a Check; None where there is nothing to compare.
    library : str
        The module that must be there, "" for none.
    most : float
        Voxels (or items) that it can stand; it is not run beyond, and nothing is extrapolated.
    threads : tuple of int
        Numbers of threads that it is measured with.
    note : str
        Printed with the row.
    """

    name: str
    run: Callable[[int], Any]
    check: Callable[[Any], Check] | None = None
    library: str = ""
    most: float = float("inf")
    threads: tuple[int, ...] = (1, 2)
    note: str = ""


@dataclass(frozen=True)
class Goal:
    """What is to be reached on two threads at the largest size: times the base at most, and times faster than peers.

    ``within`` are seconds.
    """

    base: float | None = None
    faster: dict[str, float] = field(default_factory=dict)
    within: float | None = None


@dataclass(frozen=True)
class Group:
    """``base`` is what all are compared with: the floor, or a copy."""

    name: str
    title: str
    n: int
    ours: Sequence[Job]
    peers: Sequence[Job] = ()
    base: Job | None = None
    goal: Goal = field(default_factory=Goal)
    headline: str = ""
    unit: str = "voxel"


def measure(group: Group, options: Any, known: dict[tuple[str, int], Row]) -> list[Row]:
    """A row for each job and number of threads; the base is timed before and after the others, peers last.

    ``known`` holds the rows of peers that were measured on the same data for another group.
    """
    rows: list[Row] = []

    def take(job: Job, kind: str, at_least: int) -> None:
        for n_threads in job.threads:
            if n_threads > options.threads:
                continue
            row = known.get((job.name, n_threads)) if kind == "peer" else None
            if row is None:
                row = _measured(group, job, kind, n_threads, at_least)
                _tell(row)
            rows.append(row | {"group": group.name})
            if kind == "peer":
                known[job.name, n_threads] = row

    before: list[Row] = []
    if group.base is not None:
        take(group.base, "base", options.repetitions)
        before, rows = rows, []
    for job in group.ours:
        take(job, "mrcalib", options.repetitions)
    if group.base is not None:
        ours, rows = rows, []
        take(group.base, "base", options.repetitions)
        for early, late in zip(before, rows, strict=True):
            early["seconds"] += late["seconds"]
        rows = before + ours
    if not options.no_peers:
        for job in group.peers:
            take(job, "peer", options.peer_repetitions)
    return rows


def _measured(group: Group, job: Job, kind: str, n_threads: int, at_least: int) -> Row:
    row: Row = {
        "group": group.name,
        "work": job.name,
        "kind": kind,
        "n": group.n,
        "unit": group.unit,
        "threads": n_threads,
        "seconds": [],
        "difference": None,
        "right": None,
        "said": job.note,
    }
    if job.library and importlib.util.find_spec(job.library.split(".")[0]) is None:
        return row | {"said": f"absent: {job.library} is not installed"}
    if group.n > job.most:
        return row | {"said": f"not run: it is measured up to {job.most:,.0f} {group.unit}s"}
    try:
        with limited_to(n_threads), warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            start = time.perf_counter()
            result = job.run(n_threads)  # compiles, and is checked
            first = time.perf_counter() - start
            if job.check is not None:
                found = job.check(result)
                said = "; ".join(filter(None, [found.said, job.note]))
                row |= {"difference": found.difference, "right": found.right, "said": said}
            del result
            row["seconds"] = seconds(lambda: job.run(n_threads), at_least, warm=first < 1)
    except Exception as error:
        traceback.print_exc(limit=3, file=sys.stderr)
        row |= {"right": False, "said": f"fails: {type(error).__name__}: {str(error)[:150]}"}
    return row


def _tell(row: Row) -> None:
    took = f"{1e9 * sorted(row['seconds'])[len(row['seconds']) // 2] / row['n']:.2f} ns" if row["seconds"] else "-"
    mark = " WRONG" if row["right"] is False else ""
    print(f"  {row['work']}, {row['threads']} thread(s): {took}{mark}  {row['said']}", file=sys.stderr, flush=True)
