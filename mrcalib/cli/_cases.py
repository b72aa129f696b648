"""Work on cases one by one: a bad one does not lose the others' work."""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from mrcalib.cli._console import Console, UsageError

if TYPE_CHECKING:
    from mrcalib.io import Annotations, Case
    from mrcalib.roi import RoiRecall

__all__ = ["LOW_RECALL", "CaseCounter", "each_case", "note_groups", "note_recall", "with_workers"]

LOW_RECALL = 0.95
"""A region of interest that holds less of the raters' union than this is warned of."""
_LISTED = 10

Done = TypeVar("Done")
Named = TypeVar("Named", bound="Case | Annotations")
Run = Callable[[argparse.Namespace], int]


class CaseCounter:
    """Counts cases as they are done, from any thread."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._lock = Lock()
        self._became: Counter[str] = Counter()

    def __call__(self, case: str, status: str) -> None:
        """Count a case, and show what became of it."""
        with self._lock:
            self._became[status] += 1
            self._console.step(self._became.total(), self._total, f"{case} {status}")

    def summarise(self) -> None:
        """Show how many cases became what."""
        became = ", ".join(f"{n} {status}" for status, n in self._became.items())
        self._console.note(f"{self._total} cases: {became}")


def each_case(
    cases: Sequence[Named], work: Callable[[Named], tuple[Done, str]], *, console: Console, jobs: int
) -> tuple[dict[str, Done], dict[str, Exception]]:
    """Return the results of ``work`` by case, and the errors of the cases where it failed.

    ``work`` answers with its result and one word on what became of the case.
    """
    results: dict[str, Done] = {}
    failures: dict[str, Exception] = {}
    counter = CaseCounter(console, len(cases))

    def attempt(case: Named) -> Done | Exception:
        try:
            result, status = work(case)
        except Exception as error:
            counter(case.id, "failed")
            return error
        counter(case.id, status)
        return result

    with ThreadPoolExecutor(jobs) as pool:
        for case, result in zip(cases, pool.map(attempt, cases), strict=True):
            if isinstance(result, Exception):
                failures[case.id] = result
            else:
                results[case.id] = result
    counter.summarise()
    return results, failures


def with_workers(run: Run) -> Run:
    """Return a command that runs with ``args.workers``, what the library takes as its ``scheduler``."""

    @wraps(run)
    def on_workers(args: argparse.Namespace) -> int:
        if args.dask_address is not None and args.scheduler != "dask":
            msg = "--dask-address goes with --scheduler dask."
            raise UsageError(msg)
        if args.scheduler == "threads":
            args.workers = "threads"
            return run(args)
        from mrcalib.scale.cluster import workers

        with workers(args.scheduler, args.dask_address, args.jobs) as args.workers:
            n = sum(args.workers.nthreads().values())
            args.console.note(f"Dask: {n} worker threads at {args.workers.scheduler.address}")
            return run(args)

    return on_workers


def note_recall(recalls: Mapping[str, RoiRecall], console: Console) -> None:
    """Show how much of what the raters marked lies inside the regions of interest, and warn of those that miss much."""
    known = {case: recall.union for case, recall in recalls.items() if not math.isnan(recall.union)}
    if not known:
        return
    worst = min(known, key=known.__getitem__)
    console.note(
        f"The region of interest holds {sum(known.values()) / len(known):.1%} of what any rater marked (mean of {len(known)} "
        f"cases), at least {known[worst]:.1%} ({worst})."
    )
    low = sorted((case for case, union in known.items() if union < LOW_RECALL), key=known.__getitem__)
    if low:
        listed = ", ".join(f"{case} ({known[case]:.1%})" for case in low[:_LISTED])
        more = f" and {len(low) - _LISTED} more" if len(low) > _LISTED else ""
        console.complain(
            f"warning: in {len(low)} of {len(known)} cases the region of interest holds less than {LOW_RECALL:.0%} of what "
            f"any rater marked, which no calibration brings back: {listed}{more}. Widen the region (--margin, "
            "--coarse-threshold), or correct these files."
        )


def note_groups(cases: Sequence[Case], console: Console) -> None:
    """Remind of patients with several cases, where no groups were given."""
    if all(case.group == case.id for case in cases):
        console.note(
            "Each case is a group of its own. If patients have several cases, say so by --group or a column 'group': "
            "else folds and intervals are too optimistic."
        )
