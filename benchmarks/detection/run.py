"""Rater-specific against label-sampling ensembles of detectors on simulated organoids, and seven annotators on real images.

Writes the tables and pictures that README.md beside this file discusses. Needs PyTorch and Pillow for the organoids; trains
what is not in the work folder yet (about 20 minutes of two cores), so that two processes can share the training first:

python benchmarks/detection/run.py --work /tmp/organoids --train 0/2         # and beside it --train 1/2
python benchmarks/detection/run.py --work /tmp/organoids
python benchmarks/detection/run.py --only pedestrians       # the real boxes alone, without PyTorch
"""

# ruff: noqa: E402 - run as a file, the repository must be found first
from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

import pandas as pd

from benchmarks.detection import figures, pedestrians

SHARED = Path(os.environ.get("MRCALIB_SHARED", HERE.parents[2] / "shared"))
WORLDS = {"weighted": (4.0, 24, 12), "plain": (1.0, 8, 6)}  # weight of objects in the loss, runs of LS and of a rater
TITLES = {"weighted": "objects weigh 4 times", "plain": "plain cross entropy"}
KEPT = {"weighted": 20, "plain": 8}
SIZES = (2, 4, 6, 8, 10, 12, 16, 20)
EPOCHS = 10
DRAWN = ("sizes", "calibration", "curves")


def write(table: pd.DataFrame, out: Path, name: str) -> None:
    table.to_csv(out / f"{name}.csv", index=False, float_format="%.5g")
    print(f"\n{name}\n{table.round(4).to_string(index=False)}", flush=True)


def evaluate(work: Path, out: Path, training: str, n_resamples: int, wanted: Sequence[str]) -> dict[str, object]:
    """Write the tables of one training."""
    from benchmarks.detection import organoids as study

    world = study.World(work / "data", work / "models" / training, KEPT[training])
    steps = {
        "sizes": lambda: dict(zip(("sizes", "differences"), study.by_size(world, SIZES, n_resamples), strict=True)),
        "calibration": lambda: dict(
            zip(("calibration", "calibration_differences"), study.after_calibration(world, n_resamples), strict=True)
        ),
        "division": lambda: {"division": study.division(world)},
        "models": lambda: {
            "models": study.single_models(world),
            "marked_by": study.agreement_of_scores(world),
            "curves": study.curves(world),
        },
    }
    (out / training).mkdir(exist_ok=True)
    for name in wanted or steps:
        for table, rows in steps[name]().items():
            write(rows, out / training, table)
    return {"models in the largest ensemble": world.n, "models trained": world.runs}


def draw(work: Path, out: Path) -> None:
    """Draw the pictures from the tables."""
    from benchmarks.detection import organoids as study

    f1, counts = study.inter_rater(work / "data")
    write(f1, out, "organoid_raters")
    write(counts, out, "organoid_counts")
    figures.draw_raters(f1, counts, out / "organoid_raters.png")
    tables = {
        name: {TITLES[training]: pd.read_csv(out / training / f"{name}.csv") for training in WORLDS} for name in DRAWN
    }
    figures.draw_sizes(tables["sizes"], out / "organoid_sizes.png")
    figures.draw_calibration(tables["calibration"], out / "organoid_calibration.png")
    for training in WORLDS:
        sizes = tables["sizes"][TITLES[training]]
        largest = sizes[sizes["size"] == sizes["size"].max()]
        figures.draw_curves(tables["curves"][TITLES[training]], largest, out / f"organoid_curves_{training}.png")


def real(path: Path, out: Path, n_resamples: int) -> None:
    """Everything that the pedestrians' boxes allow."""
    images = pedestrians.read(path)
    agreement, curve = pedestrians.agreement(images), pedestrians.curve(images)
    write(agreement, out, "pedestrian_agreement")
    write(pedestrians.annotators(images), out, "pedestrian_annotators")
    write(pedestrians.share_as_score(images, n_resamples), out, "pedestrian_scores")
    write(curve, out, "pedestrian_curve")
    figures.draw_pedestrians(agreement, curve, out / "pedestrians.png")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("mrcalib", "numpy", "torch", "scikit-learn", "numba"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def note(out: Path, part: str, began: float, **facts: object) -> None:
    """Write what the numbers of this part come from."""
    path = out / "about.json"
    about = json.loads(path.read_text()) if path.exists() else {}
    run = {"command": "python benchmarks/detection/run.py", "seed": 0, "device": "CPU, 1 thread"}
    about[part] = run | facts | {"versions": versions(), "seconds_without_training": round(time.perf_counter() - began)}
    path.write_text(json.dumps(about, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("organoids"), help="where data and models are, or will be")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--pedestrians", type=Path, default=SHARED / "data" / "pedestrian_boxes.csv")
    parser.add_argument("--only", choices=("organoids", "pedestrians"))
    parser.add_argument("--train", metavar="K/N", help="train this share of the models, and do nothing else")
    parser.add_argument("--trained", action="store_true", help="train nothing more")
    parser.add_argument("--trainings", nargs="*", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--tables", nargs="*", default=[], help="sizes, calibration, division, models; all by default")
    parser.add_argument("--resamples", type=int, default=100)
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.only != "pedestrians":
        from benchmarks.detection import organoids

        if not asked.trained:
            organoids.train_all(asked.work, WORLDS, EPOCHS, asked.train or "0/1")
        if asked.train:
            return 0
        began = time.perf_counter()
        for training in asked.trainings:
            details = evaluate(asked.work, asked.out, training, asked.resamples, asked.tables)
            note(asked.out, f"organoids, {training}", began, resamples=asked.resamples, **details)
        if all((asked.out / training / f"{name}.csv").exists() for training in WORLDS for name in DRAWN):
            draw(asked.work, asked.out)
    if asked.only != "organoids":
        began = time.perf_counter()
        real(asked.pedestrians, asked.out, 10 * asked.resamples)
        note(asked.out, "pedestrians", began, resamples=10 * asked.resamples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
