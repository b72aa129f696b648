"""Where things are: smooth fields, lesions, the organ, and their CT image. Positions are in mm from the middle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Amplitude of the lesion boundary's random shape, in lesion radii.
_WOBBLE = 0.25


def smooth_field(
    rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], length: float
) -> NDArray[np.float32]:
    """Return a stationary Gaussian field of mean 0 and variance exactly 1 in expectation, smooth over `length` mm.

    Periodic, because any other edge would change the variance near it and the truth would no longer hold there.
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    field = rng.standard_normal(tuple(shape), dtype=np.float32)
    gain = 1.0
    for axis, n in enumerate(shape):
        impulse = np.zeros(n)
        impulse[0] = 1.0
        gain *= np.square(gaussian_filter1d(impulse, length / spacing[axis], mode="wrap", truncate=3.0)).sum()
    sigma = [length / voxel for voxel in spacing]
    smooth = gaussian_filter(field, sigma, mode="wrap", truncate=3.0)
    return cast("NDArray[np.float32]", smooth / np.float32(math.sqrt(gain)))


def draw_lesion(
    rng: np.random.Generator, shape: Sequence[int], spacing: Sequence[float], fraction: float
) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Return the latent field (in lesion radii, positive inside), the lesion's centre and its radius (both in mm)."""
    extent = np.multiply(shape, spacing)
    radius = float(np.cbrt(3 * fraction * extent.prod() / (4 * math.pi)))
    room = np.maximum(extent / 2 - 1.5 * radius, 0.0)
    centre = rng.uniform(-0.4, 0.4, 3) * room

    latent = _ellipsoid(rng, centre, shape, spacing, radius)
    direction = rng.standard_normal(3) * [1, 1, 0.3]
    satellite = centre + 1.9 * radius * direction / np.linalg.norm(direction)
    second = 0.5 * _ellipsoid(rng, satellite, shape, spacing, 0.5 * radius)
    if rng.random() < 0.25:
        latent = np.maximum(latent, second)
    latent += np.float32(_WOBBLE) * smooth_field(rng, shape, spacing, 0.6 * radius)

    # whatever the random shape did, the lesion fills its fraction of the volume
    n_inside = max(round(fraction * latent.size), 1)
    latent -= np.partition(latent, -n_inside, axis=None)[-n_inside]
    return latent, centre, radius


def draw_organ(
    rng: np.random.Generator,
    centre: NDArray[np.float64],
    shape: Sequence[int],
    spacing: Sequence[float],
    radius: float,
) -> NDArray[np.float32]:
    """Return a field that is positive inside an organ around the lesion."""
    extent = float(np.cbrt(np.multiply(shape, spacing).prod()))
    size = max(1.8 * radius, 0.33 * extent)
    return _ellipsoid(rng, 0.7 * centre, shape, spacing, size)


def draw_scan(
    rng: np.random.Generator,
    organ: NDArray[np.float32],
    lesion: NDArray[np.float32],
    spacing: Sequence[float],
    contrast: float,
) -> NDArray[np.float32]:
    """Return Hounsfield units: fat and soft tissue, an enhancing organ, a hypodense lesion, blurred if ambiguous."""
    from scipy.special import expit, ndtr

    shape = organ.shape
    tissue = expit(6 * smooth_field(rng, shape, spacing, 6.0) + np.float32(1.5))
    background = -95 + 135 * tissue + 8 * smooth_field(rng, shape, spacing, 10.0)
    parenchyma = 105 + 10 * smooth_field(rng, shape, spacing, 3.0)
    hounsfield: NDArray[np.float32] = background + (parenchyma - background) * expit(25 * organ)
    hounsfield -= np.float32(contrast * rng.uniform(40, 70)) * ndtr(lesion)
    hounsfield += 14 * smooth_field(rng, shape, spacing, 0.6 * min(spacing))
    return np.rint(hounsfield).astype(np.float32)


def _ellipsoid(
    rng: np.random.Generator,
    centre: NDArray[np.float64],
    shape: Sequence[int],
    spacing: Sequence[float],
    radius: float,
) -> NDArray[np.float32]:
    """Return 1 at the centre falling linearly to 0 on the surface of a randomly turned ellipsoid, and on below 0."""
    axes = np.exp(0.25 * rng.standard_normal(3))
    axes *= radius / np.cbrt(axes.prod())
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    whiten = (turn / axes).T
    offsets = positions(shape, spacing)
    q = np.zeros(tuple(shape))
    for row in whiten:
        q += sum(w * (x - c) for w, x, c in zip(row, offsets, centre, strict=True)) ** 2
    return (1 - np.sqrt(q)).astype(np.float32)


def positions(shape: Sequence[int], spacing: Sequence[float]) -> list[NDArray[np.float64]]:
    """Return the open grid of voxel positions in mm from the middle of the volume."""
    axes = ((np.arange(n) - 0.5 * (n - 1)) * length for n, length in zip(shape, spacing, strict=True))
    return list(np.ix_(*axes))
