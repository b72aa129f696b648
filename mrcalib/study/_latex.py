"""TwinTrack's tables for a manuscript."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrcalib.study._paper import Cell, cells_of, partly_defined

if TYPE_CHECKING:
    from mrcalib.study._study import Study

__all__ = ["escaped", "latex_of_paper_table"]

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
_ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "zero": r"$\to 0$"}
_ROWS = {"none": "None (uncalibrated)"}
_UNITS = {"°": "degrees"}


def escaped(text: str) -> str:
    r"""Text with what LaTeX reads as commands put into words.

    Examples
    --------
    >>> escaped("50% of A&B_1 in mm³")
    '50\\% of A\\&B\\_1 in mm$^3$'
    """
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def latex_of_paper_table(study: Study, *, intervals: bool, reference: str | None, caption: str | None) -> str:
    """What ``Study.to_latex`` returns."""
    reference = study.reference() if reference is None else reference
    cells = cells_of(study, intervals=intervals, reference=reference)
    header = " & ".join(
        [
            "Calibration target",
            *(f"{escaped(m.label)} {_ARROWS[m.better]}" for m in study.metrics),
        ]
    )
    rows = [
        " & ".join(
            [
                escaped(_ROWS.get(method, method[:1].upper() + method[1:])),
                *(_cell(cells[method, metric.name], intervals=intervals) for metric in study.metrics),
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


def _cell(cell: Cell, *, intervals: bool) -> str:
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


def _caption(study: Study, reference: str, *, intervals: bool) -> str:
    units = {metric.unit: _UNITS.get(metric.unit, metric.unit) for metric in study.metrics if metric.unit}
    told = [f"{', '.join(m.label for m in study.metrics if m.unit == unit)} in {name}" for unit, name in units.items()]
    told += [f"{label} is defined in {n} of the cases" for label, n in partly_defined(study).items()]
    said = [
        f"{study.description}.",
        f"Values are bootstrap means over {study.n_resamples} resamples"
        + (f" with {study.level:.0%} intervals" if intervals else "")
        + "".join(f"; {what}" for what in told)
        + ".",
    ]
    marks = (
        rf" Bold: best, underlined: worst displayed value of a column; $\dagger$: significantly worse than "
        rf"{escaped(reference)} ({escaped(f'{study.level:.0%}')} interval of the paired difference excludes 0)."
    )
    return escaped(" ".join(said)) + marks
