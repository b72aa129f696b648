"""Reliability of predicted numbers of votes, level by level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.metrics import count_level_responses
from mrcalib.plots._counts import CountDisplay, n_counted
from mrcalib.plots._display import Scale
from mrcalib.plots._reliability import ReliabilityDisplay, Strategy
from mrcalib.responses import Responses

FloatArray = NDArray[np.float64]

__all__ = ["CountReliabilityDisplay"]


class CountReliabilityDisplay(CountDisplay):
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
        n = n_counted(responses)
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
