"""Time mrcalib against the floor and against its peers, check every answer, and write table and plots.

    python benchmarks/speed/run.py                                   # all of it; most of the time goes to peers
    python benchmarks/speed/run.py --voxels 1e6                      # one size
    python benchmarks/speed/run.py --only tally ece --voxels 1e7     # some rows of the table
    python benchmarks/speed/run.py --only memory                     # or growth, start
    python benchmarks/speed/run.py --report                          # the tables again, of what was measured

What is measured replaces what was measured of the same rows, sizes and order in OUT/speed.json; the tables and plots beside it
are made of all that is there. Each ratio is of medians that were taken in one process, on the same data.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import warnings
from pathlib import Path

# Before any import of NumPy: how many threads libraries take, and that idle ones sleep instead of spinning.
THREADS = "2"
_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SETTINGS = dict.fromkeys(_COUNTS, THREADS) | {"OMP_WAIT_POLICY": "passive"}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)

HERE = Path(__file__).resolve().parent
if not __package__:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.speed import growth, memory, start  # noqa: E402
from benchmarks.speed.data import KINDS, load, shares  # noqa: E402
from benchmarks.speed.groups import ALL  # noqa: E402
from benchmarks.speed.jobs import Row, measure  # noqa: E402
from benchmarks.speed.results import Results  # noqa: E402
from benchmarks.speed.timing import resident  # noqa: E402

SIZES = (100_000, 1_000_000, 10_000_000, 50_000_000)
OTHERS = {"memory": memory.measure, "growth": growth.measure, "start": start.measure}
ROOM = 60  # bytes a voxel that are asked of the machine before anything is timed


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=[*ALL, *OTHERS],
        default=[*ALL, *OTHERS],
        metavar="NAME",
        help=", ".join([*ALL, *OTHERS]),
    )
    parser.add_argument("--voxels", nargs="+", type=lambda text: int(float(text)), default=list(SIZES))
    parser.add_argument("--order", nargs="+", choices=KINDS, default=list(KINDS), help="of the voxels")
    parser.add_argument("--threads", type=int, default=int(THREADS), help="the most that are measured")
    parser.add_argument(
        "--repetitions", type=int, default=7, help="at least so many; short work is repeated more often"
    )
    parser.add_argument("--peer-repetitions", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument(
        "--make-data", action="store_true", help="draw the voxels, which are kept in a temporary folder, and stop"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=HERE.parent / "results" / "speed")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Measure what was asked for, and write the report after each part, so that little is lost."""
    warnings.simplefilter("ignore")  # some maps saturate, and peers warn of much
    options = options_of(arguments)
    kept = Results(options.out)
    if options.report:
        kept.write()
        return
    chosen = [name for name in options.only if name in ALL]
    for n in options.voxels if chosen else []:
        for kind in options.order:
            if options.make_data:
                print(f"{n:,} voxels, {kind}: {shares(load(n, kind))}")
            else:
                measure_all(chosen, n, kind, options, kept)
    if options.make_data:
        return
    for name in options.only:
        if name in OTHERS:
            print(name, file=sys.stderr)
            kept.put(name, OTHERS[name](options), SETTINGS)
    kept.write()


def measure_all(chosen: list[str], n: int, kind: str, options: argparse.Namespace, kept: Results) -> None:
    """The chosen groups on the same voxels, in this process."""
    resident(ROOM * n)
    data = load(n, kind)
    known: dict[tuple[str, int], Row] = {}
    proportions = shares(data)
    for make in dict.fromkeys(ALL[name] for name in chosen):
        for group in make(data):
            if group.name in chosen:
                print(f"{group.title}: {group.n:,} {group.unit}s, {kind}", file=sys.stderr)
                rows = measure(group, options, known)
                kept.put_group(group, rows, order=kind, n=n, settings=SETTINGS, shares=proportions)
        data.memo.pop("study", None)
        gc.collect()


if __name__ == "__main__":
    main()
