"""The tables that are made of measurements: one row for each, and pages for people."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import goals

WRONG = "**WRONG**"


def flattened(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each piece of work, size, order and number of threads, with its ratios."""
    flat = []
    for part in parts.values():
        if "group" not in part:
            continue
        rows = part["rows"]
        bases = [row for row in rows if row["kind"] == "base" and row["seconds"]]
        peers = {row["work"]: row for row in rows if row["kind"] == "peer" and row["seconds"]}
        right = {name: row for name, row in peers.items() if row["right"]}
        best = min(right, key=lambda name: np.median(right[name]["seconds"]), default="")
        for row in rows:
            s = row["seconds"]
            line = {
                "group": part["group"], "order": part["order"], "n": row["n"], "work": row["work"], "kind": row["kind"],
                "threads": row["threads"], "repetitions": len(s), "seconds": "", "low": "", "high": "",
                "ns_per_item": "", "times_base": "", "best_peer": "", "times_faster": "",
                "difference": row["difference"], "right": row["right"], "said": row["said"],
            }  # fmt: skip
            if s:
                median = float(np.median(s))
                line |= {"seconds": median, "low": min(s), "high": max(s), "ns_per_item": 1e9 * median / row["n"]}
                under = [float(np.median(base["seconds"])) for base in bases if base["threads"] <= row["threads"]]
                if under:
                    line["times_base"] = median / min(under)
                if best and row["kind"] == "mrcalib":
                    line |= {"best_peer": best, "times_faster": float(np.median(right[best]["seconds"])) / median}
            flat.append(line)
    return flat


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows of the same columns, floats to five digits."""
    if not rows:
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})


def page(parts: dict[str, dict[str, Any]], flat: list[dict[str, Any]]) -> str:
    """The whole report."""
    text = [
        "# Speed",
        "",
        "Made by `benchmarks/speed/run.py`; what it means and how to run it is in benchmarks/README.md.",
        "",
    ]
    text += [*_circumstances(parts), "", "## Goals", "", *goals.table(parts, flat)]
    titles = {part["group"]: part["title"] for part in parts.values() if "group" in part}
    for group, title in titles.items():
        text += ["", f"## {title}", "", *_table([row for row in flat if row["group"] == group])]
    if "memory" in parts:
        text += ["", "## Memory", "", *_memory(parts["memory"]["rows"])]
    if "start" in parts:
        text += ["", "## First use", "", "| new process | seconds | spread |", "|---|---|---|"]
        text += [
            f"| {r['work']} | {r['median']:.3f} | {r['low']:.3f} to {r['high']:.3f} |" for r in parts["start"]["rows"]
        ]
    if "growth" in parts:
        text += [
            "",
            "## Growth",
            "",
            "growth.csv; ![seconds against voxels, raters, cases, bins and threads](growth.png)",
        ]
    return "\n".join(text) + "\n"


def _circumstances(parts: dict[str, dict[str, Any]]) -> list[str]:
    """Machine, versions and settings; each set of them once, with what was measured under it."""
    under: dict[str, list[str]] = {}
    for key, part in parts.items():
        where = part["taken"]
        versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
        threads = ", ".join(f"{name}={value}" for name, value in where["threads"].items())
        setting = f"{where['machine']}; Python {where['python']}, {versions}; {threads}; commit {where['commit']}"
        under.setdefault(setting, []).append(f"{key} ({where['time']})")
    lines = []
    for setting, keys in under.items():
        times = sorted(key.rsplit("(", 1)[1].rstrip(")") for key in keys)
        what = f"{len(keys)} parts" if len(under) == 1 else "; ".join(keys)
        lines.append(f"- {setting}: {what}, {times[0]} to {times[-1]}")
    shares = next((part["shares"] for part in reversed(parts.values()) if "shares" in part), {})
    lines.append(
        "- shares of the voxels: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in shares.items())
    )
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| voxels | order | work | threads | ns each, median (spread) | x base | x faster than the best right peer | answer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["n"], r["order"])):
        time_ = faster = times = ""
        if row["seconds"] != "":
            low, high = (1e9 * row[end] / row["n"] for end in ("low", "high"))
            time_ = f"{row['ns_per_item']:.3g} ({low:.3g} to {high:.3g}, {row['repetitions']})"
            times = f"{row['times_base']:.2f}" if row["times_base"] != "" else ""
            faster = f"{row['times_faster']:.1f} ({row['best_peer']})" if row["times_faster"] != "" else ""
        name = f"**{row['work']}**" if row["kind"] == "mrcalib" else row["work"]
        said = f"{WRONG} {row['said']}" if row["right"] is False else row["said"]
        lines.append(
            f"| {row['n']:,} | {row['order']} | {name} | {row['threads']} | {time_} | {times} | {faster} | {said} |"
        )
    return lines


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "Peak extra, in a process of its own; what is returned is reported apart.",
        "",
        "| work | cases | voxels | peak extra, MB | of which returned, MB | bytes a voxel beyond that |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        extra = (row["bytes"] - row["returned"]) / row["voxels"]
        lines.append(
            f"| {row['work']} | {row['cases']} | {row['voxels']:,} | {row['bytes'] / 1e6:.1f} | {row['returned'] / 1e6:.1f} "
            f"| {extra:.2f} |"
        )
    return lines
