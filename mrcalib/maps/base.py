"""What all maps share: they are evaluated elementwise, keep shape and dtype, and are written to JSON without loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mrcalib._kernels.threads import over_runs
from mrcalib.inputs import check_probs, refuse_probs

__all__ = ["CalibrationMap", "FloatArray", "map_from_dict"]

FloatArray = NDArray[np.float64]
CHUNK = 1 << 17
_KINDS: dict[str, type[CalibrationMap]] = {}


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
    """What ``to_dict`` calls maps of this class; a subclass that sets it is found by ``map_from_dict``."""
    keep_zero: bool = field(default=False, kw_only=True)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in vars(cls):
            _KINDS[cls.kind] = cls

    def __call__(self, probs: ArrayLike, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Calibrated probabilities, in the shape and float dtype of ``probs`` (float16 is computed in float32).

        Parameters
        ----------
        probs : array_like of float
            Probabilities in [0, 1], of any shape; NaN stays NaN, and what is masked stays masked.
        out : ndarray, optional
            Memory for the result: of the shape and dtype of ``probs``, contiguous in their order, and not shared with them.
            By default new memory is taken, which costs about as much time as computing the map.

        Returns
        -------
        ndarray
            The calibrated probabilities; ``out`` if it is given.

        Raises
        ------
        ValueError
            If a probability lies outside [0, 1] (the content of ``out`` is then undefined), or if ``out`` does not fit.
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
        values = np.empty(flat.shape, array.dtype) if out is None else _checked_memory(out, array, order)

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
        >>> from mrcalib.maps import PiecewiseLinearMap
        >>> PiecewiseLinearMap([0.0, 1.0], [0.0, 0.5]).inverse([0.25, 0.75])
        array([0.5, nan])
        """
        target = np.asarray(values, dtype=np.float64)
        low, high = np.zeros(target.shape), np.ones(target.shape)
        reached = self(high) >= target
        while np.max(high - low, initial=0.0) > tolerance:
            middle = (low + high) / 2
            # No float lies between them: the bisection cannot come closer.
            if np.all((middle == low) | (middle == high)):
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
        """The map as JSON values, from which ``map_from_dict`` makes an equal map; float64 numbers are kept exactly."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__ if not name.startswith("_")}
        return {"kind": self.kind, **{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in values.items()}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CalibrationMap) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]


def _checked_memory(out: NDArray[Any], probs: NDArray[Any], order: Literal["C", "F"]) -> NDArray[Any]:
    """``out`` as a flat view; ValueError if the results for ``probs`` cannot be written to it."""
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


def map_from_dict(values: dict[str, Any]) -> CalibrationMap:
    """The map that ``to_dict`` described; ValueError for an unknown kind or other fields.

    Examples
    --------
    >>> from mrcalib.maps import LogitMap
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
