"""D-ECE and mAP of both ensembles against their size, with a bootstrap over images.

python evaluate.py data models --sizes 2 4 8 20
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from data import Sample, load
from ensemble import FLOOR, Found, best, found_in, images_of, pool

from mrcalib.metrics import DetectionScore, average_precision, average_recall, detection_calibration

RATERS = ("rater1", "rater2")
TRUTH = "consensus"


def scores_of(
    test: Sequence[Sample], found: Found, n_resamples: int = 100, floor: float = FLOOR
) -> dict[str, DetectionScore]:
    """Return a detector's scores against the consensus and, where the raters drew boxes too, against both of them.

    The resamples are the same for every detector, so that those of two can be subtracted.
    """
    agreed = images_of(test, [TRUTH], found)
    options: dict[str, Any] = {"score_floor": floor, "n_resamples": n_resamples}
    scores = {
        "d_ece_0.5": detection_calibration(agreed, iou_threshold=0.5, **options),
        "d_ece_0.75": detection_calibration(agreed, iou_threshold=0.75, **options),
        "map": average_precision(agreed, max_detections=None, **options),
        "mar": average_recall(agreed, max_detections=None, **options),
    }
    if all(rater in sample.boxes for sample in test for rater in RATERS):
        scores["multi_rater_d_ece"] = detection_calibration(images_of(test, RATERS, found), **options)
    return scores


def row_of(scores: dict[str, DetectionScore]) -> dict[str, float]:
    """Return the scores, and mean and standard deviation of their resamples, as a row of a table."""
    row: dict[str, float] = {}
    for name, score in scores.items():
        row[name] = float(score)
        if len(score.samples) > 1:
            row |= {f"{name}_boot_mean": score.samples.mean(), f"{name}_boot_sd": score.samples.std(ddof=1)}
    first = scores["d_ece_0.5"]
    return row | {"n_detections": first.n_detections, "n_duplicates": first.n_duplicates}


def main(arguments: Sequence[str] | None = None) -> pd.DataFrame:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2, 4, 8, 20], help="models in an ensemble, even numbers"
    )
    parser.add_argument("--resamples", type=int, default=100)
    asked = parser.parse_args(arguments)
    val, test = load(asked.data, "val"), load(asked.data, "test")
    models = found_in(best(asked.models, val, RATERS, max(asked.sizes)), "test", test)
    rows = [
        {"ensemble": kind, "size": size} | row_of(scores_of(test, pool(models, kind, size), asked.resamples))
        for kind in ("LSE", "RSE")
        for size in asked.sizes
    ]
    table = pd.DataFrame(rows)
    table.to_csv(asked.models / "ensembles.csv", index=False, float_format="%.6g")
    print(table[["ensemble", "size", "d_ece_0.5", "d_ece_0.75", "map"]].round(3).to_string(index=False))
    return table


if __name__ == "__main__":
    main()
