"""What was measured, kept as JSON with when, where and with what; tables and pictures are made of all of it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.speed import report
from benchmarks.speed.jobs import Group, Row

LIBRARIES = (
    "mrcalib", "numpy", "scipy", "numba", "llvmlite", "scikit-learn", "pandas", "torch", "torchmetrics", "netcal",
    "probmetrics", "uncertainty-calibration", "SimpleITK", "scoringrules", "properscoring",
)  # fmt: skip


class Results:
    """The measurements of a folder: what is measured anew replaces what was there of the same rows, size and order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "speed.json"
        self.parts: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else {}

    def put_group(
        self, group: Group, rows: list[Row], *, order: str, n: int, settings: dict[str, str], shares: dict[str, float]
    ) -> None:
        """Keep the rows of a group, and write the JSON file."""
        about = {
            "group": group.name,
            "title": group.title,
            "order": order,
            "voxels": n,
            "goal": {"base": group.goal.base, "faster": group.goal.faster, "within": group.goal.within},
            "shares": shares,
        }
        self._put(f"{group.name}, {n}, {order}", about, rows, settings)

    def put(self, name: str, rows: list[dict[str, Any]], settings: dict[str, str]) -> None:
        """Keep the rows of what is no group."""
        self._put(name, {}, rows, settings)

    def _put(self, key: str, about: dict[str, Any], rows: list[Any], settings: dict[str, str]) -> None:
        for row in rows:
            if "seconds" in row:
                row["seconds"] = [float(f"{s:.4g}") for s in row["seconds"]]
        self.parts[key] = {**about, "taken": taken(settings), "rows": rows}
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.parts, indent=1) + "\n")
        unfinished.replace(self.path)

    def write(self) -> None:
        """The tables, and pictures if matplotlib is there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        flat = report.flattened(self.parts)
        report.write_csv(self.folder / "speed.csv", flat)
        for name in ("growth", "memory", "start"):
            if name in self.parts:
                report.write_csv(self.folder / f"{name}.csv", self.parts[name]["rows"])
        (self.folder / "speed.md").write_text(report.page(self.parts, flat))
        try:
            from benchmarks.speed import figures
        except ImportError:
            print("matplotlib is not installed: no plots", file=sys.stderr)
        else:
            figures.draw(self.parts, flat, self.folder)


def taken(settings: dict[str, str]) -> dict[str, Any]:
    """When, where and with what something was measured."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "time": datetime.now(UTC).isoformat(timespec="minutes"),
        "command": " ".join(["python", "benchmarks/speed/run.py", *sys.argv[1:]]),
        "commit": _commit(),
        "machine": f"{_cpu()}, {os.cpu_count()} processors, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "threads": {name: os.environ.get(name, "") for name in settings},
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _commit() -> str:
    here = Path(__file__).parent
    output = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True, check=False
    )
    return output.stdout.strip()


def _cpu() -> str:
    """The processor's name, and LLVM's for it, which decides the vector width."""
    import llvmlite.binding

    info = Path("/proc/cpuinfo")
    named = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    name = named[0].split(":", 1)[1].strip() if named else platform.processor()
    return f"{name} ({llvmlite.binding.get_host_cpu_name()} to LLVM)"
