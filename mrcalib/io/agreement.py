"""Masks that lie elsewhere than their headers say: one rater flipped or shifted against the others.

Headers can be equal and the contents not. Raters of one case mark roughly the same thing, so one who hardly overlaps
the others as stored, and does after a mirror image or a shift, was saved in another orientation.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement
from typing import Literal

import numpy as np
import numpy.typing as npt

from mrcalib.exceptions import GeometryError

__all__ = ["Overlaps", "all_agree", "require_agreement"]

_Votes = npt.NDArray[np.uint8]

_SMALLEST = 30
"""Masks of fewer voxels say too little about orientation."""

_SUSPICIOUS = 0.3
"""Median Dice with the other raters below which a rater is looked at."""


@dataclass(frozen=True, slots=True, eq=False)
class _Cut:
    """The foreground of a mask, cut to its bounding box, which begins at `start`."""

    start: tuple[int, ...]
    voxels: npt.NDArray[np.bool_]
    size: int

    def flipped(self, axes: tuple[int, ...], shape: tuple[int, ...]) -> "_Cut":
        ends = [begin + length for begin, length in zip(self.start, self.voxels.shape, strict=True)]
        start = (n - ends[a] if a in axes else self.start[a] for a, n in enumerate(shape))
        return replace(self, start=tuple(start), voxels=np.flip(self.voxels, axes))

    def moved(self, offset: tuple[int, ...]) -> "_Cut":
        return replace(self, start=tuple(begin + step for begin, step in zip(self.start, offset, strict=True)))

    def centroid(self) -> npt.NDArray[np.float64]:
        return np.array([indices.mean() for indices in np.nonzero(self.voxels)]) + self.start

    def dice(self, other: "_Cut") -> float:
        begin = np.maximum(self.start, other.start)
        end = np.minimum(np.add(self.start, self.voxels.shape), np.add(other.start, other.voxels.shape))
        if (end <= begin).any():
            return 0.0
        mine, theirs = (
            cut.voxels[tuple(slice(b - s, e - s) for b, e, s in zip(begin, end, cut.start, strict=True))]
            for cut in (self, other)
        )
        return 2.0 * np.count_nonzero(mine & theirs) / (self.size + other.size)


@dataclass(frozen=True, slots=True)
class _Remedy:
    """What brings a rater into agreement with the others: median Dice before and after."""

    rater: int
    stored: float
    after: float
    words: str


class Overlaps:
    """How much raters overlap, counted while their masks come part by part: enough to know that no rater is suspicious.

    Parameters
    ----------
    n_raters : int
        How many.

    Attributes
    ----------
    shared : ndarray of shape (n_raters, n_raters), int64
        Voxels that both raters marked; on the diagonal, those that the rater marked; 0 below it.

    Examples
    --------
    >>> mask = np.zeros((20, 20), np.uint8)
    >>> mask[2:8, 3:12] = 1
    >>> overlaps = Overlaps(2)
    >>> for rows in (slice(0, 5), slice(5, 20)):
    ...     overlaps.add([mask[rows], mask[::-1][rows]])
    >>> all_agree(overlaps.shared)
    False
    """

    def __init__(self, n_raters: int) -> None:
        self.shared = np.zeros((n_raters, n_raters), dtype=np.int64)

    def add(self, masks: Sequence[_Votes | None]) -> None:
        """Count the voxels of one part; missing masks are None, the others have one shape."""
        first = next((mask for mask in masks if mask is not None), None)
        if first is None:
            return
        order: Literal["C", "F"] = "C" if first.flags.c_contiguous else "F"
        bits = {rater: _packed(mask, order) for rater, mask in enumerate(masks) if mask is not None}
        for one, other in combinations_with_replacement(bits, 2):
            self.shared[one, other] += int(np.bitwise_count(bits[one] & bits[other]).sum(dtype=np.int64))


def all_agree(shared: npt.NDArray[np.int64]) -> bool:
    """Whether `require_agreement` has nothing to look at: no rater's median Dice with the others is below 0.3.

    Parameters
    ----------
    shared : ndarray of shape (R, R), int
        Voxels that two raters marked both, and on the diagonal those that one marked; what is below it is not looked at.
    """
    sizes = shared.diagonal()
    large = np.flatnonzero(sizes >= _SMALLEST)
    both = np.triu(shared, 1) + np.triu(shared, 1).T
    for rater in large:
        others = large[large != rater]
        dice = 2.0 * both[rater, others] / (sizes[rater] + sizes[others])
        if others.size and float(np.median(dice)) < _SUSPICIOUS:
            return False
    return True


def _packed(mask: _Votes, order: Literal["C", "F"]) -> npt.NDArray[np.uint64]:
    """Eight voxels a byte."""
    bits = np.packbits(mask.ravel(order=order))
    whole = np.zeros(-(-bits.size // 8) * 8, dtype=np.uint8)
    whole[: bits.size] = bits
    return whole.view(np.uint64)


def require_agreement(
    masks: Iterable[_Votes | None], names: Sequence[str], spacing: tuple[float, ...] | None = None
) -> None:
    """Refuse a case in which a rater agrees with the others only after a flip or a shift.

    A rater is judged by the median Dice with each of the other raters, so a lone culprit does not drag the others into
    suspicion; of two raters, both are named. Only a rater below 0.3 is looked at. A flip is reported if it reaches 0.6
    and gains 0.3; a shift (of the centroid onto the others') if it reaches 0.8 from below 0.1. Round structures of one
    size look like shifts of each other, so a rater who marked another lesion can be refused too; the error says so.

    Parameters
    ----------
    masks : iterable of (ndarray of shape S, uint8) or None
        Votes, of which the bounding boxes are kept; missing and nearly empty masks (fewer than 30 voxels) take no part.
    names : sequence of str
        What each mask is, for the error.
    spacing : tuple of float or None
        Voxel edges in mm, to give a shift in mm too.

    Raises
    ------
    GeometryError
        If a flip or a shift explains the disagreement; says which, and how to switch the check off.

    Examples
    --------
    >>> mask = np.zeros((20, 20), np.uint8)
    >>> mask[2:8, 3:12] = 1
    >>> require_agreement([mask, mask], ["rater 'A'", "rater 'B'"])
    >>> try:
    ...     require_agreement([mask, mask, mask[::-1]], ["rater 'A'", "rater 'B'", "rater 'C'"])
    ... except GeometryError as error:
    ...     print(str(error)[:96])
    rater 'C' agrees with the other raters at Dice 0.00 as stored, but at 1.00 after flipping axis 0
    """
    cuts: dict[int, _Cut] = {}
    shape: tuple[int, ...] = ()
    for rater, mask in enumerate(masks):
        if mask is not None:
            cuts[rater], shape = _cut(mask), mask.shape
    cuts = {rater: cut for rater, cut in cuts.items() if cut.size >= _SMALLEST}
    remedies = [remedy for rater in cuts if (remedy := _remedy(rater, cuts, shape, spacing)) is not None]
    if not remedies:
        return
    who = " or ".join(names[remedy.rater] for remedy in remedies)
    best = max(remedies, key=lambda remedy: remedy.after)
    msg = (
        f"{who} agrees with the other raters at Dice {best.stored:.2f} as stored, but at {best.after:.2f} after "
        f"{best.words}, although the headers are equal. "
        "Was the mask saved in another orientation or place, or another structure marked? "
        "If it is right as it is, pass check_agreement=False (LoadOptions)."
    )
    raise GeometryError(msg)


def _remedy(
    rater: int, cuts: dict[int, _Cut], shape: tuple[int, ...], spacing: tuple[float, ...] | None
) -> _Remedy | None:
    cut = cuts[rater]
    others = [other for index, other in cuts.items() if index != rater]
    stored = _median_dice(cut, others) if others else 1.0
    if stored >= _SUSPICIOUS:
        return None
    flips = [(_median_dice(cut.flipped(axes, shape), others), axes) for axes in _axes_to_flip(shape)]
    after, axes = max(flips, key=lambda flip: flip[0], default=(0.0, ()))
    if after >= max(0.6, stored + 0.3):
        return _Remedy(rater, stored, after, f"flipping {_axes_in_words(axes)}")
    if stored < 0.1:
        middle = np.median([other.centroid() for other in others], axis=0)
        offset = tuple(int(step) for step in np.rint(middle - cut.centroid()))
        after = _median_dice(cut.moved(offset), others)
        if after >= 0.8:
            return _Remedy(rater, stored, after, f"shifting it by {_offset_in_words(offset, spacing)}")
    return None


def _cut(mask: _Votes) -> _Cut:
    voxels: npt.NDArray[np.bool_] = mask.view(np.bool_)
    start = []
    for axis in range(mask.ndim):
        across = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(voxels.any(axis=across))
        begin, end = (int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else (0, 0)
        voxels = voxels[(slice(None),) * axis + (slice(begin, end),)]
        start.append(begin)
    return _Cut(tuple(start), voxels.copy(order="K"), int(np.count_nonzero(voxels)))  # a view would keep the whole mask


def _median_dice(cut: _Cut, others: Sequence[_Cut]) -> float:
    return float(np.median([cut.dice(other) for other in others]))


def _axes_to_flip(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every set of axes, the smallest first: of equally good flips the simplest is named."""
    long = [axis for axis, size in enumerate(shape) if size > 1]
    for count in range(1, len(long) + 1):
        yield from combinations(long, count)


def _axes_in_words(axes: tuple[int, ...]) -> str:
    return ("axis " if len(axes) == 1 else "axes ") + " and ".join(str(axis) for axis in axes)


def _offset_in_words(offset: tuple[int, ...], spacing: tuple[float, ...] | None) -> str:
    voxels = f"{offset} voxels"
    if spacing is None:
        return voxels
    return f"{voxels} ({float(np.linalg.norm(np.multiply(offset, spacing))):.1f} mm)"
