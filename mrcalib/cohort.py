"""The tallies of many cases side by side, and their sums under any weights of the cases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._files import file_stem, is_unfinished
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import check_groups, check_voxel_volume
from mrcalib.resampling import weighted_sums
from mrcalib.responses import PooledResponses, Responses
from mrcalib.tallies import Tally, VoteCounts, equal_rows

__all__ = ["Cohort", "check_case_weight"]

FloatArray = NDArray[np.float64]
FEW_MISSING = 0.125  # of the cases


def check_case_weight(case_weight: str | ArrayLike, n_voxels: ArrayLike) -> FloatArray:
    """The factor of each case's counts: 1 for "voxels"; for "equal" such that all cases weigh the same; or the given numbers.

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
    """The tallies of many cases, with their ids and the groups (patients, sites) that resampling keeps together.

    Parameters
    ----------
    tallies : sequence of Tally
        One for each case, all on one grid. The raters of the study are those of all cases; a rater whom a case does not name
        is missing there.
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
            tallies[0].check_mergeable(part)
        ids = tuple(map(str, self.ids)) or tuple(map(str, range(n)))
        check_groups(list(self.groups))
        groups = tuple(map(str, self.groups)) or ids
        volume = tuple(check_voxel_volume(volume) for volume in self.voxel_volume) or (1.0,) * n
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
        return self._sizes[0].copy()

    @property
    def n_zeros(self) -> NDArray[np.int64]:
        """Voxels of each case whose probability is exactly 0 (or below 2**-133)."""
        return self._sizes[1].copy()

    @cached_property
    def _sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Voxels of each case, and those of them at 0."""
        n_voxels = np.array([part.n_voxels for part in self.tallies], dtype=np.int64)
        return n_voxels, np.array([part.n_zeros for part in self.tallies], dtype=np.int64)

    @property
    def grid(self) -> ProbabilityGrid:
        """The grid of all tallies."""
        return self.tallies[0].grid

    def subset(self, cases: ArrayLike) -> Cohort:
        """The cohort of some of the cases, given by position or by a boolean mask."""
        chosen = np.asarray(cases)
        index = np.arange(len(self))[chosen if chosen.size else []]
        return Cohort(
            *([values[i] for i in index] for values in (self.tallies, self.ids, self.groups, self.voxel_volume))
        )

    def responses(self, case: int) -> Responses:
        """The rows of one case, for metrics."""
        return self.tallies[case].responses(voxel_volume=self.voxel_volume[case])

    def pooled(self, case_weight: str | ArrayLike = "voxels") -> PooledResponses:
        """Sums over all cases, for calibrators.

        Parameters
        ----------
        case_weight : "voxels", "equal" or array_like of shape (n_cases,), default="voxels"
            Pooled voxels let large cases dictate; "equal" gives every case the same say. Weights cost no second pass.
        """
        weight = check_case_weight(case_weight, self.n_voxels)
        if (weight == 1).all():  # whole numbers are merged without a table of all cases
            return Tally.sum(self.tallies).pooled()
        return self.pooled_many(weight[np.newaxis], marked=True)[0]

    def pooled_many(self, weights: FloatArray, *, marked: bool = False) -> list[PooledResponses]:
        """Sums over the cases for each row of ``weights`` (n_sums, n_cases), as cross-validation needs them.

        Under weights of 0 and 1 they equal the sums of ``Tally.sum`` of these cases to the bit. Under any weights they do not
        depend on the order of the cases.

        Parameters
        ----------
        weights : ndarray of shape (n_sums, n_cases)
            Finite factors >= 0 of each case's counts.
        marked : bool, default=False
            Whether ``marked_prob`` is needed as well.

        Returns
        -------
        list of PooledResponses, of length n_sums
        """
        cases = self._rater_counts
        in_order = cases.reordered(np.asarray(weights, dtype=np.float64))
        # Voxels and offsets are whole numbers, which add up exactly; sums of probabilities are made of them at the end.
        totals = [_sums_of_whole(column, in_order) for column in cases.counts[: 4 if marked else 3]]
        found = []
        for rows in zip(*totals, strict=True):
            used = np.flatnonzero(rows[0].any(axis=0))
            bins, columns = cases.bins, list(rows)
            if used.size < bins.size:
                bins, columns = bins[used], [row.take(used, axis=1) for row in rows]
            voxels, offset_sum, votes, *marked_offset_sum = columns
            prob_sum = self.grid.sum_of_probabilities(bins, voxels, offset_sum)
            marked_prob = [self.grid.sum_of_probabilities(bins, votes, sums) for sums in marked_offset_sum]
            found.append(PooledResponses(bins, voxels, prob_sum, votes, *marked_prob))
        return found

    def sums_by_case(self) -> tuple[NDArray[np.int64], FloatArray]:
        """The bins that some case occupies, and each case's sums by rater and bin.

        Returns
        -------
        bins : ndarray of shape (n_bins,), int64
        sums : ndarray of shape (n_cases, 3, n_raters, n_bins)
            Weight (voxels that the rater answered), sum of their probabilities, and votes, as in ``PooledResponses``.
        """
        bins, counts, order, _ = self._rater_counts
        sums = np.empty((len(self), 3, len(self.raters), bins.size))
        sums[order, 0], sums[order, 2] = counts[0], counts[2]
        sums[order, 1] = self.grid.sum_of_probabilities(bins, counts[0], counts[1])
        return bins, sums

    def vote_counts(self, weight: FloatArray | None = None) -> VoteCounts:
        """How many voxels of all cases had how many answers and votes in each bin, with a factor for each case.

        Parameters
        ----------
        weight : ndarray of shape (n_cases,), optional
            1 for all cases by default. Under any weights, the result does not depend on the order of the cases.
        """
        rows, case, index, voxels = self._vote_counts
        weight = np.ones(len(self)) if weight is None else np.asarray(weight, dtype=np.float64)
        counted = weight[case] * voxels
        if not _are_whole(weight):  # sums of fractions depend on their order: add them up in ascending order
            order = np.lexsort((counted, index))
            counted, index = counted[order], index[order]
        total = np.bincount(index, counted, rows.weight.size).astype(np.float64)
        return VoteCounts(rows.bins, rows.answers, rows.votes, total).where(total > 0)

    @cached_property
    def _rater_counts(self) -> _RaterCounts:
        """Each rater's counts in all cases, on common bins."""
        return _RaterCounts.from_tallies(self.tallies)

    @cached_property
    def _vote_counts(self) -> tuple[VoteCounts, NDArray[np.intp], NDArray[np.intp], FloatArray]:
        """The vote counts of all cases together; and the case, the row and the voxels of each entry of a single case."""
        parts = [VoteCounts.from_cells(part.cells) for part in self.tallies]
        names = [
            np.concatenate(columns) for columns in zip(*((p.bins, p.answers, p.votes) for p in parts), strict=True)
        ]
        voxels = np.concatenate([part.weight for part in parts])
        case = np.repeat(np.arange(len(parts)), [part.weight.size for part in parts])
        order, starts = equal_rows(names)
        index = np.empty_like(order)
        index[order] = np.repeat(np.arange(starts.size), np.diff(starts, append=order.size))
        total = np.bincount(index, voxels, starts.size).astype(np.float64)
        bins, answers, votes = (column[order[starts]] for column in names)
        return VoteCounts(bins, answers, votes, total), case, index, voxels

    def save(self, folder: str | Path) -> None:
        """Write each case's tally to ``folder/<case id>.npz``; ``Cohort.load`` reads them back."""
        for part, name, group, volume in zip(self.tallies, self.ids, self.groups, self.voxel_volume, strict=True):
            part.save(Path(folder) / f"{file_stem(name)}.npz", case=name, group=group, voxel_volume=volume)

    @classmethod
    def load(cls, folder: str | Path) -> Cohort:
        """The cohort of all tallies in a folder, in the order of the case ids; ValueError if there is none."""
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


