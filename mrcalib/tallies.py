"""The tally: one pass over the voxels of a case, kept as whole numbers that merge exactly.

``tally(a ++ b) == tally(a) + tally(b)``, to the bit and in any order. Everything after it is algebra on a small table.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._cells import Cells
from mrcalib._counting import VoxelCounts, count_voxels
from mrcalib._files import atomic_write
from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, check_choice, check_voxels, refuse_probs
from mrcalib.responses import PooledResponses, Responses

__all__ = ["RunningTally", "Tally", "tally", "tally_voxels"]

SCHEMA = 1
MAX_STUDY_RATERS = 62  # bits of a mask

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of voxels by stratum, bin of probability, raters who answered and raters who marked the voxel.

    The identity of the merge is ``Tally.empty(grid, raters)``; ``a + b`` is the tally of the voxels of both. Two tallies are
    equal (``==``) when their grids, raters, strata and every count are.

    Parameters
    ----------
    grid : ProbabilityGrid
        Where probabilities were sorted.
    raters : tuple of str
        Names of the raters; bit r of ``present`` and ``marked`` is rater r.
    strata : tuple of str
        Names of the strata.
    cells : Cells
        The occupied cells in ascending order, as columns ``stratum, bin, present, marked, voxels, excess``.
    refused : int
        Voxels left out because their probability was NaN or outside [0, 1] (``invalid="drop"``).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> probs, masks = rng.random(1000), rng.integers(0, 2, (3, 1000), dtype=np.uint8)
    >>> whole = tally(probs, masks)
    >>> whole == tally(probs[:400], masks[:, :400]) + tally(probs[400:], masks[:, 400:])
    True
    >>> whole.n_voxels
    1000
    """

    grid: ProbabilityGrid
    raters: tuple[str, ...]
    strata: tuple[str, ...]
    cells: Cells
    refused: int = 0

    @classmethod
    def empty(
        cls, grid: ProbabilityGrid | None = None, raters: Sequence[str] = ("0",), strata: Sequence[str] = ("0",)
    ) -> Tally:
        """The tally of no voxels."""
        return cls(grid or ProbabilityGrid.standard(), tuple(raters), tuple(strata), Cells.empty())

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """Merge tallies; ValueError if there is none or if they do not match."""
        parts = list(tallies)
        if not parts:
            msg = "There is no tally to sum; the identity is Tally.empty(grid, raters)."
            raise ValueError(msg)
        for part in parts[1:]:
            parts[0]._check_mergeable(part)
        first, cells = parts[0], Cells.merge([part.cells for part in parts])
        return cls(first.grid, first.raters, first.strata, cells, sum(part.refused for part in parts))

    def _check_mergeable(self, other: Tally) -> None:
        for what in ("grid", "raters", "strata"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                msg = f"Cannot merge tallies with different {what}: {_short(mine)} and {_short(theirs)}."
                if what == "raters":
                    msg += " Name all raters of the study with with_raters() first; those without answers are missing."
                if what == "strata":
                    msg += " Name all strata of the study with strata_names=."
                raise ValueError(msg)

    def __add__(self, other: object) -> Tally:
        return Tally.sum([self, other]) if isinstance(other, Tally) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tally):
            return NotImplemented
        mine = (self.grid, self.raters, self.strata, self.refused)
        return mine == (other.grid, other.raters, other.strata, other.refused) and self.cells.equal(other.cells)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Tally: {self.n_voxels} voxels, {len(self.raters)} raters, {self.cells.voxels.size} cells>"

    @property
    def n_voxels(self) -> int:
        """Voxels counted: inside the ROI, with a valid probability, answered by a rater at least."""
        return int(self.cells.voxels.sum())

    def select(self, stratum: str) -> Tally:
        """The cells of one stratum, as a tally of that stratum alone."""
        if stratum not in self.strata:
            msg = f"There is no stratum {stratum!r}; there are {', '.join(map(repr, self.strata))}."
            raise ValueError(msg)
        cells = self.cells.where(self.cells.stratum == self.strata.index(stratum))
        return Tally(self.grid, self.raters, (stratum,), cells._replace(stratum=np.zeros_like(cells.stratum)))

    def with_raters(self, names: Sequence[str]) -> Tally:
        """The same answers among the raters of a study; raters of ``names`` that are not in this tally are missing."""
        names = tuple(names)
        unknown = [name for name in self.raters if name not in names]
        if unknown:
            msg = f"The study's raters {names} do not include {unknown}."
            raise ValueError(msg)
        if len(set(names)) != len(names) or len(names) > MAX_STUDY_RATERS:
            msg = f"A study has at most {MAX_STUDY_RATERS} raters, with different names; got {len(names)}."
            raise ValueError(msg)
        if names == self.raters:
            return self
        bits = [names.index(name) for name in self.raters]

        def moved(mask: IntArray) -> IntArray:
            return reduce(np.bitwise_or, [((mask >> r) & 1) << b for r, b in enumerate(bits)], np.zeros_like(mask))

        stratum, bins, present, marked, count, excess = self.cells
        cells = Cells.of(stratum, bins, moved(present), moved(marked), count, excess)
        return Tally(self.grid, names, self.strata, cells, self.refused)

    def responses(self, *, voxel_volume: float = 1.0) -> Responses:
        """The cells as rows for metrics; all rows of a bin have the bin's mean probability.

        Parameters
        ----------
        voxel_volume : float, default=1.0
            Volume of a voxel in mL.
        """
        cells = self.cells
        bins, index = np.unique(cells.bin, return_inverse=True)
        prob = np.bincount(index, self._prob_sum(), bins.size) / np.bincount(index, cells.voxels, bins.size)
        return Responses.from_distinct(
            np.clip(prob, 0.0, 1.0),
            index,
            count=cells.voxels.astype(np.float64),
            answers=np.bitwise_count(cells.present).astype(np.float64),
            votes=np.bitwise_count(cells.marked).astype(np.float64),
            n_raters=len(self.raters),
            present=cells.present,
            marked=cells.marked,
            voxel_volume=voxel_volume,
        )

    def pooled(self) -> PooledResponses:
        """Each rater's sums by bin, for calibrators."""
        cells = self.cells
        bins, index = np.unique(cells.bin, return_inverse=True)
        prob_sum = self._prob_sum()
        sums = np.zeros((4, len(self.raters), bins.size))
        for r in range(len(self.raters)):
            for rows, who in ((sums[:2], cells.present), (sums[2:], cells.marked)):
                here = (who >> r) & 1
                for row, values in zip(rows, (cells.voxels, prob_sum), strict=True):
                    row[r] = np.bincount(index, values * here, bins.size)
        return PooledResponses(bins, *sums)

    def _prob_sum(self) -> NDArray[np.float64]:
        return self.grid.sum_of_probabilities(self.cells.bin, self.cells.voxels, self.cells.excess)

    def save(self, path: str | Path, **extra: Any) -> None:
        """Write a ``.npz`` that ``Tally.load`` reads; ``extra`` (JSON values) is kept in its header.

        The file is written under a temporary name and then renamed, so that no half-written file is ever left.
        """
        header = {
            "schema": SCHEMA,
            "mantissa_bits": self.grid.mantissa_bits,
            "edges": self.grid.edges,
            "raters": self.raters,
            "strata": self.strata,
            "refused": self.refused,
            **extra,
        }
        with atomic_write(Path(path)) as temporary, temporary.open("wb") as file:
            columns: dict[str, Any] = {name: _narrow(column) for name, column in self.cells._asdict().items()}
            np.savez_compressed(file, header=np.array(json.dumps(header)), **columns)

    @classmethod
    def load(cls, path: str | Path) -> Tally:
        """Read what ``save`` wrote; ValueError if the file is none, broken, or of a later schema."""
        return cls.load_with_header(path)[0]

    @classmethod
    def load_with_header(cls, path: str | Path) -> tuple[Tally, dict[str, Any]]:
        """The tally and the whole header of the file, ``extra`` included."""
        later = 0
        with Path(path).open("rb") as opened:
            try:
                with np.load(opened, allow_pickle=False) as file:
                    header = json.loads(str(file["header"]))
                    if header["schema"] > SCHEMA:
                        later = header["schema"]
                        raise LookupError(later)
                    cells = Cells.of(*(file[name] for name in Cells._fields))
                grid = _shared_grid(header["mantissa_bits"], tuple(header["edges"]))
                return cls(grid, tuple(header["raters"]), tuple(header["strata"]), cells, header["refused"]), header
            except Exception as error:
                msg = f"{path} is not a tally, or it is damaged ({error}). Delete it and tally the case again."
                if later:
                    msg = f"{path} has tally schema {later}; this mrcalib reads up to {SCHEMA}. Upgrade mrcalib."
                raise ValueError(msg) from error


