"""One piece of work for many items, done by the workers of a cluster; it knows neither cases nor tallies.

Futures, not a bag: an item that fails or is lost is one item, results leave the workers as they come, and no result
depends on how items were put together.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from uuid import uuid4

from mrcalib.scale._cluster import any_size_of_graph
from mrcalib.scale._overheard import Saying, overheard, say_again

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["each_on_cluster"]

Item = TypeVar("Item")
Done = TypeVar("Done")

AHEAD = 100  # items that the scheduler is told of at a time, or four for each thread where these are more


def each_on_cluster(
    client: Client,
    work: Callable[[Item], tuple[Done, str]],
    items: Sequence[Item],
    names: Sequence[str],
    *,
    label: str,
    first_error_ends: bool,
    progress: Callable[[str, str], None] | None = None,
    ahead: int | None = None,
) -> list[Done | Exception]:
    """``work(item)`` for each item, on the cluster; results, or errors, in the order of the items.

    Parameters
    ----------
    client : distributed.Client
        Of the cluster.
    work : callable
        Answers with a result and one word on what became of the item. A worker that dies has it done again by another, so
        that doing it twice must do no harm.
    items : sequence
        Sent to the workers, a few at a time.
    names : sequence of str
        Of the items, for ``progress`` and errors.
    label : str
        Of this work, for the cluster's dashboard.
    first_error_ends : bool
        Whether an error ends the run once the items before it are done; it is always the first in the order of items that
        is raised.
    progress : callable, optional
        Called here, with a name and what became of it, in the order in which items are done.
    ahead : int, optional
        Items that are at the cluster at the same time.
    """
    from distributed import as_completed

    results: dict[int, Done | Exception] = {}
    places: dict[Any, int] = {}
    group = f"{label}-{uuid4().hex}"
    rest = iter(range(len(items)))
    end = len(items)  # of the items that are still wanted
    done = as_completed(loop=client.loop, with_results=True, raise_errors=False)

    def send(n: int) -> None:
        chosen = [place for place in islice(rest, n) if place < end]
        if chosen:
            keys = [(group, place) for place in chosen]
            places.update(zip(keys, chosen, strict=True))
            with any_size_of_graph():
                done.update(client.map(partial(_attempt, work), [items[p] for p in chosen], key=keys, pure=False))

    try:
        send(ahead or max(AHEAD, 4 * sum(client.nthreads().values())))
        for batch in done.batches():
            for future, answer in batch:
                place = places.pop(future.key)
                if place > end:
                    continue
                result, status, said = _received(future, answer, names[place])
                future.release()
                say_again(said)
                if progress is not None:
                    progress(names[place], status)
                results[place] = result
                if isinstance(result, Exception) and first_error_ends:
                    end = place
                    _cancel(client, [waiting for waiting in list(done.futures) if places[waiting.key] > end])
            send(len(batch))
            if end < len(items) and all(place > end for place in places.values()):
                break
    finally:
        _cancel(client, list(done.futures))
        done.clear()
    if end < len(items):
        failed = results[end]
        assert isinstance(failed, Exception)
        raise failed
    return [results[place] for place in range(len(items))]


def _cancel(client: Client, futures: list[Any]) -> None:
    if futures:
        client.cancel(futures, force=True)


class _Answer(NamedTuple):
    """What comes back from a worker."""

    result: Any
    status: str
    said: list[Saying]


def _attempt(work: Callable[[Item], tuple[Done, str]], item: Item) -> _Answer:
    """On a worker: an error is an answer, so that it is not taken for the cluster's own trouble."""
    with overheard() as said:
        try:
            return _Answer(*work(item), said)
        except Exception as error:
            return _Answer(_sendable(error), "failed", said)


def _sendable(error: Exception) -> Exception:
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    return error if type(again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")


def _received(future: Any, answer: Any, name: str) -> _Answer:
    """The worker's answer, or the cluster's trouble as the item's error."""
    if future.status == "finished":
        return _Answer(*answer)
    from distributed import KilledWorker

    error = answer[1] if isinstance(answer, tuple) else answer
    if isinstance(error, KilledWorker):
        msg = (
            f"{name!r}: {error.allowed_failures + 1} workers died while they had it to do, the last at "
            f"{getattr(error.last_worker, 'address', error.last_worker)}. Most often that is too little memory for it: give "
            "workers more, or let each do one thing at a time (--nthreads 1)."
        )
        return _Answer(RuntimeError(msg), "failed", [])
    if not isinstance(error, Exception):
        error = RuntimeError(f"{name!r}: the cluster gave it up ({type(error).__name__}: {error}).")
    return _Answer(error, "failed", [])
