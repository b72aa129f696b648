"""How a case is read: one table of options, from which command line, provenance and cache keys derive."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, Literal

from mrcalib.inputs import check_choice, check_number

__all__ = ["DEFAULT_OPTIONS", "LoadOptions", "Option", "option_table"]


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of an option besides its value: everything that other rooms derive from it.

    Attributes
    ----------
    flag : str
        On the command line.
    kind : {"choice", "switch", "whole numbers", "positive numbers", "fraction", "length", "axis"}
        What the command line takes; a switch takes nothing and sets ``value``.
    help : str
        For the command line.
    choices : tuple
        Of kind "choice".
    metavar : str
        What stands for the value in the help.
    value : object
        What a switch sets.
    of_masks : bool
        Whether the option says how masks are read. All others say how probabilities are made, and are recorded in the
        provenance of a calibrator.
    changes_counts : bool
        Whether tallies depend on it. One that only refuses cases does not make kept tallies invalid.
    default_words : str
        What messages call a default of None.
    """

    flag: str
    kind: Literal["choice", "switch", "whole numbers", "positive numbers", "fraction", "length", "axis"]
    help: str
    choices: tuple[str, ...] = ()
    metavar: str | None = None
    value: object = None
    of_masks: bool = False
    changes_counts: bool = True
    default_words: str = "none"


