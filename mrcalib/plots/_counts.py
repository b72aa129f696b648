"""Pictures of predicted numbers of votes: reliability by level, PIT histogram and coverage of intervals by patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.metrics import count_level_responses, count_responses, pit_metric, vote_coverage_metric
from mrcalib.metrics.curve_metric import Strategy
from mrcalib.plots._curves import FEW_GROUPS, split_rows
from mrcalib.plots._display import GREY, Display, Scale, color_of, draw_caption, new_figure
from mrcalib.plots._reliability import ReliabilityDisplay
from mrcalib.resampling import bootstrap_counts, percentile_interval
from mrcalib.responses import Responses

__all__ = ["CountReliabilityDisplay", "PITDisplay", "VoteCoverageDisplay"]

FloatArray = NDArray[np.float64]


class CountReliabilityDisplay(Display):
    """Predicted ``P(count >= k)`` against how often so many raters marked the voxel, one line for each k.

    Made by ``from_predictions`` or ``from_responses``. Voxels at which not all K raters answered are left out, since they
    do not tell.

    Parameters
    ----------
    diagram : ReliabilityDisplay
        Whose curves are the levels.

    Attributes
    ----------
    ax_, counts_ax_ : matplotlib.axes.Axes
        The diagram, and the strip of voxels in each bin (None without).
    figure_ : matplotlib.figure.Figure
    lines_ : dict of str to Line2D
        By level, such as "at least 2 of 4".

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> counts = rng.dirichlet([1, 1, 1], 500)
    >>> marks = (rng.random((500, 1)) > np.cumsum(counts, axis=1)[:, :2]).T     # counts as predicted
    >>> display = CountReliabilityDisplay.from_predictions(counts, marks, n_bins=5).plot()
    >>> list(display.lines_)
    ['at least 1 of 2', 'at least 2 of 2']
    """

    def __init__(self, diagram: ReliabilityDisplay) -> None:
        self.diagram = diagram

    @classmethod
    def from_predictions(
        cls,
        count_probs: ArrayLike,
        raters: Any,
        *,
        groups: ArrayLike | None = None,
        class_axis: int = -1,
        roi: ArrayLike | None = None,
        rater_axis: int | None = None,
        **options: Any,
    ) -> Self:
        """The diagram of voxels.

        Parameters
        ----------
        count_probs, raters, class_axis, roi, rater_axis
            As in ``mrcalib.metrics.count_responses``.
        groups : array_like, shape S, optional
            Patient of each voxel. Intervals need it: voxels of an image are not independent.
        **options
            As in ``from_responses``.
        """
        cases = _cases_of(count_probs, raters, groups, class_axis=class_axis, roi=roi, rater_axis=rater_axis)
        return cls.from_responses(cases, **options)

    @classmethod
    def from_responses(
        cls,
        responses: Sequence[Responses],
        *,
        groups: Sequence[str] | None = None,
        n_bins: int = 15,
        strategy: Strategy = "uniform",
        n_resamples: int = 1000,
        level: float = 0.95,
        random_state: int | None = 0,
    ) -> Self:
        """The diagram of rows with predicted counts, one ``Responses`` a case.

        Parameters
        ----------
        responses : sequence of Responses
            Of ``count_responses`` of a calibrator or of ``mrcalib.metrics``.
        groups : sequence of str, optional
            Patient of each case; the case itself by default.
        n_bins, strategy, n_resamples, level, random_state
            As in ``ReliabilityDisplay.from_responses``.

        Raises
        ------
        ValueError
            If no voxel was answered by all K raters, or rows carry no predicted counts.
        """
        n = _n_counted(responses)
        levels = {
            f"at least {k} of {n}": [count_level_responses(case, k) for case in responses] for k in range(1, n + 1)
        }
        if not any(case.n_rows for case in next(iter(levels.values()))):
            msg = f"No voxel was answered by all {n} raters; predict the votes of fewer (n_raters=)."
            raise ValueError(msg)
        diagram = ReliabilityDisplay.from_responses(
            levels,
            n_bins=n_bins,
            strategy=strategy,
            groups=groups,
            n_resamples=n_resamples,
            level=level,
            random_state=random_state,
        )
        n_voxels = sum(float(case.count.sum()) for case in next(iter(levels.values())))
        n_groups = len(responses) if groups is None else len(set(groups))
        diagram.caption = (
            f"{len(responses)} cases in {n_groups} groups, {n_voxels:,.0f} voxels answered by all {n} raters"
        )
        return cls(diagram)

    def plot(self, ax: Any = None, *, scale: Scale = "linear", counts: bool = True) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A figure of its own by default.
        scale : {"linear", "logit"}, default="linear"
            Of both axes.
        counts : bool, default=True
            Draw a strip with the voxels in each bin below.

        Returns
        -------
        self
        """
        drawn = self.diagram.plot(ax, scale=scale, raters=False, counts=counts)
        self.ax_, self.counts_ax_, self.figure_, self.lines_ = drawn.ax_, drawn.counts_ax_, drawn.figure_, drawn.lines_
        self.ax_.set_ylabel("how often so many raters marked the voxel")
        below = self.ax_ if self.counts_ax_ is None else self.counts_ax_
        below.set_xlabel("predicted probability of so many votes (mean of the bin)")
        if self.counts_ax_ is not None:
            self.counts_ax_.set_ylabel("voxels\nper bin")
        return self


