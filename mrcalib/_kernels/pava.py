"""Pool adjacent violators."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel


@kernel
def pool_adjacent_violators(response: Any, weight: Any, fitted: Any) -> int:
    """Weighted least-squares non-decreasing fit of ``response`` into ``fitted``; return the number of blocks.

    Invariant: blocks 0..top hold ascending means; a new value is a block of its own and is merged into the block before it
    for as long as that one's mean is not smaller.
    """
    n = response.size
    mean = np.empty(n, np.float64)
    mass = np.empty(n, np.float64)
    stop = np.empty(n, np.int64)
    top = -1
    for i in range(n):
        top += 1
        mean[top] = response[i]
        mass[top] = weight[i]
        stop[top] = i + 1
        while top > 0 and mean[top - 1] >= mean[top]:
            total = mass[top - 1] + mass[top]
            # From the heavier side: no digits of a rare response cancel, and equal means stay what they are.
            if mass[top - 1] >= mass[top]:
                mean[top - 1] += (mean[top] - mean[top - 1]) * (mass[top] / total)
            else:
                mean[top - 1] = mean[top] + (mean[top - 1] - mean[top]) * (mass[top - 1] / total)
            mass[top - 1] = total
            stop[top - 1] = stop[top]
            top -= 1
    start = 0
    for block in range(top + 1):
        for i in range(start, stop[block]):
            fitted[i] = mean[block]
        start = stop[block]
    return top + 1
