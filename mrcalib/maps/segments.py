"""Maps that are lines or constants between knots, and how both are tabled for the kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib.maps.base import CalibrationMap, FloatArray

__all__ = ["PiecewiseLinearMap", "StepMap", "mean_of_maps"]

SMALL = (
    1 << 13
)  # up to so many probabilities, a search among the knots takes less time than making the tables of the kernel


def _knots(x: ArrayLike, y: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    kx, ky = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64)
    if kx.ndim != 1 or kx.shape != ky.shape or kx.size == 0:
        msg = f"{name} needs x and y of one equal length; got shapes {kx.shape} and {ky.shape}."
        raise ValueError(msg)
    inside = (
        np.isfinite(kx).all()
        and np.isfinite(ky).all()
        and kx[0] >= 0
        and kx[-1] <= 1
        and ky.min() >= 0
        and ky.max() <= 1
    )
    if not inside or (np.diff(kx) <= 0).any():
        msg = f"{name} needs strictly ascending x in [0, 1] and y in [0, 1]."
        raise ValueError(msg)
    kx.flags.writeable = ky.flags.writeable = False
    return kx, ky


class _SegmentMap(CalibrationMap):
    """Base of maps that are given by segments: rows of (x, y, slope, x of the next knot), one of which holds each p."""

    @property
    def _x(self) -> FloatArray:
        """The knots."""
        raise NotImplementedError

    def _segments(self) -> FloatArray:
        """The rows, from the segment before the first knot to the one after the last."""
        raise NotImplementedError

    def _lines(self, anchor: FloatArray, end: FloatArray, width: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows (value at the anchor, slope) of the lines from each anchor to ``end``, for the kernel of float32.

        The value is NaN where no line serves, so that the kernel searches among the segments.
        """
        raise NotImplementedError

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        if probs.dtype == np.float32:
            from mrcalib._kernels.interpolation import interpolate_single

            return bool(interpolate_single(probs, *self._single_tables, out))
        if probs.size <= SMALL and "_tables" not in self.__dict__:
            start, value, slope, _ = self._segments().T[:, np.searchsorted(self._x, probs, side="right")]
            out[:] = slope * (probs - start) + value
            return True
        from mrcalib._kernels.interpolation import interpolate

        return bool(interpolate(probs, *self._tables, out))

    def _keeps_zero(self, probs: NDArray[Any]) -> bool:
        return probs.dtype == np.float32

    @cached_property
    def _tables(self) -> tuple[NDArray[np.uint32], FloatArray]:
        """The tables of the kernel for float64: the segment at which the walk of each key begins, and the segments."""
        from mrcalib._kernels.interpolation import smallest_of_keys

        return np.searchsorted(self._x, smallest_of_keys(), side="right").astype(np.uint32), self._segments()

    @cached_property
    def _single_tables(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32], FloatArray]:
        """The tables of the kernel for float32: the line of each key, the segment at which its walk begins, the segments."""
        from mrcalib._kernels.interpolation import anchors_of_single_keys

        anchors, segments = anchors_of_single_keys(), self._segments()
        low, high = np.minimum(anchors, 0.5), np.minimum(np.append(anchors[1:], np.inf), 0.5)
        width = np.nextafter(high.astype(np.float32), np.float32(0)) - low.astype(np.float32)
        below = self._lines(low, high, width)
        above = self._lines(1 - low, 1 - high, width)
        pairs = np.stack([below, above], axis=1)
        pairs[-1] = np.nan  # for what is not a probability
        first = segments[np.searchsorted(self._x, 0.0, side="right"), 1]
        zero = np.array([[0.0 if self.keep_zero else first, 0.0]], np.float32)
        lines = np.concatenate([pairs.reshape(-1, 2), zero])
        begin = np.searchsorted(self._x, np.stack([low, 1 - high], axis=1).ravel(), side="right").astype(np.uint32)
        return np.ascontiguousarray(lines).view(np.uint64).ravel(), begin, segments


@dataclass(frozen=True, eq=False)
class PiecewiseLinearMap(_SegmentMap):
    """Linear between knots, constant outside: ``np.interp(p, x, y)``, up to the rounding of the input's dtype.

    Of float32 and float16 the results lie within two units in the last place of float32, and are monotone.

    Parameters
    ----------
    x, y : array_like of shape (n_knots,)
        Strictly ascending probabilities, and non-decreasing values in [0, 1].

    Examples
    --------
    >>> PiecewiseLinearMap([0.0, 0.5, 1.0], [0.0, 0.2, 1.0])(np.array([0.25, 0.75]))
    array([0.1, 0.6])
    """

    kind = "piecewise-linear"
    x: FloatArray
    y: FloatArray

    def __post_init__(self) -> None:
        x, y = _knots(self.x, self.y, "PiecewiseLinearMap")
        if (np.diff(y) < 0).any():
            msg = "PiecewiseLinearMap needs non-decreasing y."
            raise ValueError(msg)
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    @property
    def reachable(self) -> tuple[float, float]:
        return 0.0 if self.keep_zero else float(self.y[0]), float(self.y[-1])

    @property
    def _x(self) -> FloatArray:
        return self.x

    def _lines(self, anchor: FloatArray, end: FloatArray, width: NDArray[np.float32]) -> NDArray[np.float32]:
        """Rows (value at the anchor, slope) of the lines from each anchor to ``end``, for the kernel of float32.

        The value is NaN, so that the kernel searches instead, where a knot lies inside, and where the line falls so far that
        float32 would lose digits. Rounding must not carry a line past the value at its end, or the map would not be monotone:
        such slopes are lowered a little, and given up where that does not help.
        """
        left, right = np.minimum(anchor, end), np.maximum(anchor, end)
        clean = np.searchsorted(self.x, left, side="right") == np.searchsorted(self.x, right, side="left")
        first, last = (np.interp(p, self.x, self.y) for p in (anchor, end))
        clean &= last >= first / 2
        length = right - left
        slope = np.divide(last - first, length, out=np.zeros(length.size), where=length > 0).astype(np.float32)
        value, limit = first.astype(np.float32), last.astype(np.float32)

        def too_far() -> NDArray[np.bool_]:
            reached = value + slope * width
            past: NDArray[np.bool_] = np.where(end > anchor, reached > limit, reached < limit) & (length > 0)
            return past

        for bit in range(23, 12, -1):
            slope[too_far()] *= np.float32(1 - 2.0**-bit)
        return np.stack([np.where(clean & ~too_far(), value, np.float32(np.nan)), slope], axis=1)

    def _segments(self) -> FloatArray:
        """Rows of (x, y, slope, x of the next knot), from the segment before the first knot to the one after the last."""
        segments = np.zeros((self.x.size + 1, 4))
        segments[0] = 0.0, self.y[0], 0.0, self.x[0]
        segments[1:, 0], segments[1:, 1] = self.x, self.y
        with np.errstate(over="ignore"):
            slope = np.diff(self.y) / np.diff(self.x)
        segments[1:-1, 2] = np.where(np.isfinite(slope), slope, 0.0)  # knots as near as this make a step
        segments[1:, 3] = np.append(self.x[1:], np.nan)  # no number, not even inf, is past the last knot
        return segments


