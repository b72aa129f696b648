"""What a comparison found: sums of every metric by method and case, and the tables made of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators import Calibrator
from mrcalib.inputs import check_choice
from mrcalib.metrics import METRICS, Metric
from mrcalib.registry import normalized
from mrcalib.resampling import (
    bca_interval,
    bootstrap_counts,
    jackknife_counts,
    percentile_interval,
    weighted_means,
    weighted_values,
)
from mrcalib.study._protocol import Dispute
from mrcalib.study._tables import Kind, latex_of_paper_table, paper_frame, text_of_paper_table, text_of_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["KINDS", "Kind", "Study"]

FloatArray = NDArray[np.float64]
KINDS: tuple[Kind, ...] = ("mean", "pooled")
ROUNDING = 1e-9  # of the reference: what differs by less, as a volume that is kept does, is the same


@dataclass(frozen=True, eq=False)
class Study:
    """What ``compare`` found: the sums of every metric for each method and case, and the maps.

    Attributes
    ----------
    methods : tuple of str
        The first one is the baseline of differences unless another is named.
    metrics : tuple of Metric
    ids, groups : tuple of str
        Of the cases.
    calibrators : dict of str to Calibrator
        Each method fitted to all cases: what to save and apply.
    statistics : dict of (method, metric name) to ndarray of shape (n_cases, k)
        Sums over each case's voxels, at the probabilities of the map fitted without the case's fold.
    n_resamples : int
    level : float
    interval : {"percentile", "bca"}
    random_state : int or None
        Seed of the resamples.
    description : str
        Cases, raters, voxels and protocol in a line.
    volume_unit : str
        "mL", or "voxels" where the spacing was not known.
    curve : Metric
        Whose ``statistics`` reliability diagrams are drawn from; it is in no table.
    protocol : str
        Name of the challenge's protocol whose measures these are; "" for ordinary metrics.
    corrected : Study or None
        Of a protocol: its measures as they should be, where this study has what the official program says.
    tallied : Study or None
        Of a protocol: the ordinary metrics of the same methods and cases, with the curves of reliability diagrams.
    disputes : tuple of Dispute
        Case, method, measure and sentence wherever the program's and the corrected value differ enough to matter.
    held_out : mapping of str to mapping of str to Calibrator
        Of a protocol: each case's maps by method, fitted without its group; to be applied, not to be fitted further.
    """

    methods: tuple[str, ...]
    metrics: tuple[Metric, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    calibrators: dict[str, Calibrator]
    statistics: dict[tuple[str, str], FloatArray]
    n_resamples: int
    level: float
    interval: str
    random_state: int | None
    description: str
    volume_unit: str
    curve: Metric
    protocol: str = ""
    corrected: Study | None = None
    tallied: Study | None = None
    disputes: tuple[Dispute, ...] = ()
    held_out: Mapping[str, Mapping[str, Calibrator]] = field(default_factory=dict, repr=False)
    _resampled: dict[Any, FloatArray] = field(default_factory=dict, init=False, repr=False)

    @property
    def sound(self) -> Study | None:
        """The old name of ``corrected``; it goes in the next version."""
        warnings.warn("Study.sound is now called Study.corrected.", DeprecationWarning, stacklevel=2)
        return self.corrected

    # Values -----------------------------------------------------------------------------------------------------------

    def metric(self, name: str) -> Metric:
        """The metric of the study, or its ``curve``, that this name, label or name in Python stands for.

        Raises
        ------
        ValueError
            If there is none; names all.
        """
        for metric in (*self.metrics, self.curve):
            if normalized(name) in map(normalized, (metric.name, metric.label)):
                return metric
        if name in METRICS and METRICS.canonical(name) in [metric.name for metric in self.metrics]:
            return self.metric(METRICS.canonical(name))
        msg = f"The study has no metric {name!r}; it has {', '.join(m.name for m in (*self.metrics, self.curve))}."
        raise ValueError(msg)

    def case_values(self, method: str, metric: Metric) -> FloatArray:
        """The metric of each case, of shape (n_cases,); nan where a case does not define it."""
        return metric.value(self.statistics[method, metric.name])

    def _under(self, method: str, metric: Metric, kind: Kind, counts: FloatArray) -> FloatArray:
        """The metric under each row of counts of cases."""
        if kind == "mean":
            return weighted_means(self.case_values(method, metric), counts)
        if not metric.poolable:
            return np.full(len(counts), np.nan)
        statistics = self.statistics[method, metric.name]
        return weighted_values(metric.value, statistics, counts, resampler=metric.resampler)

    def _estimate(self, method: str, metric: Metric, kind: Kind) -> float:
        return float(self._under(method, metric, kind, np.ones((1, len(self.ids))))[0])

    def _samples(self, method: str, metric: Metric, kind: Kind) -> FloatArray:
        """The metric of each bootstrap resample, computed once; the resamples of all methods are the same, and so paired."""
        key = method, metric.name, kind
        if key not in self._resampled:
            self._resampled[key] = self._under(method, metric, kind, self._counts())
        return self._resampled[key]

    def _counts(self) -> FloatArray:
        if "counts" not in self._resampled:
            self._resampled["counts"] = bootstrap_counts(self.groups, self.n_resamples, self.random_state)
        return self._resampled["counts"]

    def _left_out(self, method: str, metric: Metric, kind: Kind) -> FloatArray:
        """The metric with each group left out."""
        return self._under(method, metric, kind, jackknife_counts(self.groups))

    def _interval(
        self, samples: FloatArray, estimate: float, jackknife: Callable[[], FloatArray]
    ) -> tuple[float, float]:
        if self.interval == "bca":
            low, high = bca_interval(samples, estimate, jackknife(), self.level)
        else:
            low, high = percentile_interval(samples, self.level)
        return float(low), float(high)

    def _difference(
        self, method: str, reference: str, metric: Metric, kind: Kind, counts: FloatArray | None
    ) -> FloatArray:
        """The paired difference under each row of counts of cases, or of each bootstrap resample (None)."""
        if kind == "mean":
            ours, theirs = self.case_values(method, metric), self.case_values(reference, metric)
            lacking = np.isnan(ours) | np.isnan(theirs)
            rows = self._counts() if counts is None else counts
            one, other = (weighted_means(np.where(lacking, np.nan, values), rows) for values in (ours, theirs))
        elif counts is None:
            one, other = self._samples(method, metric, kind), self._samples(reference, metric, kind)
        else:
            one, other = self._under(method, metric, kind, counts), self._under(reference, metric, kind, counts)
        return np.abs(one) - np.abs(other) if metric.better == "zero" else one - other

    # Tables -----------------------------------------------------------------------------------------------------------

    def per_case(self) -> pd.DataFrame:
        """One row for each case, method and metric: columns case, group, method, metric, value."""
        import pandas as pd

        parts = [
            pd.DataFrame(
                {
                    "case": self.ids,
                    "group": self.groups,
                    "method": method,
                    "metric": metric.name,
                    "value": self.case_values(method, metric),
                }
            )
            for method in self.methods
            for metric in self.metrics
        ]
        return pd.concat(parts, ignore_index=True)

    def table(self, kind: Kind = "mean") -> pd.DataFrame:
        """Methods by metrics: the mean over cases, or the metric of all voxels pooled (TwinTrack's Table 1).

        Parameters
        ----------
        kind : {"mean", "pooled"}, default="mean"
            Metrics that cannot be pooled are not in the pooled table.
        """
        import pandas as pd

        check_choice("kind", kind, KINDS)
        shown = [m for m in self.metrics if kind == "mean" or m.poolable]
        values = {m.label: [self._estimate(method, m, kind) for method in self.methods] for m in shown}
        return pd.DataFrame(values, index=pd.Index(self.methods, name="method"))

    def intervals(self, kind: Kind = "mean") -> pd.DataFrame:
        """One row for each method and metric: estimate, mean over resamples, low and high (TwinTrack's Table 2)."""
        import pandas as pd

        check_choice("kind", kind, KINDS)
        rows = []
        for method in self.methods:
            for metric in self.metrics:
                if kind == "pooled" and not metric.poolable:
                    continue
                estimate = self._estimate(method, metric, kind)
                samples = self._samples(method, metric, kind)
                low, high = self._interval(samples, estimate, partial(self._left_out, method, metric, kind))
                known = samples[~np.isnan(samples)]
                rows.append((method, metric.name, kind, estimate, known.mean() if known.size else np.nan, low, high))
        return pd.DataFrame(rows, columns=["method", "metric", "kind", "estimate", "bootstrap_mean", "low", "high"])

    def differences(self, reference: str | None = None, kind: Kind = "mean") -> pd.DataFrame:
        """Paired differences of every method to ``reference``, with a verdict where the interval excludes 0.

        Parameters
        ----------
        reference : str, optional
            A method; the first by default.
        kind : {"mean", "pooled"}, default="mean"
            Of means over cases, or of all voxels pooled.

        Returns
        -------
        DataFrame
            Columns method, metric, kind, difference, low, high and verdict: "better", "worse" or "" (no verdict). For a
            signed bias it is the absolute value that is compared. A mean over cases is of those that define the metric for
            both methods.
        """
        import pandas as pd

        check_choice("kind", kind, KINDS)
        reference = self.methods[0] if reference is None else reference
        check_choice("reference", reference, self.methods)
        left_out = jackknife_counts(self.groups)
        rows = []
        for metric in self.metrics:
            if kind == "pooled" and not metric.poolable:
                continue
            for method in self.methods:
                if method == reference:
                    continue
                values = partial(self._difference, method, reference, metric, kind)
                difference = float(values(np.ones((1, len(self.ids))))[0])
                low, high = self._interval(values(None), difference, partial(values, left_out))
                sign = -1.0 if metric.better == "higher" else 1.0
                rounding = ROUNDING * abs(self._estimate(reference, metric, kind))
                verdict = (
                    "worse"
                    if min(sign * low, sign * high) > rounding
                    else "better"
                    if max(sign * low, sign * high) < -rounding
                    else ""
                )
                rows.append((method, metric.name, kind, difference, low, high, verdict))
        return pd.DataFrame(rows, columns=["method", "metric", "kind", "difference", "low", "high", "verdict"])

    def trade_offs(self, reference: str | None = None, kind: Kind = "mean") -> list[str]:
        """A sentence, with sizes, on each method that wins on one metric and significantly loses on another."""
        base = self.methods[0] if reference is None else reference
        verdicts = self._verdicts(reference, kind)
        return [
            f"{method} is better than {base} on {_changes(found['better'])} but worse on {_changes(found['worse'])}."
            for method, found in verdicts.items()
            if found["better"] and found["worse"]
        ]

    def unharmed(self, reference: str | None = None, kind: Kind = "mean") -> tuple[str, ...]:
        """The methods that win on some metric against ``reference`` and significantly lose on none."""
        verdicts = self._verdicts(reference, kind)
        return tuple(method for method, found in verdicts.items() if found["better"] and not found["worse"])

    def _verdicts(self, reference: str | None, kind: Kind) -> dict[str, dict[str, dict[str, float]]]:
        """By method and verdict: the differences, by the metric's label."""
        label = {metric.name: metric.label for metric in self.metrics}
        found: dict[str, dict[str, dict[str, float]]] = {}
        for row in self.differences(reference, kind).to_dict("records"):
            mine = found.setdefault(row["method"], {"better": {}, "worse": {}, "": {}})
            mine[row["verdict"]][label[row["metric"]]] = row["difference"]
        return found

    def to_text(self, kind: Kind = "mean") -> str:
        """The table for a terminal.

        The best value of a metric is marked ``*``, one significantly better than the first method ``+``, or worse ``-``.
        """
        return text_of_table(self, kind)

    def reference(self) -> str:
        """The method that paper tables measure degradation against: TwinTrack's, else "MHR", else the first one."""
        return next((name for name in ("TwinTrack", "MHR") if name in self.methods), self.methods[0])

    def paper_table(self, *, intervals: bool = False, reference: str | None = None) -> pd.DataFrame:
        """TwinTrack's Table 1, or 2 with intervals [1]_: methods by metrics, bootstrap means over cases.

        Parameters
        ----------
        intervals : bool, default=False
            Also the ends of the intervals (Table 2).
        reference : str, optional
            The method that degradation is measured against, ``reference()`` by default.

        Returns
        -------
        DataFrame
            Indexed by method. For each metric a column of its label, with ``intervals`` also "... low" and "... high", and
            "... marks": "best" and "worst" of the values as displayed (all of those that are tied, none where all are),
            and "worse" where the interval of the paired difference to the reference excludes 0 on the wrong side.

        References
        ----------
        .. [1] arXiv:2604.15950.
        """
        return paper_frame(self, intervals=intervals, reference=reference)

    def to_latex(self, *, intervals: bool = False, reference: str | None = None, caption: str | None = None) -> str:
        r"""``paper_table`` as a LaTeX table in the manner of booktabs; a comment in it says which packages it needs.

        Parameters
        ----------
        intervals, reference
            As for ``paper_table``.
        caption : str, optional
            LaTeX, in place of the caption that says what the table shows.

        Returns
        -------
        str
            A ``table*`` environment: best values bold, worst underlined, :math:`\dagger` where significantly worse than
            the reference.
        """
        return latex_of_paper_table(self, intervals=intervals, reference=reference, caption=caption)

    def to_paper_text(self, *, intervals: bool = False, reference: str | None = None) -> str:
        """``paper_table`` for a terminal, with the corrected values beside the program's where they differ enough to matter."""
        return text_of_paper_table(self, intervals=intervals, reference=reference)

    def to_dict(self) -> dict[str, Any]:
        """Everything in the tables as JSON values; nan becomes None."""

        def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
            return [
                {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
                for row in frame.to_dict("records")
            ]

        found: dict[str, Any] = {
            "description": self.description,
            "methods": list(self.methods),
            "metrics": [{"name": m.name, "label": m.label, "better": m.better, "unit": m.unit} for m in self.metrics],
            "n_resamples": self.n_resamples,
            "level": self.level,
            "interval": self.interval,
            "random_state": self.random_state,
            "volume_unit": self.volume_unit,
            "intervals": [r for kind in KINDS for r in records(self.intervals(kind))],
            "differences": [r for kind in KINDS for r in records(self.differences(kind=kind))],
            "trade_offs": self.trade_offs(),
            "unharmed": list(self.unharmed()),
        }
        if self.protocol:
            found["protocol"] = self.protocol
        for name, other in (("corrected", self.corrected), ("tallied", self.tallied)):
            if other is not None:
                found[name] = other.to_dict()
        if self.corrected is not None:
            found["disputes"] = [dispute._asdict() for dispute in self.disputes]
        return found


def _changes(differences: Mapping[str, float]) -> str:
    return ", ".join(f"{label} ({difference:+.2g})" for label, difference in differences.items())
