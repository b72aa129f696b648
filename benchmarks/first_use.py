"""Time what a user waits for in a new process: import, help, the first fit, the first map applied, the first vessel score.

    python benchmarks/first_use.py                          # five processes a row; some minutes
    python benchmarks/first_use.py --rows help "fit, warm"  # these rows only; the others stay in the file

Each row is the wall time of whole processes, the interpreter's start included, with the operating system's file cache warm.
"no cache" compiles and keeps nothing, "cold" compiles and keeps the kernels, "warm" finds them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
DATA = """
import sys
import numpy as np
rng = np.random.default_rng(0)
p = rng.random((64, 64, 32), dtype=np.float32) ** 4
raters = [(rng.random(p.shape) < p).astype(np.uint8) for _ in range(5)]
import mrcalib
"""
COUNT = """
values = [v for name, m in list(sys.modules.items()) if name.startswith("mrcalib.") for v in list(vars(m).values())]
kernels = {id(v): v for v in values if hasattr(v, "py_func")}.values()
print(sum(sum(k.stats.cache_hits.values()) for k in kernels), sum(len(k.overloads) for k in kernels))
"""
FIT = DATA + "fitted = mrcalib.MHRIsotonicCalibrator().fit(p, raters)\n"
APPLY = DATA + "mrcalib.load(sys.argv[1])(p)\n"
VESSEL = (
    DATA + "mrcalib.metrics.vascular_invasion(p, raters, (np.indices(p.shape)[:2].sum(axis=0) % 64 < 9).astype(int))\n"
)
PLAIN = {
    "python": ["-c", "pass"],
    "import mrcalib": ["-c", "import mrcalib"],
    "help": ["-m", "mrcalib", "--help"],
    "compare --help": ["-m", "mrcalib", "compare", "--help"],
    "import numpy": ["-c", "import numpy"],
    "import numba": ["-c", "import numba"],
    "import sklearn.base": ["-c", "import sklearn.base"],
    "calibrator class": ["-c", "import mrcalib; mrcalib.MHRIsotonicCalibrator"],
}
COMPILED = {"fit": FIT, "apply": APPLY, "vessel score": VESSEL}
STATES = ("no cache", "cold", "warm")


def main() -> None:
    """Measure, print, and write JSON."""
    rows = [*PLAIN, *(f"{work}, {state}" for work in COMPILED for state in STATES)]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=rows, default=rows, metavar="ROW", help=", ".join(rows))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "first_use.json")
    args = parser.parse_args()
    report = json.loads(args.out.read_text()) if args.out.exists() else {"seconds": {}}
    report |= {
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
        "versions": {name: version(name) for name in ("numpy", "numba", "llvmlite", "scipy", "scikit-learn")}
        | {"python": platform.python_version()},
    }
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "map.json"
        subprocess.run(
            [sys.executable, "-P", "-c", FIT + "fitted.save(sys.argv[1])", str(saved)],
            env=_environment(folder),
            check=True,
        )
        for row in args.rows:
            report["seconds"][row] = _measure(row, Path(folder), saved, args.repetitions)
            print(f"{row:22} {report['seconds'][row]['median']:7.3f}  {report['seconds'][row]}")
    report["seconds"] = {row: report["seconds"][row] for row in rows if row in report["seconds"]}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=1) + "\n")


def _environment(cache: str | Path) -> dict[str, str]:
    return os.environ | {"MRCALIB_CACHE_DIR": str(cache), "PYTHONPATH": os.environ.get("PYTHONPATH") or str(ROOT)}


def _measure(row: str, folder: Path, saved: Path, repetitions: int) -> dict[str, Any]:
    """Seconds of each process after one that is not counted, and how many kernels the last one loaded, of how many it used."""
    work, _, state = row.partition(", ")
    words = PLAIN.get(row) or ["-c", COMPILED[work] + COUNT, str(saved)]
    cache = folder / row
    seconds, out = [], ""
    for _ in range(repetitions + 1):
        if state == "cold":
            shutil.rmtree(cache, ignore_errors=True)
        start = time.perf_counter()
        out = subprocess.run(
            [sys.executable, "-P", *words],
            env=_environment("" if state == "no cache" else cache),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        seconds.append(time.perf_counter() - start)
    report: dict[str, Any] = {
        "median": round(float(np.median(seconds[1:])), 3),
        "spread": [round(min(seconds[1:]), 3), round(max(seconds[1:]), 3)],
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if work in COMPILED:
        loaded, used = map(int, out.split())
        report["kernels"] = {"used": used, "loaded": loaded}
    return report


if __name__ == "__main__":
    main()
