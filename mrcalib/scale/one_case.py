"""One case tallied: the sum of its slabs' tallies, for each class, and where it is kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcalib._files import file_stem
from mrcalib._kernels.threads import n_processors
from mrcalib._version import __version__
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import ProbabilityRange, check_voxels
from mrcalib.io import Case, ImageClass, LoadOptions, OpenCase
from mrcalib.io.sources import fingerprint, is_path
from mrcalib.roi import RoiRecall
from mrcalib.tallies import RunningTally, Tally, tally

__all__ = ["Classes", "TalliedCase", "tally_files", "tally_or_load"]

Classes = Sequence[ImageClass] | None
_ARGUMENTS = ("roi", "positive", "invalid")
"""What the functions that read cases take, as errors may name it."""


class TalliedCase(NamedTuple):
    """What is kept of a case.

    Attributes
    ----------
    tallies : tuple of Tally
        Of each class; one without classes.
    voxel_volume : float or None
        In mL.
    recall : RoiRecall or None
        None without a region of interest.
    fingerprint : str or None
        Of what is counted, where it was taken on the way.
    """

    tallies: tuple[Tally, ...]
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
    classes: Classes = None,
    digest: bool = False,
) -> TalliedCase:
    """Tally a case, in bounded memory where it lies in files, with the checks and messages of `Case.load`.

    Parameters
    ----------
    case : Case
        With one rater at least.
    grid, options, invalid, classes
        As for ``tally_cases``.
    n_jobs : int or None
        Threads that read files beside each other while slabs are tallied, or that share the voxels of arrays; None takes as
        many as there are processors.
    digest : bool
        Whether the case's fingerprint is taken on the way, so that files are read once.
    """
    grid = grid or ProbabilityGrid.standard()
    in_files = any(map(is_path, (*case.members, *case.masks.values())))
    with OpenCase(case, options, classes=classes, crop=in_files, digest=digest) as opened:
        if not in_files:
            tallies: tuple[Tally, ...] | None = _whole(opened, grid, invalid, n_jobs)
        else:
            tallies = _by_slabs(opened, grid, invalid, n_processors() if n_jobs is None or n_jobs < 0 else n_jobs)
        if tallies is not None:
            found = opened.fingerprint(counted_only=True) if digest else None
            return TalliedCase(tallies, opened.voxel_volume_ml, opened.recall, found)
    _refuse_probs(case, options, classes)
    raise AssertionError  # pragma: no cover - the line above raises


def _by_slabs(opened: OpenCase, grid: ProbabilityGrid, invalid: str, n_threads: int) -> tuple[Tally, ...] | None:
    """The tally of each class; None as soon as there is a value that must not be."""
    running = [RunningTally(grid, opened.rater_names, invalid="drop") for _ in range(opened.n_classes)]
    all_counted = not opened.has_region and invalid == "raise"  # then overlaps of raters follow from the tallies
    for slab in opened.slabs(n_jobs=n_threads, overlaps=not all_counted):
        for place, counts in enumerate(running):
            masks = [None if mask is None else mask[place] for mask in slab.raters]
            counts.add(
                check_voxels(slab.probs[place], masks, roi=slab.roi, soft=False, case=opened.id, arguments=_ARGUMENTS)
            )
            if counts.refused and invalid == "raise":
                return None
    tallies = tuple(counts.tally() for counts in running)
    if all_counted:
        opened.require_agreement([_shared(counted) for counted in tallies])
    return tallies


def _whole(opened: OpenCase, grid: ProbabilityGrid, invalid: str, n_jobs: int | None) -> tuple[Tally, ...]:
    """The tally of each class of arrays in memory: one slab, whose voxels threads share."""
    slab = opened.whole()
    return tuple(
        tally(
            probs,
            [None if mask is None else mask[place] for mask in slab.raters],
            grid=grid,
            roi=slab.roi,
            rater_names=opened.rater_names,
            invalid=invalid,
            case=opened.id,
            n_jobs=n_jobs,
        )
        for place, probs in enumerate(slab.probs)
    )


def tally_or_load(
    case: Case,
    checkpoints: str | Path | None,
    grid: ProbabilityGrid,
    options: LoadOptions,
    *,
    invalid: str,
    n_jobs: int | None,
    classes: Classes = None,
) -> tuple[TalliedCase, str]:
    """A case's tallies, from disk if those were made of the same inputs in the same way, and what was done.

    Parameters
    ----------
    case, grid, options, invalid, n_jobs, classes
        As for ``tally_files``.
    checkpoints : str, Path or None
        Folder of tallies, or with classes a folder of such folders by name of the class.

    Returns
    -------
    TalliedCase
    {"tallied", "unchanged"}
    """
    if checkpoints is None:
        done = tally_files(case, grid=grid, options=options, invalid=invalid, n_jobs=n_jobs, classes=classes)
        return done, "tallied"
    file = f"{file_stem(case.id)}.npz"
    kinds = {"": options} if classes is None else {one.name: one.options(options) for one in classes}
    kept = {Path(checkpoints) / name / file: _cache_key(kind, grid, invalid) for name, kind in kinds.items()}
    if all(path.exists() for path in kept):
        found = _kept(case, kept, fingerprint(case, counted_only=True), options)
        if found is not None:
            return found, "unchanged"
    done = tally_files(case, grid=grid, options=options, invalid=invalid, n_jobs=n_jobs, classes=classes, digest=True)
    inputs = done.fingerprint or fingerprint(case, counted_only=True)
    for (path, key), counted in zip(kept.items(), done.tallies, strict=True):
        counted.save(
            path,
            inputs=_hash(inputs, key),
            case=case.id,
            group=case.group or case.id,
            voxel_volume=done.voxel_volume,
            roi_recall=None if done.recall is None else asdict(done.recall),
            agreement_checked=options.check_agreement,
        )
    return done, "tallied"


def _kept(case: Case, kept: dict[Path, str], inputs: str, options: LoadOptions) -> TalliedCase | None:
    """The tallies on disk; None if one is damaged, or was made of something else or with fewer checks."""
    tallies: list[Tally] = []
    header: dict[str, Any] = {}
    for path, key in kept.items():
        try:
            part, header = Tally.load_with_header(path)
        except ValueError:
            return None
        checked = header.get("agreement_checked", False) or not options.check_agreement
        if header.get("inputs") != _hash(inputs, key) or header.get("case") != case.id or not checked:
            return None
        tallies.append(part)
    shares = header.get("roi_recall")
    recall = None if shares is None else RoiRecall(shares["union"], tuple(shares["per_rater"]))
    return TalliedCase(tuple(tallies), header["voxel_volume"], recall)


def _cache_key(options: LoadOptions, grid: ProbabilityGrid, invalid: str) -> str:
    """What counts depend on besides the files."""
    return "|".join([__version__, options.counts_key(), invalid, str(grid.mantissa_bits), *map(repr, grid.edges)])


def _hash(fingerprint_of_case: str, key: str) -> str:
    return hashlib.sha256(f"{fingerprint_of_case}|{key}".encode()).hexdigest()


def _refuse_probs(case: Case, options: LoadOptions, classes: Classes) -> None:
    """Read the probabilities of a case once more, to refuse them with counts over the whole case."""
    bare = replace(case, raters={}, index_aligned=(), vessels=None)
    with OpenCase(bare, options, classes=classes, crop=True) as opened:
        found = [ProbabilityRange() for _ in range(opened.n_classes)]
        for slab in opened.slabs():
            for values, probs in zip(found, slab.probs, strict=True):
                values.add((probs if slab.roi is None else probs[slab.roi]).astype(np.float32, copy=False))
    next(values for values in found if values.n_wrong).refuse(case.id, arguments=_ARGUMENTS)


def _shared(counted: Tally) -> NDArray[np.int64]:
    """Voxels that two raters marked both, and on the diagonal those that one marked."""
    bits = counted.cells.marked[:, None] >> np.arange(len(counted.raters)) & 1
    return bits.T @ (counted.cells.voxels[:, None] * bits)
