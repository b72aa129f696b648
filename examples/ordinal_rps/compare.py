"""The whole comparison on one data set: choose sigma and alpha, train every strategy, score it, write tables and figures.

    cd examples
    python -m ordinal_rps.compare --data lidc64_dev.npz --layout stack --splits training testing --preset cpu --out results

Choices are made, and post-hoc calibrators fitted, on validation patients; test patients are looked at once, at the end.
What is finished is not done again: call it once more to go on after a stop.
"""

import argparse
import json
import platform
import sys
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import mrcalib
from mrcalib import io
from ordinal_rps import figures
from ordinal_rps.data import sized, slices, thinned, three_way
from ordinal_rps.datasets import read_cocahis, read_image_stack, read_longciu
from ordinal_rps.evaluate import Resamples, Scores, counts_of, predict, read_outs, score, tallies_of
from ordinal_rps.images import read_annotated
from ordinal_rps.posthoc import fitted
from ordinal_rps.strategies import ORDINAL, SMOOTHED, STRATEGIES
from ordinal_rps.train import Settings, device_of, train, variants

_SMALL = {"encoder": "resnet18", "weights": None}
PRESETS = {
    "gpu": {},
    "cpu": {**_SMALL, "pyramid": 64, "head": 32, "epochs": 4, "batch": 16, "rate": 2e-3},
    "tiny": {**_SMALL, "pyramid": 16, "head": 32, "epochs": 2, "batch": 4, "rate": 5e-3},
}
N_TRAINING = {"cpu": 1024}
ALPHAS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
SIGMAS = (0.5, 1.0, 2.0)
PAPER_READOUT = "majority, ties foreground"
CALIBRATED = ("p", "expected", PAPER_READOUT)
N_EQUAL = 200  # resamples where intervals are not read


def read(path, layout, task=None, splits=None):
    """The images of a data set."""
    if layout == "stack":
        return read_image_stack(path, splits=dict(enumerate(splits)) if splits else None)
    if layout == "cocahis":
        return list(read_cocahis(path))
    if layout == "longciu":
        return read_longciu(path, task or "any")
    return list(read_annotated(io.scan_layout(path, layout, task=task)))


class Comparison:
    """Trains what is asked for once, and keeps what it predicts on validation and test patients."""

    def __init__(self, parts, out, device=None, workers=0):
        self.training, self.validation, self.test = parts
        self.out, self.device, self.workers = out, device_of(device), workers
        self.kept = {}

    def model(self, settings):
        return train(settings, self.training, self.out / "runs", device=self.device, workers=self.workers)

    def predictions(self, settings, part):
        """What the network says of the "validation" or "test" images; kept in a file."""
        path = self.out / "predictions" / f"{settings.name}_{part}.npy"
        if not path.exists():
            predicted = predict(self.model(settings), getattr(self, part), self.device)
            with io.atomic_write(path) as temporary:
                np.save(temporary, predicted)
        return np.load(path)

    def on_validation(self, settings):
        """Scores of every read-out on the validation patients."""
        if settings not in self.kept:
            resamples = Resamples(self.validation, N_EQUAL)
            found = self.predictions(settings, "validation")
            counts = counts_of(found)
            self.kept[settings] = {
                name: score(self.validation, tallies_of(self.validation, p), resamples, counts=counts)
                for name, p in read_outs(found).items()
            }
        return self.kept[settings]

    def choose(self, candidates, readout):
        """The candidate with the least Brier score, which is calibration and discrimination in one, on validation patients."""
        return min(candidates, key=lambda s: self.on_validation(s)[readout].estimate["brier"])

    def on_test(self, settings, resamples):
        """Scores by (read-out, calibration)."""
        known, new = (self.predictions(settings, part) for part in ("validation", "test"))
        before, found = read_outs(known), {}
        for readout, p in read_outs(new).items():
            tallies = tallies_of(self.test, p)
            methods = fitted(tallies_of(self.validation, before[readout])) if readout in CALIBRATED else {"none": {}}
            for name, options in methods.items():
                plain = name == "none"
                counts = counts_of(new) if plain else None
                found[readout, name] = score(
                    self.test, tallies, resamples, counts=counts, paper=p if plain else None, **options
                )
        return found


def sensitivity(comparison, candidates):
    """Validation scores over alpha."""
    rows = []
    for settings in candidates:
        for readout, scores in comparison.on_validation(settings).items():
            rows += [
                {"alpha": settings.alpha, "readout": readout, "metric": name, "estimate": float(value)}
                for name, value in scores.estimate.items()
            ]
    return pd.DataFrame(rows)


def table_of(means, metric):
    """Table 1 or 2 of the paper: each strategy as the network gives it, both ways to resample."""
    rows = []
    for (strategy, readout, posthoc), scores in means.items():
        if posthoc == "none":
            row = next(row for row in scores.rows() if row["metric"] == metric)
            rows.append({"strategy": strategy, "readout": readout, **row})
    return pd.DataFrame(rows).drop(columns="metric")


