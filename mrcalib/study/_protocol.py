"""Held-out cases scored voxel by voxel by a challenge's protocol, each loaded once, with the maps of its fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcalib.scale.cluster import Scheduler, each_on_cluster
from mrcalib.scale.cluster_cases import at_absolute_paths
from mrcalib.study._checkpoints import CaseScores, hash_of_inputs, hash_of_map, read_scores, write_scores

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.io import Case, LoadedCase, LoadOptions
    from mrcalib.protocols import Measure, Protocol

__all__ = ["Dispute", "Rules", "calibrated_inside", "disputes_of", "measures_of", "score_cases", "statistics_of"]

FloatArray = NDArray[np.float64]
Maps = Mapping[str, "Calibrator"]
Scores = Mapping[str, Mapping[str, CaseScores]]


class Dispute(NamedTuple):
    """A case and a method where the program's value and the corrected one differ enough to matter.

    Attributes
    ----------
    case, method : str
    measure : str
        Its label; "" where the protocol's sentence begins with none.
    sentence : str
        The protocol's own words.
    """

    case: str
    method: str
    measure: str
    sentence: str


class Rules(NamedTuple):
    """A protocol, how files are read for it, and the labels of vessels if they are not the challenge's."""

    protocol: Protocol
    options: LoadOptions
    vessel_labels: Mapping[str, int] | None = None


def score_cases(
    cases: Sequence[Case],
    held_out: Mapping[str, Maps],
    rules: Rules,
    *,
    checkpoints: Path | None = None,
    failures: dict[str, Exception] | None = None,
    n_jobs: int | None = None,
    progress: Callable[[str, str], None] | None = None,
    scheduler: Scheduler = "threads",
) -> dict[str, dict[str, CaseScores]]:
    """The scores of each case under each of its maps, by case and method; cases that fail are left out.

    Parameters
    ----------
    cases : sequence of Case
        With different ids.
    held_out : mapping of str to mapping of str to Calibrator
        The maps of each case by method, fitted without its group.
    rules : Rules
        The protocol, and how files are read for it.
    checkpoints : Path, optional
        Folder of scores. What is there for the same inputs, options, protocol and map is not computed again.
    failures : dict, optional
        Takes the error of each case that could not be scored, and the others go on. Without it the first error is
        raised.
    n_jobs : int, optional
        Cases in memory at the same time; 1 by default.
    progress : callable, optional
        Called with each case's id and what became of it: "scored", "unchanged" or "failed".
    scheduler : "threads" or distributed.Client, default="threads"
        Whose threads do the work.
    """

    def work(case: Case) -> dict[str, CaseScores] | Exception:
        try:
            scores, status = _score_or_read(case, held_out[case.id], rules, checkpoints)
        except Exception as error:
            if progress is not None:
                progress(case.id, "failed")
            if failures is None:
                raise
            return error
        if progress is not None:
            progress(case.id, status)
        return scores

    results: Sequence[dict[str, CaseScores] | Exception]
    if not isinstance(scheduler, str):
        results = each_on_cluster(
            scheduler,
            partial(_score_one, rules=rules, checkpoints=None if checkpoints is None else checkpoints.absolute()),
            [(at_absolute_paths(case), held_out[case.id]) for case in cases],
            [case.id for case in cases],
            label="score",
            first_error_ends=failures is None,
            progress=progress,
        )
    else:
        with ThreadPoolExecutor(n_jobs or 1) as pool:
            results = list(pool.map(work, cases))
    scored: dict[str, dict[str, CaseScores]] = {}
    for case, result in zip(cases, results, strict=True):
        if isinstance(result, Exception):
            assert failures is not None
            failures[case.id] = result
        else:
            scored[case.id] = result
    if not scored:
        msg = f"None of the {len(cases)} cases could be scored by {rules.protocol.name}."
        if failures:
            first, error = next(iter(failures.items()))
            msg += f" The first, {first!r}: {error}"
        raise ValueError(msg)
    return scored


def _score_one(
    case_and_maps: tuple[Case, Maps], *, rules: Rules, checkpoints: Path | None
) -> tuple[dict[str, CaseScores], str]:
    return _score_or_read(*case_and_maps, rules, checkpoints)


