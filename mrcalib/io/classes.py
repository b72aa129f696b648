"""Several exclusive classes in files: the label of each in the masks, and its channel in the probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mrcalib.options import DEFAULT_OPTIONS, LoadOptions

__all__ = ["ImageClass", "check_classes"]


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


def check_classes(classes: Sequence[ImageClass], options: LoadOptions, case_id: str) -> dict[str, int]:
    """The labels of the classes by name.

    Raises
    ------
    ValueError
        If two classes share a name, a label or a channel, there is none, or ``merge="max"`` says that the channels are
        regions.
    """
    for what in ("name", "label", "position"):
        values = [getattr(one, what) for one in classes]
        if len(set(values)) < len(values) or not values:
            shared = "channel" if what == "position" else what
            listed = ", ".join(map(str, values)) or "none"
            msg = f"Classes must have different {shared}s, and there must be one; got {listed}."
            raise ValueError(msg)
    if options.merge == "max":
        msg = f"Case {case_id!r}: merge='max' is for regions that may overlap; classes are exclusive. Leave it out."
        raise ValueError(msg)
    return {one.name: one.label for one in classes}
