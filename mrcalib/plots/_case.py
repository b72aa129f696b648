"""One case as pictures: what the raters drew, how many did, and what the map says before and after calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.inputs import check_probs, check_voxels
from mrcalib.plots._display import GREY, Display, color_of, new_figure, wrapped

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.io import Case
    from mrcalib.options import LoadOptions

__all__ = ["CaseDisplay"]

FloatArray = NDArray[np.float64]

LEVELS = (0.1, 0.5, 0.9)
LEVEL_STYLES = ("dotted", "solid", "dashed")
MARGIN = 0.6  # around what is shown, as a fraction of its size
SMALLEST = 24  # voxels that a picture shows at least


@dataclass(frozen=True, slots=True)
class _Plane:
    """The slice, and the window of it, that is shown of every array."""

    axis: int | None
    index: int
    window: tuple[slice, slice]
    turned: tuple[bool, bool] = (False, False)

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        flat = array if self.axis is None else np.take(array, self.index, axis=self.axis)
        shown = np.asarray(flat[self.window])
        return shown[:: -1 if self.turned[0] else 1, :: -1 if self.turned[1] else 1]


class CaseDisplay(Display):
    """A slice of one case: image with the raters' contours, mean human response, and the probabilities.

    Made by ``from_arrays``. The first of the two axes of a slice runs to the right, the second one upwards; with an affine
    they are turned over where need be, so that axial slices are as radiologists look at them.

    Parameters
    ----------
    image : ndarray of shape (n, m)
    raters : mapping of str to ndarray of shape (n, m), or None
        Masks of 0 and 1 by rater; None is a missing rater.
    response : ndarray of shape (n, m)
        Mean human response; NaN where no rater answered.
    probs, calibrated : ndarray of shape (n, m)
        The segmenter's probabilities, and the calibrated ones (optional).
    roi : ndarray of shape (n, m), bool, optional
    spacing : tuple of 2 floats, optional
        Of the slice's axes, in mm.
    caption : str, default=""
    title : str, default=""
        Name of the case.
    index : int, optional
        Number of the slice, in a volume.
    side : str, default=""
        Letter of what lies to the left: "R" in an axial slice; "" where no affine tells.

    Attributes
    ----------
    axes_ : list of matplotlib.axes.Axes
        The pictures from left to right.
    ax_ : matplotlib.axes.Axes
        The first of them.
    figure_ : matplotlib.figure.Figure
    images_ : list of AxesImage
    contours_ : list of list of ContourSet
        In the first picture one for each rater with a mark there, in the others one of the probabilities 0.1, 0.5 and 0.9.

    Examples
    --------
    >>> from mrcalib.simulate import phantoms
    >>> (case,) = phantoms(1, (48, 48, 12), rng=0)
    >>> probs = case.members.mean(axis=0)
    >>> display = CaseDisplay.from_arrays(case.image, probs, case.raters, case.truth, spacing=case.spacing, roi=case.roi)
    >>> len(display.plot().axes_)
    4
    """

    def __init__(
        self,
        image: NDArray[Any],
        raters: dict[str, NDArray[Any] | None],
        response: FloatArray,
        probs: FloatArray,
        calibrated: FloatArray | None = None,
        *,
        roi: NDArray[np.bool_] | None = None,
        spacing: tuple[float, float] | None = None,
        caption: str = "",
        title: str = "",
        index: int | None = None,
        side: str = "",
    ) -> None:
        self.image = image
        self.raters = raters
        self.response = response
        self.probs = probs
        self.calibrated = calibrated
        self.roi = roi
        self.spacing = spacing
        self.caption = caption
        self.title = title
        self.index = index
        self.side = side

    @classmethod
    def from_arrays(
        cls,
        image: ArrayLike,
        probs: ArrayLike,
        raters: Any,
        calibrated: ArrayLike | None = None,
        *,
        axis: int = 2,
        index: int | None = None,
        spacing: Sequence[float] | None = None,
        roi: ArrayLike | None = None,
        rater_names: Sequence[str] | None = None,
        rater_axis: int | None = None,
        zoom: bool = True,
        title: str = "",
        affine: ArrayLike | None = None,
    ) -> Self:
        """Choose a slice of a volume, or take a two-dimensional image as it is.

        Parameters
        ----------
        image : array_like of shape S
            Grey values.
        probs : array_like of float, shape S
            The segmenter's probabilities.
        raters : array_like or sequence
            Masks, as in ``mrcalib.metrics.expected_calibration_error``; None in a list is a missing rater.
        calibrated : array_like of float, shape S, optional
            Calibrated probabilities, for a fourth picture.
        axis : int, default=2
            Axis that the slice cuts; of no meaning in two dimensions.
        index : int, optional
            Slice number; by default where the raters disagree most: the largest sum of ``r (1 - r)``, r the mean response.
        spacing : sequence of float, optional
            Voxel edges in mm, for a scale bar and true proportions.
        roi : array_like of bool, shape S, optional
            Outlined; disagreement outside it does not count.
        rater_names : sequence of str, optional
            "1", "2", ... by default.
        rater_axis : int, optional
            Axis of the raters where a stack fits both ways.
        zoom : bool, default=True
            Show the surroundings of what a rater marked or the map gives 0.1 or more, and not the whole slice.
        title : str, default=""
            Goes before the caption, such as the name of the case.
        affine : array_like of shape (4, 4), optional
            From indices of a volume to RAS+ mm. The slice is then shown with the patient's right, or front, to the left,
            and front, or top, up.

        Returns
        -------
        CaseDisplay

        Raises
        ------
        ValueError
            If shapes differ, are not of two or three dimensions, or the slice does not exist.
        """
        p = check_probs(probs)
        if p.ndim not in (2, 3):
            msg = f"A case is drawn from arrays of two or three dimensions; probs have shape {p.shape}."
            raise ValueError(msg)
        p = np.ascontiguousarray(p)
        arrays = {"image": np.asarray(image)}
        if calibrated is not None:
            arrays["calibrated"] = check_probs(calibrated)
        if roi is not None:
            arrays["roi"] = np.asarray(roi).astype(bool)
        for name, array in arrays.items():
            if array.shape != p.shape:
                msg = f"{name} must have the shape of probs, {p.shape}; got {array.shape}."
                raise ValueError(msg)
        masks, response = _responses(p, raters, rater_axis)
        names = [str(r + 1) for r in range(len(masks))] if rater_names is None else [str(n) for n in rater_names]
        if len(names) != len(masks):
            msg = f"rater_names must name each of the {len(masks)} raters; got {len(names)}."
            raise ValueError(msg)
        if spacing is not None and (len(spacing) != p.ndim or not all(edge > 0 for edge in spacing)):
            msg = f"spacing must hold {p.ndim} positive edges in mm, one for each axis; got {tuple(spacing)}."
            raise ValueError(msg)
        plane = _choose(p, response, arrays.get("roi"), axis, index, zoom=zoom)
        kept = [a for a in range(p.ndim) if a != plane.axis]
        side = ""
        if affine is not None and p.ndim == 3:
            turned, side = _turned(np.asarray(affine, dtype=np.float64), kept)
            plane = replace(plane, turned=turned)
        where = (
            ""
            if plane.axis is None
            else f"slice {plane.index} (of 0 to {p.shape[plane.axis] - 1}) along axis {plane.axis}"
        )
        missing = [n for n, m in zip(names, masks, strict=True) if m is None]
        said = f"{len(names) - len(missing)} raters" + (f", missing: {', '.join(missing)}" if missing else "")
        unseen = "grey: no rater answered" if np.isnan(plane.of(response)).any() else ""
        return cls(
            plane.of(arrays["image"]),
            {n: None if m is None else plane.of(m) for n, m in zip(names, masks, strict=True)},
            plane.of(response),
            plane.of(p),
            plane.of(arrays["calibrated"]) if calibrated is not None else None,
            roi=plane.of(arrays["roi"]) if roi is not None else None,
            spacing=None if spacing is None else (float(spacing[kept[0]]), float(spacing[kept[1]])),
            caption="; ".join(filter(None, (title, where, said, unseen))),
            title=title,
            index=None if plane.axis is None else plane.index,
            side=side,
        )

    @classmethod
    def from_case(
        cls,
        case: Case,
        calibrator: Calibrator | None = None,
        *,
        options: LoadOptions | None = None,
        whole_image: bool = False,
        **more: Any,
    ) -> Self:
        """Read a case with an image, and choose a slice of it.

        Parameters
        ----------
        case : Case
            Its ``image`` is what is drawn below.
        calibrator : fitted calibrator, optional
            For a picture of the calibrated probabilities.
        options : LoadOptions, optional
            How the files are read.
        whole_image : bool, default=False
            Draw probabilities as 0 outside the region of interest, as a challenge scores them, and do not outline it.
        **more
            As for ``from_arrays``: ``axis``, ``index``, ``zoom``.

        Returns
        -------
        CaseDisplay

        Raises
        ------
        ValueError
            If the case has no image, or as ``from_arrays``.

        Examples
        --------
        >>> import mrcalib
        >>> from mrcalib.simulate import phantoms
        >>> (case,) = phantoms(1, (48, 48, 12), rng=0)
        >>> files = mrcalib.Case("A", case.members[0], case.raters, image=case.image, spacing=case.spacing)
        >>> CaseDisplay.from_case(files, axis=0).title
        'A'
        """
        from mrcalib.io import read_volume

        if case.image is None:
            msg = f"Case {case.id!r} has no image to draw; give Case(image=...)."
            raise ValueError(msg)
        loaded = case.load() if options is None else case.load(options=options)
        image = read_volume(case.image).data if isinstance(case.image, str | Path) else case.image
        probs, calibrated = loaded.probs, None
        if calibrator is not None:
            calibrated = loaded.calibrated_inside(calibrator) if whole_image else calibrator(probs)
        if whole_image and loaded.region is not None:
            probs = np.where(loaded.region, probs, 0)
        return cls.from_arrays(
            image,
            probs,
            list(loaded.raters),
            calibrated,
            spacing=loaded.spacing,
            roi=None if whole_image else loaded.region,
            rater_names=loaded.rater_names,
            title=case.id,
            affine=None if loaded.geometry is None else loaded.geometry.affine,
            **more,
        )

    def plot(self, ax: Any = None) -> Self:
        """Draw the pictures side by side.

        Parameters
        ----------
        ax : sequence of matplotlib.axes.Axes, optional
            Three, or four with calibrated probabilities; a figure of their own by default.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the number of axes is another one.
        """
        maps = {"mean human response": self.response, "segmenter's probability": self.probs}
        if self.calibrated is not None:
            maps["calibrated probability"] = self.calibrated
        n = 1 + len(maps)
        across, up = self._extent()
        if ax is None:
            width = 3.0 * n
            figure = new_figure(width + 0.5, float(np.clip(2.9 * up / across, 1.5, 6.0)) + 1.0, layout="compressed")
            ax = figure.subplots(1, n)
        self.axes_ = list(np.atleast_1d(np.asarray(ax, dtype=object)))
        if len(self.axes_) != n:
            msg = f"ax must hold {n} axes, one for each picture; got {len(self.axes_)}."
            raise ValueError(msg)
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        extent = (0.0, across, 0.0, up)
        low, high = np.nanpercentile(self.image, [0.5, 99.5])
        style = {"origin": "lower", "extent": extent, "interpolation": "nearest"}
        self.images_ = [self.ax_.imshow(self.image.T, cmap="gray", vmin=low, vmax=high, **style)]
        self.contours_: list[list[Any]] = [self._draw_raters(self.ax_)]
        for axes, (name, values) in zip(self.axes_[1:], maps.items(), strict=True):
            self.images_.append(axes.imshow(values.T, cmap="magma", vmin=0, vmax=1, **style))
            axes.set_title(name)
            self.contours_.append(self._draw_levels(axes, values))
        for axes in self.axes_:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_facecolor("0.6")
            if self.roi is not None:
                self._contour(axes, self.roi, [0.5], colors="white", linewidths=0.8, linestyles="dashdot", alpha=0.7)
        self._finish(len(maps))
        return self

    def _extent(self) -> tuple[float, float]:
        """Width and height of the pictures, in mm if the spacing is known, else in voxels."""
        n, m = self.probs.shape
        a, b = self.spacing or (1.0, 1.0)
        return n * a, m * b

    def _contour(self, ax: Any, values: NDArray[Any], levels: Sequence[float], **style: Any) -> Any:
        """Contours between the centres of voxels; None where there is nothing to draw."""
        known = np.nan_to_num(np.asarray(values, dtype=np.float64))
        if min(known.shape) < 2 or not any(known.min() < level <= known.max() for level in levels):
            return None
        across, up = self._extent()
        n, m = known.shape
        x, y = (np.arange(n) + 0.5) * across / n, (np.arange(m) + 0.5) * up / m
        return ax.contour(x, y, known.T, levels=levels, **style)

    def _draw_raters(self, ax: Any) -> list[Any]:
        from matplotlib.lines import Line2D

        drawn, handles = [], []
        widths = np.linspace(2.4, 1.0, len(self.raters)) if len(self.raters) > 1 else [1.4]
        for r, (name, mask) in enumerate(self.raters.items()):
            if mask is None:
                continue
            color, dashes = color_of(r)
            lines = self._contour(ax, mask, [0.5], colors=color, linewidths=widths[r], linestyles=[dashes])
            if lines is not None:
                drawn.append(lines)
            text = f"rater {name}" + ("" if mask.any() else ": no mark here")
            handles.append(Line2D([], [], color=color, linestyle=dashes, label=text))
        ax.legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize="small", frameon=False,
            ncols=min(3, len(handles)), handlelength=1.4, columnspacing=1.0,
        )  # fmt: skip
        ax.set_title("image and raters")
        return drawn

    def _draw_levels(self, ax: Any, values: FloatArray) -> list[Any]:
        lines = self._contour(ax, values, LEVELS, colors="white", linewidths=1.1, linestyles=list(LEVEL_STYLES))
        if lines is None:
            return []
        lines.set_path_effects(_outline(2.2))
        return [lines]

    def _finish(self, n_maps: int) -> None:
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color="black", linewidth=1.0, linestyle=style, label=f"{level}")
            for level, style in zip(LEVELS, LEVEL_STYLES, strict=True)
        ]
        self.axes_[1].legend(
            handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.02), fontsize="small", frameon=False, ncols=3,
            title="lines of equal fraction or probability", title_fontsize="small", columnspacing=1.0,
        )  # fmt: skip
        self.figure_.colorbar(
            self.images_[-1], ax=self.axes_[-n_maps:], shrink=0.75, pad=0.015, label="fraction or probability"
        )
        if self.spacing is not None:
            self._scale_bar(self.ax_)
        self._name_side(self.ax_)
        if self.caption:
            self.figure_.suptitle(
                wrapped(self.caption, 60 + 30 * n_maps), x=0.01, ha="left", fontsize="small", color=GREY
            )

    def _scale_bar(self, ax: Any) -> None:
        across, up = self._extent()
        length = max((s for s in (1, 2, 5, 10, 20, 50, 100) if s <= across / 3), default=1)
        x, y = across * 0.05, up * 0.06
        ax.plot([x, x + length], [y, y], color="white", linewidth=2.5, solid_capstyle="butt", path_effects=_outline(4))
        ax.text(
            x + length / 2, y + up * 0.02, f"{length} mm", color="white", ha="center", va="bottom", fontsize="small",
            path_effects=_outline(2),
        )  # fmt: skip

    def _name_side(self, ax: Any) -> None:
        if self.side:
            ax.text(
                0.02, 0.5, self.side, transform=ax.transAxes, color="white", ha="left", va="center", fontsize="small",
                path_effects=_outline(2),
            )  # fmt: skip


def _outline(width: float) -> list[Any]:
    """A dark rim, so that white shows on bright tissue."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="black")]


