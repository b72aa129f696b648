"""Tally cases one by one, several at a time, skipping those whose tally on disk is still good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

from mrcalib.cohort import Cohort
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, check_voxels
from mrcalib.io import Case, ImageClass, LoadOptions
from mrcalib.roi import RoiRecall
from mrcalib.scale.cluster import Scheduler
from mrcalib.scale.cluster_cases import tally_on_cluster
from mrcalib.scale.one_case import TalliedCase, tally_files, tally_or_load
from mrcalib.tallies import Tally

__all__ = ["Progress", "reading_of", "tally_case", "tally_cases", "voxels_of_case"]

Progress = Callable[[str, str], None]
"""Called with a case's id and what became of it: "tallied", "unchanged" or "failed"."""


def tally_case(
    case: Case,
    *,
    grid: ProbabilityGrid | None = None,
    options: LoadOptions | None = None,
    invalid: str = "raise",
    n_jobs: int | None = None,
) -> tuple[Tally, float | None]:
    """Read one case and tally it, slab by slab where its files allow (`Case.open`), so that it may be larger than memory.

    Parameters
    ----------
    case : Case
        With one rater at least.
    grid, options, invalid
        As for ``tally_cases``.
    n_jobs : int, optional
        Threads that read files beside each other, or share the voxels of arrays; by default as many as there are
        processors. The result does not depend on it.

    Returns
    -------
    tally : Tally
    voxel_volume : float or None
        Volume of a voxel in mL; None where neither a file nor the case states the spacing.
    """
    found = tally_files(case, grid=grid, options=options or LoadOptions(), invalid=invalid, n_jobs=n_jobs)
    return found.tallies[0], found.voxel_volume


def reading_of(cases: Sequence[Case], options: LoadOptions | None = None) -> dict[str, Any]:
    """How the probabilities of cases were made, as JSON values: what a calibrator's provenance records.

    Parameters
    ----------
    cases : sequence of Case
        None of them is read here.
    options : LoadOptions, optional
        How they were read.

    Returns
    -------
    dict
        ``LoadOptions.to_dict()``; "members", the numbers of ensemble members that cases have; and "roi" and "coarse", whether
        any case has one.
    """
    return (options or LoadOptions()).to_dict() | {
        "members": sorted({len(case.members) for case in cases}),
        "roi": any(case.roi is not None for case in cases),
        "coarse": any(case.coarse is not None for case in cases),
    }


def voxels_of_case(case: Case, *, raters: Sequence[str], options: LoadOptions | None = None) -> Voxels:
    """The voxels of one case in memory, for a second pass.

    Parameters
    ----------
    case : Case
        As it was tallied.
    raters : sequence of str
        Names of the study's raters; those that the case does not name are missing.
    options : LoadOptions, optional
        How files are read.
    """
    loaded = case.load(options=options or LoadOptions())
    known = dict(zip(loaded.rater_names, loaded.raters, strict=True))
    return check_voxels(
        loaded.probs,
        [known.get(name) for name in raters],
        roi=loaded.roi,
        case=loaded.id,
        arguments=("roi", "positive", "invalid"),
    )


@overload
def tally_cases(
    cases: Iterable[Case],
    *,
    grid: ProbabilityGrid | None = ...,
    options: LoadOptions | None = ...,
    classes: None = ...,
    invalid: str = ...,
    n_jobs: int | None = ...,
    checkpoints: str | Path | None = ...,
    failures: dict[str, Exception] | None = ...,
    progress: Progress | None = ...,
    recalls: dict[str, RoiRecall] | None = ...,
    scheduler: Scheduler = ...,
    dask_address: str | None = ...,
) -> Cohort: ...


@overload
def tally_cases(
    cases: Iterable[Case],
    *,
    grid: ProbabilityGrid | None = ...,
    options: LoadOptions | None = ...,
    classes: Sequence[ImageClass],
    invalid: str = ...,
    n_jobs: int | None = ...,
    checkpoints: str | Path | None = ...,
    failures: dict[str, Exception] | None = ...,
    progress: Progress | None = ...,
    recalls: dict[str, RoiRecall] | None = ...,
    scheduler: Scheduler = ...,
    dask_address: str | None = ...,
) -> dict[str, Cohort]: ...


