"""Where the nanoseconds of the two kernels go that every voxel passes: stage by stage, from memory and from the cache.

    python benchmarks/speed/stages.py        # one thread, 1e7 voxels: results/speed/stages.csv

Each stage is the kernel's own function, called block by block as the kernel does. "In cache" repeats the same 2**16 voxels.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

# ruff: noqa: E402 - the folder of benchmarks must be found first
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

import mrcalib
from benchmarks.speed.data import load
from mrcalib._kernels import interpolation, tallying
from mrcalib.grid import ProbabilityGrid
from mrcalib.tallies import CountTable
from mrcalib.tallies._counting import PATTERN_RATERS, constant

IN_CACHE = 1 << 16
BITS = 7


@numba.njit(nogil=True)
def pack_all(masks: Any, n: int) -> None:
    votes = np.empty(tallying.STRETCH, np.uint8)
    labels, absent = np.zeros(tallying.STRETCH, np.uint8), np.zeros(tallying.STRETCH, np.uint8)
    for start in range(0, n, tallying.STRETCH):
        size = min(tallying.STRETCH, n - start)
        tallying._pack_votes(masks, start, absent, np.uint8(31), votes[:size], labels[:size])


@numba.njit(nogil=True)
def find_all_counters(p: Any, n_counters: int) -> None:
    block = tallying.BLOCK
    lane, counters, offsets = np.zeros(block, np.uint32), np.empty(block, np.uint32), np.empty(block, np.uint32)
    folded, votes = np.empty(block, np.float32), np.zeros(block, np.uint8)
    for start in range(0, p.size - block, block):
        x = p[start : start + block]
        tallying._find_counters(x, votes, BITS, n_counters, lane, folded[: x.size], counters, offsets)


@numba.njit(nogil=True)
def find_all_lines(p: Any) -> None:
    block = interpolation.BLOCK
    folded, anchor, keys = np.empty(block, np.float32), np.empty(block, np.float32), np.empty(block, np.uint32)
    for start in range(0, p.size, block):
        interpolation._find_lines(p[start : start + block], folded, anchor, keys)


@numba.njit(nogil=True)
def copy_all(p: Any, out: Any) -> None:
    block = interpolation.BLOCK
    for start in range(0, p.size, block):
        out[start : start + block] = p[start : start + block]


def nanoseconds(work: Callable[[], Any], n_voxels: int, n_times: int) -> float:
    """Median of eleven, each of ``n_times`` calls."""
    work()
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        for _ in range(n_times):
            work()
        seconds.append(time.perf_counter() - start)
    return 1e9 * float(np.median(seconds)) / (n_voxels * n_times)


def stages(probs: Any, masks: Any) -> dict[str, Callable[[], Any]]:
    """What is timed, on these voxels."""
    grid = ProbabilityGrid.standard()
    calibrator = mrcalib.MHRIsotonicCalibrator().fit(probs, masks)
    out = np.empty_like(probs)
    p = constant(probs)
    eight = tuple(constant(mask) for mask in masks)
    eight += (constant(np.empty(0, np.uint8)),) * (PATTERN_RATERS - len(eight))
    packed = CountTable(grid, 1 << len(masks))

    def count() -> None:
        packed.add(probs, list(masks))

    return {
        "tally: the whole kernel": count,
        "tally: packing votes": lambda: pack_all(eight, p.size),
        "tally: finding counters": lambda: find_all_counters(p, grid.counters.bin.size),
        "transform: the whole kernel": lambda: calibrator.map_._evaluate(probs, out),
        "transform: finding lines": lambda: find_all_lines(p),
        "transform: a copy in blocks": lambda: copy_all(p, out),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=float, default=1e7)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "speed" / "stages.csv")
    args = parser.parse_args()
    n = int(args.voxels)
    rows = []
    for order in ("coherent", "shuffled"):
        data = load(n, order)
        middle = slice(n // 3, n // 3 + IN_CACHE)
        small = stages(data.probs[middle].copy(), np.ascontiguousarray(data.masks[:, middle]))
        for name, work in stages(data.probs, data.masks).items():
            row = {
                "order": order,
                "stage": name,
                "ns_from_memory": round(nanoseconds(work, n, 1), 2),
                "ns_in_cache": round(nanoseconds(small[name], IN_CACHE, 50), 2),
            }
            print(*row.values(), sep=", ")
            rows.append(row)
    with args.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
