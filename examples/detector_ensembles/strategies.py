"""Whose boxes a model sees: those of one rater always, or at each epoch one rater's for each image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from data import Sample

from mrcalib.detection import Boxes

Strategy = Callable[[Sample, int], Boxes]  # a sample and the epoch


def rater_specific(rater: str) -> Strategy:
    """Return the strategy that learns one rater's habits."""
    return lambda sample, _: sample.boxes[rater]


def label_sampling(raters: Sequence[str], seed: int) -> Strategy:
    """Return the strategy that draws a rater for each image and epoch; the draw depends on nothing else."""

    def sampled(sample: Sample, epoch: int) -> Boxes:
        return sample.boxes[np.random.default_rng([seed, epoch, sample.id]).choice(raters)]

    return sampled


def strategy_of(name: str, raters: Sequence[str], seed: int) -> Strategy:
    """Return label sampling for "ls", else the strategy of the rater of that name."""
    return label_sampling(raters, seed) if name == "ls" else rater_specific(name)
