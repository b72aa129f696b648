"""Ordinal RPS training on LIDC nodules against seven baselines and post-hoc calibration: makes the tables of README.md.

    python benchmarks/ordinal/training.py                 # the reduced preset of README.md, on a CPU
    python benchmarks/ordinal/training.py --preset gpu --seeds 3

Runs and predictions go to ``--work``, and are not made again if they are there. Test patients are split 1 of the archive.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHARED = Path(os.environ.get("MRCALIB_SHARED", ROOT.parent / "shared"))
METRICS = (
    "mr_ece",
    "mr_ece_near",
    "rps",
    "brier",
    "auc",
    "auc_majority_ties_foreground",
    "auc_majority_ties_background",
    "tdsc",
    "dice_ties_foreground",
    "dice_ties_background",
)
MADE = (
    "scores.csv",
    "differences.csv",
    "table1_mr_ece.csv",
    "table2_auc.csv",
    "sensitivity.csv",
    "sensitivity.png",
    "figure3.png",
    "run.json",
)


def summary(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a model, read-out and calibration: the mean over seeds of every metric."""
    mean = scores[scores["seed"] == "mean"]
    keys = ["strategy", "readout", "posthoc"]
    order = list(dict.fromkeys(map(tuple, mean[keys].to_numpy())))
    wide = mean.pivot_table(index=keys, columns="metric", values="estimate")[list(METRICS)]
    return wide.loc[order].reset_index()


def main(arguments: list[str] | None = None) -> int:
    """Train, score, and keep the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--alpha", type=float, default=0.8, help="the paper's; the sensitivity curve has the others")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "lidc64_dev.npz")
    parser.add_argument("--work", type=Path, default=Path("ordinal_rps_lidc"))
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args(arguments)
    sys.path.insert(0, str(ROOT / "examples"))
    from ordinal_rps import compare

    data = ["--data", args.data, "--layout", "stack", "--splits", "training", "testing"]
    how = ["--preset", args.preset, "--seeds", args.seeds, "--alpha", args.alpha, "--threads", args.threads]
    done = compare.main([str(word) for word in (*data, *how, "--out", args.work)])
    args.out.mkdir(parents=True, exist_ok=True)
    for name in MADE:
        shutil.copyfile(args.work / name, args.out / name)
    table = summary(pd.read_csv(args.work / "scores.csv", dtype={"seed": str}))
    table.to_csv(args.out / "summary.csv", index=False, float_format="%.6g")
    return done


if __name__ == "__main__":
    raise SystemExit(main())
