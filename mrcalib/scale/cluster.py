"""Work on a Dask cluster: the cluster, one piece of work for many items, and the messages that come back from workers.

Items are futures and not a bag: one that fails or is lost is one item, results leave the workers as they come, and no result
depends on how items were put together.
"""

from __future__ import annotations

import logging
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from uuid import uuid4

from mrcalib._version import __version__
from mrcalib.inputs import check_choice

if TYPE_CHECKING:
    from distributed import Client

__all__ = [
    "SCHEDULERS",
    "Scheduler",
    "any_size_of_graph",
    "cluster_client",
    "each_on_cluster",
    "recorded_messages",
    "require_dask",
    "workers",
]

Item = TypeVar("Item")
Done = TypeVar("Done")
Scheduler: TypeAlias = "str | Client"
SCHEDULERS = ("threads", "dask")
HOW_TO_GET_IT = "pip install 'mrcalib[dask]'"
CONNECT_S = "30s"


def require_dask(what: str) -> None:
    """ImportError, with the command that mends it, where Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        msg = f"{what} needs Dask, which is not installed: {HOW_TO_GET_IT}"
        raise ImportError(msg) from error


@contextmanager
def cluster_client(
    scheduler: Scheduler, dask_address: str | None = None, n_jobs: int | None = None
) -> Iterator[Client]:
    """A client of the cluster that these options describe; what is started here is closed afterwards.

    Parameters
    ----------
    scheduler : "dask" or distributed.Client
        A client is used as it is, and stays open.
    dask_address : str, optional
        Of a running scheduler. Without it ``n_jobs`` processes of one thread each (1 by default) are started here.
    n_jobs : int, optional
        Processes, where they are started here.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ValueError
        For another scheduler, or an address without ``scheduler="dask"``.
    ImportError
        If Dask is not installed.
    ConnectionError
        If no scheduler answers at the address.
    RuntimeError
        If workers have no mrcalib, or another version.
    """
    if isinstance(scheduler, str):
        check_choice("scheduler", scheduler, SCHEDULERS)
    if dask_address is not None and scheduler != "dask":
        msg = f"dask_address={dask_address!r} goes with scheduler='dask'; got scheduler={scheduler!r}."
        raise ValueError(msg)
    require_dask("scheduler='dask'")
    from distributed import Client, LocalCluster

    if not isinstance(scheduler, str):
        if not isinstance(scheduler, Client) or scheduler.asynchronous:
            msg = f"scheduler must be 'threads', 'dask' or a synchronous distributed.Client; got {scheduler!r}."
            raise TypeError(msg)
        _check_workers(scheduler)
        yield scheduler
    elif dask_address is not None:
        with _client_at(dask_address) as client:
            _check_workers(client)
            yield client
    else:
        processes: dict[str, Any] = {"n_workers": n_jobs or 1, "threads_per_worker": 1, "processes": True}
        # A limit of memory would kill workers over cases that threads get through; and processes that are being closed log
        # that they lost each other.
        with (
            LocalCluster(
                **processes, dashboard_address=":0", memory_limit=None, silence_logs=logging.CRITICAL
            ) as local,
            Client(local, set_as_default=False) as client,
        ):
            yield client


@contextmanager
def workers(scheduler: Scheduler, dask_address: str | None = None, n_jobs: int | None = None) -> Iterator[Scheduler]:
    """The ``scheduler`` that several steps of one run share: "threads", or one client."""
    if scheduler == "threads" and dask_address is None:
        yield "threads"
    else:
        with cluster_client(scheduler, dask_address, n_jobs) as client:
            yield client


def any_size_of_graph() -> AbstractContextManager[Any]:
    """No warning of large graphs: arrays in memory are sent on purpose, and so are very many tasks."""
    from dask import config

    quiet: AbstractContextManager[Any] = config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
    return quiet


def _client_at(address: str) -> Client:
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:  # nobody there, or no address
        msg = (
            f"No Dask scheduler answers at dask_address={address!r} ({error}). Start one with 'dask scheduler', and "
            "workers with 'dask worker ADDRESS --nthreads 1'; or leave the address out to work on this machine."
        )
        raise ConnectionError(msg) from error


def _check_workers(client: Client) -> None:
    """Refuse workers with another version of mrcalib; those that join later are not checked."""
    found = client.run(_version_here, on_error="return")
    if not found:
        logging.getLogger("mrcalib").info(
            "Dask: no worker has joined %s yet; waiting for one.", client.scheduler.address
        )
    for address, version in found.items():
        if isinstance(version, Exception):
            msg = f"Worker {address} cannot import mrcalib {__version__} ({version}); install it there."
            raise RuntimeError(msg)
        if version != __version__:
            msg = f"Worker {address} has mrcalib {version}, and this process {__version__}: install the same version there."
            raise RuntimeError(msg)


def _version_here() -> str:
    return __version__


# Items ----------------------------------------------------------------------------------------------------------------

AHEAD = 100
"""Items that are sent to the scheduler at a time, or four for each thread if that is more."""


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
        Returns a result and one word on what was done with the item. If a worker dies, another one does its items again, so
        doing an item twice must do no harm.
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
        Called here, with a name and what was done with it, in the order in which items are done.
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
                result, status, messages = _received(future, answer, names[place])
                future.release()
                _repeat(messages)
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
    """What a worker sends back."""

    result: Any
    status: str
    messages: list[_Message]


def _attempt(work: Callable[[Item], tuple[Done, str]], item: Item) -> _Answer:
    """Runs on a worker; an error is returned as a result, so that it differs from a failure of the cluster."""
    with recorded_messages() as messages:
        try:
            return _Answer(*work(item), messages)
        except Exception as error:
            return _Answer(_sendable(error), "failed", messages)


def _sendable(error: Exception) -> Exception:
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:
        again = None
    return error if type(again) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")


def _received(future: Any, answer: Any, name: str) -> _Answer:
    """The worker's answer; a failure of the cluster becomes the error of the item."""
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


