"""What all displays share: a figure of their own, a palette, saving, and axes of probability.

Axes of probability are linear, or logit with places of their own for exact 0 and exact 1, which have no logit.
"""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._files import atomic_write
from mrcalib.inputs import check_choice

__all__ = [
    "DPI",
    "GREY",
    "Display",
    "Scale",
    "color_of",
    "draw_caption",
    "draw_identity",
    "logit_decades",
    "new_figure",
    "save_figure",
    "set_probability_axes",
    "wrapped",
]

Scale = Literal["linear", "logit"]
DPI = 150
GREY = "#5f5f5f"
PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Okabe and Ito's colours, told apart with any colour vision. With more than seven lines the dashes tell them apart."""
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))


def color_of(index: int) -> tuple[str, Any]:
    """Colour and dashes of the line of this number.

    Examples
    --------
    >>> color_of(1), color_of(7)[0] == color_of(0)[0]
    (('#0072B2', '-'), True)
    """
    return PALETTE[index % len(PALETTE)], DASHES[index // len(PALETTE) % len(DASHES)]


def new_figure(width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained") -> Any:
    """A figure that pyplot does not know of, so that it is freed with its display.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        msg = "Drawing needs matplotlib: pip install 'mrcalib[plots]'."
        raise ImportError(msg) from error
    return Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")


def save_figure(figure: Any, path: str | Path) -> Path:
    """Write a figure, whole or not at all; the suffix tells the format.

    Raises
    ------
    ValueError
        If matplotlib does not write files of this suffix.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower()
    check_choice("format", kind, tuple(figure.canvas.get_supported_filetypes()))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=DPI)
    return path


def draw_caption(ax: Any, caption: str) -> None:
    """Write a caption above an axes, in lines that are about as wide."""
    if caption:
        inches = ax.get_window_extent().width / ax.figure.dpi
        ax.set_title(wrapped(caption, max(int(17 * inches), 30)), loc="left", fontsize="small", color=GREY)


def wrapped(caption: str, width: int) -> str:
    """A caption in lines of at most ``width`` characters."""
    return "\n".join(textwrap.wrap(caption, width))


class Display:
    """Base of the displays: ``plot`` sets ``figure_``, and a notebook shows it."""

    figure_: Any

    def _drawn(self) -> Any:
        if not hasattr(self, "figure_"):
            msg = f"This {type(self).__name__} has not been drawn yet; call plot() first."
            raise ValueError(msg)
        return self.figure_

    def save(self, path: str | Path) -> Path:
        """Write the figure that ``plot`` drew; the suffix tells the format (png, svg, pdf).

        Raises
        ------
        ValueError
            Before ``plot``, or for a suffix that matplotlib does not write.
        """
        return save_figure(self._drawn(), path)

    def _repr_png_(self) -> bytes | None:
        if not hasattr(self, "figure_"):
            return None
        buffer = BytesIO()
        self.figure_.savefig(buffer, format="png")
        return buffer.getvalue()


# Axes of probability --------------------------------------------------------------------------------------------------

FloatArray = NDArray[np.float64]
Decades = tuple[int, int]

GAP = 0.9  # from the last decade to where 0 or 1 is drawn, in decades
MOST_DECADES = 6


def logit_decades(*probs: ArrayLike) -> Decades:
    """Decades towards 0 and towards 1 that hold all these probabilities, at least one and at most six of each.

    Examples
    --------
    >>> logit_decades([0.0, 0.002, 0.5], [0.97, 1.0])
    (3, 2)
    """
    p = np.concatenate([np.ravel(np.asarray(values, dtype=np.float64)) for values in probs])
    p = p[(p > 0) & (p < 1)]
    low, high = (float(p.min()), float((1 - p).min())) if p.size else (0.1, 0.1)
    return _decades(low), _decades(high)


def _decades(smallest: float) -> int:
    return int(np.clip(np.ceil(-np.log10(smallest) - 1e-9), 1, MOST_DECADES))


def _forward(p: FloatArray, decades: Decades) -> FloatArray:
    """Decimal logit within the decades; 0 and 1 a gap beyond, and what lies outside [0, 1] linear from there."""
    low, high = decades
    inside = np.clip(p, 10.0**-MOST_DECADES / 10, 1 - 10.0**-MOST_DECADES / 10)
    z = np.clip(np.log10(inside) - np.log10(1 - inside), -low, high)
    z = np.where(p <= 0, p - low - GAP, z)
    return np.where(p >= 1, p - 1 + high + GAP, z)


def _inverse(z: FloatArray, decades: Decades) -> FloatArray:
    low, high = decades
    inside = 1 / (1 + 10.0 ** -np.clip(z, -low, high))
    p = np.where(z <= -low - GAP, z + low + GAP, inside)
    return np.where(z >= high + GAP, z - high - GAP + 1, p)


def _label(p: float) -> str:
    if p in (0.0, 0.5, 1.0):
        return f"{p:g}"
    exponent = round(-np.log10(min(p, 1 - p)))
    if exponent <= 3:
        return f"{p:g}"
    return f"$10^{{-{exponent}}}$" if p < 0.5 else f"$1{{-}}10^{{-{exponent}}}$"


def set_probability_axes(ax: Any, which: str, scale: Scale, decades: Decades) -> None:
    """Give an axis ("x" or "y") the scale, its ticks and a margin; on a logit axis shade where 0 and 1 are drawn."""
    check_choice("scale", scale, ("linear", "logit"))
    axis = ax.xaxis if which == "x" else ax.yaxis
    if scale == "linear":
        (ax.set_xlim if which == "x" else ax.set_ylim)(-0.03, 1.03)
        axis.set_ticks(np.linspace(0, 1, 6))
        return
    low, high = decades
    functions = (lambda p: _forward(np.asarray(p), decades), lambda z: _inverse(np.asarray(z), decades))
    (ax.set_xscale if which == "x" else ax.set_yscale)("function", functions=functions)
    (ax.set_xlim if which == "x" else ax.set_ylim)(-0.4, 1.4)
    ticks = [0.0, *(10.0**-k for k in range(low, 0, -1)), 0.5, *(1 - 10.0**-k for k in range(1, high + 1)), 1.0]
    crowded = low + high > 6
    labels = ["" if crowded and _passed_over(p, high) else _label(p) for p in ticks]
    axis.set_ticks(ticks, labels)
    span = ax.axvspan if which == "x" else ax.axhspan
    for start, end in (
        (-0.4, _inverse(np.array(-low - GAP / 2), decades)),
        (_inverse(np.array(high + GAP / 2), decades), 1.4),
    ):
        span(start, end, color="#f1f1f1", zorder=0, linewidth=0)


def _passed_over(p: float, high: int) -> bool:
    """Whether a tick goes without a label where there are many: every other decade, and the last one before 1."""
    if p in (0.0, 0.5, 1.0):
        return False
    exponent = round(-np.log10(min(p, 1 - p)))
    return exponent % 2 == 1 or (p > 0.5 and exponent == high)


def draw_identity(ax: Any, scale: Scale, decades: Decades, label: str) -> Any:
    """The line on which probabilities are what they say."""
    low, high = decades
    ends = [0.0, 1.0] if scale == "linear" else [10.0**-low, 1 - 10.0**-high]
    return ax.plot(ends, ends, color="0.45", linewidth=1, linestyle=(0, (4, 3)), label=label, zorder=1.5)[0]
