"""How far raters' boxes agree: precision, recall and F1 of each rater against each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcalib._kernels.boxes import count_matches
from mrcalib.detection.boxes import overlap_by_class
from mrcalib.detection.images import DetectionImage
from mrcalib.detection.matching import check_threshold, naming
from mrcalib.detection.scores import listed
from mrcalib.metrics.base import FloatArray, ratio

__all__ = ["RaterAgreement", "mean_and_sd", "rater_agreement"]


@dataclass(frozen=True, slots=True, eq=False)
class RaterAgreement:
    """The numbers of boxes that pairs of raters have in common, image by image, and the scores that follow.

    Attributes
    ----------
    raters : tuple of str
        The raters.
    pairs : tuple of (str, str)
        Pairs who looked at an image in common; the second is the reference.
    images, groups : tuple of str
        Names of the images, and of their groups.
    iou_thresholds : tuple of float
        Least overlaps at which two boxes are one object.
    n_matches : ndarray of shape (n_pairs, n_images, n_thresholds)
        Boxes in common; NaN where one of the two did not look.
    n_first, n_second : ndarray of shape (n_pairs, n_images)
        Boxes of each; NaN where one of the two did not look.
    n_objects : ndarray of shape (n_raters, n_images)
        Boxes of each rater; NaN where the rater is missing.
    both_empty : float
        F1 of an image in which neither found anything.
    """

    raters: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    images: tuple[str, ...]
    groups: tuple[str, ...]
    iou_thresholds: tuple[float, ...]
    n_matches: FloatArray
    n_first: FloatArray
    n_second: FloatArray
    n_objects: FloatArray
    both_empty: float

    @property
    def precision(self) -> FloatArray:
        """Share of the first rater's boxes that the second has, all images pooled; shape (n_pairs, n_thresholds)."""
        return ratio(np.nansum(self.n_matches, axis=1), np.nansum(self.n_first, axis=1)[:, np.newaxis])

    @property
    def recall(self) -> FloatArray:
        """Share of the second rater's boxes that the first has, all images pooled; shape (n_pairs, n_thresholds)."""
        return ratio(np.nansum(self.n_matches, axis=1), np.nansum(self.n_second, axis=1)[:, np.newaxis])

    @property
    def f1(self) -> FloatArray:
        """Twice the boxes in common over all boxes of both, all images pooled; shape (n_pairs, n_thresholds)."""
        both = np.nansum(self.n_first + self.n_second, axis=1)[:, np.newaxis]
        return ratio(2 * np.nansum(self.n_matches, axis=1), both)

    @property
    def image_f1(self) -> FloatArray:
        """F1 of each image, whose mean the paper shows; shape (n_pairs, n_images, n_thresholds), NaN where not both looked."""
        both = (self.n_first + self.n_second)[:, :, np.newaxis]
        return np.where(both == 0, self.both_empty, ratio(2 * self.n_matches, both))

    def table(self) -> list[dict[str, Any]]:
        """A row for each pair and threshold: pooled precision, recall and F1, and mean and sd over images of F1."""
        rows = []
        precision, recall, f1, image_f1 = self.precision, self.recall, self.f1, self.image_f1
        for p, (first, second) in enumerate(self.pairs):
            seen = ~np.isnan(self.n_first[p])
            for t, threshold in enumerate(self.iou_thresholds):
                each = image_f1[p, seen, t]
                rows.append(
                    {
                        "first": first,
                        "second": second,
                        "iou_threshold": threshold,
                        "n_images": int(seen.sum()),
                        "precision": float(precision[p, t]),
                        "recall": float(recall[p, t]),
                        "f1": float(f1[p, t]),
                        "mean_image_f1": float(each.mean()),
                        "sd_image_f1": float(each.std(ddof=1)) if each.size > 1 else float("nan"),
                    }
                )
        return rows

    def objects_table(self) -> list[dict[str, Any]]:
        """A row for each rater: how many images the rater looked at, and mean and sd over these of the rater's boxes."""
        rows = []
        for rater, found in zip(self.raters, self.n_objects, strict=True):
            mean, sd = mean_and_sd(found)
            rows.append({"rater": rater, "n_images": int((~np.isnan(found)).sum()), "mean": mean, "sd": sd})
        return rows


def mean_and_sd(values: FloatArray) -> tuple[float, float]:
    """Mean and standard deviation of what is not NaN; NaN where there are too few values."""
    known = values[~np.isnan(values)]
    nan = float("nan")
    return float(known.mean()) if known.size else nan, float(known.std(ddof=1)) if known.size > 1 else nan


