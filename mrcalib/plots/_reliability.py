"""The reliability diagram: what raters answered against what the map said, before and after calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import case_items, check_choice, check_groups, check_n_bins, voxel_responses
from mrcalib.metrics import ReliabilityCurve, expected_calibration_error
from mrcalib.metrics.base import rows_by_case
from mrcalib.metrics.bins import TINY, bin_edges
from mrcalib.metrics.calibration import CalibrationError
from mrcalib.plots._curves import FEW_GROUPS, CurveBand, band_of, curve_of, split_rows
from mrcalib.plots._display import (
    GREY,
    Display,
    Scale,
    color_of,
    draw_caption,
    draw_identity,
    logit_decades,
    new_figure,
    set_probability_axes,
)
from mrcalib.resampling import bootstrap_counts
from mrcalib.responses import Responses

if TYPE_CHECKING:
    from mrcalib.study import Study

__all__ = ["ReliabilityDisplay"]

FloatArray = NDArray[np.float64]
Strategy = Literal["uniform", "logit"]


class ReliabilityDisplay(Display):
    """Mean probability against mean human response, bin by bin, for one map or several.

    Made by ``from_study``, ``from_predictions`` or ``from_responses``.

    Parameters
    ----------
    curves : mapping of str to ReliabilityCurve
        By the name of the method.
    bands : mapping of str to CurveBand, optional
        Intervals of the same methods.
    level : float, default=0.95
        Of the intervals.
    caption : str, default=""
        Drawn above the diagram.

    Attributes
    ----------
    ax_, counts_ax_ : matplotlib.axes.Axes
        The diagram, and the strip of counts below it (None without).
    figure_ : matplotlib.figure.Figure
    lines_ : dict of str to Line2D
        Each method's line through its bins; it passes by bins of exact 0 and 1 and bins that fewer than 5 groups reach.
    points_, ends_, rater_lines_ : dict of str to list of Line2D
        Bins as dots (hollow: fewer than 5 groups), bins of exact 0 and 1 as triangles, and each rater's own line.
    bands_ : dict of str to PolyCollection
    diagonal_ : Line2D

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> probs = rng.random((20, 500))
    >>> masks = rng.random((3, 20, 500)) < probs**2
    >>> case = np.repeat(np.arange(20)[:, np.newaxis], 500, axis=1)
    >>> maps = {"before": probs, "after": probs**2}
    >>> display = ReliabilityDisplay.from_predictions(maps, masks, n_bins=10, groups=case).plot()
    >>> list(display.lines_)
    ['before', 'after']
    """

    def __init__(
        self,
        curves: Mapping[str, ReliabilityCurve],
        *,
        bands: Mapping[str, CurveBand] | None = None,
        level: float = 0.95,
        caption: str = "",
    ) -> None:
        if not curves:
            msg = "A reliability diagram needs at least one curve."
            raise ValueError(msg)
        self.curves = dict(curves)
        self.bands = dict(bands or {})
        self.level = level
        self.caption = caption

    # Constructors -----------------------------------------------------------------------------------------------------

    @classmethod
    def from_study(cls, study: Study, methods: Sequence[str] | None = None, *, metric: str | None = None) -> Self:
        """The curves of a study's cases, each at the probabilities of the map that was fitted without its group.

        Parameters
        ----------
        study : Study
            Whose bootstrap the intervals repeat.
        methods : sequence of str, optional
            The first method and "MHR" by default.
        metric : str, optional
            The calibration error whose bins are shown; by default the study's ``curve``, with 50 bins that are even in the
            logit. "mr_ece" does not tell the raters apart.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        ValueError
            If the study has no such method or metric, or the metric is not a calibration error of foreground probabilities.
        """
        shown = study.curve if metric is None else study.metric(metric)
        chosen = _before_and_after(study) if methods is None else tuple(methods)
        for name in chosen:
            check_choice("method", name, study.methods)
        if not isinstance(shown, CalibrationError) or shown.kind != "foreground":
            msg = f"metric must be a calibration error of foreground probabilities, such as 'mr_ece'; got {metric!r}."
            raise ValueError(msg)
        statistics = {name: study.statistics[name, shown.name] for name in chosen}
        return cls._from_statistics(
            statistics,
            shown.inner_edges(),
            per_rater=shown.target == "per-rater",
            groups=study.groups,
            n_resamples=study.n_resamples,
            level=study.level,
            random_state=study.random_state,
            caption=study.description,
        )

    @classmethod
    def from_predictions(
        cls,
        probs: ArrayLike | Mapping[str, ArrayLike],
        raters: Any,
        *,
        n_bins: int = 50,
        strategy: Strategy = "uniform",
        groups: ArrayLike | None = None,
        roi: ArrayLike | None = None,
        rater_axis: int | None = None,
        n_resamples: int = 1000,
        level: float = 0.95,
        random_state: int | None = 0,
    ) -> Self:
        """The curve of a map of probabilities, or of several by name, against the same raters.

        Parameters
        ----------
        probs : array_like of float, shape S, list of cases, or mapping of str to such
            Several maps by name, such as before and after calibration.
        raters : array_like, sequence or mapping
            Masks, as in ``mrcalib.metrics.expected_calibration_error``; of a list of cases those of each.
        n_bins : int, default=50
            Bins between exact 0 and exact 1, which have bins of their own.
        strategy : {"uniform", "logit"}, default="uniform"
            Bins of equal width in the probability, or in its logit.
        groups : array_like, shape S, optional
            Case or patient of each voxel. Intervals need it: voxels of a case are not independent. Of a list of cases the
            patient of each; the cases themselves by default.
        roi, rater_axis
            As in ``mrcalib.metrics.expected_calibration_error``.
        n_resamples : int, default=1000
            Of whole groups, for the intervals.
        level : float, default=0.95
            Of the intervals.
        random_state : int, optional
            Of the bootstrap.

        Returns
        -------
        ReliabilityDisplay
        """
        maps = dict(probs) if isinstance(probs, Mapping) else {"segmenter": probs}
        cases: dict[str, list[Responses]] = {}
        names: NDArray[Any] | None = None
        raters = list(raters) if isinstance(raters, Iterator) else raters
        for name, p in maps.items():
            several = case_items(p)
            if several is not None:
                cases[name] = rows_by_case(several, raters, roi=roi, rater_axis=rater_axis)
                names = None if groups is None else check_groups(groups)
                continue
            if groups is None:
                cases[name] = [voxel_responses(p, raters, roi=roi, rater_axis=rater_axis)]
                continue
            names, code = np.unique(check_groups(groups), return_inverse=True)
            # As a weight, the group of a voxel takes part in whatever selection the voxels undergo.
            weight = (code + 1.0).reshape(np.shape(groups))
            rows = voxel_responses(p, raters, roi=roi, rater_axis=rater_axis, sample_weight=weight)
            cases[name] = split_rows(rows, rows.count.astype(np.intp) - 1, len(names))
        return cls.from_responses(
            cases,
            n_bins=n_bins,
            strategy=strategy,
            groups=None if names is None else [str(n) for n in names],
            n_resamples=n_resamples,
            level=level,
            random_state=random_state,
        )

    @classmethod
    def from_responses(
        cls,
        responses: Sequence[Responses] | Mapping[str, Sequence[Responses]],
        *,
        n_bins: int = 50,
        strategy: Strategy = "uniform",
        groups: Sequence[str] | None = None,
        n_resamples: int = 1000,
        level: float = 0.95,
        random_state: int | None = 0,
    ) -> Self:
        """The curve of the rows of each case, which voxels or the cells of tallies make (``Cohort.responses``).

        Parameters
        ----------
        responses : sequence of Responses, or mapping of str to such
            One for each case; by name for several methods, with the same cases in the same order.
        groups : sequence of str, optional
            Group of each case; the case itself by default.
        n_bins, strategy, n_resamples, level, random_state
            As in ``from_predictions``.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        ValueError
            If there is no case or no voxel, or the methods or groups differ in the number of cases.
        """
        by_name = dict(responses) if isinstance(responses, Mapping) else {"segmenter": responses}
        sizes = {len(cases) for cases in by_name.values()}
        if len(sizes) != 1 or 0 in sizes:
            msg = f"Each method needs the rows of the same cases, at least one; got {sorted(sizes)} cases."
            raise ValueError(msg)
        n_cases = sizes.pop()
        if groups is not None and len(groups) != n_cases:
            msg = f"groups must have one entry for each of the {n_cases} cases; got {len(groups)}."
            raise ValueError(msg)
        first = next(iter(by_name.values()))
        per_rater = all(case.present is not None for cases in by_name.values() for case in cases)
        check_choice("strategy", strategy, ("uniform", "logit"))
        edges = bin_edges(check_n_bins(n_bins), strategy, ends_apart=True)
        metric = expected_calibration_error.with_options(edges=edges, target="per-rater" if per_rater else "mhr")
        groups = [str(i) for i in range(n_cases)] if groups is None else list(groups)
        n_voxels = sum(float(case.count.sum()) for case in first)
        return cls._from_statistics(
            {name: np.stack([metric.sums(case) for case in cases]) for name, cases in by_name.items()},
            edges,
            per_rater=per_rater,
            groups=groups,
            n_resamples=n_resamples,
            level=level,
            random_state=random_state,
            caption=(
                f"{_counted(n_cases, 'case')} in {_counted(len(set(groups)), 'group')}, "
                f"{_counted(first[0].n_raters, 'rater')}, {n_voxels:,.0f} voxels"
            ),
        )

    @classmethod
    def _from_statistics(
        cls,
        statistics: Mapping[str, FloatArray],
        edges: tuple[float, ...],
        *,
        per_rater: bool,
        groups: Sequence[str],
        n_resamples: int,
        level: float,
        random_state: int | None,
        caption: str,
    ) -> Self:
        """Curves and bands of per-case sums, flat: (n_cases, n_targets * 3 * n_bins), as calibration errors keep them."""
        counts = bootstrap_counts(groups, n_resamples, random_state)
        curves, bands = {}, {}
        for name, flat in statistics.items():
            sums = np.nan_to_num(flat).reshape(len(flat), -1, 3, len(edges) + 1)
            pooled = sums.sum(axis=1)  # (n_cases, 3, n_bins): answers of all raters
            if not pooled[:, 0].any():
                msg = f"There is no voxel to show for {name!r}: no rater answered."
                raise ValueError(msg)
            own = sums.sum(axis=0) if per_rater else np.empty((0, 3, len(edges) + 1))
            curves[name] = curve_of(pooled.sum(axis=0), own, edges)
            bands[name] = band_of(pooled, groups, counts, level)
        return cls(curves, bands=bands, level=level, caption=caption)

    # Drawing ----------------------------------------------------------------------------------------------------------

    def plot(self, ax: Any = None, *, scale: Scale = "linear", raters: bool = True, counts: bool = True) -> Self:
        """Draw the diagram.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A figure of its own by default.
        scale : {"linear", "logit"}, default="linear"
            Of both axes. A linear one hides the many voxels near 0 and 1; on a logit one exact 0 and exact 1 are drawn
            in margins of their own.
        raters : bool, default=True
            Draw each rater's own line, thin, where at least 5 groups answered.
        counts : bool, default=True
            Draw a strip with the answers in each bin below, on a log scale.

        Returns
        -------
        self
        """
        check_choice("scale", scale, ("linear", "logit"))
        strip = None
        if ax is None and counts:
            figure = new_figure(5.6, 7.0)
            ax, strip = figure.subplots(2, 1, height_ratios=(5.2, 1))
        elif ax is None:
            ax = new_figure(5.6, 5.6).add_subplot()
        elif counts:
            strip = ax.inset_axes((0, -0.26, 1, 0.2))
        self.ax_, self.counts_ax_, self.figure_ = ax, strip, ax.figure
        curves = self.curves.values()
        decades = logit_decades(*(values for c in curves for values in (c.mean_prob, c.response)))
        set_probability_axes(ax, "x", scale, decades)
        set_probability_axes(ax, "y", scale, decades)
        self.diagonal_ = draw_identity(ax, scale, decades, "perfect calibration")
        self.lines_: dict[str, Any] = {}
        self.points_: dict[str, list[Any]] = {}
        self.ends_: dict[str, list[Any]] = {}
        self.bands_: dict[str, Any] = {}
        self.rater_lines_: dict[str, list[Any]] = {}
        for index, name in enumerate(self.curves):
            self._draw(ax, name, *color_of(index), scale=scale, raters=raters)
        ax.set_ylabel("fraction of raters who marked the voxel")
        draw_caption(ax, self.caption)
        self._legend(ax, scale)
        if strip is not None:
            set_probability_axes(strip, "x", scale, decades)
            self._draw_counts(strip)
            ax.tick_params(labelbottom=False)
        what = "segmenter's probability" if len(self.curves) == 1 else "probability, as given or calibrated"
        (ax if strip is None else strip).set_xlabel(f"{what} (mean of the bin)")
        return self

    def _draw(self, ax: Any, name: str, color: str, dashes: Any, *, scale: Scale, raters: bool) -> None:
        curve, band = self.curves[name], self.bands.get(name)
        x, y = curve.mean_prob, curve.response
        occupied = curve.count > 0
        certain = (x == 0) | (x == 1)
        firm = occupied if band is None else occupied & (band.n_groups >= FEW_GROUPS)
        inner = occupied & ~certain

        def joined(values: FloatArray) -> FloatArray:
            """What a line joins: the firm bins, on a logit axis without those of response 0 or 1."""
            keep = firm & (True if scale == "linear" else (values > 0) & (values < 1))
            kept: FloatArray = np.where(keep, values, np.nan)[inner]
            return kept

        self.rater_lines_[name] = []
        if raters and len(curve.rater_response) > 1:
            for own in curve.rater_response:
                line = ax.plot(x[inner], joined(own), color=color, linewidth=0.7, alpha=0.5, zorder=2)
                self.rater_lines_[name] += line
        if band is not None and np.isfinite(band.low[inner]).any():
            self.bands_[name] = ax.fill_between(
                x[inner], band.low[inner], band.high[inner], color=color, alpha=0.2, linewidth=0, zorder=2.2
            )
        self.lines_[name] = ax.plot(
            x[inner], joined(y), color=color, linestyle=dashes, linewidth=1.4, label=name, zorder=3
        )[0]
        self.points_[name], self.ends_[name] = [], []
        style = {"color": color, "linestyle": "none", "markeredgewidth": 0.9, "zorder": 3.2, "clip_on": False}
        for here, fill in ((firm, color), (occupied & ~firm, "white")):
            style["markerfacecolor"] = fill
            if (here & inner).any():
                self.points_[name] += ax.plot(x[here & inner], y[here & inner], marker="o", markersize=4, **style)
            for end, marker in ((0, "<"), (1, ">")):
                at = here & (x == end)
                if at.any():
                    self.ends_[name] += ax.plot(x[at], y[at], marker=marker, markersize=7, **style)
        at = certain & np.isfinite(band.low) if band is not None else np.zeros_like(certain)
        if band is not None and at.any():
            ax.vlines(x[at], band.low[at], band.high[at], color=color, linewidth=1.4, zorder=3.1, clip_on=False)

    def _legend(self, ax: Any, scale: Scale) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles = [*self.lines_.values()]
        if any(self.rater_lines_.values()):
            handles.append(Line2D([], [], color=GREY, linewidth=0.7, label="each rater"))
        if self.bands_:
            text = f"{self.level:.0%} interval, groups resampled"
            handles.append(Patch(color=GREY, alpha=0.25, linewidth=0, label=text))
        drawn = [line for lines in (*self.points_.values(), *self.ends_.values()) for line in lines]
        mark: dict[str, Any] = {"color": GREY, "linestyle": "none"}
        if any(line.get_markerfacecolor() == "white" for line in drawn):
            text = f"bin of fewer than {FEW_GROUPS} groups"
            handles.append(Line2D([], [], marker="o", markersize=4, markerfacecolor="white", label=text, **mark))
        if any(self.ends_.values()):
            handles.append(Line2D([], [], marker="<", markersize=6, label="bin of exactly p = 0 or p = 1", **mark))
        handles.append(self.diagonal_)
        ax.legend(
            handles=handles,
            loc="upper left",
            fontsize="small",
            frameon=scale == "linear",
            framealpha=0.8,
            edgecolor="none",
        )

    def _draw_counts(self, strip: Any) -> None:
        strip.set_yscale("log")
        for index, (name, curve) in enumerate(self.curves.items()):
            color, dashes = color_of(index)
            points = np.diff(curve.edges) <= TINY  # exact 0 and exact 1 have no width
            count = np.where((curve.count > 0) & ~points, curve.count, np.nan)
            edges = np.where(curve.edges[:-1] == 1, np.nextafter(1, 0), curve.edges[:-1])  # short of where 1 is drawn
            strip.stairs(count, [*edges, 1.0], baseline=None, color=color, linestyle=dashes, linewidth=1.2, label=name)
            for edge, marker in ((0.0, "<"), (1.0, ">")):
                here = points & (curve.mean_prob == edge)
                if here.any():
                    strip.plot(edge, curve.count[here], color=color, marker=marker, markersize=6, clip_on=False)
        low, high = strip.get_ylim()
        strip.set_ylim(min(low, 1), high * 2)
        strip.set_ylabel("answers\nper bin")
        strip.grid(axis="y", color="0.9", linewidth=0.6)
        strip.set_axisbelow(True)


def _before_and_after(study: Study) -> tuple[str, ...]:
    """Before and after: the study's first method, and MHR if there."""
    return tuple(dict.fromkeys((study.methods[0], *(m for m in study.methods if m == "MHR"))))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
