"""Hypothesis strategies: probabilities where code breaks, and raters who are missing here and there."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from mrcalib.grid import ProbabilityGrid

SMALL_GRID = ProbabilityGrid(4, edges=(0.1, 0.3, 0.5, 0.75))
"""About 870 bins, so that a table for 8 raters stays small."""

_SPECIAL = [0.0, 1.0, 0.5, 0.1, 0.3, 0.75, 2.0**-24, 1 - 2.0**-24, 2.0**-32, 2.0**-33, 2.0**-126, 2.0**-130, 2.0**-149]


def with_neighbours(values):
    """The float32 numbers in [0, 1] that are ``values`` or next to one."""
    v = np.asarray(values, dtype=np.float32)
    found = np.unique(np.concatenate([v, np.nextafter(v, np.float32(-1)), np.nextafter(v, np.float32(2))]))
    return found[(found >= 0) & (found <= 1)] + np.float32(0)  # no -0.0


SPECIAL = with_neighbours(_SPECIAL)

probability = st.one_of(
    st.sampled_from(SPECIAL.tolist()),
    st.sampled_from(SMALL_GRID.lower.tolist()),
    st.floats(0, 1, width=32).map(abs),
    st.floats(0, 2**-10, width=32).map(abs),
    st.floats(0, 2**-10, width=32).map(lambda q: float(np.float32(1) - np.float32(q))),
)


def probabilities(n):
    """float32 arrays of ``n`` probabilities, with exact 0, 1/2 and 1, denormals and the neighbours of edges."""
    return arrays(np.float32, n, elements=probability)


@dataclass(frozen=True)
class Reading:
    """Probabilities (n,) float32, answers (R, n) of 0, 1 and nan, and strata (n,)."""

    probs: NDArray[np.float32]
    answers: NDArray[np.float64]
    strata: NDArray[np.uint8]

    def part(self, which):
        return Reading(self.probs[which], self.answers[:, which], self.strata[which])


@st.composite
def readings(draw, max_raters=8, missing=True, min_voxels=0, max_voxels=30):
    """Voxels that 1 to ``max_raters`` raters answered; some raters not here or there, some not at all."""
    n = draw(st.integers(min_voxels, max_voxels))
    n_raters = draw(st.integers(1, max_raters))
    answers = draw(arrays(np.float64, (n_raters, n), elements=st.sampled_from([0.0, 1.0])))
    if missing and draw(st.booleans()):
        answers[draw(arrays(np.bool_, (n_raters, n), elements=st.sampled_from([False, False, True])))] = np.nan
    if missing:
        answers[draw(arrays(np.bool_, n_raters, elements=st.sampled_from([False, False, False, True])))] = np.nan
    return Reading(draw(probabilities(n)), answers, draw(arrays(np.uint8, n, elements=st.integers(0, 2))))


@st.composite
def partitions(draw, n, max_parts=5):
    """A split of n voxels into runs at random points, empty ones included, in random order."""
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=max_parts - 1)))
    bounds = [0, *cuts, n]
    return draw(st.permutations([slice(a, b) for a, b in pairwise(bounds)]))


@st.composite
def responses_and_weights(draw, max_size=25, weights=None):
    """What isotonic regression is given: responses in [0, 1] and positive weights."""
    n = draw(st.integers(1, max_size))
    fraction = st.one_of(st.integers(0, 5).map(lambda k: k / 5), st.floats(0, 1))
    weight = st.floats(1e-3, 1e6) if weights is None else weights
    return draw(arrays(np.float64, n, elements=fraction)), draw(arrays(np.float64, n, elements=weight))


@st.composite
def knots(draw, max_knots=12):
    """Knots of a piecewise linear map: strictly ascending x, non-decreasing y."""
    place = st.one_of(st.floats(0, 1), probability, st.sampled_from([0.0, 1.0, 0.5]))
    x = np.unique(np.abs(draw(st.lists(place.filter(lambda v: v == 0 or v > 1e-300), min_size=1, max_size=max_knots))))
    y = np.sort(draw(arrays(np.float64, x.size, elements=st.floats(0, 1))))
    return x, np.abs(y)
