"""The histogram of the probability integral transform of numbers of votes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.metrics import pit_deviation
from mrcalib.plots._counts import CountDisplay, caption_of, groups_of, require_uncertain, some
from mrcalib.plots._curves import FEW_GROUPS
from mrcalib.plots._display import GREY, color_of, draw_caption, new_figure
from mrcalib.resampling import bootstrap_counts, percentile_interval
from mrcalib.responses import Responses

FloatArray = NDArray[np.float64]

__all__ = ["PITDisplay"]


class PITDisplay(CountDisplay):
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
        metric = pit_deviation.with_options(n_bins=n_bins, certainty=certainty)
        sums = np.stack([metric.sums(case) for case in some(responses)])
        require_uncertain(float(sums.sum()), certainty)
        names = groups_of(responses, groups)
        counts = bootstrap_counts(names, n_resamples, random_state)
        samples = counts @ sums
        weight = samples.sum(axis=1, keepdims=True)
        shares = np.divide(samples, weight, out=np.full(samples.shape, np.nan), where=weight > 0)
        low, high = percentile_interval(shares * n_bins, level)
        if len(set(names)) < FEW_GROUPS:
            low = high = np.full(n_bins, np.nan)
        caption = caption_of(len(responses), len(set(names)), float(sums.sum()), certainty)
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
            label = f"{self.level:.0%} interval, groups resampled"
            self.ax_.vlines(middle, self.low, self.high, color=GREY, linewidth=1.4, zorder=3, label=label)
        flat = "calibrated"
        self.ax_.axhline(1.0, color="0.45", linewidth=1, linestyle=(0, (4, 3)), zorder=2.5, label=flat)
        self.ax_.set_xlim(0, 1)
        self.ax_.set_xlabel("probability integral transform of the number of votes")
        self.ax_.set_ylabel("density")
        self.ax_.legend(fontsize="small", frameon=False)
        draw_caption(self.ax_, self.caption)
        return self
