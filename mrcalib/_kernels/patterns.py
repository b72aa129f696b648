"""Vote patterns as codes: packing masks into codes, counting codes, and giving each voxel the value of its code."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel


@kernel
def shift_in(mask: Any, codes: Any) -> Any:
    """Shift each code up by one bit and put the mask's bit there; return the bitwise or of the mask.

    There is one mask to a call: the kernel is compiled once, and not again for each number of raters.
    """
    labels = np.uint8(0)
    for i in range(codes.size):
        labels = np.uint8(labels | mask[i])  # without the cast, Numba would widen it to 64 bits, and the loop with it
        codes[i] = codes[i] + codes[i] + mask[i]
    return labels


@kernel
def count_codes(codes: Any, count: Any) -> None:
    """Add to ``count`` how often each code occurs.

    In a volume, long runs of voxels have the same code. Each run is added at once: adding voxel by voxel, every addition would
    have to wait for the one before it, to the same place in memory.
    """
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
    """Put ``table[code]`` into ``out`` for each code."""
    for i in range(codes.size):
        out[i] = table[np.uint64(codes[i])]
