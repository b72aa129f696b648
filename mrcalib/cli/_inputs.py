"""The options that say where the cases are, which classes are meant and how files are read; and what is read of them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from mrcalib.cli._cases import CaseCounter, note_recall
from mrcalib.cli._console import Console, UsageError
from mrcalib.cli._options import add_named, spacing
from mrcalib.options import LoadOptions, add_options, options_from, reading_differences

if TYPE_CHECKING:
    from mrcalib.cohort import Cohort
    from mrcalib.grid import ProbabilityGrid
    from mrcalib.io import Case, ImageClass, LayoutFolder
    from mrcalib.roi import RoiRecall

__all__ = [
    "TEMPLATES",
    "add_classes",
    "add_data",
    "add_inputs",
    "add_reading",
    "add_spacing",
    "cases_of",
    "check_data",
    "check_region",
    "choose_classes",
    "classes_of",
    "load_options_of",
    "record_reading",
    "refuse_with_classes",
    "scan_data",
    "tally",
    "warn_of_differences",
]

TEMPLATES = ("probs", "raters", "roi", "coarse", "image", "vessels", "group")
_HELP = """\
Say where the cases are by --manifest, by {options}, or, for a published data set, by --data and --probs.
In a template {{case}}, {{rater}} and {{member}} stand for a part of a file or folder name; *, ? and [1-3] match as in
a shell (put templates in quotes). Several probability files of a case are the members of an ensemble and are pooled.
Formats: .nii.gz .nii .mha .mhd .nrrd .npy .npz (nnU-Net's exports included), and .png for masks.
"""
_CLASSES_HELP = (
    "several exclusive classes, each calibrated against the rest: name and label in the masks, such as "
    "pancreas=1,kidney=2,liver=3; the label is also the channel of the probabilities, or say pancreas=1:4. Name all labels "
    "of the masks but 0, the background"
)
_RESERVED = ("calibrators", "figures", "tallies")  # folders that stand beside those of classes
_PARTS_OF_DATA = ("layout", "split", "task")
_SAID_BY_LAYOUT = ("manifest", "raters", "image", "vessels", "group", "probs_columns", "rater_columns")


# Options ----------------------------------------------------------------------------------------------------------------


def add_inputs(parser: argparse.ArgumentParser, *, raters: bool = True) -> None:
    """Add the options that say where the cases are."""
    group = parser.add_argument_group(
        "where the cases are", _HELP.format(options="--probs and --raters" if raters else "--probs")
    )
    group.add_argument(
        "--manifest",
        metavar="CSV",
        help="table with columns case, prob (or prob_1, prob_2 ...), rater_1, rater_2 ..., and, if there, group (or patient), "
        "roi, coarse, image, vessels, spacing; paths are relative to the table"
        + ("" if raters else "; the columns of raters may be missing"),
    )
    add_data(group)
    group.add_argument("--probs", metavar="TEMPLATE", help="probability maps, such as 'preds/{case}.nii.gz'")
    if raters:
        group.add_argument(
            "--raters", metavar="TEMPLATE", help="masks of the raters, such as 'masks/{case}/annotation_{rater}.nii.gz'"
        )
    group.add_argument(
        "--roi",
        metavar="TEMPLATE",
        help="region of interest, not 0 inside; nothing outside counts, but see --outside (default: all voxels)",
    )
    group.add_argument(
        "--coarse",
        metavar="TEMPLATE",
        help="segmentation of a coarse first stage on the same voxels, a mask or a probability map: dilated by --margin it "
        "is the region of interest (within --roi, if both are given)",
    )
    if raters:
        group.add_argument("--image", metavar="TEMPLATE", help="the images themselves, for pictures")
        group.add_argument(
            "--group",
            metavar="REGEX",
            help=r"the part of a case's name that is the patient, such as '(P\d+)_'; cases of a patient stay together in "
            "folds and resamples (default: each case is a patient)",
        )
        group.add_argument(
            "--vessels", metavar="TEMPLATE", help="vessel labels, for protocols that score vascular invasion"
        )
    group.add_argument(
        "--probs-columns",
        metavar="PATTERN",
        help="columns of the manifest to take as probabilities, such as 'prob_[1-3]'",
    )
    if raters:
        group.add_argument(
            "--rater-columns",
            metavar="PATTERN",
            help="columns of the manifest to take as raters, such as 'annotation_*'",
        )


def add_data(group: argparse._ActionsContainer, *, predictions: bool = True) -> None:
    """Add the options that name a published data set, and which part of it is meant."""
    group.add_argument(
        "--data",
        metavar="FOLDER",
        help="published data set as it was unpacked: raters' masks, images and vessels are found by its layout"
        + (", predictions by --probs" if predictions else ""),
    )
    add_named(
        group,
        "--layout",
        "layout",
        "layout of the data set: %(names)s (default: recognised by its files)",
        metavar="LAYOUT",
    )
    group.add_argument(
        "--split", choices=("training", "validation", "testing"), help="of the data set (default: all that is there)"
    )
    group.add_argument("--task", metavar="TASK", help="of a data set with several, such as prostate/task02")


def add_reading(parser: argparse.ArgumentParser, *, raters: bool = True) -> None:
    """Add the options that say how files are read, as ``LoadOptions`` declares them."""
    group = parser.add_argument_group("how files are read")
    add_options(group, LoadOptions, of="" if raters else "probabilities")
    add_spacing(group)


def add_spacing(group: argparse._ActionsContainer) -> None:
    """Add the option that says how large voxels are."""
    group.add_argument(
        "--spacing",
        type=spacing,
        metavar="MM",
        help="voxel edges in mm, such as 0.7,0.7,2.5, of files without a header (default: volumes are in voxels)",
    )


def add_classes(parser: argparse._ActionsContainer, *, more: str = "") -> None:
    """Add the option that names several classes."""
    parser.add_argument("--classes", type=classes, metavar="NAME=LABEL[:CHANNEL],...", help=_CLASSES_HELP + more)


def classes(text: str) -> tuple[tuple[str, int, int], ...]:
    """Return names with labels and channels.

    Examples
    --------
    >>> classes("pancreas=1,liver=3:2")
    (('pancreas', 1, 1), ('liver', 3, 2))
    """
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)=(\d+)(?::(\d+))?\s*", part)
        if not match or int(match[2]) == 0:
            msg = (
                f"expected name=label or name=label:channel, labels from 1 on, such as pancreas=1,liver=3; got {part!r}"
            )
            raise argparse.ArgumentTypeError(msg)
        found.append((match[1], int(match[2]), int(match[3] or match[2])))
    for what, values in zip(("name", "label", "channel"), zip(*found, strict=True), strict=True):
        if len({str(value).casefold() for value in values}) < len(found):
            msg = f"every class needs a {what} of its own; got {text!r}"
            raise argparse.ArgumentTypeError(msg)
    taken = next((name for name, _, _ in found if name.casefold() in _RESERVED), None)
    if taken is not None:
        msg = f"a class cannot be called {taken!r}, which is a folder of results"
        raise argparse.ArgumentTypeError(msg)
    return tuple(sorted(found, key=lambda one: one[1]))


# Cases ------------------------------------------------------------------------------------------------------------------


def cases_of(args: argparse.Namespace) -> list[Case]:
    """Return the cases that the options name.

    Raises
    ------
    UsageError
        If they name none, or name them in two ways.
    """
    given = [f"--{name}" for name in TEMPLATES if getattr(args, name, None) is not None]
    columns = [
        f"--{name.replace('_', '-')}" for name in ("probs_columns", "rater_columns") if getattr(args, name, None)
    ]
    wants_raters = hasattr(args, "raters")
    check_data(args)
    if args.manifest and given:
        _refuse(
            f"--manifest and {', '.join(given)} exclude each other: "
            "a manifest names all files itself, in its columns roi, image, group, vessels."
        )
    if columns and not args.manifest:
        _refuse(f"{', '.join(columns)} chooses columns of a --manifest; there is none.")
    if not (args.manifest or args.data) and (args.probs is None or (wants_raters and args.raters is None)):
        templates = "--probs TEMPLATE and --raters TEMPLATE" if wants_raters else "--probs TEMPLATE"
        missing = "" if not given else f" (only {', '.join(given)} was given)"
        _refuse(
            f"say where the cases are: --manifest cases.csv, or {templates}, or --data FOLDER and --probs TEMPLATE{missing}."
        )
    from mrcalib.io import discover, read_manifest

    if args.data:
        cases = _cases_in_data(args)
    elif args.manifest:
        cases = read_manifest(
            args.manifest,
            probs=args.probs_columns,
            raters=getattr(args, "rater_columns", None),
            require_raters=wants_raters,
        )
    else:
        extras = {name: getattr(args, name, None) for name in TEMPLATES[2:]}
        cases = discover(args.probs, getattr(args, "raters", None), **extras)
    check_region(cases, args)
    if args.spacing is None:
        return cases
    return [replace(case, spacing=case.spacing or args.spacing) for case in cases]


def check_region(cases: Sequence[Case], args: argparse.Namespace) -> None:
    """Raise UsageError where options ask for a region of interest that a case does not have."""
    for case in cases:
        if args.margin_mm > 0 and case.coarse is None:
            _refuse(
                f"--margin dilates a coarse segmentation, and case {case.id!r} has none: give --coarse, or a column 'coarse' "
                "in the manifest."
            )
        if args.outside == "zero" and case.coarse is None and case.roi is None:
            _refuse(
                f"--outside zero needs to know what is inside, and case {case.id!r} has neither ROI nor coarse segmentation: "
                "give --roi or --coarse, or a column 'roi' or 'coarse' in the manifest."
            )


def check_data(args: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go with --data, or not without it."""
    if args.data is None:
        alone = [f"--{name}" for name in _PARTS_OF_DATA if getattr(args, name) is not None]
        if alone:
            _refuse(f"{', '.join(alone)} chooses from a data set; say where it is: --data FOLDER.")
        return
    others = [f"--{name.replace('_', '-')}" for name in _SAID_BY_LAYOUT if getattr(args, name, None)]
    if others:
        _refuse(
            f"--data and {', '.join(others)} exclude each other: the layout of the data set says what these would say."
        )


def scan_data(args: argparse.Namespace) -> LayoutFolder:
    """Return what is in the data set, after showing it; labels are read as it has them, unless an option says otherwise."""
    from mrcalib.io import scan_layout

    found = scan_layout(args.data, args.layout, split=args.split, task=args.task)
    for line in found.describe():
        args.console.note(line)
    if hasattr(args, "raters") and args.positive is None:
        args.positive = found.positive
    return found


def _cases_in_data(args: argparse.Namespace) -> list[Case]:
    found = scan_data(args)
    if getattr(args, "protocol", "") is None and found.info.protocol:
        args.console.note(f"the challenge scores these cases by --protocol {found.info.protocol}")
    return found.with_predictions(
        args.probs, coarse=getattr(args, "coarse", None), roi=args.roi, raters=hasattr(args, "raters")
    )


# Classes ----------------------------------------------------------------------------------------------------------------


def choose_classes(args: argparse.Namespace) -> None:
    """Take the classes of the data set, where it has several and no option says which labels are meant.

    Raises
    ------
    UsageError
        For options that do not go with several classes.
    """
    if args.data and not (getattr(args, "protocol", None) or args.classes or args.positive or args.foreground):
        check_data(args)
        from mrcalib.io import layout_info, recognise_layout

        named = layout_info(args.layout or recognise_layout(args.data)).classes
        if named:
            args.classes = tuple((name, label, label) for name, label in named.items())
            said = ",".join(f"{name}={label}" for name, label in named.items())
            args.console.note(
                f"the data set has several classes: --classes {said} (one alone: --positive 1 --foreground 1)"
            )
    if args.classes:
        refuse_with_classes(args)


def refuse_with_classes(args: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go with several classes."""
    names = ("foreground", "positive", "protocol", "test_manifest")
    given = [f"--{name.replace('_', '-')}" for name in names if getattr(args, name, None) is not None]
    if args.merge == "max":
        given.append("--merge max")
    if given:
        _refuse(
            f"{given[0]} does not go with several classes: each has one channel and one label (--classes), which exclude the "
            "others."
        )


def classes_of(args: argparse.Namespace) -> tuple[ImageClass, ...]:
    """Return the classes that were named, in ascending order of label; none if there is one foreground."""
    from mrcalib.io import ImageClass

    return tuple(ImageClass(*one) for one in args.classes or ())


# Reading ----------------------------------------------------------------------------------------------------------------


def load_options_of(args: argparse.Namespace, **changes: Any) -> LoadOptions:
    """Return how the options say that files are read."""
    options: LoadOptions = options_from(LoadOptions, args, **changes)
    return options


def tally(
    cases: Sequence[Case],
    args: argparse.Namespace,
    *,
    checkpoints: Path | None,
    grid: ProbabilityGrid | None = None,
    recalls: dict[str, RoiRecall] | None = None,
) -> tuple[dict[str, Cohort], dict[str, Exception]]:
    """Return the tallies of the cases that could be read, and the errors of the others; shows the recall of their regions.

    Parameters
    ----------
    cases : sequence of Case
        All are read once.
    args : Namespace
        The options; ``classes`` are tallied each against the rest.
    checkpoints : Path or None
        Where tallies are kept.
    grid : ProbabilityGrid, optional
        Whose bins are counted.
    recalls : dict, optional
        Takes the recall of each case's region of interest.

    Returns
    -------
    dict of str to Cohort
        By name of the class, all of the same cases; "" stands for the only one.
    dict of str to Exception
    """
    from mrcalib.scale import tally_cases

    classes = classes_of(args)
    for one in classes:
        args.console.note(f"class {one.name}: label {one.label}, channel {one.position}, against the rest")
    failures: dict[str, Exception] = {}
    recalls = {} if recalls is None else recalls
    counter = CaseCounter(args.console, len(cases))
    found: Any = tally_cases(
        cases,
        grid=grid,
        options=load_options_of(args),
        classes=classes or None,
        invalid=args.invalid,
        n_jobs=args.jobs,
        checkpoints=checkpoints,
        failures=failures,
        progress=counter,
        recalls=recalls,
        scheduler=args.workers,
    )
    counter.summarise()
    note_recall(recalls, args.console)
    return (found if classes else {"": found}), failures


def record_reading(provenance: dict[str, Any], cases: Sequence[Case], args: argparse.Namespace, name: str = "") -> None:
    """Enter into a calibrator's provenance how the maps of the cases were read, for the class of this name."""
    from mrcalib.scale import reading_of

    channels = {one.name: (one.position,) for one in classes_of(args)}
    changes = {"foreground": channels[name]} if name else {}
    provenance["reading"] = reading_of(cases, load_options_of(args, **changes))


def warn_of_differences(
    provenance: Mapping[str, Any], cases: Sequence[Case], args: argparse.Namespace, console: Console
) -> None:
    """Warn where maps are read otherwise than those that the calibrator was fitted to; older files do not say how."""
    from mrcalib.scale import reading_of

    fitted_to = provenance.get("reading")
    if fitted_to is None:
        return
    found = reading_differences(fitted_to, reading_of(cases, load_options_of(args)))
    if found:
        console.complain(
            f"warning: the calibrator was fitted to maps that were read otherwise: {'; '.join(found)}. "
            "Its probabilities hold for maps made as they were for the fit."
        )


def _refuse(message: str) -> NoReturn:
    raise UsageError(message)