class _RaterCounts(NamedTuple):
    """Each rater's counts in many cases, on common bins, with the cases in an order that depends on their content only.

    Attributes
    ----------
    bins : ndarray of shape (n_bins,), int64
        The bins that some case occupies.
    counts : ndarray of shape (4, n_cases, n_raters, n_bins), float64
        As ``Tally.rater_counts`` gives them; whole numbers.
    order : ndarray of shape (n_cases,), int
        Which case is at each place.
    equal : list of ndarray of int
        Places that hold equal cases, for each content that occurs more than once.
    """

    bins: NDArray[np.int64]
    counts: FloatArray
    order: NDArray[np.intp]
    equal: list[NDArray[np.intp]]

    @classmethod
    def from_tallies(cls, tallies: Sequence[Tally]) -> Self:
        """The counts of tallies with the same grid and raters."""
        parts = [part.rater_counts() for part in tallies]
        keys = _content_keys(tallies[0].raters, parts)
        order = sorted(range(len(parts)), key=keys.__getitem__)
        bins = np.unique(np.concatenate([of_case for of_case, _ in parts]))
        counts = np.zeros((4, len(parts), len(tallies[0].raters), bins.size))
        places = defaultdict[tuple[bytes, bytes], list[int]](list)
        for place, case in enumerate(order):
            of_case, values = parts[case]
            counts[:, place, :, np.searchsorted(bins, of_case)] = np.moveaxis(values, -1, 0)
            places[keys[case]].append(place)
        equal = [np.array(same, dtype=np.intp) for same in places.values() if len(same) > 1]
        return cls(bins, counts, np.array(order, dtype=np.intp), equal)

    def reordered(self, weights: FloatArray) -> FloatArray:
        """Weights (n_sums, n_cases) of the cases as weights of the places.

        Equal cases are given their sum, added up in ascending order: which of them came first makes no difference.
        """
        in_order = weights[:, self.order]
        for places in self.equal:
            together = np.sort(in_order[:, places], axis=1).sum(axis=1)
            in_order[:, places] = 0.0
            in_order[:, places[0]] = together
        return in_order


