"""The second pass of an exact fit: which voxels lie in cells that must be looked into, and what was said of them.

Probabilities are compared by their ordinal, a whole number that grows with p in float32: the bits of p up to 1/2, above it
those of 1 - p (exact there) counted down. So cells are as fine towards 1 as towards 0.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

BLOCK = 1024
HALF = 126 << 23  # ordinal of 1/2
LAST = 2 * HALF + (1 << 23) - 1  # ordinal of 1
REFUSED = (1 << 31) - 1  # of what is no probability
ROOTS = 1 << 15  # entries of a table that is looked up by the top half of an ordinal
CLOSED, OPENED = -1, 0


@kernel
def find_open(x: Any, roots: Any, codes: Any, ordinals: Any, places: Any, found: Any) -> int:
    """Of the voxels in cells whose code is not CLOSED: their places and codes, how many, and the ordinals of all.

    No such cell may hold exact zeros, of which long runs are passed over.

    ``roots[top]`` is -1, or 32 times the first entry of ``codes`` for ordinals that start with ``top``, plus how many of their
    lower bits that table does not tell apart.
    """
    half = np.float32(0.5)
    one = np.float32(1.0)
    zero = np.float32(0.0)
    middle, last, refused = np.uint32(HALF), np.uint32(LAST), np.uint32(REFUSED)
    raw = x.view(np.uint32)
    seen = np.uint32(0)
    for i in range(raw.size):
        seen |= raw[i]
    if seen == 0:  # a run of exact zeros, which are never taken apart
        return 0
    folded = ordinals.view(np.float32)
    for i in range(x.size):
        complement = one - x[i]
        folded[i] = (complement if complement < x[i] else x[i]) + zero  # -0 + 0 is 0, without a sign bit
    for i in range(x.size):
        bits = ordinals[i]
        above = np.uint32(last - bits) if x[i] > half else bits
        ordinals[i] = refused if bits > middle else above
    n = 0
    for i in range(x.size):
        places[n] = i
        n += roots[ordinals[i] >> np.uint32(16)] >= 0
    m = 0
    for j in range(n):
        i = places[j]
        root = np.int64(roots[ordinals[i] >> np.uint32(16)])
        code = codes[(root >> 5) + np.int64((ordinals[i] & np.uint32(0xFFFF)) >> np.uint32(root & 31))]
        places[m] = i
        found[m] = code
        m += code >= 0
    return m


@kernel
def add_votes(masks: Any, start: int, votes: Any) -> None:
    """The votes of a block of voxels, over all masks."""
    votes[:] = 0
    for r in range(len(masks)):
        mask = masks[r][start : start + votes.size]
        for i in range(mask.size):
            votes[i] += mask[i]


@kernel
def find_codes(p: Any, roots: Any, codes: Any, out: Any) -> None:
    """The code of each voxel's cell, CLOSED for what is no probability."""
    ordinals = np.empty(BLOCK, np.uint32)
    places, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        y = out[start : start + BLOCK]
        y[:] = CLOSED
        for j in range(find_open(x, roots, codes, ordinals[: x.size], places, found)):
            y[places[j]] = found[j]


@kernel
def count_cells(p: Any, masks: Any, answers: Any, roots: Any, codes: Any, table: Any) -> None:
    """Add each voxel to ``table[code]`` = (answers, ordinal times answers modulo 2**64, votes).

    ``masks`` is a tuple of answers of 0 and 1; where ``answers`` is empty, all of them were given at every voxel.
    """
    ordinals, votes = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint8)
    places, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    for start in range(0, p.size, BLOCK):
        x = p[start : start + BLOCK]
        n = find_open(x, roots, codes, ordinals[: x.size], places, found)
        if n == 0:
            continue
        add_votes(masks, start, votes[: x.size])
        for j in range(n):
            i = places[j]
            given = np.int64(answers[start + i]) if answers.size else np.int64(len(masks))
            row = table[found[j]]
            row[0] += given
            row[1] += given * np.int64(ordinals[i])
            row[2] += votes[i]


@kernel
def gather_voxels(
    p: Any, masks: Any, answers: Any, roots: Any, codes: Any, start: int, gathered: Any, lowest: Any, highest: Any
) -> Any:
    """Put (ordinal, answers, votes) of the voxels in OPENED cells into ``gathered``, 48, 8 and 8 bits each.

    Of cells with another code, the extremes of the ordinals are kept under that code. Returns where to go on once
    ``gathered`` is full, and how many it holds.
    """
    ordinals, votes = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint8)
    places, found = np.empty(BLOCK, np.int32), np.empty(BLOCK, np.int32)
    total = 0
    while start < p.size and total + BLOCK <= gathered.size:
        x = p[start : start + BLOCK]
        n = find_open(x, roots, codes, ordinals[: x.size], places, found)
        if n:
            add_votes(masks, start, votes[: x.size])
        for j in range(n):
            i = places[j]
            given = np.uint64(answers[start + i]) if answers.size else np.uint64(len(masks))
            if given == 0:
                continue
            code = found[j]
            if code == OPENED:
                said = (given << np.uint64(8)) | np.uint64(votes[i])
                gathered[total] = (np.uint64(ordinals[i]) << np.uint64(16)) | said
                total += 1
            else:
                lowest[code] = min(lowest[code], ordinals[i])
                highest[code] = max(highest[code], ordinals[i])
        start += BLOCK
    return min(start, p.size), total


@kernel
def pool_gathered(gathered: Any, ends: Any, pool: Any, first: Any, last: Any, weight: Any, votes: Any) -> int:
    """Add up sorted voxels by probability and, if ``pool``, pool violators among neighbours in one cell; return how many.

    ``ends`` are the ordinals at which the cells end. Each group reaches from ordinal ``first`` to ``last``. What violates
    inside a cell is pooled in the fit to all voxels too, so nothing is lost.
    """
    n = 0
    bottom = 0
    cell = 0
    i = 0
    while i < gathered.size:
        ordinal = gathered[i] >> np.uint64(16)
        while ordinal >= np.uint64(ends[cell]):
            cell += 1
            bottom = n
        given = np.int64(0)
        marked = np.int64(0)
        while i < gathered.size and gathered[i] >> np.uint64(16) == ordinal:
            given += np.int64((gathered[i] >> np.uint64(8)) & np.uint64(255))
            marked += np.int64(gathered[i] & np.uint64(255))
            i += 1
        first[n] = ordinal
        last[n] = ordinal
        weight[n] = given
        votes[n] = marked
        n += 1
        while pool and n - 1 > bottom and votes[n - 2] * weight[n - 1] >= votes[n - 1] * weight[n - 2]:
            n -= 1
            last[n - 1] = last[n]
            weight[n - 1] += weight[n]
            votes[n - 1] += votes[n]
    return n
