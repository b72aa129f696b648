"""Compare methods: cross-validated or on a test set; all of it from tallies, but for protocols."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators import Calibrator, CountCalibrator
from mrcalib.cohort import Cohort
from mrcalib.inputs import check_choice
from mrcalib.io import LoadOptions
from mrcalib.metrics import Metric, default_metrics, get_metric, mean_rater_ece
from mrcalib.resampling import splits
from mrcalib.responses import Responses
from mrcalib.scale.cluster import Scheduler, workers
from mrcalib.study._cases import by_position, cases_in_order, cases_of, check_apart
from mrcalib.study._folds import fitted_by_fold, fitted_to_all, pass_on
from mrcalib.study._kept_voxels import KeptVoxels
from mrcalib.study._methods import chosen_methods
from mrcalib.study._protocol import Rules, disputes_of, measures_of, score_cases, statistics_of
from mrcalib.study._study import Study

if TYPE_CHECKING:
    from mrcalib.io import Case
    from mrcalib.protocols import Protocol

__all__ = ["compare"]


def compare(
    cases_or_cohort: Cohort | Iterable[Any],
    *raters_or_methods: Any,
    methods: Mapping[str, Calibrator] | Sequence[Any] | None = None,
    metrics: Sequence[Metric | str] | None = None,
    raters: Iterable[Any] | None = None,
    groups: Iterable[Any] | None = None,
    roi: Iterable[Any] | None = None,
    rater_axis: int | None = None,
    cv: Any = "leave-one-group-out",
    test_cases: Cohort | Iterable[Any] | None = None,
    protocol: str | Protocol | None = None,
    cases: Iterable[Case] | None = None,
    options: LoadOptions | None = None,
    vessel_labels: Mapping[str, int] | None = None,
    checkpoints: str | Path | None = None,
    failures: dict[str, Exception] | None = None,
    n_resamples: int = 5000,
    level: float = 0.95,
    interval: Literal["percentile", "bca"] = "percentile",
    random_state: int | None = 0,
    n_jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    case_progress: Callable[[str, str], None] | None = None,
    scheduler: Scheduler = "threads",
    dask_address: str | None = None,
) -> Study:
    """Compare methods of calibration on cases, each case scored by maps that were fitted without its group.

    Voxels are read once, into tallies; fitting, scoring and resampling are algebra on these. Scores are therefore those of
    the grid's bins: exact for the uncalibrated map where a metric is binned or thresholded at the grid's edges, else off by
    no more than moving each voxel within its bin (0.8 % of min(p, 1 - p)) can do. ``mrcalib evaluate`` is exact.

    With a protocol each held-out case is read once more, and its voxels are scored as the challenge does it: under each
    method's map, by the official program's rules and as it should be. That gives TwinTrack's Tables 1 and 2 [1]_.

    Parameters
    ----------
    cases_or_cohort : Cohort, iterable of Case, or list of images
        Cases are tallied first; ``tally_cases`` gives checkpoints and progress. Images may have different shapes; each has its
        raters in ``raters``, or is a pair ``(probs, raters)``.
    *raters_or_methods : Any
        By position ``raters`` (of lists of images), ``methods`` and ``metrics`` in this order; without ``raters`` the latter.
    methods : mapping of str to calibrator, or sequence of str, optional
        Unfitted calibrators by name, or names among ``default_methods()`` and ``paper_methods()``. The first is the
        baseline of differences. By default all of ``default_methods()``; with a protocol, where each method costs time
        in each case, ``paper_methods()`` and "MHR", the same target on the grid.
    metrics : sequence of Metric or str, optional
        ``mrcalib.metrics.default_metrics()`` by default. With a protocol they are those of ``Study.tallied``.
    raters : iterable, optional
        The raters of each image, as ``fit`` takes them; may come second, in place of ``methods``.
    groups : iterable of str, optional
        The patient or site of each image or Case.
    roi : iterable, optional
        The region of interest of each image, or None.
    rater_axis : int, optional
        Axis of the raters in each stack.
    cv : "leave-one-group-out", int, scikit-learn splitter or None, default="leave-one-group-out"
        None fits and scores on the same cases; that is not an estimate for new ones.
    test_cases : Cohort, iterable of Case, or list of pairs of images and raters, optional
        Fit to ``cases_or_cohort`` and score these instead, once, as TwinTrack does with the challenge's training and
        test set; ``cv`` is then not used. No group may be on both sides.
    protocol : str or Protocol, optional
        Such as "curvas-pdacvi": a name among ``mrcalib.protocols.PROTOCOLS``, of one that scores masks.
    cases : iterable of Case, optional
        With a Cohort: the cases it was tallied from, matched by id. Their voxels are read by a protocol, and by methods that
        need a second pass, such as "TwinTrack".
    options : LoadOptions, optional
        How files are read. With ``outside="zero"`` the methods that are named (not those given) leave exact zeros out:
        ``keep_zero=True``.
    vessel_labels : mapping of str to int, optional
        Names and labels of the vessels in the cases' maps of vessels, for protocols that score these.
    checkpoints : str or Path, optional
        Folder for ``tallies``, ``test-tallies`` and ``scores``: a rerun computes only what has changed, cases and maps.
    failures : dict, optional
        Takes the error of each case that could not be read or scored, by id, and the others go on.
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
    case_progress : callable, optional
        Called with each case's id and what became of it: "tallied", "scored", "unchanged" or "failed".
    scheduler : "threads", "dask" or distributed.Client, default="threads"
        Who reads and scores cases, as for ``tally_cases``; the results are the same. ``checkpoints`` must be a folder that all
        workers share.
    dask_address : str, optional
        With ``scheduler="dask"``: of the cluster's scheduler; without it ``n_jobs`` processes of this machine are started.

    Returns
    -------
    Study
        With a protocol: of the protocol's measures by the official program, with ``corrected`` (the same as it should be),
        ``tallied`` (the ordinary metrics) and ``disputes``.

    Raises
    ------
    ValueError
        For unknown names, fewer than two groups, groups that are in both sets, a protocol without the voxels of its
        cases, or no case that could be scored.

    Notes
    -----
    A protocol scores whole images, whatever the region of interest: outside it every method predicts 0, as a two-stage
    segmenter does. Masks count there as anywhere. A case whose voxels cannot be scored by the protocol is left out of the
    protocol's tables for all methods; the maps were fitted with it.

    References
    ----------
    .. [1] TwinTrack, arXiv:2604.15950.

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
    _check_resampling(interval, level, n_resamples)
    raters, methods, metrics = by_position(raters_or_methods, raters=raters, methods=methods, metrics=metrics)
    cases_or_cohort = cases_of(cases_or_cohort, raters, roi=roi, groups=groups, rater_axis=rater_axis)
    test_cases = None if test_cases is None else cases_of(test_cases)
    options = options or LoadOptions()
    chosen = chosen_methods(methods, paper=protocol is not None, keep_zero=options.outside == "zero")
    scored = _chosen_metrics(metrics)
    rules = None if protocol is None else _rules(protocol)
    folder = None if checkpoints is None else Path(checkpoints)
    voxels = None if cases is None else list(cases)

    def tallied(source: Cohort | list[Case], name: str) -> tuple[Cohort, list[Case] | None]:
        if isinstance(source, Cohort):
            return source, voxels
        from mrcalib.scale import tally_cases

        where = None if folder is None else folder / name
        return tally_cases(
            source,
            options=options,
            n_jobs=n_jobs,
            checkpoints=where,
            failures=failures,
            progress=case_progress,
            scheduler=engine,
        ), source

    reads = any(not isinstance(source, Cohort | None) for source in (cases_or_cohort, test_cases))
    with workers(scheduler if reads else "threads", dask_address if reads else None, n_jobs) as engine:
        cohort, known = tallied(cases_or_cohort, "tallies")
        second = _voxels_for_second_pass(cohort, known, chosen, options)
        test = cohort
        if test_cases is not None:
            test, known = tallied(test_cases, "test-tallies")
            check_apart(cohort, test)
    to_score = [] if rules is None else cases_in_order(test, known)
    _check_vessels(rules, to_score, vessel_labels)
    folds = _folds(cohort, test, cv, random_state)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fitted_to_all(cohort, chosen, second)
        by_fold: Iterable[Fold] = [(1, folds[0], fitted)]
        if test is cohort:
            by_fold = fitted_by_fold(cohort, chosen, folds, in_sample=cv is None, keep=rules is not None, voxels=second)
        statistics, curve, held_out = _scored_tallies(
            test, tuple(chosen), scored, by_fold, n_folds=len(folds), progress=progress, keep=rules is not None
        )
    pass_on(caught, stacklevel=3)
    fit = _how_fitted(cohort, test, cv, len(folds))
    description = f"{fit}; {_resampling(n_resamples, level, interval)}{_coarse_bins(fitted)}"
    counted = f"{len(test)} cases in {len(set(test.groups))} groups, {len(test.raters)} raters"
    study = Study(
        methods=tuple(chosen),
        metrics=scored,
        ids=tuple(test.ids),
        groups=tuple(test.groups),
        calibrators=fitted,
        statistics=statistics,
        description=f"{counted}, {test.n_voxels.sum():,} voxels; {description}",
        volume_unit="voxels" if all(volume == 1.0 for volume in test.voxel_volume) else "mL",
        curve=curve,
        n_resamples=n_resamples,
        level=level,
        interval=interval,
        random_state=random_state,
    )
    if rules is None:
        return study
    with workers(scheduler, dask_address, n_jobs) as engine:
        scores = score_cases(
            to_score,
            dict(zip(test.ids, held_out, strict=True)),
            Rules(rules, options, vessel_labels),
            checkpoints=None if folder is None else folder / "scores",
            failures=failures,
            n_jobs=n_jobs,
            progress=case_progress,
            scheduler=engine,
        )
    measures = measures_of(
        rules,
        scores,
        vessels=any(case.vessels is not None for case in to_score),
        unit="mm³" if study.volume_unit == "mL" else "voxels",
    )
    group = dict(zip(test.ids, test.groups, strict=True))
    n_groups = len({group[case] for case in scores})
    counted = f"{rules.title}: {len(scores)} cases in {n_groups} groups, {len(test.raters)} raters"
    if any(case.roi is not None or case.coarse is not None for case in to_score):
        counted += ", 0 outside regions of interest"

    def scored_by(*, strict: bool) -> Study:
        how_scored = "as the official program scores" if strict else "corrected values"
        return replace(
            study,
            metrics=measures,
            ids=tuple(scores),
            groups=tuple(group[case] for case in scores),
            statistics=statistics_of(scores, study.methods, measures, strict=strict),
            description=f"{counted}; {how_scored}; {description}",
            protocol=rules.name,
        )

    return replace(
        scored_by(strict=True),
        corrected=scored_by(strict=False),
        tallied=study,
        disputes=disputes_of(scores, study.methods, measures, rules),
        held_out=dict(zip(test.ids, held_out, strict=True)),
    )


