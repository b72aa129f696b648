"""The pictures of README.md, after the paper's Figures 2 to 4."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

COLOURS = {"LSE": "tab:blue", "RSE": "tab:orange"}


def draw_sizes(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """D-ECE against the consensus, multi-rater D-ECE and mAP against ensemble size; a row a training."""
    import matplotlib.pyplot as plt

    metrics = {"d_ece_0.5": "D-ECE (consensus)", "multi_rater_d_ece": "multi-rater D-ECE", "map": "mAP (consensus)"}
    fig, axes = plt.subplots(
        len(tables), 3, figsize=(11, 3.2 * len(tables)), squeeze=False, layout="constrained", sharey="col"
    )
    for row, (world, table) in zip(axes, tables.items(), strict=True):
        for ax, (metric, label) in zip(row, metrics.items(), strict=True):
            for shift, (kind, mine) in zip((-0.12, 0.12), table.groupby("ensemble"), strict=True):
                error = mine[f"{metric}_boot_sd"]
                ax.errorbar(
                    mine["size"] + shift,
                    mine[f"{metric}_boot_mean"],
                    error,
                    color=COLOURS[kind],
                    marker="o",
                    label=kind,
                )
            top = 1 if metric == "map" else None
            ax.set(xlabel="models in the ensemble", ylabel=label, ylim=(0, top), title=world)
            ax.set_xticks(sorted(set(table["size"])))
            ax.grid(alpha=0.3)
    axes[0, 0].legend()
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_curves(curves: pd.DataFrame, errors: pd.DataFrame, path: Path) -> None:
    """Precision by bin, with the gap to perfect calibration."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, 4, figsize=(13, 3.6), layout="constrained", sharey=True)
    for ax, ((threshold, kind), bins) in zip(axes, curves.groupby(["iou", "ensemble"]), strict=True):
        middle, width = (bins["low"] + bins["high"]) / 2, bins["high"] - bins["low"]
        ax.bar(middle, bins["precision"], 0.9 * width, color="tab:blue", label="precision")
        gap = bins["confidence"] - bins["precision"]
        ax.bar(middle, gap, 0.9 * width, bins["precision"], color="tab:red", alpha=0.45, label="gap to the mean score")
        for x, n in zip(middle, bins["count"], strict=True):
            ax.text(x, 1.02, f"{n:.0f}", ha="center", fontsize=7, color="tab:gray")
        ax.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":")
        error = errors.loc[errors["ensemble"] == kind, f"d_ece_{threshold}"].iloc[0]
        ax.set(title=f"{kind}, IoU {threshold}: D-ECE {error:.3f}", xlabel="score", xlim=(0, 1), ylim=(0, 1.08))
    axes[0].set_ylabel("precision against the consensus")
    axes[0].legend(loc="upper left", bbox_to_anchor=(0, 0.95), fontsize="small")
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_raters(f1: pd.DataFrame, counts: pd.DataFrame, path: Path) -> None:
    """Boxes an image and F1 between the raters."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3.2), layout="constrained")
    left.bar(counts["rater"], counts["mean"], yerr=counts["sd"], color="tab:gray", capsize=4)
    left.set(ylabel="boxes an image (mean, sd)")
    right.errorbar(f1["iou_threshold"], f1["mean_image_f1"], f1["sd_image_f1"], marker="o", color="tab:gray", capsize=3)
    right.set(xlabel="IoU threshold", ylabel="F1 between raters (mean, sd)", ylim=(0, 1))
    right.grid(alpha=0.3)
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_calibration(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """D-ECE of both ensembles after each calibration, against the consensus and against both raters."""
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        len(tables), 2, figsize=(11, 3.2 * len(tables)), squeeze=False, layout="constrained", sharey=True
    )
    metrics = {"d_ece_0.5": "D-ECE (consensus)", "multi_rater_d_ece": "multi-rater D-ECE"}
    for row, (world, table) in zip(axes, tables.items(), strict=True):
        for ax, (metric, label) in zip(row, metrics.items(), strict=True):
            for shift, (kind, mine) in zip((-0.2, 0.2), table.groupby("ensemble"), strict=True):
                at = np.arange(len(mine)) + shift
                error = mine[f"{metric}_boot_sd"]
                ax.bar(at, mine[metric], 0.38, yerr=error, color=COLOURS[kind], label=kind, error_kw={"lw": 1})
            names = [name.replace(", ", ",\n") for name in mine["calibration"]]
            ax.set(xticks=range(len(mine)), xticklabels=names, ylabel=label, title=world)
            ax.grid(axis="y", alpha=0.3)
    axes[0, 0].legend()
    fig.savefig(path, dpi=110)
    plt.close(fig)


def draw_pedestrians(agreement: pd.DataFrame, curve: pd.DataFrame, path: Path) -> None:
    """F1 over IoU, and how often the expert has a box that so many annotators have."""
    import matplotlib.pyplot as plt

    fig, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    for who, mine in agreement.groupby("who"):
        left.plot(mine["iou"], mine["f1"], marker="o", label=who)
    left.set(xlabel="IoU threshold", ylabel="F1 (all images pooled)", ylim=(0, 1))
    left.grid(alpha=0.3)
    left.legend(fontsize="small")
    right.bar(curve["annotators"] / 7, curve["expert_has_it"], 0.1, color="tab:blue")
    for share, height, n in zip(curve["annotators"] / 7, curve["expert_has_it"], curve["boxes"], strict=True):
        right.text(share, height + 0.02, str(n), ha="center", fontsize=8)
    right.plot([0, 1], [0, 1], color="black", lw=0.8, ls=":")
    right.set(xlabel="share of seven annotators that have the box", ylabel="share that the expert has", ylim=(0, 1.1))
    fig.savefig(path, dpi=110)
    plt.close(fig)
