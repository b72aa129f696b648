"""Reading voxels again: counting them in finer cells, and gathering those of the cells that must be looked into.

What raters answered is counted in whole numbers wherever they all weigh the same, so results do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.second_pass import (
    GATHERED,
    LAST,
    SKIPPED,
    count_cells,
    find_codes,
    gather_voxels,
    pool_gathered,
)
from mrcalib._kernels.threads import over_runs
from mrcalib.calibrators._partition import Partition, lookup, probs_of, spacing_at
from mrcalib.inputs import Chunk, Voxels

__all__ = ["Points", "Reader", "count_pieces", "look_into", "two_points"]

FloatArray = NDArray[np.float64]
Tables = tuple[NDArray[np.int32], NDArray[np.int32]]
"""What ``lookup`` returns and the kernels take."""
BUFFER = 1 << 18  # voxels a buffer
EVERYWHERE = np.empty(0, np.uint8)


class Points(NamedTuple):
    """Probabilities and what was answered there, over raters: columns of equal length."""

    prob: FloatArray
    weight: FloatArray
    votes: FloatArray

    @classmethod
    def merge(cls, parts: Iterable[Points]) -> Points:
        """The points of all parts, one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def times(self, factor: float) -> Points:
        """The same answers, each counted ``factor`` times."""
        return Points(self.prob, self.weight * factor, self.votes * factor)


class _Piece(NamedTuple):
    """A run of voxels with the answers of the included raters; empty ``answers``: each was given at every voxel."""

    probs: NDArray[Any]
    single: NDArray[np.float32]
    masks: tuple[NDArray[Any], ...]
    answers: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """The voxels of one case, read with a weight for each rater, and how much the case counts."""

    voxels: Voxels
    rater_weight: FloatArray | None
    case_weight: float = 1.0

    @property
    def included(self) -> list[int]:
        """The raters of positive weight who are there."""
        n = self.voxels.n_raters
        weight = np.ones(n) if self.rater_weight is None else self.rater_weight
        soft = self.voxels.soft is not None
        return [r for r in range(n) if weight[r] > 0 and (soft or self.voxels.masks[r] is not None)]

    @property
    def unit(self) -> float | None:
        """The one weight of every answer, so that answers can be counted; None where weights differ."""
        if self.voxels.soft is not None or self.voxels.sample_weight is not None:
            return None
        weights = {1.0 if self.rater_weight is None else float(self.rater_weight[r]) for r in self.included}
        return weights.pop() * self.case_weight if len(weights) == 1 else None

    @property
    def is_single(self) -> bool:
        """Whether float32 holds the probabilities as they are."""
        return self.voxels.probs.dtype.itemsize <= np.dtype(np.float32).itemsize

    def pieces(self, start: int, stop: int) -> Iterator[_Piece]:
        """Voxels ``start`` to ``stop`` with whole-number answers; in one piece if nothing must be converted."""
        plain = self._plain(start, stop)
        if plain is not None:
            yield plain
            return
        included = self.included
        for chunk in self.voxels.chunks(start, stop):
            single = _frozen(np.ascontiguousarray(chunk.single()))
            if not any(chunk.present[r].size for r in included):
                masks = tuple(_frozen(chunk.masks[r]) for r in included)
                yield _Piece(chunk.probs, single, masks, _frozen(EVERYWHERE))
                continue
            votes, answers = np.zeros((2, single.size), np.uint8)
            for r in included:
                known = chunk.present[r] if chunk.present[r].size else np.uint8(1)
                answers += known
                votes += chunk.masks[r] * known
            yield _Piece(chunk.probs, single, (_frozen(votes),), _frozen(answers))

    def _plain(self, start: int, stop: int) -> _Piece | None:
        voxels, included = self.voxels, self.included
        masks = [voxels.masks[r] for r in included]
        if voxels.roi is not None or voxels.positive is not None or voxels.probs.dtype != np.float32:
            return None
        if any(np.ma.isMaskedArray(mask) or mask is None or mask.dtype not in (np.uint8, np.bool_) for mask in masks):
            return None
        if not all(array is not None and array.flags.c_contiguous for array in (voxels.probs, *masks)):
            return None
        probs = _frozen(voxels.probs[start:stop])
        flat = tuple(_frozen(mask[start:stop].view(np.uint8)) for mask in masks if mask is not None)
        return _Piece(probs, probs, flat, _frozen(EVERYWHERE))

    def weighed(self, start: int, stop: int) -> Iterator[_Piece]:
        """The same with answers and votes (one mask) in floating point, weighted in every way."""
        included = self.included
        for chunk in self.voxels.chunks(start, stop):
            answers, votes = np.zeros((2, chunk.probs.size))
            for r in included:
                given = self._weight_of(r, chunk)
                answers += given
                votes += given * (chunk.masks[r] if chunk.soft is None else chunk.soft)
            yield _Piece(chunk.probs, np.ascontiguousarray(chunk.single()), (votes,), answers)

    def _weight_of(self, rater: int, chunk: Chunk) -> FloatArray:
        weight = np.full(chunk.probs.size, self.case_weight)
        if self.rater_weight is not None:
            weight *= self.rater_weight[rater]
        if chunk.soft is None and chunk.present[rater].size:
            weight *= chunk.present[rater]
        if chunk.sample_weight is not None:
            weight *= chunk.sample_weight
        return weight


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """A read-only view: a kernel is compiled for each kind of array, and files are mapped read-only."""
    view = array.view()
    view.flags.writeable = False
    return view