Fold = tuple[int, NDArray[np.intp], dict[str, Calibrator]]


def _calibrated(estimator: Calibrator, rows: Responses) -> Responses:
    """A case's rows at calibrated probabilities, with the distribution of votes where the method predicts one."""
    if isinstance(estimator, CountCalibrator):
        return estimator.calibrate_rows(rows)
    prob, answers = rows.distinct()
    return rows.map(estimator.map_of_case(prob, answers.count))


def _check_resampling(interval: str, level: float, n_resamples: int) -> None:
    check_choice("interval", interval, ("percentile", "bca"))
    if not 0 < level < 1 or n_resamples < 1:
        msg = f"level must lie between 0 and 1, and n_resamples be at least 1; got {level} and {n_resamples}."
        raise ValueError(msg)


def _rules(protocol: str | Protocol) -> Protocol:
    """The protocol, if it scores masks."""
    from mrcalib.protocols import get_protocol

    rules = get_protocol(protocol) if isinstance(protocol, str) else protocol
    if rules.needs_classes:
        msg = (
            f"Protocol {rules.name!r} scores label maps of several classes, and a comparison calibrates one foreground; "
            "choose a protocol of masks such as 'curvas-pdacvi', or score calibrated files by mrcalib evaluate."
        )
        raise ValueError(msg)
    return rules


