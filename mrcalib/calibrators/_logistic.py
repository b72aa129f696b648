"""Maximum-likelihood fit of a logistic curve to weighted fractions, with coefficients that may be held at or above 0."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._source import Source

__all__ = ["clipped", "clipped_logit", "fit_logistic", "fit_to_votes"]

FloatArray = NDArray[np.float64]
_LARGEST = 1e4
_LAST_STEP = 1e-8  # the error after it is of the order of its square


def clipped(prob: FloatArray, clip: float) -> FloatArray:
    """Probabilities clipped to [clip, 1 - clip]; ValueError unless 0 < clip < 0.5."""
    if not 0 < clip < 0.5:
        msg = f"clip must lie between 0 and 0.5; got {clip!r}."
        raise ValueError(msg)
    return np.clip(prob, clip, 1 - clip)


def clipped_logit(prob: FloatArray, clip: float) -> FloatArray:
    """Logit of clipped probabilities."""
    from scipy.special import logit

    z: FloatArray = logit(clipped(prob, clip))
    return z


def fit_to_votes(
    source: Source,
    rater_weight: FloatArray | None,
    features: Callable[[FloatArray], FloatArray],
    *,
    n_nonnegative: int,
) -> FloatArray:
    """``fit_logistic`` to the pooled answers; ``features`` makes columns (n, k) of probabilities (n,).

    The bins' means are off by what a bin holds of the dependence of answers on p, and of the curvature of the features. Where
    the sums tell the marked from the unmarked voxels of a bin, a last few steps take both into account.
    """
    prob, weight, response = source.pooled.mean_response(rater_weight)
    first_only = source.pooled.marked_prob is None
    last_step = _LAST_STEP if first_only else 1e-4  # no nearer to the bins' own optimum than that is to the voxels'
    c = fit_logistic(features(prob), weight, response, n_nonnegative=n_nonnegative, last_step=last_step)
    if first_only or np.abs(c).max() >= _LARGEST / 100:
        return c
    prob, weight, response = _inside_bins(source, rater_weight)
    free = np.flatnonzero((c != 0) | (np.arange(c.size) >= n_nonnegative))
    rows = np.ascontiguousarray(features(prob).T[free])
    refined = np.zeros(c.size)
    refined[free] = _newton(rows, weight / weight.sum(), response, c[free], last_step=1e-5)
    return refined if (refined[:n_nonnegative] >= 0).all() else c


def _inside_bins(source: Source, rater_weight: FloatArray | None) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Probability, weight and answer, 1 or 0, of the pairs that were marked in each bin, and of those that were not.

    Each is two points about the mean, as far from it as an even spread over the bin has its standard deviation.
    """
    pooled, lower = source.pooled, source.grid.lower.astype(np.float64)
    assert pooled.marked_prob is not None
    low, high = lower[pooled.bins], np.append(lower[1:], 1.0)[pooled.bins]
    marked = (pooled.votes, pooled.marked_prob)
    unmarked = (pooled.weight - pooled.votes, pooled.prob_sum - pooled.marked_prob)
    found = []
    for answer, (voxels, prob_sum) in ((1.0, marked), (0.0, unmarked)):
        weight = pooled.over_raters(voxels, rater_weight)
        here = weight > 0
        weight, a, b = weight[here] / 2, low[here], high[here]
        mean = np.clip(pooled.over_raters(prob_sum, rater_weight)[here] / (2 * weight), a, b)
        apart = np.minimum(np.minimum(mean - a, b - mean), (b - a) / np.sqrt(12))
        found += [
            (mean - apart, weight, np.full(mean.size, answer)),
            (mean + apart, weight, np.full(mean.size, answer)),
        ]
    prob, weight, response = (np.concatenate(column) for column in zip(*found, strict=True))
    return prob, weight, response


