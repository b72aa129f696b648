"""The second pass of an exact fit: finding the voxels of some cells of probability, and counting or gathering them.

After the first pass it is known which bins may hold a vertex of the exact isotonic fit; see ``calibrators/_partition.py``.
The voxels are then read again, and only those in the chosen cells are looked at.

Order. Probabilities are compared by their *ordinal*, a whole number that grows with p in float32. Up to 1/2 it is the bits of
p, which grow with p; above 1/2 it is counted down from ``LAST`` by the bits of 1 - p, which is exact there. So cells can be as
narrow near 1 as near 0.

Finding the cell of an ordinal. A table of all 2**31 ordinals would be too large, so there are two tables, as in a page table:
``first_level`` is looked up by the upper half of the ordinal and says where in ``codes`` the entries of that half begin, and
how many of the lower bits may be ignored. A code says what is to be done with a voxel: ``SKIPPED``, ``GATHERED``, or
the number of the cell in which it is counted.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

BLOCK = 1024
HALF = 126 << 23  # ordinal of 1/2
LAST = 2 * HALF + (1 << 23) - 1  # ordinal of 1
INVALID = (1 << 31) - 1  # in place of an ordinal, for what is not a probability
FIRST_LEVEL = 1 << 15  # entries of the table that is looked up by the upper half of an ordinal
SKIPPED, GATHERED = -1, 0


@kernel
def find_voxels(x: Any, first_level: Any, codes: Any, ordinals: Any, places: Any, found: Any) -> int:
    """Of the voxels in cells that are not SKIPPED: their places and codes, and how many; ``ordinals`` takes those of all.

    No such cell may hold exact zeros: long runs of them are passed over.

    ``first_level[top]`` is SKIPPED if no cell begins with these upper bits. Else it is 32 times the first entry of ``codes``
    for them, plus the number of lower bits that make no difference there.
    """
    half = np.float32(0.5)
    one = np.float32(1.0)
    zero = np.float32(0.0)
    middle, last, invalid = np.uint32(HALF), np.uint32(LAST), np.uint32(INVALID)
    raw = x.view(np.uint32)
    seen = np.uint32(0)
    for i in range(raw.size):
        seen |= raw[i]
    # A block of exact zeros, as there are many outside the body.
    if seen == 0:
        return 0
    # The same memory holds min(p, 1 - p), then its bits, then ordinals: a block stays in the cache.
    folded = ordinals.view(np.float32)
    for i in range(x.size):
        complement = one - x[i]
        folded[i] = (complement if complement < x[i] else x[i]) + zero  # -0 + 0 is 0, without a sign bit
    # NaN and numbers outside [0, 1] have bits above those of 1/2 (their sign bit is set, or all bits of the exponent).
    for i in range(x.size):
        bits = ordinals[i]
        above = np.uint32(last - bits) if x[i] > half else bits
        ordinals[i] = invalid if bits > middle else above
    # Two rounds without branches: each voxel is written to the next free place, and the place is taken only if it counts.
    n = 0
    for i in range(x.size):
        places[n] = i
        n += first_level[ordinals[i] >> np.uint32(16)] >= 0
    m = 0
    for j in range(n):
        i = places[j]
        entry = np.int64(first_level[ordinals[i] >> np.uint32(16)])
        code = codes[(entry >> 5) + np.int64((ordinals[i] & np.uint32(0xFFFF)) >> np.uint32(entry & 31))]
        places[m] = i
        found[m] = code
        m += code >= 0
    return m


@kernel
def add_votes(masks: Any, start: int, votes: Any) -> None:
    """The number of masks that hold each voxel of a block, into ``votes``."""
    votes[:] = 0
    for r in range(len(masks)):
        mask = masks[r][start : start + votes.size]
        for i in range(mask.size):
            votes[i] += mask[i]


@kernel
def find_codes(p: Any, first_level: Any, codes: Any, out: Any) -> None:
    """The code of each voxel's cell, SKIPPED for what is not a probability, into ``out``."""
    ordinals = np.empty(BLOCK, np.uint32)
    places, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        y = out[start : start + BLOCK]
        y[:] = SKIPPED
        for j in range(find_voxels(x, first_level, codes, ordinals[: x.size], places, found)):
            y[places[j]] = found[j]


