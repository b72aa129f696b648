"""What is measured: seconds and bytes of each stage at sizes that fit one machine, and at one more that no fit has seen."""

from __future__ import annotations

import pickle
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mrcalib
from mrcalib import Case, Cohort, ProbabilityGrid, Tally, tally, tally_cases
from mrcalib.scale import tally_blocks, tally_case
from mrcalib.scale.blocks import FIRST_MASK, _computed, _Image, _Rules, _tree
from mrcalib.scale.cluster import each_on_cluster
from mrcalib.tallies import Cells

SHAPE = (125, 125, 50)
VOXELS = 125 * 125 * 50
VOLUMES = (1, 2, 4, 8, 16)  # a case is so many volumes on top of each other
HELD_OUT = 32
N_VOLUMES = 64
RATERS = 5
Row = dict[str, Any]


def seconds(work: Callable[[], Any], repetitions: int = 3) -> float:
    """Median of the repetitions."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def make_data(folder: Path) -> None:
    """The volumes of benchmarks/speed, as one array, as cases of several sizes on disk, and as a Zarr store."""
    import nibabel as nib
    import zarr

    sys.path.insert(0, str(Path(__file__).parents[1] / "speed"))
    from data import volume

    folder.mkdir(parents=True, exist_ok=True)
    drawn = [volume(number) for number in range(N_VOLUMES)]
    probs, masks = (np.concatenate(parts, axis=-1) for parts in zip(*drawn, strict=True))
    np.save(folder / "probs.npy", probs)
    np.save(folder / "masks.npy", masks)
    for n in (*VOLUMES, HELD_OUT):
        own = folder / f"case_{n}"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        shape = (125, 125, 50 * n)
        for name, flat in (("probs", probs), *((str(r), masks[r]) for r in range(RATERS))):
            parts = flat[: n * VOXELS].reshape(n, *SHAPE)
            image = np.concatenate(list(parts), axis=2)
            assert image.shape == shape
            nib.save(nib.Nifti1Image(image, np.eye(4)), own / f"{name}.nii.gz")
    side = (N_VOLUMES * 125, 125, 50)
    for name, flat in (("probs", probs), *((str(r), masks[r]) for r in range(RATERS))):
        store = folder / "zarr" / name
        kept = zarr.create_array(store, shape=side, chunks=SHAPE, dtype=flat.dtype, overwrite=True)
        kept[...] = flat.reshape(side)


def on_disk(folder: Path, n: int, name: str = "case") -> Case:
    own = folder / f"case_{n}"
    return Case(name, own / "probs.nii.gz", {str(r): own / f"{r}.nii.gz" for r in range(RATERS)}, group=name)


def stages(folder: Path) -> list[Row]:
    """Each stage of one case of compressed NIfTI, one thread: hash of the inputs, reading with its checks, counting.

    Counting is that of the voxels in memory; reading is what the whole takes besides.
    """
    rows = []
    for n in (*VOLUMES, HELD_OUT):
        case = on_disk(folder, n)
        loaded = case.load()
        tally_case(case, n_jobs=1)  # compiles
        files = sorted((folder / f"case_{n}").iterdir())
        count = seconds(lambda loaded=loaded: tally(loaded.probs, list(loaded.raters), n_jobs=1))
        rows.append(
            {
                "voxels": n * VOXELS,
                "bytes": sum(path.stat().st_size for path in files),
                "hash": seconds(case.fingerprint),
                "read and check": seconds(lambda case=case: tally_case(case, n_jobs=1)) - count,
                "count": count,
            }
        )
    return rows


def sizes(folder: Path, scratch: Path) -> dict[str, list[Row]]:
    """Bytes of a tally in memory, as it travels and on disk: against voxels, raters and bins."""
    probs, masks = np.load(folder / "probs.npy", mmap_mode="r"), np.load(folder / "masks.npy", mmap_mode="r")

    def row(n: int, raters: int, bits: int | None) -> Row:
        grid = ProbabilityGrid.standard() if bits is None else ProbabilityGrid(bits)
        votes = np.asarray(masks[:, : n * VOXELS])
        votes = np.concatenate([votes, np.roll(votes[:3], 7, axis=1)])[:raters]  # three more who are off by 7 voxels
        part = tally(np.asarray(probs[: n * VOXELS]), votes, grid=grid)
        part.save(scratch / "one.npz")
        return {
            "voxels": n * VOXELS,
            "raters": raters,
            "bins": int(grid.n_bins),
            "cells": int(part.cells.voxels.size),
            "memory": sum(column.nbytes for column in part.cells),
            "wire": len(pickle.dumps(part.cells.narrowed(), protocol=5)),
            "disk": (scratch / "one.npz").stat().st_size,
        }

    return {
        "voxels": [row(n, RATERS, None) for n in (1, 2, 4, 8, 16, 32, 64)],
        "raters": [row(8, r, None) for r in range(1, 9)],
        "bins": [row(8, RATERS, bits) for bits in (4, 5, 6, 7, 8, 10)],
    }


def nothing(item: Any) -> tuple[Any, str]:
    """An empty task; with an array as its item, one that sends back what a tally weighs."""
    return item, "done"


def sized(n_bytes: int) -> tuple[NDArray[np.uint8], str]:
    return np.zeros(n_bytes, np.uint8), "done"


def tasks(client: Any, n_bytes: int) -> list[Row]:
    """Seconds of tasks that do nothing, without a result and with one of a tally's size."""
    rows = []
    for work, what, items in ((nothing, 0, None), (sized, n_bytes, n_bytes)):
        for n in (250, 500, 1000, 2000):
            every = list(range(n)) if items is None else [items] * n
            start = time.perf_counter()
            each_on_cluster(client, work, every, [""] * n, label="empty", first_error_ends=True)
            rows.append({"tasks": n, "bytes": what, "seconds": time.perf_counter() - start})
    return rows


