"""Displays of detections: calibration of scores in bars, scores against the size of ensembles, agreement of raters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from mrcalib.detection.agreement import RaterAgreement, mean_and_sd
from mrcalib.plots._display import GREY, Display, color_of, new_figure, wrapped

if TYPE_CHECKING:
    from mrcalib.detection.scores import DetectionScore
    from mrcalib.metrics.reliability import ReliabilityCurve

__all__ = ["DetectionCalibrationDisplay", "EnsembleSizeDisplay", "RaterAgreementDisplay"]

FloatArray = NDArray[np.float64]

PRECISION, ABOVE, BELOW = "#0072B2", "#D55E00", "#009E73"
FEW = 10  # bins with fewer votes (of a rater on a detection) are drawn pale
MANY = 8  # more pairs or raters than these are drawn together, without their names


class DetectionCalibrationDisplay(Display):
    """Bars of the precision of each bin of scores and its gap to the mean score; a row for each model, a column a threshold.

    ``from_scores`` makes it of scores.

    Parameters
    ----------
    panels : mapping of str to list of (str, float, ReliabilityCurve)
        For each model the title, the calibration error and the bins of each panel.
    caption : str, default=""
        Text above the panels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib.axes.Axes, shape (n_models, n_panels)
    figure_ : matplotlib.figure.Figure
    precision_, gaps_ : list of BarContainer
        Of each panel: the lower of precision and mean score, and from there to the higher one.

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       figure 3.

    Examples
    --------
    >>> from mrcalib.detection import Boxes, DetectionImage
    >>> from mrcalib.metrics import detection_calibration
    >>> found = Boxes([[0, 0, 9, 9], [20, 20, 30, 30]], scores=[0.9, 0.4])
    >>> images = [DetectionImage("1", detections=found, raters={"a": [[0, 0, 9, 10]]})]
    >>> scores = {"model": [detection_calibration(images, iou_threshold=t) for t in (0.5, 0.75)]}
    >>> display = DetectionCalibrationDisplay.from_scores(scores).plot()
    >>> [axes.get_title(loc="left") for axes in display.axes_[0]]
    ['model, IoU 0.5', 'model, IoU 0.75']
    """

    def __init__(
        self, panels: Mapping[str, Sequence[tuple[str, float, ReliabilityCurve]]], *, caption: str = ""
    ) -> None:
        if not panels or len({len(row) for row in panels.values()}) != 1 or not next(iter(panels.values())):
            msg = "There must be at least one panel, and as many of each model."
            raise ValueError(msg)
        self.panels = {name: list(row) for name, row in panels.items()}
        self.caption = caption

    @classmethod
    def from_scores(cls, scores: Mapping[str, Sequence[DetectionScore]], *, caption: str | None = None) -> Self:
        """A display of the bins of calibration errors.

        Parameters
        ----------
        scores : mapping of str to sequence of DetectionScore
            For each model those of ``detection_calibration``, such as at two thresholds.
        caption : str, optional
            By default the number of images, matching and score floor of the first score.

        Returns
        -------
        DetectionCalibrationDisplay

        Raises
        ------
        ValueError
            If a score has no bins of its score alone, as with features, or models have different numbers of scores.
        """
        panels = {}
        for name, row in scores.items():
            panels[name] = [
                (f"{name}, IoU {score.iou_thresholds[0]:g}", score.value, _curve_of(name, score)) for score in row
            ]
        first = next((score for row in scores.values() for score in row), None)
        if caption is None and first is not None:
            raters = f"rater {first.raters[0]}" if len(first.raters) == 1 else f"{len(first.raters)} raters"
            caption = (
                f"{first.n_images} images, {raters}; {first.matching} matching, scores from {first.score_floor:g}; "
                f"{first.details['bins'][0]} bins"
            )
        return cls(panels, caption=caption or "")

    def plot(self) -> Self:
        """Draw the bars in a figure of their own.

        Returns
        -------
        self
        """
        n_columns = len(next(iter(self.panels.values())))
        width, height = 0.6 + 3.4 * n_columns, 0.8 + 3.4 * len(self.panels)
        self.figure_ = new_figure(width, height)
        self.axes_ = self.figure_.subplots(len(self.panels), n_columns, squeeze=False, sharex=True, sharey=True)
        self.precision_: list[Any] = []
        self.gaps_: list[Any] = []
        panels = [panel for row in self.panels.values() for panel in row]
        for axes, (title, error, curve) in zip(self.axes_.flat, panels, strict=True):
            self._draw(axes, title, error, curve)
        for axes in self.axes_[-1]:
            axes.set_xlabel("score")
        for axes in self.axes_[:, 0]:
            axes.set_ylabel("precision")
        self.figure_.suptitle(wrapped(self.caption, int(14 * width)), x=0.01, ha="left", fontsize="small", color=GREY)
        self._legend()
        return self

    def _draw(self, ax: Any, title: str, error: float, curve: ReliabilityCurve) -> None:
        known = curve.count > 0
        left, width = curve.edges[:-1][known], np.diff(curve.edges)[known]
        precision, score, count = curve.response[known], curve.mean_prob[known], curve.count[known]
        pale = np.where(count < FEW, 0.35, 1.0)
        low, high = np.minimum(precision, score), np.maximum(precision, score)
        shades = [(ABOVE if over else BELOW, 0.6 * a) for over, a in zip(score > precision, pale, strict=True)]
        style = {"align": "edge", "edgecolor": "white", "linewidth": 0.6, "zorder": 2}
        bars = ax.bar(left, low, width, color=[(PRECISION, a) for a in pale], **style)
        gaps = ax.bar(left, high - low, width, bottom=low, color=shades, **style)
        self.precision_.append(bars)
        self.gaps_.append(gaps)
        ax.plot([0, 1], [0, 1], color="0.3", linewidth=1, linestyle=(0, (4, 3)), zorder=3)
        ax.set(xlim=(0, 1), ylim=(0, 1.02))
        ax.set_title(title, loc="left", fontsize="medium")
        text = "no detection" if np.isnan(error) else f"D-ECE {error:.3f}"
        ax.annotate(text, (0.04, 0.94), xycoords="axes fraction", va="top")
        ax.spines[["right", "top"]].set_visible(False)

    def _legend(self) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.patches import Patch

        handles = [
            Patch(color=PRECISION, label="precision"),
            Patch(color=(ABOVE, 0.6), label="mean score above it"),
            Patch(color=(BELOW, 0.6), label="precision above the mean score"),
            Patch(color=(PRECISION, 0.35), label=f"fewer than {FEW} votes in the bin"),
            Line2D([], [], color="0.3", linewidth=1, linestyle=(0, (4, 3)), label="calibrated"),
        ]
        columns = 3 if self.axes_.shape[1] > 1 else 2
        self.figure_.legend(handles=handles, loc="outside lower left", ncols=columns, fontsize="small", frameon=False)


def _curve_of(name: str, score: DetectionScore) -> ReliabilityCurve:
    if score.curve is None:
        msg = f"{score.name} of {name!r} has no bins of its score alone; take detection_calibration without features."
        raise ValueError(msg)
    return score.curve


class EnsembleSizeDisplay(Display):
    """Lines of the scores of ensembles over their number of models: mean and standard deviation over resamples of images.

    ``from_scores`` makes it of scores.

    Parameters
    ----------
    sizes : mapping of str to sequence of int
        Numbers of models of each kind of ensemble.
    mean, sd : mapping of str to (mapping of str to sequence of float)
        By name of the score, then by kind; one number for each size.
    caption : str, default=""
        Text above the panels.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        One for each score.
    figure_ : matplotlib.figure.Figure
    lines_ : dict of (str, str) to ErrorbarContainer
        By score and kind.

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       figure 4.

    Examples
    --------
    >>> mean = {"D-ECE": {"LSE": [0.16, 0.15], "RSE": [0.1, 0.08]}}
    >>> sd = {"D-ECE": {"LSE": [0.01, 0.01], "RSE": [0.02, 0.01]}}
    >>> display = EnsembleSizeDisplay({"LSE": [2, 4], "RSE": [2, 4]}, mean, sd).plot()
    >>> display.axes_[0].get_ylabel()
    'D-ECE'
    """

    def __init__(
        self,
        sizes: Mapping[str, Sequence[int]],
        mean: Mapping[str, Mapping[str, Sequence[float]]],
        sd: Mapping[str, Mapping[str, Sequence[float]]],
        *,
        caption: str = "",
    ) -> None:
        for score, by_kind in mean.items():
            for kind, values in by_kind.items():
                if not len(values) == len(sd[score][kind]) == len(sizes[kind]):
                    msg = f"mean and sd of {score!r} and {kind!r} must have a number for each of {list(sizes[kind])}."
                    raise ValueError(msg)
        if not mean:
            msg = "There is no score to draw."
            raise ValueError(msg)
        self.sizes, self.mean, self.sd, self.caption = dict(sizes), dict(mean), dict(sd), caption

    @classmethod
    def from_scores(
        cls, scores: Mapping[str, Mapping[int, Sequence[DetectionScore]]], *, caption: str | None = None
    ) -> Self:
        """A display of the mean and standard deviation over the resamples of each score.

        Parameters
        ----------
        scores : mapping of str to (mapping of int to sequence of DetectionScore)
            By kind of ensemble, then by number of models: the same scores for all, made with resamples.
        caption : str, optional
            By default the number of images and resamples and the conditions of the first score.

        Returns
        -------
        EnsembleSizeDisplay

        Raises
        ------
        ValueError
            If a score has no resamples.
        """
        sizes = {kind: sorted(by_size) for kind, by_size in scores.items()}
        mean: dict[str, dict[str, list[float]]] = {}
        sd: dict[str, dict[str, list[float]]] = {}
        first: DetectionScore | None = None
        for kind, by_size in scores.items():
            for size in sizes[kind]:
                for score in by_size[size]:
                    if score.samples.size < 2:
                        msg = f"{score.name} of {kind!r} has no resamples; compute it with n_resamples=100."
                        raise ValueError(msg)
                    first = first or score
                    mean.setdefault(score.name, {}).setdefault(kind, []).append(float(np.nanmean(score.samples)))
                    sd.setdefault(score.name, {}).setdefault(kind, []).append(float(np.nanstd(score.samples, ddof=1)))
        if caption is None and first is not None:
            caption = (
                f"{first.n_images} images, mean and sd of {first.samples.size} resamples; {first.matching} matching at IoU "
                f"{first.iou_thresholds[0]:g}, scores from {first.score_floor:g}"
            )
        return cls(sizes, mean, sd, caption=caption or "")

    def plot(self) -> Self:
        """Draw the lines in a figure of their own.

        Returns
        -------
        self
        """
        n = len(self.mean)
        self.figure_ = new_figure(0.4 + 3.8 * n, 3.6)
        self.axes_ = list(self.figure_.subplots(1, n, squeeze=False)[0])
        self.lines_: dict[tuple[str, str], Any] = {}
        every = sorted({size for sizes in self.sizes.values() for size in sizes})
        step = min(np.diff(every), default=1)
        for ax, (score, by_kind) in zip(self.axes_, self.mean.items(), strict=True):
            for index, (kind, values) in enumerate(by_kind.items()):
                aside = 0.08 * step * (index - (len(by_kind) - 1) / 2)
                x = np.array(self.sizes[kind]) + aside
                self.lines_[score, kind] = _line_with_bars(ax, x, values, self.sd[score][kind], label=kind, index=index)
            top = max(np.nanmax(np.add(v, self.sd[score][k]), initial=0.0) for k, v in by_kind.items())
            ax.set(xlabel="models", ylabel=score, ylim=(0, 1.12 * top if top > 0 else 1.0))
            ax.set_xticks(every)
            _lighten(ax)
        self.axes_[0].legend(frameon=False, loc="lower left")
        self.figure_.suptitle(wrapped(self.caption, 52 * n), x=0.01, ha="left", fontsize="small", color=GREY)
        return self


class RaterAgreementDisplay(Display):
    """Bars of the objects that each rater draws in an image, and lines of F1 between raters over thresholds of overlap.

    Both show means and standard deviations over images. Many pairs of raters are drawn as one line over all pairs and images.

    Parameters
    ----------
    agreement : RaterAgreement
        The result of ``rater_agreement``; the line has a point for each of its thresholds.

    Attributes
    ----------
    counts_ax_, ax_ : matplotlib.axes.Axes
    figure_ : matplotlib.figure.Figure
    bars_ : BarContainer
    lines_ : dict of str to ErrorbarContainer

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       figure 2.

    Examples
    --------
    >>> from mrcalib.detection import DetectionImage
    >>> from mrcalib.metrics import rater_agreement
    >>> image = DetectionImage("1", raters={"a": [[0, 0, 10, 10], [20, 20, 30, 30]], "b": [[0, 0, 10, 9]]})
    >>> display = RaterAgreementDisplay(rater_agreement([image])).plot()
    >>> list(display.lines_)
    ['a, b']
    """

    def __init__(self, agreement: RaterAgreement) -> None:
        self.agreement = agreement

    def plot(self) -> Self:
        """Draw counts and F1 in a figure of their own.

        Returns
        -------
        self
        """
        self.figure_ = new_figure(8.4, 3.8)
        self.counts_ax_, self.ax_ = self.figure_.subplots(1, 2)
        self._counts(self.counts_ax_)
        self._f1(self.ax_)
        agreement = self.agreement
        pairs = f"{len(agreement.pairs)} pair{'' if len(agreement.pairs) == 1 else 's'}"
        text = (
            f"{len(agreement.images)} images, {len(agreement.raters)} raters, {pairs}; mean and sd over images; boxes paired "
            "one to one, as many as possible"
        )
        self.figure_.suptitle(wrapped(text, 110), x=0.01, ha="left", fontsize="small", color=GREY)
        return self

    def _counts(self, ax: Any) -> None:
        agreement = self.agreement
        mean, sd = _means_and_sds(agreement.n_objects)
        many = len(agreement.raters) > MANY
        order = np.argsort(-mean, kind="stable") if many else np.arange(mean.size)
        self.bars_ = ax.bar(
            np.arange(mean.size), mean[order], 0.7, color=PRECISION, yerr=None if many else sd, capsize=3
        )
        if many:
            ax.set_xticks([])
            ax.set_xlabel(f"{mean.size} raters")
        else:
            ax.set_xticks(np.arange(mean.size), agreement.raters)
        ax.set_ylabel("objects in an image")
        ax.set_ylim(bottom=0)
        ax.spines[["right", "top"]].set_visible(False)

    def _f1(self, ax: Any) -> None:
        agreement = self.agreement
        each = agreement.image_f1
        seen = ~np.isnan(agreement.n_first)
        if len(agreement.pairs) > MANY:
            rows = {f"all {len(agreement.pairs)} pairs": each[seen]}
        else:
            rows = {f"{a}, {b}": each[p, seen[p]] for p, (a, b) in enumerate(agreement.pairs)}
        self.lines_: dict[str, Any] = {}
        for index, (name, values) in enumerate(rows.items()):
            mean, sd = _means_and_sds(values.T)
            self.lines_[name] = _line_with_bars(ax, agreement.iou_thresholds, mean, sd, label=name, index=index)
        ax.set(xlabel="least overlap (IoU)", ylabel="F1 between raters", ylim=(0, 1.05))
        _lighten(ax)
        ax.legend(frameon=False, fontsize="small", loc="lower left")


def _line_with_bars(ax: Any, x: Any, mean: Any, sd: Any, *, label: str, index: int) -> Any:
    """An errorbar container: a line of means with bars of one standard deviation, in the style of this number."""
    color, dashes = color_of(index)
    return ax.errorbar(x, mean, sd, color=color, linestyle=dashes, marker="o", markersize=4, capsize=3, label=label)


def _lighten(ax: Any) -> None:
    ax.grid(axis="y", color="0.92", linewidth=0.7)
    ax.spines[["right", "top"]].set_visible(False)


def _means_and_sds(rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of each row; no error bar (0) where there are too few values."""
    mean, sd = np.array([mean_and_sd(row) for row in rows]).T
    return mean, np.nan_to_num(sd)
