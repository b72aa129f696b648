"""What the package must agree with: plain, slow, and meant to be seen to be right.

Each kernel has its twin here, of the same name and arguments. ``tally`` counts voxel by voxel with exact fractions, and
``bca`` is Efron's formula as it is printed.
"""

from __future__ import annotations

from collections import defaultdict
from fractions import Fraction

import numpy as np
from scipy.stats import norm

TINY = (
    2.0**-32
)  # below this, probabilities share a bin and count as TINY / 2 each, or as 0 where they share the bin of 0


def offset(grid, x):
    """Offset of a probability from the anchor of its bin, in units of the last place of min(p, 1 - p)."""
    q = np.float32(min(x, np.float32(1) - x))
    return int(q.view(np.uint32)) % (1 << (23 - grid.mantissa_bits)) if q >= TINY else 0


def count_voxels(grid, p, masks):
    sums = np.zeros((2, grid.n_bins, 1 << len(masks)), int)
    votes = sum((np.asarray(mask, int) << r for r, mask in enumerate(masks) if len(mask)), np.zeros(len(p), int))
    bins = locate(grid, p)
    for x, b, v in zip(p, bins, votes, strict=True):
        if b >= 0:
            sums[:, b, v] += (1, offset(grid, x))
    return sums, np.count_nonzero(bins < 0), np.bitwise_or.reduce(np.concatenate([[0], *masks]).astype(int))


def add_by_rater(index, present, marked, voxels, offset_sum, counts):  # noqa: PLR0917 - as the kernel
    for r in range(counts.shape[1]):
        for rows, who in ((counts[:2, r], present), (counts[2:, r], present & marked)):
            for row, values in zip(rows, (voxels, offset_sum), strict=True):
                np.add.at(row, index, values * ((who >> r) & 1))


def pool_adjacent_violators(response, weight, fitted):
    blocks = []
    for y, w in zip(response.tolist(), weight.tolist(), strict=True):
        blocks.append((y, w, 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (y1, w1, n1), (y2, w2, n2) = blocks[-2:]
            # From the heavier side: no digits cancel, and equal responses stay what they are.
            mean = y1 + (y2 - y1) * (w2 / (w1 + w2)) if w1 >= w2 else y2 + (y1 - y2) * (w1 / (w1 + w2))
            blocks[-2:] = [(mean, w1 + w2, n1 + n2)]
    fitted[:] = np.repeat([y for y, _, _ in blocks], [n for _, _, n in blocks])
    return len(blocks)


def locate(grid, probs):
    """Bin of each probability by bisection; -1 for what is none."""
    p = np.asarray(probs, dtype=np.float32)
    return np.where((p >= 0) & (p <= 1), np.searchsorted(grid.lower, p, side="right") - 1, -1)


def tally(grid, probs, answers, strata=None):
    """``{(stratum, bin, present, marked): (voxels, sum of p)}`` of answers (R, n) that are 0, 1 or nan."""
    cells = defaultdict(lambda: [0, Fraction(0)])
    for i, p in enumerate(np.asarray(probs, dtype=np.float32)):
        present = sum(1 << r for r, row in enumerate(answers) if not np.isnan(row[i]))
        marked = sum(1 << r for r, row in enumerate(answers) if row[i] == 1)
        if present and 0 <= p <= 1:
            b = int(locate(grid, p))
            cell = cells[(0 if strata is None else int(strata[i]), b, present, marked)]
            cell[0] += 1
            cell[1] += Fraction(0 if b == 0 else TINY / 2 if p < TINY else float(p))
    return {key: (n, float(total)) for key, (n, total) in cells.items()}


def cells_of(tally):
    """The cells of a ``mrcalib.Tally`` in the form of ``reference.tally``."""
    c = tally.cells
    total = tally.grid.sum_of_probabilities(c.bin, c.voxels, c.offset_sum)
    keys = zip(c.stratum.tolist(), c.bin.tolist(), c.present.tolist(), c.marked.tolist(), strict=True)
    return dict(zip(keys, zip(c.voxels.tolist(), total.tolist(), strict=True), strict=True))


def isotonic(response, weight):
    """``max over j <= i of min over k >= i of mean(j..k)``, in fractions: the textbook's formula."""
    y, w = [Fraction(v) for v in response], [Fraction(v) for v in weight]
    n = len(y)

    def mean(j, k):
        return sum(a * b for a, b in zip(y[j : k + 1], w[j : k + 1], strict=True)) / sum(w[j : k + 1])

    return [float(max(min(mean(j, k) for k in range(i, n)) for j in range(i + 1))) for i in range(n)]


def bca(samples, estimate, jackknife, level):
    """Efron (1987), equations 2.3 and 6.6, ties counted half."""
    samples, jackknife = np.asarray(samples), np.asarray(jackknife)
    z0 = norm.ppf(np.mean((samples < estimate) + 0.5 * (samples == estimate)))
    d = jackknife.mean() - jackknife
    a = (d**3).sum() / (6 * (d**2).sum() ** 1.5)
    z = norm.ppf([(1 - level) / 2, (1 + level) / 2])
    return np.quantile(samples, norm.cdf(z0 + (z0 + z) / (1 - a * (z0 + z))))