def tally_cases(
    cases: Iterable[Case],
    *,
    grid: ProbabilityGrid | None = None,
    options: LoadOptions | None = None,
    classes: Sequence[ImageClass] | None = None,
    invalid: str = "raise",
    n_jobs: int | None = None,
    checkpoints: str | Path | None = None,
    failures: dict[str, Exception] | None = None,
    progress: Progress | None = None,
    recalls: dict[str, RoiRecall] | None = None,
    scheduler: Scheduler = "threads",
    dask_address: str | None = None,
) -> Cohort | dict[str, Cohort]:
    """Tally cases, ``n_jobs`` at a time; the result does not depend on how many.

    Parameters
    ----------
    cases : iterable of Case
        With different ids.
    grid : ProbabilityGrid, optional
        ``ProbabilityGrid.standard()`` by default.
    options : LoadOptions, optional
        How files are read.
    classes : sequence of ImageClass, optional
        Exclusive classes that are tallied in one reading of the files, each against the rest; the channels must sum to 1 and
        masks hold no other labels.
    invalid : {"raise", "drop"}, default="raise"
        What becomes of probabilities that are NaN or outside [0, 1].
    n_jobs : int, optional
        Cases in memory at the same time; 1 by default.
    checkpoints : str or Path, optional
        Folder of tallies; with classes, of a folder of them for each class, by its name. A case whose inputs are those of its
        tally there is not read again; finished cases are kept there even when a later one fails.
    failures : dict, optional
        Takes the error of each case that could not be tallied, by id, and the others go on. Without it the first error is
        raised, after the cases at work are finished.
    progress : callable, optional
        Called as each case is done.
    recalls : dict, optional
        Takes, by id, how much of the raters' voxels lies inside the region of interest of each case that has one; also
        of cases that were not read again.
    scheduler : "threads", "dask" or distributed.Client, default="threads"
        Who works on the cases: threads of this process, a Dask cluster, or the cluster of a client of yours. Workers read the
        files and write the checkpoints, so both must lie in folders that they share with this process; arrays in memory
        are sent to them. A case whose worker dies is tallied by another one.
    dask_address : str, optional
        With ``scheduler="dask"``: the address of the cluster's scheduler, such as "tcp://10.0.0.1:8786". Without it
        ``n_jobs`` processes on this machine work for this call alone; a script that starts them needs
        ``if __name__ == "__main__":``.

    Returns
    -------
    Cohort, or dict of str to Cohort
        With classes a cohort for each, by name; all of them hold the same cases.

    Raises
    ------
    ValueError
        If no case could be tallied, or case ids are repeated.
    ImportError
        With ``scheduler="dask"``, if Dask is not installed.
    ConnectionError
        If no scheduler answers at ``dask_address``.
    """
    cases = list(cases)
    grid = grid or ProbabilityGrid.standard()
    options = options or LoadOptions()
    ids = [case.id for case in cases]
    if len(set(ids)) != len(ids):
        msg = f"Case ids must be different; repeated: {', '.join(sorted({i for i in ids if ids.count(i) > 1})[:5])}."
        raise ValueError(msg)

    n_threads = None if n_jobs is None or n_jobs == 1 else 1  # either cases or voxels are shared out

    def work(case: Case) -> TalliedCase | Exception:
        try:
            done, status = tally_or_load(
                case, checkpoints, grid, options, invalid=invalid, n_jobs=n_threads, classes=classes
            )
        except Exception as error:
            if progress is not None:
                progress(case.id, "failed")
            if failures is None:
                raise
            return error
        if progress is not None:
            progress(case.id, status)
        return done

    results: Sequence[TalliedCase | Exception]
    if scheduler != "threads" or dask_address is not None:
        results = tally_on_cluster(
            cases,
            grid=grid,
            options=options,
            classes=classes,
            invalid=invalid,
            checkpoints=checkpoints,
            first_error_ends=failures is None,
            progress=progress,
            cluster=(scheduler, dask_address, n_jobs),
        )
    elif n_jobs is None or n_jobs == 1:
        results = [work(case) for case in cases]
    else:
        with ThreadPoolExecutor(n_jobs) as pool:
            results = list(pool.map(work, cases))
    kept: list[tuple[Case, TalliedCase]] = []
    for case, result in zip(cases, results, strict=True):
        if isinstance(result, Exception):
            assert failures is not None
            failures[case.id] = result
        else:
            kept.append((case, result))
            if recalls is not None and result.recall is not None:
                recalls[case.id] = result.recall
    if not kept:
        msg = f"None of the {len(cases)} cases could be tallied."
        if failures:
            first, error = next(iter(failures.items()))
            msg += f" The first, {first!r}: {error}"
        raise ValueError(msg)
    volumes = [found.voxel_volume for _, found in kept]
    known = [volume for volume in volumes if volume is not None]
    if known and len(known) < len(volumes):
        without = next(case.id for case, found in kept if found.voxel_volume is None)
        msg = (
            f"The voxel volume of case {without!r} is not known, that of others is: volumes would be in different units. "
            "Give its spacing (a column of the manifest, or Case(spacing=...))."
        )
        raise ValueError(msg)
    ids, groups = [case.id for case, _ in kept], [case.group or case.id for case, _ in kept]
    cohorts = [Cohort(list(tallies), ids, groups, known) for tallies in zip(*(c.tallies for _, c in kept), strict=True)]
    return cohorts[0] if classes is None else {one.name: c for one, c in zip(classes, cohorts, strict=True)}
