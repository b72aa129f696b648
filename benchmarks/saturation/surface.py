"""TDSC of any ascending map from the six places where it crosses the thresholds: all that TDSC knows of a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.saturation.rules import FloatArray
from benchmarks.saturation.scores import THRESHOLDS, Map
from mrcalib.responses import Responses


class Surface:
    """Each case's Dice coefficient of {p > cut} and {response > t}, for every cut and each threshold t.

    Attributes
    ----------
    empty : ndarray of shape (n_cases, 6), bool
        Whether no voxel's response lies above the threshold: a map that does not reach it then scores 1, else 0.
    """

    def __init__(self, cases: Sequence[Responses]) -> None:
        self._cases = [_cuts(case) for case in cases]
        self.empty = np.array([dice[:, -1] == 1 for _, dice in self._cases])

    def dice(self, mapping: Map) -> FloatArray:
        """Dice of an ascending map, (n_cases, 6)."""
        return np.array([[row[k] for row, k in zip(dice, _cut(mapping(p)), strict=True)] for p, dice in self._cases])

    def tdsc(self, mapping: Map) -> float:
        """Mean over cases."""
        return float(self.dice(mapping).mean())

    def band(self, mapping: Map, gap: float) -> float:
        """The mean over cases of the largest |change of TDSC| by any ascending map of p within ``gap`` of this one."""
        changes = []
        for p, dice in self._cases:
            value = mapping(p)
            ends = zip(dice, _cut(value), _cut(value + gap), _cut(value - gap), strict=True)
            changes.append(np.mean([np.abs(row[low : high + 1] - row[k]).max() for row, k, low, high in ends]))
        return float(np.mean(changes))


def _cut(value: FloatArray) -> list[int]:
    """How many values, of ascending ones, do not exceed each threshold."""
    return [int(k) for k in np.searchsorted(value, THRESHOLDS, side="right")]


def _cuts(case: Responses) -> tuple[FloatArray, FloatArray]:
    """Ascending probabilities, and Dice by threshold if only those from the k-th on are foreground, (6, n + 1)."""
    p, where = np.unique(case.prob, return_inverse=True)
    response = case.votes / case.answers

    def from_on(voxels: FloatArray) -> FloatArray:
        return np.append(np.cumsum(np.bincount(where, voxels, p.size)[::-1])[::-1], 0.0)

    size, dice = from_on(case.count), []
    for t in THRESHOLDS:
        shared = from_on(case.count * (response > t))
        both = size + shared[0]
        dice.append(np.divide(2 * shared, both, out=np.ones_like(both), where=both > 0))
    return p, np.array(dice)
