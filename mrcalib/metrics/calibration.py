"""Calibration errors: how far stated probabilities are from the raters' responses, bin by bin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from mrcalib.grid import edges_of_uniform_bins
from mrcalib.inputs import check_choice
from mrcalib.metrics._bins import (
    Weighting,
    equal_mass_edges,
    grid_of_uniform_bins,
    rows_of_raters,
    stack,
    sums_by_bin,
    top_label,
)
from mrcalib.metrics._door import require_voxels, responses_of, score_arrays
from mrcalib.metrics._metric import FloatArray, Metric, mean_defined, ratio
from mrcalib.resampling import weighted_sums
from mrcalib.responses import Responses
from mrcalib.tallies import tally

__all__ = [
    "average_calibration_error",
    "ece_metric",
    "expected_calibration_error",
    "maximum_calibration_error",
    "mean_rater_ece",
    "multirater_ece",
]

Target = Literal["mhr", "per-rater"] | int
Kind = Literal["foreground", "top-label"]
Norm = Literal["expected", "average", "maximum"]
Strategy = Literal["uniform", "equal-mass"]

_ACRONYM = {"expected": "ECE", "average": "ACE", "maximum": "MCE"}
_BIG = 1 << 16  # voxels from which on a tally is quicker than a row a voxel


def ece_metric(
    *,
    n_bins: int = 50,
    edges: tuple[float, ...] | None = None,
    target: Target = "mhr",
    kind: Kind = "foreground",
    norm: Norm = "expected",
    weighting: Weighting = "pairs",
) -> Metric:
    """The calibration error of given bins, as a metric.

    Parameters
    ----------
    n_bins : int, default=50
        Bins of equal width.
    edges : tuple of float, optional
        Inner edges in ascending order, instead of ``n_bins``. Bins of equal mass depend on the data, so they are fixed
        first.
    target, kind, norm, weighting
        As in `expected_calibration_error`.

    Returns
    -------
    Metric
        Range [0, 1], lower is better. Its name tells target, kind and norm, such as "mr_ece" or
        "mean_rater_top_label_ece". Exact on the cells of a tally whose grid is cut at the edges and in which every
        rater answered everywhere.

    Examples
    --------
    >>> ece_metric(target="per-rater", kind="top-label").name
    'mean_rater_top_label_ece'
    """
    _check_options(n_bins, target, kind, norm, weighting)
    edges = edges_of_uniform_bins(n_bins) if edges is None else tuple(edges)
    whose = {"mhr": "MR", "per-rater": "mean rater"}.get(str(target), f"rater {target}")
    label = f"{whose} {'top-label ' if kind == 'top-label' else ''}{_ACRONYM[norm]}"
    return Metric(
        name=label.lower().replace(" ", "_").replace("-", "_"),
        label=label.replace("MR ", "MR-"),
        better="lower",
        unit="",
        statistics=partial(_statistics, edges=edges, target=target, kind=kind, weighting=weighting),
        value=_CalibrationError(len(edges) + 1, norm),
    )


def _check_options(n_bins: int, target: object, kind: str, norm: str, weighting: str) -> None:
    if n_bins < 1:
        msg = f"n_bins must be at least 1; got {n_bins}."
        raise ValueError(msg)
    if not isinstance(target, int | np.integer) and target not in ("mhr", "per-rater"):
        msg = f"target must be 'mhr', 'per-rater' or the index of a rater; got {target!r}."
        raise ValueError(msg)
    check_choice("kind", kind, ("foreground", "top-label"))
    check_choice("norm", norm, tuple(_ACRONYM))
    check_choice("weighting", weighting, ("pairs", "voxels"))


def _statistics(
    responses: Responses, *, edges: tuple[float, ...], target: Target, kind: Kind, weighting: Weighting
) -> FloatArray:
    """Sums of each target and bin, flat: (n_targets, 3, n_bins) with n_targets 1 unless each rater is one."""
    prob, answers = responses.distinct()
    if target == "mhr":
        given = [(answers.pairs, answers.votes) if weighting == "pairs" else (answers.count, answers.responses)]
    else:
        who = range(responses.n_raters) if target == "per-rater" else [target]
        given = [answers.rater(r) for r in who]
    foreground = None
    if kind == "top-label":
        foreground, prob = prob > 0.5, np.maximum(prob, 1 - prob)
    add = sums_by_bin(prob, edges)
    rows = np.empty((3, prob.size))
    sums = np.empty((len(given), 3, len(edges) + 1))
    for i, (weight, votes) in enumerate(given):
        rows[2] = votes
        if foreground is not None:
            np.subtract(weight, votes, out=rows[2], where=~foreground)
        if i and weight is given[i - 1][0]:  # raters who answered at the same voxels share two of the sums
            sums[i, :2], sums[i, 2:] = sums[i - 1, :2], add(rows[2:])
        else:
            rows[0], rows[1] = weight, weight * prob
            sums[i] = add(rows)
    return sums.ravel()


@dataclass(frozen=True)
class _CalibrationError:
    """The error of the sums by target and bin, averaged over targets."""

    n_bins: int
    norm: Norm

    def __call__(self, statistics: FloatArray) -> FloatArray:
        weight, gap = self._split(statistics)
        return mean_defined(self._of_target(weight, np.abs(gap)))

    def of_weights(self, statistics: FloatArray) -> Callable[[FloatArray], FloatArray]:
        """The error under weights of the cases: a gap adds up as it is, so only gaps in occupied bins are summed."""
        weights, gaps = self._split(statistics)
        targets = []
        for weight, gap in zip(np.moveaxis(weights, 1, 0), np.moveaxis(gaps, 1, 0), strict=True):
            used = weight.any(axis=0)
            mass = weight.sum(axis=1, keepdims=True) if self.norm == "expected" else weight[:, used]
            targets.append((mass, gap[:, used]))

        def evaluate(counts: FloatArray) -> FloatArray:
            errors = [
                self._of_target(weighted_sums(mass, counts), np.abs(weighted_sums(gap, counts)))
                for mass, gap in targets
            ]
            return mean_defined(np.stack(errors, axis=-1))

        return evaluate

    def _split(self, statistics: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight, and sum of probabilities less that of votes, of shape (..., n_targets, n_bins)."""
        sums = statistics.reshape(*statistics.shape[:-1], -1, 3, self.n_bins)
        return sums[..., 0, :], sums[..., 1, :] - sums[..., 2, :]

    def _of_target(self, weight: FloatArray, gap: FloatArray) -> FloatArray:
        """The error of each target from its bins, those along the last axis; their gaps are absolute."""
        if self.norm == "expected":
            return ratio(gap.sum(axis=-1), weight.sum(axis=-1))
        gaps = ratio(gap, weight)
        if self.norm == "average":
            return mean_defined(gaps)
        largest: FloatArray = np.fmax.reduce(gaps, axis=-1, initial=np.nan)
        return largest


