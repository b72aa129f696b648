"""Several cases below each other: what raters answered, and the map before and after calibration, over the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.plots._case import LEVEL_STYLES, LEVELS, CaseDisplay, _outline
from mrcalib.plots._display import GREY, Display, new_figure, wrapped

if TYPE_CHECKING:
    from mrcalib.cohort import Cohort

__all__ = ["CasesDisplay", "choose_cases", "disagreement_of_raters"]

FloatArray = NDArray[np.float64]

COLORS = "plasma"
OPACITY = 0.7
CLEAR_BELOW = 0.02
"""Less than this fraction leaves the image as it is; from five times of it on the overlay has its full opacity."""


def disagreement_of_raters(cohort: Cohort) -> FloatArray:
    """How much the raters of each case disagree where any of them marked: the sum of ``r (1 - r)`` over that of ``r``.

    Parameters
    ----------
    cohort : Cohort
        Tallies of the cases.

    Returns
    -------
    ndarray of shape (n_cases,)
        r being a voxel's mean human response: 0 where all raters drew the same, at most 1 - 1 / R for R raters, NaN
        where nobody marked anything.

    Examples
    --------
    >>> from mrcalib import Cohort, tally
    >>> agree = tally([0.1, 0.5, 0.9], [[0, 0, 1], [0, 0, 1]])
    >>> differ = tally([0.1, 0.5, 0.9], [[0, 0, 1], [0, 0, 0]])
    >>> disagreement_of_raters(Cohort([agree, differ]))
    array([0. , 0.5])
    """
    values = []
    for case in range(len(cohort)):
        rows = cohort.responses(case)
        answered = rows.answers > 0
        weight = rows.count[answered]
        response = rows.votes[answered] / rows.answers[answered]
        marked = float(weight @ response)
        values.append(float(weight @ (response * (1 - response))) / marked if marked > 0 else np.nan)
    return np.array(values)


def choose_cases(cohort: Cohort, n: int = 3) -> list[str]:
    """Ids of cases spread evenly over the ranks of disagreement between raters, from little to much.

    Chosen by what raters drew alone, and so not for how well any method does on them.

    Parameters
    ----------
    cohort : Cohort
        Tallies of the cases.
    n : int, default=3
        Cases; all of them if there are fewer. Those that nobody marked are left out if any was marked.

    Returns
    -------
    list of str

    Raises
    ------
    ValueError
        If n is below 1.

    Examples
    --------
    >>> from mrcalib import Cohort, tally
    >>> masks = [[0, 1, 1, 1], [0, 0, 0, 1]], [[0, 1, 1, 1], [0, 0, 1, 1]], [[0, 1, 1, 1], [0, 1, 1, 1]]
    >>> choose_cases(Cohort([tally([0.1, 0.2, 0.8, 0.9], m) for m in masks], ids="abc"), 2)
    ['c', 'a']
    """
    if n < 1:
        msg = f"n must be at least 1; got {n}."
        raise ValueError(msg)
    amount = disagreement_of_raters(cohort)
    ids = [i for i in range(len(cohort)) if not np.isnan(amount[i])] or list(range(len(cohort)))
    ranked = sorted(ids, key=lambda i: (np.nan_to_num(amount[i]), cohort.ids[i]))
    n = min(n, len(ranked))
    return [cohort.ids[ranked[int((k + 0.5) * len(ranked) / n)]] for k in range(n)]


class CasesDisplay(Display):
    """Rows of cases; columns: mean human response, uncalibrated and calibrated probability, as overlays on the image.

    The picture of TwinTrack's Figure 3 [1]_. A row's pictures show one slice and one window.

    Parameters
    ----------
    cases : sequence of CaseDisplay
        Made by ``CaseDisplay.from_arrays`` with ``calibrated``; their ``title`` and ``index`` are written at the left.
    caption : str, default=""
    names : tuple of 3 str
        Of the columns.

    Attributes
    ----------
    axes_ : ndarray of shape (n_cases, 3) of matplotlib.axes.Axes
    ax_ : matplotlib.axes.Axes
        The first of them.
    figure_ : matplotlib.figure.Figure
    images_, overlays_ : list of AxesImage
        Row by row.
    contours_ : list of ContourSet or None
        White lines at 0.1, 0.5 and 0.9; None where there is none of these.

    References
    ----------
    .. [1] arXiv:2604.15950, appendix E.

    Examples
    --------
    >>> from mrcalib.simulate import phantoms
    >>> rows = [
    ...     CaseDisplay.from_arrays(
    ...         case.image, case.members[0], case.raters, case.truth, spacing=case.spacing, title=case.id
    ...     )
    ...     for case in phantoms(2, (48, 48, 12), rng=0)
    ... ]
    >>> CasesDisplay(rows).plot().axes_.shape
    (2, 3)
    """

    def __init__(
        self,
        cases: Sequence[CaseDisplay],
        *,
        caption: str = "",
        names: tuple[str, str, str] = ("mean human response", "uncalibrated probability", "calibrated probability"),
    ) -> None:
        if not cases:
            msg = "There is no case to draw."
            raise ValueError(msg)
        without = next((case.title for case in cases if case.calibrated is None), None)
        if without is not None:
            msg = f"Case {without!r} has no calibrated probabilities; give calibrated= to CaseDisplay.from_arrays."
            raise ValueError(msg)
        self.cases = list(cases)
        self.caption = caption
        self.names = names

    def plot(self, ax: Any = None) -> Self:
        """Draw the pictures.

        Parameters
        ----------
        ax : array_like of matplotlib.axes.Axes of shape (n_cases, 3), optional
            A figure of their own by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the number of axes is another one.
        """
        if ax is None:
            ax = self._new_axes()
        self.axes_ = np.asarray(ax, dtype=object)
        if self.axes_.size != 3 * len(self.cases):
            msg = f"ax must hold 3 axes for each of the {len(self.cases)} cases; got {self.axes_.size}."
            raise ValueError(msg)
        self.axes_ = self.axes_.reshape(len(self.cases), 3)
        self.ax_, self.figure_ = self.axes_[0, 0], self.axes_[0, 0].figure
        self.images_: list[Any] = []
        self.overlays_: list[Any] = []
        self.contours_: list[Any] = []
        for row, case in zip(self.axes_, self.cases, strict=True):
            assert case.calibrated is not None
            for axes, values in zip(row, (case.response, case.probs, case.calibrated), strict=True):
                self._draw(axes, case, values)
            row[0].set_ylabel(_said_of(case), rotation=0, ha="right", va="center", labelpad=8)
            if case.spacing is not None:
                case._scale_bar(row[0])
            case._name_side(row[0])
        for axes, name in zip(self.axes_[0], self.names, strict=True):
            axes.set_title(name, fontsize="medium")
        self._finish()
        return self

    def _new_axes(self) -> Any:
        """Pictures of one width, each row as high as its slice asks for."""
        ratios = [float(np.clip(up / across, 0.4, 1.6)) for across, up in (case._extent() for case in self.cases)]
        figure = new_figure(9.4, 2.6 * sum(ratios) + 1.2)
        return figure.subplots(len(self.cases), 3, height_ratios=ratios, squeeze=False)

    def _draw(self, ax: Any, case: CaseDisplay, values: FloatArray) -> None:
        across, up = case._extent()
        style: dict[str, Any] = {"origin": "lower", "extent": (0.0, across, 0.0, up), "interpolation": "nearest"}
        low, high = np.nanpercentile(case.image, [0.5, 99.5])
        self.images_.append(ax.imshow(case.image.T, cmap="gray", vmin=low, vmax=high, **style))
        p = np.asarray(values, dtype=np.float64).T
        opacity = OPACITY * np.clip((np.nan_to_num(p) - CLEAR_BELOW) / (4 * CLEAR_BELOW), 0, 1)
        self.overlays_.append(ax.imshow(p, cmap=COLORS, vmin=0, vmax=1, alpha=opacity, **style))
        lines = case._contour(ax, values, LEVELS, colors="white", linewidths=1.0, linestyles=list(LEVEL_STYLES))
        if lines is not None:
            lines.set_path_effects(_outline(1.8))
        self.contours_.append(lines)
        ax.set_xticks([])
        ax.set_yticks([])

    def _finish(self) -> None:
        from matplotlib.cm import ScalarMappable
        from matplotlib.lines import Line2D

        bar = self.figure_.colorbar(
            ScalarMappable(cmap=COLORS), ax=list(self.axes_.flat), shrink=0.8, pad=0.015, aspect=30
        )
        bar.set_label("fraction of raters, or probability")
        handles = [
            Line2D([], [], color="black", linewidth=1.0, linestyle=style, label=f"{level}")
            for level, style in zip(LEVELS, LEVEL_STYLES, strict=True)
        ]
        self.axes_[-1, 1].legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize="small", frameon=False, ncols=3,
            title="lines of equal fraction or probability", title_fontsize="small", columnspacing=1.0,
        )  # fmt: skip
        if self.caption:
            self.figure_.suptitle(wrapped(self.caption, 125), x=0.01, ha="left", fontsize="small", color=GREY)


def _said_of(case: CaseDisplay) -> str:
    number = "" if case.index is None else f"z = {case.index}"
    return "\n".join(filter(None, (case.title, number)))
