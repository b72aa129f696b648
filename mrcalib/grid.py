"""Where probabilities go: the bins of a tally, fine towards 0 and towards 1, exact at any edge that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.tallying import LANES

__all__ = ["ProbabilityGrid", "edge_above", "edges_of_uniform_bins"]

_TINY = 2.0**-32  # all of (0, _TINY) shares one bin and counts as _TINY / 2
_ULP = 2.0**-24  # the spacing of float32 between 1/2 and 1
_REFUSED = np.iinfo(np.int64).min
_TINY_EXPONENT, _ULP_EXPONENT, _HALF_EXPONENT = 95, 103, 126  # biased float32 exponents of these and of 1/2


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


class Slots(NamedTuple):
    """Where the kernel counts: slots that it finds from the bits of a probability alone, in no order of p.

    They are ``LANES`` slots of zero, a pair (p <= 1/2, p > 1/2) for (0, 2**-32) and for 1, a pair for each value of the top
    bits from there to 1/2, a pair of what is refused, and then the bins into which edges cut some of these.

    Attributes
    ----------
    bin : ndarray of shape (n_slots,), int64
        The bin of each slot, -1 where nothing is counted.
    turn : ndarray of shape (n_plain,), int32
        Of a slot that edges cut: the first of its bins among ``lower``; else -1.
    closed : ndarray of int64
        The slots not to be counted in: those cut by edges, and the refused.
    lower : ndarray of shape (n_slots - n_plain,), float32
        The smallest probability of each bin of the cut slots, in ascending order.
    """

    bin: NDArray[np.int64]
    turn: NDArray[np.int32]
    closed: NDArray[np.int64]
    lower: NDArray[np.float32]


@dataclass(frozen=True)
class ProbabilityGrid:
    """The bins into which a tally sorts probabilities.

    A probability is taken in float32. Its bin is told by the top bits of ``min(p, 1 - p)``, mirrored above 1/2, so bins are
    log-spaced towards 0 and towards 1 with a relative width of ``2**-mantissa_bits``, without a call of ``log``.
    Exact 1/2 and exact 1 have bins of their own; so has 0, which takes what lies below 2**-133; the rest of (0, 2**-32)
    shares one bin.

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
        """The keys that a float32 in [0, 1] can have, in the order of p, and the smallest such p of each, exactly."""
        half = _HALF_EXPONENT << self.mantissa_bits
        below = np.arange(_TINY_EXPONENT << self.mantissa_bits, half + 1)
        above = np.arange(half - 1, (_ULP_EXPONENT << self.mantissa_bits) - 1, -1)
        # The bins of 1 - p are closed on the left, so the smallest p of one is the first float32 past 1 - (its upper end).
        past = (np.floor((1 - self._value(above + 1)) / _ULP) + 1) * _ULP
        occupied = past < np.append(past[1:], 1.0)
        keys = np.concatenate([[0, 2], 2 * below, 2 * above[occupied] + 1, [1]])
        smallest_positive = self._value(np.array([1]))
        lower = np.concatenate([[0.0], smallest_positive, self._value(below), past[occupied], [1.0]])
        return keys, lower

    def _value(self, top: NDArray[np.int64]) -> NDArray[np.float64]:
        """The number whose float32 has these top bits and then zeros."""
        return (top.astype(np.uint32) << np.uint32(23 - self.mantissa_bits)).view(np.float32).astype(np.float64)

    @cached_property
    def lower(self) -> NDArray[np.float32]:
        lower = np.union1d(self._keys[1].astype(np.float32), np.asarray(self.edges, dtype=np.float32))
        lower.flags.writeable = False
        return lower

    @cached_property
    def slots(self) -> Slots:
        """The order in which the kernel counts."""
        keys, key_lower = self._keys
        bins = np.searchsorted(self.lower, key_lower.astype(np.float32))
        cut = np.diff(bins, append=self.n_bins) > 1
        of_key = np.full(2 * ((_HALF_EXPONENT << self.mantissa_bits) + 2), _REFUSED)
        of_key[keys] = np.where(cut, ~bins, bins)
        tiny_and_one = of_key[[2, 1]]
        higher = of_key[2 * (_TINY_EXPONENT << self.mantissa_bits) :]
        plain = np.concatenate([np.zeros(LANES, np.int64), tiny_and_one, higher])
        pieces = np.setdiff1d(np.arange(self.n_bins), plain)
        turn = np.full(plain.size, -1, dtype=np.int32)
        is_cut = (plain < 0) & (plain != _REFUSED)
        turn[is_cut] = np.searchsorted(pieces, ~plain[is_cut])
        bin_of_slot = np.concatenate([np.where(plain < 0, -1, plain), pieces])
        slots = Slots(bin_of_slot, turn, np.flatnonzero(plain < 0), self.lower[pieces])
        for array in slots:
            array.flags.writeable = False
        return slots

    @cached_property
    def _feet(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each bin: the folded probability min(p, 1 - p) from which excess is counted, and the unit of the excess."""
        keys, key_lower = self._keys
        key = keys[np.searchsorted(key_lower.astype(np.float32), self.lower, side="right") - 1]
        foot = self._value(key >> 1)
        unit = np.ldexp(1.0, (key >> 1 >> self.mantissa_bits) - 150)
        tiny = key == 2
        foot[tiny], unit[tiny] = _TINY / 2, 0.0
        return foot, unit

    @property
    def n_bins(self) -> int:
        return int(self.lower.size)

    def locate(self, probs: ArrayLike) -> NDArray[np.int64]:
        """Bin of each probability; -1 for NaN and for values outside [0, 1].

        Parameters
        ----------
        probs : array_like of float
            Probabilities of any shape.

        Returns
        -------
        ndarray of int64, the shape of ``probs``
        """
        return self.locate_with_excess(np.asarray(probs, dtype=np.float32).ravel())[0].reshape(np.shape(probs))

    def locate_with_excess(self, p: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Bins of flat probabilities, and how far each lies above the foot of its bin, in the bin's unit."""
        bins = np.searchsorted(self.lower, p, side="right") - 1
        bins[~((p >= 0) & (p <= 1))] = -1
        folded = np.minimum(p, np.float32(1) - p)
        low_bits = np.uint32((1 << (23 - self.mantissa_bits)) - 1)
        excess = np.where(folded >= _TINY, folded.view(np.uint32) & low_bits, 0)
        return bins, excess.astype(np.int64)

    def sum_of_probabilities(
        self, bins: NDArray[Any], count: NDArray[np.int64], excess: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Sum of p over voxels that were counted in ``bins`` with a total ``excess`` over the bins' feet.

        The voxels' exact sum, rounded to float64 (below 2**29 voxels a bin once), except that each voxel in the bin of
        (0, 2**-32) counts as 2**-33.
        """
        foot, unit = self._feet
        folded = count * foot[bins] + excess * unit[bins]
        total: NDArray[np.float64] = np.where(self.lower[bins] > 0.5, count - folded, folded)
        return total


@lru_cache(maxsize=1)
def _standard_grid() -> ProbabilityGrid:
    uniform = {e for n in (10, 15, 50) for e in edges_of_uniform_bins(n)}
    strict = {edge_above(float(t)) for t in (*np.linspace(0.1, 0.8, 6), *(k / 10 for k in range(1, 10)))}
    return ProbabilityGrid(edges=tuple(uniform | strict))
