"""Maximum-likelihood fit of a logistic curve to weighted fractions, with coefficients that may be held at or above 0."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["clipped", "clipped_logit", "fit_logistic"]

FloatArray = NDArray[np.float64]
_LARGEST = 1e4


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


def fit_logistic(features: FloatArray, weight: FloatArray, response: FloatArray, *, n_nonnegative: int) -> FloatArray:
    """Coefficients c that minimise the cross-entropy of ``expit(features @ c)`` to ``response``, weighted.

    The cross-entropy is convex; Newton's method with step halving finds its minimum. If one of the first ``n_nonnegative``
    coefficients comes out negative, it is 0 at the constrained minimum or the others are refitted without it.

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

    Returns
    -------
    ndarray of shape (k,)
    """
    k = features.shape[1]
    best: tuple[float, FloatArray] | None = None
    for held in range(1 << n_nonnegative):
        free = [j for j in range(k) if j >= n_nonnegative or not held >> j & 1]
        found = _newton(features[:, free], weight / weight.sum(), response)
        coefficients = np.zeros(k)
        coefficients[free] = found
        if (coefficients[:n_nonnegative] < 0).any():
            continue
        loss = _loss(features @ coefficients, weight, response)
        if held == 0:
            return coefficients
        if best is None or loss < best[0]:
            best = (loss, coefficients)
    assert best is not None  # all held at 0 is always allowed
    return best[1]


def _loss(z: FloatArray, weight: FloatArray, response: FloatArray) -> float:
    return float(weight @ (np.logaddexp(0, z) - response * z))


def _newton(features: FloatArray, weight: FloatArray, response: FloatArray) -> FloatArray:
    from scipy.special import expit

    c = np.zeros(features.shape[1])
    if c.size == 0:
        return c
    loss = _loss(features @ c, weight, response)
    for _ in range(200):
        p = expit(features @ c)
        gradient = features.T @ (weight * (p - response))
        curvature = (features.T * (weight * p * (1 - p))) @ features
        curvature[np.diag_indices_from(curvature)] += 1e-14 * (1 + np.trace(curvature))
        step = np.linalg.solve(curvature, gradient)
        scale = 1.0
        while True:
            trial = np.clip(c - scale * step, -_LARGEST, _LARGEST)
            trial_loss = _loss(features @ trial, weight, response)
            if trial_loss <= loss or scale < 1e-10:
                break
            scale /= 2
        moved = np.max(np.abs(trial - c))
        improved = loss - trial_loss
        c, loss = (trial, trial_loss) if trial_loss <= loss else (c, loss)
        if moved <= 1e-13 * (1 + np.max(np.abs(c))) or (improved <= 0 and np.max(np.abs(gradient)) < 1e-9):
            break
    return c