def _chosen_metrics(metrics: Sequence[Metric | str] | None) -> tuple[Metric, ...]:
    scored = tuple(get_metric(m) if isinstance(m, str) else m for m in (metrics or default_metrics()))
    if len({m.name for m in scored}) != len(scored):
        msg = f"Metrics must have different names; got {', '.join(m.name for m in scored)}."
        raise ValueError(msg)
    return scored


def _check_vessels(rules: Protocol | None, cases: Sequence[Case], labels: Mapping[str, int] | None) -> None:
    if labels is None or (
        rules is not None and rules.needs_vessels and any(case.vessels is not None for case in cases)
    ):
        return
    msg = "vessel_labels name the labels in maps of vessels, for a protocol that scores these; there are none."
    raise ValueError(msg)


def _folds(cohort: Cohort, test: Cohort, cv: Any, random_state: int | None) -> list[NDArray[np.intp]]:
    if test is not cohort or cv is None:
        return [np.arange(len(test))]
    return splits(cohort.groups, cv, random_state)


def _voxels_for_second_pass(
    cohort: Cohort, known: Sequence[Case] | None, methods: Mapping[str, Calibrator], options: LoadOptions
) -> KeptVoxels | None:
    """The voxels of the cases that maps are fitted to, where a method reads them again and all cases are known.

    Raises
    ------
    ValueError
        If a method cannot do without them.
    """
    by_id = {case.id: case for case in known or ()}
    if all(name in by_id for name in cohort.ids) and any(method.needs.second_pass for method in methods.values()):
        return KeptVoxels([by_id[name] for name in cohort.ids], cohort, options)
    exact = [name for name, method in methods.items() if method.needs.voxels]
    if exact:
        msg = (
            f"Method {exact[0]!r} reads the voxels twice, and a Cohort does not hold them: give the cases it was tallied from "
            "as cases=, or compare the method with binning='grid'."
        )
        raise ValueError(msg)
    return None


