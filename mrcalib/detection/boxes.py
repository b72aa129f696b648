"""The boxes of one source in one image, checked once, and how far boxes overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Boxes", "as_boxes", "iou", "overlap_by_class"]

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_AXES = "xyz"
_TOLERANCE = 1e-6  # how far a box may reach outside by rounding, as a fraction of the image's size


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of one source (a detector or a rater) in one image.

    ``Boxes`` without any box mean that the source looked and found nothing. A source that did not look is None instead.

    Parameters
    ----------
    coordinates : array_like of shape (n, 4) or (n, 6)
        ``x0 y0 x1 y1``, or ``x0 y0 z0 x1 y1 z1``, in pixels. The upper bounds are where the box ends: its width is
        ``x1 - x0``. An empty list is no boxes in two dimensions.
    scores : array_like of shape (n,), optional
        Probability of each box, in [0, 1]; the boxes of raters have none.
    labels : array_like of int, shape (n,), optional
        Class of each box.
    image : str, optional
        Name of the image and of the source, for error messages; it is not stored.

    Raises
    ------
    ValueError
        If a coordinate is not finite, a box is inverted or has no extent, or a score lies outside [0, 1].
    TypeError
        If labels are not whole numbers.

    Examples
    --------
    >>> boxes = Boxes([[0, 0, 10, 20], [5, 5, 8, 9]], scores=[0.9, 0.2])
    >>> len(boxes), boxes.n_dims, boxes.volume.tolist()
    (2, 2, [200.0, 12.0])
    >>> Boxes([[0, 0, -3, 4]], image="plate 7")
    Traceback (most recent call last):
    ...
    ValueError: Box 0 of plate 7 is inverted: x1 = -3 is less than x0 = 0. Are these x, y, width, height?
    """

    coordinates: FloatArray
    scores: FloatArray | None = None
    labels: IntArray | None = None
    image: InitVar[str | None] = None

    def __post_init__(self, image: str | None) -> None:
        of_image = "" if image is None else f" of {image}"
        coordinates = _checked_coordinates(self.coordinates, of_image)
        scores = None if self.scores is None else _checked_scores(self.scores, len(coordinates), of_image)
        labels = None if self.labels is None else _checked_labels(self.labels, len(coordinates), of_image)
        for name, value in {"coordinates": coordinates, "scores": scores, "labels": labels}.items():
            object.__setattr__(self, name, value)

    @classmethod
    def empty(cls, n_dims: int = 2) -> Boxes:
        """Boxes without any box, with scores: what a detector returns that found nothing."""
        return cls(np.empty((0, 2 * n_dims)), np.empty(0))

    def __len__(self) -> int:
        return len(self.coordinates)

    def __getitem__(self, index: Any) -> Boxes:
        """Some of the boxes, by a slice, positions or a boolean mask."""
        every = np.arange(len(self))
        where = every[index] if isinstance(index, slice) else np.atleast_1d(np.asarray(index))
        chosen = every[where] if where.size else every[:0]
        return Boxes(*(None if column is None else column[chosen] for column in self._columns()))  # type: ignore[arg-type]

    def _columns(self) -> tuple[FloatArray, FloatArray | None, IntArray | None]:
        return self.coordinates, self.scores, self.labels

    def __repr__(self) -> str:
        return f"<Boxes: {len(self)} in {self.n_dims}-D{'' if self.scores is None else ' with scores'}>"

    @property
    def n_dims(self) -> int:
        """2 or 3."""
        return int(self.coordinates.shape[1] // 2)

    @property
    def extent(self) -> FloatArray:
        """Width, height (and depth) of each box, of shape (n, n_dims)."""
        return self.coordinates[:, self.n_dims :] - self.coordinates[:, : self.n_dims]

    @property
    def centre(self) -> FloatArray:
        """Centre of each box, of shape (n, n_dims)."""
        return (self.coordinates[:, self.n_dims :] + self.coordinates[:, : self.n_dims]) / 2

    @property
    def volume(self) -> FloatArray:
        """Area or volume of each box, of shape (n,)."""
        volume: FloatArray = self.extent.prod(axis=1)
        return volume

    def above(self, score_floor: float) -> Boxes:
        """The boxes whose score is at least ``score_floor``."""
        return self if self.scores is None else self[self.scores >= score_floor]

    def with_scores(self, scores: ArrayLike) -> Boxes:
        """The same boxes with other scores, such as those that a calibrator's ``transform`` gives."""
        return Boxes(self.coordinates, np.asarray(scores, dtype=np.float64), self.labels)

    def check_inside(self, size: Sequence[float], image: str | None = None) -> None:
        """Raise ValueError if a box reaches outside an image of this size, ``(width, height)`` or with a depth.

        A box may lie a millionth of the size outside, which rounding does.
        """
        of_image = "" if image is None else f" of {image}"
        if len(size) != self.n_dims:
            msg = f"size must have {self.n_dims} entries, as the boxes{of_image} have dimensions; got {tuple(size)}."
            raise ValueError(msg)
        for axis, length in enumerate(size):
            low, high = self.coordinates[:, axis], self.coordinates[:, self.n_dims + axis]
            outside = (low < -_TOLERANCE * length) | (high > length * (1 + _TOLERANCE))
            if outside.any():
                first, name = int(np.argmax(outside)), _AXES[axis]
                msg = (
                    f"Box {first}{of_image} reaches outside the image: {name} from {low[first]:g} to {high[first]:g}, where "
                    f"the image has 0 to {length:g}; {np.count_nonzero(outside)} such boxes. Use clip() if that is meant."
                )
                raise ValueError(msg)

    def clip(self, size: Sequence[float]) -> Boxes:
        """The boxes cut at the border of an image of this size; boxes that lie wholly outside are left out."""
        n_dims = self.n_dims
        cut = np.clip(self.coordinates, 0, np.tile(np.asarray(size, dtype=np.float64), 2))
        left = (cut[:, n_dims:] > cut[:, :n_dims]).all(axis=1)
        kept = self[left]
        return Boxes(cut[left], kept.scores, kept.labels)


def as_boxes(boxes: Boxes | ArrayLike, image: str | None = None) -> Boxes:
    """The boxes themselves, or boxes made of an array of coordinates."""
    return boxes if isinstance(boxes, Boxes) else Boxes(np.asarray(boxes, dtype=np.float64), image=image)


def _checked_coordinates(coordinates: ArrayLike, of_image: str) -> FloatArray:
    try:
        array = np.array(coordinates, dtype=np.float64)
    except (TypeError, ValueError) as error:
        msg = f"coordinates{of_image} must be one array of numbers, 4 or 6 a box; got {type(coordinates).__name__}."
        raise ValueError(msg) from error
    if array.shape == (0,):
        array = array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] not in (4, 6):
        msg = f"coordinates{of_image} must have shape (n, 4) (x0 y0 x1 y1) or (n, 6) (x0 y0 z0 x1 y1 z1); got {array.shape}."
        raise ValueError(msg)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        first = int(np.argmin(finite))
        msg = f"Box {first}{of_image} has a coordinate that is not finite: {array[first].tolist()}."
        raise ValueError(msg)
    n_dims = array.shape[1] // 2
    low, high = array[:, :n_dims], array[:, n_dims:]
    if (high < low).any():
        first, axis = (int(i) for i in np.argwhere(high < low)[0])
        name = _AXES[axis]
        msg = (
            f"Box {first}{of_image} is inverted: {name}1 = {high[first, axis]:g} is less than {name}0 = "
            f"{low[first, axis]:g}. Are these x, y, width, height?"
        )
        raise ValueError(msg)
    flat = ~((high - low).prod(axis=1) > 0)
    if flat.any():
        first = int(np.argmax(flat))
        msg = f"Box {first}{of_image} has no {'area' if n_dims == 2 else 'volume'}: {array[first].tolist()}. Leave it out."
        raise ValueError(msg)
    return np.ascontiguousarray(array)


