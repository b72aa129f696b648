"""The tally of a case whose files are read slab by slab: the sum of its slabs' tallies, which is that of the whole."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.threads import n_processors
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import check_voxels
from mrcalib.io import Case, LoadedCase, LoadOptions, OpenCase
from mrcalib.io.slabs import open_case
from mrcalib.roi import RoiRecall
from mrcalib.tallies import RunningTally, Tally, tally

__all__ = ["TalliedCase", "tally_files"]

TOLD_WHOLE = 1 << 28
"""Voxels up to which a case is loaded whole to tell all that is wrong with it, rather than what a slab shows of it."""


class TalliedCase(NamedTuple):
    """What is kept of a case; its fingerprint where it was taken on the way."""

    tally: Tally
    voxel_volume: float | None
    recall: RoiRecall | None
    fingerprint: str | None = None


def tally_files(
    case: Case,
    *,
    grid: ProbabilityGrid | None,
    options: LoadOptions,
    invalid: str,
    n_jobs: int | None,
    digest: bool = False,
) -> TalliedCase:
    """Tally a case in bounded memory if it lies in files, with the checks and the words of `Case.load`.

    Parameters
    ----------
    case : Case
        With one rater at least.
    grid, options, invalid
        As for ``tally_cases``.
    n_jobs : int or None
        Threads that read files beside each other while slabs are tallied; None takes as many as there are processors.
    digest : bool
        Whether the case's fingerprint is taken on the way, so that files are read once.
    """
    if all(isinstance(source, np.ndarray) for source in (*case.members, *case.masks.values()) if source is not None):
        return _whole(case.load(options=options), grid, invalid, n_jobs)
    size = 0
    try:
        with open_case(case, options, crop=True, digest=digest) as opened:
            size = prod(opened.shape)
            found = _by_slabs(opened, grid, invalid, n_processors() if n_jobs is None or n_jobs < 0 else n_jobs)
            return found._replace(fingerprint=opened.fingerprint() if digest else None)
    except (ValueError, TypeError):
        if size > TOLD_WHOLE:
            raise
    return _whole(case.load(options=options), grid, invalid, n_jobs)


def _by_slabs(opened: OpenCase, grid: ProbabilityGrid | None, invalid: str, n_jobs: int) -> TalliedCase:
    running = RunningTally(grid or ProbabilityGrid.standard(), opened.rater_names, invalid=invalid)
    tallied = not opened.has_region and invalid == "raise"  # then the tally has every voxel
    for slab in opened.slabs(n_jobs=n_jobs, overlaps=not tallied):
        running.add(
            check_voxels(
                slab.probs,
                list(slab.raters),
                roi=slab.roi,
                soft=False,
                case=opened.id,
                arguments=("roi", "positive", "invalid"),
            )
        )
    counted = running.tally()
    if tallied:
        opened.require_agreement(_shared(counted))
    recall = None
    if opened.roi_recall is not None and opened.rater_recalls is not None:
        recall = RoiRecall(opened.roi_recall, opened.rater_recalls)
    return TalliedCase(counted, opened.voxel_volume_ml, recall)


def _shared(counted: Tally) -> NDArray[np.int64]:
    """Voxels that two raters marked both, and on the diagonal those that one marked."""
    bits = counted.cells.marked[:, None] >> np.arange(len(counted.raters)) & 1
    return bits.T @ (counted.cells.voxels[:, None] * bits)


def _whole(loaded: LoadedCase, grid: ProbabilityGrid | None, invalid: str, n_jobs: int | None) -> TalliedCase:
    counted = tally(
        loaded.probs,
        list(loaded.raters),
        grid=grid,
        roi=loaded.roi,
        rater_names=loaded.rater_names,
        invalid=invalid,
        case=loaded.id,
        n_jobs=n_jobs,
    )
    recall = None
    if loaded.roi_recall is not None and loaded.rater_recalls is not None:
        recall = RoiRecall(loaded.roi_recall, loaded.rater_recalls)
    return TalliedCase(counted, loaded.voxel_volume_ml, recall)