# Messages of workers --------------------------------------------------------------------------------------------------


_LOGGER = "mrcalib"


class _Message(NamedTuple):
    """A warning, or a line of the log where ``category`` is None."""

    text: str
    category: type[Warning] | None
    level: int
    filename: str = ""
    lineno: int = 0


class _OfThread(threading.local):
    """The messages of this thread since recording began; None where they are not recorded. Workers may run several threads."""

    messages: list[_Message] | None = None


_of_this_thread = _OfThread()
_show_warning = warnings.showwarning
_installing = threading.Lock()


def _record_warning(  # noqa: PLR0917
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: Any = None,
    line: str | None = None,
) -> None:
    if _of_this_thread.messages is None:
        _show_warning(message, category, filename, lineno, file, line)
    else:
        _of_this_thread.messages.append(_Message(str(message), category, logging.WARNING, filename, lineno))


class _Recorder(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _of_this_thread.messages is not None:
            _of_this_thread.messages.append(_Message(record.getMessage(), None, record.levelno))


def _install() -> None:
    """Hooks of the whole process, because a filter for one thread does not exist."""
    global _show_warning  # noqa: PLW0603
    with _installing:
        if warnings.showwarning is not _record_warning:
            _show_warning = warnings.showwarning
            warnings.showwarning = _record_warning
        logger = logging.getLogger(_LOGGER)
        if not any(isinstance(handler, _Recorder) for handler in logger.handlers):
            logger.addHandler(_Recorder())
            logger.setLevel(logging.INFO)


@contextmanager
def recorded_messages() -> Iterator[list[_Message]]:
    """Collect the warnings and the lines of the log of this thread, instead of showing them."""
    _install()
    before, _of_this_thread.messages = _of_this_thread.messages, []
    try:
        yield _of_this_thread.messages
    finally:
        _of_this_thread.messages = before


def _repeat(messages: list[_Message]) -> None:
    """Warn and log here what a worker warned of and logged, so that the user sees it."""
    for one in messages:
        if one.category is None:
            logging.getLogger(_LOGGER).log(one.level, one.text)
        else:
            warnings.warn_explicit(one.text, one.category, one.filename, one.lineno)
