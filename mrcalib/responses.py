"""What raters answered at which probability: the rows that every metric, and the sums that every calibrator is computed from.

A row stands for one voxel, or for all voxels of a tally's cell, which share a bin of probability and a vote pattern. The
formulas are the same, so a metric is written once: it is exact on voxels, and on a tally needs no second pass over them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["AnswerSums", "DistinctProbs", "PooledResponses", "Responses"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Responses:
    """Rows of (probability, how many voxels, which raters answered, which of them marked the voxel).

    Attributes
    ----------
    prob : ndarray of shape (n_rows,), float64
        Probability in [0, 1]; on a tally the mean of the bin, or what a map makes of it.
    count : ndarray of shape (n_rows,), float64
        Voxels in the row (or their total sample weight).
    answers : ndarray of shape (n_rows,), float64
        Number of raters who answered at each of these voxels; at least 1.
    votes : ndarray of shape (n_rows,), float64
        Number of these raters who marked the voxel; for soft targets the target itself, with ``answers`` 1.
    n_raters : int
        Number of raters of the study, missing ones included.
    present, marked : ndarray of shape (n_rows,), int64, or None
        The raters who answered and those who marked the voxel, as bit masks: bit r is rater r. None for soft targets.
    voxel_volume : float
        Volume of one voxel, in mL; 1.0 where it is not known, and volumes are then in voxels.
    count_probs : ndarray of shape (n_rows, K + 1), float64, or None
        Predicted probability of each number of votes of K raters, where a method predicts one.
    """

    prob: FloatArray
    count: FloatArray
    answers: FloatArray
    votes: FloatArray
    n_raters: int
    present: NDArray[np.int64] | None = None
    marked: NDArray[np.int64] | None = None
    voxel_volume: float = 1.0
    count_probs: FloatArray | None = None
    _distinct: DistinctProbs | None = field(default=None, init=False, repr=False)

    @property
    def n_rows(self) -> int:
        return int(self.prob.size)

    @classmethod
    def from_distinct(cls, prob: FloatArray, index: NDArray[np.intp], **columns: Any) -> Responses:
        """Rows given by their distinct probabilities: row i has the probability ``prob[index[i]]``, under any map.

        A map is then evaluated once for each distinct probability, and what raters answered is added up once for all maps.

        Parameters
        ----------
        prob : ndarray of shape (n_distinct,), float64
            The distinct probabilities, such as the means of a tally's bins.
        index : ndarray of shape (n_rows,), int
            Position in ``prob`` of each row's probability; each position occurs.
        **columns : Any
            The other attributes.
        """
        rows = cls(prob[index], **columns)
        return rows._with_distinct(DistinctProbs(prob, AnswerSums(rows, index)))

    def _with_distinct(self, distinct: DistinctProbs) -> Responses:
        rows = replace(self)
        object.__setattr__(rows, "_distinct", distinct)
        return rows

    def distinct(self) -> DistinctProbs:
        """The distinct probabilities of the rows and the sums of the answers at each; rows that are voxels are all distinct.

        Examples
        --------
        >>> rows = Responses(np.array([0.5, 0.9]), np.array([3.0, 1.0]), np.ones(2), np.array([0.0, 1.0]), n_raters=1)
        >>> prob, answers = rows.distinct()
        >>> prob, answers.votes
        (array([0.5, 0.9]), array([0., 1.]))
        """
        return DistinctProbs(self.prob, AnswerSums(self)) if self._distinct is None else self._distinct

    def map(self, function: Callable[[FloatArray], FloatArray]) -> Responses:
        """The same answers at the probabilities that ``function`` computes from these, element by element.

        Examples
        --------
        >>> rows = Responses(np.array([0.5]), np.array([3.0]), np.array([1.0]), np.array([1.0]), n_raters=1)
        >>> rows.map(np.square).prob
        array([0.25])
        """
        distinct = self._distinct
        if distinct is None:
            return replace(self, prob=np.asarray(function(self.prob), dtype=np.float64), count_probs=None)
        prob = np.asarray(function(distinct.prob), dtype=np.float64)
        mapped = replace(self, prob=prob[distinct.answers.index], count_probs=None)
        return mapped._with_distinct(DistinctProbs(prob, distinct.answers))

    def with_count_probs(self, count_probs: FloatArray) -> Responses:
        """The same rows with a predicted distribution of votes."""
        rows = replace(self, count_probs=count_probs)
        return rows if self._distinct is None else rows._with_distinct(self._distinct)

    def rater(self, index: int) -> Responses:
        """The answers of one rater alone; rows where that rater is missing are left out.

        Raises
        ------
        ValueError
            If raters were averaged into a soft target, or there is no such rater.
        """
        self.check_rater(index)
        assert self.present is not None
        assert self.marked is not None
        bit = np.int64(1) << index
        here = (self.present & bit) != 0
        marked = (self.marked[here] & bit) != 0
        return Responses(
            self.prob[here],
            self.count[here],
            np.ones(marked.size),
            marked.astype(np.float64),
            1,
            np.ones(marked.size, dtype=np.int64),
            marked.astype(np.int64),
            self.voxel_volume,
        )

    def check_rater(self, index: int) -> None:
        """Raise ValueError if raters were averaged into a soft target, or there is no such rater."""
        if self.present is None or self.marked is None:
            msg = "This needs each rater's answers, but the raters were given as one averaged (soft) target."
            raise ValueError(msg)
        if not 0 <= index < self.n_raters:
            msg = f"rater must lie between 0 and {self.n_raters - 1}; got {index}."
            raise ValueError(msg)

    def answered_raters(self) -> list[int]:
        """Indices of the raters who answered at one voxel at least."""
        if self.present is None:
            return []
        seen = int(np.bitwise_or.reduce(self.present, initial=0))
        return [r for r in range(self.n_raters) if seen >> r & 1]


class AnswerSums:
    """What raters answered, summed over the rows of each distinct probability; each sum is computed when first asked for.

    A map changes probabilities and leaves answers as they are, so all maps of a case share these sums.

    Attributes
    ----------
    index : ndarray of shape (n_rows,), int, or None
        Position of each row's probability among the distinct ones; None if every row is distinct.
    """

    def __init__(self, rows: Responses, index: NDArray[np.intp] | None = None) -> None:
        self.index = index
        self._rows = rows
        self._sums: dict[Hashable, FloatArray] = {}

    def total(self, name: Hashable, values: Callable[[Responses], FloatArray]) -> FloatArray:
        """``values`` of the rows, summed for each distinct probability.

        Sums are kept under ``name``: two kinds of values must not share one.
        """
        if self.index is None:
            return values(self._rows)
        if name not in self._sums:
            self._sums[name] = np.bincount(self.index, values(self._rows)).astype(np.float64, copy=False)
        return self._sums[name]

    @property
    def count(self) -> FloatArray:
        """Voxels at each distinct probability."""
        return self.total("count", lambda rows: rows.count)

    @property
    def pairs(self) -> FloatArray:
        """Pairs of a voxel and a rater who answered there."""
        return self.total("pairs", lambda rows: rows.count * rows.answers)

    @property
    def votes(self) -> FloatArray:
        """Pairs of a voxel and a rater who marked it."""
        return self.total("votes", lambda rows: rows.count * rows.votes)

    @property
    def responses(self) -> FloatArray:
        """Sum over the voxels of the share of raters who marked each."""
        return self.total("responses", lambda rows: rows.count * (rows.votes / rows.answers))

    def rater(self, index: int) -> tuple[FloatArray, FloatArray]:
        """Voxels that one rater answered, and voxels that this rater marked; errors as for ``Responses.rater``."""
        self._rows.check_rater(index)

        def voxels(what: str) -> FloatArray:
            return self.total((what, index), lambda rows: rows.count * ((getattr(rows, what) >> index) & 1))

        key = ("present", index)
        if self.index is not None and key not in self._sums and np.array_equal(voxels("present"), self.count):
            self._sums[key] = self.count  # one array for all raters who answered everywhere
        return voxels("present"), voxels("marked")


class DistinctProbs(NamedTuple):
    """The distinct probabilities of rows, of shape (n_distinct,), and the sums of the answers at each."""

    prob: FloatArray
    answers: AnswerSums


@dataclass(frozen=True, slots=True, eq=False)
class PooledResponses:
    """Each rater's answers summed by bin of probability, over voxels and cases: what calibrators are fitted to.

    ``a + b`` holds the sums of the voxels of both. Bins are in the order of probability.

    Attributes
    ----------
    bins : ndarray of shape (n_bins,), int64
        Identifiers of the bins, ascending.
    weight, prob_sum, votes : ndarray of shape (n_raters, n_bins), float64
        Of the voxels at which the rater answered: their number (or total weight), the sum of their probabilities, and how many
        the rater marked. A soft target is one rater, whose votes are the sum of the target.
    marked_prob : ndarray of shape (n_raters, n_bins), or None
        The part of ``prob_sum`` that comes from voxels that the rater marked; None where it is not known.
    """

    bins: NDArray[np.int64]
    weight: FloatArray
    prob_sum: FloatArray
    votes: FloatArray
    marked_prob: FloatArray | None = None
    _means: list[tuple[FloatArray, FloatArray, FloatArray]] = field(default_factory=list, init=False, repr=False)

    @property
    def n_raters(self) -> int:
        return int(self.weight.shape[0])

    def __add__(self, other: PooledResponses) -> PooledResponses:
        if self.n_raters != other.n_raters:
            msg = f"Cannot add responses of {self.n_raters} and {other.n_raters} raters."
            raise ValueError(msg)
        bins = np.union1d(self.bins, other.bins)

        def total(a: FloatArray, b: FloatArray) -> FloatArray:
            out = np.zeros((self.n_raters, bins.size))
            out[:, np.searchsorted(bins, self.bins)] += a
            out[:, np.searchsorted(bins, other.bins)] += b
            return out

        mine, theirs = self.marked_prob, other.marked_prob
        return PooledResponses(
            bins,
            total(self.weight, other.weight),
            total(self.prob_sum, other.prob_sum),
            total(self.votes, other.votes),
            None if mine is None or theirs is None else total(mine, theirs),
        )

    def where(self, which: NDArray[np.bool_]) -> PooledResponses:
        """The sums of some of the bins."""
        marked = None if self.marked_prob is None else self.marked_prob[:, which]
        weight, prob_sum, votes = (values[:, which] for values in (self.weight, self.prob_sum, self.votes))
        return PooledResponses(self.bins[which], weight, prob_sum, votes, marked)

    def over_raters(self, sums: FloatArray, rater_weight: FloatArray | None = None) -> FloatArray:
        """``sums`` (n_raters, n_bins) added over raters, with their weights.

        One rater of weight 1 is taken as it is, which is exact. BLAS is avoided: its threads keep processors busy afterwards.
        """
        included = None if rater_weight is None else rater_weight.nonzero()[0]
        total: FloatArray
        if rater_weight is None:
            total = sums.sum(axis=0)
        elif included is not None and included.size == 1 and rater_weight[included[0]] == 1:
            total = sums[included[0]]
        else:
            total = np.einsum("r,rb->b", rater_weight, sums)
        return total

    def mean_response(self, rater_weight: FloatArray | None = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Mean probability, weight and mean response of each occupied bin, over (voxel, rater) pairs.

        Parameters
        ----------
        rater_weight : ndarray of shape (n_raters,), optional
            Weight of each rater's answers; 1 for all by default. A one-hot weight gives one rater's own answers.

        Returns
        -------
        prob, weight, response : ndarray of shape (n_occupied,)
            Probabilities strictly ascending.

        Raises
        ------
        ValueError
            If no rater of positive weight answered anywhere.
        """
        if rater_weight is not None:
            return self._mean_response(rater_weight)
        if not self._means:
            self._means.append(self._mean_response(None))
            for values in self._means[0]:
                values.flags.writeable = False
        return self._means[0]

    def _mean_response(self, rater_weight: FloatArray | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        weight = self.over_raters(self.weight, rater_weight)
        occupied = weight > 0
        if not occupied.any():
            msg = "There is nothing to fit: no rater of positive weight answered at any voxel."
            raise ValueError(msg)
        weight = weight[occupied]
        prob = np.clip(self.over_raters(self.prob_sum, rater_weight)[occupied] / weight, 0.0, 1.0)
        response = np.clip(self.over_raters(self.votes, rater_weight)[occupied] / weight, 0.0, 1.0)
        if np.any(np.diff(prob) <= 0):  # neighbouring bins whose means are equal up to rounding
            prob, index = np.unique(np.maximum.accumulate(prob), return_inverse=True)
            merged, votes = np.bincount(index, weight), np.bincount(index, weight * response)
            return prob, merged.astype(np.float64), votes / merged
        return prob, weight, response
