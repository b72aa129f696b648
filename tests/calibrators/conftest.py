"""Simulated voxels with several raters, and the oracle that isotonic calibrators are held against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

KINDS = ("smooth", "saturated", "ties", "rare", "buckets")


@dataclass(frozen=True)
class Voxels:
    """Probabilities (n,) and answers (n_raters, n): 0, 1, or NaN where a rater is missing."""

    probs: NDArray[np.floating]
    answers: NDArray[np.float64]

    @property
    def present(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.answers)

    def rows(self, rater_weight=None, sample_weight=None):
        """Float64 probability, mean answer and weight of every voxel that somebody answered."""
        rater = np.ones(len(self.answers)) if rater_weight is None else np.asarray(rater_weight)
        voxel = np.ones(self.probs.size) if sample_weight is None else np.asarray(sample_weight)
        weight = (rater @ self.present) * voxel
        votes = (rater @ np.where(self.present, self.answers, 0.0)) * voxel
        used = weight > 0
        return self.probs.astype(np.float64)[used], votes[used] / weight[used], weight[used]

    def queries(self):
        """Where two maps are compared: every probability, the middle between neighbours, and others."""
        known = np.unique(self.probs.astype(np.float64))
        others = np.random.default_rng(0).random(500)
        return np.concatenate([known, (known[1:] + known[:-1]) / 2, others, [0.0, 1.0]])


def simulate(n=2000, n_raters=4, *, kind="smooth", missing=0.2, dtype=np.float64, seed=0) -> Voxels:
    rng = np.random.default_rng(seed)
    probs = {
        "smooth": lambda: rng.beta(0.4, 1.2, n),
        "saturated": lambda: np.where(rng.random(n) < 0.6, rng.choice([0.0, 1.0], n), rng.beta(0.1, 0.1, n)),
        "ties": lambda: np.round(rng.random(n), 2),
        "rare": lambda: 10 ** -rng.uniform(0, 9, n),
        # float64 probabilities that one bin of the grid cannot tell apart, nor can float32
        "buckets": lambda: rng.choice([0.1, 0.3, 0.6, 0.9], n) + rng.integers(0, 50, n) * 1e-9,
    }[kind]()
    probs = probs.astype(dtype)
    p = probs.astype(np.float64)
    answers = (rng.random((n_raters, n)) < np.clip(p**1.5 + 0.05 * np.sin(40 * p), 0, 1)).astype(np.float64)
    answers[1:][rng.random((n_raters - 1, n)) < missing] = np.nan
    return Voxels(probs, answers)


def sklearn_isotonic(probs, response, weight):
    """scikit-learn's isotonic regression to mean answers, weighted by how many gave one."""
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    return model.fit(np.asarray(probs, np.float64), response, sample_weight=weight).predict


@pytest.fixture(scope="session")
def simulated():
    return simulate


@pytest.fixture(scope="session")
def oracle():
    return sklearn_isotonic