def expected_calibration_error(
    probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 50,
    strategy: Strategy = "uniform",
    target: Target = "mhr",
    kind: Kind = "foreground",
    norm: Norm = "expected",
    weighting: Weighting = "pairs",
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Expected calibration error against the mean human response, against each rater, or against one.

    ``sum_b n_b / N * |mean probability - mean response|`` over bins b. Bins are closed on the left, on float32
    probabilities; p = 1 is in the last.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks with raters first ``(R, *S)`` or last ``(*S, R)``, a list with None for a missing rater, or one mask. NaN
        and masked entries are missing answers, which are not empty ones.
    n_bins : int, default=50
        Number of bins; state it with the number.
    strategy : {"uniform", "equal-mass"}, default="uniform"
        Bins of equal width, or of equal weight. Voxels of equal probability share a bin, so there may be fewer.
    target : {"mhr", "per-rater"} or int, default="mhr"
        "mhr" compares with the mean human response. "per-rater" is the mean of each rater's own error over the raters
        who answered (the CURVAS quantity); it is never smaller, and far larger where raters disagree. A number is one
        rater.
    kind : {"foreground", "top-label"}, default="foreground"
        Probability of foreground, or confidence ``max(p, 1 - p)`` in the label that is more probable (background at
        1/2). Top-label errors let an excess in one half cancel that in the other.
    norm : {"expected", "average", "maximum"}, default="expected"
        Mean over bins by weight, plain mean over occupied bins, or the largest.
    weighting : {"pairs", "voxels"}, default="pairs"
        With the mean human response: whether a voxel counts once for each rater who answered, or once. These differ
        only where raters are missing.
    roi : array_like of bool, shape S, optional
        Voxels that count. State it with the number: background makes any ECE small.
    rater_axis : int, optional
        Axis of the raters where the stack fits both ways.
    sample_weight : array_like of float, shape S, optional
        Weight of each voxel.

    Returns
    -------
    float
        In [0, 1], 0 is best.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, an option is unknown, or raters are needed and a soft target was
        given.

    References
    ----------
    .. [1] Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning", AAAI 2015.
    .. [2] Nixon et al., "Measuring calibration in deep learning", arXiv:1904.01685, for bins of equal mass.

    Examples
    --------
    >>> probs = [0.1, 0.1, 0.9, 0.9]
    >>> masks = [[0, 0, 1, 1], [0, 0, 1, 0]]
    >>> round(expected_calibration_error(probs, masks, n_bins=10), 4)
    0.125
    >>> round(expected_calibration_error(probs, masks, n_bins=10, target="per-rater"), 4)
    0.175
    """
    _check_options(n_bins, target, kind, norm, weighting)
    check_choice("strategy", strategy, ("uniform", "equal-mass"))
    metric = partial(ece_metric, kind=kind, norm=norm, weighting=weighting)
    if strategy == "uniform" and weighting == "pairs" and sample_weight is None and _prefers_tally(probs, raters):
        grid = grid_of_uniform_bins(n_bins, kind)
        rows = rows_of_raters(tally(probs, raters, grid=grid, roi=roi, rater_axis=rater_axis))
        require_voxels(sum(float(row.count.sum()) for row in rows))
        if target == "per-rater":
            targets = rows
        elif target == "mhr":
            targets = [stack(rows)]
        else:
            targets = [rows[_checked(int(target), len(rows))]]
        of_mean = metric(n_bins=n_bins)
        return _defined(float(mean_defined(np.array([of_mean(t) for t in targets]))), target)
    if strategy == "uniform":
        uniform = metric(n_bins=n_bins, target=target)
        value = score_arrays(uniform, probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)
        return _defined(value, target)
    responses = responses_of(probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight)
    one = responses if isinstance(target, str) else responses.rater(int(target))
    edges = equal_mass_edges(top_label(one) if kind == "top-label" else one, n_bins, weighting)
    return _defined(metric(n_bins=n_bins, edges=edges, target=target)(responses), target)


def _prefers_tally(probs: ArrayLike, raters: Any) -> bool:
    """Whether a tally is as exact as a row a voxel, and quicker: many voxels in float32, and raters told apart."""
    if np.asarray(probs).dtype not in (np.float16, np.float32) or np.size(probs) <= _BIG:
        return False
    return not (hasattr(raters, "dtype") and raters.dtype.kind == "f" and np.shape(raters) == np.shape(probs))


def _checked(rater: int, n_raters: int) -> int:
    if not 0 <= rater < n_raters:
        msg = f"rater must lie between 0 and {n_raters - 1}; got {rater}."
        raise ValueError(msg)
    return rater


def _defined(value: float, target: Target) -> float:
    if np.isnan(value):
        msg = f"Rater {target} answered at no voxel of the ROI."
        raise ValueError(msg)
    return value


def multirater_ece(
    probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 15,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """MR-ECE: expected calibration error over all pairs of a voxel and a rater who answered there [1]_.

    Where every rater answered everywhere it is the error against the mean human response. The number of bins is not
    given in the paper; 15 of equal width is the customary choice.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks, as in `expected_calibration_error`.
    n_bins : int, default=15
        Bins of equal width.
    roi, rater_axis, sample_weight
        As in `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1], 0 is best; at most `mean_rater_ece` with the same bins.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered.

    References
    ----------
    .. [1] arXiv:2605.02437, equation 6.

    Examples
    --------
    >>> multirater_ece([0.5, 0.5], [[0, 1], [1, 0]])
    0.0
    """
    return expected_calibration_error(
        probs, raters, n_bins=n_bins, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight
    )


def mean_rater_ece(
    probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 50,
    kind: Kind = "foreground",
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Expected calibration error of each rater, averaged over the raters who answered somewhere.

    With ``kind="top-label"`` it is what CURVAS reports, without its program's quirks; for those see
    `mrcalib.protocols.curvas_pdacvi`.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1].
    raters : array_like or sequence
        Masks, as in `expected_calibration_error`.
    n_bins : int, default=50
        Bins of equal width.
    kind : {"foreground", "top-label"}, default="foreground"
        As in `expected_calibration_error`.
    roi, rater_axis, sample_weight
        As in `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1]; 0 only if every rater's responses equal the probabilities, which raters who disagree exclude.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, or raters are not told apart (a soft target).

    Examples
    --------
    >>> mean_rater_ece([0.5, 0.5], [[0, 0], [1, 1]])
    0.5
    """
    return expected_calibration_error(
        probs,
        raters,
        n_bins=n_bins,
        target="per-rater",
        kind=kind,
        roi=roi,
        rater_axis=rater_axis,
        sample_weight=sample_weight,
    )


def maximum_calibration_error(
    probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 50,
    strategy: Strategy = "uniform",
    target: Target = "mhr",
    kind: Kind = "foreground",
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Largest gap between mean probability and mean response over the occupied bins (MCE).

    One voxel can decide it: prefer ``strategy="equal-mass"``, or few bins.

    Parameters
    ----------
    probs, raters, n_bins, strategy, target, kind, roi, rater_axis, sample_weight
        As in `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1], 0 is best; at least the expected calibration error of the same bins.

    Raises
    ------
    ValueError
        As in `expected_calibration_error`.

    Examples
    --------
    >>> round(maximum_calibration_error([0.1, 0.1, 0.9, 0.9], [0, 0, 1, 0], n_bins=10), 4)
    0.4
    """
    return expected_calibration_error(
        probs,
        raters,
        n_bins=n_bins,
        strategy=strategy,
        target=target,
        kind=kind,
        norm="maximum",
        roi=roi,
        rater_axis=rater_axis,
        sample_weight=sample_weight,
    )


def average_calibration_error(
    probs: ArrayLike,
    raters: Any,
    *,
    n_bins: int = 50,
    strategy: Strategy = "uniform",
    target: Target = "mhr",
    kind: Kind = "foreground",
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
) -> float:
    """Plain mean over the occupied bins of the gap between mean probability and mean response (ACE).

    Background does not dilute it, but a bin of one voxel counts as much as one of a million. With
    ``strategy="equal-mass"`` it is the adaptive calibration error of Nixon et al., arXiv:1904.01685.

    Parameters
    ----------
    probs, raters, n_bins, strategy, target, kind, roi, rater_axis, sample_weight
        As in `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1], 0 is best.

    Raises
    ------
    ValueError
        As in `expected_calibration_error`.

    Examples
    --------
    >>> round(average_calibration_error([0.1, 0.1, 0.1, 0.9], [0, 0, 0, 0], n_bins=10), 4)
    0.5
    """
    return expected_calibration_error(
        probs,
        raters,
        n_bins=n_bins,
        strategy=strategy,
        target=target,
        kind=kind,
        norm="average",
        roi=roi,
        rater_axis=rater_axis,
        sample_weight=sample_weight,
    )
