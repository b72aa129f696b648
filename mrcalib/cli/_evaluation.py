"""The scores of all cases that ``mrcalib evaluate`` found: means, intervals, tables and files."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import ARROWS, Console, decimals, number, table
from mrcalib.cli._files import write_command, write_csv, write_json
from mrcalib.cli._protocol import ProtocolScores, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mrcalib.io import Case

__all__ = ["CALIBRATED", "GIVEN", "Evaluation", "Score"]

GIVEN, CALIBRATED, CHANGE = "as given", "calibrated", "change"


@dataclass(frozen=True, slots=True)
class Score:
    """What a column of values is: its name, its label, which way is better, its unit."""

    name: str
    label: str
    better: str
    unit: str = ""
    shown: bool = True


class Evaluation:
    """The scores of all cases: means, intervals, tables."""

    def __init__(
        self,
        cases: Sequence[Case],
        by_case: Mapping[str, Scores],
        scores: Sequence[Score],
        args: argparse.Namespace,
        protocol: ProtocolScores | None,
    ) -> None:
        import numpy as np

        from mrcalib.resampling import bootstrap_counts

        self.cases = [case for case in cases if case.id in by_case]
        self.maps = list(next(iter(by_case.values())))
        self._scores = {score.name: score for score in scores}
        self._protocol = protocol
        self._level = args.level
        self._n_resamples = args.n_resamples
        self._counts = bootstrap_counts([str(case.group) for case in self.cases], args.n_resamples, args.random_state)
        self.values: dict[tuple[str, str], NDArray[np.float64]] = {
            (name, which): np.array([by_case[case.id][which].get(name, np.nan) for case in self.cases])
            for name in self._scores
            for which in self.maps
        }
        if len(self.maps) == 2:
            self._columns = [*self.maps, CHANGE]
            self._under = self.values | {
                (name, CHANGE): self.values[name, CALIBRATED] - self.values[name, GIVEN] for name in self._scores
            }
        else:
            self._columns, self._under = self.maps, self.values

    def better(self, name: str) -> str:
        """Which way a score is better."""
        return self._scores[name].better

    def mean(self, name: str) -> float:
        """The mean over cases of the last map's score."""
        return self._row(name, self.maps[-1])[0]

    def _row(self, name: str, column: str) -> tuple[float, float, float, int]:
        """Mean, interval and number of cases that define the score."""
        import numpy as np

        from mrcalib.resampling import percentile_interval, weighted_means

        values = self._under[name, column]
        known = values[~np.isnan(values)]
        if not known.size:
            return math.nan, math.nan, math.nan, 0
        low, high = percentile_interval(weighted_means(values, self._counts), self._level)
        return float(known.mean()), float(low), float(high), known.size

    def rows(self) -> list[dict[str, Any]]:
        """One row for each score and map, and for the change."""
        keys = ("mean", "low", "high", "n_cases")
        return [
            {"metric": name, "map": column} | dict(zip(keys, self._row(name, column), strict=True))
            for name in self._scores
            for column in self._columns
        ]

    def per_case(self) -> list[dict[str, Any]]:
        """One row for each case and map."""
        return [
            {"case": case.id, "group": case.group, "map": which}
            | {name: float(self.values[name, which][i]) for name in self._scores}
            | ({} if self._protocol is None else {"notes": " ".join(self._protocol.notes(case.id, which))})
            for i, case in enumerate(self.cases)
            for which in self.maps
        ]

    def write_metrics_json(self, path: Path) -> None:
        """Write the scores of the last map, of a protocol those of its program, as grand-challenge.org reads them."""
        from mrcalib.io import write_metrics_json

        names = [name for name, score in self._scores.items() if score.shown]
        if self._protocol is not None:
            names = [name for name in self._scores if self._protocol.is_official(name)]
        scores = {
            case.id: {name: float(self.values[name, self.maps[-1]][i]) for name in names}
            for i, case in enumerate(self.cases)
        }
        write_metrics_json(path, scores)

    def describe(self) -> str:
        """Cases and intervals in a line."""
        n_groups = len({case.group for case in self.cases})
        return (
            f"{len(self.cases)} cases in {n_groups} groups; mean over cases, {self._level:.0%} interval of "
            f"{self._n_resamples} resamples of groups"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "description": self.describe(),
            "metrics": [
                {"name": s.name, "label": s.label, "better": s.better, "unit": s.unit} for s in self._scores.values()
            ],
            **({} if self._protocol is None else {"protocol": self._protocol.protocol.name}),
            "summary": self.rows(),
            "per_case": self.per_case(),
        }

    def write(self, folder: Path, words: Sequence[str]) -> None:
        """Write tables, JSON and the command line."""
        import pandas as pd

        write_csv(folder / "summary.csv", pd.DataFrame(self.rows()))
        write_csv(folder / "per_case.csv", pd.DataFrame(self.per_case()))
        write_json(folder / "evaluation.json", self.to_dict())
        write_command(folder / "command.txt", words)

    def report(self, console: Console) -> None:
        """Print the table."""
        console.show(f"{self.describe()}\n")
        lines = []
        for name, score in self._scores.items():
            if not score.shown:
                continue
            found = [self._row(name, column) for column in self._columns]
            places = decimals([abs(row[0]) for row in found])
            unit = f" {score.unit}" if score.unit else ""
            cells = [
                f"{number(mean, places)} [{number(low, places)}, {number(high, places)}]"
                + (f" ({n} of {len(self.cases)} cases)" if 0 < n < len(self.cases) else "")
                for mean, low, high, n in found
            ]
            lines.append([f"{score.label}{unit} {ARROWS[score.better]}", *cells])
        console.show(table(["", *self._columns], lines))
        if self._protocol is not None:
            means = {which: {name: self._row(name, which)[0] for name in self._scores} for which in self.maps}
            self._protocol.report(means, console)
