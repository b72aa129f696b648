"""Who looks: the raters' model, its expectation in closed form, and the segmenters that imitate them badly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from mrcalib.simulate._anatomy import smooth_field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Lengths are in lesion radii (the radius of the ball of the lesion's volume), so that small and large lesions are
# equally hard: raters agree on an average lesion with a pairwise Dice near 0.75, as published inter-rater studies do.
_AMBIGUITY = (0.05, 0.2)  # a rater's random displacement of the boundary: where it is sharp, where it is blurred
STYLE = 0.07  # a rater's habitual displacement of the boundary
CORRELATION = 0.45  # length over which a rater's displacement varies


def boundary_spread(blur: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Return the standard deviation of a rater's boundary, in lesion radii, from a standard Gaussian field."""
    from scipy.special import ndtr

    low, high = (np.float32(scale * bound) for bound in _AMBIGUITY)
    return cast("NDArray[np.float32]", low + (high - low) * ndtr(blur))


def marginal(
    latent: NDArray[np.float32], ambiguity: NDArray[np.float32], thresholds: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the probability that a rater who saw the lesion marks a voxel, and its logit, finite in both tails."""
    from scipy.special import log_ndtr

    inside = np.full_like(latent, -np.inf)
    outside = inside.copy()
    for threshold in thresholds:
        z = (latent - np.float32(threshold)) / ambiguity
        np.logaddexp(inside, log_ndtr(z), out=inside)
        np.logaddexp(outside, log_ndtr(-z), out=outside)
    return np.exp(inside - np.float32(math.log(len(thresholds)))), inside - outside


def read_masks(
    rng: np.random.Generator,
    latent: NDArray[np.float32],
    ambiguity: NDArray[np.float32],
    thresholds: NDArray[np.float64],
    *,
    miss: float,
    length: float,
    spacing: Sequence[float],
) -> NDArray[np.uint8]:
    """Return one mask for each threshold; without misses, `marginal` is the expectation of their mean."""
    masks = np.zeros((len(thresholds), *latent.shape), np.uint8)
    for mask, threshold in zip(masks, thresholds, strict=True):
        overlooked = rng.random() < miss
        displacement = ambiguity * smooth_field(rng, latent.shape, spacing, length)
        if not overlooked:
            mask[...] = latent + displacement > np.float32(threshold)
    return masks


def segment_members(
    rng: np.random.Generator,
    logit: NDArray[np.float32],
    n_members: int,
    length: float,
    spacing: Sequence[float],
    *,
    overconfidence: float,
    bias: float,
    noise: float,
) -> NDArray[np.float32]:
    """Return the members' probabilities, of shape ``(n_members, *logit.shape)``."""
    from scipy.special import expit

    members = np.empty((n_members, *logit.shape), np.float32)
    half = np.float32(noise * math.sqrt(0.5))
    common = logit + half * smooth_field(rng, logit.shape, spacing, length)
    for member in members:
        error = half * smooth_field(rng, logit.shape, spacing, length)
        member[...] = expit(np.float32(overconfidence) * (common + error) + np.float32(bias))
    return members
