"""A study: methods of calibration against metrics, cross-validated by group, with intervals. All of it from tallies."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from mrcalib._study_text import text_of_study
from mrcalib._validation import check_choice
from mrcalib.calibrators import (
    BetaCalibrator,
    HardLabelCalibrator,
    HistogramBinningCalibrator,
    IdentityCalibrator,
    MHRIsotonicCalibrator,
    PlattCalibrator,
    SingleRaterCalibrator,
    TemperatureScalingCalibrator,
    VoteCalibrator,
)
from mrcalib.calibrators._source import Source
from mrcalib.cohort import Cohort, check_case_weight
from mrcalib.exceptions import SaturationWarning
from mrcalib.metrics import Metric, default_metrics, get_metric, reliability_metric
from mrcalib.resampling import (
    bca_interval,
    bootstrap_counts,
    jackknife_counts,
    percentile_interval,
    splits,
    weighted_means,
    weighted_values,
)
from mrcalib.responses import PooledResponses

if TYPE_CHECKING:
    import pandas as pd

    from mrcalib.io import Case

__all__ = ["Study", "compare", "default_methods"]

FloatArray = NDArray[np.float64]
Kind = Literal["mean", "pooled"]
KINDS: tuple[Kind, ...] = ("mean", "pooled")
BATCH = 32  # folds whose sums are held at a time


def default_methods() -> dict[str, VoteCalibrator]:
    """The methods that ``compare`` puts side by side, by the names that its tables use.

    Examples
    --------
    >>> list(default_methods())[:4]
    ['none', 'single-rater', 'hard-label', 'MHR']
    """
    return {
        "none": IdentityCalibrator(),
        "single-rater": SingleRaterCalibrator(),
        "hard-label": HardLabelCalibrator(),
        "MHR": MHRIsotonicCalibrator(),
        "MHR, cases equal": MHRIsotonicCalibrator(case_weight="equal"),
        "TwinTrack (250 bins)": MHRIsotonicCalibrator("equal-mass", 250),
        "temperature": TemperatureScalingCalibrator(),
        "Platt": PlattCalibrator(),
        "beta": BetaCalibrator(),
        "histogram (15 bins)": HistogramBinningCalibrator(),
    }


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
    calibrators : dict of str to VoteCalibrator
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
    """

    methods: tuple[str, ...]
    metrics: tuple[Metric, ...]
    ids: tuple[str, ...]
    groups: tuple[str, ...]
    calibrators: dict[str, VoteCalibrator]
    statistics: dict[tuple[str, str], FloatArray]
    n_resamples: int
    level: float
    interval: str
    random_state: int | None
    description: str
    volume_unit: str
    curve: Metric
    _resampled: dict[Any, FloatArray] = field(default_factory=dict, init=False, repr=False)

    # Values -----------------------------------------------------------------------------------------------------------

    def case_values(self, method: str, metric: Metric) -> FloatArray:
        """The metric of each case, of shape (n_cases,); nan where a case does not define it."""
        return metric.value(self.statistics[method, metric.name])

    def _under(self, method: str, metric: Metric, kind: Kind, counts: FloatArray) -> FloatArray:
        """The metric under each row of counts of cases."""
        if kind == "mean":
            return weighted_means(self.case_values(method, metric), counts)
        if not metric.poolable:
            return np.full(len(counts), np.nan)
        return weighted_values(metric.value, self.statistics[method, metric.name], counts)

    def _estimate(self, method: str, metric: Metric, kind: Kind) -> float:
        return float(self._under(method, metric, kind, np.ones((1, len(self.ids))))[0])

    def _samples(self, method: str, metric: Metric, kind: Kind) -> FloatArray:
        """The metric of each bootstrap resample, computed once; the resamples of all methods are the same, and so paired."""
        if "counts" not in self._resampled:
            self._resampled["counts"] = bootstrap_counts(self.groups, self.n_resamples, self.random_state)
        key = method, metric.name, kind
        if key not in self._resampled:
            self._resampled[key] = self._under(method, metric, kind, self._resampled["counts"])
        return self._resampled[key]

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
            Columns method, metric, kind, difference, low, high and verdict: "better", "worse" or "" (not told apart). For a
            signed bias it is the absolute value that is compared.
        """
        import pandas as pd

        check_choice("kind", kind, KINDS)
        reference = self.methods[0] if reference is None else reference
        check_choice("reference", reference, self.methods)
        rows = []
        for metric in self.metrics:
            if kind == "pooled" and not metric.poolable:
                continue
            toward = np.abs if metric.better == "zero" else np.asarray

            def difference_of(
                values: Callable[[str, Metric, Kind], FloatArray],
                method: str,
                metric: Metric = metric,
                toward: Callable[[FloatArray], FloatArray] = toward,
            ) -> FloatArray:
                return toward(values(method, metric, kind)) - toward(values(reference, metric, kind))

            for method in self.methods:
                if method == reference:
                    continue
                difference = float(difference_of(lambda *which: np.array(self._estimate(*which)), method))
                samples = difference_of(self._samples, method)
                low, high = self._interval(samples, difference, partial(difference_of, self._left_out, method))
                sign = -1.0 if metric.better == "higher" else 1.0
                verdict = (
                    "worse"
                    if min(sign * low, sign * high) > 0
                    else "better"
                    if max(sign * low, sign * high) < 0
                    else ""
                )
                rows.append((method, metric.name, kind, difference, low, high, verdict))
        return pd.DataFrame(rows, columns=["method", "metric", "kind", "difference", "low", "high", "verdict"])

    def trade_offs(self, reference: str | None = None, kind: Kind = "mean") -> list[str]:
        """Sentences on methods that win on one metric and significantly lose on another against ``reference``."""
        told = self.differences(reference, kind)
        label = {metric.name: metric.label for metric in self.metrics}
        base = self.methods[0] if reference is None else reference
        alike: dict[tuple[str, str], list[str]] = {}
        for method in self.methods:
            mine = told[told["method"] == method]
            better, worse = (
                ", ".join(label[name] for name in mine.loc[mine["verdict"] == verdict, "metric"])
                for verdict in ("better", "worse")
            )
            if better and worse:
                alike.setdefault((better, worse), []).append(method)
        return [
            f"{_listed(methods)} improve{'s' if len(methods) == 1 else ''} {better} over {base} "
            f"but worsen{'s' if len(methods) == 1 else ''} {worse}."
            for (better, worse), methods in alike.items()
        ]

    def to_text(self, kind: Kind = "mean") -> str:
        """The table for a terminal.

        The best value of a metric is marked ``*``, one significantly better than the first method ``+``, or worse ``-``.
        """
        return text_of_study(self, kind)

    def to_dict(self) -> dict[str, Any]:
        """Everything in the tables as JSON values; nan becomes None."""

        def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
            return [
                {str(k): None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
                for row in frame.to_dict("records")
            ]

        return {
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
        }


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{'; '.join(names[:-1])} and {names[-1]}"


def compare(
    cases_or_cohort: Cohort | Iterable[Case],
    methods: Mapping[str, VoteCalibrator] | Sequence[str] | None = None,
    metrics: Sequence[Metric | str] | None = None,
    *,
    cv: Any = "leave-one-group-out",
    n_resamples: int = 5000,
    level: float = 0.95,
    interval: Literal["percentile", "bca"] = "percentile",
    random_state: int | None = 0,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Study:
    """Compare methods of calibration on cases, each case scored by maps that were fitted without its group.

    Voxels are read once, into tallies; fitting, scoring and resampling are algebra on these. Scores are therefore those of
    the grid's bins: exact for the uncalibrated map where a metric is binned or thresholded at the grid's edges, else off by
    no more than moving each voxel within its bin (0.8 % of min(p, 1 - p)) can do. ``mrcalib evaluate`` is exact.

    Parameters
    ----------
    cases_or_cohort : Cohort or iterable of Case
        Cases are tallied first; ``tally_cases`` gives checkpoints and progress.
    methods : mapping of str to calibrator, or sequence of str, optional
        Unfitted calibrators by name, or names among ``default_methods()``. The first is the baseline of differences.
    metrics : sequence of Metric or str, optional
        ``mrcalib.metrics.default_metrics()`` by default.
    cv : "leave-one-group-out", int, scikit-learn splitter or None, default="leave-one-group-out"
        None fits and scores on the same cases; that is not an estimate for new ones.
    n_resamples : int, default=5000
        Bootstrap resamples of groups.
    level : float, default=0.95
        Of the intervals.
    interval : {"percentile", "bca"}, default="percentile"
        Of bootstrap samples; "bca" corrects for bias and skewness.
    random_state : int, optional
        Of the bootstrap, and of the folds if ``cv`` is a number.
    n_jobs : int, optional
        Cases read at the same time.
    progress : callable, optional
        Called with (folds done, folds) while methods are fitted.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        For unknown names, or fewer than two groups.

    Examples
    --------
    >>> from mrcalib.tallies import tally
    >>> rng = np.random.default_rng(0)
    >>> def case():
    ...     probs = rng.random(2000)
    ...     return tally(probs, rng.random((3, 2000)) < probs**2)
    >>> study = compare(Cohort([case() for _ in range(6)]), methods=["none", "MHR"], n_resamples=200)
    >>> study.differences().query("metric == 'mr_ece'")["verdict"].tolist()
    ['better']
    """
    check_choice("interval", interval, ("percentile", "bca"))
    if not 0 < level < 1 or n_resamples < 1:
        msg = f"level must lie between 0 and 1, and n_resamples be at least 1; got {level} and {n_resamples}."
        raise ValueError(msg)
    chosen = _chosen_methods(methods)
    if isinstance(cases_or_cohort, Cohort):
        cohort = cases_or_cohort
    else:
        from mrcalib.scale import tally_cases

        cohort = tally_cases(cases_or_cohort, n_jobs=n_jobs)
    scored = tuple(get_metric(m) if isinstance(m, str) else m for m in (metrics or default_metrics()))
    if len({m.name for m in scored}) != len(scored):
        msg = f"Metrics must have different names; got {', '.join(m.name for m in scored)}."
        raise ValueError(msg)
    everyone = np.arange(len(cohort))
    folds = [everyone] if cv is None else splits(cohort.groups, cv, random_state)
    rows = [cohort.responses(case) for case in range(len(cohort))]
    curve = reliability_metric()
    summed = {metric.name: metric for metric in (curve, *scored)}
    n_statistics = {name: metric.statistics(rows[0]).size for name, metric in summed.items()}
    statistics = {
        (method, name): np.full((len(cohort), size), np.nan) for method in chosen for name, size in n_statistics.items()
    }
    fitted: dict[str, VoteCalibrator] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, fold, estimators in _fitted_by_fold(cohort, chosen, folds, in_sample=cv is None):
            for name, estimator in estimators.items():
                for case in fold:
                    calibrated = rows[case].map(estimator.map_)
                    for metric in summed.values():
                        statistics[name, metric.name][case] = metric.statistics(calibrated)
            if progress is not None:
                progress(number, len(folds))
        for name, estimator in chosen.items():
            fitted[name] = clone(estimator).fit_tally(cohort)
    _pass_on(caught)
    protocol = "fitted and scored on the same cases" if cv is None else f"{len(folds)} folds by group"
    n_groups = len(set(cohort.groups))
    description = (
        f"{len(cohort)} cases in {n_groups} groups, {len(cohort.raters)} raters, {cohort.n_voxels.sum():,} voxels; {protocol}; "
        f"{n_resamples} resamples of groups, {level:.0%} {interval} intervals"
    )
    unit = "voxels" if all(volume == 1.0 for volume in cohort.voxel_volume) else "mL"
    return Study(
        tuple(chosen),
        scored,
        tuple(cohort.ids),
        tuple(cohort.groups),
        fitted,
        statistics,
        n_resamples,
        level,
        interval,
        random_state,
        description,
        unit,
        summed[curve.name],
    )


def _chosen_methods(methods: Mapping[str, VoteCalibrator] | Sequence[str] | None) -> dict[str, VoteCalibrator]:
    known = default_methods()
    if methods is None:
        return known
    if isinstance(methods, Mapping):
        chosen = dict(methods)
        wrong = [name for name, method in methods.items() if not hasattr(method, "fit_source")]
        if wrong:
            msg = f"methods must be calibrators by name; {wrong[0]!r} is a {type(chosen[wrong[0]]).__name__}."
            raise TypeError(msg)
    else:
        for name in methods:
            check_choice("method", name, tuple(known))
        chosen = {name: known[name] for name in methods}
    if not chosen:
        msg = "There is no method to compare."
        raise ValueError(msg)
    exact = [name for name, method in chosen.items() if method._needs_voxels()]
    if exact:
        msg = f"Method {exact[0]!r} cannot be compared: binning='exact' needs the voxels, and a comparison has tallies."
        raise ValueError(msg)
    return chosen


def _fitted_by_fold(
    cohort: Cohort, methods: Mapping[str, VoteCalibrator], folds: Sequence[NDArray[np.intp]], *, in_sample: bool
) -> Iterable[tuple[int, NDArray[np.intp], dict[str, VoteCalibrator]]]:
    """Each fold's number and test cases, with every method fitted to the sums of the other cases."""
    train = np.ones((len(folds), len(cohort)))
    if not in_sample:
        for row, fold in zip(train, folds, strict=True):
            row[fold] = 0.0
    grid = cohort.tallies[0].grid
    for start in range(0, len(folds), BATCH):
        batch = folds[start : start + BATCH]
        estimators: list[dict[str, VoteCalibrator]] = [{} for _ in batch]
        pooled_by_rule: dict[tuple[str, str], list[PooledResponses]] = {}
        for name, method in methods.items():
            rule = ("rule", method.case_weight) if isinstance(method.case_weight, str) else ("of", name)
            if rule not in pooled_by_rule:
                weight = check_case_weight(method.case_weight, cohort.n_voxels)
                pooled_by_rule[rule] = cohort.pooled_many(train[start : start + BATCH] * weight)
            for i, pooled in enumerate(pooled_by_rule[rule]):
                n_voxels = float(train[start + i] @ cohort.n_voxels)
                estimators[i][name] = clone(method).fit_source(Source(grid, pooled, n_voxels), cohort.raters)
        for i, fold in enumerate(batch):
            yield start + i + 1, fold, estimators[i]


def _pass_on(caught: Sequence[warnings.WarningMessage]) -> None:
    """Issue again what was warned of while fitting: saturation once, with the number of fits, the rest as it was."""
    saturated = [str(w.message) for w in caught if issubclass(w.category, SaturationWarning)]
    if saturated:
        msg = f"{saturated[0]} ({len(saturated)} of the fits; compare them with MHR on the grid.)"
        warnings.warn(msg, SaturationWarning, stacklevel=3)
    for other in caught:
        if not issubclass(other.category, SaturationWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
