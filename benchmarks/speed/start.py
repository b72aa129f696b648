"""First use: seconds in new processes, compiling included."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from typing import Any

import numpy as np

from benchmarks.speed.timing import seconds

FIT = (
    "import numpy as np, mrcalib; r = np.random.default_rng(0); p = r.random(100000, dtype='f4'); "
    "mrcalib.MHRIsotonicCalibrator().fit(p, (r.random((5, 100000)) < p).astype('u1'))(p)"
)
COMMANDS = {
    "python": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import mrcalib": ["-c", "import mrcalib"],
    "mrcalib --help": ["-m", "mrcalib", "--help"],
    "first fit and transform of 100 000 voxels, compiled before": ["-c", FIT],
    "the same, nothing compiled before": ["-c", FIT],
}
COMPILE = {"MRCALIB_CACHE_DIR": ""}  # no compiled kernels are kept, nor looked for


def measure(options: Any) -> list[dict[str, Any]]:
    """A row for each command."""
    rows = []
    for name, command in COMMANDS.items():
        environment = os.environ | (COMPILE if "nothing compiled" in name else {})
        run = partial(subprocess.run, [sys.executable, *command], check=True, capture_output=True, env=environment)
        taken = seconds(run, 5)
        rows.append({"work": name, "median": float(np.median(taken)), "low": min(taken), "high": max(taken)})
        print(f"  {name}: {rows[-1]['median']:.3f} s", file=sys.stderr)
    del options
    return rows
