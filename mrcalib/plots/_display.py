"""What all displays share: a figure of their own, a palette, and saving."""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from mrcalib._files import atomic_write
from mrcalib.inputs import check_choice

__all__ = ["DPI", "GREY", "Display", "Scale", "color_of", "draw_caption", "new_figure", "save_figure", "wrapped"]

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
