"""Boxes: their overlaps, one-to-one matches, and groups of boxes of several models.

A box of D dimensions is a row of D lower bounds and then D upper bounds. The overlap of two boxes is their intersection over
union.
"""

from typing import Any

import numpy as np

from mrcalib._kernels._compile import kernel

ALMOST_ONE = 1 - 1e-10  # the largest threshold that is applied: boxes equal up to rounding match at a threshold of 1


@kernel
def overlap_of(a: Any, i: int, b: Any, j: int) -> float:
    """Intersection over union of box ``i`` of ``a`` and box ``j`` of ``b``.

    The boxes are passed by position: making a view of each row would cost more than the arithmetic.
    """
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
    """Write the intersection over union of every box of ``a`` with every box of ``b`` to ``out``."""
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            out[i, j] = overlap_of(a, i, b, j)


@kernel
def match_in_order(overlap: Any, order: Any, thresholds: Any, found: Any) -> None:
    """Match each detection, in this order, with the object that it overlaps most among those left; -1 for none.

    ``found`` is of shape (n_thresholds, n_detections). Among objects that are overlapped equally the last one is taken, as
    pycocotools does: hence ``>=`` below.
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
    """The largest number of pairs that overlap at least this much, each row and each column in at most one pair.

    Maximum bipartite matching by augmenting paths: a row without a partner is matched if a chain of rows can each move to
    another column that overlaps enough. The chain is found by breadth-first search from that row.
    """
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
                # Boxes that do not overlap never match, not even at a threshold of 0.
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
        # Go back along the chain: each of its rows takes the column that it reached, and leaves its old one to the row before.
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
    """Position of the first of the ascending ``values`` that is not below ``least``; np.searchsorted takes long to compile."""
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
    """Put each box, in order, into a group all of whose boxes it overlaps; return the number of groups and of pairs compared.

    Among such groups a box joins the one with the largest smallest overlap, the first of equal ones. It joins no group that
    has a box of its own model or of another label; if there is none, it begins a group.

    ``by_start`` lists boxes by their first lower bound. A box whose first lower bound lies outside ``lowest[i]`` to
    ``highest[i]`` cannot overlap box i enough, so only those between are compared.
    """
    n = boxes.shape[0]
    size = np.empty(n, np.int64)
    n_near = np.empty(n, np.int64)  # for each group: its boxes that overlap the present box
    smallest = np.empty(n, np.float64)  # for each group: the smallest of these overlaps
    near = np.empty(n, np.int64)  # the groups that the present box touches
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
            # The group counts only if all of its boxes overlap; a box of the same model was not counted, and so rules it out.
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
    """Put each box, in order, into the group whose weighted mean box it overlaps most; return the number of groups.

    The overlap must exceed ``threshold``, else the box begins a group. With ``exclusive``, a group takes one box of a model.
    """
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