class PITDisplay(Display):
    """Histogram of the probability integral transform of vote counts, not randomised; flat where they are calibrated.

    Made by ``from_predictions`` or ``from_responses``; see ``mrcalib.metrics.pit_histogram`` for how to read it.

    Parameters
    ----------
    density : ndarray of shape (n_bins,)
        Of mean 1.
    low, high : ndarray of shape (n_bins,)
        Interval of each bin, groups resampled; NaN without.
    level : float, default=0.95
        Of the intervals.
    caption : str, default=""
        Drawn above the histogram.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    bars_ : BarContainer

    Examples
    --------
    >>> display = PITDisplay.from_predictions([[0.5, 0.5, 0.0]] * 2, [[1, 0], [0, 0]], n_bins=4).plot()
    >>> display.density.tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self, density: FloatArray, low: FloatArray, high: FloatArray, *, level: float = 0.95, caption: str = ""
    ) -> None:
        self.density = density
        self.low = low
        self.high = high
        self.level = level
        self.caption = caption

    @classmethod
    def from_predictions(
        cls,
        count_probs: ArrayLike,
        raters: Any,
        *,
        groups: ArrayLike | None = None,
        class_axis: int = -1,
        roi: ArrayLike | None = None,
        rater_axis: int | None = None,
        **options: Any,
    ) -> Self:
        """The histogram of voxels; parameters are those of ``CountReliabilityDisplay.from_predictions``."""
        cases = _cases_of(count_probs, raters, groups, class_axis=class_axis, roi=roi, rater_axis=rater_axis)
        return cls.from_responses(cases, **options)

    @classmethod
    def from_responses(
        cls,
        responses: Sequence[Responses],
        *,
        groups: Sequence[str] | None = None,
        n_bins: int = 10,
        certainty: float = 0.9,
        n_resamples: int = 1000,
        level: float = 0.95,
        random_state: int | None = 0,
    ) -> Self:
        """The histogram of rows with predicted counts, one ``Responses`` a case.

        Parameters
        ----------
        responses : sequence of Responses
            Of ``count_responses`` of a calibrator or of ``mrcalib.metrics``.
        groups : sequence of str, optional
            Patient of each case; the case itself by default. There is no interval with fewer than 5.
        n_bins : int, default=10
            Bins of equal width.
        certainty : float, default=0.9
            Voxels whose most probable number of votes has more than this probability are left out; 1.0 leaves none out.
        n_resamples : int, default=1000
            Bootstrap resamples of groups.
        level : float, default=0.95
            Of the intervals.
        random_state : int, optional
            Of the bootstrap.

        Raises
        ------
        ValueError
            If no voxel is that uncertain.
        """
        metric = pit_metric(n_bins, certainty=certainty)
        sums = np.stack([metric.statistics(case) for case in _some(responses)])
        _require_uncertain(float(sums.sum()), certainty)
        names = _groups_of(responses, groups)
        counts = bootstrap_counts(names, n_resamples, random_state)
        samples = counts @ sums
        weight = samples.sum(axis=1, keepdims=True)
        shares = np.divide(samples, weight, out=np.full(samples.shape, np.nan), where=weight > 0)
        low, high = percentile_interval(shares * n_bins, level)
        if len(set(names)) < FEW_GROUPS:
            low = high = np.full(n_bins, np.nan)
        caption = _caption(len(responses), len(set(names)), float(sums.sum()), certainty)
        density = sums.sum(axis=0) / sums.sum() * n_bins
        return cls(density, low, high, level=level, caption=caption)

    def plot(self, ax: Any = None) -> Self:
        """Draw the histogram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A figure of its own by default.

        Returns
        -------
        self
        """
        self.ax_ = new_figure(5.6, 4.2).add_subplot() if ax is None else ax
        self.figure_ = self.ax_.figure
        n = self.density.size
        middle = (np.arange(n) + 0.5) / n
        color, _ = color_of(1)
        self.bars_ = self.ax_.bar(middle, self.density, width=0.94 / n, color=color, alpha=0.75, zorder=2)
        if np.isfinite(self.low).any():
            told = f"{self.level:.0%} interval, groups resampled"
            self.ax_.vlines(middle, self.low, self.high, color=GREY, linewidth=1.4, zorder=3, label=told)
        flat = "calibrated"
        self.ax_.axhline(1.0, color="0.45", linewidth=1, linestyle=(0, (4, 3)), zorder=2.5, label=flat)
        self.ax_.set_xlim(0, 1)
        self.ax_.set_xlabel("probability integral transform of the number of votes")
        self.ax_.set_ylabel("density")
        self.ax_.legend(fontsize="small", frameon=False)
        draw_caption(self.ax_, self.caption)
        return self


class VoteCoverageDisplay(Display):
    """How often the central intervals of votes hold the number of votes, patient by patient.

    Made by ``from_predictions`` or ``from_responses``. Voxels of a patient are dependent, so a patient's coverage has no
    interval of its own; that of the mean over patients comes from resampling them.

    Parameters
    ----------
    names : sequence of str
        Patients (groups) with a voxel that counts.
    observed, claimed, n_voxels : ndarray of shape (n_groups,)
        Coverage of each patient, the predicted probability of the intervals, and the voxels that count.
    nominal : float
        Level of the vote intervals.
    mean : float
        Mean coverage over patients.
    interval : tuple of float
        Of this mean; NaN with fewer than 5 patients.
    level : float, default=0.95
        Of ``interval``.
    caption : str, default=""
        Drawn above.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    points_, ticks_ : Line2D
        Observed and claimed coverage.

    Examples
    --------
    >>> display = VoteCoverageDisplay.from_predictions([[0.5, 0.5, 0.0]] * 2, [[1, 1], [0, 1]], groups=["a", "b"]).plot()
    >>> display.names, display.observed.tolist(), display.mean
    (('b', 'a'), [0.0, 1.0], 0.5)
    """

    def __init__(
        self,
        names: Sequence[str],
        observed: FloatArray,
        claimed: FloatArray,
        n_voxels: FloatArray,
        *,
        nominal: float,
        mean: float,
        interval: tuple[float, float],
        level: float = 0.95,
        caption: str = "",
    ) -> None:
        self.names = tuple(names)
        self.observed = observed
        self.claimed = claimed
        self.n_voxels = n_voxels
        self.nominal = nominal
        self.mean = mean
        self.interval = interval
        self.level = level
        self.caption = caption

    @classmethod
    def from_predictions(
        cls,
        count_probs: ArrayLike,
        raters: Any,
        *,
        groups: ArrayLike | None = None,
        class_axis: int = -1,
        roi: ArrayLike | None = None,
        rater_axis: int | None = None,
        **options: Any,
    ) -> Self:
        """The coverage of voxels; parameters are those of ``CountReliabilityDisplay.from_predictions``."""
        cases = _cases_of(count_probs, raters, groups, class_axis=class_axis, roi=roi, rater_axis=rater_axis)
        names = None if groups is None else [str(name) for name in np.unique(np.asarray(groups))]
        return cls.from_responses(cases, groups=names, **options)

    @classmethod
    def from_responses(
        cls,
        responses: Sequence[Responses],
        *,
        groups: Sequence[str] | None = None,
        nominal: float = 0.9,
        certainty: float = 0.9,
        n_resamples: int = 1000,
        level: float = 0.95,
        random_state: int | None = 0,
    ) -> Self:
        """The coverage of rows with predicted counts, one ``Responses`` a case.

        Parameters
        ----------
        responses : sequence of Responses
            Of ``count_responses`` of a calibrator or of ``mrcalib.metrics``.
        groups : sequence of str, optional
            Patient of each case; the case itself by default.
        nominal : float, default=0.9
            Level of the vote intervals.
        certainty : float, default=0.9
            Voxels whose most probable number of votes has more than this probability are left out; 1.0 leaves none out.
        n_resamples : int, default=1000
            Bootstrap resamples of patients.
        level : float, default=0.95
            Of the interval of the mean.
        random_state : int, optional
            Of the bootstrap.

        Raises
        ------
        ValueError
            If no voxel is that uncertain.
        """
        metric = vote_coverage_metric(nominal, certainty=certainty)
        by_case = np.stack([metric.statistics(case) for case in _some(responses)])
        of_case = _groups_of(responses, groups)
        known = list(dict.fromkeys(of_case))
        sums = np.zeros((len(known), 3))
        np.add.at(sums, [known.index(name) for name in of_case], by_case)
        counted = sums[:, 2] > 0
        _require_uncertain(float(sums[:, 2].sum()), certainty)
        sums, names = sums[counted], [name for name, here in zip(known, counted, strict=True) if here]
        observed, claimed = sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2]
        interval = (np.nan, np.nan)
        if len(names) >= FEW_GROUPS:
            drawn = bootstrap_counts(names, n_resamples, random_state)
            low, high = percentile_interval(drawn @ observed / len(names), level)
            interval = float(low), float(high)
        order = np.argsort(observed, kind="stable")
        return cls(
            [names[i] for i in order],
            observed[order],
            claimed[order],
            sums[order, 2],
            nominal=nominal,
            mean=float(observed.mean()),
            interval=interval,
            level=level,
            caption=_caption(len(responses), len(names), float(sums[:, 2].sum()), certainty),
        )

    def plot(self, ax: Any = None) -> Self:
        """Draw the coverage of each patient in ascending order, and the mean.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A figure of its own by default.

        Returns
        -------
        self
        """
        self.ax_ = new_figure(6.4, 4.2).add_subplot() if ax is None else ax
        self.figure_ = self.ax_.figure
        x = np.arange(len(self.names))
        color, _ = color_of(1)
        (self.points_,) = self.ax_.plot(x, self.observed, "o", color=color, markersize=4, label="observed", zorder=3)
        (self.ticks_,) = self.ax_.plot(
            x, self.claimed, "_", color=GREY, markersize=6, label="claimed by the intervals", zorder=2.5
        )
        self.ax_.axhline(self.mean, color=color, linewidth=1.2, label="mean over patients", zorder=2)
        if np.isfinite(self.interval[0]):
            told = f"{self.level:.0%} interval of the mean, patients resampled"
            self.ax_.axhspan(*self.interval, color=color, alpha=0.2, linewidth=0, label=told, zorder=1)
        self.ax_.axhline(
            self.nominal, color="0.45", linewidth=1, linestyle=(0, (4, 3)), label=f"{self.nominal:.0%}", zorder=2
        )
        self.ax_.set_ylim(-0.02, 1.02)
        few = len(self.names) <= 20
        self.ax_.set_xticks(x if few else [], self.names if few else [], rotation=90, fontsize="small")
        self.ax_.set_xlabel("patient" if few else f"{len(self.names)} patients, in ascending order")
        self.ax_.set_ylabel(f"voxels whose votes lie in the {self.nominal:.0%} interval")
        self.ax_.legend(fontsize="small", frameon=False)
        draw_caption(self.ax_, self.caption)
        return self


def _cases_of(count_probs: ArrayLike, raters: Any, groups: ArrayLike | None, **options: Any) -> list[Responses]:
    """The rows of each group in ascending order of its name, or of all voxels as one case."""
    if groups is None:
        return [count_responses(count_probs, raters, **options)]
    names, code = np.unique(np.asarray(groups), return_inverse=True)
    # As a weight, the group of a voxel takes part in whatever selection the voxels undergo.
    weight = (code + 1.0).reshape(np.shape(groups))
    rows = count_responses(count_probs, raters, sample_weight=weight, **options)
    return split_rows(rows, rows.count.astype(np.intp) - 1, len(names))


def _some(responses: Sequence[Responses]) -> Sequence[Responses]:
    if not responses:
        msg = "There is no case to show: responses is empty."
        raise ValueError(msg)
    return responses


def _n_counted(responses: Sequence[Responses]) -> int:
    sizes = {None if case.count_probs is None else case.count_probs.shape[1] - 1 for case in _some(responses)}
    n = sizes.pop()
    if n is None or sizes:
        msg = (
            "Every case needs predicted counts of the same number of raters: take the rows of a count calibrator's "
            "count_responses, or of mrcalib.metrics.count_responses."
        )
        raise ValueError(msg)
    return int(n)


def _groups_of(responses: Sequence[Responses], groups: Sequence[str] | None) -> list[str]:
    if groups is not None and len(groups) != len(responses):
        msg = f"groups must have one entry for each of the {len(responses)} cases; got {len(groups)}."
        raise ValueError(msg)
    return [str(i) for i in range(len(responses))] if groups is None else [str(name) for name in groups]


def _require_uncertain(n_voxels: float, certainty: float) -> None:
    if not n_voxels > 0:
        msg = f"There is no voxel whose most probable number of votes has a probability of at most {certainty:g}."
        raise ValueError(msg)


def _caption(n_cases: int, n_groups: int, n_voxels: float, certainty: float) -> str:
    told = "" if certainty == 1 else f" whose votes are uncertain (no number above {certainty:.0%})"
    return f"{n_cases} cases in {n_groups} groups, {n_voxels:,.0f} voxels{told}"
