"""What explains a TDSC of .307 (hard-label) against .569 (MHR)? Write the tables and figures that README.md discusses.

python -m benchmarks.saturation.run                         # or: python benchmarks/saturation/run.py
python -m benchmarks.saturation.run --preset quick --out /tmp/saturation
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

HERE = Path(__file__).parent
if not __package__:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.saturation import experiments, figures, worlds  # noqa: E402
from benchmarks.saturation.scores import Setting  # noqa: E402

SEED = 7
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"n_fit": 4, "n_test": 4, "shape": (32, 32, 16), "lidc_every": 20, "tables": 300, "few": True},
    "full": {"n_fit": 40, "n_test": 64, "shape": (64, 64, 32), "lidc_every": 1, "tables": 40_000, "few": False},
}
RATER_SETTINGS = (
    Setting("region, 250 bins"),
    Setting("region, 20 bins", n_bins=20),
    Setting("scan 0.200%, 250 bins", scan=0.002),
)


def run(preset: str, out: Path) -> dict[str, pd.DataFrame]:
    """Make all tables and figures of a preset in a folder."""
    with threadpool_limits(1):  # the sums are short: BLAS threads would only wait for each other
        return _run(preset, out)


def _run(preset: str, out: Path) -> dict[str, pd.DataFrame]:
    begun, options = time.perf_counter(), PRESETS[preset]
    out.mkdir(parents=True, exist_ok=True)
    size = options["n_fit"], options["n_test"], options["shape"], SEED
    good, odd = worlds.phantom_world(*size)
    found = [
        good,
        worlds.weak_world(options["n_fit"] // 2, options["n_test"] // 2, options["shape"], SEED),
        worlds.lidc_world(SEED, options["lidc_every"]),
        worlds.parity_world(),
    ]
    everywhere = [world for world in found if world is not None]
    absent = [name for name, world in zip(("phantoms", "weak", "LIDC", "parity"), found, strict=True) if world is None]
    if absent:
        print(f"Left out, as the data are not in {worlds.SHARED}: {', '.join(absent)}.")
    print(f"worlds made after {time.perf_counter() - begun:.0f} s", flush=True)

    settings = experiments.SETTINGS[::6] if options["few"] else experiments.SETTINGS
    scans = experiments.SCANS[1::3] if options["few"] else experiments.SCANS
    main = [world for world in everywhere if world.name in ("phantoms", "LIDC")]
    caps = np.linspace(0.01, 1, 100)
    steps: dict[str, Callable[[], experiments.Records]] = {
        "settings": lambda: [row for w in everywhere for row in experiments.run_settings(w, settings)],
        "ceilings": lambda: [row for w in main for row in experiments.run_ceilings(w, scans)],
        "targets": lambda: [row for w in everywhere for row in experiments.run_targets(w, settings)],
        "raters": lambda: experiments.run_raters(good, odd, RATER_SETTINGS),
        "capped": lambda: [row for w in main for row in experiments.run_capped(w, caps)],
        "thresholds": lambda: [row for w in everywhere for row in experiments.run_thresholds(w)],
        "adversary": lambda: experiments.run_adversary(options["tables"], SEED),
        "published": experiments.run_published,
    }
    tables = {}
    for name, step in steps.items():
        tables[name] = pd.DataFrame(step())
        tables[name].to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
        print(f"{name} after {time.perf_counter() - begun:.0f} s", flush=True)
    figures.draw_ceilings(tables["ceilings"], out / "ceilings.png")
    figures.draw_capped(tables["capped"], tables["ceilings"], out / "capped.png")
    figures.draw_settings(tables["settings"], out / "settings.png")
    packages = ("mrcalib", "numpy", "scipy", "scikit-learn", "numba", "pandas", "matplotlib")
    report = {
        "preset": preset,
        "seed": SEED,
        "worlds": {w.name: [round(worlds.prevalence_of(f.fit), 6) for f in w.folds] for w in everywhere},
        "typical_rater": {w.name: experiments.typical_rater(w) + 1 for w in everywhere},
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "seconds": round(time.perf_counter() - begun),
    }
    (out / "run.json").write_text(json.dumps(report, indent=2) + "\n")
    print(f"done after {report['seconds']} s")
    return tables


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--out", type=Path, default=None, help="folder; beside this file for full, else required")
    given = parser.parse_args()
    if given.out is None and given.preset != "full":
        parser.error("--out is required for this preset, so that the tables of the full run are not overwritten")
    run(given.preset, given.out or HERE)