@dataclass(frozen=True, eq=False)
class StepMap(_SegmentMap):
    """Constant on bins: ``y[i]`` for ``edges[i] <= p < edges[i + 1]``; the first bin starts at 0, the last one ends at 1.

    Parameters
    ----------
    edges : array_like of shape (n_bins,)
        Lower edges, strictly ascending, in [0, 1]. What lies below the first edge belongs to the first bin.
    y : array_like of shape (n_bins,)
        Values in [0, 1]; histogram binning does not make them monotone.

    Examples
    --------
    >>> StepMap([0.0, 0.5], [0.1, 0.9])(np.array([0.49, 0.5]))
    array([0.1, 0.9])
    """

    kind = "step"
    edges: FloatArray
    y: FloatArray

    def __post_init__(self) -> None:
        edges, y = _knots(self.edges, self.y, "StepMap")
        object.__setattr__(self, "edges", edges)
        object.__setattr__(self, "y", y)

    @property
    def reachable(self) -> tuple[float, float]:
        low = 0.0 if self.keep_zero else float(self.y.min())
        return low, float(self.y.max())

    def inverse(self, values: ArrayLike, *, tolerance: float = 1e-12) -> FloatArray:  # noqa: ARG002 - steps are exact
        target = np.asarray(values, dtype=np.float64)
        highest = np.maximum.accumulate(self.y)
        first = np.searchsorted(highest, target, side="left")
        starts = np.append(np.append(0.0, self.edges[1:]), np.nan)
        if self.keep_zero:
            starts[0] = np.nextafter(0.0, 1.0)
        return np.where((target <= 0) & self.keep_zero, 0.0, starts[first])

    @property
    def _x(self) -> FloatArray:
        return self.edges

    def _lines(self, anchor: FloatArray, end: FloatArray, width: NDArray[np.float32]) -> NDArray[np.float32]:  # noqa: ARG002
        """Constants, where no edge lies inside; a p above 1/2 may lie on the anchor, but never on the end."""
        left, right = np.minimum(anchor, end), np.maximum(anchor, end)
        first = np.searchsorted(self.edges, left, side="right")
        last = np.searchsorted(self.edges, right, side="left")
        last = np.where(end < anchor, np.searchsorted(self.edges, right, side="right"), last)
        value = self.y[np.maximum(first - 1, 0)].astype(np.float32)
        return np.stack([np.where(first == last, value, np.float32(np.nan)), np.zeros_like(value)], axis=1)

    def _segments(self) -> FloatArray:
        """Rows of (x, y, slope 0, x of the next edge); what lies below the first edge has the first value."""
        segments = np.zeros((self.edges.size + 1, 4))
        segments[:, 0] = np.append(0.0, self.edges)
        segments[:, 1] = np.append(self.y[0], self.y)
        segments[:, 3] = np.append(self.edges, np.nan)  # no number is past the last edge
        return segments


def mean_of_maps(maps: Sequence[PiecewiseLinearMap], weights: ArrayLike | None = None) -> PiecewiseLinearMap:
    """The weighted mean of piecewise linear maps, itself piecewise linear on the union of their knots.

    Examples
    --------
    >>> rise, flat = PiecewiseLinearMap([0.0, 1.0], [0.0, 1.0]), PiecewiseLinearMap([0.5], [0.0])
    >>> mean_of_maps([rise, flat])(np.array([0.5]))
    array([0.25])
    """
    w = np.ones(len(maps)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not maps or w.shape != (len(maps),) or not w.sum() > 0 or len({m.keep_zero for m in maps}) > 1:
        msg = "mean_of_maps needs at least one map, all of the same keep_zero, and a weight for each, not all 0."
        raise ValueError(msg)
    x = np.unique(np.concatenate([m.x for m in maps]))
    y = sum(weight * np.interp(x, m.x, m.y) for weight, m in zip(w / w.sum(), maps, strict=True))
    return PiecewiseLinearMap(x, np.maximum.accumulate(np.clip(y, 0.0, 1.0)), keep_zero=maps[0].keep_zero)
