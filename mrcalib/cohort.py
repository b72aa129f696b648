"""The tallies of many cases side by side, and their sums under any weights of the cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._files import file_stem, is_unfinished
from mrcalib.resampling import weighted_sums
from mrcalib.responses import PooledResponses, Responses
from mrcalib.tallies import Tally

__all__ = ["Cohort", "check_case_weight"]

FloatArray = NDArray[np.float64]


def check_case_weight(case_weight: str | ArrayLike, n_voxels: ArrayLike) -> FloatArray:
    """The factor of each case's counts: "voxels" 1, "equal" such that all cases weigh the same, or one number a case.

    Equal weights are scaled to keep the total number of voxels, and a case without voxels weighs nothing.
    """
    size = np.asarray(n_voxels, dtype=np.float64)
    if isinstance(case_weight, str):
        if case_weight == "voxels":
            return np.ones(size.size)
        if case_weight == "equal":
            mean = size.sum() / max(1, np.count_nonzero(size))
            equal: FloatArray = np.divide(mean, size, out=np.zeros(size.size), where=size > 0)
            return equal
        msg = f"case_weight must be 'voxels', 'equal' or one number a case; got {case_weight!r}."
        raise ValueError(msg)
    weight = np.asarray(case_weight, dtype=np.float64)
    if weight.shape != size.shape or not (np.isfinite(weight).all() and (weight >= 0).all() and (weight > 0).any()):
        msg = (
            f"case_weight must hold a finite number >= 0 for each of the {size.size} cases, not all 0; got {weight!r}."
        )
        raise ValueError(msg)
    return weight


@dataclass(frozen=True, eq=False)
class Cohort:
    """Cases as tallies, with their ids and the groups (patients, sites) that resampling keeps together.

    Parameters
    ----------
    tallies : sequence of Tally
        One a case, on one grid. Raters are put in common: one that a case does not name is missing there.
    ids : sequence of str, optional
        Case ids, all different; "0", "1", ... by default.
    groups : sequence of str, optional
        Group of each case; the case itself by default.
    voxel_volume : sequence of float, optional
        Volume of a voxel of each case, in mL; 1.0 (volumes in voxels) by default.

    Examples
    --------
    >>> from mrcalib.tallies import tally
    >>> rng = np.random.default_rng(0)
    >>> cases = [tally(rng.random(100), rng.integers(0, 2, (3, 100), dtype=np.uint8)) for _ in range(4)]
    >>> cohort = Cohort(cases, groups=["a", "a", "b", "b"])
    >>> len(cohort), int(cohort.n_voxels.sum())
    (4, 400)
    """

    tallies: Sequence[Tally]
    ids: Sequence[str] = ()
    groups: Sequence[str] = ()
    voxel_volume: Sequence[float] = ()
    _made: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tallies:
            msg = "A cohort needs at least one case."
            raise ValueError(msg)
        n = len(self.tallies)
        names: dict[str, None] = {}
        for part in self.tallies:
            names.update(dict.fromkeys(part.raters))
        tallies = tuple(part.with_raters(tuple(names)) for part in self.tallies)
        for part in tallies[1:]:
            tallies[0]._check_mergeable(part)
        ids = tuple(map(str, self.ids)) or tuple(map(str, range(n)))
        groups = tuple(map(str, self.groups)) or ids
        volume = tuple(map(float, self.voxel_volume)) or (1.0,) * n
        for what, values in (("ids", ids), ("groups", groups), ("voxel_volume", volume)):
            if len(values) != n:
                msg = f"{what} must have one entry for each of the {n} cases; got {len(values)}."
                raise ValueError(msg)
        if len(set(ids)) != n:
            twice = sorted({i for i in ids if ids.count(i) > 1})
            msg = f"Case ids must be different; repeated: {', '.join(twice[:5])}."
            raise ValueError(msg)
        for name, checked in {"tallies": tallies, "ids": ids, "groups": groups, "voxel_volume": volume}.items():
            object.__setattr__(self, name, checked)

    def __len__(self) -> int:
        return len(self.tallies)

    def __iter__(self) -> Iterator[Tally]:
        return iter(self.tallies)

    @property
    def raters(self) -> tuple[str, ...]:
        """Names of the raters of the study."""
        return self.tallies[0].raters

    @property
    def n_voxels(self) -> NDArray[np.int64]:
        """Voxels counted in each case."""
        if "n_voxels" not in self._made:
            self._made["n_voxels"] = np.array([part.n_voxels for part in self.tallies], dtype=np.int64)
        counted: NDArray[np.int64] = self._made["n_voxels"]
        return counted.copy()

    def subset(self, cases: ArrayLike) -> Cohort:
        """The cohort of some of the cases, given by position or by a boolean mask."""
        chosen = np.asarray(cases)
        index = np.arange(len(self))[chosen if chosen.size else []]
        return Cohort(
            *([values[i] for i in index] for values in (self.tallies, self.ids, self.groups, self.voxel_volume))
        )

    def responses(self, case: int) -> Responses:
        """Rows of one case, for metrics."""
        return self.tallies[case].responses(voxel_volume=self.voxel_volume[case])

    def pooled(self, case_weight: str | ArrayLike = "voxels") -> PooledResponses:
        """Sums over all cases, for calibrators.

        Parameters
        ----------
        case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"
            Pooled voxels let large cases dictate; "equal" gives every case the same say. Weights cost no second pass.
        """
        weight = check_case_weight(case_weight, self.n_voxels)
        return self.pooled_many(weight[np.newaxis])[0]

    def pooled_many(self, weights: FloatArray, *, marked: bool = False) -> list[PooledResponses]:
        """Sums over cases for each row of ``weights`` (n_sums, n_cases), as cross-validation needs them.

        ``marked`` asks for ``marked_prob``, too.
        """
        bins, stack = self._sums_by_case()
        totals = weighted_sums(stack.reshape(len(stack), -1), weights).reshape(len(weights), *stack.shape[1:])
        counted = weighted_sums(self._occupied(), (weights > 0).astype(np.float64)) > 0
        if marked:
            of_marked = weighted_sums(self._marked().reshape(len(stack), -1), weights)
            totals = np.concatenate([totals, of_marked.reshape(len(weights), 1, *stack.shape[2:])], axis=1)
        return [
            PooledResponses(bins, *total) if used.all() else PooledResponses(bins[used], *total[:, :, used])
            for total, used in zip(totals, counted, strict=True)
        ]

    def _marked(self) -> FloatArray:
        """Each case's sum of probabilities over the voxels that a rater marked; shape (n_cases, n_raters, n_bins)."""
        bins, stack = self._sums_by_case()
        if "marked" not in self._made:
            marked = np.zeros((len(stack), *stack.shape[2:]))
            for sums, (of_case, values) in zip(marked, self._made.pop("marked of cases"), strict=True):
                sums[:, np.searchsorted(bins, of_case)] = values
            self._made["marked"] = marked
        made: FloatArray = self._made["marked"]
        return made

    def _occupied(self) -> FloatArray:
        """1 where a case has voxels in a bin; shape (n_cases, n_bins)."""
        if "occupied" not in self._made:
            self._made["occupied"] = (self._sums_by_case()[1][:, 0] > 0).any(axis=1).astype(np.float64)
        occupied: FloatArray = self._made["occupied"]
        return occupied

    def _sums_by_case(self) -> tuple[NDArray[np.int64], FloatArray]:
        """Occupied bins, and each case's (weight, prob_sum, votes) by rater and bin; made once."""
        if "sums" not in self._made:
            parts = [part.pooled() for part in self.tallies]
            bins = np.unique(np.concatenate([part.bins for part in parts]))
            stack = np.zeros((len(parts), 3, len(self.raters), bins.size))
            for sums, part in zip(stack, parts, strict=True):
                where = np.searchsorted(bins, part.bins)
                for row, values in zip(sums, (part.weight, part.prob_sum, part.votes), strict=True):
                    row[:, where] = values
            self._made["sums"] = bins, stack
            self._made["marked of cases"] = [(part.bins, part.marked_prob) for part in parts]
        made: tuple[NDArray[np.int64], FloatArray] = self._made["sums"]
        return made

    def save(self, folder: str | Path) -> None:
        """Write each case's tally to ``folder/<case id>.npz``; ``Cohort.load`` reads them back."""
        for part, name, group, volume in zip(self.tallies, self.ids, self.groups, self.voxel_volume, strict=True):
            part.save(Path(folder) / f"{file_stem(name)}.npz", case=name, group=group, voxel_volume=volume)

    @classmethod
    def load(cls, folder: str | Path) -> Cohort:
        """Read every tally of a folder, in the order of the case ids."""
        paths = [path for path in Path(folder).glob("*.npz") if not is_unfinished(path)]
        if not paths:
            msg = f"There is no tally (*.npz) in {folder}."
            raise ValueError(msg)
        named = [
            (header.get("case", path.stem), part, header)
            for path in paths
            for part, header in [Tally.load_with_header(path)]
        ]
        named.sort(key=lambda row: row[0])
        ids, read = [row[0] for row in named], [row[1:] for row in named]
        groups = [header.get("group", name) for (_, header), name in zip(read, ids, strict=True)]
        volume = [header.get("voxel_volume") or 1.0 for _, header in read]
        return cls([part for part, _ in read], ids, groups, volume)
