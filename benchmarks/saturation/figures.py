"""Three figures: the ceiling, what a ceiling costs, and every setting beside the published numbers."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
import matplotlib.pyplot as plt

from benchmarks.saturation.scores import PUBLISHED, THRESHOLDS

COLOURS = {"none": "#777777", "single": "#e69f00", "hard": "#0072b2", "MHR": "#009e73"}
LABELS = {"none": "uncalibrated", "single": "single-rater", "hard": "hard-label", "MHR": "MHR"}


def draw_ceilings(table: pd.DataFrame, path: Path) -> None:
    """Ceiling against n_bins x prevalence: one curve, whatever the two are; hard-label circles, MHR dots."""
    worlds = list(table["world"].unique())
    figure, axes = plt.subplots(1, len(worlds), figsize=(4.6 * len(worlds), 3.9), sharey=True, squeeze=False)
    for ax, world in zip(axes[0], worlds, strict=True):
        ax.plot([1e-3, 1, 1e3], [1e-3, 1, 1], color="black", lw=1, label="bound: min(1, bins x prevalence)")
        for padding, marker in (("zeros", "o"), ("haze", "s")):
            part = table[(table["world"] == world) & (table["padding"] == padding)]
            x = part["n_bins"] * part["prevalence"]
            hard, mhr = part["target"] == "hard", part["target"] == "MHR"
            ax.plot(x[hard], part["ceiling"][hard], marker, mfc="none", ms=7, color=COLOURS["hard"])
            ax.plot(x[mhr], part["ceiling"][mhr], marker, ms=3, color=COLOURS["MHR"])
        for t in THRESHOLDS:
            ax.axhline(t, color="#bbbbbb", lw=0.6, zorder=0)
        ax.plot([], [], "o", mfc="none", color=COLOURS["hard"], label="hard-label")
        ax.plot([], [], "o", ms=3, color=COLOURS["MHR"], label="MHR")
        ax.plot([], [], color="#bbbbbb", lw=0.6, label="thresholds of TDSC")
        ax.set(xscale="log", yscale="log", xlim=(3e-3, 300), ylim=(3e-3, 1.3), title=world, xlabel="bins x prevalence")
    axes[0, 0].set_ylabel("largest calibrated probability")
    axes[0, 0].legend(fontsize=8, loc="lower right")
    _save(figure, path)


def draw_capped(capped: pd.DataFrame, ceilings: pd.DataFrame, path: Path) -> None:
    """TDSC against the ceiling: the staircase of min(p, cap), and the fitted maps on it."""
    worlds = [w for w in capped["world"].unique() if w in set(ceilings["world"])]
    figure, axes = plt.subplots(1, len(worlds), figsize=(4.6 * len(worlds), 3.9), sharey=True, squeeze=False)
    for ax, world in zip(axes[0], worlds, strict=True):
        stairs = capped[capped["world"] == world]
        none = stairs["closed_form"].iloc[-1]
        ax.plot(stairs["cap"], stairs["closed_form"], color="black", lw=1.2, label="min(p, ceiling), closed form")
        part = ceilings[(ceilings["world"] == world) & (ceilings["target"] == "MHR")]
        ax.plot(part["ceiling"], part["tdsc"], ".", ms=6, color=COLOURS["MHR"], label="fitted maps (hard-label = MHR)")
        for name, colour in COLOURS.items():
            if name != "none":
                share = PUBLISHED[name][0] / PUBLISHED["none"][0]
                ax.axhline(
                    share * none, color=colour, lw=1, ls="--", label=f"published {LABELS[name]} / none x none here"
                )
        ax.set(title=world, xlabel="largest calibrated probability", xlim=(0, 1.01), ylim=(0, 0.9))
    axes[0, 0].set_ylabel("TDSC")
    axes[0, -1].legend(fontsize=7.5, loc="lower right")
    _save(figure, path)


def draw_settings(table: pd.DataFrame, path: Path) -> None:
    """TDSC of the four rows, as a fraction of the uncalibrated one, for every setting; the published ones as lines."""
    worlds = list(table["world"].unique())
    names = list(dict.fromkeys(table["setting"]))
    figure, axes = plt.subplots(
        1, len(worlds), figsize=(3 + 2.9 * len(worlds), 0.2 * len(names) + 1.6), sharey=True, squeeze=False
    )
    for ax, world in zip(axes[0], worlds, strict=True):
        part = table[table["world"] == world].pivot_table(index="setting", columns="target", values="tdsc", sort=False)
        y = np.array([names.index(name) for name in part.index])
        for name, marker, size in (("single", "|", 13), ("hard", "o", 8), ("MHR", "o", 4)):
            face = "none" if name == "hard" else COLOURS[name]
            ax.plot(part[name] / part["none"], y, marker, ms=size, mfc=face, color=COLOURS[name], label=LABELS[name])
            ax.axvline(PUBLISHED[name][0] / PUBLISHED["none"][0], color=COLOURS[name], lw=1, ls="--", zorder=0)
        ax.set(title=world, xlim=(-0.05, 1.25), xticks=(0, 0.5, 1), xlabel="TDSC / uncalibrated")
        ax.grid(axis="y", color="#eeeeee", lw=0.6)
        ax.set_axisbelow(True)
    axes[0, 0].set_yticks(range(len(names)), names, fontsize=7.5)
    axes[0, 0].set_ylim(len(names) - 0.4, -0.6)
    axes[0, 0].legend(fontsize=7.5, loc="lower left")
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
