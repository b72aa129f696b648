"""Which calibration helps on the LIDC lung nodules, what it costs, and what keeps the gain without the cost.

Writes the tables and pictures that README.md beside this file discusses.

python benchmarks/lidc/run.py                  # finds ../shared/data/lidc_cases, or that of MRCALIB_SHARED
python benchmarks/lidc/run.py --preset small --out /tmp/lidc      # a few phantoms only, in seconds
"""

# ruff: noqa: E402 - run as a file, the repository must be found first
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import numpy as np
import pandas as pd

import mrcalib
from benchmarks.lidc import losses
from benchmarks.lidc.data import cohort_of, lidc, simulated
from benchmarks.lidc.figures import draw_losses, draw_remedies
from benchmarks.lidc.remedies import REMEDIES
from benchmarks.lidc.scoring import World, compared, held_out, statistics_of

SHARED = Path(os.environ.get("MRCALIB_SHARED", HERE.parents[2] / "shared"))
TABLES = ("table_mean.csv", "table_pooled.csv", "intervals.csv", "differences.csv")
SMALL = ("none", "MHR", "MHR-equal", "floor: 5 % of the volume to 0", "size terciles", "case-adaptive")
DIGITS = "%.6g"


def compare_methods(cases: Path, out: Path) -> None:
    """The toolkit's own comparison by the command line: every method, each patient left out in turn."""
    from mrcalib.cli import main
    from mrcalib.cohort import Cohort
    from mrcalib.study import compare

    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        options = {
            "--probs": f"{cases}/{{case}}/prob_[1-3].nii.gz",
            "--raters": f"{cases}/{{case}}/annotation_{{rater}}.nii.gz",
            "--image": f"{cases}/{{case}}/image.nii.gz",
            "--group": r"(P\d+)_",
            "--out": str(results),
        }
        code = main(["compare", *(word for option in options.items() for word in option)])
        if code:
            raise SystemExit(code)
        for name in TABLES:
            shutil.copy(results / name, out / name)
        for name in ("reliability", "metrics"):
            shutil.copy(results / "figures" / f"{name}.png", out / f"{name}.png")
        cohort = Cohort.load(results / "tallies")
    targets = compare(cohort, ["MHR", "hard-label", "single-rater"])
    against_mhr = pd.concat([targets.differences("MHR", kind) for kind in ("mean", "pooled")])
    against_mhr.to_csv(out / "targets_against_mhr.csv", index=False, float_format="%.8g")


def worlds(preset: str, cases: Path, seed: int) -> list[World]:
    """The data sets on which remedies are tried."""
    if preset == "small":
        found = {"phantoms": cohort_of(simulated(24, shape=(32, 32, 8), lesion_fraction=0.05), 0.0025)}
        options: dict[str, int] = {"n_folds": 3, "n_resamples": 200}
    else:
        found = {
            "LIDC, ensemble": cohort_of(lidc(cases, "prob_[0-9]"), 0.001),
            "LIDC, one network": cohort_of(lidc(cases, "prob_single"), 0.001),
            "phantoms": cohort_of(simulated(80), 0.0025),
            "phantoms, biased volume": cohort_of(simulated(80, bias=2.5, noise=1.0), 0.0025),
        }
        options = {"n_folds": 10, "n_resamples": 5000}
    return [World.of(name, cohort, seed=seed, **options) for name, cohort in found.items()]


def try_remedies(found: list[World], names: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Every remedy on every data set against none and against MHR with equal cases; and where volume is lost."""
    rows: list[dict[str, Any]] = []
    lost: list[dict[str, Any]] = []
    for world in found:
        kept, scored = {}, {}
        for name in names:
            calibrated = held_out(world, REMEDIES[name])
            scored[name] = statistics_of(world, calibrated)
            if name in ("none", "MHR", "MHR-equal", "case-adaptive"):
                kept[name] = calibrated
            print(f"{world.name}: {name}", flush=True)
        for reference in ("none", "MHR-equal"):
            for name, mine in scored.items():
                rows += compared(world, name, mine, reference, scored[reference])
        for part in (losses.by_place, losses.by_size, losses.by_case):
            lost += part(world, kept)
        lost += losses.by_metric(world, kept["case-adaptive"])
    return pd.DataFrame(rows), pd.DataFrame(lost)


def main(arguments: list[str] | None = None) -> int:
    """Make everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("full", "small"), default="full")
    parser.add_argument(
        "--only", choices=("methods", "remedies"), help="one half: the comparison of methods, or the rest"
    )
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "lidc_cases")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    full = args.preset == "full"
    if full:
        if not (args.data / "cases.csv").exists():
            parser.error(f"There is no cases.csv in {args.data}; give --data, or use --preset small.")
        if args.only != "remedies":
            compare_methods(args.data, args.out)
        if args.only == "methods":
            return 0
    tried, lost = try_remedies(worlds(args.preset, args.data, args.seed), tuple(REMEDIES) if full else SMALL)
    against = tried["reference"] == "none"
    tried[against].to_csv(args.out / "remedies.csv", index=False, float_format=DIGITS)
    tried[~against].to_csv(args.out / "remedies_against_equal.csv", index=False, float_format=DIGITS)
    lost.to_csv(args.out / "losses.csv", index=False, float_format=DIGITS)
    draw_remedies(tried[against], args.out / "remedies.png")
    draw_losses(lost, args.out / "losses.png")
    record = {
        "command": f"python benchmarks/lidc/run.py --preset {args.preset} --seed {args.seed}"
        + (f" --only {args.only}" if args.only else ""),
        "date": time.strftime("%Y-%m-%d"),
        "seed": args.seed,
        "seconds": round(time.perf_counter() - started),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "mrcalib": mrcalib.__version__,
        "numpy": np.__version__,
        "pandas": pd.__version__,
        "remedies": sorted(set(tried["method"])),
        "data": list(dict.fromkeys(tried["data"])),
    }
    (args.out / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
