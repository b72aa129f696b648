"""The experiment on simulated organoids: label-sampling against rater-specific ensembles, and what makes the difference."""

# ruff: noqa: E402 - the example's modules must be found first
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

EXAMPLE = Path(__file__).parents[2] / "examples" / "detector_ensembles"
sys.path.insert(0, str(EXAMPLE))

import train
from data import load, write_simulated
from ensemble import FLOOR, Found, best, found_in, images_of, pool
from evaluate import RATERS, TRUTH, row_of, scores_of

import mrcalib
from mrcalib.detection import DetectionImage, detection_cohort, match
from mrcalib.metrics import DetectionScore, detection_calibration, rater_agreement

THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
KINDS = ("LSE", "RSE")
CALIBRATORS = {
    "isotonic": mrcalib.MHRIsotonicCalibrator,
    "Platt": mrcalib.PlattCalibrator,
    "beta": mrcalib.BetaCalibrator,
    "temperature": mrcalib.TemperatureScalingCalibrator,
}


def train_all(work: Path, worlds: dict[str, tuple[float, int, int]], epochs: int, share: str) -> None:
    """Make the data and train every model that is not there yet; a world is a weight of objects and numbers of runs."""
    data, models = work / "data", work / "models"
    if not (data / "splits.json").exists():
        write_simulated(data, {"train": 65, "val": 15, "test": 20, "pretrain": 60}, seed=0)
    start = train.pretrain(data, models / "pretrained", epochs=15)
    for world, (weight, n, each) in worlds.items():
        for strategy, runs in (("ls", n), *((rater, each) for rater in RATERS)):
            words = [data, models / world, "--strategy", strategy, "--runs", runs, "--epochs", epochs, "--start", start]
            train.main([*map(str, words), "--positive-weight", str(weight), "--share", share])


class World:
    """The selected models of one training, and the images they are judged on."""

    def __init__(self, data: Path, models: Path, n: int) -> None:
        self.val, self.test = load(data, "val"), load(data, "test")
        self.folders = best(models, self.val, RATERS, n)
        counts = {name: len(paths) for name, paths in self.folders.items()}
        self.n = min(counts["ls"], *(len(RATERS) * counts[rater] for rater in RATERS))
        self.runs = {name: len(list(models.glob(f"{name}-*/run.json"))) for name in counts}
        self.found = found_in(self.folders, "test", self.test)


