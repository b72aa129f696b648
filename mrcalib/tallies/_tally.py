"""The tally of a case: a small table of whole numbers that merges exactly, and its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib._files import atomic_write
from mrcalib._kernels.tallying import add_by_rater
from mrcalib.grid import ProbabilityGrid, shared_grid
from mrcalib.responses import PooledResponses, Responses
from mrcalib.tallies._cells import Cells
from mrcalib.tallies._counting import constant

__all__ = ["MAX_STUDY_RATERS", "SCHEMA", "Tally"]

SCHEMA = 1
COLUMNS = ("stratum", "bin", "present", "marked", "voxels", "excess")  # of Cells in a file; "excess" is offset_sum
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
        The occupied cells in ascending order, see `Cells`.
    refused : int
        Voxels left out because their probability was NaN or outside [0, 1] (``invalid="drop"``).

    Examples
    --------
    >>> from mrcalib import tally
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
        """The tally of the voxels of all tallies; ValueError if there is none, or if they do not match."""
        parts = list(tallies)
        if not parts:
            msg = "There is no tally to sum; the identity is Tally.empty(grid, raters)."
            raise ValueError(msg)
        for part in parts[1:]:
            parts[0].check_mergeable(part)
        first, cells = parts[0], Cells.merge([part.cells for part in parts])
        return cls(first.grid, first.raters, first.strata, cells, sum(part.refused for part in parts))

    def check_mergeable(self, other: Tally) -> None:
        """Raise ValueError unless the other tally has the same grid, raters and strata."""
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

    def _check_cells(self) -> None:
        """Raise ValueError if a cell has a negative count, or a bin, a rater or a stratum that does not exist."""
        cells, n_raters = self.cells, len(self.raters)
        limits = (len(self.strata), self.grid.n_bins, 1 << n_raters, 1 << n_raters, np.inf, np.inf)
        for name, column, limit in zip(COLUMNS, cells, limits, strict=True):
            if column.min(initial=0) < 0 or column.max(initial=0) >= limit:
                msg = f"column {name} holds {column.min()} to {column.max()}"
                raise ValueError(msg)

    @property
    def n_voxels(self) -> int:
        """Voxels counted: inside the ROI, with a valid probability, answered by a rater at least."""
        return int(self.cells.voxels.sum())

    @property
    def n_zeros(self) -> int:
        """Voxels whose probability is exactly 0 (or below 2**-133, which shares the bin of 0)."""
        return int(self.cells.voxels[self.cells.bin == 0].sum())

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

        stratum, bins, present, marked, voxels, offset_sum = self.cells
        cells = Cells.from_rows(stratum, bins, moved(present), moved(marked), voxels, offset_sum)
        return Tally(self.grid, names, self.strata, cells, self.refused)

    def responses(self, *, voxel_volume: float = 1.0) -> Responses:
        """The cells as rows for metrics; all rows of a bin have the bin's mean probability.

        Parameters
        ----------
        voxel_volume : float, default=1.0
            Volume of a voxel in mL.
        """
        cells = self.cells
        bins, index = self._occupied_bins()
        count, offset_sum = (np.bincount(index, column, bins.size) for column in (cells.voxels, cells.offset_sum))
        prob = self.grid.sum_of_probabilities(bins, count, offset_sum) / count
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

    def _occupied_bins(self) -> tuple[IntArray, IntArray]:
        """The bins that have a voxel, ascending, and the position of each cell's bin among them."""
        occupied = np.zeros(self.grid.n_bins, dtype=bool)
        occupied[self.cells.bin] = True
        return np.flatnonzero(occupied), (np.cumsum(occupied) - 1)[self.cells.bin]

    def rater_counts(self) -> tuple[IntArray, NDArray[np.float64]]:
        """The occupied bins, and each rater's voxels and offsets in them, as whole numbers in float64.

        They are what probabilities are summed from at the end: whole numbers below 2**53 add up exactly, in any order.

        Returns
        -------
        bins : ndarray of shape (n_bins,), int64
            Ascending.
        counts : ndarray of shape (4, n_raters, n_bins), float64
            Voxels that the rater answered and the sum of their offsets; voxels that the rater marked and the sum of theirs.
        """
        cells = self.cells
        bins, index = self._occupied_bins()
        counts = np.zeros((4, len(self.raters), bins.size))
        columns = (cells.present, cells.marked, cells.voxels, cells.offset_sum)
        present, marked, voxels, offset_sum = map(constant, columns)
        add_by_rater(index, present, marked, voxels, offset_sum, counts)
        return bins, counts

    def pooled(self) -> PooledResponses:
        """Each rater's sums by bin, for calibrators."""
        bins, (voxels, offset_sum, marked, marked_offset_sum) = self.rater_counts()
        prob_sum, marked_prob = (
            self.grid.sum_of_probabilities(bins, count, offsets)
            for count, offsets in ((voxels, offset_sum), (marked, marked_offset_sum))
        )
        return PooledResponses(bins, voxels, prob_sum, marked, marked_prob)

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
            columns: dict[str, Any] = dict(zip(COLUMNS, self.cells.narrowed(), strict=True))
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
                    cells = Cells.from_rows(*(file[name].astype(np.int64) for name in COLUMNS))
                grid = shared_grid(header["mantissa_bits"], tuple(header["edges"]))
                loaded = cls(grid, tuple(header["raters"]), tuple(header["strata"]), cells, header["refused"])
                loaded._check_cells()
                return loaded, header
            except Exception as error:
                msg = f"{path} is not a tally, or it is damaged ({error}). Delete it and tally the case again."
                if later:
                    msg = f"{path} has tally schema {later}; this mrcalib reads up to {SCHEMA}. Upgrade mrcalib."
                raise ValueError(msg) from error


def _short(value: object) -> str:
    return (
        f"{value.mantissa_bits} bits with {len(value.edges)} edges"
        if isinstance(value, ProbabilityGrid)
        else str(value)
    )
