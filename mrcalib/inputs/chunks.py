"""Checked voxels: flat views of the arrays that came in, converted a run at a time, so that nothing large is copied."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs.messages import refuse_labels, refuse_probs
from mrcalib.inputs.raters import split_missing

__all__ = ["CHUNK", "Chunk", "Order", "Voxels", "bit_masks"]

CHUNK = 1 << 18
"""Voxels that are converted at a time: their answers fit into a processor's cache."""

Order = Literal["C", "F"]
"""The order in which voxels lie in memory, as NumPy names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """A run of voxels inside the region of interest, with the raters' answers as whole numbers.

    Attributes
    ----------
    probs : ndarray of shape (n,), float
        In the dtype that came in.
    masks : list of ndarray of shape (n,), uint8
        Of each rater 1 where the voxel is marked, else 0; an empty array for a missing rater.
    present : list of ndarray of shape (n,), uint8
        Of each rater 1 where the voxel is answered, else 0; an empty array where all are.
    strata, soft, sample_weight : ndarray of shape (n,), or None
        As of `Voxels`.
    """

    probs: NDArray[Any]
    masks: list[NDArray[np.uint8]]
    present: list[NDArray[np.uint8]]
    strata: NDArray[np.uint8] | None
    soft: NDArray[np.float64] | None
    sample_weight: NDArray[np.float64] | None

    def single(self) -> NDArray[np.float32]:
        """The probabilities in float32; what lies outside [0, 1], and might round into it, becomes NaN."""
        if self.probs.dtype.itemsize <= np.dtype(np.float32).itemsize:
            return self.probs.astype(np.float32, copy=False)
        outside = (self.probs < 0) | (self.probs > 1)
        inside: NDArray[Any] = np.where(outside, np.nan, self.probs) if outside.any() else self.probs
        return inside.astype(np.float32)

    def take(self, index: NDArray[np.intp]) -> Chunk:
        """Some of the voxels; an empty mask or presence stays empty."""

        def some(array: Any) -> Any:
            return None if array is None else array[index] if array.size else array

        return Chunk(
            self.probs[index],
            [some(mask) for mask in self.masks],
            [some(known) for known in self.present],
            some(self.strata),
            some(self.soft),
            some(self.sample_weight),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """Checked probabilities and answers of one image, flat, in the order of memory.

    Attributes
    ----------
    probs : ndarray of shape (n,), float
        Their values are not checked yet.
    masks : tuple of (ndarray of shape (n,) or None)
        Of each rater; None where missing. Empty where there is an averaged target.
    positive : tuple of int, or None
        Labels that mark the structure; None for masks of 0 and 1.
    soft : ndarray of shape (n,), or None
        An averaged target in [0, 1] in place of masks.
    roi : ndarray of shape (n,), bool, or None
        The voxels that count; None for all.
    strata : ndarray of shape (n,), uint8, or None
    sample_weight : ndarray of shape (n,), or None
    case : str or None
        Named in errors.
    order : {"C", "F"}
        Of the flat arrays: ``values.reshape(shape, order=order)`` is an image again.
    rater_names : tuple of str
        The keys of a dict of masks; else "0", "1", ...
    arguments : frozenset of str
        What the function takes that the user called; errors advise no other.
    """

    probs: NDArray[Any]
    masks: tuple[NDArray[Any] | None, ...]
    positive: tuple[int, ...] | None
    soft: NDArray[Any] | None
    roi: NDArray[np.bool_] | None
    strata: NDArray[np.uint8] | None
    sample_weight: NDArray[Any] | None
    case: str | None
    order: Order = "C"
    rater_names: tuple[str, ...] = ()
    arguments: frozenset[str] = frozenset()

    @property
    def n_voxels(self) -> int:
        return int(self.probs.size)

    @property
    def n_raters(self) -> int:
        return 1 if self.soft is not None else len(self.masks)

    @property
    def ready(self) -> bool:
        """Whether probabilities and masks can be counted as they lie in memory, so that a chunk may be of any size."""
        plain = all(
            mask is None or (not np.ma.isMaskedArray(mask) and mask.dtype in (np.bool_, np.uint8) and _contiguous(mask))
            for mask in self.masks
        )
        options = (self.positive, self.soft, self.roi, self.strata, self.sample_weight)
        usable = self.probs.dtype == np.float32 and _contiguous(self.probs)
        return plain and usable and all(option is None for option in options)

    def chunks(self, start: int = 0, stop: int | None = None, size: int = CHUNK) -> Iterator[Chunk]:
        """Convert voxels ``start`` to ``stop``, ``size`` at a time; runs without a voxel of the region are skipped."""
        stop = self.n_voxels if stop is None else stop
        for a in range(start, stop, size):
            part = slice(a, min(a + size, stop))
            keep = None if self.roi is None else np.flatnonzero(self.roi[part])
            if keep is not None and keep.size == 0:
                continue

            def cut(array: NDArray[Any], part: slice = part, keep: NDArray[Any] | None = keep) -> NDArray[Any]:
                piece = array[part]
                if keep is not None:
                    inside: NDArray[Any] = piece[keep]
                    return inside
                return piece if np.ma.isMaskedArray(piece) else np.ascontiguousarray(piece)

            answers = [self._answers(r, mask, cut) for r, mask in enumerate(self.masks)]
            yield Chunk(
                cut(self.probs),
                [mask for mask, _ in answers],
                [present for _, present in answers],
                None if self.strata is None else cut(self.strata),
                None if self.soft is None else cut(self.soft).astype(np.float64),
                None if self.sample_weight is None else cut(self.sample_weight).astype(np.float64),
            )

    def answered(self) -> NDArray[np.bool_]:
        """Whether each voxel counts: it is in the region of interest, and some rater answered there."""
        found = np.zeros(self.n_voxels, dtype=bool)
        everywhere = np.arange(self.n_voxels) if self.roi is None else np.flatnonzero(self.roi)
        start = 0
        for chunk in self.chunks():
            stop = start + chunk.probs.size
            found[everywhere[start:stop]] = bit_masks(self, chunk)[0] != 0
            start = stop
        return found

    def _answers(self, rater: int, mask: NDArray[Any] | None, cut: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The answers of a rater to a run of voxels, and where there are any, as `Chunk` holds them."""
        everywhere = np.empty(0, np.uint8)
        if mask is None:
            return everywhere, everywhere
        piece, known = split_missing(cut(mask))
        present = everywhere if known is None else known.view(np.uint8)
        if self.positive is not None:
            piece = np.isin(piece, self.positive)
        if piece.dtype.kind == "b":
            return piece.view(np.uint8), present
        if piece.dtype != np.uint8:
            if not ((piece == 0) | (piece == 1)).all():
                self.refuse_labels(rater)
            piece = piece.astype(np.uint8)
        return piece, present

    def whole_masks(self, shape: tuple[int, ...]) -> list[NDArray[Any] | None]:
        """Each rater's mask of 0 and 1 in the shape of the image, None where missing: for what is spatial.

        ValueError where a rater answered at part of the voxels only, or no rater is there.
        """
        masks = [None if mask is None else self._whole(r, mask) for r, mask in enumerate(self.masks)]
        if all(mask is None for mask in masks):
            msg = "At least one rater must have annotated the case; all are missing."
            raise ValueError(msg)
        return [None if mask is None else mask.reshape(shape, order=self.order) for mask in masks]

    def _whole(self, rater: int, mask: NDArray[Any]) -> NDArray[Any] | None:
        """A rater's flat mask of 0 and 1, None if nothing is known of it."""
        values, known = split_missing(mask)
        if known is not None and not known.any():
            return None
        if known is not None:
            msg = (
                f"Rater {rater} annotated part of the voxels only; whole masks are needed, or None for a missing rater."
            )
            raise ValueError(msg)
        if values.dtype.kind != "b" and not ((values == 0) | (values == 1)).all():
            self.refuse_labels(rater)
        return values

    def refuse_labels(self, rater: int) -> None:
        """Raise ValueError for a rater whose mask holds other values than 0 and 1."""
        refuse_labels(self.masks[rater], rater, self.case, arguments=self.arguments)

    def refuse_probs(self, refused: int | None = None) -> None:
        """Raise ValueError for probabilities in the region that are NaN or outside [0, 1]: ``refused`` of them, if counted."""
        read = self.probs if self.roi is None else self.probs[self.roi]
        if refused is None:
            refused = int(np.count_nonzero(~((read >= 0) & (read <= 1))))
        refuse_probs(read, refused, self.case, arguments=self.arguments)


def _contiguous(array: NDArray[Any]) -> bool:
    return bool(array.flags.c_contiguous)


def bit_masks(voxels: Voxels, chunk: Chunk) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The raters who answered, and those who marked, each voxel of a chunk: bit r of a number stands for rater r."""
    n = chunk.probs.size
    marked = np.zeros(n, dtype=np.int64)
    if voxels.soft is not None:
        return np.ones(n, dtype=np.int64), marked
    present = np.zeros(n, dtype=np.int64)
    for r, (mask, known) in enumerate(zip(chunk.masks, chunk.present, strict=True)):
        if mask.size == 0:
            continue
        if mask.max() > 1:
            voxels.refuse_labels(r)
        bit = np.int64(1 << r)
        here = known if known.size else np.uint8(1)
        present |= np.where(here, bit, 0)
        marked |= np.where(mask & here, bit, 0)
    return present, marked
