"""From files to tallies: where each second goes, against decompressing alone and against reading the bytes alone.

    python benchmarks/reading/run.py        # 4 cases of 256 x 256 x 50 in a temporary folder, 0.3 GB
    python benchmarks/reading/run.py --cases 64 --shape 512 512 100 --keep /scratch/reading    # 36 GB of disk

Every case is written as .nii.gz, .npz, .nii and .npy: a float32 map and five uint8 masks. Files are read once before
anything is timed, so what is reported is the cost with files in the page cache. Times are medians of the repetitions; each
stage includes those before it, and "pipeline" is `mrcalib.tally_cases`.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import nibabel as nib
import numba
import numpy as np
from data import FORMATS, RATERS, cases, files, names, save, write_cases

import mrcalib
from mrcalib.io import Case, LoadOptions, bytestream
from mrcalib.io.formats import open_image
from mrcalib.scale import tally_case, tally_cases
from mrcalib.tallies import tally

HERE = Path(__file__).parent


def median(work: Callable[[], Any], repetitions: int) -> tuple[float, float]:
    """Median and spread (max - min) of the seconds of ``work``, called once before to warm up."""
    work()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds)), max(seconds) - min(seconds)


def read_bytes(path: Path) -> None:
    """Read a file as it lies on disk into one buffer: the floor of uncompressed files."""
    buffer = memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def hash_bytes(path: Path) -> None:
    """SHA-256 of a file: what checkpoints need."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")


def inflate(path: Path) -> None:
    """Read and inflate a file into one buffer: decompression alone."""
    stored = open_image(path)
    assert stored is not None
    buffer = memoryview(bytearray(1 << 18))
    left = stored.stored.itemsize * int(np.prod(stored.shape))
    with stored.content:
        while left:
            stored.content.fill(buffer[: min(left, len(buffer))])
            left -= min(left, len(buffer))
        stored.content.finish()


def usual(path: Path) -> None:
    """A file as most programs read it."""
    if path.name.endswith((".nii", ".nii.gz")):
        np.asarray(nib.load(path).dataobj).max()
    elif path.suffix == ".npz":
        with np.load(path) as archive:
            archive["probs"].max()
    else:
        np.load(path).max()


def slabs_only(case: Case, *, check: bool) -> None:
    """Open, read, inflate, convert; and count the overlaps of raters for the check of agreement."""
    with case.open(options=LoadOptions(check_agreement=check), crop=True) as opened:
        for _ in opened.slabs():
            pass


def over(threads: int, work: Callable[[Any], Any], items: list[Any]) -> None:
    """``work`` on every item, by so many threads."""
    if threads == 1:
        for item in items:
            work(item)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, items))


def pipeline(listed: list[Case], threads: int, checkpoints: Path | None) -> None:
    """``tally_cases`` as users call it. One thread is one thread: the threads of a single case are switched off."""
    if threads > 1 or checkpoints is not None:
        tally_cases(listed, n_jobs=threads, checkpoints=checkpoints)
    else:
        for case in listed:
            tally_case(case, n_jobs=1)


def whole(case: Case) -> None:
    """As before slabs: every file loaded whole, then tallied."""
    loaded = case.load()
    tally(loaded.probs, list(loaded.raters), rater_names=loaded.rater_names, n_jobs=1)


def stages(folder: Path, n_cases: int, suffix: str, threads: int, repetitions: int) -> dict[str, Any]:
    """A row of one format and number of threads."""
    listed = cases(folder, n_cases, suffix)
    paths = files(listed)
    voxels = sum(np.load(folder / f"{number}-rater0.npy", mmap_mode="r").size for number in range(n_cases))
    work: dict[str, Callable[[], None]] = {
        "read": partial(over, threads, read_bytes, paths),
        "hash": partial(over, threads, hash_bytes, paths),
        "read, decompress": partial(over, threads, inflate, paths),
        "slabs": partial(over, threads, partial(slabs_only, check=False), listed),
        "slabs, overlaps": partial(over, threads, partial(slabs_only, check=True), listed),
        "pipeline": partial(pipeline, listed, threads, None),
    }
    found = {name: median(one, repetitions) for name, one in work.items()}
    seconds = {name: value for name, (value, _) in found.items()}
    row: dict[str, Any] = {
        "format": suffix,
        "threads": threads,
        "cases": n_cases,
        "voxels": voxels,
        "bytes on disk": sum(path.stat().st_size for path in paths),
        "bytes": voxels * (4 + RATERS),
    }
    row |= {f"{name} s": value for name, value in seconds.items()}
    row |= {f"{name} spread s": spread for name, (_, spread) in found.items()}
    return row | {
        "decompression / pipeline": seconds["read, decompress"] / seconds["pipeline"],
        "pipeline / plain read": seconds["pipeline"] / seconds["read"],
        "GB/s of voxels": row["bytes"] / seconds["pipeline"] / 1e9,
        "ns a voxel": seconds["pipeline"] / voxels * 1e9,
    }