def _content_keys(
    raters: Sequence[str], parts: Sequence[tuple[NDArray[np.int64], FloatArray]]
) -> list[tuple[bytes, bytes]]:
    """A key of each case that depends on its counts and the names of its raters only; equal cases have equal keys.

    Totals tell nearly all cases apart; the whole counts are looked at only where totals are equal.
    """
    by_name = np.argsort(np.array(raters))
    totals = [counts[:, by_name].sum(axis=-1).tobytes() for _, counts in parts]
    times = Counter(totals)
    return [
        (total, b"" if times[total] == 1 else sha256(bins.tobytes() + counts[:, by_name].tobytes()).digest())
        for total, (bins, counts) in zip(totals, parts, strict=True)
    ]


def _sums_of_whole(counts: FloatArray, weights: FloatArray) -> FloatArray:
    """Sums of ``counts`` (n_cases, n_raters, n_bins) over the cases, for each row of ``weights`` (n_sums, n_cases).

    Folds of a cross-validation leave out few cases: then these are subtracted from the sum of all, which takes far less time
    than adding up the others, and is exact as well because counts and weights are whole numbers.
    """
    flat = counts.reshape(len(counts), -1)
    sums = np.empty((len(weights), flat.shape[1]))
    few_missing = np.count_nonzero(weights != 1, axis=1) <= FEW_MISSING * len(counts)
    few_missing &= (weights == np.floor(weights)).all(axis=1)
    if few_missing.any():
        total = flat.sum(axis=0)
        for row, weight in zip(np.flatnonzero(few_missing), weights[few_missing], strict=True):
            missing = np.flatnonzero(weight != 1)
            np.subtract(total, (1 - weight[missing]) @ flat[missing], out=sums[row])
    if not few_missing.all():
        sums[~few_missing] = weighted_sums(flat, weights[~few_missing])
    return sums.reshape(len(weights), *counts.shape[1:])


def _are_whole(weights: FloatArray) -> bool:
    """Whether all weights are whole numbers, under which counts add up exactly."""
    return bool((weights == np.floor(weights)).all())
