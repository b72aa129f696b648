"""The pictures of README.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

SHOWN = {
    "none": ("black", "o"),
    "MHR": ("tab:red", "s"),
    "MHR-equal": ("tab:orange", "s"),
    "distance strata": ("tab:purple", "^"),
    "size terciles": ("tab:green", "^"),
    "half map, half p": ("tab:brown", "D"),
    "floor: 5 % of the volume to 0": ("tab:gray", "v"),
    "case-adaptive": ("tab:blue", "*"),
}


def draw_remedies(table: pd.DataFrame, path: Path) -> None:
    """Per-case MR-ECE and TDSC against volume CRPS, one row a data set."""
    import matplotlib.pyplot as plt

    mean = table[table["kind"] == "mean"].pivot_table(index=["data", "method"], columns="metric", values="estimate")
    names = list(dict.fromkeys(table["data"]))
    fig, axes = plt.subplots(len(names), 2, figsize=(9, 3.1 * len(names)), squeeze=False, layout="constrained")
    for row, name in zip(axes, names, strict=True):
        for ax, (metric, label) in zip(row, (("mr_ece", "MR-ECE of a case"), ("tdsc", "TDSC")), strict=True):
            for method, (colour, marker) in SHOWN.items():
                if (name, method) in mean.index:
                    at = mean.loc[name, method]
                    size = 140 if marker == "*" else 45
                    ax.scatter(at["volume_crps"], at[metric], s=size, c=colour, marker=marker, label=method, zorder=3)
            ax.set(xlabel="volume CRPS (mL), lower is better", ylabel=label, title=name)
            ax.locator_params(axis="x", nbins=5)
            ax.grid(alpha=0.3)
            start = mean.loc[name, "none"]
            ax.axvline(start["volume_crps"], color="black", lw=0.7, ls=":")
            ax.axhline(start[metric], color="black", lw=0.7, ls=":")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4, fontsize="small")
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_losses(table: pd.DataFrame, path: Path) -> None:
    """Volume bias by place and by size, with intervals by patient, on the first data set."""
    import matplotlib.pyplot as plt

    first = table[table["data"] == table["data"].iloc[0]]
    kinds = ("volume bias by place (mL)", "relative volume bias by size")
    fig, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", gridspec_kw={"width_ratios": [2, 1]})
    for ax, what in zip(axes, kinds, strict=True):
        part = first[first["what"] == what]
        places, methods = list(dict.fromkeys(part["where"])), list(dict.fromkeys(part["method"]))
        width = 0.8 / len(methods)
        for k, method in enumerate(methods):
            mine = part[part["method"] == method].set_index("where").loc[places]
            at = [i + (k - (len(methods) - 1) / 2) * width for i in range(len(places))]
            error = [mine["value"] - mine["low"], mine["high"] - mine["value"]]
            ax.bar(at, mine["value"], width, color=SHOWN[method][0], label=method, yerr=error, error_kw={"lw": 1})
        ax.set(xticks=range(len(places)), xticklabels=places, title=what)
        ax.axhline(0, color="black", lw=0.8)
        ax.grid(axis="y", alpha=0.3)
    axes[0].set_xlabel("distance from the predicted boundary")
    axes[1].set_xlabel("third of the marked volumes")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize="small")
    fig.savefig(path, dpi=110)
    plt.close(fig)