def measure(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each format and number of threads."""
    rows = []
    for suffix in arguments.formats:
        for threads in (1, 2):
            rows.append(stages(folder, arguments.cases, suffix, threads, arguments.repetitions))
            print(rows[-1], flush=True)
    return rows


def without_slabs(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole volumes loaded and tallied, and what nibabel and NumPy need to read the same files; one thread, one case."""
    rows = []
    for suffix in arguments.formats:
        (case,) = cases(folder, 1, suffix)
        rows.append(
            {
                "format": suffix,
                "nibabel or NumPy s": median(partial(over, 1, usual, files([case])), 3)[0],
                "whole volumes s": median(partial(whole, case), 3)[0],
                "slabs s": median(partial(pipeline, [case], 1, None), 3)[0],
            }
        )
        print(rows[-1], flush=True)
    return rows


def with_checkpoints(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The first run with checkpoints, whose fingerprints are taken on the way, and the second, which only takes these."""
    rows = []
    for suffix in arguments.formats:
        listed = cases(folder, arguments.cases, suffix)
        row: dict[str, Any] = {"format": suffix, "without s": median(partial(pipeline, listed, 2, None), 3)[0]}
        for name in ("first run s", "second run s"):
            seconds = []
            for _ in range(3):
                with tempfile.TemporaryDirectory() as kept:
                    if name == "second run s":
                        pipeline(listed, 2, Path(kept))
                    start = time.perf_counter()
                    pipeline(listed, 2, Path(kept))
                    seconds.append(time.perf_counter() - start)
            row[name] = float(np.median(seconds))
        rows.append(row)
        print(row, flush=True)
    return rows


def decompressors(folder: Path, _: argparse.Namespace) -> list[dict[str, Any]]:
    """ISA-L against zlib, through the same reader, on the map and one mask of the first case."""
    rows = []
    best = bytestream.decompressor
    for suffix in (".nii.gz", ".npz"):
        for path in files(cases(folder, 1, suffix))[:2]:
            row: dict[str, Any] = {"file": path.name, "bytes on disk": path.stat().st_size}
            for module in {best(), zlib}:
                bytestream.decompressor = lambda module=module: module
                row[f"{module.__name__} s"] = median(partial(inflate, path), 5)[0]
            bytestream.decompressor = best
            row["nibabel or NumPy s"] = median(partial(usual, path), 3)[0]
            rows.append(row)
            print(row, flush=True)
    return rows


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from data import cases
from mrcalib.scale import tally_case
import mrcalib, numpy as np

def resident(what):  # not getrusage: its maximum is at least that of the process that started this one
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what)) * 1024

warm = mrcalib.Case("w", np.full((64, 64, 64), 0.5, np.float32), [np.ones((64, 64, 64), np.uint8)] * 5)
tally_case(warm, n_jobs=1)
before = resident("VmRSS")
tally_case(cases(Path({folder!r}), 1, {suffix!r})[0], n_jobs={threads})
print(resident("VmHWM") - before)
"""


def memory(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak resident bytes above start-up of a process that tallies one case of more and more sections."""
    rows = []
    for repeats in (1, 2, 4, 8):
        with tempfile.TemporaryDirectory(dir=folder) as name:
            _write_tall(folder, Path(name), repeats)
            for suffix in arguments.formats:
                code = SCRIPT.format(here=str(HERE), folder=name, suffix=suffix, threads=1)
                ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
                rows.append(
                    {
                        "format": suffix,
                        "sections": arguments.shape[2] * repeats,
                        "times": repeats,
                        "peak bytes": int(ran.stdout),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def _write_tall(folder: Path, target: Path, repeats: int) -> None:
    """The first case, repeated along the slowest axis of each format."""
    for name in names():
        array = np.load(folder / f"0-{name}.npy")
        for suffix in FORMATS:
            axis = 2 if suffix.startswith(".nii") else 0
            save(target / f"0-{name}{suffix}", np.concatenate([array] * repeats, axis=axis))


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "command": "python " + " ".join(sys.argv),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{cpu}, {os.cpu_count()} processors, {platform.platform()}",
        "versions": {
            "python": platform.python_version(),
            "mrcalib": mrcalib.__version__,
            "numpy": np.__version__,
            "numba": numba.__version__,
            "nibabel": nib.__version__,
            "decompressor": bytestream.decompressor().__name__,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        },
        "shape": arguments.shape,
        "cases": arguments.cases,
        "distinct cases": min(arguments.cases, arguments.distinct),
        "repetitions": arguments.repetitions,
        "peak resident MB of this process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 256, 50))
    parser.add_argument(
        "--distinct", type=int, default=4, help="cases with voxels of their own; the others are copies on disk"
    )
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where files are written, and kept for the next run")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument(
        "--only", nargs="+", choices=("stages", "without slabs", "checkpoints", "decompressors", "memory")
    )
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=FORMATS, help="others keep the rows of an earlier run"
    )
    parser.add_argument("--make-only", action="store_true", help="write the files and stop")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        write_cases(folder, arguments.cases, tuple(arguments.shape), arguments.distinct)
        if arguments.make_only:
            return
        parts: dict[str, Callable[[Path, argparse.Namespace], list[dict[str, Any]]]] = {
            "stages": measure,
            "without slabs": without_slabs,
            "checkpoints": with_checkpoints,
            "decompressors": decompressors,
            "memory": memory,
        }
        path = arguments.out / "results.json"
        results = json.loads(path.read_text()) if path.exists() else {}
        for name in arguments.only or parts:
            rows = parts[name](folder, arguments)
            measured = {row.get("format") for row in rows}
            earlier = [row for row in results.get(name, {}).get("rows", []) if row.get("format") not in measured]
            rows = earlier + rows if name != "decompressors" else rows
            results[name] = {"about": about(arguments), "rows": rows}
            with (arguments.out / f"{name.replace(' ', '_')}.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
        path.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
