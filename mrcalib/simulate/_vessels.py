"""Five vessels that run past a lesion, or through it: tubes along z. Positions are in mm from the middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mrcalib.simulate._anatomy import positions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_ENHANCEMENT = 80  # Hounsfield units of contrast medium


@dataclass(frozen=True, slots=True)
class _Vessel:
    """How a vessel lies: its axis is ``into`` radii outside the lesion's surface and ``gap`` mm further."""

    label: int
    radius: float  # mm, of adults
    side: float  # quarter turns from the side with the most room
    into: float | None  # None: through the lesion's middle
    gap: float = 0.0


_VESSELS = (
    _Vessel(1, 6.0, 2, 0.7),  # PORTA: touched
    _Vessel(2, 5.0, 1, 0.0),  # SMV: half of it in the lesion
    _Vessel(3, 10.0, 0, 1.0, 9.0),  # AORTA: far
    _Vessel(4, 3.5, 3, 1.0, 2.5),  # CELIAC TRUNK: near
    _Vessel(5, 3.5, 0, None),  # SMA: encased
)


def draw_vessels(
    rng: np.random.Generator,
    latent: NDArray[np.float32],
    centre: NDArray[np.float64],
    radius: float,
    spacing: Sequence[float],
) -> NDArray[np.uint8]:
    """Return labels: 1 PORTA touched, 2 SMV half in the lesion, 3 AORTA far, 4 CELIAC TRUNK near, 5 SMA encased."""
    x, y, z = positions(latent.shape, spacing)
    along = z - centre[2]
    away = math.atan2(-centre[1], -centre[0])
    nearest = np.zeros(latent.shape)
    labels = np.zeros(latent.shape, np.uint8)
    for vessel in _VESSELS:
        width = vessel.radius * math.exp(0.08 * rng.standard_normal())
        angle = away + vessel.side * math.pi / 2 + rng.uniform(-0.2, 0.2)
        outwards = np.array([math.cos(angle), math.sin(angle)])
        tilt = rng.uniform(-0.12, 0.12, 2)
        bend = rng.uniform(0.001, 0.003)
        if vessel.into is None:
            width = min(width, 0.45 * radius)
            distance = 0.0
        else:
            distance = _surface(latent, centre, radius, outwards, spacing) + vessel.into * width + vessel.gap
        axis_x, axis_y = (
            centre[k] + distance * outwards[k] + tilt[k] * along + bend * along**2 * outwards[k] for k in (0, 1)
        )
        slope_x, slope_y = (tilt[k] + 2 * bend * along * outwards[k] for k in (0, 1))
        # the part of the offset along the axis does not count, or tilted tubes would be flat
        dx, dy = x - axis_x, y - axis_y
        lengthwise = (dx * slope_x + dy * slope_y) ** 2 / (1 + slope_x**2 + slope_y**2)
        depth = width - np.sqrt(np.maximum(dx**2 + dy**2 - lengthwise, 0.0))
        mine = depth > nearest
        labels[mine] = vessel.label
        nearest[mine] = depth[mine]
    return labels


def enhance(image: NDArray[np.float32], labels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the image with contrast medium in the vessels."""
    return image + np.float32(_ENHANCEMENT) * (labels > 0).astype(np.float32)


def _surface(
    latent: NDArray[np.float32],
    centre: NDArray[np.float64],
    radius: float,
    outwards: NDArray[np.float64],
    spacing: Sequence[float],
) -> float:
    """Distance from the lesion's centre to where it first ends, outwards in the slice; its radius if unknown."""
    middle = 0.5 * (np.array(latent.shape) - 1)
    distances = np.arange(0.0, 4 * radius, 0.25 * min(spacing))
    points = centre + distances[:, None] * np.array([*outwards, 0.0])
    index = np.rint(points / np.array(spacing) + middle).astype(int)
    there = ((index >= 0) & (index < latent.shape)).all(axis=1)
    inside = np.zeros(len(distances), dtype=bool)
    inside[there] = latent[tuple(index[there].T)] > 0
    ends = np.flatnonzero(~inside)
    return float(distances[ends[0]]) if inside[0] and ends.size else radius
