"""Frozen monotone maps from probability to probability: what a fitted calibrator keeps, evaluates and saves.

A map knows nothing of how it was fitted. It is evaluated elementwise, keeps shape and float dtype, and is written to JSON
without loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.threads import over_runs
from mrcalib.inputs import check_probs, refuse_probs

__all__ = ["BetaMap", "CalibrationMap", "LogitMap", "PiecewiseLinearMap", "StepMap", "map_from_dict", "mean_of_maps"]

FloatArray = NDArray[np.float64]
CHUNK = 1 << 17
PIECE = 1 << 13
SMALL = 1 << 13  # so few probabilities are sought among the knots sooner than the tables of the kernel are made
CLIP = 2.0**-24
"""Exact 0 and 1 have no logit: logit-based maps clip probabilities to [2**-24, 1 - 2**-24], float32's resolution below 1."""


@dataclass(frozen=True, eq=False)
class CalibrationMap:
    """A non-decreasing map of [0, 1] into itself.

    Parameters
    ----------
    keep_zero : bool, default=False
        Leave an exact 0 at 0, whatever the map says there: outside a region of interest, or outside the network's field of
        view, 0 means "not looked at", and a small floor over 1e8 voxels adds up to a large volume.
    """

    kind: ClassVar[str]
    keep_zero: bool = field(default=False, kw_only=True)

    def __call__(self, probs: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Calibrated probabilities, in the shape and float dtype of ``probs`` (float16 is computed in float32).

        Parameters
        ----------
        probs : array_like of float
            Probabilities in [0, 1], of any shape; NaN stays NaN, and what is masked stays masked.
        out : ndarray, optional
            Memory for the result: contiguous in the order of ``probs``, of their shape and dtype, and apart from them. New
            memory, by default, takes the system about as long to give as the map takes to fill.

        Returns
        -------
        ndarray
            ``out`` if it is given.

        Raises
        ------
        ValueError
            If a probability lies outside [0, 1] (what ``out`` then holds is void), or ``out`` does not fit.
        TypeError
            If ``probs`` are not floating-point.
        """
        if np.ma.isMaskedArray(probs):
            hidden = np.ma.getmaskarray(probs)
            return np.ma.MaskedArray(self(np.ma.filled(probs, 0.0), out=out), hidden)
        array = check_probs(probs)
        order: Literal["C", "F"] = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        flat = array.ravel(order=order)
        native = np.dtype(np.float32 if array.dtype.itemsize <= 4 else np.float64)
        values = np.empty(flat.shape, array.dtype) if out is None else _room(out, array, order)

        def evaluate(first: int, last: int) -> None:
            for start in range(first, last, CHUNK):
                run = slice(start, min(start + CHUNK, last))
                part = np.ascontiguousarray(flat[run], dtype=native)
                result = values[run] if values.dtype == native else np.empty(part.shape, native)
                if self._evaluate(part, result) and not np.all((part >= 0) & (part <= 1) | np.isnan(part)):
                    wrong = np.count_nonzero((flat < 0) | (flat > 1))
                    refuse_probs(flat, int(wrong), None)
                if values.dtype != native:
                    values[run] = result
                if self.keep_zero and not self._keeps_zero(part):
                    values[run][part == 0] = 0

        over_runs(evaluate, flat.size)
        return np.reshape(values, array.shape, order=order) if out is None else out

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        """Write the map of ``probs`` to ``out``; return whether some may be NaN or outside [0, 1]."""
        raise NotImplementedError

    def _keeps_zero(self, probs: NDArray[Any]) -> bool:  # noqa: ARG002 - for maps that do
        """Whether ``_evaluate`` itself gives 0 at 0 where ``keep_zero`` says so."""
        return False

    def inverse(self, values: ArrayLike, *, tolerance: float = 1e-12) -> FloatArray:
        """The smallest p in [0, 1] whose calibrated probability reaches each value; NaN where none does.

        Parameters
        ----------
        values : array_like of float
            Calibrated probabilities.
        tolerance : float, default=1e-12
            Absolute precision of the bisection.

        Returns
        -------
        ndarray of float64, the shape of ``values``

        Examples
        --------
        >>> PiecewiseLinearMap([0.0, 1.0], [0.0, 0.5]).inverse([0.25, 0.75])
        array([0.5, nan])
        """
        target = np.asarray(values, dtype=np.float64)
        low, high = np.zeros(target.shape), np.ones(target.shape)
        reached = self(high) >= target
        while np.max(high - low, initial=0.0) > tolerance:
            middle = (low + high) / 2
            if np.all((middle == low) | (middle == high)):  # there is no float between them
                break
            enough = self(middle) >= target
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        at_zero = self(np.zeros(target.shape)) >= target
        return np.where(at_zero, 0.0, np.where(reached, high, np.nan))

    @property
    def reachable(self) -> tuple[float, float]:
        """The smallest and the largest probability that the map can give."""
        low, high = self(np.array([0.0, 1.0]))
        return float(low), float(high)

    def to_dict(self) -> dict[str, Any]:
        """JSON values from which ``map_from_dict`` makes an equal map; float64 survives exactly."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if not name.startswith("_")}
        return {"kind": self.kind, **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CalibrationMap) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]