def _turned(affine: FloatArray, kept: Sequence[int]) -> tuple[tuple[bool, bool], str]:
    """Which of a slice's axes run against how radiologists look, and the letter of what is then to the left."""
    if affine.shape != (4, 4):
        msg = f"affine must have shape (4, 4); got {affine.shape}."
        raise ValueError(msg)
    along, up = (int(np.abs(affine[:3, a]).argmax()) for a in kept)
    signs = [np.sign(affine[d, a]) for d, a in zip((along, up), kept, strict=True)]
    wanted = (1 if along == 2 else -1), (-1 if up == 0 else 1)  # to the left and the back; up to the front and the head
    turned = tuple(bool(sign == -want) for sign, want in zip(signs, wanted, strict=True))
    return (turned[0], turned[1]), "RAI"[along]


def _responses(
    probs: NDArray[Any], raters: Any, rater_axis: int | None
) -> tuple[list[NDArray[np.uint8] | None], FloatArray]:
    """Each rater's mask, None for a missing one, and the mean response, NaN where no rater answered."""
    voxels = check_voxels(probs, raters, rater_axis=rater_axis, soft=False, arguments=("rater_axis",))
    (chunk,) = voxels.chunks(size=max(voxels.n_voxels, 1))
    masks: list[NDArray[np.uint8] | None] = []
    votes, answers = np.zeros(probs.size), np.zeros(probs.size)
    for r, (mask, present) in enumerate(zip(chunk.masks, chunk.present, strict=True)):
        if mask.size == 0:
            masks.append(None)
            continue
        if mask.max() > 1:
            voxels.refuse_labels(r)
        here = present if present.size else np.ones_like(mask)
        votes += mask & here
        answers += here
        masks.append((mask & here).reshape(probs.shape))
    response = np.divide(votes, answers, out=np.full(probs.size, np.nan), where=answers > 0)
    return masks, response.reshape(probs.shape)