def _score_or_read(case: Case, maps: Maps, rules: Rules, checkpoints: Path | None) -> tuple[dict[str, CaseScores], str]:
    keys = {method: hash_of_map(calibrator) for method, calibrator in maps.items()}
    inputs = ""
    known: dict[str, CaseScores] = {}
    if checkpoints is not None:
        inputs = hash_of_inputs(case, rules.options, rules.protocol, rules.vessel_labels)
        known = read_scores(checkpoints, case.id, inputs)
    missing = {key: maps[method] for method, key in keys.items() if key not in known}
    if missing:
        loaded = case.load(options=rules.options)
        known |= {key: _score(loaded, calibrator, rules) for key, calibrator in missing.items()}
        if checkpoints is not None:
            write_scores(checkpoints, case.id, inputs, known)
    return {method: known[key] for method, key in keys.items()}, "scored" if missing else "unchanged"


def calibrated_inside(calibrator: Calibrator, loaded: LoadedCase) -> NDArray[Any]:
    """Calibrated probabilities of a case, from the voxels that it was tallied from; 0 outside its region of interest."""
    if loaded.roi is None:
        return loaded.calibrated_by(calibrator.transform)
    calibrated = np.zeros_like(loaded.probs)
    if loaded.roi.any():
        calibrated[loaded.roi] = calibrator.transform(loaded.probs[loaded.roi])
    return calibrated


def _score(loaded: LoadedCase, calibrator: Calibrator, rules: Rules) -> CaseScores:
    """Scores of the whole image, which is what a challenge asks for."""
    calibrated = calibrated_inside(calibrator, loaded)
    where: dict[str, Any] = {"spacing": loaded.spacing if loaded.voxel_volume_ml is not None else None}
    if rules.protocol.needs_vessels:
        affine = None if loaded.geometry is None else loaded.geometry.affine
        where |= {"vessels": loaded.vessels, "affine": affine}
        if rules.vessel_labels is not None:
            where["vessel_labels"] = rules.vessel_labels
    strict, corrected = (
        rules.protocol.score(calibrated, list(loaded.raters), strict=strict, **where) for strict in (True, False)
    )
    return CaseScores(dict(strict), dict(corrected))


def measures_of(protocol: Protocol, scores: Scores, *, vessels: bool, unit: str) -> tuple[Measure, ...]:
    """The protocol's measures, and those of vessels of other names that were scored; volumes in the unit that is known."""
    known = protocol.measures_for(vessels=vessels)
    names = dict.fromkeys(
        name
        for methods in scores.values()
        for scored in methods.values()
        for name in scored.strict
        if name[:3] == "vi_"
    )
    invasion = [m for m in known if m.name.startswith("vi_")]
    others = [
        replace(invasion[0], name=name, label=name.removeprefix("vi_"))
        for name in names
        if invasion and name not in {m.name for m in protocol.measures}
    ]
    return tuple(replace(m, unit=unit) if m.unit == "mm³" else m for m in (*known, *others))


def statistics_of(
    scores: Scores, methods: Sequence[str], measures: Sequence[Measure], *, strict: bool
) -> dict[tuple[str, str], FloatArray]:
    """Scores as a study keeps them: (n_cases, 1) by method and measure, NaN where not defined."""
    return {
        (method, measure.name): np.array(
            [
                [(scored[method].strict if strict else scored[method].corrected).get(measure.name, np.nan)]
                for scored in scores.values()
            ]
        )
        for method in methods
        for measure in measures
    }


def disputes_of(
    scores: Scores, methods: Sequence[str], measures: Sequence[Measure], protocol: Protocol
) -> tuple[Dispute, ...]:
    """Where the program and corrected values part, case by case and method by method."""
    return tuple(
        Dispute(case, method, next((m.label for m in measures if sentence.startswith(f"{m.label}:")), ""), sentence)
        for case, scored in scores.items()
        for method in methods
        for sentence in protocol.disagreements(scored[method].strict, scored[method].corrected)
    )
