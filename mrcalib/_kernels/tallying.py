"""Counting voxels by probability bin and vote pattern."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

BLOCK = 1024


@kernel
def find_keys(p: Any, n_mantissa: Any, keys: Any, excess: Any) -> None:
    """Key of each float32 probability, and how far it lies above the key's foot, in units of its last place.

    The key is made of the top bits of q = min(p, 1 - p), which float32 holds exactly, and of the side of 1/2. Below 2**-32
    the excess is 0.
    """
    shift = np.uint32(23 - n_mantissa)
    low_bits = np.uint32((1 << (23 - n_mantissa)) - 1)
    refused = np.uint32((126 << n_mantissa) + 1)
    folded = np.empty(BLOCK, np.float32)
    bits = folded.view(np.uint32)
    half = np.float32(0.5)
    one = np.float32(1.0)
    zero = np.float32(0.0)
    tiny = np.float32(2.0**-32)
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        k = keys[start : start + BLOCK]
        e = excess[start : start + BLOCK]
        for i in range(x.size):
            complement = one - x[i]
            folded[i] = (complement if complement < x[i] else x[i]) + zero  # -0 + 0 is 0, without a sign bit
        for i in range(x.size):
            top = bits[i] >> shift
            top = refused if top > refused else top
            k[i] = np.int32(top + top + (np.uint32(1) if x[i] > half else np.uint32(0)))
            e[i] = np.int32(bits[i] & low_bits) if folded[i] >= tiny else np.int32(0)


@kernel
def pack_bits(masks: Any, out: Any) -> Any:
    """Put mask r of a tuple into bit r of ``out``, an empty mask as 0; return the bitwise or of all values."""
    seen = np.uint8(0)
    for start in range(0, out.size, BLOCK):
        packed = out[start : start + BLOCK]
        packed[:] = 0
        for r in range(len(masks) - 1, -1, -1):
            mask = masks[r][start : start + BLOCK]
            if mask.size == 0:
                for i in range(packed.size):
                    packed[i] = packed[i] + packed[i]
                continue
            for i in range(packed.size):
                seen |= mask[i]
                packed[i] = packed[i] + packed[i] + mask[i]
    return seen


@kernel
def add_counts(p: Any, keys: Any, excess: Any, columns: Any, first: Any, lower: Any, table: Any) -> int:
    """Add each voxel to ``table[bin, column]`` = (count, sum of excess); return how many were refused.

    ``first[key]`` is the key's bin, -1 if it is refused, or ~bin if extra edges cut the key from that bin on.
    """
    n_columns = np.uint64(table.shape[1])
    cells = table.reshape(-1)
    refused = 0
    for i in range(keys.size):
        b = np.int64(first[np.uint32(keys[i])])
        if b < 0:
            if b == -1:
                refused += 1
                continue
            b = ~b
            while b + 1 < lower.size and p[i] >= lower[b + 1]:
                b += 1
        cell = np.uint64(2) * (np.uint64(b) * n_columns + np.uint64(columns[i]))
        cells[cell] += 1
        cells[cell + np.uint64(1)] += excess[i]
    return refused
