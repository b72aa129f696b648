"""The tables of a study: cells with their marks, and how they look on a terminal and in LaTeX.

These functions stand below ``Study``, whose methods call them: they know a study by what ``Results`` lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs import check_choice
from mrcalib.metrics import Metric
from mrcalib.study._protocol import Dispute

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Cell",
    "dispute_lines",
    "escaped",
    "latex_of_paper_table",
    "paper_cells",
    "paper_frame",
    "partly_defined",
    "text_of_paper_table",
    "text_of_table",
]

FloatArray = NDArray[np.float64]
Kind = Literal["mean", "pooled"]
TERMINAL_WIDTH = 118
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0"}


class Results(Protocol):
    """What the tables of a study are made of; ``Study`` is one."""

    @property
    def methods(self) -> tuple[str, ...]: ...
    @property
    def metrics(self) -> tuple[Metric, ...]: ...
    @property
    def ids(self) -> tuple[str, ...]: ...
    @property
    def description(self) -> str: ...
    @property
    def volume_unit(self) -> str: ...
    @property
    def level(self) -> float: ...
    @property
    def n_resamples(self) -> int: ...
    @property
    def disputes(self) -> tuple[Dispute, ...]: ...
    @property
    def corrected(self) -> Results | None: ...
    def reference(self) -> str: ...
    def case_values(self, method: str, metric: Metric) -> FloatArray: ...
    def table(self, kind: Kind = "mean") -> pd.DataFrame: ...
    def intervals(self, kind: Kind = "mean") -> pd.DataFrame: ...
    def differences(self, reference: str | None = None, kind: Kind = "mean") -> pd.DataFrame: ...


@dataclass(frozen=True, slots=True)
class Cell:
    """A value as it is displayed, and its marks.

    Attributes
    ----------
    value, low, high : float
        Bootstrap mean and the interval's ends; NaN where not defined.
    text, ends : str
        As displayed: the value, and "[low, high]"; "-" and "" where not defined.
    best, worst, worse : bool
        Among the displayed values of its column; and significantly worse than the reference.
    """

    value: float
    low: float
    high: float
    text: str
    ends: str
    best: bool
    worst: bool
    worse: bool

    @property
    def marks(self) -> str:
        """The marks in words."""
        return " ".join(name for name in ("best", "worst", "worse") if getattr(self, name))


def decimals_of(values: FloatArray, *, finer: bool = False) -> int:
    """Decimals that show a column with three significant digits, whole numbers whole; one more for large ones if finer.

    Examples
    --------
    >>> [decimals_of(np.array(v)) for v in ([0.553, 0.3], [0.0156, 0.0209], [6032.2, 10341.8], [32.7, 48.7], [6.34])]
    [3, 4, 0, 1, 2]
    >>> decimals_of(np.array([6032.2]), finer=True), decimals_of(np.array([0.553]), finer=True)
    (1, 3)
    """
    known = np.abs(values[np.isfinite(values)])
    known = known[known > 0]
    if known.size == 0:
        return 3
    size = int(np.floor(np.log10(np.median(known))))
    return int(np.clip(2 - size, 0, 6)) + (1 if finer and size >= 0 else 0)


def paper_cells(study: Results, *, intervals: bool, reference: str | None) -> dict[tuple[str, str], Cell]:
    """The cells of TwinTrack's tables, by method and name of the metric: bootstrap means, intervals and marks."""
    reference = study.reference() if reference is None else reference
    check_choice("reference", reference, study.methods)
    rows = {(row["method"], row["metric"]): row for row in study.intervals().to_dict("records")}
    verdicts = {
        (row["method"], row["metric"]): row["verdict"] for row in study.differences(reference).to_dict("records")
    }
    cells = {}
    for metric in study.metrics:
        column = {method: rows[method, metric.name] for method in study.methods}
        values = np.array([row["bootstrap_mean"] for row in column.values()], dtype=np.float64)
        places = decimals_of(values, finer=intervals)
        shown = np.array([float(f"{value:.{places}f}") for value in values])
        score = np.abs(shown) if metric.better == "zero" else -shown if metric.better == "higher" else shown
        known = score[~np.isnan(score)]
        differ = known.size > 1 and known.min() < known.max()
        for (method, row), value, s in zip(column.items(), values, score, strict=True):
            low, high = float(row["low"]), float(row["high"])
            cells[method, metric.name] = Cell(
                value=float(value),
                low=low,
                high=high,
                text="-" if np.isnan(value) else f"{value:.{places}f}",
                ends="" if np.isnan(low) else f"[{low:.{places}f}, {high:.{places}f}]",
                best=bool(differ and s == known.min()),
                worst=bool(differ and s == known.max()),
                worse=verdicts.get((method, metric.name), "") == "worse",
            )
    return cells


