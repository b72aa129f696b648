"""Codes of vote patterns: packing and counting them, and writing each voxel the value of its code."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel


@kernel
def shift_in(mask: Any, codes: Any) -> Any:
    """Shift each code up by a bit and put the mask's there; return the bitwise or of the mask.

    One mask a call, so that it is compiled once and not for each number of raters.
    """
    seen = np.uint8(0)
    for i in range(codes.size):
        seen = np.uint8(seen | mask[i])  # else it would be widened to 64 bits, and the loop with it
        codes[i] = codes[i] + codes[i] + mask[i]
    return seen


@kernel
def count_codes(codes: Any, count: Any) -> None:
    """Add to ``count`` how often each code occurs; runs of one code, of which volumes are made, are counted at a stroke."""
    if codes.size == 0:
        return
    current = codes[0]
    start = 0
    for i in range(1, codes.size):
        if codes[i] != current:
            count[np.int64(current)] += i - start
            current = codes[i]
            start = i
    count[np.int64(current)] += codes.size - start


@kernel
def look_up(codes: Any, table: Any, out: Any) -> None:
    """Put ``table[code]`` of each code into ``out``."""
    for i in range(codes.size):
        out[i] = table[np.uint64(codes[i])]
