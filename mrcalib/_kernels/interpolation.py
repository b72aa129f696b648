"""Evaluating a piecewise linear map at every voxel."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

BLOCK = 512
KEY_BITS = 8  # of the significand of min(p, 1 - p): 256 keys an octave
N_KEYS = 2 * ((126 << KEY_BITS) + 2)


def smallest_of_keys() -> Any:
    """A number that no probability of a key is below, for each key; 0 where the key is of no probability."""
    top = np.arange(N_KEYS // 2 - 1, dtype=np.uint32)
    value = (top << np.uint32(23 - KEY_BITS)).view(np.float32).astype(np.float64)
    after = ((top + 1) << np.uint32(23 - KEY_BITS)).view(np.float32).astype(np.float64)
    smallest = np.zeros(N_KEYS)
    smallest[0:-2:2] = value
    smallest[1:-2:2] = 1 - after
    return smallest


@kernel
def interpolate(p: Any, segment: Any, table: Any, nearer: Any, out: Any) -> bool:
    """``np.interp`` of p in [0, 1]; return whether some p was NaN (it stays NaN) or outside [0, 1] (its result is void).

    Row j of ``table`` is the segment from knot j - 1: (x, y, slope, x of the next knot). ``segment[key]`` is the row in which
    the walk to the right one begins; it is a step at most for all but a few probabilities. ``nearer`` is None for float32.
    For float64 it is room for BLOCK numbers: where float32 does not hold min(p, 1 - p), the key is taken of a number on the
    near side of p, so that the walk never begins too far.
    """
    folded = np.empty(BLOCK, np.float32)
    bits = folded.view(np.uint32)
    keys = np.empty(BLOCK, np.uint32)
    refused = np.uint32((126 << KEY_BITS) + 1)
    one = np.uint32(1)
    none = np.uint32(0)
    bad = none
    at_zero = table[0, 1]
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        result = out[start : start + BLOCK]
        for i in range(x.size):
            complement = x.dtype.type(1) - x[i]
            folded[i] = np.float32(complement if complement < x[i] else x[i])
        if nearer is not None:
            for i in range(x.size):
                upper = x[i] > 0.5
                q = 1 - x[i] if upper else x[i]
                nearer[i] = -1 if not upper and folded[i] > q else 1 if upper and folded[i] < q else 0
            for i in range(x.size):
                bits[i] = np.uint32(bits[i] + nearer[i])
        anything = none
        for i in range(x.size):
            top = min(np.uint32(bits[i] >> np.uint32(23 - KEY_BITS)), refused)
            bad |= one if top == refused else none
            keys[i] = np.uint32(top + top) + (one if x[i] > x.dtype.type(0.5) else none)
            anything |= bits[i] | keys[i]
        if anything == none:  # a block of zeros, as there are many outside the body
            for i in range(x.size):
                result[i] = at_zero
            continue
        for i in range(x.size):
            value = np.float64(x[i])
            j = segment[keys[i]]
            if value >= table[j, 3]:
                j += one
                while value >= table[j, 3]:
                    j += one
            result[i] = table[j, 2] * (value - table[j, 0]) + table[j, 1]
    return bool(bad != none)
