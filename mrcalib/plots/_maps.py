"""The fitted maps themselves: probability in, calibrated probability out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from mrcalib.inputs import check_choice
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

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator

__all__ = ["CalibrationMapDisplay"]

FloatArray = NDArray[np.float64]
Curve = tuple[FloatArray, FloatArray]

MANY = 6  # entries of a legend from which on it stands beside the diagram


class CalibrationMapDisplay(Display):
    """Calibrated probability against the segmenter's, for several fitted maps.

    Made by ``from_calibrators``.

    Parameters
    ----------
    curves : mapping of str to (ndarray, ndarray)
        Each method's probabilities from 0 to 1 in ascending order, and their calibrated values.
    rater_curves : mapping of str to list of (ndarray, ndarray), optional
        Maps of single raters that a method averages.
    caption : str, default=""
        Drawn above the diagram.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    lines_, ends_ : dict of str to Line2D
        Each map, and what it makes of exact 0 and exact 1: the smallest and the largest probability that it gives.
    rater_lines_ : dict of str to list of Line2D
    diagonal_ : Line2D

    Examples
    --------
    >>> from mrcalib import MHRIsotonicCalibrator, TemperatureScalingCalibrator
    >>> rng = np.random.default_rng(0)
    >>> probs = rng.random(5000)
    >>> masks = rng.random((3, 5000)) < probs**2
    >>> maps = {"MHR": MHRIsotonicCalibrator(), "temperature": TemperatureScalingCalibrator()}
    >>> fitted = {name: method.fit(probs, masks) for name, method in maps.items()}
    >>> display = CalibrationMapDisplay.from_calibrators(fitted).plot(scale="logit")
    >>> list(display.lines_)
    ['MHR', 'temperature']
    """

    def __init__(
        self,
        curves: Mapping[str, Curve],
        *,
        rater_curves: Mapping[str, list[Curve]] | None = None,
        caption: str = "",
    ) -> None:
        if not curves:
            msg = "There is no map to draw."
            raise ValueError(msg)
        self.curves = dict(curves)
        self.rater_curves = dict(rater_curves or {})
        self.caption = caption

    @classmethod
    def from_calibrators(cls, calibrators: Mapping[str, Calibrator], *, caption: str | None = None) -> Self:
        """The maps of fitted calibrators, by name; a ``HardLabelCalibrator`` brings each rater's own map.

        Parameters
        ----------
        calibrators : mapping of str to Calibrator
            Fitted, by the names that the legend gives.
        caption : str, optional
            By default what the maps were fitted to, if that is the same for all.

        Returns
        -------
        CalibrationMapDisplay

        Raises
        ------
        NotFittedError
            If one is not fitted.
        """
        curves: dict[str, Curve] = {}
        rater_curves: dict[str, list[Curve]] = {}
        for name, calibrator in calibrators.items():
            check_is_fitted(calibrator, "map_")
            curves[name] = _sampled(calibrator.map_)
            own = getattr(calibrator, "rater_maps_", ())
            if own:
                rater_curves[name] = [_sampled(fitted) for _, fitted in own]
        captions = {_fitted_to(c) for c in calibrators.values()}
        if caption is None:
            caption = captions.pop() if len(captions) == 1 else ""
        return cls(curves, rater_curves=rater_curves, caption=caption)

    def plot(self, ax: Any = None, *, scale: Scale = "linear", raters: bool = True, legend: bool = True) -> Self:
        """Draw the maps.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            A figure of its own by default.
        scale : {"linear", "logit"}, default="linear"
            Of both axes; on a logit one exact 0 and exact 1 are drawn in margins of their own.
        raters : bool, default=True
            Draw the maps of single raters, thin.
        legend : bool, default=True
            With the largest probability that each map reaches; beside the diagram where there are many maps.

        Returns
        -------
        self
        """
        check_choice("scale", scale, ("linear", "logit"))
        if ax is None:
            ax = new_figure(5.6, 5.8).add_subplot()
        self.ax_, self.figure_ = ax, ax.figure
        decades = logit_decades([1e-5, 1 - 1e-4], *(y for _, y in self.curves.values()))
        set_probability_axes(ax, "x", scale, decades)
        set_probability_axes(ax, "y", scale, decades)
        self.diagonal_ = draw_identity(ax, scale, decades, "no change")
        self.lines_: dict[str, Any] = {}
        self.ends_: dict[str, Any] = {}
        self.rater_lines_: dict[str, list[Any]] = {}
        widths = np.linspace(2.6, 1.3, len(self.curves)) if len(self.curves) > 1 else [1.6]
        for index, (name, (x, y)) in enumerate(self.curves.items()):
            color, dashes = color_of(index)
            own = self.rater_curves.get(name, []) if raters else []
            self.rater_lines_[name] = [
                ax.plot(*_within(curve, scale, decades), color=color, linewidth=0.7, alpha=0.55, zorder=2)[0]
                for curve in own
            ]
            label = name if y.max() == 1 else f"{name}: at most {_decimals(float(y.max()))}"
            style = {"color": color, "linestyle": dashes, "linewidth": widths[index], "label": label}
            self.lines_[name] = ax.plot(*_within((x, y), scale, decades), **style, zorder=3)[0]
            self.ends_[name] = ax.plot(
                x[[0, -1]],
                y[[0, -1]],
                color=color,
                marker="o",
                markersize=4.5,
                linestyle="none",
                clip_on=False,
                zorder=4,
            )[0]
        ax.set_xlabel("segmenter's probability")
        ax.set_ylabel("calibrated probability")
        draw_caption(ax, self.caption)
        if legend:
            self._legend(ax, scale)
        return self

    def _legend(self, ax: Any, scale: Scale) -> None:
        from matplotlib.lines import Line2D

        handles = [*self.lines_.values()]
        if any(self.rater_lines_.values()):
            handles.append(Line2D([], [], color=GREY, linewidth=0.7, label="map of one rater"))
        handles.append(self.diagonal_)
        place: dict[str, Any] = {"loc": "upper left", "frameon": scale == "linear", "framealpha": 0.8}
        if len(handles) > MANY:
            place |= {"bbox_to_anchor": (1.01, 1.0), "borderaxespad": 0.0, "frameon": False}
        ax.legend(handles=handles, fontsize="small", edgecolor="none", **place)


def _within(curve: Curve, scale: Scale, decades: tuple[int, int]) -> Curve:
    """The part of a map that is joined by a line: on a logit axis not exact 0, exact 1 and what lies next to them."""
    x, y = curve
    if scale == "linear":
        return curve
    inside = (x >= 10.0 ** -decades[0]) & (x <= 1 - 10.0 ** -decades[1])
    return x[inside], y[inside]


def _sampled(function: Callable[[FloatArray], FloatArray]) -> Curve:
    """A map where it bends: evenly in p and in its logit, at its knots, and on both sides of its steps."""
    z = np.linspace(-7, 7, 1401)
    logit = 1 / (1 + 10.0**-z)
    steps = np.asarray(getattr(function, "edges", ()), dtype=np.float64)
    knots = np.asarray(getattr(function, "x", ()), dtype=np.float64)
    x = np.unique(np.concatenate([np.linspace(0, 1, 501), logit, knots, steps, np.nextafter(steps[steps > 0], 0)]))
    return x, np.asarray(function(x), dtype=np.float64)


def _fitted_to(calibrator: Calibrator) -> str:
    about = getattr(calibrator, "provenance_", {})
    n_cases = len(about.get("cases", ()))
    cases = f"{n_cases} case{'' if n_cases == 1 else 's'}, " if n_cases else ""
    n_raters = len(getattr(calibrator, "raters_", ()))
    return f"fitted to {cases}{n_raters} rater{'' if n_raters == 1 else 's'}, {calibrator.n_voxels_:,.0f} voxels"


def _decimals(p: float) -> str:
    """A probability with as many decimals as tell it from 1."""
    digits = 3 if p < 0.999 else min(int(np.ceil(-np.log10(1 - p))) + 1, 12)
    return f"{p:.{digits}f}"
