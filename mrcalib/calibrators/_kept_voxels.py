"""Voxels of many cases, read once and kept where some fit must look into them: a second pass that many fits share."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.second_pass import SKIPPED, find_codes
from mrcalib.calibrators._counting import reading_order
from mrcalib.calibrators._partition import lookup
from mrcalib.inputs import Voxels

__all__ = ["KeptVoxels"]

FloatArray = NDArray[np.float64]
IN_MEMORY = 1 << 30  # bytes; what is beyond is kept in temporary files


class KeptVoxels:
    """The voxels of cases whose probabilities lie in some cells, as small as they can be kept.

    Parameters
    ----------
    read : sequence of callable
        Of each case, a function that reads its voxels; each is called once.
    cells : iterable of (int, int)
        Ordinals from which (included) to which (not included) each cell reaches; none overlap.
    n_jobs : int, optional
        Cases read at the same time; 1 by default.
    """

    def __init__(
        self, read: Sequence[Callable[[], Voxels]], cells: Iterable[tuple[int, int]], n_jobs: int | None = None
    ) -> None:
        bounds = np.array(sorted(cells), dtype=np.int64).reshape(-1, 2)
        tables = lookup(bounds[:, 0].copy(), bounds[:, 1].copy(), np.arange(len(bounds), dtype=np.int32))
        self._folder: Path | None = None
        self._in_memory = 0
        with ThreadPoolExecutor(n_jobs or 1) as pool:
            kept = pool.map(lambda one: _inside(one(), tables), read)
            self._cases = [self._stored(voxels, str(number)) for number, voxels in enumerate(kept)]

    def weighted(self, weights: FloatArray) -> Iterable[tuple[Voxels, float]]:
        """The voxels of the cases of positive weight, with their weights."""
        return [(self._cases[i], float(weights[i])) for i in reading_order(weights)]

    def _stored(self, voxels: Voxels, name: str) -> Voxels:
        """The voxels, moved to files if memory holds enough of them."""
        arrays = [voxels.probs, *(mask for mask in voxels.masks if mask is not None)]
        size = sum(array.nbytes for array in arrays)
        if self._in_memory + size <= IN_MEMORY:
            self._in_memory += size
            return voxels
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="mrcalib-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        folder = self._folder
        masks = tuple(
            None if mask is None else _moved(mask, folder / f"{name}-{r}") for r, mask in enumerate(voxels.masks)
        )
        return replace(voxels, probs=_moved(voxels.probs, folder / name), masks=masks)


def _moved(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The same values in a file that is mapped into memory."""
    np.save(path.with_suffix(".npy"), np.ma.getdata(array))
    mapped: NDArray[Any] = np.load(path.with_suffix(".npy"), mmap_mode="r")
    if np.ma.isMaskedArray(array):
        np.save(path.with_suffix(".mask.npy"), np.ma.getmaskarray(array))
        return np.ma.MaskedArray(mapped, np.load(path.with_suffix(".mask.npy"), mmap_mode="r"))
    return mapped


def _inside(voxels: Voxels, tables: tuple[NDArray[np.int32], NDArray[np.int32]]) -> Voxels:
    """The voxels in the cells, in one order, with masks of 0 and 1."""
    parts = []
    for chunk in voxels.chunks():
        single = np.ascontiguousarray(chunk.single())
        code = np.empty(single.size, np.int32)
        find_codes(single, *tables, code)
        parts.append(chunk.take(np.flatnonzero(code != SKIPPED)))
    if not parts:
        return replace(voxels, probs=voxels.probs[:0], masks=tuple(None for _ in voxels.masks), roi=None, positive=None)
    masks: list[NDArray[Any] | None] = []
    for r, mask in enumerate(voxels.masks):
        if mask is None:
            masks.append(None)
            continue
        values = np.concatenate([part.masks[r] for part in parts])
        if any(part.present[r].size for part in parts):
            known = [part.present[r] if part.present[r].size else np.ones(part.probs.size, np.uint8) for part in parts]
            masks.append(np.ma.MaskedArray(values, np.concatenate(known) == 0))
        else:
            masks.append(values)
    probs = np.concatenate([part.probs for part in parts])
    return replace(voxels, probs=probs, masks=tuple(masks), roi=None, positive=None)