@kernel
def count_cells(p: Any, masks: Any, answers: Any, first_level: Any, codes: Any, table: Any) -> None:
    """Add each voxel to ``table[code]`` = (answers, sum of ordinal times answers modulo 2**64, votes).

    ``masks`` is a tuple of masks of 0 and 1. ``answers`` is the number of raters who answered at each voxel; where it is
    empty, all of the masks' raters did. The caller subtracts the ordinal at which the cell begins from the sum of
    ordinals; what is left fits into 64 bits, so it is right although the sum itself may have wrapped around.
    """
    ordinals, votes = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint8)
    places, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        n = find_voxels(x, first_level, codes, ordinals[: x.size], places, found)
        if n == 0:
            continue
        add_votes(masks, start, votes[: x.size])
        for j in range(n):
            i = places[j]
            answered = np.int64(answers[start + i]) if answers.size else np.int64(len(masks))
            # Whole numbers: the result depends neither on the order of the voxels nor on threads.
            row = table[found[j]]
            row[0] += answered
            row[1] += answered * np.int64(ordinals[i])
            row[2] += votes[i]


@kernel
def gather_voxels(
    p: Any, masks: Any, answers: Any, first_level: Any, codes: Any, start: int, gathered: Any, lowest: Any, highest: Any
) -> Any:
    """Put the voxels of GATHERED cells into ``gathered``; return where to go on once it is full, and how many it holds.

    A voxel is one uint64: its ordinal in the upper 48 bits, then 8 bits of answers and 8 of votes. So sorting the numbers
    sorts the voxels by probability. Of cells with another code, the smallest and the largest ordinal are kept in
    ``lowest`` and ``highest`` under that code.
    """
    ordinals, votes = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint8)
    places, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    total = 0
    while start < p.size and total + BLOCK <= gathered.size:
        x = p[start : start + BLOCK]
        n = find_voxels(x, first_level, codes, ordinals[: x.size], places, found)
        if n:
            add_votes(masks, start, votes[: x.size])
        for j in range(n):
            i = places[j]
            answered = np.uint64(answers[start + i]) if answers.size else np.uint64(len(masks))
            if answered == 0:
                continue
            code = found[j]
            # Cells at the ends of blocks are not gathered: of them only the first and the last probability matter.
            if code == GATHERED:
                response = (answered << np.uint64(8)) | np.uint64(votes[i])
                gathered[total] = (np.uint64(ordinals[i]) << np.uint64(16)) | response
                total += 1
            else:
                lowest[code] = min(lowest[code], ordinals[i])
                highest[code] = max(highest[code], ordinals[i])
        start += BLOCK
    return min(start, p.size), total


@kernel
def pool_gathered(gathered: Any, ends: Any, pool: Any, first: Any, last: Any, weight: Any, votes: Any) -> int:
    """Add up sorted voxels of equal probability into groups; if ``pool``, pool violators as well; return how many groups.

    ``ends`` are the ordinals at which the cells end. Group n reaches from ordinal ``first[n]`` to ``last[n]``, and has
    ``weight[n]`` answers and ``votes[n]`` votes.

    Pooling keeps memory small. Two neighbours in one cell of which the first has the larger mean response violate the order,
    and the isotonic fit to all voxels pools them, too, whatever lies around them. So pooling them here changes no result.
    Means are compared by cross-multiplication: no division rounds, and products of counts are exact below 2**53.
    """
    n = 0
    # The first group of the present cell: groups of different cells are not pooled.
    bottom = 0
    cell = 0
    i = 0
    while i < gathered.size:
        ordinal = gathered[i] >> np.uint64(16)
        while ordinal >= np.uint64(ends[cell]):
            cell += 1
            bottom = n
        answered = np.int64(0)
        marked = np.int64(0)
        # All voxels of one probability are one group: ties are never split.
        while i < gathered.size and gathered[i] >> np.uint64(16) == ordinal:
            answered += np.int64((gathered[i] >> np.uint64(8)) & np.uint64(255))
            marked += np.int64(gathered[i] & np.uint64(255))
            i += 1
        first[n] = ordinal
        last[n] = ordinal
        weight[n] = answered
        votes[n] = marked
        n += 1
        while pool and n - 1 > bottom and votes[n - 2] * weight[n - 1] >= votes[n - 1] * weight[n - 2]:
            n -= 1
            last[n - 1] = last[n]
            weight[n - 1] += weight[n]
            votes[n - 1] += votes[n]
    return n