def run(comparison, base, seeds, out, *, alpha=None, name=None):
    """Everything; returns what was chosen. ``alpha`` None: chosen as sigma is."""
    chosen = {}
    for strategy in SMOOTHED:
        candidates = variants(replace(base, strategy=strategy), sigma=SIGMAS)
        chosen[strategy] = comparison.choose(candidates, "p")
    ordinal = replace(base, strategy=ORDINAL, tie="foreground")
    alphas = variants(ordinal, alpha=ALPHAS)
    by_score = comparison.choose(alphas, PAPER_READOUT)
    chosen[ORDINAL] = by_score if alpha is None else replace(ordinal, alpha=alpha)
    curve = sensitivity(comparison, alphas)
    curve.to_csv(out / "sensitivity.csv", index=False, float_format="%.6g")
    figures.sensitivity(curve, out / "sensitivity.png", chosen[ORDINAL].alpha)

    plan = {strategy: chosen.get(strategy, replace(base, strategy=strategy)) for strategy in STRATEGIES}
    plan[f"{ORDINAL}, ties background"] = replace(chosen[ORDINAL], tie="background")
    resamples = Resamples(comparison.test)
    means, rows = {}, []
    for strategy, settings in plan.items():
        found = [comparison.on_test(s, resamples) for s in variants(settings, seed=range(seeds))]
        for key in found[0]:
            mean = means[strategy, *key] = Scores.mean([one[key] for one in found])
            labels = {"strategy": strategy, "readout": key[0], "posthoc": key[1]}
            rows += [{**labels, "seed": "mean", **row} for row in mean.rows()]
            rows += [{**labels, "seed": seed, **row} for seed, one in enumerate(found) for row in one[key].rows()]
        print(f"{strategy}: scored", flush=True)
    pd.DataFrame(rows).to_csv(out / "scores.csv", index=False, float_format="%.6g")
    differences(means).to_csv(out / "differences.csv", index=False, float_format="%.6g")
    for number, metric in ((1, "mr_ece"), (2, "auc")):
        table_of(means, metric).to_csv(out / f"table{number}_{metric}.csv", index=False, float_format="%.6g")
    draw(comparison, plan, out / "figure3.png", name)
    return chosen | {"RPS by validation": by_score}


def differences(means):
    """Every model and calibration against Soft Consensus as its network gives it, paired by patient."""
    reference = means["Soft Consensus", "p", "none"]
    return pd.DataFrame(
        [
            {"strategy": strategy, "readout": readout, "posthoc": posthoc, **row}
            for (strategy, readout, posthoc), scores in means.items()
            for row in scores.against(reference)
        ]
    )


def draw(comparison, plan, path, name=None):
    """Figure 3 for the test image of this name, or for the one whose marks raters dispute most."""

    def dispute(image):
        votes = sum(mask.astype(int) for mask in image.masks if mask is not None)
        return ((votes > 0) & (votes < votes.max())).sum()

    test = comparison.test
    index = next((i for i, image in enumerate(test) if image.id == name), None)
    index = max(range(len(test)), key=lambda i: dispute(test[i])) if index is None else index
    shown = {}
    for strategy, settings in plan.items():
        found = read_outs(comparison.predictions(settings, "test"))
        names = ("p",) if "p" in found else (PAPER_READOUT, "expected")
        shown |= {strategy if key == "p" else f"{strategy}\n{key}": found[key][index] for key in names}
    figures.one_image(test[index], shown, path)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--layout", required=True, help="stack, cocahis, longciu, refuge, or another of mrcalib's")
    parser.add_argument(
        "--task", help="REFUGE: disc, cup; LongCIU: any, ggo, consolidation; QUBIQ: prostate/task02 ..."
    )
    parser.add_argument(
        "--splits", nargs="+", help="stack: what its splits 0, 1, ... are: training, validation, testing"
    )
    parser.add_argument("--size", type=int, help="pixels a side, a multiple of 32; images of other sizes are resampled")
    parser.add_argument("--preset", choices=PRESETS, default="gpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--alpha", type=float, help="of the comparison, such as the paper's 0.8; by default by validation"
    )
    parser.add_argument("--device", help="cuda or cpu; by default cuda where there is one")
    parser.add_argument("--workers", type=int, default=0, help="processes that load images")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU")
    parser.add_argument("--image", help="id of the test image of Figure 3")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(arguments)
    if args.threads:
        torch.set_num_threads(args.threads)
    started = time.perf_counter()
    args.out.mkdir(parents=True, exist_ok=True)
    base = Settings(ORDINAL, **PRESETS[args.preset])
    images = [sized(image, args.size) for image in slices(read(args.data, args.layout, args.task, args.splits))]
    training, validation, test = three_way(images)
    parts = thinned(training, N_TRAINING.get(args.preset)), validation, test
    comparison = Comparison(parts, args.out, args.device, args.workers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=mrcalib.SaturationWarning)
        chosen = run(comparison, base, args.seeds, args.out, alpha=args.alpha, name=args.image)
    record = {
        "command": "python -m ordinal_rps.compare " + " ".join(sys.argv[1:] if arguments is None else arguments),
        "preset": args.preset,
        "settings": asdict(base),
        "chosen": {name: {"alpha": s.alpha, "sigma": s.sigma} for name, s in chosen.items()},
        "seeds": args.seeds,
        "images": dict(zip(("training", "validation", "test"), map(len, parts), strict=True)),
        "patients": dict(
            zip(("training", "validation", "test"), (len({i.group for i in p}) for p in parts), strict=True)
        ),
        "device": torch.cuda.get_device_name() if comparison.device.type == "cuda" else platform.processor() or "cpu",
        "seconds": round(time.perf_counter() - started),
        "date": time.strftime("%Y-%m-%d"),
        **versions(),
    }
    (args.out / "run.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def versions():
    import segmentation_models_pytorch as smp

    return {
        "python": platform.python_version(),
        "mrcalib": mrcalib.__version__,
        "torch": torch.__version__,
        "segmentation_models_pytorch": smp.__version__,
        "numpy": np.__version__,
    }


if __name__ == "__main__":
    raise SystemExit(main())
