"""Boxes: their overlaps, one-to-one matches, and groups of boxes of several models.

A box of D dimensions is a row of its D lower and then its D upper bounds.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

ALMOST_ONE = 1 - 1e-10  # two boxes that are equal but for rounding match at a threshold of 1


@kernel
def overlap_of(a: Any, i: int, b: Any, j: int) -> float:
    """Intersection over union of box ``i`` of ``a`` and box ``j`` of ``b``; rows are not taken out, which costs more."""
    n_dims = a.shape[1] // 2
    shared = mine = theirs = 1.0
    for d in range(n_dims):
        width = min(a[i, n_dims + d], b[j, n_dims + d]) - max(a[i, d], b[j, d])
        if width <= 0:
            return 0.0
        shared *= width
        mine *= a[i, n_dims + d] - a[i, d]
        theirs *= b[j, n_dims + d] - b[j, d]
    return shared / (mine + theirs - shared)


@kernel
def pairwise_overlap(a: Any, b: Any, out: Any) -> None:
    """Intersection over union of every box of ``a`` with every box of ``b``, into ``out``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            out[i, j] = overlap_of(a, i, b, j)


@kernel
def match_in_order(overlap: Any, order: Any, thresholds: Any, found: Any) -> None:
    """Give each detection, in this order, the object it overlaps most of those left; -1 in ``found`` (T, n) for none.

    Of objects that are overlapped equally the last is taken, as pycocotools does.
    """
    n_objects = overlap.shape[1]
    taken = np.empty(n_objects, np.bool_)
    for t in range(thresholds.size):
        for g in range(n_objects):
            taken[g] = False
        for d in order:
            best = min(thresholds[t], ALMOST_ONE)
            found[t, d] = -1
            for g in range(n_objects):
                if not taken[g] and overlap[d, g] > 0 and overlap[d, g] >= best:
                    best = overlap[d, g]
                    found[t, d] = g
            if found[t, d] >= 0:
                taken[found[t, d]] = True


@kernel
def count_matches(overlap: Any, threshold: float) -> int:
    """The largest number of pairs, each row and each column in one at most, that overlap this much."""
    n, m = overlap.shape
    least = min(threshold, ALMOST_ONE)
    partner = np.empty(m, np.int64)  # row of each column
    came_from = np.empty(m, np.int64)
    queue = np.empty(n, np.int64)
    n_pairs = 0
    for column in range(m):
        partner[column] = -1
    for start in range(n):
        for column in range(m):
            came_from[column] = -1  # the row from which a column was reached
        queue[0] = start
        head, tail, end = 0, 1, -1
        while head < tail and end < 0:
            row = queue[head]
            head += 1
            for column in range(m):
                if came_from[column] < 0 and overlap[row, column] > 0 and overlap[row, column] >= least:
                    came_from[column] = row
                    if partner[column] < 0:
                        end = column
                        break
                    queue[tail] = partner[column]
                    tail += 1
        if end < 0:
            continue
        n_pairs += 1
        while end >= 0:
            row = came_from[end]
            previous = -1
            for column in range(m):
                if partner[column] == row:
                    previous = column
            partner[end] = row
            end = previous
    return n_pairs


@kernel
def _first_from(values: Any, least: float) -> int:
    """Position of the first of the ascending ``values`` that is not below ``least``; as NumPy's, but sooner compiled."""
    first, end = 0, values.size
    while first < end:
        middle = (first + end) // 2
        if values[middle] < least:
            first = middle + 1
        else:
            end = middle
    return first


@kernel
def find_cliques(
    boxes: Any, model: Any, label: Any, threshold: float, by_start: Any, lowest: Any, highest: Any, group: Any
) -> tuple[int, int]:
    """Put each box, in order, into the group all of whose boxes it overlaps; return the groups and the pairs looked at.

    It joins the group with the highest smallest overlap, the first of equal ones, and no group that has a box of its model.
    ``by_start`` lists boxes by their first lower bound; only those between ``lowest`` and ``highest`` can overlap enough.
    """
    n = boxes.shape[0]
    size = np.empty(n, np.int64)
    n_near = np.empty(n, np.int64)
    smallest = np.empty(n, np.float64)
    near = np.empty(n, np.int64)
    starts = np.empty(n, np.float64)
    for k in range(n):
        size[k] = n_near[k] = 0
        starts[k] = boxes[by_start[k], 0]
    n_groups = n_pairs = 0
    for i in range(n):
        n_touched = 0
        for k in range(_first_from(starts, lowest[i]), n):
            if starts[k] > highest[i]:
                break
            j = by_start[k]
            n_pairs += 1
            if j >= i or model[j] == model[i] or label[j] != label[i]:
                continue
            overlap = overlap_of(boxes, i, boxes, j)
            if overlap <= threshold:
                continue
            g = group[j]
            if n_near[g] == 0:
                near[n_touched] = g
                n_touched += 1
                smallest[g] = overlap
            n_near[g] += 1
            smallest[g] = min(smallest[g], overlap)
        best = -1
        for k in range(n_touched):
            g = near[k]
            if n_near[g] == size[g] and (
                best < 0 or smallest[g] > smallest[best] or (smallest[g] == smallest[best] and g < best)
            ):
                best = g
            n_near[g] = 0
        if best < 0:
            best = n_groups
            n_groups += 1
        group[i] = best
        size[best] += 1
    return n_groups, n_pairs


@kernel
def find_clusters(
    boxes: Any, model: Any, label: Any, weight: Any, threshold: float, n_models: int, exclusive: Any, group: Any
) -> int:
    """Put each box, in order, into the group whose weighted mean box it overlaps most; return the number of groups."""
    n, n_bounds = boxes.shape
    centre = np.empty((n, n_bounds), np.float64)
    mass = np.empty(n, np.float64)
    kind = np.empty(n, np.int64)
    has = np.empty((n, n_models), np.bool_)
    n_groups = 0
    for i in range(n):
        mass[i] = 0.0
        for m in range(n_models):
            has[i, m] = False
        best, most = -1, threshold
        for g in range(n_groups):
            if kind[g] != label[i] or (exclusive and has[g, model[i]]):
                continue
            overlap = overlap_of(boxes, i, centre, g)
            if overlap > most:
                best, most = g, overlap
        if best < 0:
            best = n_groups
            n_groups += 1
            kind[best] = label[i]
            for d in range(n_bounds):
                centre[best, d] = boxes[i, d]
        mass[best] += weight[i]
        for d in range(n_bounds):
            centre[best, d] += (boxes[i, d] - centre[best, d]) * (weight[i] / mass[best])
        has[best, model[i]] = True
        group[i] = best
    return n_groups
