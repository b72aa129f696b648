"""Isotonic regression by pooling adjacent violators.

The fit is also the slope of the greatest convex minorant of the points (cumulated weight, cumulated response): the highest
convex line that lies nowhere above them. That picture is what the exact fit reasons with (``calibrators/_isotonic.py``).
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel


@kernel
def pool_adjacent_violators(response: Any, weight: Any, fitted: Any) -> int:
    """Write the weighted least-squares non-decreasing fit of ``response`` to ``fitted``; return the number of blocks.

    Blocks 0 to top have ascending means, always. Each new value begins as a block of its own, which is merged into the block
    before it as long as that one's mean is not smaller. A value is merged once at most, so the time is linear.
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
            # The new mean is computed as a step from the mean of the heavier block. So a rare response under a heavy
            # background keeps its digits, and equal means stay exactly what they are.
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
