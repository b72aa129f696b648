"""How many lines of the kernels run, where nothing is compiled; prints JSON. test_operation_counts runs it.

NUMBA_DISABLE_JIT=1 python tests/count_lines.py
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import mrcalib
import mrcalib._kernels

KERNELS = str(Path(mrcalib._kernels.__file__).parent)
FEW, MANY = 16384, 32768


def voxels(n: int, *, shuffled: bool) -> tuple[Any, Any]:
    """Zeros around a blob, as in a volume; twice as many voxels are the same ones twice, and occupy no further bin."""
    x = np.linspace(-8, 8, FEW)
    probs = (1 / (1 + np.exp(20 * (np.abs(x) - 1)))).astype(np.float32)
    probs[np.abs(x) > 2.5] = 0
    masks = np.stack([np.abs(x + shift) < 1.1 for shift in (-0.2, -0.1, 0, 0.1, 0.2)]).astype(np.uint8)
    order = np.random.default_rng(0).permutation(FEW) if shuffled else np.arange(FEW)
    return np.tile(probs[order], n // FEW), np.tile(masks[:, order], n // FEW)


def count(work: Callable[[], Any]) -> int:
    """Lines of the kernels that ``work`` runs."""
    found = 0

    def inside(frame: Any, event: str, _: Any) -> Any:
        nonlocal found
        found += event == "line"
        return inside

    def outside(frame: Any, event: str, _: Any) -> Any:
        return inside if frame.f_code.co_filename.startswith(KERNELS) else None

    sys.settrace(outside)
    try:
        work()
    finally:
        sys.settrace(None)
    return found


def main() -> None:
    """Print {work: {order: [lines at FEW voxels, at MANY]}}."""
    warnings.simplefilter("ignore")
    calibrator = mrcalib.MHRIsotonicCalibrator()
    calibrator.fit(*voxels(FEW, shuffled=False))
    work = {
        "tally": partial(mrcalib.tally, n_jobs=1),
        "transform": lambda p, _: calibrator.transform(p),
        "exact": mrcalib.MHRIsotonicCalibrator("exact").fit,
        "equal-mass": mrcalib.MHRIsotonicCalibrator("equal-mass", 50).fit,
    }
    counted: dict[str, dict[str, list[int]]] = {name: {} for name in work}
    for order in ("coherent", "shuffled"):
        few, many = (voxels(n, shuffled=order == "shuffled") for n in (FEW, MANY))
        for name, function in work.items():
            counted[name][order] = [count(partial(function, *data)) for data in (few, many)]
    print(json.dumps(counted))
    for name, counts in counted.items():
        (a, b), (c, d) = counts["coherent"], counts["shuffled"]
        rates = [(y - x) / (MANY - FEW) for x, y in ((a, b), (c, d))]
        print(f"{name}: {rates[0]:.1f}, {rates[1]:.1f}, {a - rates[0] * FEW:,.0f}", file=sys.stderr)


if __name__ == "__main__":
    main()