def tally(
    probs: ArrayLike,
    raters: Any,
    *,
    grid: ProbabilityGrid | None = None,
    roi: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    strata_names: Sequence[str] | None = None,
    rater_axis: int | None = None,
    rater_names: Sequence[str] | None = None,
    positive: int | Sequence[int] | None = None,
    invalid: str = "raise",
    case: str | None = None,
    n_jobs: int | None = None,
) -> Tally:
    """Tally a map of probabilities against its raters' masks, in one pass and bounded memory.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1]; compared in float32.
    raters : array_like or sequence
        Masks, raters first ``(R, *S)`` or last ``(*S, R)``, or a list with None for a missing rater; NaN or masked entries
        are voxels that the rater did not answer. A rater whose mask is all 0 found nothing, and is not missing.
    grid : ProbabilityGrid, optional
        Bins of probability; ``ProbabilityGrid.standard()`` by default.
    roi : array_like of bool, shape S, optional
        Voxels that count. Probabilities outside are not looked at.
    strata : array_like of int, shape S, optional
        Stratum of each voxel, from 0.
    strata_names : sequence of str, optional
        Their names; "0", "1", ... by default.
    rater_axis : int, optional
        Axis of the raters where a stack fits both ways.
    rater_names : sequence of str, optional
        "0", "1", ... by default.
    positive : int or sequence of int, optional
        Label values that mark the structure.
    invalid : {"raise", "drop"}, default="raise"
        What becomes of NaN and of values outside [0, 1]: an error, or left out and counted in ``refused``.
    case : str, optional
        Name of the case, for errors.
    n_jobs : int, optional
        Threads; by default as many as there are processors, for large arrays. The result does not depend on it.

    Returns
    -------
    Tally
        With no voxels, the empty tally. Voxels that no rater answered are not counted.

    Raises
    ------
    ValueError
        For shapes that do not fit, masks that are not binary, or invalid probabilities.
    TypeError
        For probabilities that are not floating-point.

    Examples
    --------
    >>> probs = np.array([0.1, 0.8, 0.8])
    >>> t = tally(probs, [[0, 1, 0], [0, 1, 1]])
    >>> t.cells.voxels.tolist(), t.cells.marked.tolist()
    ([1, 1, 1], [0, 2, 3])
    """
    check_choice("invalid", invalid, ("raise", "drop"))
    voxels = check_voxels(
        probs, raters, roi=roi, strata=strata, rater_axis=rater_axis, positive=positive, soft=False, case=case
    )
    names = tuple(str(r) for r in range(voxels.n_raters)) if rater_names is None else tuple(map(str, rater_names))
    if len(names) != voxels.n_raters or len(set(names)) != len(names):
        msg = f"rater_names must be {voxels.n_raters} different names; got {names}."
        raise ValueError(msg)
    n_strata = 1 if voxels.strata is None else int(voxels.strata.max(initial=0)) + 1
    layers = tuple(map(str, range(n_strata))) if strata_names is None else tuple(map(str, strata_names))
    if len(layers) < n_strata or len(set(layers)) != len(layers):
        msg = f"strata_names must be at least {n_strata} different names; got {layers}."
        raise ValueError(msg)
    grid = grid or ProbabilityGrid.standard()
    return tally_voxels(voxels, grid, names, layers, invalid=invalid, n_jobs=n_jobs)


