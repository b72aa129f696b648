"""Ensembles of detectors: one box for each object, whose score is the agreement of the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mrcalib.detection.boxes import Boxes
from mrcalib.detection.grouping import LEAST_WEIGHT, BoxGroups, Grouping, group_boxes
from mrcalib.detection.matching import check_threshold
from mrcalib.inputs import check_choice

__all__ = ["LabelSamplingEnsemble", "RaterSpecificEnsemble"]

Score = Literal["ensemble-size", "group-size"]
Models = Sequence[Boxes] | Mapping[str, Boxes]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class _Ensemble:
    iou_threshold: float = 0.5
    score: Score = "ensemble-size"
    method: Grouping = "clique"
    size: int | None = None

    def __post_init__(self) -> None:
        check_threshold("iou_threshold", self.iou_threshold)
        check_choice("score", self.score, get_args(Score))
        check_choice("method", self.method, get_args(Grouping))
        if self.size is not None and self.size < 1:
            msg = f"size must be at least 1, the number of models; got {self.size}."
            raise ValueError(msg)

    def _fuse(self, models: list[Boxes], weight: FloatArray) -> Boxes:
        """One box for each group of the models' boxes; ``weight`` is the number of models that each model counts as."""
        groups = group_boxes(models, self.iou_threshold, self.method)
        n = len(groups)
        each = weight[groups.model]
        agreeing = np.bincount(groups.group, each * groups.scores, n)
        mass = np.bincount(groups.group, each, n)
        # Weighted box fusion can put more boxes into a group than there are models.
        scores = agreeing / (np.maximum(mass, len(models)) if self.score == "ensemble-size" else mass)
        order = np.argsort(-scores, kind="stable")
        labels = None if groups.labels is None else groups.labels[np.unique(groups.group, return_index=True)[1]]
        return Boxes(
            _mean_boxes(groups, weighted=self.method == "wbf")[order],
            np.clip(scores, 0.0, 1.0)[order],
            None if labels is None else labels[order],
        )


def _mean_boxes(groups: BoxGroups, *, weighted: bool) -> FloatArray:
    """Mean coordinates of each group, by scores in weighted box fusion."""
    weight = np.maximum(groups.scores, LEAST_WEIGHT) if weighted else np.ones(groups.scores.size)
    n = len(groups)
    mass = np.bincount(groups.group, weight, n)
    sums = [np.bincount(groups.group, weight * column, n) for column in groups.coordinates.T]
    return np.column_stack(sums) / mass[:, np.newaxis]


def _listed(models: Models, of_whom: str) -> list[Boxes]:
    listed: list[Any] = list(models.values() if isinstance(models, Mapping) else models)
    for boxes in listed:
        if not isinstance(boxes, Boxes):
            msg = (
                f"The predictions{of_whom} must be Boxes, one a model; got {type(boxes).__name__}. A model that found "
                "nothing has no boxes, Boxes.empty(); one that was not run is no part of the ensemble."
            )
            raise TypeError(msg)
    if not listed:
        msg = f"There is no model{of_whom}; an ensemble needs one at least."
        raise ValueError(msg)
    return listed


def _top(models: list[Boxes], size: int, of_whom: str) -> list[Boxes]:
    if size > len(models):
        msg = f"size asks for {size} models{of_whom}; there are {len(models)}."
        raise ValueError(msg)
    return models[:size]


class LabelSamplingEnsemble(_Ensemble):
    """An ensemble of detectors that were each trained on all raters' boxes mixed (LSE).

    Parameters
    ----------
    iou_threshold : float, default=0.5
        As in `group_boxes`.
    score : {"ensemble-size", "group-size"}, default="ensemble-size"
        The sum of a group's scores over the number of models, so that a model without a box counts 0; or, as the ablation,
        over the number of boxes in the group.
    method : {"clique", "bsas", "wbf"}, default="clique"
        As in `group_boxes`. "wbf" weights coordinates by scores, and divides by the number of boxes in a group where that
        is larger.
    size : int, optional
        Take the first models only, which should be listed best first; all by default.

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       equation 2.
    .. [2] Jensen et al., "Improving uncertainty estimation in convolutional neural networks using inter-rater agreement",
       MICCAI 2019.

    Examples
    --------
    >>> one = Boxes([[0, 0, 10, 10]], scores=[0.8])
    >>> LabelSamplingEnsemble().combine([one, one, Boxes.empty(), Boxes.empty()]).scores.tolist()
    [0.4]
    """

    def combine(self, predictions: Models) -> Boxes:
        """The pooled boxes of the models in one image.

        Parameters
        ----------
        predictions : sequence of Boxes, or mapping of str to Boxes
            What each model found, best model first.

        Returns
        -------
        Boxes
            One a group, by descending score; labels where the models have them.

        Raises
        ------
        ValueError
            If there is no model, or fewer than ``size``.
        """
        models = _listed(predictions, "")
        models = _top(models, self.size or len(models), "")
        return self._fuse(models, np.ones(len(models)))


class RaterSpecificEnsemble(_Ensemble):
    """An ensemble of detectors that were each trained on one rater's boxes (RSE), so that its scores are agreement.

    All raters have the same weight: where one has more models than another, each of them counts less.

    Parameters
    ----------
    iou_threshold, score, method
        As in `LabelSamplingEnsemble`.
    size : int, optional
        Number of models, a multiple of the number of raters: the first ``size / n_raters`` of each rater are taken, which
        should be listed best first. All by default.

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       equation 2.

    Examples
    --------
    >>> seen = Boxes([[0, 0, 10, 10]], scores=[0.8])
    >>> ensemble = RaterSpecificEnsemble()
    >>> ensemble.combine({"a": [seen, seen], "b": [Boxes.empty(), Boxes.empty()]}).scores.tolist()
    [0.4]
    >>> RaterSpecificEnsemble(score="group-size").combine({"a": [seen], "b": [Boxes.empty()]}).scores.tolist()
    [0.8]
    """

    def combine(self, predictions: Mapping[str, Models]) -> Boxes:
        """The pooled boxes of all raters' models in one image.

        Parameters
        ----------
        predictions : mapping of str to (sequence of Boxes, or mapping of str to Boxes)
            For each rater what each of the rater's models found, best model first.

        Returns
        -------
        Boxes
            One a group, by descending score; labels where the models have them.

        Raises
        ------
        ValueError
            If there is no rater, a rater has no model or too few, or ``size`` is no multiple of the number of raters.
        """
        if not predictions:
            msg = "There is no rater; predictions must map each rater to the boxes of the rater's models."
            raise ValueError(msg)
        n_raters = len(predictions)
        by_rater = {rater: _listed(models, f" of rater {rater!r}") for rater, models in predictions.items()}
        if self.size is not None:
            if self.size % n_raters:
                msg = f"size must be a multiple of the {n_raters} raters, who have equal parts; got {self.size}."
                raise ValueError(msg)
            each = self.size // n_raters
            by_rater = {rater: _top(models, each, f" of rater {rater!r}") for rater, models in by_rater.items()}
        models = [boxes for some in by_rater.values() for boxes in some]
        weight = [len(models) / (n_raters * len(some)) for some in by_rater.values() for _ in some]
        return self._fuse(models, np.array(weight))
