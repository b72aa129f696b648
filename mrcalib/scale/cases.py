"""Tally cases one by one, several at a time, skipping those whose tally on disk is still good."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

from mrcalib._files import file_stem
from mrcalib._validation import check_voxels
from mrcalib._voxels import Voxels
from mrcalib.cohort import Cohort
from mrcalib.grid import ProbabilityGrid
from mrcalib.io import Case, LoadOptions
from mrcalib.tallies import Tally, tally

__all__ = ["Progress", "tally_case", "tally_cases", "voxels_of_case"]

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
    """Load one case and tally it.

    Parameters
    ----------
    case : Case
        With one rater at least.
    grid, options, invalid
        As for ``tally_cases``.
    n_jobs : int, optional
        Threads that share the voxels.

    Returns
    -------
    tally : Tally
    voxel_volume : float or None
        Volume of a voxel in mL; None where no file or argument tells the spacing.
    """
    loaded = case.load(options=options or LoadOptions())
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
    return counted, loaded.voxel_volume_ml


def voxels_of_case(case: Case, *, raters: Sequence[str], options: LoadOptions | None = None) -> Voxels:
    """Load one case for a second pass.

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
    return check_voxels(loaded.probs, [known.get(name) for name in raters], roi=loaded.roi, case=loaded.id)


def tally_cases(
    cases: Iterable[Case],
    *,
    grid: ProbabilityGrid | None = None,
    options: LoadOptions | None = None,
    invalid: str = "raise",
    n_jobs: int | None = None,
    checkpoints: str | Path | None = None,
    failures: dict[str, Exception] | None = None,
    progress: Progress | None = None,
) -> Cohort:
    """Tally cases, ``n_jobs`` at a time; the result does not depend on how many.

    Parameters
    ----------
    cases : iterable of Case
        With different ids.
    grid : ProbabilityGrid, optional
        ``ProbabilityGrid.standard()`` by default.
    options : LoadOptions, optional
        How files are read.
    invalid : {"raise", "drop"}, default="raise"
        What becomes of probabilities that are NaN or outside [0, 1].
    n_jobs : int, optional
        Cases in memory at the same time; 1 by default.
    checkpoints : str or Path, optional
        Folder of tallies. A case whose inputs are those of its tally there is not read again; finished cases are kept there
        even when a later one fails.
    failures : dict, optional
        Takes the error of each case that could not be tallied, by id, and the others go on. Without it the first error is
        raised, after the cases at work are finished.
    progress : callable, optional
        Called as each case is done.

    Returns
    -------
    Cohort

    Raises
    ------
    ValueError
        If no case could be tallied, or case ids are repeated.
    """
    cases = list(cases)
    grid = grid or ProbabilityGrid.standard()
    options = options or LoadOptions()
    ids = [case.id for case in cases]
    if len(set(ids)) != len(ids):
        msg = f"Case ids must be different; repeated: {', '.join(sorted({i for i in ids if ids.count(i) > 1})[:5])}."
        raise ValueError(msg)

    n_threads = None if n_jobs is None or n_jobs == 1 else 1  # either cases or voxels are shared out

    def work(case: Case) -> tuple[Tally, float | None] | Exception:
        try:
            done, status = _tally_or_load(case, checkpoints, grid, options, invalid=invalid, n_threads=n_threads)
        except Exception as error:
            if progress is not None:
                progress(case.id, "failed")
            if failures is None:
                raise
            return error
        if progress is not None:
            progress(case.id, status)
        return done

    if n_jobs is None or n_jobs == 1:
        results = [work(case) for case in cases]
    else:
        with ThreadPoolExecutor(n_jobs) as pool:
            results = list(pool.map(work, cases))
    kept: list[tuple[Case, Tally, float | None]] = []
    for case, result in zip(cases, results, strict=True):
        if isinstance(result, Exception):
            assert failures is not None
            failures[case.id] = result
        else:
            kept.append((case, *result))
    if not kept:
        msg = f"None of the {len(cases)} cases could be tallied."
        if failures:
            first, error = next(iter(failures.items()))
            msg += f" The first, {first!r}: {error}"
        raise ValueError(msg)
    volumes = [volume for _, _, volume in kept]
    known = [volume for volume in volumes if volume is not None]
    if known and len(known) < len(volumes):
        without = next(case.id for case, _, volume in kept if volume is None)
        msg = (
            f"The voxel volume of case {without!r} is not known, that of others is: volumes would be in different units. "
            "Give its spacing (a column of the manifest, or Case(spacing=...))."
        )
        raise ValueError(msg)
    return Cohort(
        [part for _, part, _ in kept],
        [case.id for case, _, _ in kept],
        [case.group or case.id for case, _, _ in kept],
        known,
    )


def _tally_or_load(
    case: Case,
    checkpoints: str | Path | None,
    grid: ProbabilityGrid,
    options: LoadOptions,
    *,
    invalid: str,
    n_threads: int | None,
) -> tuple[tuple[Tally, float | None], str]:
    """A case's tally, from its checkpoint if that was made of the same inputs in the same way."""
    if checkpoints is None:
        return tally_case(case, grid=grid, options=options, invalid=invalid, n_jobs=n_threads), "tallied"
    made_of = [
        case.fingerprint(),
        *map(str, astuple(options)),
        invalid,
        str(grid.mantissa_bits),
        *map(repr, grid.edges),
    ]
    inputs = hashlib.sha256("|".join(made_of).encode()).hexdigest()
    path = Path(checkpoints) / f"{file_stem(case.id)}.npz"
    if path.exists():
        try:
            part, header = Tally.load_with_header(path)
        except ValueError:
            header = {}  # damaged: tally again and replace it
        if header.get("inputs") == inputs and header.get("case") == case.id:
            return (part, header["voxel_volume"]), "unchanged"
    part, volume = tally_case(case, grid=grid, options=options, invalid=invalid, n_jobs=n_threads)
    part.save(path, inputs=inputs, case=case.id, group=case.group or case.id, voxel_volume=volume)
    return (part, volume), "tallied"
