"""Resampling whole cases or groups: bootstrap counts, jackknife, intervals and cross-validation folds.

Voxels of a case are dependent, and so are cases of a patient: the group is the unit of every interval and every split.
All functions work on weights of cases, so that a statistic of a resample is a product of a matrix with per-case sums.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bca_interval", "bootstrap_counts", "jackknife_counts", "percentile_interval", "splits"]

FloatArray = NDArray[np.float64]
_SERIAL_GEMM, _SERIAL_GEMV = 1 << 18, 1 << 13  # multiplications up to which OpenBLAS uses one thread
_DEPTH, _WIDTH = 128, 64  # cases in a product, and statistics at the least
_BLOCK = 1 << 18  # numbers that are worked on at a time, so that they stay in the cache
_ROUNDING = 1e-12  # a resample that differs less from the estimate, relatively, is equal to it


def _codes(groups: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """The different groups in the order in which they first occur, and the position of each case's group among them."""
    names = list(dict.fromkeys(groups))
    where = {name: i for i, name in enumerate(names)}
    return names, np.array([where[g] for g in groups], dtype=np.intp)


def bootstrap_counts(groups: Sequence[str], n_resamples: int, rng: Any = None) -> FloatArray:
    """How often each case occurs in each bootstrap resample; whole groups are drawn with replacement, as many as there are.

    Parameters
    ----------
    groups : sequence of str, length n_cases
        Group of each case.
    n_resamples : int
        Number of resamples.
    rng : int, numpy.random.Generator or None
        Seed or generator.

    Returns
    -------
    ndarray of shape (n_resamples, n_cases)

    Examples
    --------
    >>> counts = bootstrap_counts(["a", "a", "b"], 1000, rng=0)
    >>> bool((counts[:, 0] == counts[:, 1]).all()), bool((counts[:, 0] + counts[:, 2] == 2).all())
    (True, True)
    """
    names, codes = _codes(groups)
    n = len(names)
    drawn = np.random.default_rng(rng).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    counts: FloatArray = drawn[:, codes].astype(np.float64)
    return counts


def jackknife_counts(groups: Sequence[str]) -> FloatArray:
    """Weights of 0 and 1 that leave out one group at a time, of shape (n_groups, n_cases).

    Examples
    --------
    >>> jackknife_counts(["a", "a", "b"])
    array([[0., 0., 1.],
           [1., 1., 0.]])
    """
    names, codes = _codes(groups)
    kept: FloatArray = (codes[np.newaxis] != np.arange(len(names))[:, np.newaxis]).astype(np.float64)
    return kept