def _room(out: NDArray[Any], probs: NDArray[Any], order: Literal["C", "F"]) -> NDArray[Any]:
    """``out`` as flat memory; ValueError if it is not what results for ``probs`` can be written to."""
    contiguous = out.flags.c_contiguous if order == "C" else out.flags.f_contiguous
    if (out.shape, out.dtype) != (probs.shape, probs.dtype) or not contiguous or not out.flags.writeable:
        msg = (
            f"out must be writeable and contiguous (order={order!r}), of shape {probs.shape} and {probs.dtype} as probs are; "
            f"got shape {out.shape} and {out.dtype}, {'' if contiguous else 'not '}contiguous."
        )
        raise ValueError(msg)
    if np.may_share_memory(out, probs):
        msg = "out must not share memory with probs: they are read while it is written."
        raise ValueError(msg)
    return out.reshape(-1, order=order)


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


@dataclass(frozen=True, eq=False)
class PiecewiseLinearMap(CalibrationMap):
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

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        if probs.dtype == np.float32:
            from mrcalib._kernels.interpolation import interpolate_single

            return bool(interpolate_single(probs, *self._single_tables, out))
        if probs.size <= SMALL and "_tables" not in self.__dict__:
            start, value, slope, _ = self._segments().T[:, np.searchsorted(self.x, probs, side="right")]
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

        return np.searchsorted(self.x, smallest_of_keys(), side="right").astype(np.uint32), self._segments()

    @cached_property
    def _single_tables(self) -> tuple[NDArray[np.uint64], NDArray[np.uint32], FloatArray]:
        """The tables of the kernel for float32: the line of each key, the segment at which its walk begins, the segments."""
        from mrcalib._kernels.interpolation import anchors_of_single_keys

        anchors = anchors_of_single_keys()
        low, high = np.minimum(anchors, 0.5), np.minimum(np.append(anchors[1:], np.inf), 0.5)
        width = np.nextafter(high.astype(np.float32), np.float32(0)) - low.astype(np.float32)
        below = self._lines(low, high, width)
        above = self._lines(1 - low, 1 - high, width)
        pairs = np.stack([below, above], axis=1)
        pairs[-1] = np.nan  # for what is not a probability
        zero = np.array([[0.0 if self.keep_zero else self.y[0], 0.0]], np.float32)
        lines = np.concatenate([pairs.reshape(-1, 2), zero])
        begin = np.searchsorted(self.x, np.stack([low, 1 - high], axis=1).ravel(), side="right").astype(np.uint32)
        return np.ascontiguousarray(lines).view(np.uint64).ravel(), begin, self._segments()

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
class StepMap(CalibrationMap):
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

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        bins = np.searchsorted(self.edges, probs, side="right") - 1
        out[:] = self.y[np.clip(bins, 0, None)]
        out[np.isnan(probs)] = np.nan
        return True


