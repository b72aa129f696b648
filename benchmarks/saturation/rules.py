"""Ways to cut voxels into bins, to fit isotonic maps to them, and to apply these: the paper's, and others it may have used.

Written apart from the library (scikit-learn's PAVA, NumPy's interpolation), and compared with it by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import isotonic_regression

from mrcalib.responses import Responses

FloatArray = NDArray[np.float64]


class Table(NamedTuple):
    """Voxels in ascending order of probability, then of case: (prob, how many, votes of each rater, case)."""

    prob: FloatArray
    voxels: FloatArray
    votes: FloatArray  # (n_raters, n_rows)
    case: NDArray[np.int64]

    @classmethod
    def of(cls, cases: Sequence[Responses], keep: Callable[[Responses], FloatArray] | None = None) -> Table:
        """The table of cases; ``keep`` gives the fraction of each row's voxels that count."""
        parts = []
        for index, rows in enumerate(cases):
            fraction = np.ones(rows.n_rows) if keep is None else keep(rows)
            assert rows.marked is not None
            count = rows.count * fraction
            bits = [(rows.marked >> r & 1) * count for r in range(rows.n_raters)]
            prob, where = np.unique(rows.prob, return_inverse=True)
            by_value = [np.bincount(where, values, prob.size) for values in (count, *bits)]
            parts.append((prob, np.array(by_value), np.full(prob.size, index)))
        prob, case = np.concatenate([p for p, _, _ in parts]), np.concatenate([c for _, _, c in parts])
        sums = np.concatenate([s for _, s, _ in parts], axis=1)
        order = np.lexsort((case, prob))
        order = order[sums[0, order] > 0]
        return cls(prob[order], sums[0, order], sums[1:, order], case[order])

    def one_row_a_value(self) -> Table:
        """Rows of equal probability added up, over cases."""
        starts = np.flatnonzero(np.append(True, np.diff(self.prob) > 0))
        voxels, votes = np.add.reduceat(self.voxels, starts), np.add.reduceat(self.votes, starts, axis=1)
        return Table(self.prob[starts], voxels, votes, self.case[starts])

    def where(self, rows: NDArray[np.bool_]) -> Table:
        return Table(self.prob[rows], self.voxels[rows], self.votes[:, rows], self.case[rows])


class Bins(NamedTuple):
    """Mean probability, weight in the fit, and each rater's rate, of every bin."""

    prob: FloatArray
    weight: FloatArray
    rates: FloatArray  # (n_raters, n_bins)


def tied(table: Table, n_bins: int) -> Bins:
    """Equal mass, equal probabilities never split: bin k starts at the value of rank k / n_bins."""
    rows = table.one_row_a_value()
    cumulated = np.cumsum(rows.voxels)
    ranks = np.arange(1, n_bins) * cumulated[-1] / n_bins
    starts = np.unique(np.append(0, np.searchsorted(cumulated, ranks, side="right")))
    return _sums(rows, starts[starts < rows.prob.size])


def split(table: Table, n_bins: int) -> Bins:
    """``np.array_split`` of the sorted voxels, tied ones in random order: ties are split across bins."""
    return _cut(table.one_row_a_value(), n_bins)


def split_by_case(table: Table, n_bins: int) -> Bins:
    """``np.array_split`` after a stable sort: tied voxels stay in the order of the cases."""
    return _cut(table, n_bins)


def quantile_edges(table: Table, n_bins: int) -> Bins:
    """scikit-learn's ``calibration_curve(strategy="quantile")``, its points fitted without weights.

    Edges at percentiles, several of which may be one tied value; bins closed on the right, empty ones dropped.
    """
    rows = table.one_row_a_value()
    cumulated = np.cumsum(rows.voxels)
    ranks = np.arange(1, n_bins) * cumulated[-1] / n_bins
    edges = rows.prob[np.minimum(np.searchsorted(cumulated, ranks, side="left"), rows.prob.size - 1)]
    bins = _by_index(rows, np.searchsorted(edges, rows.prob, side="left"))
    return bins._replace(weight=np.ones(bins.prob.size))


