"""Train one strategy: seeded, resumable after every epoch, on a GPU in mixed precision where there is one.

A run's folder holds `settings.json`, `log.csv` (loss by epoch) and `last.pt`; started again, it goes on where it stopped,
and comes to the same weights as a run without a stop.
"""

import json
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from mrcalib.io import atomic_write
from ordinal_rps.data import Annotated, channels_first, intensities
from ordinal_rps.loss import FusedLoss, OrdinalLoss
from ordinal_rps.model import Normalised, build
from ordinal_rps.strategies import ORDINAL


@dataclass(frozen=True)
class Settings:
    """All that a run depends on, but the images."""

    strategy: str
    seed: int = 0
    alpha: float = 0.8
    sigma: float = 1.0
    tie: str = "foreground"
    norm: str = "classes"
    convex: bool = False
    encoder: str = "resnet34"
    weights: str | None = "imagenet"
    pyramid: int = 256
    head: int = 128
    epochs: int = 60
    batch: int = 16
    rate: float = 1e-3

    @property
    def name(self):
        """A folder's name that tells what differs between runs of one comparison."""
        parts = [self.strategy.replace(" ", "-")]
        if self.strategy == ORDINAL:
            parts += [f"alpha{self.alpha:g}", *(["convex"] if self.convex else []), self.tie]
        elif self.strategy in ("Soft Consensus-G", "SVLS"):
            parts.append(f"sigma{self.sigma:g}")
        return "_".join([*parts, f"seed{self.seed}"])


def device_of(name=None):
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def new_model(settings, images):
    torch.manual_seed(settings.seed)
    n_raters = len(images[0].masks)
    pixels = channels_first(images[0].image)
    classes = n_raters + 1 if settings.strategy == ORDINAL else 1
    network, _ = build(
        len(pixels),
        classes,
        encoder=settings.encoder,
        weights=settings.weights,
        pyramid=settings.pyramid,
        head=settings.head,
    )
    return Normalised(network, *intensities(images))


def loss_of(settings):
    if settings.strategy == ORDINAL:
        return OrdinalLoss(settings.alpha, tie=settings.tie, norm=settings.norm, convex=settings.convex)
    return FusedLoss()


def train(settings, images, folder, *, device=None, workers=0, stop_after=None):
    """The trained network, from ``folder`` if it is there; ``stop_after`` epochs leaves the rest to the next call."""
    device = device_of(device)
    folder = folder / settings.name
    folder.mkdir(parents=True, exist_ok=True)
    _check_same(settings, folder)
    data = Annotated(images, settings.strategy, sigma=settings.sigma, tie=settings.tie, seed=settings.seed)
    model, loss = new_model(settings, images).to(device), loss_of(settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.rate)
    steps = settings.epochs * max(1, len(data) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.rate, total_steps=steps)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "scaler": scaler}
    log = _resume(folder, parts, device)
    for epoch in range(len(log), settings.epochs if stop_after is None else min(stop_after, settings.epochs)):
        data.epoch = epoch
        order = torch.Generator().manual_seed(1000 * settings.seed + epoch)
        torch.manual_seed(1000 * settings.seed + epoch)  # dropout
        whole = {"batch_size": settings.batch, "drop_last": len(data) >= settings.batch}
        batches = DataLoader(data, shuffle=True, generator=order, num_workers=workers, **whole)
        log.append(_epoch(model, loss, tqdm(batches, f"{settings.name} {epoch + 1}", disable=None), parts, device))
        _save(folder, parts if epoch + 1 < settings.epochs else {"model": model}, log)
    return model.eval()


def _epoch(model, loss, batches, parts, device):
    model.train()
    losses, sizes = [], []
    for image, target in batches:
        with torch.autocast(device.type, enabled=device.type == "cuda"):
            logits = model(image.to(device))
        value = loss(logits, target.to(device))
        parts["optimizer"].zero_grad()
        parts["scaler"].scale(value).backward()
        parts["scaler"].step(parts["optimizer"])
        parts["scaler"].update()
        parts["schedule"].step()
        losses.append(value.item())
        sizes.append(len(image))
    mean = float(np.average(losses, weights=sizes))
    if not np.isfinite(mean):
        raise FloatingPointError(f"the loss became {mean}: lower the learning rate (--rate)")
    return mean


def _check_same(settings, folder):
    file = folder / "settings.json"
    mine = json.loads(json.dumps(asdict(settings)))
    if file.exists() and (theirs := json.loads(file.read_text(encoding="utf-8"))) != mine:
        other = {key: theirs.get(key) for key in mine if mine[key] != theirs.get(key)}
        raise ValueError(f"{folder} holds a run with other settings, {other}; choose another folder or delete it")
    file.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")


def _resume(folder, parts, device):
    if not (folder / "last.pt").exists():
        return []
    saved = torch.load(folder / "last.pt", map_location=device, weights_only=True)
    for name in saved.keys() & parts.keys():
        parts[name].load_state_dict(saved[name])
    return saved["log"]


def _save(folder, parts, log):
    with atomic_write(folder / "last.pt") as temporary:
        torch.save({**{name: part.state_dict() for name, part in parts.items()}, "log": log}, temporary)
    rows = ["epoch,loss", *(f"{epoch},{value:.6g}" for epoch, value in enumerate(log, start=1))]
    (folder / "log.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def variants(settings, **lists):
    """The settings with each value of one option, such as ``alpha=(0, 0.2)``."""
    ((name, values),) = lists.items()
    return [replace(settings, **{name: value}) for value in values]