def _option(flag: str, kind: Any, help_text: str, *, default: Any, **more: Any) -> Any:
    return field(default=default, metadata={"option": Option(flag, kind, help_text, **more)})


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a case is read.

    Parameters
    ----------
    pooling : {"mean", "logit-mean"}
        Ensemble members: mean of the probabilities, or sigmoid of the mean logit (probabilities clipped by 2**-24).
    foreground : tuple of int or None
        Channels of a multi-class probability file that make up the foreground. None: channel 1 of two.
    positive : tuple of int or None
        Labels that count as foreground in the raters' masks. None: masks must hold only 0 and 1.
    check_agreement : bool
        Refuse a rater who agrees with the others only after a flip or a shift.
    weights : tuple of float or None
        A positive weight for each ensemble member, in the order of `Case.members`. None weighs all alike.
    values : {"probabilities", "logits"}
        What the members store. Logits become probabilities: by the softmax over the channels of exclusive classes
        (``merge="sum"``), else by the sigmoid.
    merge : {"sum", "max"}
        Several channels of `foreground`: the sum, of exclusive classes; or the largest, of regions that may overlap or
        nest (nnU-Net's region-based training).
    coarse_threshold : float
        In [0, 1): where a coarse probability map is above it, the region of interest begins.
    margin_mm : float
        By how much the coarse segmentation is dilated into the region of interest.
    outside : {"ignore", "zero"}
        Voxels outside the region of interest: they do not count, and keep their probabilities; or their probabilities
        become exactly 0 and they count like all others, as where a two-stage segmenter does not look.
    channel_axis : int or None
        Which axis of probabilities without a header (arrays, ``.npy``, ``.npz``) counts channels. None: they have none, and
        up to three axes.
    rater_axis : int or None
        Which axis of one mask without a header counts raters, who are then named "1", "2", ... None: each mask is one
        rater's.

    Raises
    ------
    ValueError
        If an option is not one of its choices or out of range, or `foreground` or `positive` is an empty tuple.

    Examples
    --------
    >>> LoadOptions(margin_mm=20.0, outside="zero").to_dict()["margin_mm"]
    20.0
    """

    pooling: Literal["mean", "logit-mean"] = _option(
        "--pooling",
        "choice",
        "of an ensemble's members: the mean of their probabilities, or the sigmoid of their mean logit (default: %(default)s)",
        choices=("mean", "logit-mean"),
        default="mean",
    )
    foreground: tuple[int, ...] | None = _option(
        "--foreground",
        "whole numbers",
        "channels of a multi-class map that make up the foreground, such as 1,2 (default: channel 1 of two)",
        metavar="CHANNELS",
        default_words="channel 1 of two",
        default=None,
    )
    positive: tuple[int, ...] | None = _option(
        "--positive",
        "whole numbers",
        "labels of the masks that are foreground, such as 255 (default: 1)",
        metavar="LABELS",
        of_masks=True,
        default=None,
    )
    check_agreement: bool = _option(
        "--no-agreement-check",
        "switch",
        "accept a rater who agrees with the others only after a flip or a shift (default: refused)",
        value=False,
        of_masks=True,
        changes_counts=False,
        default=True,
    )
    weights: tuple[float, ...] | None = _option(
        "--weights",
        "positive numbers",
        "of an ensemble's members in their order, such as 2,1,1 (default: equal)",
        metavar="NUMBERS",
        default_words="equal",
        default=None,
    )
    values: Literal["probabilities", "logits"] = _option(
        "--logits",
        "switch",
        "the maps store logits: take the softmax over the channels of classes, else the sigmoid (default: probabilities)",
        choices=("probabilities", "logits"),
        value="logits",
        default="probabilities",
    )
    merge: Literal["sum", "max"] = _option(
        "--merge",
        "choice",
        "of several --foreground channels: their sum, for exclusive classes; or the largest, for regions that may overlap or "
        "nest, as nnU-Net's region-based training exports them (default: %(default)s)",
        choices=("sum", "max"),
        default="sum",
    )
    coarse_threshold: float = _option(
        "--coarse-threshold",
        "fraction",
        "a coarse probability map is inside above this; masks are inside where not 0 (default: %(default)s)",
        metavar="P",
        default=0.5,
    )
    margin_mm: float = _option(
        "--margin",
        "length",
        "by how much the coarse segmentation is dilated, in mm (default: %(default)g). Wide enough is where it keeps nearly "
        "all that the raters marked, which fit and compare print",
        metavar="MM",
        default=0.0,
    )
    outside: Literal["ignore", "zero"] = _option(
        "--outside",
        "choice",
        "voxels outside the region of interest. ignore: they are left as they are and do not count. zero: their probability "
        "is exactly 0, and stays so after calibration, and they count, as for a two-stage segmenter that does not look there "
        "(default: %(default)s)",
        choices=("ignore", "zero"),
        default="ignore",
    )
    channel_axis: int | None = _option(
        "--channel-axis",
        "axis",
        "which axis of .npy and .npz maps counts channels, such as 0 or -1 (default: they have none)",
        metavar="AXIS",
        default=None,
    )
    rater_axis: int | None = _option(
        "--rater-axis",
        "axis",
        "which axis of a .npy or .npz file with the masks of all raters counts them, such as 0 or -1 (default: one rater a "
        "file)",
        metavar="AXIS",
        of_masks=True,
        default=None,
    )

    def __post_init__(self) -> None:
        for name, about in option_table().items():
            if about.choices:
                check_choice(name, getattr(self, name), about.choices)
        if not 0 <= self.coarse_threshold < 1:
            msg = f"coarse_threshold must lie in [0, 1); got {self.coarse_threshold!r}."
            raise ValueError(msg)
        if not (isfinite(self.margin_mm) and self.margin_mm >= 0):
            msg = f"margin_mm must be a finite number of at least 0; got {self.margin_mm!r}."
            raise ValueError(msg)
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(float(weight) for weight in self.weights))
            if not self.weights or not all(isfinite(weight) and weight > 0 for weight in self.weights):
                msg = (
                    f"weights must be positive numbers; got {self.weights}. Leave a member out rather than weigh it 0."
                )
                raise ValueError(msg)
        for name, chosen in (("foreground", self.foreground), ("positive", self.positive)):
            if chosen == ():
                msg = f"{name} must name at least one value, or be None; got an empty tuple."
                raise ValueError(msg)
        for name, axis in (("channel_axis", self.channel_axis), ("rater_axis", self.rater_axis)):
            if axis is not None:
                check_number(name, axis, -4, 3)

    def to_dict(self) -> dict[str, Any]:
        """What makes the probabilities of a case, as JSON values; how masks are read is left out."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, about in option_table().items()
            for value in (getattr(self, name),)
            if not about.of_masks
        }

    def cache_key(self) -> str:
        """Equal for options that give the same counts."""
        return repr([(name, getattr(self, name)) for name, about in option_table().items() if about.changes_counts])


def option_table() -> dict[str, Option]:
    """What is known of each field of `LoadOptions`, in their order.

    Examples
    --------
    >>> option_table()["margin_mm"].flag
    '--margin'
    """
    return {one.name: one.metadata["option"] for one in fields(LoadOptions)}


DEFAULT_OPTIONS = LoadOptions()
