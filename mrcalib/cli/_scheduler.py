"""``--scheduler``: one cluster for a whole command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import wraps

from mrcalib.cli._exit import UsageError

__all__ = ["with_workers"]

Run = Callable[[argparse.Namespace], int]


def with_workers(run: Run) -> Run:
    """Run a command with ``args.workers``, what the library takes as its ``scheduler``: "threads" or a Dask client."""

    @wraps(run)
    def on_workers(args: argparse.Namespace) -> int:
        if args.dask_address is not None and args.scheduler != "dask":
            msg = "--dask-address goes with --scheduler dask."
            raise UsageError(msg)
        if args.scheduler == "threads":
            return run(args)
        from mrcalib.scale.cluster import workers

        with workers(args.scheduler, args.dask_address, args.jobs) as args.workers:
            n = sum(args.workers.nthreads().values())
            args.console.note(f"Dask: {n} worker threads at {args.workers.scheduler.address}")
            return run(args)

    return on_workers
