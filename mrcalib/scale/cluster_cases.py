"""Cases tallied by the workers of a cluster, which read the files and keep the checkpoints."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from mrcalib._files import file_stem
from mrcalib.grid import ProbabilityGrid, shared_grid
from mrcalib.io import Case, LoadOptions
from mrcalib.io.sources import is_path
from mrcalib.scale.cluster import Scheduler, cluster_client, each_on_cluster
from mrcalib.scale.one_case import Classes, TalliedCase, tally_or_load
from mrcalib.tallies import Cells, Columns, Tally

__all__ = ["at_absolute_paths", "tally_on_cluster"]


class _Packed(NamedTuple):
    """What is found of a case, as it is sent: the columns and the number of refused voxels of each class's tally."""

    counted: tuple[tuple[Columns, int], ...]
    raters: tuple[str, ...]
    strata: tuple[str, ...]
    voxel_volume: float | None
    recall: Any


def tally_on_cluster(
    cases: Sequence[Case],
    *,
    grid: ProbabilityGrid,
    options: LoadOptions,
    classes: Classes,
    invalid: str,
    checkpoints: str | Path | None,
    first_error_ends: bool,
    progress: Callable[[str, str], None] | None,
    cluster: tuple[Scheduler, str | None, int | None],
) -> list[TalliedCase | Exception]:
    """``tally_cases`` without its summing up: what was found of each case, in their order.

    Parameters
    ----------
    cases, grid, options, classes, invalid, checkpoints, progress
        As for ``tally_cases``.
    first_error_ends : bool
        Whether an error is raised rather than returned.
    cluster : tuple
        ``scheduler``, ``dask_address`` and ``n_jobs`` of ``tally_cases``.
    """
    folder = None if checkpoints is None else Path(checkpoints).absolute()
    work = partial(
        _tally_and_pack,
        checkpoints=folder,
        grid=(grid.mantissa_bits, grid.edges),
        options=options,
        classes=classes,
        invalid=invalid,
    )
    with cluster_client(*cluster) as client:
        found = each_on_cluster(
            client,
            work,
            [at_absolute_paths(case) for case in cases],
            [case.id for case in cases],
            label="tally",
            first_error_ends=first_error_ends,
            progress=progress,
            ahead=2 * max(1, sum(client.nthreads().values())) if any(map(_holds_arrays, cases)) else None,
        )
    if folder is not None:
        _check_shared(
            folder if classes is None else folder / classes[0].name,
            [case.id for case, one in zip(cases, found, strict=True) if not isinstance(one, Exception)],
        )
    return [one if isinstance(one, Exception) else _unpacked(one, grid) for one in found]


def _tally_and_pack(
    case: Case,
    *,
    checkpoints: Path | None,
    grid: tuple[int, tuple[float, ...]],
    options: LoadOptions,
    classes: Classes,
    invalid: str,
) -> tuple[_Packed, str]:
    """On a worker, in one thread: a case is one task, and the cluster decides how many run at once."""
    done, status = tally_or_load(
        case, checkpoints, shared_grid(*grid), options, invalid=invalid, n_jobs=1, classes=classes
    )
    first = done.tallies[0]
    counted = tuple((part.cells.narrowed(), part.refused) for part in done.tallies)
    return _Packed(counted, first.raters, first.strata, done.voxel_volume, done.recall), status


def _unpacked(found: _Packed, grid: ProbabilityGrid) -> TalliedCase:
    tallies = tuple(
        Tally(grid, found.raters, found.strata, Cells.widened(columns), refused) for columns, refused in found.counted
    )
    return TalliedCase(tallies, found.voxel_volume, found.recall)


def _check_shared(folder: Path, ids: Sequence[str]) -> None:
    """Warn of tallies that workers wrote to a folder which this process does not see, so that no other run finds them."""
    unseen = [case for case in ids if not (folder / f"{file_stem(case)}.npz").exists()]
    if unseen:
        msg = (
            f"{len(unseen)} of {len(ids)} tallies that workers kept in {folder} are not seen there by this process, such as "
            f"that of {unseen[0]!r}: a rerun will tally these cases again. Name a folder that all machines share."
        )
        warnings.warn(msg, UserWarning, stacklevel=4)


def at_absolute_paths(case: Case) -> Case:
    """The same case for a process that works in another folder."""

    def moved(source: Any) -> Any:
        return Path(source).absolute() if is_path(source) else source

    raters: Any = case.raters
    if isinstance(raters, Mapping):
        raters = {name: moved(source) for name, source in raters.items()}
    elif isinstance(raters, list | tuple):
        raters = [moved(source) for source in raters]
    probs = case.probs
    return replace(
        case,
        probs=tuple(map(moved, probs)) if isinstance(probs, tuple | list) else moved(probs),
        raters=raters,
        **{name: moved(getattr(case, name)) for name in ("roi", "image", "vessels", "coarse")},
    )


def _holds_arrays(case: Case) -> bool:
    sources = [*case.members, *case.masks.values(), case.roi, case.image, case.vessels, case.coarse]
    return any(source is not None and not is_path(source) for source in sources)