def count_pieces(readers: Iterable[Reader], cells: Partition, n_pieces: int) -> Partition:
    """``cells`` cut into about ``n_pieces`` smaller ones, those that hold something."""
    starts, ends = cells.cut(n_pieces)
    tables = lookup(starts, ends, np.arange(starts.size, dtype=np.int32))
    lower_edge, unit = probs_of(starts), spacing_at(starts)
    sums = np.zeros((3, starts.size))
    for reader in _of_weight(readers):
        factor = reader.unit
        if factor is None:
            _add_weighed(reader, tables, sums)
            continue
        first, *others = over_runs(partial(_count_run, reader, tables, starts.size), reader.voxels.n_voxels)
        given, offset, voted = sum(others, start=first).T
        offset = offset - given * starts  # modulo 2**64 a sum of ordinals, and less than that as one of differences
        sums += factor * np.stack([given, given * lower_edge + offset * unit, voted])
    return Partition(starts, ends, *sums).where(sums[0] > 0)


def _of_weight(readers: Iterable[Reader]) -> Iterator[Reader]:
    return (reader for reader in readers if reader.case_weight > 0 and reader.included)


def _count_run(reader: Reader, tables: Tables, n_cells: int, start: int, stop: int) -> NDArray[np.int64]:
    sums = np.zeros((n_cells, 3), np.int64)
    for piece in reader.pieces(start, stop):
        count_cells(piece.single, piece.masks, piece.answers, *tables, sums)
    return sums


def _add_weighed(reader: Reader, tables: Tables, sums: FloatArray) -> None:
    """Add answers, their probabilities and votes; in one thread, since sums of fractions depend on their order."""
    for piece in reader.weighed(0, reader.voxels.n_voxels):
        code = np.empty(piece.single.size, np.int32)
        find_codes(piece.single, *tables, code)
        found = np.flatnonzero(code != SKIPPED)
        given = piece.answers[found]
        columns = (given, given * piece.single[found], piece.masks[0][found])
        sums += [np.bincount(code[found], values, sums.shape[1]) for values in columns]


def look_into(
    readers: Iterable[Reader], cells: Partition, inside: NDArray[np.bool_], border: NDArray[np.bool_], *, pool: bool
) -> tuple[Points, FloatArray, FloatArray]:
    """The points that cells ``inside`` are made of, and the extremes of ``border`` cells.

    Parameters
    ----------
    readers : iterable of Reader
        The cases.
    cells : Partition
        Of all voxels.
    inside, border : ndarray of shape (n_cells,), bool
        No cell is both.
    pool : bool
        Whether violators among neighbours in one cell may be pooled, which saves memory. What is pooled becomes two points,
        its extremes, with half of the answers each.

    Returns
    -------
    points : Points
        With ascending probabilities, all different.
    lowest, highest : ndarray of shape (n_border,)
        Extremes of the probabilities of each border cell.
    """
    n_border = int(border.sum())
    code = np.full(inside.size, SKIPPED, np.int32)
    code[inside], code[border] = GATHERED, np.arange(1, n_border + 1)
    opened = code != SKIPPED
    tables = lookup(cells.starts[opened], cells.ends[opened], code[opened])
    extremes = np.full(n_border + 1, np.inf), np.full(n_border + 1, -np.inf)
    counted: dict[float, list[NDArray[np.uint64]]] = {}
    others: list[Points] = []
    for reader in _of_weight(readers):
        factor = reader.unit
        if factor is None or not reader.is_single:
            others.append(_take(reader, tables, *extremes))
            continue
        for gathered, *ordinals in over_runs(partial(_gather_run, reader, tables, n_border), reader.voxels.n_voxels):
            counted.setdefault(factor, []).extend(gathered)
            for best, mine, better in zip(extremes, ordinals, (np.minimum, np.maximum), strict=True):
                here = ordinals[0] <= ordinals[1]
                best[here] = better(best[here], probs_of(mine[here]))
    alone = len(counted) == 1 and not others
    ends = cells.ends[inside]
    for factor, gathered in counted.items():
        others.append(_pooled(gathered, ends, pool=pool and alone).times(factor))
        gathered.clear()
    points = others[0] if alone else _added_up(others)
    return points, extremes[0][1:], extremes[1][1:]