def uniform(table: Table, n_bins: int) -> Bins:
    """Bins of equal width."""
    rows = table.one_row_a_value()
    return _by_index(rows, np.minimum((rows.prob * n_bins).astype(np.int64), n_bins - 1))


def per_case(table: Table, n_bins: int) -> Bins:
    """``tied`` in each case on its own; all cases' bins together are then fitted."""
    parts = [tied(table.where(table.case == case), n_bins) for case in np.unique(table.case)]
    prob, weight, rates = (np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True))
    order = np.argsort(prob, kind="stable")
    return Bins(prob[order], weight[order], rates[:, order])


def every_value(table: Table, n_bins: int) -> Bins:  # noqa: ARG001
    """No bins but the tally's own."""
    rows = table.one_row_a_value()
    return Bins(rows.prob, rows.voxels, rows.votes / rows.voxels)


RULES: dict[str, Callable[[Table, int], Bins]] = {
    "tied": tied,
    "split": split,
    "split by case": split_by_case,
    "quantile edges": quantile_edges,
    "uniform": uniform,
    "per case": per_case,
    "every value": every_value,
}


def _sums(rows: Table, starts: NDArray[np.int64]) -> Bins:
    count, votes = np.add.reduceat(rows.voxels, starts), np.add.reduceat(rows.votes, starts, axis=1)
    return Bins(np.add.reduceat(rows.prob * rows.voxels, starts) / count, count, votes / count)


def _by_index(rows: Table, index: NDArray[np.int64]) -> Bins:
    return _sums(rows, np.flatnonzero(np.append(True, np.diff(index) > 0)))


def _cut(rows: Table, n_bins: int) -> Bins:
    """Exactly equal mass: a row that straddles an edge is shared in proportion."""
    ends = np.append(0, np.cumsum(rows.voxels))
    edges = np.linspace(0, ends[-1], n_bins + 1)
    sums = [
        np.diff(np.interp(edges, ends, np.append(0, np.cumsum(v))))
        for v in (rows.voxels, rows.prob * rows.voxels, *rows.votes)
    ]
    count = sums[0]
    prob = np.maximum.accumulate(np.clip(sums[1] / count, 0, 1))
    return Bins(prob, count, np.clip(np.array(sums[2:]) / count, 0, 1))


@dataclass(frozen=True)
class Curve:
    """``np.interp`` of points; beyond the last one constant ("clamp"), or 0 as a NaN would end up ("zero")."""

    x: FloatArray
    y: FloatArray
    beyond: str = "clamp"

    def __call__(self, probs: FloatArray) -> FloatArray:
        value = np.interp(probs, self.x, self.y)
        if self.beyond == "zero":
            value[(probs < self.x[0]) | (probs > self.x[-1])] = 0.0
        return value


def pava(rates: FloatArray, weight: FloatArray) -> FloatArray:
    """Weighted isotonic regression by scikit-learn."""
    fitted: FloatArray = isotonic_regression(rates, sample_weight=weight, y_min=0, y_max=1)
    return fitted


def per_rater(bins: Bins) -> FloatArray:
    """Each rater's own isotonic values, (n_raters, n_bins)."""
    return np.array([pava(rates, bins.weight) for rates in bins.rates])


def targets(
    bins: Bins, rater: int = 0, after: Callable[[FloatArray], FloatArray] | None = None
) -> dict[str, FloatArray]:
    """The values of the three targets at the bins: one rater's fit, the mean of the raters' fits, the fit to their mean.

    ``after`` is done to each fit before raters are averaged.
    """
    fits, mean = per_rater(bins), pava(bins.rates.mean(axis=0), bins.weight)
    if after is not None:
        fits, mean = after(fits), after(mean)
    return {"single": fits[rater], "hard": fits.mean(axis=0), "MHR": mean}


def bound_on_target(bins: Bins) -> float:
    """No bin's hard-label and MHR values differ by more than this: the largest mean residual of the raters' fits.

    Isotonic regression is non-expansive in the maximum norm, and it leaves the hard-label values h, which ascend, as they are:
    max |P(mean y) - h| = max |P(mean y) - P(h)| <= max |mean y - h|.
    """
    return float(np.abs(bins.rates.mean(axis=0) - per_rater(bins).mean(axis=0)).max())
