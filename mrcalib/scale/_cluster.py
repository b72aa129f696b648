"""The Dask cluster that work is done on: processes of this machine, a scheduler at an address, or a client of the user's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from mrcalib._version import __version__
from mrcalib.inputs import check_choice

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["SCHEDULERS", "Scheduler", "any_size_of_graph", "cluster", "require_dask", "workers"]

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
def cluster(scheduler: Scheduler, dask_address: str | None = None, n_jobs: int | None = None) -> Iterator[Client]:
    """A client of the cluster that these options mean; what is started here is closed afterwards.

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
        # No limit of memory, which would kill workers over cases that threads get through; and no words of what processes that
        # are being closed did not hear of each other.
        with (
            LocalCluster(
                **processes, dashboard_address=":0", memory_limit=None, silence_logs=logging.CRITICAL
            ) as local,
            Client(local, set_as_default=False) as client,
        ):
            yield client


@contextmanager
def workers(scheduler: Scheduler, dask_address: str | None = None, n_jobs: int | None = None) -> Iterator[Scheduler]:
    """What several steps of one run take as their ``scheduler``: "threads", or one client for all of them."""
    if scheduler == "threads" and dask_address is None:
        yield "threads"
    else:
        with cluster(scheduler, dask_address, n_jobs) as client:
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
    """Refuse workers that would compute otherwise; those who join later are taken on trust."""
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