def _coarse_bins(fitted: Mapping[str, Calibrator]) -> str:
    """Which methods could not make the second pass that they would make in ``fit``, and what that can change."""
    errors = {name: one.provenance_["max_error"] for name, one in fitted.items() if "max_error" in one.provenance_}
    if not errors:
        return ""
    listed = ", ".join(f"{name} (off by at most {error:.2g})" for name, error in errors.items())
    return f"; bins of {listed} start where those of the tallies do, since there were no voxels to read again"


def _how_fitted(cohort: Cohort, test: Cohort, cv: Any, n_folds: int) -> str:
    if test is not cohort:
        return f"fitted to {len(cohort)} other cases in {len(set(cohort.groups))} groups"
    return "fitted and scored on the same cases" if cv is None else f"{n_folds} folds by group"


def _resampling(n_resamples: int, level: float, interval: str) -> str:
    return f"{n_resamples} resamples of groups, {level:.0%} {interval} intervals"


def _scored_tallies(
    cohort: Cohort,
    methods: Sequence[str],
    metrics: Sequence[Metric],
    by_fold: Iterable[Fold],
    *,
    n_folds: int,
    progress: Callable[[int, int], None] | None,
    keep: bool,
) -> tuple[dict[tuple[str, str], NDArray[np.float64]], Metric, list[dict[str, Calibrator]]]:
    """Sums of all metrics at the probabilities of each fold's maps; and each case's maps, if they are kept."""
    curve = mean_rater_ece.with_options(strategy="logit")
    summed = {metric.name: metric for metric in (curve, *metrics)}
    first = cohort.responses(0)
    n_statistics = {name: metric.sums(first).size for name, metric in summed.items()}
    statistics = {
        (method, name): np.full((len(cohort), size), np.nan)
        for method in methods
        for name, size in n_statistics.items()
    }
    held_out: list[dict[str, Calibrator]] = [{} for _ in cohort] if keep else []
    for number, fold, estimators in by_fold:
        for case in fold:
            rows = cohort.responses(case)
            for name, estimator in estimators.items():
                calibrated = _calibrated(estimator, rows)
                for metric in summed.values():
                    statistics[name, metric.name][case] = metric.sums(calibrated)
        if keep:
            for case in fold:
                held_out[case] = estimators
        if progress is not None:
            progress(number, n_folds)
    return statistics, summed[curve.name], held_out