def partly_defined(study: Results) -> dict[str, int]:
    """Labels of the metrics that some case does not define for some method, with the number of cases that do for all.

    Cases without a value are left out of a mean.
    """
    n_cases = {
        metric.label: int(
            np.all([np.isfinite(study.case_values(method, metric)) for method in study.methods], axis=0).sum()
        )
        for metric in study.metrics
    }
    return {label: n for label, n in n_cases.items() if n < len(study.ids)}


def paper_frame(study: Results, *, intervals: bool, reference: str | None) -> pd.DataFrame:
    """The data frame that ``Study.paper_table`` returns."""
    import pandas as pd

    cells = paper_cells(study, intervals=intervals, reference=reference)
    columns: dict[str, list[float | str]] = {}
    for metric in study.metrics:
        column = [cells[method, metric.name] for method in study.methods]
        columns[metric.label] = [cell.value for cell in column]
        if intervals:
            columns[f"{metric.label} low"] = [cell.low for cell in column]
            columns[f"{metric.label} high"] = [cell.high for cell in column]
        columns[f"{metric.label} marks"] = [cell.marks for cell in column]
    return pd.DataFrame(columns, index=pd.Index(study.methods, name="method"))


def disputed_measures(study: Results) -> tuple[Metric, ...]:
    """The measures whose program's and corrected value differ enough to matter in a case; those of the corrected study."""
    labels = {dispute.measure for dispute in study.disputes}
    return () if study.corrected is None else tuple(m for m in study.corrected.metrics if m.label in labels)


def dispute_lines(study: Results) -> list[str]:
    """A line for each measure on where the program's and the corrected values part, with one case as an example."""
    lines = []
    for label in dict.fromkeys(dispute.measure for dispute in study.disputes):
        alike = [dispute for dispute in study.disputes if dispute.measure == label]
        n_cases = len({dispute.case for dispute in alike})
        first = alike[0]
        lines.append(
            f"{label or 'Other'}: in {n_cases} of {len(study.ids)} cases; such as {first.case}, {first.method}: "
            f"{first.sentence.removeprefix(f'{label}: ')}"
        )
    return lines


def text_of_table(study: Results, kind: Kind) -> str:
    """The table of a study for a terminal, which ``Study.to_text`` returns: best values and verdicts are marked."""
    table = study.table(kind)
    verdicts = study.differences(kind=kind).set_index(["method", "metric"])["verdict"]
    mark = {"better": "+", "worse": "-", "": " "}
    columns = {}
    for metric in (m for m in study.metrics if m.label in table):
        values = table[metric.label].to_numpy()
        score = np.abs(values) if metric.better == "zero" else -values if metric.better == "higher" else values
        best = np.nanmin(score) if not np.isnan(score).all() else np.nan
        digits = _digits(values)
        cells = [
            f"{value:.{digits}f}{'*' if s == best else ' '}{mark[verdicts.get((method, metric.name), '')]}"
            for method, value, s in zip(study.methods, values, score, strict=True)
        ]
        unit = f" {study.volume_unit}" if metric.unit == "mL" else ""
        columns[f"{metric.label}{unit} {ARROWS[metric.better]}"] = cells
    header = "Mean over cases" if kind == "mean" else "All voxels pooled"
    title = f"{header}; * best, + better and - worse than {study.methods[0]} ({study.level:.0%} interval excludes 0)"
    return "\n".join([title, *_folded(study.methods, columns)])