def inter_rater(data: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """F1 between the raters over overlaps on the 80 images, and boxes an image (the paper's Figure 2)."""
    samples = load(data, "train") + load(data, "val")
    found = rater_agreement(images_of(samples, RATERS), iou_thresholds=THRESHOLDS)
    counts = pd.DataFrame(
        {"rater": found.raters, "mean": found.n_objects.mean(axis=1), "sd": found.n_objects.std(axis=1, ddof=1)}
    )
    return pd.DataFrame(found.table()), counts


def single_models(world: World) -> pd.DataFrame:
    """mAP, mAR and D-ECE of the selected models on the consensus (the paper's Table 1)."""
    rows = [
        {"strategy": name} | row_of(scores_of(world.test, found, n_resamples=0))
        for name, models in world.found.items()
        for found in models
    ]
    return pd.DataFrame(rows)


def by_size(world: World, sizes: Sequence[int], n_resamples: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both ensembles at every size, and LSE minus RSE on the same resamples of images (the paper's Figure 4)."""
    rows, differences = [], []
    for size in (n for n in sizes if n <= world.n):
        scores = {kind: scores_of(world.test, pool(world.found, kind, size), n_resamples) for kind in KINDS}
        rows += [{"ensemble": kind, "size": size} | row_of(scores[kind]) for kind in KINDS]
        for metric, lse in scores["LSE"].items():
            rse = scores["RSE"][metric]
            low, high = np.quantile(lse.samples - rse.samples, [0.025, 0.975])
            row = {"metric": metric, "size": size, "lse_minus_rse": float(lse) - float(rse), "low": low, "high": high}
            differences.append(row)
    return pd.DataFrame(rows), pd.DataFrame(differences)


def division(world: World) -> pd.DataFrame:
    """Which part of the gain is the division by ensemble size: both scores, all groupings, several floors."""
    rows = []
    for floor in (0.01, FLOOR, 0.1, 0.3):
        found = found_in(world.folders, "test", world.test, floor)
        for kept in sorted({0.0, floor}):
            for kind in KINDS:
                for score in ("ensemble-size", "group-size"):
                    fused = pool(found, kind, world.n, score)
                    scores = scores_of(world.test, fused, 0, floor=kept)
                    rows.append(_case("clique", score, kind, floor, kept) | row_of(scores))
    for method in ("bsas", "wbf"):
        for kind in KINDS:
            scores = scores_of(world.test, pool(world.found, kind, world.n, method=method), 0)
            rows.append(_case(method, "ensemble-size", kind, FLOOR, FLOOR) | row_of(scores))
    return pd.DataFrame(rows)


def _case(method: str, score: str, kind: str, floor: float, kept: float) -> dict[str, str | float]:
    return {"grouping": method, "score": score, "ensemble": kind, "model_floor": floor, "ensemble_floor": kept}


def after_calibration(world: World, n_resamples: int, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both ensembles after a calibration to both raters' boxes on the validation images; or to the consensus itself.

    No consensus is drawn for validation images. "isotonic, consensus" is fitted to the consensus of the other test images
    (five folds) and shows what more knowledge would give.
    """
    rows, samples = [], {}
    val = found_in(world.folders, "val", world.val)
    for kind in KINDS:
        fused = pool(world.found, kind, world.n)
        states: dict[str, Found] = {"none": fused}
        seen = detection_cohort(images_of(world.val, RATERS, pool(val, kind, world.n)), score_floor=FLOOR)
        for name, calibrator in CALIBRATORS.items():
            fitted = calibrator().fit_tally(seen)
            states[name] = [boxes.with_scores(fitted.transform(boxes.scores)) for boxes in fused]
        states["isotonic, consensus"] = _cross_fitted(images_of(world.test, [TRUTH], fused), seed)
        for name, found in states.items():
            scores = scores_of(world.test, _like(found, fused), n_resamples, floor=0.0)
            rows.append({"ensemble": kind, "calibration": name} | row_of(scores))
            samples[kind, name] = scores
    summary = [
        _difference(metric, (f"LSE, {name}", scores), (f"RSE, {other}", samples["RSE", other]))
        for (kind, name), scores in samples.items()
        for other in dict.fromkeys(("none", name))
        for metric in ("d_ece_0.5", "multi_rater_d_ece", "map")
        if kind == "LSE"
    ]
    return pd.DataFrame(rows), pd.DataFrame(summary)


def _like(found: Found, fused: Found) -> Found:
    """The detections that were above the floor before calibration, so that all states are judged on the same boxes."""
    return [boxes[before.scores >= FLOOR] for boxes, before in zip(found, fused, strict=True)]


def _cross_fitted(images: Sequence[DetectionImage], seed: int) -> Found:
    found: dict[str, object] = {}
    order = np.random.default_rng(seed).permutation(len(images))
    for held in np.array_split(order, 5):
        others = [image for i, image in enumerate(images) if i not in held]
        fitted = mrcalib.MHRIsotonicCalibrator().fit_tally(detection_cohort(others, score_floor=FLOOR))
        for i in held:
            boxes = images[i].found()
            found[images[i].id] = boxes.with_scores(fitted.transform(boxes.scores))
    return [found[image.id] for image in images]


def _difference(
    metric: str, one: tuple[str, dict[str, DetectionScore]], other: tuple[str, dict[str, DetectionScore]]
) -> dict[str, str | float]:
    a, b = one[1][metric], other[1][metric]
    low, high = np.quantile(a.samples - b.samples, [0.025, 0.975])
    row = {"metric": metric, "one": one[0], "other": other[0]}
    return row | {"difference": float(a) - float(b), "low": low, "high": high}


def curves(world: World) -> pd.DataFrame:
    """Precision by bin of score at overlaps 0.5 and 0.75 for the largest ensembles (the paper's Figure 3)."""
    rows = []
    for kind in KINDS:
        images = images_of(world.test, [TRUTH], pool(world.found, kind, world.n))
        for threshold in (0.5, 0.75):
            score = detection_calibration(images, bins=10, iou_threshold=threshold, score_floor=FLOOR)
            bins = score.curve
            row = {"low": bins.edges[:-1], "high": bins.edges[1:], "count": bins.count}
            table = pd.DataFrame(row | {"confidence": bins.mean_prob, "precision": bins.response})
            rows.append(table.assign(ensemble=kind, iou=threshold))
    return pd.concat(rows, ignore_index=True)


def agreement_of_scores(world: World) -> pd.DataFrame:
    """How models score objects by who marked them: the mechanism, seen directly."""
    rows = []
    for name, models in world.found.items():
        for found in models:
            for sample, boxes in zip(world.test, found, strict=True):
                first, second = (sample.boxes[rater] for rater in RATERS)
                in_first, in_second = match(boxes, first).is_true, match(boxes, second).is_true
                for who, mask in {
                    "both": in_first & in_second,
                    "rater1 only": in_first & ~in_second,
                    "rater2 only": ~in_first & in_second,
                    "nobody": ~in_first & ~in_second,
                }.items():
                    rows += [{"strategy": name, "marked by": who, "score": score} for score in boxes.scores[mask]]
    table = pd.DataFrame(rows)
    return table.groupby(["strategy", "marked by"])["score"].agg(["size", "mean"]).reset_index()
