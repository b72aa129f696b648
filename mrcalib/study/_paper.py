"""The cells of TwinTrack's tables: bootstrap means, intervals, and what is marked in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs import check_choice

if TYPE_CHECKING:
    import pandas as pd

    from mrcalib.metrics import Metric
    from mrcalib.study._study import Study

__all__ = ["Cell", "cells_of", "decimals_of", "dispute_lines", "disputed", "paper_frame", "partly_defined"]

FloatArray = NDArray[np.float64]


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


def cells_of(study: Study, *, intervals: bool, reference: str | None) -> dict[tuple[str, str], Cell]:
    """The cells by method and name of the metric."""
    reference = study.reference() if reference is None else reference
    check_choice("reference", reference, study.methods)
    told = {(row["method"], row["metric"]): row for row in study.intervals().to_dict("records")}
    verdicts = {
        (row["method"], row["metric"]): row["verdict"] for row in study.differences(reference).to_dict("records")
    }
    cells = {}
    for metric in study.metrics:
        of = {method: told[method, metric.name] for method in study.methods}
        values = np.array([row["bootstrap_mean"] for row in of.values()], dtype=np.float64)
        places = decimals_of(values, finer=intervals)
        shown = np.array([float(f"{value:.{places}f}") for value in values])
        score = np.abs(shown) if metric.better == "zero" else -shown if metric.better == "higher" else shown
        known = score[~np.isnan(score)]
        differ = known.size > 1 and known.min() < known.max()
        for (method, row), value, s in zip(of.items(), values, score, strict=True):
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


def partly_defined(study: Study) -> dict[str, int]:
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


def paper_frame(study: Study, *, intervals: bool, reference: str | None) -> pd.DataFrame:
    """What ``Study.paper_table`` returns."""
    import pandas as pd

    cells = cells_of(study, intervals=intervals, reference=reference)
    columns: dict[str, list[float | str]] = {}
    for metric in study.metrics:
        column = [cells[method, metric.name] for method in study.methods]
        columns[metric.label] = [cell.value for cell in column]
        if intervals:
            columns[f"{metric.label} low"] = [cell.low for cell in column]
            columns[f"{metric.label} high"] = [cell.high for cell in column]
        columns[f"{metric.label} marks"] = [cell.marks for cell in column]
    return pd.DataFrame(columns, index=pd.Index(study.methods, name="method"))


def disputed(study: Study) -> tuple[Metric, ...]:
    """The measures whose program's and corrected value differ enough to matter in a case; those of the corrected study."""
    labels = {dispute.measure for dispute in study.disputes}
    return () if study.corrected is None else tuple(m for m in study.corrected.metrics if m.label in labels)


def dispute_lines(study: Study) -> list[str]:
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
