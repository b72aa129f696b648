"""Bars of every piece of work beside its peers, and lines of how time and memory grow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.patches
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

MANY = mpl.colormaps["tab20"].colors[::2] + mpl.colormaps["tab20"].colors[1::2]
OURS, PEER, WRONG, BASE = "#0072b2", "#999999", "#d55e00", "#000000"


def draw(parts: dict[str, dict[str, Any]], flat: Sequence[dict[str, Any]], folder: Path) -> None:
    """Write speed.png, growth.png and memory.png, of those that were measured."""
    if any(row["seconds"] != "" for row in flat):
        _save(bars(flat), folder / "speed.png")
    if "growth" in parts:
        _save(growth(parts["growth"]["rows"]), folder / "growth.png")
    if "memory" in parts:
        _save(memory(parts["memory"]["rows"]), folder / "memory.png")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


def bars(flat: Sequence[dict[str, Any]]) -> Any:
    """Nanoseconds a voxel at each group's largest size, on the most threads, coherent voxels."""
    groups = list(dict.fromkeys(row["group"] for row in flat))
    chosen = []
    for group in groups:
        rows = [row for row in flat if row["group"] == group and row["order"] == "coherent" and row["seconds"] != ""]
        largest = max((row["n"] for row in rows), default=0)
        rows = [row for row in rows if row["n"] == largest]
        for work in dict.fromkeys(row["work"] for row in rows):
            chosen.append(max((row for row in rows if row["work"] == work), key=lambda row: row["threads"]))
    figure, axes = plt.subplots(figsize=(9, 0.6 + 0.22 * len(chosen)), layout="constrained")
    colours = {"mrcalib": OURS, "peer": PEER, "base": BASE}
    for i, row in enumerate(chosen):
        wrong = row["kind"] == "peer" and row["right"] is False
        axes.barh(i, row["ns_per_item"], color=WRONG if wrong else colours[row["kind"]])
        axes.text(row["ns_per_item"], i, f" {row['ns_per_item']:.3g}", va="center", fontsize=7)
    labels = [f"{row['group']} ({row['n']:.0e}): {row['work']}" for row in chosen]
    axes.set_yticks(range(len(chosen)), labels, fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("ns a voxel")
    meaning = {"mrcalib": OURS, "peer": PEER, "peer, wrong answer": WRONG, "floor, or a copy": BASE}
    handles = [mpl.patches.Patch(color=colour) for colour in meaning.values()]
    figure.legend(handles, meaning, loc="outside upper center", ncols=4, fontsize=8)
    axes.margins(y=0.01)
    return figure


def growth(rows: Sequence[dict[str, Any]]) -> Any:
    """Seconds against each thing that grows; dotted, what would grow in proportion."""
    present = list(dict.fromkeys(row["axis"] for row in rows))
    figure, panels = plt.subplots(2, 3, figsize=(12, 7.5), layout="constrained")
    colours: dict[str, str] = {}
    for axes, axis in zip(panels.flat, present, strict=False):
        some = [row for row in rows if row["axis"] == axis]
        for work in dict.fromkeys(row["work"] for row in some):
            line = [row for row in some if row["work"] == work]
            x, y = [row["value"] for row in line], [row["median"] for row in line]
            spread = [[row["median"] - row["low"] for row in line], [row["high"] - row["median"] for row in line]]
            colour = colours.setdefault(work, MANY[len(colours)])
            axes.errorbar(x, y, spread, marker="o", markersize=3, color=colour, capsize=2, linewidth=1)
        if axis in ("voxels", "cases"):
            ends = np.array([some[0]["value"], some[-1]["value"]])
            axes.plot(ends, some[0]["median"] * ends / ends[0], color="0.7", linestyle=":", linewidth=1)
        axes.set_xscale("log", base=2 if axis in ("raters", "threads") else 10)
        if axis in ("raters", "threads"):
            axes.set_xticks(sorted({row["value"] for row in some}))
            axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yscale("log")
        axes.set_xlabel(axis)
        axes.set_ylabel("seconds")
    for axes in panels.flat[len(present) :]:
        axes.set_axis_off()
    handles = [plt.Line2D([], [], marker="o", markersize=3, linewidth=1, color=colour) for colour in colours.values()]
    panels.flat[-1].legend(handles, colours, loc="center", fontsize=9)
    return figure


def memory(rows: Sequence[dict[str, Any]]) -> Any:
    """Peak extra megabytes, without what is returned, against voxels and cases."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
    for axes, axis in zip(panels, ("voxels", "cases"), strict=True):
        some = [row for row in rows if (row["cases"] > 1) == (axis == "cases")]
        for work in dict.fromkeys(row["work"] for row in some):
            line = [row for row in some if row["work"] == work]
            extra = [max(row["bytes"] - row["returned"], 1e5) / 1e6 for row in line]
            axes.plot([row[axis] for row in line], extra, marker="o", markersize=3, label=work, linewidth=1)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(axis)
        sizes = sorted({row[axis] for row in some})
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=6)
        axes.minorticks_off()
        axes.legend(fontsize=6)
    panels[0].set_ylabel("peak extra, MB")
    return figure
