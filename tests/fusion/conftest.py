"""Raters of one structure."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import ball


@pytest.fixture
def five(rng):
    """Five raters of one structure in 3-D, of different accuracy."""
    shape = (17, 14, 11)
    masks = [ball(shape, 4 + rng.normal(0, 0.6), rng.normal(0, 0.8, 3)) for _ in range(5)]
    noise = rng.random(shape) < 0.02
    masks[3] = masks[3] ^ noise.astype(np.uint8)
    return np.stack(masks)