def _folded(methods: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines of a table whose columns are folded into blocks that a terminal can show, an empty line before each."""
    left = max(map(len, methods))
    widths = {name: max(len(name), *map(len, cells)) for name, cells in columns.items()}
    blocks: list[list[str]] = [[]]
    used = 0
    for name, width in widths.items():
        if blocks[-1] and used + width + 2 > TERMINAL_WIDTH - left:
            blocks.append([])
            used = 0
        blocks[-1].append(name)
        used += width + 2
    lines = []
    for block in blocks:
        lines += ["", " " * left + "".join(f"  {name:>{widths[name]}}" for name in block)]
        for i, method in enumerate(methods):
            lines.append(f"{method:<{left}}" + "".join(f"  {columns[name][i]:>{widths[name]}}" for name in block))
    return lines


def _digits(values: FloatArray) -> int:
    """Decimals that show three significant digits of the smallest of the larger values."""
    known = np.abs(values[~np.isnan(values)])
    known = known[known > 0]
    size = np.floor(np.log10(np.median(known))) if known.size else 0.0
    return int(np.clip(2 - size, 0, 6))


def text_of_paper_table(study: Results, *, intervals: bool, reference: str | None) -> str:
    """The table of a paper for a terminal, which ``Study.to_paper_text`` returns."""
    reference = study.reference() if reference is None else reference
    beside = disputed_measures(study)
    cells = paper_cells(study, intervals=intervals, reference=reference)
    corrected = (
        paper_cells(study.corrected, intervals=intervals, reference=reference)
        if study.corrected is not None and beside
        else {}
    )
    columns: dict[str, list[str]] = {}
    for metric in study.metrics:
        for suffix, shown in (
            ("", cells),
            (" corrected", corrected if metric.name in {m.name for m in beside} else {}),
        ):
            if shown:
                unit = f" {metric.unit}" if metric.unit else ""
                columns[f"{metric.label}{suffix}{unit} {ARROWS[metric.better]}"] = [
                    _paper_cell(shown[method, metric.name], intervals=intervals) for method in study.methods
                ]
    what = f"bootstrap means{f' with {study.level:.0%} intervals' if intervals else ''}"
    head = f"Table {2 if intervals else 1}: {what}; * best, ! worst, † significantly worse than {reference}"
    lines = [head, *(["corrected: beside the program's values where these are not to be trusted"] if beside else [])]
    return "\n".join([*lines, *(line.rstrip() for line in _folded(study.methods, columns))])


def _paper_cell(cell: Cell, *, intervals: bool) -> str:
    rank = "*" if cell.best else "!" if cell.worst else " "
    return f"{cell.text}{rank}{'†' if cell.worse else ' '}" + (f" {cell.ends}" if intervals else "")


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "[": "{[}",  # after the end of a row it would be a length
    "*": "{*}",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "°": r"$^\circ$",
    "³": r"$^3$",
    "→": r"$\to$",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
}
_LATEX_ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "zero": r"$\to 0$"}
_ROWS = {"none": "None (uncalibrated)"}
_UNITS = {"°": "degrees"}


def escaped(text: str) -> str:
    r"""The text with each character that LaTeX would read as a command escaped.

    Examples
    --------
    >>> escaped("50% of A&B_1 in mm³")
    '50\\% of A\\&B\\_1 in mm$^3$'
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def latex_of_paper_table(study: Results, *, intervals: bool, reference: str | None, caption: str | None) -> str:
    """The table of a paper in LaTeX, which ``Study.to_latex`` returns."""
    reference = study.reference() if reference is None else reference
    cells = paper_cells(study, intervals=intervals, reference=reference)
    header = " & ".join(
        [
            "Calibration target",
            *(f"{escaped(m.label)} {_LATEX_ARROWS[m.better]}" for m in study.metrics),
        ]
    )
    rows = [
        " & ".join(
            [
                escaped(_ROWS.get(method, method[:1].upper() + method[1:])),
                *(_latex_cell(cells[method, metric.name], intervals=intervals) for metric in study.metrics),
            ]
        )
        for method in study.methods
    ]
    lines = [
        r"% needs \usepackage{booktabs}; \usepackage{graphicx} for \resizebox",
        r"\begin{table*}[t]",
        r"\centering",
        r"\caption{" + (_caption(study, reference, intervals=intervals) if caption is None else caption) + "}",
        r"\resizebox{\linewidth}{!}{%",
        r"\begin{tabular}{l" + "c" * len(study.metrics) + "}",
        r"\toprule",
        header + r" \\",
        r"\midrule",
        *(row + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_cell(cell: Cell, *, intervals: bool) -> str:
    if cell.text == "-":
        return "--"
    value = cell.text.replace("-", r"$-$")
    if cell.best:
        value = rf"\textbf{{{value}}}"
    if cell.worst:
        value = rf"\underline{{{value}}}"
    if cell.worse:
        value += r"$^\dagger$"
    if intervals and cell.ends:
        ends = cell.ends.replace("-", "$-$")
        return rf"\begin{{tabular}}{{@{{}}c@{{}}}}{value} \\ {{\scriptsize {ends}}}\end{{tabular}}"
    return value


def _caption(study: Results, reference: str, *, intervals: bool) -> str:
    units = {metric.unit: _UNITS.get(metric.unit, metric.unit) for metric in study.metrics if metric.unit}
    notes = [f"{', '.join(m.label for m in study.metrics if m.unit == unit)} in {name}" for unit, name in units.items()]
    notes += [f"{label} is defined in {n} of the cases" for label, n in partly_defined(study).items()]
    sentences = [
        f"{study.description}.",
        f"Values are bootstrap means over {study.n_resamples} resamples"
        + (f" with {study.level:.0%} intervals" if intervals else "")
        + "".join(f"; {what}" for what in notes)
        + ".",
    ]
    marks = (
        rf" Bold: best, underlined: worst displayed value of a column; $\dagger$: significantly worse than "
        rf"{escaped(reference)} ({escaped(f'{study.level:.0%}')} interval of the paired difference excludes 0)."
    )
    return escaped(" ".join(sentences)) + marks
