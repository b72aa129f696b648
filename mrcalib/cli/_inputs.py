"""The options that say where the cases are and how they are read, and the cases that they give."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from mrcalib.cli._data import add_data, cases_in_data, check_data
from mrcalib.cli._exit import UsageError
from mrcalib.cli._options import add_labels, below_one, millimetres, numbers, spacing, weights

if TYPE_CHECKING:
    from mrcalib.io import Case, LoadOptions

__all__ = ["TEMPLATES", "add_inputs", "add_reading", "cases_of", "check_region", "load_options_of"]

TEMPLATES = ("probs", "raters", "roi", "coarse", "image", "vessels", "group")

_HELP = """\
Say where the cases are by --manifest, by {options}, or, for a published data set, by --data and --probs.
In a template {{case}}, {{rater}} and {{member}} stand for a part of a file or folder name; *, ? and [1-3] match as in
a shell (put templates in quotes). Several probability files of a case are the members of an ensemble and are pooled.
Formats: .nii.gz .nii .mha .mhd .nrrd .npy .npz (nnU-Net's exports included), and .png for masks.
"""


def add_inputs(parser: argparse.ArgumentParser, *, raters: bool = True) -> None:
    """Where the cases are."""
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
            help=r"what a case name tells of the patient, such as '(P\d+)_'; cases of a patient stay together in "
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


def add_reading(parser: argparse.ArgumentParser, *, raters: bool = True) -> None:
    """How files are read."""
    group = parser.add_argument_group("how files are read")
    group.add_argument(
        "--pooling",
        choices=("mean", "logit-mean"),
        default="mean",
        help="of an ensemble's members: the mean of their probabilities, or the sigmoid of their mean logit "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--foreground",
        type=numbers,
        metavar="CHANNELS",
        help="channels of a multi-class map that make up the foreground, such as 1,2 (default: channel 1 of two)",
    )
    group.add_argument(
        "--merge",
        choices=("sum", "max"),
        default="sum",
        help="of several --foreground channels: their sum, for exclusive classes; or the largest, for regions that may "
        "overlap or nest, as nnU-Net's region-based training exports them (default: %(default)s)",
    )
    group.add_argument(
        "--weights",
        type=weights,
        metavar="NUMBERS",
        help="of an ensemble's members in their order, such as 2,1,1 (default: equal)",
    )
    group.add_argument(
        "--logits",
        action="store_true",
        help="the maps store logits: take the softmax over the channels of classes, else the sigmoid (default: "
        "probabilities)",
    )
    group.add_argument(
        "--coarse-threshold",
        type=below_one,
        default=0.5,
        metavar="P",
        help="a coarse probability map is inside above this; masks are inside where not 0 (default: %(default)s)",
    )
    group.add_argument(
        "--margin",
        type=millimetres,
        default=0.0,
        metavar="MM",
        help="by how much the coarse segmentation is dilated, in mm (default: %(default)g). Wide enough is where it keeps "
        "nearly all that the raters marked, which fit and compare print",
    )
    group.add_argument(
        "--outside",
        choices=("ignore", "zero"),
        default="ignore",
        help="voxels outside the region of interest. ignore: they are left as they are and do not count"
        + ("" if raters else " (apply calibrates them like all others, of which the calibrator knows nothing)")
        + ". zero: their probability is exactly 0, and stays so after calibration, and they count, as for a two-stage "
        "segmenter that does not look there (default: %(default)s)",
    )
    if raters:
        add_labels(group)
    group.add_argument(
        "--spacing",
        type=spacing,
        metavar="MM",
        help="voxel edges in mm, such as 0.7,0.7,2.5, of files without a header (default: volumes are in voxels)",
    )


def cases_of(args: argparse.Namespace) -> list[Case]:
    """The cases that the options name.

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
        cases = cases_in_data(args)
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
    """UsageError where options ask for a region of interest that a case does not have."""
    for case in cases:
        if args.margin > 0 and case.coarse is None:
            _refuse(
                f"--margin dilates a coarse segmentation, and case {case.id!r} has none: give --coarse, or a column 'coarse' "
                "in the manifest."
            )
        if args.outside == "zero" and case.coarse is None and case.roi is None:
            _refuse(
                f"--outside zero needs to know what is inside, and case {case.id!r} has neither ROI nor coarse segmentation: "
                "give --roi or --coarse, or a column 'roi' or 'coarse' in the manifest."
            )


def load_options_of(args: argparse.Namespace) -> LoadOptions:
    """How the options say that files are read."""
    from mrcalib.io import LoadOptions

    return LoadOptions(
        pooling=args.pooling,
        foreground=args.foreground,
        positive=getattr(args, "positive", None),
        check_agreement=not getattr(args, "no_agreement_check", False),
        weights=args.weights,
        values="logits" if args.logits else "probabilities",
        merge=args.merge,
        coarse_threshold=args.coarse_threshold,
        margin_mm=args.margin,
        outside=args.outside,
    )


def _refuse(message: str) -> NoReturn:
    raise UsageError(message)
