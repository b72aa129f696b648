"""Simulated voxels that several raters answered, not all of them everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray


@dataclass(frozen=True)
class Voxels:
    """Probabilities (n,) and answers (n_raters, n): 0, 1, or NaN where a rater is missing."""

    probs: NDArray[np.float64]
    answers: NDArray[np.float64]

    @property
    def pairs(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Each voxel repeated for every rater who answered there: the expansion that other libraries can score."""
        repeated = np.broadcast_to(self.probs, self.answers.shape)
        known = ~np.isnan(self.answers)
        return repeated[known], self.answers[known].astype(int)


def simulate(*, n: int = 3000, n_raters: int = 4, missing: float = 0.2, seed: int = 0) -> Voxels:
    rng = np.random.default_rng(seed)
    probs = rng.beta(0.4, 1.2, n).astype(np.float32).astype(np.float64)
    probs[: n // 20] = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], n // 20)
    bias = rng.normal(0, 0.8, n_raters)[:, None]
    logit = np.log(np.clip(probs, 1e-4, 1 - 1e-4)) - np.log1p(-np.clip(probs, 1e-4, 1 - 1e-4))
    answers = (rng.random((n_raters, n)) < 1 / (1 + np.exp(-0.7 * logit - bias))).astype(np.float64)
    answers[1:][rng.random((n_raters - 1, n)) < missing] = np.nan
    return Voxels(probs, answers)


@pytest.fixture(scope="session")
def simulated():
    """The simulation, for tests that draw their own."""
    return simulate


@pytest.fixture
def complete() -> Voxels:
    """Every rater answered everywhere."""
    return simulate(missing=0.0)


@pytest.fixture
def partial() -> Voxels:
    """Every rater but the first is missing at a fifth of the voxels."""
    return simulate(missing=0.2)
