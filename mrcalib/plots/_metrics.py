"""Forest plots: the metrics of a study by method, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs import check_choice
from mrcalib.plots._display import GREY, Display, new_figure, wrapped

if TYPE_CHECKING:
    from mrcalib.study import Study
    from mrcalib.study._study import Kind

__all__ = ["Forest", "MetricDisplay"]

FloatArray = NDArray[np.float64]

BASE = ("#000000", "o")
VERDICTS = {"better": ("#0072B2", "^"), "": ("#7f7f7f", "s"), "worse": ("#D55E00", "v")}
ARROW = {"lower": "lower is better", "higher": "higher is better", "zero": "0 is best"}


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """One metric of several methods.

    Attributes
    ----------
    label, better : str
        The metric's name with its unit, and which way is better: "lower", "higher" or "zero".
    estimate, low, high : ndarray of shape (n_methods,)
    verdict : tuple of str
        Of the paired difference to the first method: "better", "worse" or "" (not told apart).
    """

    label: str
    better: str
    estimate: FloatArray
    low: FloatArray
    high: FloatArray
    verdict: tuple[str, ...]


class MetricDisplay(Display):
    """A forest plot for each metric: methods from top to bottom, estimates with intervals.

    Colour and shape tell the verdict of the paired difference to the first method, which overlapping intervals cannot.
    Made by ``from_study``.

    Parameters
    ----------
    methods : sequence of str
    forests : sequence of Forest
        One for each metric.
    level : float, default=0.95
        Of the intervals.
    caption : str, default=""
        Drawn above.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        One for each metric.
    ax_ : matplotlib.axes.Axes
        The first of them.
    figure_ : matplotlib.figure.Figure
    points_ : list of list of Line2D
        The estimate of each metric and method.
    intervals_ : list of LineCollection
        Those of each metric.

    Examples
    --------
    >>> from mrcalib import Cohort, compare, tally
    >>> rng = np.random.default_rng(0)
    >>> def case():
    ...     probs = rng.random(2000)
    ...     return tally(probs, rng.random((3, 2000)) < probs**2)
    >>> study = compare(Cohort([case() for _ in range(6)]), methods=["none", "MHR"], n_resamples=200)
    >>> display = MetricDisplay.from_study(study, "brier").plot()
    >>> display.ax_.get_xlabel()
    'Brier\\nlower is better'
    """

    def __init__(
        self, methods: Sequence[str], forests: Sequence[Forest], *, level: float = 0.95, caption: str = ""
    ) -> None:
        if not forests:
            msg = "There is no metric to draw."
            raise ValueError(msg)
        self.methods = tuple(methods)
        self.forests = tuple(forests)
        self.level = level
        self.caption = caption

    @classmethod
    def from_study(cls, study: Study, metric: str | Sequence[str] | None = "mr_ece", kind: Kind = "mean") -> Self:
        """The metrics of a study.

        Parameters
        ----------
        study : Study
            Whose intervals and paired differences are drawn.
        metric : str, sequence of str or None, default="mr_ece"
            Names, labels or names in Python of metrics; None for all.
        kind : {"mean", "pooled"}, default="mean"
            Mean over cases, or the metric of all voxels pooled; with None metrics that cannot be pooled are left out.

        Returns
        -------
        MetricDisplay

        Raises
        ------
        ValueError
            If the study has no such metric, or one cannot be pooled.
        """
        check_choice("kind", kind, ("mean", "pooled"))
        if metric is None:
            shown = [m for m in study.metrics if kind == "mean" or m.poolable]
        else:
            shown = [study.metric(name) for name in ([metric] if isinstance(metric, str) else metric)]
        for m in shown:
            if kind == "pooled" and not m.poolable:
                msg = f"{m.label} of pooled cases means nothing; use kind='mean'."
                raise ValueError(msg)
        part = replace(study, metrics=tuple(shown))
        values = part.intervals(kind).set_index(["metric", "method"])
        verdicts = part.differences(kind=kind).set_index(["metric", "method"])["verdict"].to_dict()
        forests = []
        for m in part.metrics:
            unit = f", {study.volume_unit}" if m.unit == "mL" else ""
            rows = values.loc[m.name].loc[list(study.methods)]
            forests.append(
                Forest(
                    m.label + unit,
                    m.better,
                    rows["estimate"].to_numpy(dtype=np.float64),
                    rows["low"].to_numpy(dtype=np.float64),
                    rows["high"].to_numpy(dtype=np.float64),
                    tuple(verdicts.get((m.name, method), "") for method in study.methods),
                )
            )
        what = "mean over cases" if kind == "mean" else "all voxels pooled"
        return cls(study.methods, forests, level=study.level, caption=f"{what}; {study.description}")

    def plot(self, ax: Any = None, *, values: bool | None = None) -> Self:
        """Draw the forest plots.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or sequence of such, optional
            One for each metric; a figure of their own by default.
        values : bool, optional
            Write estimate and interval at the right of each row; by default if there is one metric.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the number of axes is not that of the metrics.
        """
        n = len(self.forests)
        values = n == 1 if values is None else values
        own = ax is None
        columns = min(n, 3)
        self.axes_ = (
            self._new_axes(columns, values=values) if own else list(np.atleast_1d(np.asarray(ax, dtype=object)))
        )
        if len(self.axes_) != n:
            msg = f"ax must hold one axes for each of the {n} metrics; got {len(self.axes_)}."
            raise ValueError(msg)
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        self.points_: list[list[Any]] = []
        self.intervals_: list[Any] = []
        for i, (axes, forest) in enumerate(zip(self.axes_, self.forests, strict=True)):
            self._draw(axes, forest, values=values)
            if own and i % columns:
                axes.tick_params(labelleft=False)
        if own:
            text = wrapped(self.caption, 90 if values else 34 + 42 * columns)
            self.figure_.suptitle(text, x=0.01, ha="left", fontsize="small", color=GREY)
            self._legend()
        return self

    def _new_axes(self, columns: int, *, values: bool) -> list[Any]:
        n_rows = -(-len(self.forests) // columns)
        height = 1.0 + n_rows * (0.75 + 0.24 * len(self.methods))
        figure = new_figure(1.8 + columns * (5.0 if values else 2.9), height)
        axes = figure.subplots(n_rows, columns, squeeze=False).ravel()
        for unused in axes[len(self.forests) :]:
            unused.set_axis_off()
        return list(axes[: len(self.forests)])

    def _draw(self, ax: Any, forest: Forest, *, values: bool) -> None:
        rows = np.arange(len(self.methods))
        looks = [BASE, *(VERDICTS[v] for v in forest.verdict[1:])]
        if forest.better == "zero":
            ax.axvline(0, color="0.3", linewidth=0.8)
        ax.axvline(forest.estimate[0], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        colors = [color for color, _ in looks]
        self.intervals_.append(ax.hlines(rows, forest.low, forest.high, color=colors, linewidth=1.6))
        self.points_.append(
            [
                ax.plot(x, y, color=color, marker=marker, markersize=5.5, linestyle="none", zorder=3)[0]
                for x, y, (color, marker) in zip(forest.estimate, rows, looks, strict=True)
            ]
        )
        ax.set_ylim(len(self.methods) - 0.5, -0.5)
        ax.set_yticks(rows, self.methods)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x", color="0.92", linewidth=0.7)
        ax.set_axisbelow(True)
        ax.spines[["left", "right", "top"]].set_visible(False)
        ax.set_xlabel(f"{forest.label}\n{ARROW[forest.better]}")
        if values:
            digits = _digits(forest.estimate)
            for y, numbers in enumerate(zip(forest.estimate, forest.low, forest.high, strict=True)):
                middle, low, high = (f"{v:.{digits}f}" for v in numbers)
                ax.annotate(
                    f"{middle} [{low}, {high}]",
                    (1.02, y),
                    xycoords=ax.get_yaxis_transform(),
                    va="center",
                    fontsize="small",
                )

    def _legend(self) -> None:
        from matplotlib.lines import Line2D

        base = f"'{self.methods[0]}'"
        words = {"better": f"better than {base}", "": "not told apart", "worse": f"worse than {base}"}
        looks = [(base, BASE), *((words[verdict], look) for verdict, look in VERDICTS.items())]
        self.figure_.legend(
            handles=[
                Line2D([], [], color=color, marker=marker, markersize=5.5, label=label)
                for label, (color, marker) in looks
            ],
            loc="outside lower left",
            ncols=4,
            fontsize="small",
            frameon=False,
            title=f"{self.level:.0%} intervals; colours: paired difference to {base}, whose estimate is the dashed line",
            title_fontsize="small",
            alignment="left",
        )


def _digits(values: FloatArray) -> int:
    """Decimals that show three significant digits of a typical value."""
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    return int(np.clip(2 - np.floor(np.log10(np.median(size))), 0, 6)) if size.size else 3
