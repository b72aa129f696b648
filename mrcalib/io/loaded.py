"""Cases in memory: each is the one slab that is the whole case, with all that was checked on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mrcalib.io.classes import ImageClass
from mrcalib.io.geometry import Geometry
from mrcalib.io.slabs import OpenCase, Slab
from mrcalib.io.sources import Sources
from mrcalib.options import DEFAULT_OPTIONS, LoadOptions

__all__ = [
    "LoadedAnnotations",
    "LoadedCase",
    "LoadedClasses",
    "load_annotations",
    "load_case",
    "load_classes",
    "require_classes",
]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedCase:
    """A case in memory, on one voxel grid.

    Parameters
    ----------
    id, group : str
        The case, and the patient or site it belongs to.
    probs : ndarray of shape S
        float32, or float64 where the only source stores float64. Not range-checked. Exactly 0 outside `region` where
        ``outside="zero"`` was asked for.
    raters : tuple of (ndarray of shape S, uint8) or None
        Votes 0 or 1; None is a missing rater, an empty mask is not.
    rater_names : tuple of str
        In the order of `raters`.
    roi : ndarray of shape S, bool, or None
        The voxels that count; None if all do, as with ``outside="zero"``.
    geometry : Geometry or None
        None if no source has a header.
    voxel_volume_ml : float or None
        None if neither a header nor `Case.spacing` states it.
    vessels : ndarray of shape S, integer labels, or None
        As stored.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Case.spacing`.
    region : ndarray of shape S, bool, or None
        The region of interest, whatever becomes of the voxels outside: where the ROI is not 0 and the dilated coarse
        segmentation lies. None if the case has neither.
    roi_recall : float or None
        Of the voxels that at least one rater marked, the share inside `region`; nan if there is none. None without a region
        or without raters.
    rater_recalls : tuple of float or None
        Of each rater's own voxels, the share inside `region`; nan for a missing rater and an empty mask. None as above.
    """

    id: str
    group: str
    probs: npt.NDArray[np.floating]
    raters: tuple[npt.NDArray[np.uint8] | None, ...]
    rater_names: tuple[str, ...]
    roi: npt.NDArray[np.bool_] | None
    geometry: Geometry | None
    voxel_volume_ml: float | None
    vessels: npt.NDArray[np.integer] | None = None
    spacing: tuple[float, ...] | None = None
    region: npt.NDArray[np.bool_] | None = None
    roi_recall: float | None = None
    rater_recalls: tuple[float, ...] | None = None

    def calibrated_by(
        self, calibrate: Callable[[npt.NDArray[np.floating]], npt.NDArray[np.floating]]
    ) -> npt.NDArray[np.floating]:
        """The probabilities that ``calibrate`` makes of these, as ``mrcalib apply`` writes them.

        Parameters
        ----------
        calibrate : callable
            A calibrator, or what else maps an array of probabilities to a new one of its shape.

        Returns
        -------
        ndarray of shape S
            Exactly 0 outside `region` where ``outside="zero"`` was asked for, whatever the map says of 0.
        """
        calibrated = calibrate(self.probs)
        if self.region is not None and self.roi is None:
            calibrated = np.where(self.region, calibrated, calibrated.dtype.type(0))
        return calibrated


@dataclass(frozen=True, slots=True, eq=False)
class LoadedAnnotations:
    """The masks of a case in memory, on one voxel grid.

    Attributes
    ----------
    id : str
    raters : tuple of (ndarray of shape S, uint8) or None
        Votes 0 or 1; None is a missing rater, an empty mask is not.
    rater_names : tuple of str
        In the order of `raters`.
    geometry : Geometry or None
        None if no mask has a header.
    spacing : tuple of float or None
        Voxel edges in mm, from the header or from `Annotations.spacing`.
    """

    id: str
    raters: tuple[npt.NDArray[np.uint8] | None, ...]
    rater_names: tuple[str, ...]
    geometry: Geometry | None
    spacing: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedClasses:
    """A case with several classes in memory, on one voxel grid.

    Parameters
    ----------
    classes : tuple of ImageClass
        In the order of ``probs``.
    probs : ndarray of shape (n_classes, *S), float
        Each class's probability, pooled by itself; the background is not among them.
    labels : tuple of (ndarray of shape S, int) or None
        The raters' label maps; None is a missing rater.
    case : LoadedCase
        The rest of it, and the first class against the rest.
    """

    classes: tuple[ImageClass, ...]
    probs: npt.NDArray[np.floating]
    labels: tuple[npt.NDArray[np.integer] | None, ...]
    case: LoadedCase

    @property
    def geometry(self) -> Geometry | None:
        """Where the voxels lie."""
        return self.case.geometry


def load_case(case: Sources, options: LoadOptions = DEFAULT_OPTIONS) -> LoadedCase:
    """A case in memory; see `Case.load`."""
    with OpenCase(case, options) as opened:
        return _loaded(opened, opened.whole())


def load_annotations(case: Sources, options: LoadOptions = DEFAULT_OPTIONS) -> LoadedAnnotations:
    """The masks of a case in memory; see `Annotations.load`."""
    with OpenCase(case, options) as opened:
        votes = tuple(None if mask is None else mask[0] for mask in opened.whole().raters)
        return LoadedAnnotations(case.id, votes, opened.rater_names, opened.geometry, opened.spacing)


def load_classes(case: Sources, classes: Sequence[ImageClass], options: LoadOptions = DEFAULT_OPTIONS) -> LoadedClasses:
    """All classes of a case in memory, read in one pass; each is what reading it against the rest alone gives.

    Parameters
    ----------
    case : Case
        Its probabilities have a channel for each class. Logits (``values="logits"``) are taken as those of a softmax.
    classes : sequence of ImageClass
        Label and channel of each; with different names, labels and channels.
    options : LoadOptions
        As for `Case.load`; ``foreground`` and ``positive`` are set for each class.

    Returns
    -------
    LoadedClasses

    Raises
    ------
    FileNotFoundError, GeometryError
        As `Case.load`.
    ValueError
        As `Case.load`; if probabilities have no channels, too few, or ones that do not sum to 1; if a mask holds a label that
        no class names; if two classes share a name, a label or a channel; or if ``merge="max"`` says that the channels are
        regions.
    """
    with OpenCase(case, options, classes=classes) as opened:
        slab = opened.whole()
        labels = tuple(None if votes is None else _labels(votes, classes) for votes in slab.raters)
        return LoadedClasses(tuple(classes), slab.probs, labels, _loaded(opened, slab))


def load_each_class(
    case: Sources, classes: Sequence[ImageClass], options: LoadOptions = DEFAULT_OPTIONS
) -> list[LoadedCase]:
    """Each class of a case against the rest, in memory, from one reading; as `load_classes`."""
    with OpenCase(case, options, classes=classes) as opened:
        slab = opened.whole()
        return [_loaded(opened, slab, place) for place in range(len(classes))]


def require_classes(case: Sources, classes: Sequence[ImageClass], options: LoadOptions = DEFAULT_OPTIONS) -> None:
    """Read a case slab by slab to refuse what `load_classes` refuses, but for raters who do not agree.

    Parameters
    ----------
    case, classes, options
        As for `load_classes`.

    Raises
    ------
    FileNotFoundError, GeometryError, ValueError
        As `load_classes`.
    """
    with OpenCase(case, options, classes=classes) as opened:
        for _ in opened.slabs(overlaps=False):
            pass


def _labels(votes: npt.NDArray[np.uint8], classes: Sequence[ImageClass]) -> npt.NDArray[np.integer]:
    """The label map that the votes for each class were made of."""
    total: npt.NDArray[np.int32] = votes[0].astype(np.int32) * np.int32(classes[0].label)
    for one, mask in zip(classes[1:], votes[1:], strict=True):
        np.add(total, mask.astype(np.int32) * np.int32(one.label), out=total)
    return total


def _loaded(opened: OpenCase, slab: Slab, place: int = 0) -> LoadedCase:
    return LoadedCase(
        id=opened.id,
        group=opened.group,
        probs=slab.probs[place],
        raters=tuple(None if mask is None else mask[place] for mask in slab.raters),
        rater_names=opened.rater_names,
        roi=slab.roi,
        geometry=opened.geometry,
        voxel_volume_ml=opened.voxel_volume_ml,
        vessels=slab.vessels,
        spacing=opened.spacing,
        region=slab.region,
        roi_recall=None if opened.recall is None else opened.recall.union,
        rater_recalls=None if opened.recall is None else opened.recall.per_rater,
    )
