"""Counting voxels by probability bin and vote pattern."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

STRETCH = 16384  # of each mask, read at a time
BLOCK = 256
LANES = 4


@kernel
def _part(mask: Any, start: int, absent: Any, size: int) -> Any:
    """A stretch of a mask; zeros if it is empty."""
    return mask[start : start + size] if mask.size else absent[:size]


@kernel
def _pack(masks: Any, start: int, absent: Any, last: Any, votes: Any, labels: Any) -> None:
    """Put mask r of eight into bit r of ``votes``, and the bitwise or of all of them with what is there into ``labels``.

    Whatever the masks hold, votes have bits of ``last`` only: they are used as an index before labels are looked at.
    """
    n = votes.size
    m0, m1, m2, m3 = (
        _part(masks[0], start, absent, n),
        _part(masks[1], start, absent, n),
        _part(masks[2], start, absent, n),
        _part(masks[3], start, absent, n),
    )
    m4, m5, m6, m7 = (
        _part(masks[4], start, absent, n),
        _part(masks[5], start, absent, n),
        _part(masks[6], start, absent, n),
        _part(masks[7], start, absent, n),
    )
    for i in range(n):
        high = m7[i] + m7[i] + m6[i]
        high = high + high + m5[i]
        high = high + high + m4[i]
        high = high + high + m3[i]
        high = high + high + m2[i]
        high = high + high + m1[i]
        votes[i] = (high + high + m0[i]) & last
        labels[i] |= m0[i] | m1[i] | m2[i] | m3[i] | m4[i] | m5[i] | m6[i] | m7[i]


@kernel
def _find_slots(
    p: Any, votes: Any, n_mantissa: Any, n_slots: Any, lane: Any, folded: Any, slots: Any, excess: Any
) -> None:
    """The slot of each voxel among those of all patterns of votes, and its excess."""
    shift = np.uint32(23 - n_mantissa)
    low_bits = np.uint32((1 << (23 - n_mantissa)) - 1)
    refused_top = np.uint32((126 << n_mantissa) + 1)
    tiny_top = np.uint32((95 << n_mantissa) - 1)
    nothing = np.uint32(0)
    bits = folded.view(np.uint32)
    for i in range(p.size):
        complement = np.float32(1) - p[i]
        folded[i] = (complement if complement < p[i] else p[i]) + np.float32(0)  # -0 + 0 is 0, without a sign bit
    for i in range(p.size):
        top = min(np.uint32(bits[i] >> shift), refused_top)
        above = np.uint32(max(top, tiny_top) - tiny_top)
        upper = np.uint32(1) if p[i] > np.float32(0.5) else nothing
        slot = np.uint32(np.uint32(above + above) + np.uint32(upper + np.uint32(LANES)))
        slot = lane[i] if np.uint32(top | upper) == nothing else slot
        slots[i] = np.uint32(slot + np.uint32(np.uint32(votes[i]) * np.uint32(n_slots)))
        excess[i] = np.uint32(bits[i] & low_bits) if above > nothing else nothing


@kernel
def _add(p: Any, votes: Any, slots: Any, excess: Any, turn: Any, lower: Any, cells: Any, once: Any) -> int:
    """Add the voxels to their cells; return how many were refused."""
    closed = np.uint64(1) << np.uint64(63)
    n_slots = turn.size + lower.size
    refused = 0
    for i in range(p.size):
        cell = np.uint64(slots[i])
        held = cells[cell]
        if held < closed:
            cells[cell] = held + once + np.uint64(excess[i])
            continue
        column = np.int64(votes[i]) * n_slots
        j = np.int64(turn[np.int64(slots[i]) - column])
        if j < 0:
            refused += 1
            continue
        while j + 1 < lower.size and p[i] >= lower[j + 1]:
            j += 1
        cells[column + turn.size + j] += once + np.uint64(excess[i])
    return refused


@kernel
def count_voxels(
    p: Any, masks: Any, n_mantissa: Any, turn: Any, lower: Any, cells: Any, count_at: Any
) -> tuple[int, int]:
    """Add each voxel to the cell of its votes and its slot; return how many were refused, and the bitwise or of all masks.

    Votes are bit r of mask r of eight; an empty mask is 0 everywhere. ``cells`` holds the slots of votes 0, then those of
    votes 1, and so on; see ``grid.Slots`` for their order. A cell is a count, from bit ``count_at`` on, above the sum of the
    excess; its highest bit is set where the slot is not to be counted in: ``turn[slot]`` is then the first of the slots into
    which edges cut it, opened by ``lower``, or -1 if it is refused.

    Zeros take ``LANES`` slots in turn: one alone would wait for itself at each voxel.
    """
    once = np.uint64(1) << np.uint64(count_at)
    lane = np.empty(BLOCK, np.uint32)
    for i in range(BLOCK):
        lane[i] = i % LANES
    folded = np.empty(BLOCK, np.float32)
    slots, excess = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint32)
    absent, seen, packed = np.empty(STRETCH, np.uint8), np.empty(STRETCH, np.uint8), np.empty(STRETCH, np.uint8)
    for i in range(STRETCH):
        absent[i] = seen[i] = 0
    all_bits = p.view(np.uint32)
    last = np.uint8(cells.size // (turn.size + lower.size) - 1)
    refused = 0
    for stretch in range(0, p.size, STRETCH):
        n = min(STRETCH, p.size - stretch)
        _pack(masks, stretch, absent, last, packed[:n], seen[:n])
        for start in range(stretch, stretch + n, BLOCK):
            x = p[start : min(start + BLOCK, stretch + n)]
            bits = all_bits[start : start + x.size]
            votes = packed[start - stretch : start - stretch + x.size]
            anything = np.uint32(0)
            for i in range(x.size):
                anything = np.uint32(anything | np.uint32(bits[i] | np.uint32(votes[i])))
            if anything == np.uint32(0):  # a block outside the body
                cells[0] += np.uint64(x.size) * once
                continue
            _find_slots(x, votes, n_mantissa, turn.size + lower.size, lane, folded[: x.size], slots, excess)
            refused += _add(x, votes, slots, excess, turn, lower, cells, once)
    labels = np.uint8(0)
    for i in range(STRETCH):
        labels = np.uint8(labels | seen[i])
    return refused, int(labels)


@kernel
def unpack(cells: Any, count_at: Any, bins: Any, sums: Any) -> None:
    """Add the cells' (count, excess) to ``sums[0, bin, votes]`` and ``sums[1, bin, votes]``, and set them to 0."""
    n_slots = bins.size
    low_bits = (np.uint64(1) << np.uint64(count_at)) - np.uint64(1)
    closed = np.uint64(1) << np.uint64(63)
    for votes in range(sums.shape[2]):
        column = cells[votes * n_slots : (votes + 1) * n_slots]
        for slot in range(n_slots):
            held = column[slot]
            if held == 0 or held >= closed:
                continue
            sums[0, bins[slot], votes] += np.int64(held >> np.uint64(count_at))
            sums[1, bins[slot], votes] += np.int64(held & low_bits)
            column[slot] = 0
