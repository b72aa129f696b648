"""Evaluating a piecewise linear map at every voxel."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

BLOCK = 256
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
def interpolate(p: Any, segment: Any, table: Any, out: Any) -> bool:
    """``np.interp`` of float64 p in [0, 1]; return whether some p was NaN (it stays NaN) or outside (its result is void).

    Row j of ``table`` is the segment from knot j - 1: (x, y, slope, x of the next knot). ``segment[key]`` is the row in which
    the walk to the right one begins; it is a step at most for all but a few probabilities. Where float32 does not hold
    min(p, 1 - p), the key is taken of a number on the near side of p, so that the walk never begins too far.
    """
    folded = np.empty(BLOCK, np.float32)
    bits = folded.view(np.uint32)
    keys = np.empty(BLOCK, np.uint32)
    nearer = np.empty(BLOCK, np.int32)
    refused = np.uint32((126 << KEY_BITS) + 1)
    one = np.uint32(1)
    none = np.uint32(0)
    bad = none
    at_zero = table[0, 1]
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        result = out[start : start + BLOCK]
        for i in range(x.size):
            upper = x[i] > 0.5
            complement = 1 - x[i]
            folded[i] = np.float32(complement if complement < x[i] else x[i])
            q = complement if upper else x[i]
            nearer[i] = -1 if not upper and folded[i] > q else 1 if upper and folded[i] < q else 0
        for i in range(x.size):
            bits[i] = np.uint32(bits[i] + nearer[i])
        anything = none
        for i in range(x.size):
            top = min(np.uint32(bits[i] >> np.uint32(23 - KEY_BITS)), refused)
            bad |= one if top == refused else none
            keys[i] = np.uint32(top + top) + (one if x[i] > 0.5 else none)
            anything |= bits[i] | keys[i]
        if anything == none:  # a block of zeros, as there are many outside the body
            result[:] = at_zero
            continue
        for i in range(x.size):
            j = segment[keys[i]]
            if x[i] >= table[j, 3]:
                j += one
                while x[i] >= table[j, 3]:
                    j += one
            result[i] = table[j, 2] * (x[i] - table[j, 0]) + table[j, 1]
    return bool(bad != none)


SINGLE_BITS = 9  # keys an octave, as above, from 2**-32 on
_TINY_TOP = (95 << SINGLE_BITS) - 1
_REFUSED_TOP = (126 << SINGLE_BITS) + 1
ZERO_KEY = 2 * (_REFUSED_TOP - _TINY_TOP + 1)


def feet_of_single_keys() -> Any:
    """Where the folded probabilities min(p, 1 - p) of each pair of keys begin: 0, 2**-32 on, 1/2; and the key refused, inf."""
    top = np.arange(_TINY_TOP, _REFUSED_TOP + 1, dtype=np.uint32)
    feet = (top << np.uint32(23 - SINGLE_BITS)).view(np.float32).astype(np.float64)
    feet[0], feet[-1] = 0, np.inf
    return feet


@kernel
def _find_lines(p: Any, folded: Any, foot: Any, keys: Any) -> None:
    """Of each probability: min(p, 1 - p), the foot below it, and the key."""
    shift = np.uint32(23 - SINGLE_BITS)
    low_bits = np.uint32((1 << (23 - SINGLE_BITS)) - 1)
    tiny, refused = np.uint32(_TINY_TOP), np.uint32(_REFUSED_TOP)
    nothing = np.uint32(0)
    bits, foot_bits = folded.view(np.uint32), foot.view(np.uint32)
    for i in range(p.size):
        complement = np.float32(1) - p[i]
        folded[i] = (complement if complement < p[i] else p[i]) + np.float32(0)
    for i in range(p.size):
        top = min(np.uint32(bits[i] >> shift), refused)
        above = np.uint32(max(top, tiny) - tiny)
        upper = np.uint32(1) if p[i] > np.float32(0.5) else nothing
        key = np.uint32(np.uint32(above + above) + upper)
        keys[i] = np.uint32(ZERO_KEY) if np.uint32(bits[i] | upper) == nothing else key
        foot_bits[i] = np.uint32(bits[i] & np.uint32(~low_bits)) if above > nothing else nothing


@kernel
def _seek(p: Any, keys: Any, begin: Any, segments: Any, result: Any) -> bool:
    """Fill in what is NaN by a walk over the segments; return whether some p was no probability."""
    bad = False
    for i in range(p.size):
        if result[i] == result[i]:
            continue
        if not np.float32(0) <= p[i] <= np.float32(1):
            bad = True
            continue
        value = np.float64(p[i])
        j = begin[np.uint64(keys[i])]
        while value >= segments[j, 3]:
            j += np.uint32(1)
        result[i] = segments[j, 2] * (value - segments[j, 0]) + segments[j, 1]
    return bad


@kernel
def interpolate_single(p: Any, lines: Any, begin: Any, segments: Any, out: Any) -> bool:
    """`interpolate` for float32, to two units in the last place of the result: a line a key, added up in float32.

    ``lines[key]`` is (value at the foot of the key, slope) as two float32 in one number; the value is NaN for a key that holds
    a knot, whose probabilities are sought among ``segments`` from row ``begin[key]`` on, as `interpolate` does.
    """
    folded, foot = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    keys = np.empty(BLOCK, np.uint32)
    found = np.empty(BLOCK, np.uint64)
    line = found.view(np.float32)
    all_bits = p.view(np.uint32)
    at_zero = lines[ZERO_KEY : ZERO_KEY + 1].view(np.float32)[0]
    bad = False
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        bits = all_bits[start : start + BLOCK]
        result = out[start : start + BLOCK]
        anything = np.uint32(0)
        for i in range(x.size):
            anything = np.uint32(anything | bits[i])
        if anything == np.uint32(0):  # a block of zeros, as there are many outside the body
            result[:] = at_zero
            continue
        _find_lines(x, folded, foot, keys)
        for i in range(x.size):
            found[i] = lines[np.uint64(keys[i])]
        for i in range(x.size):
            result[i] = line[2 * i] + line[2 * i + 1] * (folded[i] - foot[i])
        holes = np.uint32(0)
        for i in range(x.size):
            holes = np.uint32(holes | (np.uint32(1) if result[i] != result[i] else np.uint32(0)))
        if holes != np.uint32(0):
            bad |= _seek(x, keys, begin, segments, result)
    return bad