def tally_voxels(
    voxels: Voxels,
    grid: ProbabilityGrid,
    raters: tuple[str, ...],
    strata: tuple[str, ...] = ("0",),
    *,
    invalid: str = "raise",
    n_jobs: int | None = None,
) -> Tally:
    """``tally`` of voxels that were checked already."""
    cells, refused = count_voxels(voxels, grid, n_jobs)
    if refused and invalid == "raise":
        refuse_probs(voxels.probs if voxels.roi is None else voxels.probs[voxels.roi], refused, voxels.case)
    return Tally(grid, raters, strata, cells, refused)


class RunningTally:
    """The tally of voxels that come in parts, such as the slabs of an image; it is that of all at once.

    Parameters
    ----------
    grid : ProbabilityGrid
    raters : tuple of str
        Names of the raters of every part.
    invalid : {"raise", "drop"}, default="raise"
        As for ``tally``.
    """

    def __init__(self, grid: ProbabilityGrid, raters: tuple[str, ...], *, invalid: str = "raise") -> None:
        self._grid, self._raters, self._invalid = grid, raters, invalid
        self._counts = VoxelCounts(grid, len(raters))

    def add(self, voxels: Voxels) -> None:
        """Count a part; ValueError where it holds what is no probability and ``invalid`` is "raise"."""
        before = self._counts.refused
        self._counts.add(voxels)
        refused = self._counts.refused - before
        if refused and self._invalid == "raise":
            refuse_probs(voxels.probs if voxels.roi is None else voxels.probs[voxels.roi], refused, voxels.case)

    def tally(self) -> Tally:
        """All that was counted so far."""
        return Tally(self._grid, self._raters, ("0",), self._counts.cells(), self._counts.refused)


@lru_cache(maxsize=16)
def _shared_grid(mantissa_bits: int, edges: tuple[float, ...]) -> ProbabilityGrid:
    """One grid for all tallies that are read: its tables are made once."""
    return ProbabilityGrid(mantissa_bits, edges)


def _narrow(column: IntArray) -> NDArray[Any]:
    """The smallest integer type that holds the column, to keep files small."""
    return column.astype(np.min_scalar_type(int(column.max(initial=0))))


def _short(value: object) -> str:
    return (
        f"{value.mantissa_bits} bits with {len(value.edges)} edges"
        if isinstance(value, ProbabilityGrid)
        else str(value)
    )
