"""STAPLE: raters' sensitivities and specificities and the hidden truth, estimated together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.exceptions import warn_caller
from mrcalib.fusion._patterns import Raters, VotePatterns, find_patterns
from mrcalib.inputs import check_count, check_number, check_positive

__all__ = ["StapleResult", "staple"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StapleResult:
    """What STAPLE estimates.

    Attributes
    ----------
    probability : ndarray of shape S, float64
        Posterior probability of foreground at each voxel; NaN where no rater answered. Nearly always close to 0 or 1: it is
        the belief in one hidden truth, not the fraction of raters.
    sensitivity, specificity : ndarray of shape (R,), float64
        Of each rater, in [0, 1]; NaN for a missing rater. See `staple` for masks that leave one of them undetermined.
    n_iter : int
        Passes of expectation-maximisation.
    converged : bool
        Whether the stop rule was met within ``max_iter``.
    prior : float
        Probability of foreground before the votes, the same at every voxel and in every pass.
    n_voxels : int
        Field of view: voxels that entered the estimate. Prior and result depend on it.
    """

    probability: FloatArray
    sensitivity: FloatArray
    specificity: FloatArray
    n_iter: int
    converged: bool
    prior: float
    n_voxels: int


def staple(
    raters: Raters,
    *,
    roi: ArrayLike | None = None,
    prior: float | None = None,
    confidence_weight: float = 1.0,
    max_iter: int = 10_000,
    tol: float = 1e-7,
    rater_axis: int | None = None,
    positive: int | Sequence[int] | None = None,
) -> StapleResult:
    """Simultaneous truth and performance level estimation of a binary structure [1]_.

    The same algorithm and the same answer (to 1e-6) as SimpleITK's, where that has one: the posterior starts as the mean
    vote, the prior is fixed, there is no spatial model. Voxels with the same votes have the same posterior, so the
    iterations run over the at most 2**R different vote patterns, and cost nothing.

    Parameters
    ----------
    raters, rater_axis, positive
        As in `soft`. An empty mask is a rater who saw nothing, and is outvoted or believed like any other.
    roi : array_like of bool, shape S, optional
        Field of view of the estimate; all voxels by default. Voxels outside get the posterior of their votes too.
    prior : float, optional
        Probability of foreground, in [0, 1]; by default the mean vote inside the field of view, which falls as more
        background is in view.
    confidence_weight : float, default=1.0
        Factor on the prior, as in SimpleITK.
    max_iter : int, default=10_000
        Most passes.
    tol : float, default=1e-7
        Stop when no sensitivity and no specificity changed by more, from the second pass on.

    Returns
    -------
    StapleResult
        Never NaN because of empty or full masks: where no voxel is believed to be foreground (all masks empty) nothing
        determines sensitivities, and where all are (all masks full) nothing determines specificities; they then keep the
        value of the pass before, 1.0 in the first.

    Raises
    ------
    ValueError
        If a number is out of range, ``roi`` holds no voxel that a rater answered or has another shape, or as `soft`.

    Warns
    -----
    UserWarning
        If it did not converge.

    References
    ----------
    .. [1] Warfield, Zou and Wells, "Simultaneous truth and performance level estimation (STAPLE)", IEEE Trans. Med.
       Imaging 23, 2004.

    Examples
    --------
    >>> masks = [[0, 0, 1, 1, 1, 0], [0, 0, 1, 1, 0, 0], [0, 1, 0, 1, 1, 0]]
    >>> result = staple(masks)
    >>> result.probability.round(3)
    array([0., 0., 1., 1., 1., 0.])
    >>> result.sensitivity.round(3), result.n_voxels
    (array([1.   , 0.667, 0.667]), 6)
    """
    if prior is not None:
        check_number("prior", prior, 0, 1)
    check_positive("confidence_weight", confidence_weight)
    check_count("max_iter", max_iter)
    check_number("tol", tol, 0)
    patterns = find_patterns(raters, rater_axis, positive)
    weight = (patterns.count if roi is None else patterns.count_inside(roi)).astype(np.float64)
    answers = patterns.n_answers
    weight[answers == 0] = 0.0
    n_voxels = int(weight.sum())
    if n_voxels == 0:
        msg = "roi holds no voxel that a rater answered; STAPLE needs one at least."
        raise ValueError(msg)
    votes = np.where(answers > 0, patterns.mean_vote, 0.0)
    known_prior = float(np.sum(weight * votes)) / n_voxels if prior is None else float(prior)
    foreground = known_prior * confidence_weight
    if not 0 <= foreground <= 1:
        msg = f"prior * confidence_weight must lie in [0, 1]; got {known_prior:g} * {confidence_weight:g}."
        raise ValueError(msg)
    fit = _maximise(patterns, weight, votes, foreground, max_iter=max_iter, tol=tol)
    if not fit.converged:
        warn_caller(f"STAPLE did not converge in {max_iter} passes; raise max_iter or tol.", UserWarning)
    return StapleResult(
        patterns.paint(np.where(answers > 0, fit.posterior, np.nan)),
        fit.sensitivity,
        fit.specificity,
        fit.n_iter,
        fit.converged,
        foreground,
        n_voxels,
    )


class _Fit(NamedTuple):
    posterior: FloatArray
    sensitivity: FloatArray
    specificity: FloatArray
    n_iter: int
    converged: bool


def _maximise(
    patterns: VotePatterns, weight: FloatArray, start: FloatArray, prior: float, *, max_iter: int, tol: float
) -> _Fit:
    """Expectation-maximisation over patterns, from posteriors to start with."""
    marked, unmarked = patterns.marked, patterns.answered & ~patterns.marked
    seen = np.einsum("p,pr->r", weight, patterns.answered) > 0  # who answered somewhere in the field of view
    posterior = start
    sensitivity, specificity = np.where(seen, 1.0, np.nan), np.where(seen, 1.0, np.nan)
    converged, n_iter = False, 0
    while not converged and n_iter < max_iter:
        n_iter += 1
        inside, outside = weight * posterior, weight * (1 - posterior)
        before = sensitivity, specificity
        sensitivity = _share(inside, marked, patterns.answered, sensitivity)
        specificity = _share(outside, unmarked, patterns.answered, specificity)
        odds = _log_odds(marked[:, seen], unmarked[:, seen], sensitivity[seen], specificity[seen], prior)
        posterior = np.where(np.isnan(odds), posterior, _sigmoid(odds))  # NaN: impossible votes either way
        moved = np.abs([sensitivity - before[0], specificity - before[1]])[:, seen].max()
        converged = n_iter > 1 and bool(moved <= tol)
    return _Fit(posterior, sensitivity, specificity, n_iter, converged)


def _share(weight: FloatArray, some: NDArray[np.bool_], every: NDArray[np.bool_], before: FloatArray) -> FloatArray:
    """Each rater's share of weight; as before where there is no weight to share."""
    part, total = np.einsum("p,pr->r", weight, some), np.einsum("p,pr->r", weight, every)
    return np.where(total > 0, part / np.where(total > 0, total, 1.0), before)


def _log_odds(
    marked: NDArray[np.bool_],
    unmarked: NDArray[np.bool_],
    sensitivity: FloatArray,
    specificity: FloatArray,
    prior: float,
) -> FloatArray:
    """Logarithmic odds of foreground given the votes, as a product over 30 raters underflows."""
    with np.errstate(divide="ignore", invalid="ignore"):
        for_it = np.where(marked, np.log(sensitivity), 0) + np.where(unmarked, np.log(1 - sensitivity), 0)
        against = np.where(unmarked, np.log(specificity), 0) + np.where(marked, np.log(1 - specificity), 0)
        odds: FloatArray = (np.log(prior) + for_it.sum(axis=1)) - (np.log(1 - prior) + against.sum(axis=1))
    return odds


def _sigmoid(x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        value: FloatArray = 1 / (1 + np.exp(-x))
    return value
