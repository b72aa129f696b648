"""The raters' masks: which axis counts raters, and which shapes may be mistaken for another.

Raters come as a stack with raters first or last, a list of masks with None for a missing rater, a dict of name and mask, or one
mask. Where probabilities are known, their shape says which axis is left over. What fits in two ways is refused, with the
argument that says which is meant; a wrong guess would be a wrong number without a word.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib.inputs.arrays import as_array, is_array, voxel_shapes
from mrcalib.inputs.messages import of_case

__all__ = ["MAX_RATERS", "find_rater_axis", "is_list_of_masks", "names_of_raters", "split_missing", "split_raters"]

MAX_RATERS = 30
"""Each rater is a bit of a 64-bit number, twice: who answered, and who marked the voxel."""

FEW = 10
"""An axis of at most so many entries may count raters, ensemble members, classes or cases instead of voxels."""

SAMPLE = 4096  # voxels that are looked at to recognise swapped arguments

Masks = list[NDArray[Any] | None]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Image:
    """What masks must fit, and how errors speak of it."""

    shape: Shape
    values: NDArray[Any] | None
    name: str
    case: str | None
    arguments: Collection[str]

    @property
    def shapes(self) -> list[Shape]:
        return voxel_shapes(self.shape)

    @property
    def of_case(self) -> str:
        return of_case(self.case)

    def way_out(self, *axes: int) -> str:
        """The advice for a stack that fits in several ways."""
        if "rater_axis" not in self.arguments:
            return "pass a list of masks, one a rater"
        return "pass " + " or ".join(f"rater_axis={axis}" for axis in axes)


def split_raters(
    raters: Any,
    probs: NDArray[Any] | Shape | None,
    rater_axis: int | None = None,
    case: str | None = None,
    *,
    of: str = "probs",
    arguments: Collection[str] = ("rater_axis",),
) -> Masks:
    """The raters' masks, each of the shape of ``probs``, and None for each missing rater.

    Parameters
    ----------
    raters : array_like, sequence or mapping
        A stack with raters first ``(R, *S)`` or last ``(*S, R)``, a list of masks with None for a missing rater, a dict of name
        and mask, or one mask of shape S.
    probs : ndarray of shape S, tuple of int, or None
        The probabilities, or their shape. With None there are none (label fusion): an array then has its raters first, if
        its first axis has at most 30 entries and fewer than the last; else last, if the last has at most 10.
    rater_axis : int, optional
        Axis of the raters in a stack.
    case : str, optional
        Named in errors.
    of : str, default="probs"
        What errors call the argument whose shape masks must have.
    arguments : collection of str, default=("rater_axis",)
        Whether "rater_axis" is an argument of the function that the user called: errors advise no other.

    Raises
    ------
    ValueError
        If shapes do not fit or fit in two ways, no rater annotated, or there are more than 30.
    TypeError
        If they are not numbers.

    Examples
    --------
    >>> stack = np.zeros((2, 3, 4))
    >>> [mask.shape for mask in split_raters(stack, (2, 3))]
    [(2, 3), (2, 3), (2, 3), (2, 3)]
    """
    values = None if probs is None or isinstance(probs, tuple) else probs
    shape = probs if isinstance(probs, tuple) else () if values is None else values.shape
    image = None if probs is None else _Image(shape, values, of, case, arguments)
    if isinstance(raters, Mapping):
        raters = list(raters.values())
    if is_list_of_masks(raters, None if image is None else shape) and (
        rater_axis is None or any(mask is None for mask in raters)
    ):
        masks = [None if mask is None else _plain(as_array(mask)) for mask in raters]
    else:
        masks = _split_stack(as_array(raters), image, rater_axis, case)
    if all(mask is None for mask in masks):
        found = f"all {len(masks)} are missing (None)" if masks else "the stack of masks is empty"
        msg = f"At least one rater must have annotated{of_case(case)}; {found}."
        raise ValueError(msg)
    _check_masks(masks, image, case)
    if len(masks) > MAX_RATERS:
        hint = " Are raters last (rater_axis=-1)?" if "rater_axis" in arguments else ""
        msg = f"At most {MAX_RATERS} raters are supported; got {len(masks)}{of_case(case)}.{hint}"
        raise ValueError(msg)
    return masks


def is_list_of_masks(raters: Any, shape: Shape | None) -> bool:
    """Whether ``raters`` is a list with one mask, or None, for each rater.

    That is a list of arrays, a list with None, and a list of lists of numbers each of which has the shape of an image; without
    a shape any list. Other lists of numbers are one array.
    """
    if not isinstance(raters, list | tuple):
        return False
    if shape is None or any(mask is None or is_array(mask) for mask in raters):
        return True
    if not raters:
        return shape != (0,)
    return np.ndim(raters[0]) > 0 and np.shape(raters[0]) in voxel_shapes(shape)


def names_of_raters(raters: Any, n_raters: int) -> tuple[str, ...]:
    """The keys of a dict of masks; else "0", "1", ..."""
    return tuple(map(str, raters if isinstance(raters, Mapping) else range(n_raters)))


def split_missing(mask: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """A mask's values, 0 where missing, and whether the rater answered at each voxel; None where at all of them.

    Missing is what is NaN or masked, in arrays as in files.

    Examples
    --------
    >>> split_missing(np.array([0, 1, np.nan]))
    (array([0., 1., 0.]), array([ True,  True, False]))
    """
    values: NDArray[Any] = np.ma.getdata(mask)
    known: NDArray[np.bool_] | None = None
    hidden = np.ma.getmask(mask)
    if hidden is not np.ma.nomask and hidden.any():
        known = ~np.ma.getmaskarray(mask)
    if values.dtype.kind == "f" and (unknown := np.isnan(values)).any():
        known = ~unknown if known is None else known & ~unknown
    return (values if known is None else np.where(known, values, values.dtype.type(0))), known


def _check_masks(masks: Masks, image: _Image | None, case: str | None) -> None:
    """Raise unless masks are numbers, and of the shape of the image or, without, of one shape."""
    first = next((r, mask) for r, mask in enumerate(masks) if mask is not None)
    shapes = [first[1].shape] if image is None else image.shapes
    for index, mask in enumerate(masks):
        if mask is None:
            continue
        if mask.dtype.kind not in "biuf":
            msg = f"raters must be masks of 0 and 1; got an array of {mask.dtype} (rater {index}{of_case(case)})."
            raise TypeError(msg)
        if mask.shape in shapes:
            continue
        if image is None:
            msg = (
                f"All masks must have one shape; rater {first[0]} has {first[1].shape}, rater {index} has {mask.shape}."
            )
            raise ValueError(msg)
        if mask.shape in (image.shape[1:], image.shape[:-1]):
            _refuse_shape(mask.shape, image)
        msg = f"Each mask must have the shape of {image.name}, {image.shape}; rater {index}{of_case(case)} has {mask.shape}."
        raise ValueError(msg)
    if image is None and (not shapes[0] or 0 in shapes[0]):
        msg = f"Each mask must be an array of at least one voxel; got the shape {shapes[0]}. One mask alone is [mask]."
        raise ValueError(msg)


def _split_stack(stack: NDArray[Any], image: _Image | None, rater_axis: Any, case: str | None) -> Masks:
    """The masks of one array of any kind."""
    if stack.dtype.kind not in "bifu":
        msg = f"raters must be masks of 0 and 1; got an array of {stack.dtype}{of_case(case)}."
        raise TypeError(msg)
    axis = _axis_of_raters(stack.shape, image, rater_axis, case)
    if axis is None:
        return [stack]
    moved = np.moveaxis(np.ma.getdata(stack), axis, 0)
    if np.ma.getmask(stack) is np.ma.nomask:
        return list(moved)
    hidden = np.moveaxis(np.ma.getmaskarray(stack), axis, 0)
    return [np.ma.MaskedArray(values, mask) for values, mask in zip(moved, hidden, strict=True)]


def find_rater_axis(stack: Shape, shape: Shape, rater_axis: int | None = None, case: str | None = None) -> int | None:
    """The axis of raters in a stack beside probabilities of ``shape``, None for one mask; errors as `split_raters`."""
    return _axis_of_raters(stack, _Image(shape, None, "probs", case, ("rater_axis",)), rater_axis, case)


def _axis_of_raters(stack: Shape, image: _Image | None, rater_axis: Any, case: str | None) -> int | None:
    if rater_axis is None:
        if image is not None and stack in image.shapes:
            _refuse_other_axis(stack, image)
            return None
        return _axis_alone(stack) if image is None else _axis_beside(stack, image)
    whole = isinstance(rater_axis, int | np.integer) and not isinstance(rater_axis, bool)
    if not whole or not -len(stack) <= rater_axis < len(stack):
        msg = f"rater_axis must be an axis of raters, of shape {stack}{of_case(case)}; got {rater_axis!r}."
        raise ValueError(msg)
    axis = rater_axis % len(stack)
    rest = stack[:axis] + stack[axis + 1 :]
    if image is not None and rest not in image.shapes:
        wanted = f"{image.name} have {image.shape}{of_case(case)}"
        msg = f"With rater_axis={rater_axis} each mask has the shape {rest}, but {wanted}."
        raise ValueError(msg)
    return int(rater_axis)


def _axis_beside(stack: Shape, image: _Image) -> int:
    """The axis of raters in a stack, which has the axes of the image besides."""
    first, last = stack[1:] in image.shapes, stack[:-1] in image.shapes
    second = len(stack) > 2 and (stack[0], *stack[2:]) in image.shapes
    fits = f"raters of shape {stack} fit {image.name} of shape {image.shape}{image.of_case} with"
    if first and last:
        msg = f"{fits} raters first and with raters last; {image.way_out(0, -1)}."
        raise ValueError(msg)
    if first and second and _may_count_others(image.shape):
        msg = f"{fits} raters first, and with cases first and raters second; {image.way_out(0, 1)}."
        raise ValueError(msg)
    if second and not first and not last:
        msg = f"{fits} the raters on the second axis; {image.way_out(1)} if that is meant."
        raise ValueError(msg)
    if not first and not last:
        _refuse_shape(stack, image)
    return 0 if first else -1


def _axis_alone(stack: Shape) -> int:
    """The axis of raters in a stack without probabilities beside it: the first, unless only the last can be meant.

    Raters first is what ``np.stack`` of masks gives, and images are seldom shorter than there are raters. So an array has its
    raters first if that axis is the shorter of the two. Longer than 30 it cannot count raters; then the last one does, if it is
    short. Between the two, either may be meant; an axis of one entry is not what several raters are fused along.
    """
    if len(stack) < 2:
        msg = f"raters must be a stack or a list of masks; got shape {stack}. One mask alone is [mask]."
        raise ValueError(msg)
    first, last = stack[0], stack[-1]
    if first <= MAX_RATERS and (first < last or min(first, last) <= 1):
        return 0
    if first > MAX_RATERS and last <= FEW:
        return -1
    if first > MAX_RATERS:
        msg = (
            f"At most {MAX_RATERS} raters are supported; raters of shape {stack} have {first} first and {last} last. Pass "
            "rater_axis=-1 if raters are last, or [mask] if this is one mask."
        )
        raise ValueError(msg)
    msg = f"raters of shape {stack} may have raters first or last; pass rater_axis=0 or rater_axis=-1."
    raise ValueError(msg)


def _may_count_others(shape: Shape) -> bool:
    """Whether the first axis of ``shape`` may well count classes, ensemble members or cases instead of voxels.

    So it is with more than three axes, for an image has three; and where an axis of 2 to 10 entries comes before an image of
    at least 64 pixels, or before a row of voxels at least 16 times as long. Other shapes are those of ordinary images.
    """
    if sum(length > 1 for length in shape) > 3:
        return True
    if len(shape) not in (2, 3) or not 2 <= shape[0] <= FEW:
        return False
    if len(shape) == 2:
        return shape[1] >= 16 * shape[0]
    return min(shape[1:]) > shape[0] and shape[1] * shape[2] >= 64


def _refuse_other_axis(shape: Shape, image: _Image) -> None:
    """Raise where probs and raters have one shape, but one that may hold more than one image and one mask."""
    if _may_count_others(shape):
        axis = " with rater_axis=0" if "rater_axis" in image.arguments else " beside a list of masks"
        msg = (
            f"{image.name} and raters both have the shape {shape}{image.of_case}, whose first axis may count something else "
            "than voxels. If this is one image and one rater's mask, pass [mask] as raters. If the first axis counts raters, "
            f"and ensemble members or classes, pass one map (their mean, or the foreground channel){axis}. If it counts "
            "cases, pass lists."
        )
        raise ValueError(msg)


def _refuse_shape(stack: Shape, image: _Image) -> None:
    shape, values = image.shape, image.values
    if len(shape) == len(stack) + 1 and stack in (shape[1:], shape[:-1]):
        if values is not None and np.isin(values.reshape(-1)[:: max(1, values.size // SAMPLE)], (0, 1)).all():
            msg = (
                f"{image.name} have shape {shape} and raters {stack}{image.of_case}: the arguments look swapped; "
                "they are (probs, raters), in this order."
            )
        else:
            msg = (
                f"{image.name} have one axis more, {shape}, than raters, {stack}{image.of_case}. If it holds classes or "
                "members of an ensemble, pass one map: the foreground channel, or the mean."
            )
    else:
        msg = (
            f"raters must be one mask of the shape of {image.name}, {shape}, or a stack with raters first (R, *shape) or last "
            f"(*shape, R); got {stack}{image.of_case}."
        )
    raise ValueError(msg)


def _plain(array: Any) -> Any:
    """The array without the costs of a masked one, where nothing is masked."""
    return np.ma.getdata(array) if np.ma.getmask(array) is np.ma.nomask else array
