"""Calibration errors: how far predicted probabilities are from the raters' responses, bin by bin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mrcalib.inputs import as_array, check_choice, check_n_bins, voxel_responses
from mrcalib.inputs.arrays import is_array
from mrcalib.metrics.base import FloatArray, Metric, mean_defined, ratio, require_voxels
from mrcalib.metrics.bins import (
    Weighting,
    bin_edges,
    concatenated,
    equal_mass_edges,
    grid_of_uniform_bins,
    rows_of_raters,
    sums_by_bin,
    top_label,
    weight_and_votes,
)
from mrcalib.metrics.catalogue import register_metric
from mrcalib.resampling import weighted_sums
from mrcalib.responses import Responses
from mrcalib.tallies import tally

__all__ = [
    "CalibrationError",
    "average_calibration_error",
    "expected_calibration_error",
    "maximum_calibration_error",
    "mean_rater_ece",
    "multirater_ece",
]

Target = Literal["mhr", "per-rater"] | int
Kind = Literal["foreground", "top-label"]
Norm = Literal["expected", "average", "maximum"]
Strategy = Literal["uniform", "logit", "equal-mass"]

_ACRONYM = {"expected": "ECE", "average": "ACE", "maximum": "MCE"}
_BIG = 1 << 16  # voxels from which on a tally is quicker than a row a voxel


@dataclass(frozen=True)
class CalibrationError(Metric):
    """Expected calibration error against the mean human response, against each rater, or against one.

    ``sum_b n_b / N * |mean probability - mean response|`` over bins b. Bins are closed on the left, on float32
    probabilities; p = 1 is in the last. With the default options it is `multirater_ece`.

    Parameters
    ----------
    probs, raters, roi, sample_weight, rater_axis, average
        As in `Metric`.
    n_bins : int, default=50
        Number of bins. 50 is what the CURVAS challenges use, and it is the default of every calibration error here.
    strategy : {"uniform", "logit", "equal-mass"}, default="uniform"
        Bins of equal width in the probability; of equal width in its logit, between 1e-6 and 1 - 1e-6, with a bin each for
        exact 0 and 1; or of equal weight (fewer where voxels tie), which depend on the data and cannot be summed over cases.
    target : {"mhr", "per-rater"} or int, default="mhr"
        "mhr" compares with the mean human response. "per-rater" is the mean of each rater's own error over the raters
        who answered (the CURVAS quantity); it is far larger where raters disagree. A number is one rater.
    kind : {"foreground", "top-label"}, default="foreground"
        Probability of foreground, or confidence ``max(p, 1 - p)`` in the label that is more probable (background at
        1/2). Top-label errors let too large probabilities in one half cancel too small ones in the other.
    norm : {"expected", "average", "maximum"}, default="expected"
        Mean over bins by weight, plain mean over occupied bins, or the largest.
    weighting : {"pairs", "voxels"}, default="pairs"
        With the mean human response: whether a voxel counts once for each rater who answered, or once. These differ
        only where raters are missing.
    edges : sequence of float, optional
        Inner edges of the bins in ascending order, instead of ``n_bins`` and ``strategy``.

    Returns
    -------
    float
        In [0, 1], 0 is best. State the bins and the ROI with the number: background makes any such error small.

    Raises
    ------
    ValueError
        If there is no voxel that a rater answered, an option is unknown, or raters are needed and an averaged target was
        given.

    Notes
    -----
    Of a tally it is exact if every rater answered everywhere, else off by at most 0.8 % of the mean of ``min(p, 1 - p)``; for
    bins at whose edges the grid is cut, as the standard grid is for 50.

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

    name = "mr_ece"
    label = "MR-ECE"
    function_name = "expected_calibration_error"
    named_options = ("strategy", "target", "kind", "norm")

    n_bins: int = 50
    strategy: Strategy = "uniform"
    target: Target = "mhr"
    kind: Kind = "foreground"
    norm: Norm = "expected"
    weighting: Weighting = "pairs"
    edges: tuple[float, ...] | None = None

    def check_options(self) -> None:
        check_n_bins(self.n_bins)
        whole = isinstance(self.target, int | np.integer) and not isinstance(self.target, bool)
        if not whole and self.target not in ("mhr", "per-rater"):
            msg = f"target must be 'mhr', 'per-rater' or the index of a rater; got {self.target!r}."
            raise ValueError(msg)
        check_choice("strategy", self.strategy, ("uniform", "logit", "equal-mass"))
        check_choice("kind", self.kind, ("foreground", "top-label"))
        check_choice("norm", self.norm, tuple(_ACRONYM))
        check_choice("weighting", self.weighting, ("pairs", "voxels"))

    def named(self) -> tuple[str, str]:
        whose = {"mhr": "MR", "per-rater": "mean rater"}.get(str(self.target), f"rater {self.target}")
        label = f"{whose} {'top-label ' if self.kind == 'top-label' else ''}{_ACRONYM[self.norm]}"
        name = label.lower().replace(" ", "_").replace("-", "_")
        if self.strategy != "uniform":
            name, label = f"{name}_{self.strategy.replace('-', '_')}", f"{label} ({self.strategy} bins)"
        return name, label.replace("MR ", "MR-")

    def inner_edges(self) -> tuple[float, ...]:
        """The edges between the bins; ValueError for bins that depend on the data."""
        if self.edges is not None:
            return self.edges
        if self.strategy == "equal-mass":
            msg = (
                "Bins of equal mass depend on the data, so that sums over several cases are not defined: give edges=, "
                "strategy='uniform' or strategy='logit'."
            )
            raise ValueError(msg)
        return bin_edges(self.n_bins, self.strategy)

    def sums(self, responses: Responses) -> FloatArray:
        """Weight, probability and response of each target and bin, flat: (n_targets, 3, n_bins)."""
        edges = self.inner_edges()
        prob, answers = responses.distinct()
        if self.target == "mhr":
            given = [weight_and_votes(answers, self.weighting)]
        else:
            who = range(responses.n_raters) if self.target == "per-rater" else [int(self.target)]
            given = [answers.rater(r) for r in who]
        foreground = None
        if self.kind == "top-label":
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

    def value(self, sums: FloatArray) -> FloatArray:
        weight, gap = self._weight_and_gap(sums)
        return mean_defined(self._of_target(weight, np.abs(gap)))

    def resampler(self, sums: FloatArray) -> Callable[[FloatArray], FloatArray]:
        # The gap of a bin is a sum itself, so only gaps of occupied bins need to be added up.
        weights, gaps = self._weight_and_gap(sums)
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

    def _weight_and_gap(self, sums: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Weight, and sum of probabilities less that of votes, of shape (..., n_targets, n_bins)."""
        parts = sums.reshape(*sums.shape[:-1], -1, 3, len(self.inner_edges()) + 1)
        return parts[..., 0, :], parts[..., 1, :] - parts[..., 2, :]

    def _of_target(self, weight: FloatArray, gap: FloatArray) -> FloatArray:
        """The error of each target from the weights and absolute gaps of its bins, which are the last axis."""
        if self.norm == "expected":
            return ratio(gap.sum(axis=-1), weight.sum(axis=-1))
        gaps = ratio(gap, weight)
        if self.norm == "average":
            return mean_defined(gaps)
        largest: FloatArray = np.fmax.reduce(gaps, axis=-1, initial=np.nan)
        return largest

    def of_responses(self, responses: Responses) -> float:
        if self.strategy != "equal-mass" or self.edges is not None:
            return super().of_responses(responses)
        one = responses if isinstance(self.target, str) else responses.rater(int(self.target))
        edges = equal_mass_edges(top_label(one) if self.kind == "top-label" else one, self.n_bins, self.weighting)
        return replace(self, edges=edges).of_responses(responses)

    def of_arrays(self, probs: Any, raters: Any, **where: Any) -> float:
        # Of many voxels in float32 a tally whose grid is cut at the edges is as exact as a row a voxel, and quicker.
        probs = as_array(probs)
        raters = as_array(raters) if is_array(raters) else raters
        strategy = self.strategy if self.edges is None else "edges"
        plain = self.weighting == "pairs" and where.get("sample_weight") is None
        if strategy == "equal-mass":
            rows = voxel_responses(probs, raters, **where)
            require_voxels(float(rows.count.sum()))
            value = self.of_responses(rows)
        elif strategy == "uniform" and plain and _is_big(probs, raters):
            value = self._of_big_arrays(probs, raters, roi=where.get("roi"), rater_axis=where.get("rater_axis"))
        else:
            value = super().of_arrays(probs, raters, **where)
        if np.isnan(value):
            msg = f"Rater {self.target} answered at no voxel of the ROI."
            raise ValueError(msg)
        return value

    def _of_big_arrays(self, probs: Any, raters: Any, **where: Any) -> float:
        counted = tally(probs, raters, grid=grid_of_uniform_bins(self.n_bins, self.kind), **where)
        targets = rows_of_raters(counted)
        require_voxels(sum(float(rows.count.sum()) for rows in targets))
        if self.target == "mhr":
            targets = [concatenated(targets)]
        elif self.target != "per-rater":
            if not 0 <= int(self.target) < len(targets):
                msg = f"rater must lie between 0 and {len(targets) - 1}; got {self.target}."
                raise ValueError(msg)
            targets = [targets[int(self.target)]]
        of_mean = replace(self, target="mhr")
        return float(mean_defined(np.array([of_mean.of_responses(target) for target in targets])))


def _is_big(probs: Any, raters: Any) -> bool:
    """Whether there are many voxels, in a type that a float32 grid sorts exactly, and the answers of each rater."""
    if probs.dtype not in (np.float16, np.float32) or probs.size <= _BIG:
        return False
    return not (hasattr(raters, "dtype") and raters.dtype.kind == "f" and np.shape(raters) == probs.shape)


@dataclass(frozen=True)
class MultiraterECE(CalibrationError):
    """MR-ECE: expected calibration error over all pairs of a voxel and a rater who answered there [1]_.

    Where every rater answered everywhere it is the error against the mean human response. The paper gives no number of bins;
    here it is 50 everywhere, as in the CURVAS challenges.

    Parameters
    ----------
    probs, raters, n_bins, strategy, target, kind, norm, weighting, edges, roi, sample_weight, rater_axis, average
        As in `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1], 0 is best. If every rater answered everywhere, it is at most `mean_rater_ece` with the same bins.

    Raises
    ------
    ValueError
        As in `expected_calibration_error`.

    References
    ----------
    .. [1] arXiv:2605.02437, equation 6.

    Examples
    --------
    >>> multirater_ece([0.5, 0.5], [[0, 1], [1, 0]])
    0.0
    """

    function_name = "multirater_ece"


@dataclass(frozen=True)
class MeanRaterECE(CalibrationError):
    """Expected calibration error of each rater, averaged over the raters who answered somewhere.

    With ``kind="top-label"`` it is what CURVAS reports, without its program's quirks; for those see
    `mrcalib.protocols.curvas_pdacvi`.

    Parameters
    ----------
    probs, raters, n_bins, strategy, target, kind, norm, weighting, edges, roi, sample_weight, rater_axis, average
        As in `expected_calibration_error`; the target is "per-rater".

    Returns
    -------
    float
        In [0, 1]; 0 only if every rater's responses equal the probabilities, which raters who disagree exclude.

    Raises
    ------
    ValueError
        As in `expected_calibration_error`, or for an averaged target, which has no raters.

    Examples
    --------
    >>> mean_rater_ece([0.5, 0.5], [[0, 0], [1, 1]])
    0.5
    """

    function_name = "mean_rater_ece"
    target: Target = "per-rater"


@dataclass(frozen=True)
class MaximumCalibrationError(CalibrationError):
    """Largest gap between mean probability and mean response over the occupied bins (MCE).

    One voxel can decide it: prefer ``strategy="equal-mass"``, or few bins.

    Parameters
    ----------
    probs, raters, n_bins, strategy, target, kind, norm, weighting, edges, roi, sample_weight, rater_axis, average
        As in `expected_calibration_error`; the norm is "maximum".

    Returns
    -------
    float
        In [0, 1], 0 is best; at least the expected calibration error of the same bins and target.

    Raises
    ------
    ValueError
        As in `expected_calibration_error`.

    Examples
    --------
    >>> round(maximum_calibration_error([0.1, 0.1, 0.9, 0.9], [0, 0, 1, 0], n_bins=10), 4)
    0.4
    """

    function_name = "maximum_calibration_error"
    norm: Norm = "maximum"


@dataclass(frozen=True)
class AverageCalibrationError(CalibrationError):
    """Plain mean over the occupied bins of the gap between mean probability and mean response (ACE).

    Background does not dilute it, but a bin of one voxel counts as much as one of a million. With
    ``strategy="equal-mass"`` it is the adaptive calibration error of Nixon et al., arXiv:1904.01685.

    Parameters
    ----------
    probs, raters, n_bins, strategy, target, kind, norm, weighting, edges, roi, sample_weight, rater_axis, average
        As in `expected_calibration_error`; the norm is "average".

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

    function_name = "average_calibration_error"
    norm: Norm = "average"


expected_calibration_error = CalibrationError()
multirater_ece = register_metric(MultiraterECE(), aliases=("expected_calibration_error",), compared=True)
mean_rater_ece = register_metric(MeanRaterECE(), compared=True)
register_metric(mean_rater_ece.with_options(kind="top-label"), compared=True)
average_calibration_error = register_metric(AverageCalibrationError())
maximum_calibration_error = register_metric(MaximumCalibrationError())
register_metric(multirater_ece.with_options(kind="top-label"))
