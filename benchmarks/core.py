"""Time the core against reading the inputs once (the floor) and against the best peers that give the right answer.

    python benchmarks/core.py                     # 1e7 voxels, 5 raters; a few minutes
    python benchmarks/core.py --voxels 1e6 --out /tmp/core

All figures are ratios measured in one process: medians of the repetitions.
The data are synthetic, as in the table's header: coherent volumes of saturated logits, mostly exact zeros, five correlated
raters; the ratios depend on that coherence, so the same voxels in random order are timed too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import scipy
import sklearn
from numpy.typing import NDArray

import mrcalib
from mrcalib.tallies import tally

CASE = (125, 125, 50)


def volumes(n_voxels: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Flat probabilities and five raters' masks of as many small volumes as are needed."""
    from scipy.ndimage import gaussian_filter
    from scipy.special import expit

    rng = np.random.default_rng(seed)
    size = int(np.prod(CASE))
    probs, masks = [], []
    for _ in range(-(-n_voxels // size)):
        field = gaussian_filter(rng.standard_normal(CASE, dtype=np.float32), 6)
        field /= field.std()
        inside = gaussian_filter(rng.standard_normal(CASE, dtype=np.float32), 12)
        logits = 8 * (field - 1.78) + rng.normal(0, 0.3, CASE).astype(np.float32)
        p = expit(logits)
        p[inside < np.quantile(inside, 0.596)] = 0
        raters = [
            logits + rng.normal(0, 1) + 20 * gaussian_filter(rng.standard_normal(CASE, dtype=np.float32), 3) > 0
            for _ in range(5)
        ]
        probs.append(p.ravel())
        masks.append(np.stack(raters).reshape(5, -1))
    return np.concatenate(probs)[:n_voxels], np.concatenate(masks, axis=1)[:, :n_voxels].astype(np.uint8)


@numba.njit(nogil=True, fastmath=True)
def _read(probs: Any, masks: Any) -> Any:
    """The floor: every input byte is read once by a compiled loop, at the machine's vector width."""
    total = np.float32(0)
    for i in range(probs.size):
        total += probs[i]
    seen = np.uint8(0)
    for r in range(masks.shape[0]):
        row = masks[r]
        for i in range(row.size):
            seen |= row[i]
    return total, seen


def timed(
    work: dict[str, Callable[[], Any]], repetitions: int, order: str = "blocks"
) -> dict[str, tuple[float, float]]:
    """Median and spread (max - min) of the seconds of each piece of work, each called once to warm up.

    In "blocks" the repetitions of a piece follow each other; in "turns" all pieces alternate, which leaves caches cold and the
    second processor asleep before each call.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for function in work.values():
        function()
    names = [name for name in work for _ in range(repetitions)] if order == "blocks" else list(work) * repetitions
    for i, name in enumerate(names):
        if order == "blocks" and (i == 0 or names[i - 1] != name):
            work[name]()
        start = time.perf_counter()
        work[name]()
        times[name].append(time.perf_counter() - start)
    return {name: (float(np.median(t)), max(t) - min(t)) for name, t in times.items()}


def peak_bytes(code: str) -> int:
    """Rise of the resident size's high-water mark while ``work()`` of ``code`` runs in a process of its own (Linux)."""
    script = (
        code
        + """
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
warm()
open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts anew
before = status("VmRSS")
work()
print(status("VmHWM") - before)
"""
    )
    return int(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout)


def start_up() -> dict[str, float]:
    """Seconds, in new processes: Python alone, importing mrcalib, `mrcalib --help`, and the first fit, compiling included."""
    fit = (
        "import numpy as np, mrcalib; r = np.random.default_rng(0); p = r.random(100000, dtype='f4'); "
        "mrcalib.MHRIsotonicCalibrator().fit(p, (r.random((5, 100000)) < p).astype('u1'))(p)"
    )
    commands = {
        "python": ["-c", "pass"],
        "import mrcalib": ["-c", "import mrcalib"],
        "mrcalib --help": ["-m", "mrcalib", "--help"],
        "first fit and transform": ["-c", fit],
    }

    def once(arguments: list[str]) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    return {name: median for name, (median, _) in timed({n: partial(once, a) for n, a in commands.items()}, 5).items()}


def measure(n_voxels: int, repetitions: int, sequence: str) -> list[dict[str, Any]]:
    """A row for each piece of work: nanoseconds a voxel, times the floor, and times faster than its peer."""
    from sklearn.isotonic import IsotonicRegression

    np.ones(
        400 * n_voxels, np.uint8
    )  # a virtual machine gets its memory from the host now, not while something is timed
    probs, masks = volumes(n_voxels)
    order = np.random.default_rng(1).permutation(n_voxels)
    shuffled, shuffled_masks = probs[order], np.ascontiguousarray(masks[:, order])
    grid, exact = mrcalib.MHRIsotonicCalibrator(), mrcalib.MHRIsotonicCalibrator("exact")
    grid.fit(probs, masks)(probs[:10])
    exact.fit(probs[:1000], masks[:, :1000])
    _read(probs, masks)
    mean = masks.mean(axis=0)
    wide = probs.astype(np.float64)
    peer = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")

    work: dict[str, tuple[Callable[[], Any], str | None]] = {
        "floor: read all inputs": (lambda: _read(probs, masks), None),
        "tally, 1 thread": (lambda: tally(probs, masks, n_jobs=1), None),
        "tally, 2 threads": (lambda: tally(probs, masks, n_jobs=2), None),
        "tally, shuffled voxels, 1 thread": (lambda: tally(shuffled, shuffled_masks, n_jobs=1), None),
        "MHR isotonic on the grid, 1 thread": (
            lambda: grid.fit_tally(tally(probs, masks, n_jobs=1)),
            "isotonic: scikit-learn float64",
        ),
        "MHR isotonic on the grid, as called": (lambda: grid.fit(probs, masks), "isotonic: scikit-learn float64"),
        "MHR isotonic, exact": (lambda: exact.fit(probs, masks), "isotonic: scikit-learn float64"),
        "transform": (lambda: grid(probs), "transform: np.interp"),
        "transform, shuffled voxels": (lambda: grid(shuffled), "transform: np.interp, shuffled voxels"),
        "MR-ECE, 50 bins": (lambda: mrcalib.metrics.multirater_ece(probs, masks, n_bins=50), "ECE of 5 raters: numpy"),
        "mean rater ECE, 50 bins": (
            lambda: mrcalib.metrics.mean_rater_ece(probs, masks, n_bins=50),
            "ECE of 5 raters: numpy",
        ),
        "isotonic: scikit-learn float64": (lambda: peer.fit(wide, mean), None),
        "transform: np.interp": (lambda: np.interp(probs, grid.map_.x, grid.map_.y), None),
        "transform: np.interp, shuffled voxels": (lambda: np.interp(shuffled, grid.map_.x, grid.map_.y), None),
        "ECE of 5 raters: numpy": (lambda: numpy_ece(probs, masks), None),
    }
    seconds = timed({name: function for name, (function, _) in work.items()}, repetitions, sequence)
    floor = seconds["floor: read all inputs"][0]
    return [
        {
            "work": name,
            "ns_per_voxel": 1e9 * seconds[name][0] / n_voxels,
            "spread_ns": 1e9 * seconds[name][1] / n_voxels,
            "times_floor": seconds[name][0] / floor,
            "peer": against or "",
            "times_faster_than_peer": seconds[against][0] / seconds[name][0] if against else float("nan"),
        }
        for name, (_, against) in work.items()
    ]


def numpy_ece(probs: NDArray[np.float32], masks: NDArray[np.uint8]) -> float:
    """Mean of the raters' ECE in 50 bins as one writes it in NumPy, float64, digitised once."""
    p = probs.astype(np.float64)
    index = np.minimum(np.digitize(p, np.linspace(0, 1, 51)) - 1, 49)
    n, total = np.bincount(index, minlength=50), np.bincount(index, p, 50)
    return float(np.mean([np.abs(total - np.bincount(index, m, 50)).sum() / n.sum() for m in masks]))


def memory() -> list[dict[str, Any]]:
    """Peak extra bytes of tally and fit at growing numbers of voxels; constant if the design holds."""
    rows = []
    for n in (1_000_000, 4_000_000, 16_000_000):
        code = (
            "import numpy as np, mrcalib\n"
            f"p = np.random.default_rng(0).random({n}, dtype='f4'); m = np.zeros((5, {n}), 'u1'); m[:, p > 0.5] = 1\n"
            "c = mrcalib.MHRIsotonicCalibrator()\n"
            "def warm(): c.fit(p[:300000], m[:, :300000])\n"
            "def work(): c.fit(p, m)"
        )
        rows.append({"n_voxels": n, "input_bytes": 9 * n, "peak_extra_bytes": peak_bytes(code)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=float, default=1e7)
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--order", choices=("blocks", "turns"), default="blocks")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "core")
    args = parser.parse_args()
    n = int(args.voxels)
    rows = measure(n, args.repetitions, args.order)
    header = {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(UTC).date().isoformat(),
        "voxels": n,
        "raters": 5,
        "repetitions": args.repetitions,
        "order": args.order,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {_cpu()}",
        "versions": {m.__name__: m.__version__ for m in (mrcalib, np, scipy, sklearn, numba)}
        | {"python": platform.python_version()},
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    result = {**header, "speed": rows, "memory": memory(), "start_up_seconds": start_up()}
    lines = [
        f"| work ({n:,} voxels, 5 raters) | ns/voxel | spread | x floor | x faster than | peer |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratio = "" if np.isnan(row["times_faster_than_peer"]) else f"{row['times_faster_than_peer']:.1f}"
        time_, spread, floor = row["ns_per_voxel"], row["spread_ns"], row["times_floor"]
        lines.append(f"| {row['work']} | {time_:.2f} | {spread:.2f} | {floor:.1f} | {ratio} | {row['peer']} |")
    lines += ["", "| voxels | input, MB | peak extra, MB (fit on the grid) |", "|---|---|---|"]
    lines += [
        f"| {r['n_voxels']:,} | {r['input_bytes'] / 1e6:.0f} | {r['peak_extra_bytes'] / 1e6:.1f} |"
        for r in result["memory"]
    ]
    lines += ["", "| new process | seconds |", "|---|---|"]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in result["start_up_seconds"].items()]
    print("\n".join(lines))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.with_suffix(".json").write_text(json.dumps(result, indent=1, default=float) + "\n")
    told = "\n".join(f"- {key}: {value}" for key, value in header.items())
    args.out.with_suffix(".md").write_text("# Core\n\n" + told + "\n\n" + "\n".join(lines) + "\n")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
