"""Score predictions on test patients with mrcalib: sums by image and by patient, and both ways to resample them.

`Scores` hold every metric under the same resamples, so that models, seeds and calibrations are compared pairwise.
"""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.ndimage import binary_dilation

from mrcalib import Tally, tally
from mrcalib.metrics import (
    auc,
    brier_score,
    count_readout,
    count_responses,
    majority_dice,
    multirater_ece,
    ranked_probability_score,
    threshold_dice,
)
from mrcalib.resampling import bootstrap_counts, percentile_interval, weighted_means
from mrcalib.responses import Responses
from ordinal_rps.data import channels_first

N_BINS = 15  # of equal width: the paper does not say
NEAR = 5  # pixels from the nearest mark of any rater
POOLED = {
    "mr_ece": multirater_ece.with_options(n_bins=N_BINS),
    "mr_ece_near": multirater_ece.with_options(n_bins=N_BINS),
    "brier": brier_score,
    "auc": auc,
    "auc_majority_ties_foreground": auc.with_options(target="majority", tie="foreground"),
    "auc_majority_ties_background": auc.with_options(target="majority", tie="background"),
}
BY_PATIENT = {
    "tdsc": threshold_dice,
    "dice_ties_foreground": majority_dice.with_options(tie="foreground"),
    "dice_ties_background": majority_dice.with_options(tie="background"),
}
RPS = ranked_probability_score  # norm "classes", as in the paper's loss


@torch.inference_mode()
def predict(model, images, device="cpu", batch=64):
    """Foreground probabilities (n, H, W); of K + 1 channels, distributions of the number of votes (n, K + 1, H, W)."""
    found = []
    for start in range(0, len(images), batch):
        part = torch.stack([channels_first(image.image) for image in images[start : start + batch]])
        logits = model(part.to(device)).float()
        found.append((logits.softmax(dim=1) if logits.shape[1] > 1 else logits[:, 0].sigmoid()).cpu().numpy())
    return np.concatenate(found)


def read_outs(predicted):
    """Foreground probabilities by name.

    "p" is what one channel gives. From numbers of votes mrcalib reads the expected fraction of raters, and the probability
    of a majority under both rules for ties.
    """
    if predicted.ndim == 3:
        return {"p": predicted}
    ties = ("foreground", "background")
    majorities = {f"majority, ties {t}": count_readout(predicted, "majority", tie=t, class_axis=1) for t in ties}
    return {"expected": count_readout(predicted, class_axis=1), **majorities}


def counts_of(predicted):
    """The distributions of numbers of votes, or None where the network gives none."""
    return predicted if predicted.ndim == 4 else None


def tallies_of(images, probs):
    """The tally of each patient, by name; stratum "near" is what lies within ``NEAR`` pixels of a mark."""
    pairs = by_group(images, probs)
    return [_tally_of([image for image, _ in part], [p for _, p in part]) for part in pairs]


def _tally_of(images, probs):
    """All images in one pass; one by one where a rater is missing, since who that is differs between images."""
    if len(images) > 1 and any(mask is None for image in images for mask in image.masks):
        return Tally.sum(_tally_of([image], [p]) for image, p in zip(images, probs, strict=True))
    flat = [
        np.concatenate([mask.ravel() for mask in masks]) if masks[0] is not None else None
        for masks in _by_rater(images)
    ]
    p = np.concatenate([p.ravel() for p in probs])
    near = np.concatenate([near_marks(image).ravel() for image in images])
    return tally(p, flat, strata=near, strata_names=("far", "near"), case=images[0].group)


def _by_rater(images):
    return zip(*(image.masks for image in images), strict=True)


def near_marks(image):
    """1 where any rater's mark is within ``NEAR`` pixels."""
    marked = np.any([mask for mask in image.masks if mask is not None], axis=0)
    return binary_dilation(marked, iterations=NEAR).astype(np.uint8)


def by_group(images, parts):
    """Pairs of an image and its part, a list for each patient in the order of their names."""
    groups = {}
    for image, part in zip(images, parts, strict=True):
        groups.setdefault(image.group, []).append((image, part))
    return [groups[name] for name in sorted(groups)]


@dataclass
class Resamples:
    """Which patients each resample holds, and which images in the paper's way: 60 % of the test images, with replacement."""

    images: list
    n: int = 2000
    seed: int = 0
    patients: np.ndarray = field(init=False)
    paper: np.ndarray = field(init=False)

    def __post_init__(self):
        names = sorted({image.group for image in self.images})
        self.patients = bootstrap_counts(names, self.n, self.seed)
        size = len(self.images)
        rng = np.random.default_rng(self.seed)
        self.paper = rng.multinomial(max(1, round(0.6 * size)), np.full(size, 1 / size), size=self.n).astype(float)


