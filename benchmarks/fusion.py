"""Time STAPLE against SimpleITK, and check that they agree.

    python benchmarks/fusion.py                            # 512 x 512 x 100 voxels, 5 raters; a minute
    python benchmarks/fusion.py --shape 64 64 32 --out /tmp/fusion.json

One coherent structure, drawn by raters who differ in size and place, as in a CT volume. SimpleITK's walks over all voxels in
each pass, so its time grows with the number of passes; both are given masks in memory and return the probability map.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

import mrcalib
from mrcalib.fusion import soft, staple


def raters(shape: tuple[int, ...], n_raters: int, seed: int) -> list[NDArray[np.uint8]]:
    """Ellipsoids, of a radius of about an eighth of the image along each axis."""
    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    masks = []
    for _ in range(n_raters):
        centre, radius = rng.normal(0.5, 0.01, len(shape)), rng.normal(0.12, 0.008, len(shape))
        parts = [((axis / n - c) / r) ** 2 for axis, n, c, r in zip(axes, shape, centre, radius, strict=True)]
        masks.append((sum(parts) < 1).astype(np.uint8))
    return masks


def timed(work: Callable[[], Any], repetitions: int) -> tuple[dict[str, float], Any]:
    """Medians of the wall clock's and of the processors' seconds (the fairer ones on a busy machine), and the last answer."""
    wall, cpu = [], []
    for _ in range(repetitions):
        start, used = time.perf_counter(), time.process_time()
        answer = work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return {"wall": float(np.median(wall)), "cpu": float(np.median(cpu))}, answer


def main() -> None:
    """Measure, print, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs="+", default=[512, 512, 100])
    parser.add_argument("--raters", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "fusion.json")
    args = parser.parse_args()
    masks = raters(tuple(args.shape), args.raters, args.seed)
    staple([mask[:4] for mask in masks])  # compiles
    soft([mask[:4] for mask in masks])

    program = sitk.STAPLEImageFilter()
    program.SetForegroundValue(1)
    images = [sitk.GetImageFromArray(mask) for mask in masks]
    theirs, image = timed(lambda: program.Execute(images), max(1, args.repetitions // 3))
    probability = sitk.GetArrayFromImage(image)
    del image
    mine, result = timed(lambda: staple(masks), args.repetitions)
    mean, _ = timed(lambda: soft(masks), args.repetitions)
    told = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python benchmarks/fusion.py", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}",
        "versions": {
            "mrcalib": mrcalib.__version__,
            "SimpleITK": sitk.Version_VersionString(),
            "numpy": np.__version__,
        },
        "shape": args.shape,
        "raters": args.raters,
        "seed": args.seed,
        "seconds": {"SimpleITK STAPLE": theirs, "mrcalib staple": mine, "mrcalib soft": mean},
        "times faster": {clock: theirs[clock] / mine[clock] for clock in mine},
        "passes": {"SimpleITK": program.GetElapsedIterations() + 1, "mrcalib": result.n_iter},
        "largest difference": {
            "probability": float(np.abs(probability - result.probability).max()),
            "sensitivity": float(np.abs(np.array(program.GetSensitivity()) - result.sensitivity).max()),
            "specificity": float(np.abs(np.array(program.GetSpecificity()) - result.specificity).max()),
        },
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
