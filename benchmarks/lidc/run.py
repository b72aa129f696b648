"""Compare all methods on the LIDC lung nodules, by patient; write the tables that README.md beside this file discusses.

python benchmarks/lidc/run.py                  # finds ../shared/data/lidc_cases, or that of MRCALIB_SHARED
"""

import os
import shutil
import tempfile
from pathlib import Path

from mrcalib.cli import main
from mrcalib.cohort import Cohort
from mrcalib.study import compare

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("MRCALIB_SHARED", HERE.parents[2] / "shared"))
TABLES = ("table_mean.csv", "table_pooled.csv", "intervals.csv", "differences.csv")

cases = SHARED / "data" / "lidc_cases"
with tempfile.TemporaryDirectory() as folder:
    out = Path(folder) / "results"
    options = {
        "--probs": f"{cases}/{{case}}/prob_[1-3].nii.gz",
        "--raters": f"{cases}/{{case}}/annotation_{{rater}}.nii.gz",
        "--image": f"{cases}/{{case}}/image.nii.gz",
        "--group": r"(P\d+)_",
        "--out": str(out),
    }
    code = main(["compare", *(word for option in options.items() for word in option)])
    if code:
        raise SystemExit(code)
    for name in TABLES:
        shutil.copy(out / name, HERE / name)
    for name in ("reliability", "metrics"):
        shutil.copy(out / "figures" / f"{name}.png", HERE / f"{name}.png")
    cohort = Cohort.load(out / "tallies")

targets = compare(cohort, ["MHR", "hard-label", "single-rater"])
told = [targets.differences("MHR", kind) for kind in ("mean", "pooled")]
path = HERE / "targets_against_mhr.csv"
for i, table in enumerate(told):
    table.to_csv(path, index=False, mode="a" if i else "w", header=not i, float_format="%.8g")
print(told[0].to_string(index=False))
