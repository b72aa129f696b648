"""Of what vector instructions the kernels are made, on this machine; prints JSON. test_operation_counts runs it.

    MRCALIB_CACHE_DIR= python tests/kernel_code.py

Kernels that were compiled before, and are read from disk, have no code to be looked at: hence the empty variable.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re

import numpy as np

import mrcalib
import mrcalib._kernels

N = 1 << 17
WIDE = re.compile(r"^\s+(v\w+)\s[^\n]*%[yz]mm", re.MULTILINE)


def main() -> None:
    """Compile what float32 probabilities and uint8 masks need, and print {room.kernel: [instructions on 32 bytes or more]}."""
    rng = np.random.default_rng(0)
    probs = rng.random(N, dtype=np.float32)
    masks = (rng.random((5, N)) < probs).astype(np.uint8)
    mrcalib.MHRIsotonicCalibrator().fit(probs, masks).transform(probs)
    mrcalib.MHRIsotonicCalibrator("exact").fit(probs, masks)
    found = {}
    for room in pkgutil.iter_modules(mrcalib._kernels.__path__):
        module = importlib.import_module(f"mrcalib._kernels.{room.name}")
        for name, kernel in vars(module).items():
            if getattr(kernel, "signatures", None):
                code = "\n".join(kernel.inspect_asm().values())
                found[f"{room.name}.{name}"] = sorted(set(WIDE.findall(code)))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
