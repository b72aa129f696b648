"""Coverage of intervals for the number of votes, patient by patient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.metrics import vote_coverage_bias
from mrcalib.plots._counts import CountDisplay, caption_of, groups_of, require_uncertain, some
from mrcalib.plots._curves import FEW_GROUPS
from mrcalib.plots._display import GREY, color_of, draw_caption, new_figure
from mrcalib.resampling import bootstrap_counts, percentile_interval
from mrcalib.responses import Responses

FloatArray = NDArray[np.float64]

__all__ = ["VoteCoverageDisplay"]


class VoteCoverageDisplay(CountDisplay):
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
        metric = vote_coverage_bias.with_options(level=nominal, certainty=certainty)
        by_case = np.stack([metric.sums(case) for case in some(responses)])
        of_case = groups_of(responses, groups)
        known = list(dict.fromkeys(of_case))
        sums = np.zeros((len(known), 3))
        np.add.at(sums, [known.index(name) for name in of_case], by_case)
        counted = sums[:, 2] > 0
        require_uncertain(float(sums[:, 2].sum()), certainty)
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
            caption=caption_of(len(responses), len(names), float(sums[:, 2].sum()), certainty),
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
            label = f"{self.level:.0%} interval of the mean, patients resampled"
            self.ax_.axhspan(*self.interval, color=color, alpha=0.2, linewidth=0, label=label, zorder=1)
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
