"""Counting voxels by bin of probability and by vote pattern: one pass over the voxels.

The kernel reads each probability and each mask once and adds to one number in a table. What makes it as fast as reading:

- The bin comes from the bits of the float32 (see ``grid.py``), without a search, a logarithm or a branch.
- A counter is one uint64 with the number of voxels in its high bits and the sum of their offsets in its low bits, so that
  one addition counts both. ``tallies/_counting.py`` empties the table into two int64 before either part can overflow.
- Work is done in small blocks: each step is a loop of its own over a block in the processor's cache, and so simple that the
  compiler turns it into vector instructions (8 floats or 32 bytes at a time). Only the additions to the table, which may hit
  the same counter twice, go one voxel at a time.

Casts such as ``np.uint8(a | b)`` are not decoration. Numba widens the result of every integer operation to 64 bits, as NumPy
does not, and a loop over 64-bit numbers has an eighth of the width of one over bytes. tests/kernel_code.py looks at the
instructions.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

STRETCH = 16384  # voxels whose votes are packed at a time: so many bytes of eight masks stay in the cache
BLOCK = 256  # voxels whose counters are found at a time
LANES = 4  # counters of exact zeros


@kernel
def _part(mask: Any, start: int, zeros: Any, size: int) -> Any:
    """The voxels from ``start`` on of a mask; zeros if the mask is empty (no such rater)."""
    return mask[start : start + size] if mask.size else zeros[:size]


@kernel
def _pack_votes(masks: Any, start: int, zeros: Any, last_pattern: Any, votes: Any, labels: Any) -> None:
    """Put mask r of eight into bit r of ``votes``, and the bitwise or of all masks and of ``labels`` into ``labels``.

    ``last_pattern`` has all bits that a vote pattern may have. It limits votes whatever the masks hold: votes are used as an
    index into the table before the labels have been looked at.
    """
    n = votes.size
    # Views are taken before the loop: an index with an offset, as in masks[0][start + i], would keep it from being vectorized.
    m0, m1, m2, m3 = (
        _part(masks[0], start, zeros, n),
        _part(masks[1], start, zeros, n),
        _part(masks[2], start, zeros, n),
        _part(masks[3], start, zeros, n),
    )
    m4, m5, m6, m7 = (
        _part(masks[4], start, zeros, n),
        _part(masks[5], start, zeros, n),
        _part(masks[6], start, zeros, n),
        _part(masks[7], start, zeros, n),
    )
    for i in range(n):
        # x + x instead of x << 1: there is a vector instruction that adds bytes, but none that shifts them.
        high = m7[i] + m7[i] + m6[i]
        high = high + high + m5[i]
        high = high + high + m4[i]
        high = high + high + m3[i]
        high = high + high + m2[i]
        high = high + high + m1[i]
        votes[i] = (high + high + m0[i]) & last_pattern
        labels[i] |= m0[i] | m1[i] | m2[i] | m3[i] | m4[i] | m5[i] | m6[i] | m7[i]


@kernel
def _find_counters(
    p: Any, votes: Any, n_mantissa: Any, n_counters: Any, lane: Any, folded: Any, counters: Any, offsets: Any
) -> None:
    """The counter of each voxel in the table of all vote patterns, and its offset; see `grid.CounterLayout`."""
    shift = np.uint32(23 - n_mantissa)
    low_bits = np.uint32((1 << (23 - n_mantissa)) - 1)
    invalid_top = np.uint32((126 << n_mantissa) + 1)  # the first top bits after those of 1/2
    tiny_top = np.uint32((95 << n_mantissa) - 1)  # the last top bits before those of 2**-32
    nothing = np.uint32(0)
    bits = folded.view(np.uint32)
    for i in range(p.size):
        # NaN stays NaN, and numbers outside [0, 1] become negative: their bits, read as whole numbers, exceed those of 1/2.
        complement = np.float32(1) - p[i]
        folded[i] = (complement if complement < p[i] else p[i]) + np.float32(0)  # -0 + 0 is 0, without a sign bit
    # Without branches: min and max clamp the top bits to their range, and every choice below is between two numbers.
    for i in range(p.size):
        top = min(np.uint32(bits[i] >> shift), invalid_top)
        # 0 for all of [0, 2**-32), 1 for the first bin after it, and so on.
        above = np.uint32(max(top, tiny_top) - tiny_top)
        upper = np.uint32(1) if p[i] > np.float32(0.5) else nothing
        counter = np.uint32(np.uint32(above + above) + np.uint32(upper + np.uint32(LANES)))
        counter = lane[i] if np.uint32(top | upper) == nothing else counter
        counters[i] = np.uint32(counter + np.uint32(np.uint32(votes[i]) * np.uint32(n_counters)))
        offsets[i] = np.uint32(bits[i] & low_bits) if above > nothing else nothing


@kernel
def _add(
    p: Any, votes: Any, counters: Any, offsets: Any, first_sub_bin: Any, sub_bin_lower: Any, table: Any, one_voxel: Any
) -> int:
    """Add each voxel to its counter, or to that of its sub-bin; return how many were no probabilities."""
    blocked = np.uint64(1) << np.uint64(63)
    n_counters = first_sub_bin.size + sub_bin_lower.size
    n_invalid = 0
    for i in range(p.size):
        counter = np.uint64(counters[i])
        value = table[counter]
        # Nearly always true, so that the processor predicts the branch.
        if value < blocked:
            table[counter] = value + one_voxel + np.uint64(offsets[i])
            continue
        # Seldom: the counter is blocked. Its sub-bins are few, and are tried one after the other.
        column = np.int64(votes[i]) * n_counters
        j = np.int64(first_sub_bin[np.int64(counters[i]) - column])
        if j < 0:
            n_invalid += 1
            continue
        while j + 1 < sub_bin_lower.size and p[i] >= sub_bin_lower[j + 1]:
            j += 1
        table[column + first_sub_bin.size + j] += one_voxel + np.uint64(offsets[i])
    return n_invalid


@kernel
def count_voxels(
    p: Any, masks: Any, n_mantissa: Any, first_sub_bin: Any, sub_bin_lower: Any, table: Any, count_at: Any
) -> tuple[int, int]:
    """Add each voxel to the counter of its bin and votes; return how many were no probabilities, and the or of all masks.

    Votes are bit r of mask r of eight; an empty mask is 0 everywhere. ``table`` holds the counters of votes 0, then those of
    votes 1, and so on, each in the order of `grid.CounterLayout`. A counter is a number of voxels, from bit ``count_at`` on,
    above the sum of their offsets. Its highest bit says that it is blocked: the voxel is then counted in a sub-bin, found from
    ``first_sub_bin`` and ``sub_bin_lower``, or is no probability.

    Exact zeros, of which there are long runs, take ``LANES`` counters in turn: with one counter, each addition would have to
    wait until the previous one was written to memory and read back.
    """
    one_voxel = np.uint64(1) << np.uint64(count_at)
    lane = np.empty(BLOCK, np.uint32)
    for i in range(BLOCK):
        lane[i] = i % LANES
    folded = np.empty(BLOCK, np.float32)
    counters, offsets = np.empty(BLOCK, np.uint32), np.empty(BLOCK, np.uint32)
    zeros, labels, packed = np.empty(STRETCH, np.uint8), np.empty(STRETCH, np.uint8), np.empty(STRETCH, np.uint8)
    for i in range(STRETCH):
        zeros[i] = labels[i] = 0
    all_bits = p.view(np.uint32)
    last_pattern = np.uint8(table.size // (first_sub_bin.size + sub_bin_lower.size) - 1)
    n_invalid = 0
    for stretch in range(0, p.size, STRETCH):
        n = min(STRETCH, p.size - stretch)
        _pack_votes(masks, stretch, zeros, last_pattern, packed[:n], labels[:n])
        for start in range(stretch, stretch + n, BLOCK):
            x = p[start : min(start + BLOCK, stretch + n)]
            bits = all_bits[start : start + x.size]
            votes = packed[start - stretch : start - stretch + x.size]
            anything = np.uint32(0)
            for i in range(x.size):
                anything = np.uint32(anything | np.uint32(bits[i] | np.uint32(votes[i])))
            # Outside the body whole blocks are exactly 0 and unmarked: one addition counts them all.
            if anything == np.uint32(0):
                table[0] += np.uint64(x.size) * one_voxel
                continue
            _find_counters(
                x, votes, n_mantissa, first_sub_bin.size + sub_bin_lower.size, lane, folded[: x.size], counters, offsets
            )
            n_invalid += _add(x, votes, counters, offsets, first_sub_bin, sub_bin_lower, table, one_voxel)
    # Labels were gathered in one byte for each place in a stretch, which is a vector loop; one number for all would not be.
    all_labels = np.uint8(0)
    for i in range(STRETCH):
        all_labels = np.uint8(all_labels | labels[i])
    return n_invalid, int(all_labels)


@kernel
def unpack(table: Any, count_at: Any, bins: Any, sums: Any) -> None:
    """Add the counters' voxels to ``sums[0, bin, votes]`` and their offsets to ``sums[1, bin, votes]``, and set them to 0."""
    n_counters = bins.size
    low_bits = (np.uint64(1) << np.uint64(count_at)) - np.uint64(1)
    blocked = np.uint64(1) << np.uint64(63)
    for votes in range(sums.shape[2]):
        column = table[votes * n_counters : (votes + 1) * n_counters]
        for counter in range(n_counters):
            value = column[counter]
            # A blocked counter holds its highest bit and nothing else, and keeps it.
            if value == 0 or value >= blocked:
                continue
            sums[0, bins[counter], votes] += np.int64(value >> np.uint64(count_at))
            sums[1, bins[counter], votes] += np.int64(value & low_bits)
            column[counter] = 0


@kernel
def add_by_rater(index: Any, present: Any, marked: Any, voxels: Any, offset_sum: Any, counts: Any) -> None:
    """Add cells to ``counts[:, r, index]`` for each rater r: voxels answered and their offsets, voxels marked and theirs.

    ``present`` and ``marked`` are bit masks, of which one rater a step is shifted out.
    """
    for i in range(index.size):
        b = index[i]
        answered, marks = present[i], marked[i]
        n, offsets = np.float64(voxels[i]), np.float64(offset_sum[i])
        r = 0
        while answered != 0 and r < counts.shape[1]:
            if answered & 1:
                counts[0, r, b] += n
                counts[1, r, b] += offsets
                if marks & 1:
                    counts[2, r, b] += n
                    counts[3, r, b] += offsets
            answered >>= 1
            marks >>= 1
            r += 1
