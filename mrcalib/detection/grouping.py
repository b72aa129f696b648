"""Groups of the boxes of several models, each group an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.boxes import find_cliques, find_clusters
from mrcalib.detection.boxes import Boxes
from mrcalib.detection.matching import check_threshold
from mrcalib.inputs import check_choice

__all__ = ["LEAST_WEIGHT", "BoxGroups", "Grouping", "group_boxes"]

Grouping = Literal["clique", "bsas", "wbf"]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

LEAST_WEIGHT = 1e-12  # the weight of a box of score 0, so that a weighted mean of such boxes is defined


@dataclass(frozen=True, slots=True, eq=False)
class BoxGroups:
    """A partition of the boxes of several models; the boxes are listed by descending score.

    Attributes
    ----------
    coordinates : ndarray of shape (n, 4) or (n, 6)
        All boxes.
    scores : ndarray of shape (n,)
        Their scores; 1 where a model has none.
    labels : ndarray of int, shape (n,), or None
        Their classes, where the models have any.
    model : ndarray of int, shape (n,)
        Position of the model that each box comes from.
    box : ndarray of int, shape (n,)
        Position of each box among those of its model.
    group : ndarray of int, shape (n,)
        Group of each box, from 0; groups are numbered by their highest score.
    n_models : int
        Number of models, those included that found nothing.
    """

    coordinates: FloatArray
    scores: FloatArray
    labels: IntArray | None
    model: IntArray
    box: IntArray
    group: IntArray
    n_models: int

    def __len__(self) -> int:
        return int(self.group.max(initial=-1)) + 1

    @property
    def size(self) -> IntArray:
        """Boxes of each group."""
        return np.bincount(self.group, minlength=len(self))

    def members(self, group: int) -> list[tuple[int, int]]:
        """(model, box) of each box of a group, by descending score."""
        here = self.group == group
        return list(zip(self.model[here].tolist(), self.box[here].tolist(), strict=True))


def group_boxes(boxes_by_model: Sequence[Boxes], iou_threshold: float = 0.5, method: Grouping = "clique") -> BoxGroups:
    """The groups of the boxes of several models in one image; each group stands for one object.

    Boxes are visited by descending score, boxes of equal score in the order of their coordinates, and equal boxes in the
    order of their models' sorted lists of boxes. So groups depend neither on the order of models nor on that of boxes.

    Parameters
    ----------
    boxes_by_model : sequence of Boxes
        The boxes of each model; a model that found nothing has no boxes, but counts. Boxes without scores, such as those of
        a rater, have the score 1. Boxes of different labels are never grouped.
    iou_threshold : float, default=0.5
        Boxes of a group overlap by more.
    method : {"clique", "bsas", "wbf"}, default="clique"
        "clique": every pair of a group comes from different models and overlaps by more than the threshold [1]_. A box
        joins the group with the highest smallest overlap. "bsas": a box joins the group whose mean box it overlaps most,
        if that has no box of its model [2]_. "wbf": the same with a mean weighted by scores, and any number of boxes of a
        model [3]_.

    Returns
    -------
    BoxGroups
        Without boxes, no groups.

    Raises
    ------
    ValueError
        If there is no model, boxes differ in dimensions, or some have labels and others not.

    Notes
    -----
    The paper does not say which partition is meant where several are possible, nor in which order boxes are visited.

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       section 2.
    .. [2] Miller et al., "Evaluating merging strategies for sampling-based uncertainty techniques in object detection",
       ICRA 2019, arXiv:1809.06006; with intra-sample exclusivity.
    .. [3] Solovyev et al., "Weighted boxes fusion", Image and Vision Computing 107, 2021, arXiv:1910.13302.

    Examples
    --------
    >>> a = Boxes([[0, 0, 10, 10], [50, 50, 60, 60]], scores=[0.9, 0.3])
    >>> b = Boxes([[0, 0, 10, 9]], scores=[0.8])
    >>> groups = group_boxes([a, b])
    >>> len(groups), groups.members(0), groups.members(1)
    (2, [(0, 0), (1, 0)], [(0, 1)])
    """
    check_threshold("iou_threshold", iou_threshold)
    check_choice("method", method, get_args(Grouping))
    if not boxes_by_model:
        msg = "There must be at least one model; one that found nothing has no boxes, Boxes.empty()."
        raise ValueError(msg)
    groups = _in_order(boxes_by_model)
    kind = np.zeros(groups.model.size, np.int64) if groups.labels is None else groups.labels
    if not groups.model.size:
        return groups
    boxes = groups.coordinates
    if method == "clique":
        by_start = np.argsort(boxes[:, 0], kind="stable")
        lowest, highest = _reach(boxes, iou_threshold)
        find_cliques(boxes, groups.model, kind, float(iou_threshold), by_start, lowest, highest, groups.group)
    else:
        weight = np.maximum(groups.scores, LEAST_WEIGHT) if method == "wbf" else np.ones(len(boxes))
        exclusive = method == "bsas"
        find_clusters(boxes, groups.model, kind, weight, float(iou_threshold), groups.n_models, exclusive, groups.group)
    return groups


def _in_order(models: Sequence[Boxes]) -> BoxGroups:
    """All boxes in the order in which they are visited, not yet grouped."""
    found = [boxes for boxes in models if len(boxes)]
    if len({boxes.n_dims for boxes in found}) > 1:
        msg = "All models' boxes must have the same number of dimensions; got 2-D and 3-D boxes."
        raise ValueError(msg)
    labelled = {boxes.labels is not None for boxes in found}
    if len(labelled) > 1:
        msg = "Either all models' boxes have labels, or none; some have and some have not."
        raise ValueError(msg)
    width = (found or models)[0].coordinates.shape[1]
    keys = [_sorted_rows(boxes) for boxes in models]
    rank = np.empty(len(models), np.int64)  # equal models may have any order
    rank[sorted(range(len(models)), key=lambda m: keys[m].tobytes())] = np.arange(len(models))
    rows = np.concatenate([_rows(boxes) for boxes in models if len(boxes)] or [np.empty((0, 2 + width))])
    model = np.repeat(np.arange(len(models)), [len(boxes) for boxes in models])
    box = np.concatenate([np.arange(len(boxes)) for boxes in models])
    order = np.lexsort((rank[model], *rows.T[::-1]))
    rows, model, box = rows[order], model[order], box[order]
    return BoxGroups(
        np.ascontiguousarray(rows[:, 1:-1]),
        -rows[:, 0],
        rows[:, -1].astype(np.int64) if labelled == {True} else None,
        model.astype(np.int64),
        box.astype(np.int64),
        np.empty(model.size, np.int64),
        len(models),
    )


def _rows(boxes: Boxes) -> FloatArray:
    """Negative score, coordinates and label of each box, with +0 for -0."""
    scores = np.ones(len(boxes)) if boxes.scores is None else boxes.scores
    labels = np.zeros(len(boxes)) if boxes.labels is None else boxes.labels.astype(np.float64)
    return np.column_stack([-scores, boxes.coordinates, labels]) + 0.0


def _sorted_rows(boxes: Boxes) -> FloatArray:
    rows = _rows(boxes)
    return rows[np.lexsort(rows.T[::-1])]


def _reach(boxes: FloatArray, threshold: float) -> tuple[FloatArray, FloatArray]:
    """The lowest and the highest start along the first axis of boxes that can overlap each box by more than the threshold.

    The intersection over union is at most the shared length along this axis over the longer length. So the shared length
    exceeds the threshold times each length, which bounds the start from both sides.
    """
    start = boxes[:, 0]
    length = boxes[:, boxes.shape[1] // 2] - start
    margin = 1e-9 * (np.abs(start) + length)
    before = length * (1 - threshold) / threshold if threshold > 0 else np.full(len(boxes), np.inf)
    return start - before - margin, start + length * (1 - threshold) + margin