def percentile_interval(samples: ArrayLike, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """Percentile interval of bootstrap samples along the first axis; samples that are nan are left out.

    Examples
    --------
    >>> low, high = percentile_interval(np.arange(101.0), level=0.9)
    >>> round(float(low), 3), round(float(high), 3)
    (5.0, 95.0)
    """
    tail = (1 - level) / 2
    low, high = _nanquantile(np.asarray(samples, dtype=np.float64), np.array([tail, 1 - tail]))
    return low, high


def _nanquantile(samples: FloatArray, q: FloatArray) -> FloatArray:
    """Quantiles along the first axis of the samples that are not nan; nan where there are none."""
    out = np.full((q.size, *samples.shape[1:]), np.nan)
    columns, results = samples.reshape(samples.shape[0], -1), out.reshape(q.size, -1)
    for j in range(columns.shape[1]):
        known = columns[:, j][~np.isnan(columns[:, j])]
        if known.size:
            results[:, j] = np.quantile(known, q)
    return out


def bca_interval(
    samples: ArrayLike, estimate: ArrayLike, jackknife: ArrayLike, level: float = 0.95
) -> tuple[FloatArray, FloatArray]:
    """The bias-corrected and accelerated (BCa) bootstrap interval of one statistic (Efron, 1987).

    Parameters
    ----------
    samples : array_like of shape (n_resamples,)
        The statistic of each resample.
    estimate : float
        The statistic of the data.
    jackknife : array_like of shape (n_groups,)
        The statistic with each group left out.
    level : float, default=0.95
        Coverage of the interval.

    Returns
    -------
    low, high : ndarray of shape ()
        nan if the estimate or all samples are; the samples' common value if they are all equal.
    """
    from scipy.special import ndtr, ndtri

    values = np.asarray(samples, dtype=np.float64)
    values = values[~np.isnan(values)]
    left_out = np.asarray(jackknife, dtype=np.float64)
    left_out = left_out[~np.isnan(left_out)]
    centre = float(np.asarray(estimate))
    if values.size == 0 or np.isnan(centre):
        return np.array(np.nan), np.array(np.nan)
    if np.ptp(values) == 0:
        return np.array(values[0]), np.array(values[0])
    apart = np.where(np.abs(values - centre) > _ROUNDING * np.abs(values).max(), np.sign(values - centre), 0)
    # Samples equal to the estimate count half. With few cases they are frequent: resamples that draw each case once.
    share = np.mean(0.5 - 0.5 * apart)
    bias = ndtri(np.clip(share, 1e-9, 1 - 1e-9))
    spread = left_out.mean() - left_out if left_out.size else np.zeros(1)
    scale = np.sum(spread**2) ** 1.5
    acceleration = np.sum(spread**3) / (6 * scale) if scale > 0 else 0.0
    tails = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    at = ndtr(bias + (bias + tails) / (1 - acceleration * (bias + tails)))
    low, high = np.quantile(values, at)
    return np.array(low), np.array(high)


def splits(
    groups: Sequence[str], cv: Any = "leave-one-group-out", random_state: int | None = None
) -> list[NDArray[np.intp]]:
    """The positions of the test cases of each fold of a cross-validation.

    Parameters
    ----------
    groups : sequence of str, length n_cases
        Group of each case. A group is never both in the training and in the test cases of a fold.
    cv : "leave-one-group-out", int, or scikit-learn splitter
        How cases are split; an int k is ``GroupKFold(k, shuffle=True)``.
    random_state : int, optional
        Seed of the folds, if ``cv`` is a number.

    Returns
    -------
    list of ndarray
        Positions of the test cases of each fold; the training cases are all others.

    Raises
    ------
    ValueError
        If there are fewer groups than folds, or only one group, or if a splitter divides a group.

    Examples
    --------
    >>> [fold.tolist() for fold in splits(["a", "a", "b"])]
    [[0, 1], [2]]
    """
    from sklearn.model_selection import GroupKFold, LeaveOneGroupOut

    n_groups = len(set(groups))
    if n_groups < 2:
        msg = f"Cross-validation needs at least two groups; got {n_groups}. Is the group column right?"
        raise ValueError(msg)
    if isinstance(cv, str):
        if cv != "leave-one-group-out":
            msg = f"cv must be 'leave-one-group-out', a number of folds or a scikit-learn splitter; got {cv!r}."
            raise ValueError(msg)
        cv = LeaveOneGroupOut()
    elif isinstance(cv, int | np.integer):
        if not 2 <= cv <= n_groups:
            msg = f"cv={cv} folds need 2 to {n_groups} (the number of groups)."
            raise ValueError(msg)
        cv = GroupKFold(int(cv), shuffle=True, random_state=random_state)
    index, names = np.arange(len(groups)), np.asarray(groups)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The groups parameter is ignored")
        folds = [np.asarray(test) for _, test in cv.split(index, groups=names)]
    if not np.array_equal(np.sort(np.concatenate(folds)), index):
        msg = f"cv={cv!r} must test every case once; use a splitter such as GroupKFold."
        raise ValueError(msg)
    for fold in folds:
        divided = np.intersect1d(names[fold], np.delete(names, fold))
        if divided.size:
            msg = f"cv={cv!r} puts group {divided[0]!r} on both sides of a split; use a splitter by group, such as GroupKFold."
            raise ValueError(msg)
    return folds


def weighted_sums(statistics: FloatArray, counts: FloatArray) -> FloatArray:
    """``counts @ statistics``, of shape (n, k), computed in products so small that BLAS uses one thread.

    After a larger product, the other threads of OpenBLAS wait actively for the next one. What comes next here is other code,
    which they slow down by far more than they have saved.

    Parameters
    ----------
    statistics : ndarray of shape (n_cases, k)
        Sums of each case.
    counts : ndarray of shape (n, n_cases)
        Weights of the cases, one row for each result.
    """
    n = len(counts)
    sums = np.empty((n, statistics.shape[1]))
    for first in range(0, len(statistics), _DEPTH):
        weights = np.ascontiguousarray(counts[:, first : first + _DEPTH])
        width = max(_WIDTH, _SERIAL_GEMM // max(1, weights.size))
        for column in range(0, statistics.shape[1], width):
            tile = statistics[first : first + _DEPTH, column : column + width]
            out = sums[:, column : column + width]
            # As many rows at a time as one thread may multiply with this tile; the rest, fewer than that, follow alone.
            rows = (_SERIAL_GEMM if tile.shape[1] > 1 else _SERIAL_GEMV) // tile.size
            whole = n - n % rows
            stack = np.matmul(weights[:whole].reshape(-1, rows, weights.shape[1]), tile).reshape(whole, tile.shape[1])
            for part, product in ((out[:whole], stack), (out[whole:], weights[whole:] @ tile)):
                np.copyto(part, product) if first == 0 else np.add(part, product, out=part)
    return sums


def weighted_values(
    value: Callable[[FloatArray], FloatArray],
    statistics: FloatArray,
    counts: FloatArray,
    chunk: int | None = None,
    *,
    resampler: Callable[[FloatArray], Callable[[FloatArray], FloatArray]] | None = None,
) -> FloatArray:
    """``value`` of the sums of per-case ``statistics`` (n_cases, k), for each row of ``counts`` (n, n_cases).

    ``resampler(statistics)`` may return a quicker function of counts, equal up to rounding. It is used where there are more
    rows than cases, so that its preparation pays.
    """

    def plain(weights: FloatArray) -> FloatArray:
        return value(weighted_sums(statistics, weights))

    evaluate = plain if resampler is None or len(counts) < len(statistics) else resampler(statistics)
    step = chunk or max(64, _BLOCK // max(1, statistics.shape[1]))
    return np.concatenate([evaluate(counts[i : i + step]) for i in range(0, len(counts), step)])


def weighted_means(values: FloatArray, counts: FloatArray) -> FloatArray:
    """Weighted mean of ``values`` (n_cases,) for each row of ``counts`` (n, n_cases), without cases whose value is nan."""
    known = ~np.isnan(values)
    both = np.column_stack([np.where(known, values, 0.0), known])
    sums, total = weighted_sums(both, counts).T
    means: FloatArray = np.divide(sums, total, out=np.full(total.shape, np.nan), where=total > 0)
    return means
