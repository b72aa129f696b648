"""The voxels of a study's cases, read once and kept for every fit that needs a second pass."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.cohort import Cohort
from mrcalib.inputs import Voxels
from mrcalib.io import Case, LoadOptions
from mrcalib.scale import voxels_of_case

__all__ = ["KeptVoxels"]

IN_MEMORY = 1 << 31
"""Bytes of voxels up to which they are kept in memory; more are kept in a temporary file."""


class KeptVoxels:
    """The voxels that count in each case, without those of probability 0, which no second pass looks into.

    Cases lie one after the other in common arrays, so that the fit of a fold runs over a few long pieces and not over each
    case. It is called with the weights of the cases, as ``data_of_cohort`` calls it.

    Parameters
    ----------
    cases : sequence of Case
        Those of the cohort, in its order; each is read once, when it is asked for first.
    cohort : Cohort
        Their tallies, which tell how many voxels there are.
    options : LoadOptions
        How the cases are read.
    """

    def __init__(self, cases: Sequence[Case], cohort: Cohort, options: LoadOptions) -> None:
        self._cases, self._cohort, self._options = cases, cohort, options
        self._parts: list[Voxels] = []
        self._starts: list[int] = []

    def __call__(self, weights: NDArray[np.float64]) -> Iterator[tuple[Voxels, float]]:
        """The voxels of the cases of positive weight, in pieces of equal weight, and that weight."""
        if not self._parts:
            self._read()
        for weight in np.unique(weights[weights > 0]):
            included = np.flatnonzero(weights == weight)
            for run in np.split(included, np.flatnonzero(np.diff(included) > 1) + 1):
                for piece in self._alike(run):
                    yield self._joined(piece), float(weight)

    def _alike(self, run: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Neighbouring cases whose voxels can be one piece: of one dtype, and annotated by the same raters throughout."""
        kinds = [self._kind(self._parts[i]) for i in run]
        breaks = [i for i in range(1, len(run)) if kinds[i] != kinds[i - 1] or kinds[i] is None]
        return iter(np.split(run, breaks))

    @staticmethod
    def _kind(part: Voxels) -> tuple[Any, ...] | None:
        plain = all(mask is None or (not np.ma.isMaskedArray(mask) and mask.dtype == np.uint8) for mask in part.masks)
        return (part.probs.dtype, *(mask is None for mask in part.masks)) if plain else None

    def _joined(self, cases: NDArray[np.intp]) -> Voxels:
        first: Voxels = self._parts[cases[0]]
        if len(cases) == 1:
            return first
        where = slice(self._starts[cases[0]], self._starts[cases[-1]] + self._parts[cases[-1]].n_voxels)
        masks = tuple(
            None if mask is None else rows[where] for mask, rows in zip(first.masks, self._masks, strict=True)
        )
        joined: Voxels = replace(first, probs=self._probs[first.probs.dtype][where], masks=masks, case=None)
        return joined

    def _read(self) -> None:
        """Read every case once, and lay its voxels behind those of the case before."""
        most = int((self._cohort.n_voxels - self._cohort.n_zeros).sum())
        n_raters = len(self._cohort.raters)
        in_memory = most * (n_raters + 8) <= IN_MEMORY

        def room(dtype: Any) -> NDArray[Any]:
            if in_memory:
                return np.empty(most, dtype)
            with tempfile.TemporaryFile(prefix="mrcalib-") as file:  # it is gone when nothing maps it any more
                return np.memmap(file, dtype, "w+", shape=(max(1, most),))

        self._probs: dict[np.dtype[Any], NDArray[Any]] = {}
        self._masks = [room(np.uint8) for _ in range(n_raters)]
        smallest = self._cohort.grid.lower[1]  # of what is not in the bin of exact zeros
        start = 0
        for case in self._cases:
            voxels = voxels_of_case(case, raters=self._cohort.raters, options=self._options)
            counts = voxels.answered() & (voxels.probs >= smallest)
            stop = start + int(np.count_nonzero(counts))
            dtype = np.dtype(np.float64 if voxels.probs.dtype.itemsize > 4 else np.float32)
            if dtype not in self._probs:
                self._probs[dtype] = room(dtype)
            probs = self._probs[dtype][start:stop]
            probs[:] = voxels.probs[counts]
            masks: list[Any] = []
            for mask, rows in zip(voxels.masks, self._masks, strict=True):
                if mask is None or np.ma.isMaskedArray(mask) or mask.dtype not in (np.bool_, np.uint8):
                    masks.append(None if mask is None else mask[counts])
                    continue
                rows[start:stop] = mask[counts]
                masks.append(rows[start:stop])
            self._parts.append(replace(voxels, probs=probs, masks=tuple(masks), roi=None, order="C"))
            self._starts.append(start)
            start = stop
