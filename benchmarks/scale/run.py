"""What many cases, or one huge image, cost: measure on this machine, fit a model, write README.md.

    python benchmarks/scale/run.py --data /tmp/scale        # makes 0.6 GB of data, measures for about five minutes, reports
    python benchmarks/scale/run.py --data /tmp/scale --parts stages algebra
    python benchmarks/scale/run.py --parts                  # only writes the page again from results.json

Needs Dask and Zarr, two processors left alone and 3 GB of memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import measure
from page import page

HERE = Path(__file__).parent
PARTS = ("data", "stages", "sizes", "cluster", "merging", "algebra", "blocks")


def main() -> None:
    """Measure the parts that are asked for, keep them with those measured before, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "mrcalib-scale")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    args = parser.parse_args()
    path = HERE / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for part in args.parts:
        found = measured(part, args.data)
        if found is not None:
            kept[part] = found | {"about": about()}
            path.write_text(json.dumps(kept, indent=1) + "\n")
    if set(PARTS[1:]) <= set(kept):
        (HERE / "README.md").write_text(page(kept))
    else:
        print("not measured yet:", *sorted(set(PARTS[1:]) - set(kept)))


def measured(part: str, data: Path) -> dict[str, Any] | None:
    """The rows of one part."""
    by_itself = {
        "data": lambda: measure.make_data(data),
        "stages": lambda: {"rows": measure.stages(data)},
        "sizes": lambda: measure.sizes(data, data),
        "merging": lambda: {"rows": measure.merging(data)},
        "algebra": lambda: {"rows": measure.algebra(data, (8, 16, 32, 64, 128))},
    }
    return by_itself[part]() if part in by_itself else on_cluster(part, data)


def on_cluster(part: str, data: Path) -> dict[str, Any]:
    """The rows of a part that two processes work on."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", memory_limit=None) as local,
        Client(local, set_as_default=False) as client,
    ):
        measure.run_of_cases(client, data, 1, 4)  # compiles
        if part == "cluster":
            return {
                "tasks": measure.tasks(client, 400_000),
                "cases": [measure.run_of_cases(client, data, n, k) for n, k in ((4, 12), (8, 8), (32, 4))],
            }
        return {
            "rows": measure.blocks(client, data),
            "graphs": measure.graphs(client, (250, 500, 1000, 2000)),
            "smallest": measure.smallest_tally(),
        }


def about() -> dict[str, str]:
    """Where and with what a part was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    names = ("mrcalib", "numpy", "numba", "nibabel", "dask", "distributed", "zarr", "scikit-learn")
    return {
        "command": " ".join(["python benchmarks/scale/run.py", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "machine": f"{_processor()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