def _choose(
    probs: NDArray[Any],
    response: FloatArray,
    roi: NDArray[np.bool_] | None,
    axis: int,
    index: int | None,
    *,
    zoom: bool,
) -> _Plane:
    """The slice of most disagreement, of most marks where raters agree, or the middle one; and the window of it."""
    whole = (slice(None), slice(None))
    plane = _Plane(None, 0, whole)
    known = np.nan_to_num(response) * (1 if roi is None else roi)
    if probs.ndim == 3:
        if not -3 <= axis < 3:
            msg = f"axis must lie between 0 and 2 (or -3 and -1); got {axis}."
            raise ValueError(msg)
        axis %= 3
        if index is None:
            others = tuple(a for a in range(3) if a != axis)
            index = probs.shape[axis] // 2
            for amount in ((known * (1 - known)).sum(axis=others), known.sum(axis=others)):
                if amount.any():
                    index = int(amount.argmax())
                    break
        elif not -probs.shape[axis] <= index < probs.shape[axis]:
            msg = f"index must lie between 0 and {probs.shape[axis] - 1}, the slices along axis {axis}; got {index}."
            raise ValueError(msg)
        plane = _Plane(axis, index % probs.shape[axis], whole)
    if not zoom:
        return plane
    of_interest = plane.of((np.nan_to_num(response) > 0) | (probs >= LEVELS[0]))
    if not of_interest.any():
        return plane
    first, second = (_stretch(np.flatnonzero(of_interest.any(axis=a))) for a in (1, 0))
    return _Plane(plane.axis, plane.index, (first, second))


def _stretch(at: NDArray[np.intp]) -> slice:
    """From the first to the last of these positions, with a margin on both sides."""
    size = at[-1] - at[0] + 1
    margin = int(np.ceil(max(MARGIN * size / 2, (SMALLEST - size) / 2, 2)))
    return slice(max(int(at[0]) - margin, 0), int(at[-1]) + 1 + margin)
