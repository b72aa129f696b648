"""Train detectors of one strategy, each with other hyper-parameters, and write what they find as COCO JSON.

    python train.py data models/pretrained --strategy pretrain --epochs 12
    python train.py data models --strategy ls      --runs 32 --start models/pretrained/weights.pt
    python train.py data models --strategy rater1  --runs 16 --start models/pretrained/weights.pt

Interrupted? The same command goes on where it stopped; finished runs are skipped. Two processes share the work with
`--share 0/2` and `--share 1/2`.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from data import CATEGORIES, PRETRAINING, Sample, load, write_detections
from models import build
from strategies import Strategy, rater_specific, strategy_of
from torch import nn

from mrcalib.detection import Boxes

AUGMENTATIONS = ("none", "flips", "flips and light")


@dataclass(frozen=True)
class Run:
    """Everything that tells one model from another."""

    strategy: str
    index: int
    seed: int
    learning_rate: float
    batch_size: int
    augmentation: str
    epochs: int
    model: str = "heatmap"
    positive_weight: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.strategy}-{self.index:02d}"


def draw_runs(
    strategy: str, n: int, epochs: int, *, model: str = "heatmap", positive_weight: float = 1.0, seed: int = 0
) -> list[Run]:
    """Draw hyper-parameters; run k has the same ones under every strategy, but its own shuffles."""
    runs = []
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        rate, size = float(10 ** rng.uniform(-3, -2)), int(rng.choice([2, 4, 8]))
        own = int(np.random.default_rng([seed, index, *strategy.encode()]).integers(2**31))
        kind = str(rng.choice(AUGMENTATIONS))
        runs.append(Run(strategy, index, own, rate, size, kind, epochs, model, positive_weight))
    return runs


def train(
    run: Run,
    samples: Sequence[Sample],
    strategy: Strategy,
    folder: Path,
    *,
    start: Path | None = None,
    device: str = "cpu",
) -> nn.Module:
    """Train, or go on with, one model; every epoch is saved and depends on the seed and its number alone."""
    torch.manual_seed(run.seed)
    model = build(run.model, run.positive_weight).to(device)
    if start is not None:
        model.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    optimiser = torch.optim.AdamW(model.parameters(), run.learning_rate, weight_decay=1e-4)
    scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
    parts = {"model": model, "optimiser": optimiser, "scaler": scaler}
    history: list[float] = []
    saved = folder / "last.pt"
    if saved.exists():
        state = torch.load(saved, map_location=device, weights_only=True)
        history = state["history"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    for epoch in range(len(history), run.epochs):
        rng = np.random.default_rng([run.seed, epoch])
        torch.manual_seed(int(rng.integers(2**31)))
        for group in optimiser.param_groups:
            group["lr"] = run.learning_rate * 0.5 * (1 + math.cos(math.pi * epoch / run.epochs))
        model.train()
        losses = [
            step(model, optimiser, scaler, images.to(device), [mine.to(device) for mine in boxes])
            for images, boxes in batches(run, samples, strategy, epoch, rng)
        ]
        history.append(float(np.mean(losses)))
        state = {name: part.state_dict() for name, part in parts.items()} | {"history": history}
        torch.save(state, saved.with_suffix(".part"))
        saved.with_suffix(".part").replace(saved)
    (folder / "history.json").write_text(json.dumps(history))
    return model


def batches(
    run: Run, samples: Sequence[Sample], strategy: Strategy, epoch: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Yield images and the boxes that the strategy shows of them in this epoch."""
    for batch in np.array_split(rng.permutation(len(samples)), max(len(samples) // run.batch_size, 1)):
        pairs = [
            augmented(samples[i].image, strategy(samples[i], epoch).coordinates, run.augmentation, rng) for i in batch
        ]
        yield (
            torch.stack([image for image, _ in pairs]),
            [torch.tensor(boxes, dtype=torch.float32) for _, boxes in pairs],
        )


def step(
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    images: torch.Tensor,
    boxes: list[torch.Tensor],
) -> float:
    """Take one step, in mixed precision on a GPU, and return the loss."""
    with torch.autocast(images.device.type, enabled=images.device.type == "cuda"):
        loss = model(images, boxes)
    optimiser.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimiser)
    scaler.update()
    return loss.item()


def augmented(
    image: torch.Tensor, boxes: np.ndarray, kind: str, rng: np.random.Generator
) -> tuple[torch.Tensor, np.ndarray]:
    """Mirror the image and its boxes at random, and change its light."""
    if kind == "none":
        return image, boxes
    for axis in (0, 1):
        if rng.random() < 0.5:
            image = image.flip(2 - axis)
            boxes = boxes.copy()
            boxes[:, [axis, axis + 2]] = image.shape[2 - axis] - boxes[:, [axis + 2, axis]]
    if kind == "flips and light":
        image = (image * float(rng.uniform(0.85, 1.15)) + float(rng.uniform(-0.1, 0.1))).clamp(0, 1)
    return image, boxes


@torch.inference_mode()
def predict(model: nn.Module, samples: Sequence[Sample], device: str = "cpu") -> list[Boxes]:
    """Return what the model finds in each image."""
    model.eval()
    found = []
    for sample in samples:
        coordinates, scores = (part.double().cpu().numpy() for part in model(sample.image[None].to(device))[0])
        found.append(Boxes(coordinates, scores, np.full(len(scores), min(CATEGORIES)), image=sample.name))
    return found


def finish(
    run: Run,
    data: Mapping[str, Sequence[Sample]],
    out: Path,
    *,
    raters: Sequence[str],
    start: Path | None = None,
    device: str = "cpu",
) -> None:
    """Train one run unless it is done, and write its detections on the validation and the test images."""
    folder = out / run.name
    if (folder / "run.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    strategy = strategy_of(run.strategy, raters, run.seed)
    model = train(run, data["train"], strategy, folder, start=start, device=device)
    for split in ("val", "test"):
        write_detections(folder / f"{split}.json", data[split], predict(model, data[split], device))
    torch.save(model.state_dict(), folder / "weights.pt")
    seconds = time.perf_counter() - began
    (folder / "run.json").write_text(json.dumps({**asdict(run), "seconds": seconds}))
    (folder / "last.pt").unlink()
    history = json.loads((folder / "history.json").read_text())
    print(f"{run.name}: loss {history[0]:.2f} to {history[-1]:.2f}, {seconds:.0f} s", flush=True)


def pretrain(folder: Path, out: Path, epochs: int, *, model: str = "heatmap", device: str = "cpu") -> Path:
    """Train one model on everything there is, healthy or not: the common start of all the others."""
    weights = out / "weights.pt"
    if not weights.exists():
        out.mkdir(parents=True, exist_ok=True)
        run = Run("pretrain", 0, 0, 5e-3, 4, "flips and light", epochs, model)
        trained = train(run, load(folder, "pretrain"), rater_specific(PRETRAINING), out, device=device)
        torch.save(trained.state_dict(), weights)
    return weights


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--strategy", required=True, help='"ls", the name of a rater, or "pretrain"')
    parser.add_argument("--raters", nargs="+", default=["rater1", "rater2"], help="whose boxes label sampling draws")
    parser.add_argument("--model", default="heatmap", choices=("heatmap", "faster-rcnn", "mask-rcnn"))
    parser.add_argument("--runs", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--positive-weight", type=float, default=1.0, help="weight of centres in the heat map's loss")
    parser.add_argument("--start", type=Path, help="weights to start from")
    parser.add_argument("--share", default="0/1", help="k/n: every n-th run, from the k-th")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    if asked.strategy == "pretrain":
        print(pretrain(asked.data, asked.out, asked.epochs, model=asked.model, device=asked.device))
        return
    data = {split: load(asked.data, split) for split in ("train", "val", "test")}
    first, of = map(int, asked.share.split("/"))
    drawn = {"model": asked.model, "positive_weight": asked.positive_weight, "seed": asked.seed}
    for run in draw_runs(asked.strategy, asked.runs, asked.epochs, **drawn)[first::of]:
        finish(run, data, asked.out, raters=asked.raters, start=asked.start, device=asked.device)


if __name__ == "__main__":
    main()
