"""Structures that raters draw."""

import numpy as np


def ball(shape, radius, centre=0.0):
    """A ball of voxels around the middle of an image, shifted by ``centre``."""
    grid = np.indices(shape) - (np.array(shape) / 2 + centre).reshape(-1, *[1] * len(shape))
    return ((grid**2).sum(axis=0) < radius**2).astype(np.uint8)
