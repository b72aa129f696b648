"""Images with their raters: read by mrcalib, split by patient, brought to one size, turned into targets."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import Dataset

from ordinal_rps.strategies import ORDINAL, target_of

RANDOM = "Random Sampling"
PARTS = ("training", "validation", "testing")


def held_out(images, share, seed=0):
    """Two lists: without, and with, a random share of the patients (at least one)."""
    groups = sorted({image.group for image in images})
    n = max(1, round(share * len(groups)))
    if n >= len(groups):
        raise ValueError(f"{share:.0%} of {len(groups)} patients leave none to train on")
    chosen = set(np.random.default_rng(seed).permutation(groups)[:n].tolist())
    return [image for image in images if image.group not in chosen], [i for i in images if i.group in chosen]


def three_way(images, share=0.2, seed=0):
    """Training, validation and test images; no patient is in two of them.

    The published splits; a missing one is a share of the patients of the training part.
    """
    parts = {name: [i for i in images if (i.split or "training") == name] for name in PARTS}
    for offset, name in enumerate(("testing", "validation")):
        if not parts[name]:
            parts["training"], parts[name] = held_out(parts["training"], share, seed + offset)
    where = {}
    for name, part in parts.items():
        for image in part:
            if where.setdefault(image.group, name) != name:
                raise ValueError(f"patient {image.group} is in {where[image.group]} and in {name}; split by patient")
    return parts["training"], parts["validation"], parts["testing"]


def thinned(images, n, seed=0):
    """At most ``n`` images, drawn once."""
    if n is None or len(images) <= n:
        return list(images)
    chosen = np.sort(np.random.default_rng(seed).choice(len(images), n, replace=False))
    return [images[i] for i in chosen]


def slices(images):
    """Volumes cut along their last axis; slices that no rater marked are left out. Images of two dimensions stay."""
    for image in images:
        if len(image.shape) == 2:
            yield image
            continue
        for z in range(image.shape[2]):
            raters = {name: None if mask is None else mask[:, :, z] for name, mask in image.raters.items()}
            if any(mask is not None and mask.any() for mask in raters.values()):
                spacing = image.spacing and image.spacing[:2]
                yield replace(image, id=f"{image.id}_z{z}", image=image.image[:, :, z], raters=raters, spacing=spacing)


def sized(image, size):
    """The image as ``size`` x ``size`` pixels: intensities smoothed before they are sampled, masks by the nearest pixel.

    Training and scores are on this raster; the network needs a multiple of 32.
    """
    if size is None or image.shape == (size, size):
        return image
    pixels = channels_first(image.image)[None]
    small = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)[0].numpy()

    def nearest(mask):
        mask = torch.from_numpy(mask)[None, None].float()
        return F.interpolate(mask, (size, size), mode="nearest-exact")[0, 0].numpy()

    raters = {name: None if m is None else nearest(m).astype(np.uint8) for name, m in image.raters.items()}
    return replace(image, image=np.moveaxis(small, 0, -1), raters=raters, spacing=None)


def channels_first(image):
    """(C, H, W) float32 of (H, W) or (H, W, C)."""
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    return pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)


def intensities(images):
    """Mean and standard deviation of each channel over the training images."""
    sums = np.zeros((3, channels_first(images[0].image).shape[0]))
    for image in images:
        pixels = channels_first(image.image).double().flatten(1)
        sums += [[pixels.shape[1]] * len(pixels), pixels.sum(dim=1), pixels.square().sum(dim=1)]
    mean = sums[1] / sums[0]
    return mean, np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 1e-12))


class Annotated(Dataset):
    """Pairs (image, target) of one strategy, flipped and turned together in training.

    Masks are fused once; Random Sampling draws a rater for each image and epoch. What is drawn depends on (seed, epoch,
    image) alone.
    """

    def __init__(self, images, strategy, *, sigma=1.0, tie="foreground", seed=0, augment=True):
        if strategy == ORDINAL:
            images = [image for image in images if all(mask is not None for mask in image.masks)]
        if not images:
            raise ValueError(f"no image is left for {strategy}: RPS needs every rater's mask")
        self.images, self.strategy, self.seed, self.augment, self.epoch = images, strategy, seed, augment, 0
        self.options = {"sigma": sigma, "tie": tie}
        fixed = strategy != RANDOM
        self.targets = [target_of(strategy, i.masks, None, **self.options) for i in images] if fixed else None

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        rng = np.random.default_rng((self.seed, self.epoch, i))
        image, target = channels_first(self.images[i].image), self._target(i, rng)
        if self.augment:
            turns, flip = rng.integers(4), rng.integers(2)
            image, target = (_turned(part, int(turns), bool(flip)) for part in (image, target))
        return image, target

    def _target(self, i, rng):
        if self.targets is not None:
            return torch.from_numpy(self.targets[i])
        return torch.from_numpy(target_of(self.strategy, self.images[i].masks, rng, **self.options))


def _turned(part, turns, flip):
    part = torch.rot90(part, turns, dims=(-2, -1))
    return part.flip(-1) if flip else part
