"""The bins into which a tally sorts probabilities: fine towards 0 and towards 1, exact at any edge that is asked for.

How a bin is found. The bits of a positive float32 are, from the left, 8 bits of exponent and 23 bits of significand. Read
as a whole number they grow with the number, so their top bits (the exponent and ``mantissa_bits`` of the significand) number
bins of equal *relative* width: log-spaced bins without a call of ``log``. That resolves p near 0. To resolve p near 1 as
well, the bits are taken of the *folded* probability ``min(p, 1 - p)``, and one more bit says which half p lies in: bins
above 1/2 mirror those below. For p >= 1/2 the difference 1 - p is exact in float32, so nothing is lost by folding.

How sums of probabilities stay exact. The low bits of the folded probability, those that do not tell the bin, are a whole
number: the voxel's *offset* from the bin's *anchor*, the folded probability whose low bits are 0. All voxels of a bin share
an exponent, hence the unit of the offset. A bin's sum of probabilities is therefore given by two whole numbers, the number
of voxels and the sum of their offsets; these add up without rounding, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.tallying import LANES

__all__ = ["ProbabilityGrid", "edge_above", "edges_of_uniform_bins", "shared_grid"]

_TINY = 2.0**-32  # all of (0, _TINY) shares one bin and counts as _TINY / 2
_ULP = 2.0**-24  # the spacing of float32 between 1/2 and 1
_TINY_EXPONENT, _ULP_EXPONENT, _HALF_EXPONENT = 95, 103, 126  # biased float32 exponents of these and of 1/2
_INVALID = np.iinfo(np.int64).min  # in place of a bin, for the keys of what is not a probability


def edges_of_uniform_bins(n_bins: int) -> tuple[float, ...]:
    """Inner edges of ``n_bins`` bins of equal width on [0, 1], as the float32 numbers that open each bin.

    Examples
    --------
    >>> edges_of_uniform_bins(4)
    (0.25, 0.5, 0.75)
    """
    return tuple(float(np.float32(k / n_bins)) for k in range(1, n_bins))


def edge_above(threshold: float) -> float:
    """The smallest float32 that is strictly greater than ``threshold``: the edge that makes ``p > threshold`` exact.

    Examples
    --------
    >>> edge_above(0.5) > 0.5
    True
    """
    edge = np.float32(threshold)
    if float(edge) <= threshold:
        edge = np.nextafter(edge, np.float32(np.inf))
    return float(edge)


class CounterLayout(NamedTuple):
    """The counters into which the kernel counts, and the bin of each.

    The kernel computes a voxel's counter from the bits of its probability alone, so counters are not in the order of p.
    They are, in this order: ``LANES`` counters for exact 0; a pair (p <= 1/2, p > 1/2) for the folded probabilities in
    (0, 2**-32) and for exact 1 (folded: 0); a pair for each value of the top bits from there to 1/2; a pair for what is not a
    probability. All these are "plain". After them come the counters of sub-bins: where edges cut the bin of a plain counter,
    that counter is blocked, and each part of the bin has a counter of its own.

    Attributes
    ----------
    bin : ndarray of shape (n_counters,), int64
        The bin of each counter, -1 where nothing is counted.
    first_sub_bin : ndarray of shape (n_plain,), int32
        For a plain counter that edges cut: position of its first sub-bin in ``sub_bin_lower``. -1 for the others.
    blocked : ndarray of int64
        The counters that must not count: those cut by edges, and those of what is not a probability.
    sub_bin_lower : ndarray of shape (n_counters - n_plain,), float32
        The smallest probability of each sub-bin, ascending.
    """

    bin: NDArray[np.int64]
    first_sub_bin: NDArray[np.int32]
    blocked: NDArray[np.int64]
    sub_bin_lower: NDArray[np.float32]


@dataclass(frozen=True)
class ProbabilityGrid:
    """The bins into which a tally sorts probabilities.

    A probability is converted to float32. Its bin is given by the top bits of ``min(p, 1 - p)`` and by the half in which p
    lies, so bins are log-spaced towards 0 and towards 1, with a relative width of ``2**-mantissa_bits``.
    Exact 1/2 and exact 1 have bins of their own; so has 0, whose bin also takes what lies below 2**-133; the rest of
    (0, 2**-32) shares one bin.

    Parameters
    ----------
    mantissa_bits : int, default=7
        Bits of the significand that separate bins; 4 to 12. With 7 a bin is at most 0.8 % of ``min(p, 1 - p)`` wide.
    edges : tuple of float, default=()
        Further edges in [2**-32, 1), rounded to float32. A bin that holds one is cut there, its part on the right closed on the
        left (``p >= edge``). So any statistic that is binned by these edges is exact, not approximate.

    Attributes
    ----------
    n_bins : int
        Number of bins.
    lower : ndarray of shape (n_bins,), float32
        The smallest probability of each bin; bin b holds ``lower[b] <= p < lower[b + 1]``.

    Examples
    --------
    >>> grid = ProbabilityGrid(edges=(0.3,))
    >>> int(grid.n_bins)
    6148
    >>> bins = grid.locate(np.array([0.0, 0.29999, 0.3, 1.0]))
    >>> bool(bins[2] == bins[1] + 1), int(bins[0]), int(bins[3])
    (True, 0, 6147)
    """

    mantissa_bits: int = 7
    edges: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        bits: object = self.mantissa_bits
        if not (isinstance(bits, int | np.integer) and 4 <= bits <= 12):
            msg = f"mantissa_bits must lie between 4 and 12, a whole number; got {self.mantissa_bits}."
            raise ValueError(msg)
        edges = np.unique(np.asarray(self.edges, dtype=np.float32))
        if edges.size and not (edges[0] >= _TINY and edges[-1] < 1):
            msg = f"edges must lie in [2**-32, 1) after rounding to float32; got {edges[0]:g} to {edges[-1]:g}."
            raise ValueError(msg)
        object.__setattr__(self, "mantissa_bits", int(self.mantissa_bits))
        object.__setattr__(self, "edges", tuple(edges.astype(float).tolist()))

    def __reduce__(self) -> tuple[type[ProbabilityGrid], tuple[int, tuple[float, ...]]]:
        return ProbabilityGrid, (self.mantissa_bits, self.edges)  # not the tables made from them

    @classmethod
    def standard(cls) -> ProbabilityGrid:
        """The default grid: cut at the edges of 10, 15 and 50 uniform bins and at the usual Dice thresholds."""
        return _standard_grid()

    @cached_property
    def _keys(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The keys that occur in [0, 1], in the order of p, and the smallest probability (exact, in float64) of each.

        A key is twice the top bits of the folded probability, plus 1 if p > 1/2. Keys 0 and 2 stand for exact 0 and for the
        rest of (0, 2**-32), key 1 for exact 1.
        """
        half = _HALF_EXPONENT << self.mantissa_bits
        below = np.arange(_TINY_EXPONENT << self.mantissa_bits, half + 1)
        above = np.arange(half - 1, (_ULP_EXPONENT << self.mantissa_bits) - 1, -1)
        # Folded probabilities from f up to g belong to p in (1 - g, 1 - f], which is open on the left: the smallest p there is
        # the first float32 after 1 - g. Above 1/2 float32 numbers are multiples of _ULP.
        smallest = (np.floor((1 - self._value(above + 1)) / _ULP) + 1) * _ULP
        # Near 1 the bins of 1 - p are narrower than _ULP, and some contain no float32 at all.
        occupied = smallest < np.append(smallest[1:], 1.0)
        keys = np.concatenate([[0, 2], 2 * below, 2 * above[occupied] + 1, [1]])
        smallest_positive = self._value(np.array([1]))
        lower = np.concatenate([[0.0], smallest_positive, self._value(below), smallest[occupied], [1.0]])
        return keys, lower

    def _value(self, top: NDArray[np.int64]) -> NDArray[np.float64]:
        """The number whose float32 has these top bits, and 0 in all others."""
        return (top.astype(np.uint32) << np.uint32(23 - self.mantissa_bits)).view(np.float32).astype(np.float64)

    @cached_property
    def lower(self) -> NDArray[np.float32]:
        lower = np.union1d(self._keys[1].astype(np.float32), np.asarray(self.edges, dtype=np.float32))
        lower.flags.writeable = False
        return lower

    @cached_property
    def counters(self) -> CounterLayout:
        """The counters of the kernel; see `CounterLayout`."""
        keys, key_lower = self._keys
        bins = np.searchsorted(self.lower, key_lower.astype(np.float32))
        cut = np.diff(bins, append=self.n_bins) > 1
        # The bin of each key; ~bin (a negative number) where edges cut it into this bin and the following ones.
        of_key = np.full(2 * ((_HALF_EXPONENT << self.mantissa_bits) + 2), _INVALID)
        of_key[keys] = np.where(cut, ~bins, bins)
        # From keys to counters: (0, 2**-32) and 1 become neighbours, and the keys in between, which nothing has, are left out.
        tiny_and_one = of_key[[2, 1]]
        higher = of_key[2 * (_TINY_EXPONENT << self.mantissa_bits) :]
        plain = np.concatenate([np.zeros(LANES, np.int64), tiny_and_one, higher])
        sub_bins = np.setdiff1d(np.arange(self.n_bins), plain)
        first_sub_bin = np.full(plain.size, -1, dtype=np.int32)
        is_cut = (plain < 0) & (plain != _INVALID)
        first_sub_bin[is_cut] = np.searchsorted(sub_bins, ~plain[is_cut])
        bin_of_counter = np.concatenate([np.where(plain < 0, -1, plain), sub_bins])
        layout = CounterLayout(bin_of_counter, first_sub_bin, np.flatnonzero(plain < 0), self.lower[sub_bins])
        for array in layout:
            array.flags.writeable = False
        return layout

    @cached_property
    def _anchors(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For each bin: the folded probability from which offsets are counted, and the unit of the offsets.

        The parts of a bin that edges cut keep the anchor of the whole.
        """
        # The key of a bin is the last one that begins at or below it.
        keys, key_lower = self._keys
        key = keys[np.searchsorted(key_lower.astype(np.float32), self.lower, side="right") - 1]
        anchor = self._value(key >> 1)
        unit = np.ldexp(1.0, (key >> 1 >> self.mantissa_bits) - 150)  # last place of a float32 of this exponent
        # Everything in (0, 2**-32) counts as the middle of it: at most 2**-33 too much or too little for a voxel.
        tiny = key == 2
        anchor[tiny], unit[tiny] = _TINY / 2, 0.0
        return anchor, unit

    @property
    def n_bins(self) -> int:
        return int(self.lower.size)

    def locate(self, probs: ArrayLike) -> NDArray[np.int64]:
        """Bin of each probability; -1 for NaN and for values outside [0, 1].

        Parameters
        ----------
        probs : array_like of float
            Probabilities of any shape; they are converted to float32.

        Returns
        -------
        ndarray of int64, the shape of ``probs``
        """
        return self.locate_with_offset(np.asarray(probs, dtype=np.float32).ravel())[0].reshape(np.shape(probs))

    def locate_with_offset(self, p: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bins of flat probabilities (-1 for what is none), and each one's offset from its bin's anchor, in the bin's unit."""
        bins = np.searchsorted(self.lower, p, side="right") - 1
        # Every comparison with NaN is false: written in this way, NaN becomes -1, too.
        bins[~((p >= 0) & (p <= 1))] = -1
        folded = np.minimum(p, np.float32(1) - p)
        low_bits = np.uint32((1 << (23 - self.mantissa_bits)) - 1)
        offset = np.where(folded >= _TINY, folded.view(np.uint32) & low_bits, 0)
        return bins, offset.astype(np.int64)

    def sum_of_probabilities(
        self, bins: NDArray[Any], count: NDArray[Any], offset_sum: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Sum of p over ``count`` voxels in each of ``bins``, whose offsets add up to ``offset_sum``.

        Parameters
        ----------
        bins : ndarray of shape (n,), int
            Bins of this grid.
        count, offset_sum : ndarray of shape (..., n)
            Whole numbers, or sums of them with weights.

        Returns
        -------
        ndarray of shape (..., n), float64
            Of whole numbers: the voxels' exact sum, rounded to float64 (below 2**29 voxels a bin only once), except that each
            voxel in the bin of (0, 2**-32) counts as 2**-33.
        """
        anchor, unit = self._anchors
        total: NDArray[np.float64] = count * anchor[bins]
        total += offset_sum * unit[bins]
        np.subtract(count, total, out=total, where=self.lower[bins] > 0.5)  # of 1 - p, back to p
        return total


@lru_cache(maxsize=16)
def shared_grid(mantissa_bits: int, edges: tuple[float, ...]) -> ProbabilityGrid:
    """One grid for all tallies that are read or sent by other processes: its tables are computed once."""
    return ProbabilityGrid(mantissa_bits, edges)


@lru_cache(maxsize=1)
def _standard_grid() -> ProbabilityGrid:
    uniform = {e for n in (10, 15, 50) for e in edges_of_uniform_bins(n)}
    strict = {edge_above(float(t)) for t in (*np.linspace(0.1, 0.8, 6), *(k / 10 for k in range(1, 10)))}
    return ProbabilityGrid(edges=tuple(uniform | strict))
