"""Time ``mrcalib apply`` from disk to disk, say where each second goes, and find the compression worth its time.

    python benchmarks/apply/run.py                            # data once (about 0.5 GB), then all parts: about three minutes
    python benchmarks/apply/run.py --only times               # one part (data, levels, times, memory) of an earlier run

Data and the answers go to --work (default: a folder of the system's for temporary files); the figures to results.json and
results.md beside this file. The page cache is warm: files are written just before they are read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

import mrcalib
from mrcalib.io import Case, Geometry, deflating, write_probability
from mrcalib.scale import apply_case

HERE = Path(__file__).parent
METHODS = ("isotonic", "case-adaptive", "temperature")
PAIRS = ((".nii.gz", ".nii.gz"), (".npz", ".npz"), (".nii", ".nii.gz"), (".nii", ".nii"), (".npy", ".npy"))
BLOCK = deflating.BLOCK


def field(shape: tuple[int, ...], width: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of unit variance, made at half the resolution in the plane."""
    from scipy.ndimage import gaussian_filter, zoom

    small = (shape[0] // 2, shape[1] // 2, shape[2])
    values = gaussian_filter(rng.standard_normal(small, dtype=np.float32), (width / 2, width / 2, width / 4))
    values = zoom(values, [full / half for full, half in zip(shape, small, strict=True)], order=1)
    return values / values.std()


def make_data(work: Path, shape: tuple[int, ...]) -> None:
    """One CT-sized map of saturated logits, six tenths exact zeros, in all formats, and three calibrators."""
    from scipy.special import expit

    rng = np.random.default_rng(0)
    logits = 8 * (field(shape, 6, rng) - 1.78)
    probs = expit(logits + rng.normal(0, 0.3, shape)).astype(np.float32)
    outside = field(shape, 12, rng)
    probs[outside < np.quantile(outside[::4, ::4], 0.596)] = 0
    raters = np.stack([logits + rng.normal(0, 1) + 2 * field(shape, 4, rng) > 0 for _ in range(5)])
    where = Geometry(shape, np.diag([0.7, 0.7, 2.5, 1.0]))
    for suffix in (".nii", ".nii.gz"):
        write_probability(work / f"p{suffix}", probs, where, compression=6)
    np.save(work / "p.npy", probs)
    np.savez_compressed(work / "p.npz", probs=probs)
    group = np.broadcast_to(np.arange(shape[2]) // 5, shape)
    mrcalib.MHRIsotonicCalibrator().fit(probs, raters).save(work / "isotonic.json")
    mrcalib.CaseAdaptiveCalibrator().fit(probs, raters, groups=group).save(work / "case-adaptive.json")
    mrcalib.TemperatureScalingCalibrator().fit(probs, raters).save(work / "temperature.json")


def seconds(work: Callable[[], Any], repetitions: int, *, warm: bool = True) -> list[float]:
    """Of each call, after one to warm up."""
    if warm:
        work()
    found = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def whole(source: Path, calibrator: Any, target: Path) -> None:
    """As one writes it with nibabel and NumPy: load, calibrate, save; nothing overlaps."""
    if source.name.startswith("p.nii"):
        stored = nib.load(source)
        calibrated = calibrator(np.asarray(stored.dataobj))
        nib.save(nib.Nifti1Image(calibrated, stored.affine), target)
    elif source.suffix == ".npy":
        np.save(target, calibrator(np.load(source)))
    else:
        np.savez_compressed(target, probs=calibrator(np.load(source)["probs"]))


def times(work: Path, repetitions: int) -> dict[str, Any]:
    """Apply for each pair of formats and method, beside the floor and the usual way."""
    rows = []
    with tempfile.TemporaryDirectory(dir=work) as folder:
        for before, after in PAIRS:
            source, target = work / f"p{before}", Path(folder) / f"out{after}"
            case = Case("p", source, {})
            copied = seconds(partial(shutil.copyfile, source, Path(folder) / f"copy{before}"), repetitions)
            read = seconds(partial(_read, case), repetitions)
            hashed = seconds(case.fingerprint, repetitions)
            with case.open() as opened:
                arrays, where = [slab.probs[0] for slab in opened.slabs()], opened.geometry
                axis = opened.axis
            for method in METHODS if before == after == ".nii.gz" else METHODS[:1]:
                calibrator = mrcalib.load(work / f"{method}.json")
                fitted = calibrator.map_for_parts(arrays)
                mapped = seconds(partial(_map, fitted, arrays), repetitions)
                data = np.concatenate(_map(fitted, arrays), axis=axis)
                write = seconds(partial(write_probability, target, data, where), repetitions)
                applied = seconds(partial(apply_case, case, calibrator, target), repetitions)
                usual = seconds(partial(whole, source, calibrator, target), max(1, repetitions // 2), warm=False)
                rows.append({
                    "from": before,
                    "to": after,
                    "method": method,
                    "apply": applied,
                    "usual": usual,
                    "copy of the input": copied,
                    "read alone": read,
                    "map alone": mapped,
                    "write alone": write,
                    "SHA-256 alone": hashed,
                    "MB in": source.stat().st_size / 1e6,
                    "MB out": target.stat().st_size / 1e6,
                })  # fmt: skip
                print(_row(rows[-1]), flush=True)
    return {"rows": rows}


def _read(case: Case) -> None:
    with case.open() as opened:
        for _ in opened.slabs():
            pass


def _map(fitted: Callable[[Any], Any], arrays: list[Any]) -> list[Any]:
    return [fitted(part) for part in arrays]


def levels(work: Path, repetitions: int) -> dict[str, Any]:
    """Speed and size of each level, one thread, in the blocks that mrcalib writes."""
    stored = np.asarray(nib.load(work / "p.nii").dataobj)
    part = np.asfortranarray(stored[..., stored.shape[2] // 2 - 8 : stored.shape[2] // 2 + 8])
    libraries = {"zlib": (zlib, range(1, 10))}
    fast = deflating.decompressor()
    if fast is not zlib:
        libraries["isal"] = (fast, range(4))
    rows = []
    for content in ("isotonic", "temperature", "labels"):
        if content == "labels":
            raw = (part > 0.5).astype(np.uint8).tobytes(order="F")
        else:
            raw = mrcalib.load(work / f"{content}.json")(part).tobytes(order="F")
        blocks = [raw[start : start + BLOCK] for start in range(0, len(raw), BLOCK)]
        for name, (module, known) in libraries.items():
            for level in known:
                packed = 0

                def pack(module: Any = module, level: int = level, blocks: list[bytes] = blocks) -> None:
                    nonlocal packed
                    packed = 0
                    for block in blocks:
                        packer = module.compressobj(level=level, wbits=-15)
                        packed += len(packer.compress(block)) + len(packer.flush(module.Z_SYNC_FLUSH))

                spent = seconds(pack, 1 if level > 6 else repetitions)
                rate = len(raw) / np.median(spent) / 1e6
                rows.append({"of": content, "library": name, "level": level, "MB/s": rate, "share": packed / len(raw)})
                print(f"{content:12} {name} {level}  {rate:7.0f} MB/s  {packed / len(raw):.4f}", flush=True)
    return {"rows": rows}


_PEAK = """
import resource, sys, mrcalib
from mrcalib.io import Case
from mrcalib.scale import apply_case
calibrator = mrcalib.load(sys.argv[3])
apply_case(Case("s", sys.argv[4], {}), calibrator, sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
apply_case(Case("p", sys.argv[1], {}), calibrator, sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def memory(work: Path, _: int) -> dict[str, Any]:
    """Rise of the peak memory of a process that has applied the calibrator to a small image before."""
    part = np.asarray(nib.load(work / "p.nii").dataobj)[..., :4]
    rows = []
    with tempfile.TemporaryDirectory(dir=work) as folder:
        small = Path(folder) / "small.nii"
        write_probability(small, part, Geometry(part.shape, np.eye(4)))
        for suffix in (".nii", ".nii.gz"):
            for n_copies in (25, 100, 400):
                source = Path(folder) / f"large{suffix}"
                shape = (*part.shape[:2], part.shape[2] * n_copies)
                tiled = np.broadcast_to(part[..., np.newaxis, :], (*part.shape[:2], n_copies, part.shape[2]))
                mrcalib.io.write_slabs(
                    source, (tiled[:, :, k] for k in range(n_copies)), shape, Geometry(shape, np.eye(4))
                )
                for method in ("isotonic", "case-adaptive"):
                    command = [
                        sys.executable,
                        "-c",
                        _PEAK,
                        source,
                        Path(folder) / f"out{suffix}",
                        work / f"{method}.json",
                        small,
                    ]
                    answer = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
                    megabytes = 4 * np.prod(shape) / 1e6
                    rows.append(
                        {
                            "from and to": suffix,
                            "method": method,
                            "image MB": megabytes,
                            "rise MB": int(answer.stdout) / 1e3,
                        }
                    )
                    print(rows[-1], flush=True)
                source.unlink()
    return {"rows": rows}


def _row(row: dict[str, Any]) -> str:
    names = ("apply", "usual", "copy of the input", "read alone", "map alone", "write alone", "SHA-256 alone")
    cells = [f"{np.median(row[name]):.3f} ({max(row[name]) - min(row[name]):.3f})" for name in names]
    cells.append(f"{np.median(row['apply']) / (np.median(row['read alone']) + np.median(row['write alone'])):.2f}")
    return f"| {row['from']} | {row['to']} | {row['method']} | {' | '.join(cells)} | {row['MB in']:.1f} | {row['MB out']:.1f} |"


def about() -> dict[str, Any]:
    """Machine and versions."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    names = ("numpy", "numba", "nibabel", "isal")
    found = {d.metadata["Name"].lower() for d in metadata.distributions()}
    return {
        "machine": f"{model or platform.machine()}, {len(os.sched_getaffinity(0))} processors",
        "python": platform.python_version(),
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
        **{name: metadata.version(name) if name in found else "absent" for name in names},
        "apply.py": hashlib.sha256((HERE.parents[1] / "mrcalib/scale/applying.py").read_bytes()).hexdigest()[:12],
    }


def report(results: dict[str, Any]) -> str:
    """All figures as tables."""
    lines = ["# Figures of `benchmarks/apply/run.py`", "", "Written by the program; README.md says what they mean.", ""]
    for part, found in results.items():
        if "rows" not in found:
            continue
        lines += [
            f"## {part}",
            "",
            f"`{found['command']}`; " + ", ".join(f"{k} {v}" for k, v in found["about"].items()),
            "",
        ]
        if part == "times":
            lines += ["Seconds, median (spread: largest - smallest).", ""]
            lines += [
                "| from | to | method | apply | load, map, save | copy of the input | read alone | map alone | write alone | "
                "SHA-256 alone | apply / (read + write) | MB in | MB out |",
                "|---" * 13 + "|",
                *map(_row, found["rows"]),
            ]
        else:
            names = list(found["rows"][0])
            lines += ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
            for row in found["rows"]:
                lines.append(
                    "| " + " | ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()) + " |"
                )
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 100))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", choices=("data", "levels", "times", "memory"))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "mrcalib-apply")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.only == "data" or not (args.work / "temperature.json").exists():
        make_data(args.work, tuple(args.shape))
    path = HERE / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for name, part in (("levels", levels), ("times", times), ("memory", memory)):
        if args.only in (None, name):
            command = " ".join(["python", "benchmarks/apply/run.py", *sys.argv[1:]])
            results[name] = part(args.work, args.repetitions) | {"command": command, "about": about()}
    path.write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "results.md").write_text(report(results))


if __name__ == "__main__":
    main()
