"""Several classes worked on side by side, so that each case is read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import Any, TypeVar

from mrcalib.io import Case, ImageClass, LoadedCase, LoadOptions
from mrcalib.io.loaded import load_each_class

__all__ = ["CaseOfClass", "for_each_class"]

Done = TypeVar("Done")


class CaseOfClass:
    """A case of which `load` gives one class against the rest, from a reading that all classes share.

    Everything else is as the case has it.
    """

    def __init__(self, case: Case, number: int, place: int, shared: _SharedReading) -> None:
        self._case, self._number, self._place, self._shared = case, number, place, shared

    def __getattr__(self, name: str) -> Any:
        return getattr(self._case, name)

    def load(self, *, options: LoadOptions | None = None) -> LoadedCase:  # noqa: ARG002 - those of the shared reading
        """The case in memory, read against the rest as the class says."""
        return self._shared.get(self._place, self._number)


class _SharedReading:
    """Hands cases to threads, one thread a class, and reads a case when all threads wait for one.

    Threads that need the cases in the same order, as passes over a list of cases do, thereby share every reading; a thread that
    is ahead waits, and one that is done is not waited for. One case is in memory at a time.
    """

    def __init__(self, cases: Sequence[Case], read: Callable[[Case], Sequence[LoadedCase]], n_threads: int) -> None:
        self._cases, self._read = cases, read
        self._changed = Condition()
        self._at_work = set(range(n_threads))
        self._wanted: dict[int, int] = {}  # the number of the case that each waiting thread wants
        self._number = -1
        self._loaded: Sequence[LoadedCase] = ()
        self._error: Exception | None = None
        self._to_take: set[int] = set()  # the threads that this reading was made for

    def get(self, place: int, number: int) -> LoadedCase:
        """The case for one thread, which waits until the others want it, too, or something else."""
        with self._changed:
            self._wanted[place] = number
            self._changed.notify_all()
            while not (place in self._to_take and self._number == number):
                if self._wanted.keys() >= self._at_work and not self._to_take:
                    self._read_next()
                else:
                    self._changed.wait()
            self._to_take.remove(place)
            del self._wanted[place]
            if self._error is not None:
                raise self._error
            return self._loaded[place]

    def leave(self, place: int) -> None:
        """Note that a thread is done."""
        with self._changed:
            self._at_work.discard(place)
            self._changed.notify_all()

    def _read_next(self) -> None:
        self._number = min(self._wanted.values())
        self._to_take = {place for place, number in self._wanted.items() if number == self._number}
        self._loaded, self._error = (), None  # the last case leaves the memory before the next one is read
        try:
            self._loaded = self._read(self._cases[self._number])
        except Exception as error:
            self._error = error
        self._changed.notify_all()


def for_each_class(
    cases: Sequence[Case],
    classes: Sequence[ImageClass],
    work: Callable[[ImageClass, list[Any]], Done],
    *,
    options: LoadOptions | None = None,
) -> dict[str, Done]:
    """What ``work`` makes of each class, by its name; the cases that it loads are read once for all classes.

    Parameters
    ----------
    cases : sequence of Case
        Their probabilities have a channel for each class.
    classes : sequence of ImageClass
        As for ``tally_cases``.
    work : callable
        Takes a class and the cases, of which ``load`` gives this class against the rest. It is called for all classes at the
        same time, each in a thread.
    options : LoadOptions, optional
        How the cases are read.

    Returns
    -------
    dict of str to object
        In the order of the classes.

    Raises
    ------
    Exception
        What ``work`` raised for the first class for which it did.

    Examples
    --------
    >>> import numpy as np
    >>> probs = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])
    >>> case = Case("A", probs, [np.array([1, 0])])
    >>> classes = [ImageClass("kidney", 1), ImageClass("liver", 2)]
    >>> for_each_class(
    ...     [case], classes, lambda one, own: own[0].load().probs.tolist(), options=LoadOptions(channel_axis=-1)
    ... )
    {'kidney': [0.5, 0.0], 'liver': [0.25, 0.0]}
    """
    options = options or LoadOptions()
    shared = _SharedReading(cases, lambda case: load_each_class(case, classes, options), len(classes))

    def one_class(place: int) -> Done:
        try:
            own = [CaseOfClass(case, number, place, shared) for number, case in enumerate(cases)]
            return work(classes[place], own)
        finally:
            shared.leave(place)

    with ThreadPoolExecutor(len(classes)) as threads:
        found = list(threads.map(one_class, range(len(classes))))
    return {one.name: result for one, result in zip(classes, found, strict=True)}
