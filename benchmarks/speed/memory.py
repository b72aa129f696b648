"""Peak extra memory, each piece of work in a process of its own, at growing numbers of voxels and of cases (Linux).

It is the rise of the resident size's high-water mark while the work runs, after the same work on less has compiled and filled
its tables. What the work returns to its caller (transform: an array of the input's size) counts, and is reported apart.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SIZES = (1_000_000, 4_000_000, 16_000_000, 50_000_000)
CASES = (4, 16, 64)
WORK = {
    "tally": ("", "mrcalib.tally(p, m)"),
    "grid": ("", "mrcalib.MHRIsotonicCalibrator().fit(p, m)"),
    "exact": ("", "mrcalib.MHRIsotonicCalibrator('exact').fit(p, m)"),
    "equal-mass": ("", "mrcalib.MHRIsotonicCalibrator('equal-mass', 250).fit(p, m)"),
    "transform": ("c = mrcalib.MHRIsotonicCalibrator().fit(p, m)", "c.transform(p)"),
    "mean rater ECE": ("", "mrcalib.metrics.mean_rater_ece(p, m)"),
    "MR-ECE": ("", "mrcalib.metrics.multirater_ece(p, m)"),
    "temperature": ("", "mrcalib.TemperatureScalingCalibrator().fit(p, m)"),
}
RETURNED = {"transform": 4}  # bytes a voxel
MEASURE = """
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
gc.collect()
open("/proc/self/clear_refs", "w").write("5")  # the high-water mark starts anew
before = status("VmRSS")
result = work(p, m)
print(status("VmHWM") - before)
"""
CASE_WORK = """
import gc, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {root!r})
import numpy as np, mrcalib
from benchmarks.speed.data import VOXELS_A_CASE, load
data = load(4 * VOXELS_A_CASE)
parts = data.cases(4)
def cases(n):
    for i in range(n):
        yield mrcalib.Case(str(i), *parts[i % 4])
def work(n, _):
    return mrcalib.{what}
work(2, 0)
p, m = {n}, 0
"""


def measure(options: Any) -> list[dict[str, Any]]:
    """A row for each piece of work and size."""
    rows = []
    sizes = [n for n in SIZES if n <= max(options.voxels)]
    for name, (ready, work) in WORK.items():
        for n in sizes:
            code = f"""
import gc, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, {str(ROOT)!r})
import numpy as np, mrcalib
from benchmarks.speed.data import load
data = load({n})
p, m = data.probs, data.masks
{ready}
def work(p, m):
    return {work}
work(p[:300000], np.ascontiguousarray(m[:, :300000]))
"""
            rows.append(
                {"work": name, "voxels": n, "cases": 1, "bytes": peak(code), "returned": RETURNED.get(name, 0) * n}
            )
            print(f"  {name}, {n:,} voxels: {rows[-1]['bytes'] / 1e6:.1f} MB", file=sys.stderr)
    for n_cases in CASES:
        for what in ("tally_cases(list(cases(n)))", "MHRIsotonicCalibrator().fit_cases(list(cases(n)))"):
            code = CASE_WORK.format(root=str(ROOT), what=what, n=n_cases)
            name = what.split("(")[0] + (".fit_cases" if "fit_cases" in what else "")
            rows.append(
                {"work": name, "voxels": n_cases * 781_250, "cases": n_cases, "bytes": peak(code), "returned": 0}
            )
            print(f"  {name}, {n_cases} cases: {rows[-1]['bytes'] / 1e6:.1f} MB", file=sys.stderr)
    return rows


def peak(code: str) -> int:
    """Bytes; the allocator is asked to give freed memory back, so that what was freed before is not used unseen."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", code + MEASURE], check=True, capture_output=True, text=True, env=environment
    )
    return int(done.stdout.split()[-1])