def _doubles(probs: NDArray[Any], out: NDArray[Any]) -> Iterator[tuple[FloatArray, NDArray[Any]]]:
    """Copies in float64 of pieces so small that what is computed of them is kept by the processor, and where results go."""
    for start in range(0, probs.size, PIECE):
        piece = slice(start, start + PIECE)
        yield probs[piece].astype(np.float64), out[piece]


@dataclass(frozen=True, eq=False)
class LogitMap(CalibrationMap):
    """Affine in the logit: ``expit(slope * logit(p) + offset)``, p clipped to [clip, 1 - clip]. Temperature is 1 / slope.

    Parameters
    ----------
    slope : float
        Not negative.
    offset : float, default=0.0
    clip : float, default=2**-24

    Examples
    --------
    >>> LogitMap(0.5)(np.array([0.8])).round(4)
    array([0.6667])
    """

    kind = "logit"
    slope: float
    offset: float = 0.0
    clip: float = CLIP

    def __post_init__(self) -> None:
        if not (np.isfinite(self.slope) and self.slope >= 0 and np.isfinite(self.offset) and 0 < self.clip < 0.5):
            got = f"{self.slope}, {self.offset}, {self.clip}"
            msg = f"LogitMap needs a slope >= 0, a finite offset and 0 < clip < 0.5; got {got}."
            raise ValueError(msg)

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        from scipy.special import expit, logit

        for p, result in _doubles(probs, out):
            np.clip(p, self.clip, 1 - self.clip, out=p)
            logit(p, out=p)
            np.add(np.multiply(p, self.slope, out=p), self.offset, out=p)
            result[:] = expit(p, out=p)
        return True


@dataclass(frozen=True, eq=False)
class BetaMap(CalibrationMap):
    """The beta map of Kull et al. (2017): ``expit(a log p - b log(1 - p) + c)`` with a, b >= 0, p clipped as for LogitMap.

    Examples
    --------
    >>> BetaMap(1.0, 1.0, 0.0)(np.array([0.3]))
    array([0.3])
    """

    kind = "beta"
    a: float
    b: float
    c: float
    clip: float = CLIP

    def __post_init__(self) -> None:
        if not (np.isfinite([self.a, self.b, self.c]).all() and min(self.a, self.b) >= 0 and 0 < self.clip < 0.5):
            msg = f"BetaMap needs a, b >= 0, a finite c and 0 < clip < 0.5; got {self.a}, {self.b}, {self.c}, {self.clip}."
            raise ValueError(msg)

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        from scipy.special import expit

        for p, result in _doubles(probs, out):
            np.clip(p, self.clip, 1 - self.clip, out=p)
            result[:] = expit(self.a * np.log(p) - self.b * np.log1p(-p) + self.c)
        return True


_KINDS: dict[str, type[CalibrationMap]] = {m.kind: m for m in (PiecewiseLinearMap, StepMap, LogitMap, BetaMap)}


def map_from_dict(values: dict[str, Any]) -> CalibrationMap:
    """The map that ``to_dict`` described; ValueError for an unknown kind.

    Examples
    --------
    >>> map_from_dict(LogitMap(0.5).to_dict()) == LogitMap(0.5)
    True
    """
    fields = dict(values)
    kind = fields.pop("kind", None)
    if kind not in _KINDS:
        msg = f"Unknown kind of calibration map {kind!r}; this mrcalib knows {', '.join(map(repr, _KINDS))}."
        raise ValueError(msg)
    try:
        return _KINDS[kind](**fields)
    except TypeError as error:
        msg = f"A calibration map of kind {kind!r} has other fields than {', '.join(fields)}."
        raise ValueError(msg) from error


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
