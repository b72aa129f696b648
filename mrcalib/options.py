"""Options that are declared once: the field of a dataclass says its flag, its help, its choices and its range.

The command line's parser, the checks of the constructor, the record of how files were read, the comparison of two such
records and the hints of error messages are all made from the declaration. To add an option of reading files, add a field
to ``LoadOptions`` and use it where files are read.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal

__all__ = [
    "DEFAULT_OPTIONS",
    "LoadOptions",
    "Merge",
    "Number",
    "Numbers",
    "Option",
    "Pooling",
    "add_options",
    "check_options",
    "option",
    "options_from",
    "options_of",
    "reading_differences",
]


# Values -----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range: reads it from the text of a command line, and checks one that a program gives.

    Examples
    --------
    >>> share = Number(above=0, below=1)
    >>> share("0.25"), share.accepts(1.0), str(share)
    (0.25, False, 'a number above 0 and below 1')
    """

    kind: type[int] | type[float] = float
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __call__(self, text: str) -> Any:
        """Return the number that the text says; ArgumentTypeError unless it is in the range."""
        try:
            value = self.kind(text)
        except ValueError:
            value = None
        if value is None or not self.accepts(value):
            msg = f"expected {self}; got {text!r}"
            raise argparse.ArgumentTypeError(msg)
        return value

    def accepts(self, value: Any) -> bool:
        """Return whether a value is a finite number in the range."""
        if isinstance(value, bool) or not isinstance(value, Integral if self.kind is int else Real):
            return False
        number = float(value)
        return (
            math.isfinite(number)
            and (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        limits = (("of at least", self.at_least), ("above", self.above), ("up to", self.at_most), ("below", self.below))
        limits_in_words = " and ".join(f"{word} {limit:g}" for word, limit in limits if limit is not None)
        return f"{'a whole number' if self.kind is int else 'a number'} {limits_in_words}".rstrip()


@dataclass(frozen=True, slots=True)
class Numbers:
    """Several numbers of one range, with commas between them on a command line.

    Examples
    --------
    >>> Numbers(Number(int, at_least=0), "1,2")("3,4")
    (3, 4)
    """

    each: Number
    example: str

    def __call__(self, text: str) -> tuple[Any, ...]:
        """Return the numbers that the text says; ArgumentTypeError unless all are in the range."""
        try:
            return tuple(self.each(word) for word in text.split(","))
        except argparse.ArgumentTypeError:
            msg = f"expected {self} such as {self.example}; got {text!r}"
            raise argparse.ArgumentTypeError(msg) from None

    def accepts(self, value: Any) -> bool:
        """Return whether a value holds at least one number, and only numbers of the range."""
        return isinstance(value, tuple | list) and len(value) > 0 and all(map(self.each.accepts, value))

    def __str__(self) -> str:
        return str(self.each).removeprefix("a ").replace("number", "numbers", 1)


# Declarations -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """What an option is, beside its default and its type.

    Parameters
    ----------
    flag : str
        On the command line, such as "--margin".
    help : str
        One or two sentences; ``%(default)s`` stands for the default.
    choices : tuple
        The values that are allowed; empty if `values` says them.
    values : Number or Numbers, optional
        The range of the value. None as a value is always allowed where None is the default.
    metavar : str, optional
        What stands for the value in the help.
    switch : object, optional
        The value that the flag alone stands for, where it takes none.
    of : {"probabilities", "raters"}
        Whether it changes the probabilities of a case, or only how the raters' masks are read. Only options of
        probabilities are recorded with a calibrator and compared when it is applied.
    unset : str
        How messages name the value None.
    hint : str
        What to do instead, for the message on a value that is refused.
    matters : {"always", "members", "channels", "coarse", "region"}
        Where a difference changes the maps: always, or only with several members of an ensemble, several foreground
        channels, a coarse segmentation, or any region of interest.
    changes_counts : bool
        Whether tallies depend on it. One that only refuses cases leaves kept tallies valid.
    """

    flag: str
    help: str
    choices: tuple[Any, ...] = ()
    values: Number | Numbers | None = None
    metavar: str | None = None
    switch: Any = None
    of: Literal["probabilities", "raters"] = "probabilities"
    unset: str = "none"
    hint: str = ""
    matters: Literal["always", "members", "channels", "coarse", "region"] = "always"
    changes_counts: bool = True


def option(default: Any, flag: str, help: str, **more: Any) -> Any:
    """Return a field of a dataclass with this default that declares an option; `more` as for ``Option``."""
    return field(default=default, metadata={"option": Option(flag, help, **more)})


def options_of(owner: Any) -> dict[str, Option]:
    """Return the options that a dataclass declares, by the name of the field.

    Examples
    --------
    >>> options_of(LoadOptions)["margin_mm"].flag
    '--margin'
    """
    return {one.name: one.metadata["option"] for one in fields(owner) if "option" in one.metadata}


def check_options(owner: Any) -> None:
    """Raise ValueError, with the name of the argument, where a value is none of its choices or outside its range."""
    defaults = {one.name: one.default for one in fields(owner)}
    for name, option in options_of(owner).items():
        value = getattr(owner, name)
        if value is None and defaults[name] is None:
            continue
        if option.choices and value not in option.choices:
            msg = f"{name} must be {' or '.join(map(repr, option.choices))}; got {value!r}."
            raise ValueError(msg)
        if option.values is not None and not option.values.accepts(value):
            msg = f"{name} must be {option.values}; got {value!r}.{option.hint and f' {option.hint}'}"
            raise ValueError(msg)


def add_options(parser: argparse._ActionsContainer, owner: Any, *, of: str = "") -> None:
    """Add a flag for each option of a dataclass; the parsed value has the name of the field.

    Parameters
    ----------
    parser : argparse parser or group
        Where the flags are added.
    owner : dataclass
        It has fields that ``option`` made.
    of : {"", "probabilities", "raters"}
        Only options of this kind; "" for all.
    """
    defaults = {one.name: one.default for one in fields(owner)}
    for name, option in options_of(owner).items():
        if of not in ("", option.of):
            continue
        how: dict[str, Any] = {"dest": name, "default": defaults[name], "help": option.help}
        if option.switch is not None:
            how |= {"action": "store_const", "const": option.switch}
        elif option.choices:
            how["choices"] = option.choices
        else:
            how |= {"type": option.values, "metavar": option.metavar}
        parser.add_argument(option.flag, **how)


def options_from(owner: type[Any], parsed: argparse.Namespace, **changes: Any) -> Any:
    """Return the dataclass with the values that were parsed; options that the command does not have keep their defaults."""
    known = {name: getattr(parsed, name) for name in options_of(owner) if hasattr(parsed, name)}
    return owner(**(known | changes))


# Reading files ----------------------------------------------------------------------------------------------------------

Pooling = Literal["mean", "logit-mean"]
Merge = Literal["sum", "max"]


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How the files of a case are read.

    Parameters
    ----------
    pooling : {"mean", "logit-mean"}
        How the members of an ensemble become one map: the mean of their probabilities, or the sigmoid of their mean logit
        (of probabilities clipped by 2**-24).
    foreground : tuple of int or None
        Channels of a multi-class probability file that make up the foreground. None: channel 1 of two.
    merge : {"sum", "max"}
        How several channels of `foreground` become one: the sum, for exclusive classes; or the largest, for regions that
        may overlap or nest (nnU-Net's region-based training).
    weights : tuple of float or None
        A positive weight for each member of an ensemble, in the order of `Case.members`. None weighs all alike.
    values : {"probabilities", "logits"}
        What the files store. Logits become probabilities: by the softmax over the channels of exclusive classes
        (``merge="sum"``), else by the sigmoid.
    coarse_threshold : float
        In [0, 1): the region of interest is where a coarse probability map is above it.
    margin_mm : float
        By how many millimetres the coarse segmentation is dilated into the region of interest.
    outside : {"ignore", "zero"}
        What becomes of voxels outside the region of interest: they do not count, and keep their probabilities; or their
        probabilities become exactly 0 and they count like all others, as where a two-stage segmenter does not look.
    positive : tuple of int or None
        Labels that count as foreground in the raters' masks. None: masks must hold only 0 and 1.
    check_agreement : bool
        Whether a rater is refused who agrees with the others only after a flip or a shift.
    channel_axis : int or None
        Which axis of probabilities without a header (arrays, ``.npy``, ``.npz``) counts channels. None: they have none, and
        up to three axes.
    rater_axis : int or None
        Which axis of one mask without a header counts raters, who are then named "1", "2", ... None: each mask is one
        rater's.

    Raises
    ------
    ValueError
        If an option is not one of its choices or out of its range, or `foreground` or `positive` is an empty tuple.

    Examples
    --------
    >>> LoadOptions(margin_mm=20.0, outside="zero").to_dict()["margin_mm"]
    20.0
    """

    pooling: Pooling = option(
        "mean",
        "--pooling",
        "how the members of an ensemble become one map: the mean of their probabilities, or the sigmoid of their mean logit "
        "(default: %(default)s)",
        choices=("mean", "logit-mean"),
        matters="members",
    )
    foreground: tuple[int, ...] | None = option(
        None,
        "--foreground",
        "channels of a multi-class map that make up the foreground, such as 1,2 (default: channel 1 of two)",
        values=Numbers(Number(int, at_least=0), "1,2"),
        metavar="CHANNELS",
        unset="channel 1 of two",
    )
    positive: tuple[int, ...] | None = option(
        None,
        "--positive",
        "labels of the masks that are foreground, such as 255 (default: 1)",
        values=Numbers(Number(int, at_least=1), "255"),
        metavar="LABELS",
        of="raters",
    )
    check_agreement: bool = option(
        default=True,
        flag="--no-agreement-check",
        help="accept a rater who agrees with the others only after a flip or a shift (default: refused)",
        switch=False,
        of="raters",
        changes_counts=False,
    )
    weights: tuple[float, ...] | None = option(
        None,
        "--weights",
        "weights of an ensemble's members in their order, such as 2,1,1 (default: equal)",
        values=Numbers(Number(above=0), "2,1,1"),
        metavar="NUMBERS",
        unset="equal",
        hint="Leave a member out rather than weigh it 0.",
        matters="members",
    )
    values: Literal["probabilities", "logits"] = option(
        "probabilities",
        "--logits",
        "the files store logits: take the softmax over the channels of classes, else the sigmoid (default: probabilities)",
        choices=("probabilities", "logits"),
        switch="logits",
    )
    merge: Merge = option(
        "sum",
        "--merge",
        "how several --foreground channels become one: their sum, for exclusive classes; or the largest, for regions that may "
        "overlap or nest, as nnU-Net's region-based training exports them (default: %(default)s)",
        choices=("sum", "max"),
        matters="channels",
    )
    coarse_threshold: float = option(
        0.5,
        "--coarse-threshold",
        "a coarse probability map is inside above this; masks are inside where not 0 (default: %(default)s)",
        values=Number(at_least=0, below=1),
        metavar="P",
        matters="coarse",
    )
    margin_mm: float = option(
        0.0,
        "--margin",
        "by how much the coarse segmentation is dilated, in mm (default: %(default)g). It is wide enough where the region "
        "keeps nearly all that the raters marked, which fit and compare print",
        values=Number(at_least=0),
        metavar="MM",
        matters="coarse",
    )
    outside: Literal["ignore", "zero"] = option(
        "ignore",
        "--outside",
        "voxels outside the region of interest. ignore: they do not count, and apply calibrates them like all others, of "
        "which the calibrator knows nothing. zero: their probability is exactly 0, and stays so after calibration, and they "
        "count, as for a two-stage segmenter that does not look there (default: %(default)s)",
        choices=("ignore", "zero"),
        matters="region",
    )
    channel_axis: int | None = option(
        None,
        "--channel-axis",
        "which axis of .npy and .npz maps counts channels, such as 0 or -1 (default: they have none)",
        values=Number(int, at_least=-4, at_most=3),
        metavar="AXIS",
    )
    rater_axis: int | None = option(
        None,
        "--rater-axis",
        "which axis of a .npy or .npz file that holds the masks of all raters counts them, such as 0 or -1 (default: a file "
        "holds the mask of one rater)",
        values=Number(int, at_least=-4, at_most=3),
        metavar="AXIS",
        of="raters",
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in ("foreground", "positive", "weights"):
            if getattr(self, name) is not None:
                kind = float if name == "weights" else int
                object.__setattr__(self, name, tuple(map(kind, getattr(self, name))))

    def to_dict(self) -> dict[str, Any]:
        """Return what makes the probabilities of a case, as JSON values; how masks are read is left out."""
        known = {name: getattr(self, name) for name, option in options_of(self).items() if option.of == "probabilities"}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in known.items()}

    def counts_key(self) -> str:
        """Return a text that is equal for options that give the same counts, by which kept tallies are recognised."""
        return repr([(name, getattr(self, name)) for name, option in options_of(self).items() if option.changes_counts])


DEFAULT_OPTIONS = LoadOptions()

_OF_CASES = {"members": "members of an ensemble", "roi": "a ROI", "coarse": "a coarse segmentation"}


def reading_differences(fitted_to: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how two records of reading differ (``mrcalib.scale.reading_of``), in words, where that changes the maps.

    Examples
    --------
    >>> common = {"members": [3], "roi": False, "coarse": True, "outside": "zero", "pooling": "mean", "coarse_threshold": 0.5}
    >>> reading_differences(common | {"margin_mm": 20.0}, common | {"margin_mm": 5.0})
    ['--margin 20 then, 5 now']
    """
    both = (fitted_to, now)
    coarse = any(reading.get("coarse") for reading in both)
    matters = {
        "always": True,
        "members": not all(reading.get("members") == [1] for reading in both),
        "channels": not all(len(reading.get("foreground") or (1,)) == 1 for reading in both),
        "coarse": coarse,
        # A map that was fitted inside the region only may be set to zero outside.
        "region": (coarse or any(reading.get("roi") for reading in both)) and now.get("outside") != "zero",
    }
    declared = options_of(LoadOptions)
    words = {
        name: option.flag if option.switch is None else name
        for name, option in declared.items()
        if matters[option.matters]
    }

    def described(name: str, value: Any) -> str:
        if value is None:
            return declared[name].unset if name in declared else "none"
        if isinstance(value, bool):
            return "given" if value else "not given"
        if isinstance(value, list):
            return ",".join(f"{item:g}" for item in value)
        return f"{value:g}" if isinstance(value, float) else str(value)

    return [
        f"{word} {described(name, fitted_to[name])} then, {described(name, now[name])} now"
        for name, word in (words | _OF_CASES).items()
        if name in fitted_to and name in now and fitted_to[name] != now[name]
    ]