def rater_agreement(
    images: Iterable[DetectionImage],
    raters: Sequence[str] | None = None,
    *,
    reference: str | None = None,
    iou_thresholds: Sequence[float] = (0.3, 0.5, 0.75),
    both_empty: float = 1.0,
) -> RaterAgreement:
    """The agreement of raters: precision, recall and F1 of each pair over thresholds of overlap.

    As many boxes as possible are paired one to one (a maximum matching of those that overlap enough and have the same
    label). So F1 does not depend on which rater comes first, nor on the order of boxes.

    Parameters
    ----------
    images : iterable of DetectionImage
        Detections are not looked at.
    raters : sequence of str, optional
        The raters to compare; by default all.
    reference : str, optional
        Compare each rater with this one only; by default each pair is compared.
    iou_thresholds : sequence of float, default=(0.3, 0.5, 0.75)
        Least overlaps, in [0, 1].
    both_empty : float, default=1.0
        F1 of an image in which neither rater found anything; NaN leaves a pair's mean undefined.

    Returns
    -------
    RaterAgreement
        Pairs who looked at no image in common are left out.

    Raises
    ------
    ValueError
        If there is no image, a rater is unknown, there are fewer than two, or no pair has an image in common.

    References
    ----------
    .. [1] Campi et al., "Leveraging multi-rater annotations to calibrate object detectors in microscopy imaging",
       figure 2.

    Examples
    --------
    >>> image = DetectionImage("1", raters={"a": [[0, 0, 10, 10], [20, 20, 30, 30]], "b": [[0, 0, 10, 9]]})
    >>> agreement = rater_agreement([image], iou_thresholds=[0.5])
    >>> agreement.precision.item(), agreement.recall.item(), round(agreement.f1.item(), 4)
    (0.5, 1.0, 0.6667)
    """
    every = listed(images)
    known = tuple(dict.fromkeys(name for image in every for name in image.raters))
    chosen = known if raters is None else tuple(raters)
    unknown = [name for name in (*chosen, *(() if reference is None else (reference,))) if name not in known]
    if unknown:
        msg = f"There is no rater {unknown[0]!r}; there are {', '.join(map(repr, known))}."
        raise ValueError(msg)
    if reference is not None:
        chosen = (*(name for name in chosen if name != reference), reference)
    if len(set(chosen)) != len(chosen) or len(chosen) < 2:
        msg = f"There must be at least two raters, with different names; got {', '.join(map(repr, chosen)) or 'none'}."
        raise ValueError(msg)
    thresholds = tuple(float(t) for t in iou_thresholds)
    for threshold in thresholds:
        check_threshold("iou_thresholds", threshold)
    seen = {name: np.array([image.raters.get(name) is not None for image in every]) for name in chosen}
    pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[i + 1 :] if reference in (None, b)]
    pairs = [(a, b) for a, b in pairs if (seen[a] & seen[b]).any()]
    if not pairs:
        msg = "No two raters looked at the same image; is a missing rater None, and an empty one no boxes?"
        raise ValueError(msg)
    counts = np.array([[_count(image, name) for image in every] for name in chosen])
    position = {name: i for i, name in enumerate(chosen)}
    n_matches = np.array([[_common(image, pair, thresholds) for image in every] for pair in pairs])
    both = np.array([seen[a] & seen[b] for a, b in pairs])
    first, second = (counts[[position[pair[side]] for pair in pairs]] for side in (0, 1))
    return RaterAgreement(
        raters=chosen,
        pairs=tuple(pairs),
        images=tuple(image.id for image in every),
        groups=tuple(str(image.group) for image in every),
        iou_thresholds=thresholds,
        n_matches=n_matches.reshape(len(pairs), len(every), len(thresholds)),
        n_first=np.where(both, first, np.nan),
        n_second=np.where(both, second, np.nan),
        n_objects=counts,
        both_empty=float(both_empty),
    )


def _count(image: DetectionImage, rater: str) -> float:
    boxes = image.raters.get(rater)
    return float("nan") if boxes is None else float(len(boxes))


def _common(image: DetectionImage, pair: tuple[str, str], thresholds: tuple[float, ...]) -> NDArray[np.float64]:
    """The number of boxes that two raters have in common at each threshold; NaN where one of them did not look."""
    first, second = (image.raters.get(name) for name in pair)
    if first is None or second is None:
        return np.full(len(thresholds), np.nan)
    with naming(image, *pair):
        overlap = overlap_by_class(first, second)
    if not overlap.size:
        return np.zeros(len(thresholds))
    return np.array([count_matches(overlap, threshold) for threshold in thresholds], dtype=np.float64)
