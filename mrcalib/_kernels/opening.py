"""The second pass of an exact fit: which voxels lie in bins that must be looked into."""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

CLOSED, OPENED, BORDER = 0, 1, 2


@kernel
def visit_bins(p: Any, keys: Any, first: Any, lower: Any, state: Any, found: Any, lowest: Any, highest: Any) -> int:
    """Put the positions of voxels in OPENED bins into ``found`` and return how many; keep the extremes of BORDER bins."""
    n = 0
    for i in range(p.size):
        b = np.int64(first[np.uint32(keys[i])])
        if b < 0:
            if b == -1:
                continue
            b = ~b
            while b + 1 < lower.size and p[i] >= lower[b + 1]:
                b += 1
        if state[b] == CLOSED:
            continue
        if state[b] == OPENED:
            found[n] = i
            n += 1
        else:
            lowest[b] = min(lowest[b], p[i])
            highest[b] = max(highest[b], p[i])
    return n