def fit_logistic(
    features: FloatArray,
    weight: FloatArray,
    response: FloatArray,
    *,
    n_nonnegative: int,
    last_step: float = _LAST_STEP,
) -> FloatArray:
    """Coefficients c that minimise the cross-entropy of ``expit(features @ c)`` to ``response``, weighted.

    The cross-entropy is convex; Newton's method with step halving finds its minimum. If some of the first ``n_nonnegative``
    coefficients come out negative, one of them is 0 at the constrained minimum, and the others are fitted without it.

    Parameters
    ----------
    features : ndarray of shape (n, k)
        One column a coefficient.
    weight : ndarray of shape (n,)
        Weight of each row.
    response : ndarray of shape (n,)
        Fraction in [0, 1].
    n_nonnegative : int
        Coefficients, the first ones, that must not be negative.
    last_step : float, default=1e-8
        A step as small, relative to the coefficients, is the last.

    Returns
    -------
    ndarray of shape (k,)
    """
    k = features.shape[1]
    rows, share = np.ascontiguousarray(features.T), weight / weight.sum()
    found = _newton(rows, share, response, last_step=last_step)
    negative = [j for j in range(n_nonnegative) if found[j] < 0]
    if not negative:
        return found
    # The cross-entropy falls on the way to the minimum, so one of these is 0 at the best place that is allowed.
    allowed: list[tuple[float, FloatArray]] = []
    for held in sorted(range(1, 1 << n_nonnegative), key=int.bit_count):
        if not any(held >> j & 1 for j in negative):
            continue
        free = [j for j in range(k) if j >= n_nonnegative or not held >> j & 1]
        coefficients = np.zeros(k)
        coefficients[free] = _newton(rows[free], share, response, last_step=last_step)
        if (coefficients[:n_nonnegative] >= 0).all():
            if len(negative) == 1:
                return coefficients
            allowed.append((_Entropy(rows, share, response, coefficients).loss, coefficients))
    return min(allowed, key=lambda one: one[0])[1]  # all held at 0 is always allowed


class _Entropy:
    """The mean cross-entropy at coefficients ``c``, and what its derivatives are made of."""

    def __init__(self, rows: FloatArray, share: FloatArray, response: FloatArray, c: FloatArray) -> None:
        z = np.einsum("k,kn->n", c, rows)  # BLAS would start threads
        small = np.exp(-np.abs(z))
        self.prob = np.where(z >= 0, 1.0, small) / (1 + small)
        self.loss = float(np.einsum("n,n->", share, np.maximum(z, 0) + np.log(1 + small) - response * z))


def _newton(
    rows: FloatArray,
    share: FloatArray,
    response: FloatArray,
    start: FloatArray | None = None,
    last_step: float = _LAST_STEP,
) -> FloatArray:
    """The coefficients of the least cross-entropy, from 0: steps from there fall short, those from 1 go too far."""
    c = np.zeros(len(rows)) if start is None else start
    if c.size == 0:
        return c
    at = _Entropy(rows, share, response, c)
    for _ in range(200):
        gradient = np.einsum("kn,n->k", rows, share * (at.prob - response))
        curvature = np.einsum("jn,kn->jk", rows * (share * at.prob * (1 - at.prob)), rows)
        curvature[np.diag_indices_from(curvature)] += 1e-14 * (1 + np.trace(curvature))
        step = np.linalg.solve(curvature, gradient)
        if np.max(np.abs(step)) <= last_step * (1 + np.max(np.abs(c))):
            return np.clip(c - step, -_LARGEST, _LARGEST)
        scale = 1.0
        while True:
            trial = np.clip(c - scale * step, -_LARGEST, _LARGEST)
            there = _Entropy(rows, share, response, trial)
            if there.loss <= at.loss or scale < 1e-10:
                break
            scale /= 2
        moved = np.max(np.abs(trial - c))
        improved = at.loss - there.loss
        if improved >= 0:
            c, at = trial, there
        if moved <= 1e-13 * (1 + np.max(np.abs(c))) or (improved <= 0 and np.max(np.abs(gradient)) < 1e-9):
            break
    return c
