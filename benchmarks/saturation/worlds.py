"""Where the cases come from: phantoms, LIDC nodules, the parity cases; and the background that makes them whole scans."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib import Cohort, tally, tally_cases
from mrcalib.responses import Responses
from mrcalib.simulate import phantoms

SHARED = Path(os.environ.get("MRCALIB_SHARED", Path(__file__).parents[3] / "shared"))
GOOD: dict[str, Any] = {
    "n_members": 3,
    "lesion_fraction": 0.025,
    "disagreement": 1.2,
    "miss_rate": 0.05,
    "noise": 2.0,
    "overconfidence": 4.0,
    "bias": 2.0,
}
"""A segmenter that is good where it sees the lesion, and too sure."""
FAILURES = 0.22
"""Fraction of cases in which it sees nothing and answers 0: with these, TDSC and its spread are near the published ones."""
WEAK: dict[str, Any] = {**GOOD, "disagreement": 1.8, "miss_rate": 0.02, "noise": 5.0, "overconfidence": 2.5}
"""A segmenter that is unsure everywhere and does not say so: where it says 1, raters often disagree with it."""
HAZE = np.logspace(-8, -3, 512)
"""What a network without a region of interest answers far from the tumour: small, and never exactly 0."""


@dataclass(frozen=True)
class Fold:
    """Rows of the cases to fit to, and of the cases to score."""

    fit: list[Responses]
    test: list[Responses]

    def scans(self, prevalence: float | None, kind: str) -> Fold:
        """Every case with as much background of a kind as gives the cases to fit to this prevalence; None: as it is."""
        if prevalence is None:
            return self
        n = missing_background(self.fit, prevalence)
        return Fold([with_background(c, n, kind) for c in self.fit], [with_background(c, n, kind) for c in self.test])


@dataclass(frozen=True)
class World:
    """A name and its folds; every case is scored once."""

    name: str
    folds: list[Fold]


def prevalence_of(cases: Sequence[Responses]) -> float:
    """Mean response over all voxels of all cases; raters answer everywhere."""
    return float(sum(c.count @ (c.votes / c.answers) for c in cases) / sum(c.count.sum() for c in cases))


def missing_background(cases: Sequence[Responses], prevalence: float) -> float:
    """Voxels without a vote that each case needs for all to have this prevalence together."""
    own = prevalence_of(cases)
    if own < prevalence:
        msg = (
            f"prevalence must be at most the cases' own, {own:.4f}, as background can only be added; got {prevalence}."
        )
        raise ValueError(msg)
    return float(sum(c.count.sum() for c in cases) * (own / prevalence - 1) / len(cases))


def with_background(case: Responses, n_voxels: float, kind: str) -> Responses:
    """The case among so many voxels more that no rater marked."""
    assert case.present is not None
    assert case.marked is not None
    values = {"zeros": np.zeros(1), "haze": HAZE}[kind]
    none = np.zeros(values.size)
    everyone = (1 << case.n_raters) - 1
    return replace(
        case,
        prob=np.append(case.prob, values),
        count=np.append(case.count, none + n_voxels / values.size),
        answers=np.append(case.answers, none + case.n_raters),
        votes=np.append(case.votes, none),
        present=np.append(case.present, np.full(values.size, everyone)),
        marked=np.append(case.marked, np.zeros(values.size, np.int64)),
    )


def phantom_world(n_fit: int, n_test: int, shape: tuple[int, int, int], seed: int) -> tuple[World, list[Responses]]:
    """The good segmenter's phantoms, and those to fit to with three odd raters more.

    The odd ones are "half-empty" (the fifth rater, empty in every other case), "strict" (where all five agree) and "lax"
    (where any of them marks).
    """
    plain, odd = [], []
    overlooked = np.random.default_rng(seed).random(n_fit + n_test) < FAILURES
    for i, case in enumerate(phantoms(n_fit + n_test, shape, rng=seed, **GOOD)):
        probs = case.members.mean(axis=0) * np.float32(not overlooked[i])
        plain.append(tally(probs, case.raters).responses())
        if i < n_fit:
            extra = [case.raters[4] * (i % 2), case.raters.min(axis=0), case.raters.max(axis=0)]
            odd.append(tally(probs, np.concatenate([case.raters, extra])).responses())
    return World("phantoms", [Fold(plain[:n_fit], plain[n_fit:])]), odd


def weak_world(n_fit: int, n_test: int, shape: tuple[int, int, int], seed: int) -> World:
    """The weak segmenter's phantoms."""
    cases = phantoms(n_fit + n_test, shape, rng=seed, **WEAK)
    rows = [tally(case.members.mean(axis=0), case.raters).responses() for case in cases]
    return World("weak segmenter", [Fold(rows[:n_fit], rows[n_fit:])])


def lidc_world(seed: int, every: int = 1) -> World | None:
    """LIDC nodules, patients split in two halves that score each other; None where the data are absent."""
    from mrcalib.io import read_manifest

    manifest = SHARED / "data" / "lidc_cases" / "cases.csv"
    if not manifest.exists():
        return None
    cohort = tally_cases(read_manifest(manifest, probs="prob_[0-9]")[::every])
    patients = np.random.default_rng(seed).permutation(sorted(set(cohort.groups)))
    first = np.isin(cohort.groups, patients[: len(patients) // 2])
    halves = [_voxel_rows(cohort.subset(half)) for half in (first, ~first)]
    return World("LIDC", [Fold(*halves), Fold(*halves[::-1])])


def parity_world() -> World | None:
    """The four parity cases, each scored by maps of the other three; None where the data are absent."""
    path = SHARED / "parity" / "pdacvi_cases.npz"
    if not path.exists():
        return None
    rows = [tally(probs, masks).responses() for probs, masks in _parity_cases(path)]
    return World("parity", [Fold(rows[:i] + rows[i + 1 :], [rows[i]]) for i in range(len(rows))])


def _voxel_rows(cohort: Cohort) -> list[Responses]:
    """Rows with volumes in voxels: the files' spacing is a placeholder."""
    return [part.responses() for part in cohort]


def _parity_cases(path: Path) -> Iterator[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    with np.load(path) as file:
        for name in sorted(key.removesuffix("_prob") for key in file.files if key.endswith("_prob")):
            probs = file[f"{name}_prob"].astype(np.float32)
            bits = np.unpackbits(file[f"{name}_raters"], axis=1)[:, : probs.size]
            yield probs, bits.reshape(5, *probs.shape)
