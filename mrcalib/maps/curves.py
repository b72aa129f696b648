"""Maps that are smooth curves: affine in the logit, or the beta map.

In float64 they are computed as they are written. In float32 a kernel evaluates a parabola for each key of a probability
(``_kernels/interpolation.py``), which is as exact as float32 can tell, and takes a tenth of the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.maps.base import CalibrationMap, FloatArray

__all__ = ["CLIP", "BetaMap", "LogitMap"]

CLIP = 2.0**-24
"""Exact 0 and 1 have no logit: logit-based maps clip probabilities to [2**-24, 1 - 2**-24], float32's resolution below 1."""
PIECE = 1 << 13  # numbers that the processor's cache holds while they are worked on
LARGEST = float(np.finfo(np.float32).max)
TOLERANCE = 2.0**-25  # relative; a quarter of the spacing of float32


class _CurveMap(CalibrationMap):
    """Base of the smooth maps: ``_curve`` says what they are in float64."""

    def _curve(self, p: FloatArray) -> FloatArray:
        """The map of probabilities in float64, which may be overwritten."""
        raise NotImplementedError

    def _evaluate(self, probs: NDArray[Any], out: NDArray[Any]) -> bool:
        if probs.dtype != np.float32:
            self._compute(probs, out)
            return True
        from mrcalib._kernels.interpolation import evaluate_parabolas

        if not evaluate_parabolas(probs, *self._parabolas, out):
            return False
        missing = np.flatnonzero(np.isnan(out))
        exact = np.empty(missing.size, np.float32)
        self._compute(probs[missing], exact)
        out[missing] = exact
        return True

    def _compute(self, probs: NDArray[Any], out: NDArray[Any]) -> None:
        for start in range(0, probs.size, PIECE):
            piece = slice(start, start + PIECE)
            out[piece] = self._curve(probs[piece].astype(np.float64))

    def _keeps_zero(self, probs: NDArray[Any]) -> bool:
        return probs.dtype == np.float32

    @cached_property
    def _parabolas(self) -> tuple[FloatArray, FloatArray, NDArray[np.float32]]:
        """Of each key: the value at its anchor, and the factors of the distance from there and of its square.

        A parabola meets the curve at both ends of the key's interval and in the middle, so that neighbours meet, too. Where
        it is not as close as ``TOLERANCE`` in between (curves of extreme slopes, or a clip inside), its value is NaN.
        """
        from mrcalib._kernels.interpolation import anchors_of_single_keys

        anchors = anchors_of_single_keys()
        low = np.minimum(anchors, 0.5)
        length = np.minimum(np.append(anchors[1:], 0.5), 0.5) - low
        rows = np.full((low.size, 2, 3), np.nan)
        for side in (0, 1):

            def curve(distance: FloatArray, side: int = side) -> FloatArray:
                p = low + distance
                return self._curve(1 - p if side else p)

            first, middle, last = curve(0 * length), curve(length / 2), curve(length)
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = (4 * middle - 3 * first - last) / length
                bend = 2 * (first + last - 2 * middle) / length**2
            slope, bend = (np.where(length > 0, values, 0.0) for values in (slope, bend))
            single = np.where(np.abs(bend) < LARGEST, bend, np.nan).astype(np.float32)
            slope, bend = slope + (bend - single) * length, single.astype(np.float64)  # it still meets the end
            close = np.isfinite(slope) & np.isfinite(bend)
            for share in (0.2, 0.8):
                distance = share * length
                true = curve(distance)
                close &= np.abs(first + distance * (slope + distance * bend) - true) <= TOLERANCE * true
            rows[close, side] = np.stack([first, slope, bend], axis=1)[close]
        rows[-1] = np.nan  # for what is not a probability
        zero = 0.0 if self.keep_zero else float(self._curve(np.zeros(1))[0])
        rows = np.concatenate([rows.reshape(-1, 3), [[zero, 0.0, 0.0]]])
        return rows[:, 0].copy(), rows[:, 1].copy(), rows[:, 2].astype(np.float32)


@dataclass(frozen=True, eq=False)
class LogitMap(_CurveMap):
    """Affine in the logit: ``expit(slope * logit(p) + offset)``, p clipped to [clip, 1 - clip]. Temperature is 1 / slope.

    Parameters
    ----------
    slope : float
        Factor of the logit, at least 0; below 1 it brings probabilities closer to 1/2.
    offset : float, default=0.0
        Added to the logit.
    clip : float, default=2**-24
        Distance from 0 and 1 to which probabilities are clipped; above 0 and below 1/2.

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

    def _curve(self, p: FloatArray) -> FloatArray:
        from scipy.special import expit, logit

        np.clip(p, self.clip, 1 - self.clip, out=p)
        logit(p, out=p)
        np.add(np.multiply(p, self.slope, out=p), self.offset, out=p)
        values: FloatArray = expit(p, out=p)
        return values


@dataclass(frozen=True, eq=False)
class BetaMap(_CurveMap):
    """The beta map of Kull et al. (2017): ``expit(a log p - b log(1 - p) + c)`` with a, b >= 0, p clipped as for LogitMap.

    Parameters
    ----------
    a, b : float
        Factors of ``log p`` and of ``-log(1 - p)``, at least 0.
    c : float
        Added to both.
    clip : float, default=2**-24
        Distance from 0 and 1 to which probabilities are clipped; above 0 and below 1/2.

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

    def _curve(self, p: FloatArray) -> FloatArray:
        from scipy.special import expit

        np.clip(p, self.clip, 1 - self.clip, out=p)
        values: FloatArray = expit(self.a * np.log(p) - self.b * np.log1p(-p) + self.c)
        return values