@dataclass
class Scores:
    """Estimates, and each metric under the resamples of patients; under those of the paper for MR-ECE and AUC."""

    estimate: dict
    samples: dict
    paper: dict

    @classmethod
    def mean(cls, scores):
        """The mean over seeds, resample by resample."""
        return cls(
            *(
                {name: np.mean([getattr(s, part)[name] for s in scores], axis=0) for name in getattr(scores[0], part)}
                for part in ("estimate", "samples", "paper")
            )
        )

    def rows(self):
        """Of each metric: estimate, 95 % interval by patient; mean, sd and interval as in the paper."""
        for name, value in self.estimate.items():
            row = {"metric": name, "estimate": float(value), **_interval(self.samples[name], "patient")}
            if name in self.paper:
                mean, sd = float(np.mean(self.paper[name])), float(np.std(self.paper[name]))
                row |= {"paper_mean": mean, "paper_sd": sd, **_interval(self.paper[name], "paper")}
            yield row

    def against(self, other):
        """Of each metric: this minus the other, with its paired interval by patient."""
        for name, value in self.estimate.items():
            gap = _interval(self.samples[name] - other.samples[name], "patient")
            yield {"metric": name, "difference": float(value - other.estimate[name]), **gap}


def _interval(samples, whose):
    low, high = percentile_interval(samples)
    return {f"{whose}_low": float(low), f"{whose}_high": float(high)}


def score(images, tallies, resamples, *, transform=None, counts=None, distribution=None, paper=None):
    """Every metric of one model under one read-out and one calibration.

    ``transform`` maps probabilities (a calibrator's). The numbers of votes are as ``counts`` says, arrays (K + 1, H, W) for
    each image; else what ``distribution`` makes of a probability before ``transform``; else binomial in the probability.
    ``paper`` are the probabilities as arrays, to resample images as the paper does.
    """
    transform = transform or (lambda p: p)
    rows = {"all": [part.responses() for part in tallies]}
    rows["near"] = [part.select("near").responses() for part in tallies]
    moved = {name: [r.map(transform) for r in parts] for name, parts in rows.items()}
    estimate, samples = {}, {}
    everyone = np.ones((1, len(tallies)))
    for name, metric in POOLED.items():
        sums = np.stack([metric.sums(r) for r in moved["near" if name.endswith("near") else "all"]])
        estimate[name] = metric.value(everyone @ sums)[0]
        samples[name] = metric.value(resamples.patients @ sums)
    for name, metric in BY_PATIENT.items():
        values = np.array([metric(r) for r in moved["all"]])
        estimate[name] = weighted_means(values, everyone)[0]
        samples[name] = weighted_means(values, resamples.patients)
    sums = _rps_sums(images, counts, rows["all"], moved["all"], distribution)
    estimate["rps"], samples["rps"] = RPS.value(everyone @ sums)[0], RPS.value(resamples.patients @ sums)
    return Scores(estimate, samples, {} if paper is None else _paper(images, paper, resamples))


def _rps_sums(images, counts, rows, moved, distribution):
    """Sums of the ranked probability score by patient."""
    if counts is None:
        predicted = (r.count_probs if distribution is None else distribution(r.prob) for r in rows)
        parts = zip(moved, predicted, strict=True)
        return np.stack([RPS.sums(replace(r, count_probs=density)) for r, density in parts])
    return np.stack(
        [
            sum(RPS.sums(count_responses(density, image.masks, class_axis=0)) for image, density in part)
            for part in by_group(images, counts)
        ]
    )


def _paper(images, probs, resamples):
    """MR-ECE and AUC under the paper's resamples of images."""
    rows = [_pixels(image, p) for image, p in zip(images, probs, strict=True)]
    found = {}
    for name in ("mr_ece", "auc"):
        sums = np.stack([POOLED[name].sums(r) for r in rows])
        found[name] = POOLED[name].value(resamples.paper @ sums)
    return found


def _pixels(image, p):
    """A row a pixel, which for single images is quicker than a tally."""
    given = [mask for mask in image.masks if mask is not None]
    votes = np.sum(given, axis=0, dtype=np.float64).ravel()
    answers = np.full(votes.size, float(len(given)))
    return Responses(p.ravel().astype(np.float64), np.ones(votes.size), answers, votes, len(image.masks))