def merging(folder: Path) -> list[Row]:
    """Seconds of merging 16 tallies of so many voxels at once, a tally."""
    probs, masks = np.load(folder / "probs.npy", mmap_mode="r"), np.load(folder / "masks.npy", mmap_mode="r")
    rows = []
    for n in (1, 4):
        parts = [
            tally(np.asarray(probs[a * VOXELS : (a + n) * VOXELS]), np.asarray(masks[:, a * VOXELS : (a + n) * VOXELS]))
            for a in range(0, 16 * n, n)
        ]
        cells = sum(part.cells.voxels.size for part in parts)
        rows.append({"voxels": n * VOXELS, "cells": cells, "seconds": seconds(lambda parts=parts: Tally.sum(parts))})
    return rows


def algebra(folder: Path, n_cases: tuple[int, ...], n_volumes: int = 4) -> list[Row]:
    """Seconds after the pass, against cases: 16 different ones over and over, under names of their own."""
    probs, masks = np.load(folder / "probs.npy", mmap_mode="r"), np.load(folder / "masks.npy", mmap_mode="r")
    size = n_volumes * VOXELS
    base = [
        tally(np.asarray(probs[a * size : (a + 1) * size]), np.asarray(masks[:, a * size : (a + 1) * size]))
        for a in range(N_VOLUMES // n_volumes)
    ]
    mrcalib.compare(Cohort(base), ["none", "MHR"], n_resamples=2)  # imports and compiles
    rows = []
    for n in n_cases:
        parts = [base[i % len(base)] for i in range(n)]
        start = time.perf_counter()
        cohort = Cohort(parts)
        made = time.perf_counter()
        mrcalib.MHRIsotonicCalibrator().fit_tally(cohort)
        fitted = time.perf_counter()
        row = {"cases": n, "cohort": made - start, "fit": fitted - made, "stack": cohort._rater_counts.counts.nbytes}
        for cv in ("leave-one-group-out", 5):
            start = time.perf_counter()
            study = mrcalib.compare(Cohort(parts), ["none", "MHR"], cv=cv, n_resamples=5000)
            row[f"compare {cv}"] = time.perf_counter() - start
        row["resample"] = seconds(lambda study=study: mrcalib.study.Study.intervals(study, "pooled"), 1)
        rows.append(row)
    return rows


def run_of_cases(client: Any, folder: Path, n: int, n_cases: int) -> Row:
    """Cases on a cluster of two processes, whole: nothing of it enters the model."""
    cases = [on_disk(folder, n, f"case{i}") for i in range(n_cases)]
    cohorts: list[Cohort] = []
    took = seconds(lambda: cohorts.append(tally_cases(cases, scheduler=client)))
    assert all(part == cohorts[0].tallies[0] for cohort in cohorts for part in cohort)
    return {"voxels": n * VOXELS, "cases": n_cases, "seconds": took}


def blocks(client: Any, folder: Path) -> list[Row]:
    """One Zarr image, in blocks of so many voxels; also by one thread of this process."""
    import zarr

    probs = zarr.open_array(folder / "zarr" / "probs", mode="r")
    masks = [zarr.open_array(folder / "zarr" / str(r), mode="r") for r in range(RATERS)]
    rows, found = [], []
    for n, where in ((1, client), (4, client), (16, client), (1, "threads"), (4, "threads"), (16, "threads")):
        took = seconds(
            lambda n=n, where=where: found.append(tally_blocks(probs, masks, block_voxels=n * VOXELS, scheduler=where))
        )
        rows.append(
            {
                "block": n * VOXELS,
                "blocks": -(-N_VOLUMES // n),
                "where": "cluster" if where is client else "one thread",
                "seconds": took,
            }
        )
    assert all(part == found[0] for part in found)
    return rows


def graphs(client: Any, n_blocks: tuple[int, ...]) -> list[Row]:
    """The tasks of so many blocks, which count nothing: what client and scheduler do for each, with its share of merges."""
    from dask import delayed

    count = delayed(nothing_counted, pure=False)
    rows = []
    for n in n_blocks:
        image = delayed(_Image([], _Rules(7, (), None, (), (), None, "raise", None)), pure=False, traverse=False)
        start = time.perf_counter()
        tasks = [count(image, (slice(i, i + 1),), [None] * (FIRST_MASK + RATERS)) for i in range(n)]
        _computed(_tree(tasks, 16), client, None)
        rows.append({"blocks": n, "seconds": time.perf_counter() - start})
    return rows


def nothing_counted(*_: Any) -> Any:
    """The tally of no voxels."""
    return Cells.empty().narrowed(), 0


def smallest_tally() -> float:
    """Seconds of a tally of eight voxels: what each block costs besides its voxels."""
    probs, masks = np.full(8, 0.5, np.float32), np.ones((RATERS, 8), np.uint8)
    return seconds(lambda: tally(probs, list(masks), n_jobs=1), 21)
