"""Evaluating a map at every voxel, without a search and without a logarithm.

The *key* of a probability is the top bits of the float32 ``min(p, 1 - p)``, doubled, plus 1 if p > 1/2: the trick of
``grid.py``, which numbers intervals that are narrow near 0 and near 1. A table says for each key on which segment of the map
its interval begins. Most intervals hold no knot, so that segment is the right one; where knots lie inside, a short walk leads
from there to it.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

BLOCK = 256
KEY_BITS = 8  # of the significand of min(p, 1 - p): 256 keys an octave
N_KEYS = 2 * (
    (126 << KEY_BITS) + 2
)  # 126 is the exponent of 1/2; one pair of keys more is for what is not a probability


def smallest_of_keys() -> Any:
    """A number that no probability of a key lies below, for each key; 0 for keys that no probability has."""
    top = np.arange(N_KEYS // 2 - 1, dtype=np.uint32)
    value = (top << np.uint32(23 - KEY_BITS)).view(np.float32).astype(np.float64)
    after = ((top + 1) << np.uint32(23 - KEY_BITS)).view(np.float32).astype(np.float64)
    smallest = np.zeros(N_KEYS)
    smallest[0:-2:2] = value
    smallest[1:-2:2] = 1 - after
    return smallest


@kernel
def interpolate(p: Any, segment: Any, table: Any, out: Any) -> bool:
    """``np.interp`` of float64 p in [0, 1] into ``out``; return whether some p was NaN or outside [0, 1].

    NaN stays NaN; for a p outside, ``out`` holds nothing of use. Row j of ``table`` is the segment from knot j - 1: (x, y,
    slope, x of the next knot). ``segment[key]`` is the row at which the walk to the right one begins.
    """
    folded = np.empty(BLOCK, np.float32)
    bits = folded.view(np.uint32)
    keys = np.empty(BLOCK, np.uint32)
    nearer = np.empty(BLOCK, np.int32)
    invalid = np.uint32((126 << KEY_BITS) + 1)
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
            # Rounding to float32 may carry the folded number into the next key, and the walk, which only goes up, would begin
            # beyond the right segment. Then the float32 next to it, on the side of smaller p, is taken.
            q = complement if upper else x[i]
            nearer[i] = -1 if not upper and folded[i] > q else 1 if upper and folded[i] < q else 0
        for i in range(x.size):
            bits[i] = np.uint32(bits[i] + nearer[i])
        anything = none
        for i in range(x.size):
            top = min(np.uint32(bits[i] >> np.uint32(23 - KEY_BITS)), invalid)
            bad |= one if top == invalid else none
            keys[i] = np.uint32(top + top) + (one if x[i] > 0.5 else none)
            anything |= bits[i] | keys[i]
        # A block of exact zeros, as there are many outside the body.
        if anything == none:
            result[:] = at_zero
            continue
        for i in range(x.size):
            # The walk: nearly always no step or one, which the first test decides without a loop.
            j = segment[keys[i]]
            if x[i] >= table[j, 3]:
                j += one
                while x[i] >= table[j, 3]:
                    j += one
            result[i] = table[j, 2] * (x[i] - table[j, 0]) + table[j, 1]
    return bool(bad != none)


SINGLE_BITS = 9  # of the significand: 512 keys an octave, from 2**-32 on; below, one pair of keys for all
_TINY_TOP = (95 << SINGLE_BITS) - 1
_INVALID_TOP = (126 << SINGLE_BITS) + 1
ZERO_KEY = 2 * (_INVALID_TOP - _TINY_TOP + 1)  # exact 0 has a key of its own, after all others


def anchors_of_single_keys() -> Any:
    """The smallest folded probability min(p, 1 - p) of each pair of keys: 0, those from 2**-32 to 1/2, and inf (invalid)."""
    top = np.arange(_TINY_TOP, _INVALID_TOP + 1, dtype=np.uint32)
    anchors = (top << np.uint32(23 - SINGLE_BITS)).view(np.float32).astype(np.float64)
    anchors[0], anchors[-1] = 0, np.inf
    return anchors


@kernel
def _find_lines(p: Any, folded: Any, anchor: Any, keys: Any) -> None:
    """For each probability: min(p, 1 - p), the anchor of its key (the same with all low bits 0), and the key."""
    shift = np.uint32(23 - SINGLE_BITS)
    low_bits = np.uint32((1 << (23 - SINGLE_BITS)) - 1)
    tiny, invalid = np.uint32(_TINY_TOP), np.uint32(_INVALID_TOP)
    nothing = np.uint32(0)
    bits, anchor_bits = folded.view(np.uint32), anchor.view(np.uint32)
    for i in range(p.size):
        complement = np.float32(1) - p[i]
        folded[i] = (complement if complement < p[i] else p[i]) + np.float32(0)  # -0 + 0 is 0, without a sign bit
    for i in range(p.size):
        top = min(np.uint32(bits[i] >> shift), invalid)
        above = np.uint32(max(top, tiny) - tiny)
        upper = np.uint32(1) if p[i] > np.float32(0.5) else nothing
        key = np.uint32(np.uint32(above + above) + upper)
        keys[i] = np.uint32(ZERO_KEY) if np.uint32(bits[i] | upper) == nothing else key
        anchor_bits[i] = np.uint32(bits[i] & np.uint32(~low_bits)) if above > nothing else nothing


@kernel
def _search(p: Any, keys: Any, begin: Any, segments: Any, result: Any) -> bool:
    """Fill in the results that are NaN by a walk over the segments; return whether some p was not a probability."""
    bad = False
    for i in range(p.size):
        if result[i] == result[i]:  # not NaN
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
    """`interpolate` for float32, to two units in the last place of the result: one line for each key, evaluated in float32.

    ``lines[key]`` is two float32 in one uint64, which one load brings: the value at the key's anchor, and the slope. The
    distance from the anchor is exact in float32, since both have the same exponent, so the line loses no digits. Where a knot
    lies inside a key's interval the value is NaN: such probabilities are searched among ``segments`` from row ``begin[key]``
    on, as `interpolate` does.
    """
    folded, anchor = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
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
        # A block of exact zeros, as there are many outside the body.
        if anything == np.uint32(0):
            result[:] = at_zero
            continue
        _find_lines(x, folded, anchor, keys)
        # Loading from a table and computing with what was loaded are two loops: the second one is vectorized.
        for i in range(x.size):
            found[i] = lines[np.uint64(keys[i])]
        for i in range(x.size):
            result[i] = line[2 * i] + line[2 * i + 1] * (folded[i] - anchor[i])
        # Whether any result is NaN is found without branches; only then is the block gone through once more.
        missing = np.uint32(0)
        for i in range(x.size):
            missing = np.uint32(missing | (np.uint32(1) if result[i] != result[i] else np.uint32(0)))
        if missing != np.uint32(0):
            bad |= _search(x, keys, begin, segments, result)
    return bad


@kernel
def evaluate_parabolas(p: Any, values: Any, slopes: Any, bends: Any, out: Any) -> bool:
    """A smooth map of float32 p into ``out``: for each key one parabola; return whether some result is NaN.

    Of each key: the value at its anchor, and the factors of the distance from there (slope) and of its square (bend, in
    float32, since it adds a few millionths). The sum is made in float64, so that rounding to float32 comes last and the
    results are as monotone as the map. The value is NaN where the parabola would not be close enough, and for what is not a
    probability: the caller computes these as they are written.
    """
    folded, anchor = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.float32)
    keys = np.empty(BLOCK, np.uint32)
    value, slope, bend = np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK, np.float32)
    all_bits = p.view(np.uint32)
    at_zero = np.float32(values[ZERO_KEY])
    incomplete = False
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        bits = all_bits[start : start + BLOCK]
        result = out[start : start + BLOCK]
        anything = np.uint32(0)
        for i in range(x.size):
            anything = np.uint32(anything | bits[i])
        if anything == np.uint32(0):
            result[:] = at_zero
            continue
        _find_lines(x, folded, anchor, keys)
        # Loading from the table and computing with what was loaded are two loops: the second one is vectorized.
        for i in range(x.size):
            key = np.uint64(keys[i])
            value[i] = values[key]
            slope[i] = slopes[key]
            bend[i] = bends[key]
        for i in range(x.size):
            single = folded[i] - anchor[i]  # exact: both have one exponent
            distance = np.float64(single)
            result[i] = np.float32(value[i] + distance * (slope[i] + np.float64(single * bend[i])))
        missing = np.uint32(0)
        for i in range(x.size):
            missing = np.uint32(missing | (np.uint32(1) if result[i] != result[i] else np.uint32(0)))
        incomplete |= missing != np.uint32(0)
    return incomplete