def _gather_run(
    reader: Reader, tables: Tables, n_border: int, start: int, stop: int
) -> tuple[list[NDArray[np.uint64]], NDArray[np.uint32], NDArray[np.uint32]]:
    """Voxels as the kernel packs them, and the extreme ordinals of border cells."""
    lowest, highest = np.full(n_border + 1, LAST + 1, np.uint32), np.zeros(n_border + 1, np.uint32)
    gathered: list[NDArray[np.uint64]] = []
    buffer = np.empty(BUFFER, np.uint64)
    for piece in reader.pieces(start, stop):
        at = 0
        while at < piece.single.size:
            at, n = gather_voxels(piece.single, piece.masks, piece.answers, *tables, at, buffer, lowest, highest)
            if n:
                gathered.append(buffer[:n].copy())
    return gathered, lowest, highest


def _pooled(gathered: list[NDArray[np.uint64]], ends: NDArray[np.int64], *, pool: bool) -> Points:
    """Gathered voxels by probability, sorted; ``gathered`` is emptied on the way."""
    packed = np.concatenate(gathered) if gathered else np.empty(0, np.uint64)
    gathered.clear()
    packed.sort()
    bounds = np.searchsorted(packed, ends.astype(np.uint64) << np.uint64(16))
    parts = []
    done = 0
    while done < packed.size:  # some whole cells at a time, to hold little besides
        stop = int(bounds[bounds >= min(done + BUFFER, packed.size)][0])
        parts.append(_pooled_cells(packed[done:stop], ends, pool=pool))
        done = stop
    return Points.merge(parts) if parts else Points(*np.empty((3, 0)))


def _pooled_cells(packed: NDArray[np.uint64], ends: NDArray[np.int64], *, pool: bool) -> Points:
    first, last = np.empty((2, packed.size), np.uint32)
    weight, votes = np.empty((2, packed.size))
    n = pool_gathered(packed, ends, pool, first, last, weight, votes)
    return two_points(probs_of(first[:n]), probs_of(last[:n]), weight[:n], votes[:n])


def two_points(low: FloatArray, high: FloatArray, weight: FloatArray, votes: FloatArray) -> Points:
    """Groups as two points at their extremes, or as one where these are equal."""
    times = np.where(high > low, 2, 1)
    prob = np.repeat(low, times)
    prob[np.cumsum(times) - 1] = high
    return Points(prob, np.repeat(weight / times, times), np.repeat(votes / times, times))


def _take(reader: Reader, tables: Tables, lowest: FloatArray, highest: FloatArray) -> Points:
    """Points in opened cells, one a voxel, where probabilities or weights need floating point."""
    factor = reader.unit
    taken = [Points(*np.empty((3, 0)))]
    n = reader.voxels.n_voxels
    for piece in reader.weighed(0, n) if factor is None else reader.pieces(0, n):
        code = np.empty(piece.single.size, np.int32)
        find_codes(piece.single, *tables, code)
        found = np.flatnonzero(code != SKIPPED)
        given = piece.answers[found] if piece.answers.size else np.full(found.size, len(piece.masks))
        found, given = found[given > 0], given[given > 0]
        prob = (piece.single if reader.is_single else piece.probs)[found].astype(np.float64)
        votes = sum((mask[found].astype(np.float64) for mask in piece.masks), start=np.zeros(found.size))
        code = code[found]
        np.minimum.at(lowest, code, prob)
        np.maximum.at(highest, code, prob)
        inside = code == GATHERED
        taken.append(_added_up([Points(prob[inside], given[inside].astype(np.float64), votes[inside])]))
    return Points.merge(taken).times(1.0 if factor is None else factor)


def _added_up(parts: list[Points]) -> Points:
    """Points with ascending probabilities, those that are equal added up."""
    prob, weight, votes = Points.merge(parts) if parts else Points(*np.empty((3, 0)))
    order = np.argsort(prob, kind="stable")
    prob = prob[order]
    starts = np.flatnonzero(np.append(True, np.diff(prob) > 0)) if prob.size else np.empty(0, np.intp)
    sums = (np.add.reduceat(values[order], starts) if starts.size else values for values in (weight, votes))
    return Points(prob[starts], *sums)