def _checked_scores(scores: ArrayLike, n: int, of_image: str) -> FloatArray:
    array = np.array(scores, dtype=np.float64)
    if array.shape != (n,):
        msg = f"scores{of_image} must be one number for each of the {n} boxes; got shape {array.shape}."
        raise ValueError(msg)
    good = (array >= 0) & (array <= 1)
    if not good.all():
        first = int(np.argmin(good))
        msg = f"scores must be probabilities in [0, 1]; box {first}{of_image} has {array[first]:g}."
        raise ValueError(msg)
    return array


def _checked_labels(labels: ArrayLike, n: int, of_image: str) -> IntArray:
    array = np.array(labels)
    if array.shape != (n,):
        msg = f"labels{of_image} must be one whole number for each of the {n} boxes; got shape {array.shape}."
        raise ValueError(msg)
    if n and array.dtype.kind not in "iu":
        msg = f"labels{of_image} must be whole numbers; got {array.dtype}."
        raise TypeError(msg)
    return array.astype(np.int64)


def iou(a: Boxes | ArrayLike, b: Boxes | ArrayLike) -> NDArray[np.float64]:
    """Intersection over union of every box of ``a`` with every box of ``b``, in two or three dimensions.

    Parameters
    ----------
    a : Boxes or array_like of shape (n, 4) or (n, 6)
        Boxes; their labels and scores are ignored.
    b : Boxes or array_like of shape (m, 4) or (m, 6)
        Boxes of as many dimensions.

    Returns
    -------
    ndarray of shape (n, m)
        In [0, 1]; boxes that only touch have 0. Without boxes on one side it has no rows, or no columns.

    Raises
    ------
    ValueError
        If boxes are bad, or have two dimensions on one side and three on the other.

    Examples
    --------
    >>> iou([[0, 0, 2, 2]], [[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]).round(4).tolist()
    [[1.0, 0.3333, 0.0]]
    """
    first, second = as_boxes(a), as_boxes(b)
    out = np.empty((len(first), len(second)))
    if out.size:
        if first.n_dims != second.n_dims:
            msg = f"Boxes must have the same number of dimensions; got {first.n_dims} and {second.n_dims}."
            raise ValueError(msg)
        from mrcalib._kernels.boxes import pairwise_overlap

        pairwise_overlap(first.coordinates, second.coordinates, out)
    return out


def overlap_by_class(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """The `iou`, with 0 between boxes of different labels; ValueError if one side has labels and the other has not."""
    overlap = iou(a, b)
    if not overlap.size or (a.labels is None and b.labels is None):
        return overlap
    if a.labels is None or b.labels is None:
        msg = "Either both sides have labels, or none; give the boxes without labels theirs, or drop the others'."
        raise ValueError(msg)
    overlap[a.labels[:, np.newaxis] != b.labels] = 0.0
    return overlap
