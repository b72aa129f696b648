"""A study's table for a terminal: columns folded to its width, the best value and the verdicts marked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.study._paper import Cell, cells_of, disputed

if TYPE_CHECKING:
    from mrcalib.study._study import Study

__all__ = ["text_of_paper_table", "text_of_study"]

FloatArray = NDArray[np.float64]
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0"}


def text_of_study(study: Study, kind: Literal["mean", "pooled"]) -> str:
    """What ``Study.to_text`` returns."""
    table = study.table(kind)
    told = study.differences(kind=kind).set_index(["method", "metric"])["verdict"]
    mark = {"better": "+", "worse": "-", "": " "}
    columns = {}
    for metric in (m for m in study.metrics if m.label in table):
        values = table[metric.label].to_numpy()
        score = np.abs(values) if metric.better == "zero" else -values if metric.better == "higher" else values
        best = np.nanmin(score) if not np.isnan(score).all() else np.nan
        digits = _digits(values)
        cells = [
            f"{value:.{digits}f}{'*' if s == best else ' '}{mark[told.get((method, metric.name), '')]}"
            for method, value, s in zip(study.methods, values, score, strict=True)
        ]
        unit = f" {study.volume_unit}" if metric.unit == "mL" else ""
        columns[f"{metric.label}{unit} {ARROWS[metric.better]}"] = cells
    header = "Mean over cases" if kind == "mean" else "All voxels pooled"
    width = max(map(len, study.methods))
    lines = [
        header + "; * best, + better and - worse than " + study.methods[0] + f" ({study.level:.0%} interval excludes 0)"
    ]
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    for block in _fold(list(columns), widths, 118 - width):
        lines.append("")
        lines.append(" " * width + "".join(f"  {name:>{widths[name]}}" for name in block))
        for i, method in enumerate(study.methods):
            lines.append(f"{method:<{width}}" + "".join(f"  {columns[name][i]:>{widths[name]}}" for name in block))
    return "\n".join(lines)


def _digits(values: FloatArray) -> int:
    """Decimals that show three significant digits of the smallest of the larger values."""
    known = np.abs(values[~np.isnan(values)])
    known = known[known > 0]
    size = np.floor(np.log10(np.median(known))) if known.size else 0.0
    return int(np.clip(2 - size, 0, 6))


def _fold(names: list[str], widths: dict[str, int], room: int) -> list[list[str]]:
    """Columns in blocks that fit ``room`` characters."""
    blocks: list[list[str]] = [[]]
    used = 0
    for name in names:
        if blocks[-1] and used + widths[name] + 2 > room:
            blocks.append([])
            used = 0
        blocks[-1].append(name)
        used += widths[name] + 2
    return blocks


def text_of_paper_table(study: Study, *, intervals: bool, reference: str | None) -> str:
    """What ``Study.to_paper_text`` returns."""
    reference = study.reference() if reference is None else reference
    beside = disputed(study)
    cells = cells_of(study, intervals=intervals, reference=reference)
    meant = (
        cells_of(study.corrected, intervals=intervals, reference=reference)
        if study.corrected is not None and beside
        else {}
    )
    columns: dict[str, list[str]] = {}
    for metric in study.metrics:
        for suffix, of in (("", cells), (" corrected", meant if metric.name in {m.name for m in beside} else {})):
            if of:
                unit = f" {metric.unit}" if metric.unit else ""
                columns[f"{metric.label}{suffix}{unit} {ARROWS[metric.better]}"] = [
                    _paper_cell(of[method, metric.name], intervals=intervals) for method in study.methods
                ]
    what = f"bootstrap means{f' with {study.level:.0%} intervals' if intervals else ''}"
    head = f"Table {2 if intervals else 1}: {what}; * best, ! worst, † significantly worse than {reference}"
    lines = [head, *(["corrected: beside the program's values where these are not to be trusted"] if beside else [])]
    width = max(map(len, study.methods))
    widths = {name: max(len(name), *map(len, columns[name])) for name in columns}
    for block in _fold(list(columns), widths, 118 - width):
        lines.append("")
        lines.append((" " * width + "".join(f"  {name:>{widths[name]}}" for name in block)).rstrip())
        for i, method in enumerate(study.methods):
            lines.append(
                (f"{method:<{width}}" + "".join(f"  {columns[name][i]:>{widths[name]}}" for name in block)).rstrip()
            )
    return "\n".join(lines)


def _paper_cell(cell: Cell, *, intervals: bool) -> str:
    rank = "*" if cell.best else "!" if cell.worst else " "
    return f"{cell.text}{rank}{'†' if cell.worse else ' '}" + (f" {cell.ends}" if intervals else "")
