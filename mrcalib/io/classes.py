"""Several exclusive classes of one file: its channels, the labels in the masks, and all of a case in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mrcalib.inputs import TOLERANCE, require_named
from mrcalib.io.geometry import Geometry
from mrcalib.io.loaded import DEFAULT_OPTIONS, LoadedCase, LoadOptions
from mrcalib.io.masks import as_labels
from mrcalib.io.readers import read_labels, read_volume
from mrcalib.io.volume import Source

if TYPE_CHECKING:
    from mrcalib.io.case import Case

__all__ = ["ImageClass", "LoadedClasses", "load_classes", "require_classes"]


@dataclass(frozen=True, slots=True)
class ImageClass:
    """A class in files: its label in the masks, and its channel in the probabilities.

    Parameters
    ----------
    name : str
    label : int
        From 1 on; 0 is the background.
    channel : int or None
        From 0 on; the label if None.

    Raises
    ------
    ValueError
        If the name is empty, or a number is too small.

    Examples
    --------
    >>> ImageClass("liver", 3)
    ImageClass(name='liver', label=3, channel=3)
    """

    name: str
    label: int
    channel: int | None = None

    def __post_init__(self) -> None:
        if self.channel is None:
            object.__setattr__(self, "channel", self.label)
        if not self.name or self.label < 1 or self.position < 0:
            msg = f"A class needs a name, a label from 1 on and a channel from 0 on; got {self}."
            raise ValueError(msg)

    @property
    def position(self) -> int:
        """The channel."""
        return self.label if self.channel is None else self.channel

    def options(self, options: LoadOptions = DEFAULT_OPTIONS) -> LoadOptions:
        """The options that read this class against the rest."""
        return replace(options, foreground=(self.position,), positive=(self.label,))


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
        The rest of it, as the first class was read.
    """

    classes: tuple[ImageClass, ...]
    probs: npt.NDArray[np.floating]
    labels: tuple[npt.NDArray[np.integer] | None, ...]
    case: LoadedCase

    @property
    def geometry(self) -> Geometry | None:
        """Where the voxels lie."""
        return self.case.geometry


def load_classes(
    case: "Case",
    classes: Sequence[ImageClass],
    options: LoadOptions = DEFAULT_OPTIONS,
    *,
    checked: bool = False,
) -> LoadedClasses:
    """Read all classes of a case; each is what reading it against the rest alone gives.

    The files are read once a class, and once more for the check: nothing but one class is in memory in duplicate.

    Parameters
    ----------
    case : Case
        Files with a channel for each class.
    classes : sequence of ImageClass
        Label and channel of each.
    options : LoadOptions
        As for `Case.load`; ``foreground`` and ``positive`` are set for each class.
    checked : bool
        Whether `require_classes` was passed already.

    Returns
    -------
    LoadedClasses

    Raises
    ------
    FileNotFoundError, GeometryError, ValueError
        As `Case.load` and `require_classes`.
    """
    if not checked:
        require_classes(case, classes, options)
    read = [case.load(options=one.options(options)) for one in classes]
    labels: list[npt.NDArray[np.integer] | None] = []
    for votes in zip(*(part.raters for part in read), strict=True):
        total = None
        for one, vote in zip(classes, votes, strict=True):
            if vote is not None:
                mask = vote.astype(np.int32) * one.label
                total = mask if total is None else np.add(total, mask, out=total)
        labels.append(total)
    return LoadedClasses(tuple(classes), np.stack([part.probs for part in read]), tuple(labels), read[0])


def require_classes(case: "Case", classes: Sequence[ImageClass], options: LoadOptions = DEFAULT_OPTIONS) -> None:
    """Refuse a case whose channels are not exclusive classes, or whose masks hold a label that no class names.

    Logits (``values="logits"``) are taken as those of a softmax.

    Parameters
    ----------
    case : Case
        Its probabilities are files; arrays have no channels.
    classes : sequence of ImageClass
        With different names, labels and channels.
    options : LoadOptions
        How the case will be read.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a probability file has no channels, too few, or ones that do not sum to 1; if a mask holds another label; if two
        classes share a name, a label or a channel; or if ``merge="max"`` says that the channels are regions.
    """
    for what in ("name", "label", "position"):
        values = [getattr(one, what) for one in classes]
        if len(set(values)) < len(values) or not values:
            told = "channel" if what == "position" else what
            msg = f"Classes must have different {told}s, and there must be one; got {', '.join(map(str, values)) or 'none'}."
            raise ValueError(msg)
    if options.merge == "max":
        msg = f"Case {case.id!r}: merge='max' is for regions that may overlap; classes are exclusive. Leave it out."
        raise ValueError(msg)
    for number, source in enumerate(case.members, start=1):
        role = "the probabilities" if len(case.members) == 1 else f"probability member {number}"
        _require_channels(source, classes, f"Case {case.id!r}, {role}", exclusive=options.values == "probabilities")
    named = {one.name: one.label for one in classes}
    for rater, mask in case.masks.items():
        if mask is not None:
            name = f"Case {case.id!r}, rater {rater!r}"
            stored = as_labels(mask, name) if isinstance(mask, np.ndarray) else read_labels(mask).data
            require_named(stored, named, name)


def _require_channels(source: Source, classes: Sequence[ImageClass], name: str, *, exclusive: bool) -> None:
    """Refuse too few channels and, unless they are logits, whose softmax always is ``exclusive``, ones that overlap."""
    if isinstance(source, np.ndarray):
        msg = f"{name}: an array in memory has no channels here; fit it by OneVsRestCalibrator.fit(probs, labels)."
        raise ValueError(msg)
    volume = read_volume(source)
    n_channels = volume.data.shape[-1] if volume.has_channels else 1
    highest = max(one.position for one in classes)
    if n_channels < 2 or highest >= n_channels:
        channels = f"{n_channels} channels, 0 to {n_channels - 1}" if n_channels > 1 else "one channel only"
        msg = (
            f"{name}: {source} has {channels}; expected one for the background and each class, up to channel {highest}. "
            "Classes are counted where a file has a header (a 4-D .nii.gz, a multi-channel .mha, nnU-Net's .npz)."
        )
        raise ValueError(msg)
    if not exclusive:
        return
    total = np.zeros(volume.shape)
    for channel in range(n_channels):
        total += volume.data[..., channel].astype(np.float64)
    wrong = np.abs(total - 1.0) > TOLERANCE
    if wrong.any():
        msg = (
            f"{name}: the {n_channels} channels of {source} do not sum to 1 at {np.count_nonzero(wrong):,} of {total.size:,} "
            f"voxels ({total[wrong][0]:.4g} at the first): they are regions that may overlap, not exclusive classes, or "
            "logits. Calibrate each region by itself (foreground=(1,), positive=(1,)), or export the softmax of classes."
        )
        raise ValueError(msg)
