"""Work on cases one by one: a bad one does not lose the others' work."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from mrcalib.cli._console import Console
from mrcalib.cli._inputs import load_options_of

if TYPE_CHECKING:
    from mrcalib.cohort import Cohort
    from mrcalib.grid import ProbabilityGrid
    from mrcalib.io import Case

__all__ = ["CaseCounter", "each_case", "tally", "tell_groups"]

Done = TypeVar("Done")


class CaseCounter:
    """Counts cases as they are done, from any thread."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._lock = Lock()
        self._became: Counter[str] = Counter()

    def __call__(self, case: str, status: str) -> None:
        """Take note of what became of a case."""
        with self._lock:
            self._became[status] += 1
            self._console.step(self._became.total(), self._total, f"{case} {status}")

    def tell(self) -> None:
        """Say how many cases became what."""
        became = ", ".join(f"{n} {status}" for status, n in self._became.items())
        self._console.note(f"{self._total} cases: {became}")


def each_case(
    cases: Sequence[Case], work: Callable[[Case], tuple[Done, str]], *, console: Console, jobs: int
) -> tuple[dict[str, Done], dict[str, Exception]]:
    """The results of ``work`` by case, and the errors of the cases where it failed.

    ``work`` answers with its result and one word on what became of the case.
    """
    results: dict[str, Done] = {}
    failures: dict[str, Exception] = {}
    counter = CaseCounter(console, len(cases))

    def attempt(case: Case) -> Done | Exception:
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
    counter.tell()
    return results, failures


def tally(
    cases: Sequence[Case],
    args: argparse.Namespace,
    *,
    checkpoints: Path | None,
    grid: ProbabilityGrid | None = None,
) -> tuple[Cohort, dict[str, Exception]]:
    """The tallies of the cases that could be read, and the errors of the others."""
    from mrcalib.scale import tally_cases

    failures: dict[str, Exception] = {}
    counter = CaseCounter(args.console, len(cases))
    cohort = tally_cases(
        cases,
        grid=grid,
        options=load_options_of(args),
        invalid=args.invalid,
        n_jobs=args.jobs,
        checkpoints=checkpoints,
        failures=failures,
        progress=counter,
    )
    counter.tell()
    return cohort, failures


def tell_groups(cases: Sequence[Case], console: Console) -> None:
    """Remind of patients with several cases, where no groups were given."""
    if all(case.group == case.id for case in cases):
        console.note(
            "Each case is a group of its own. If patients have several cases, say so by --group or a column 'group': "
            "else folds and intervals are too optimistic."
        )
