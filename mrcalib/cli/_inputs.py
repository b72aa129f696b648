"""The options that say where the cases are and how they are read, and the cases that they give."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from mrcalib.cli._exit import UsageError
from mrcalib.cli._options import numbers, spacing

if TYPE_CHECKING:
    from mrcalib.io import Case, LoadOptions

__all__ = ["TEMPLATES", "add_inputs", "add_reading", "cases_of", "load_options_of"]

TEMPLATES = ("probs", "raters", "roi", "image", "vessels", "group")

_HELP = """\
Say where the cases are by --manifest or by {options}. In a template {{case}}, {{rater}} and {{member}} stand for a
part of a file or folder name; *, ? and [1-3] match as in a shell (put templates in quotes). Several probability files
of a case are the members of an ensemble and are pooled. Formats: .nii.gz .nii .mha .mhd .nrrd .npy .npz (nnU-Net's
exports included).
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
        "roi, image, vessels, spacing; paths are relative to the table",
    )
    group.add_argument("--probs", metavar="TEMPLATE", help="probability maps, such as 'preds/{case}.nii.gz'")
    if raters:
        group.add_argument(
            "--raters", metavar="TEMPLATE", help="masks of the raters, such as 'masks/{case}/annotation_{rater}.nii.gz'"
        )
    group.add_argument(
        "--roi",
        metavar="TEMPLATE",
        help="region of interest, not 0 inside; nothing outside counts (default: all voxels)",
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
        help="channels of a multi-class map that are summed into the foreground, such as 1,2 (default: channel 1 of two)",
    )
    if raters:
        group.add_argument(
            "--positive",
            type=numbers,
            metavar="LABELS",
            help="labels of the masks that are foreground, such as 255 (default: 1)",
        )
        group.add_argument(
            "--no-agreement-check",
            action="store_true",
            help="accept a rater who agrees with the others only after a flip or a shift (default: refused)",
        )
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
    if args.manifest and given:
        _refuse(
            f"--manifest and {', '.join(given)} exclude each other: "
            "a manifest names all files itself, in its columns roi, image, group, vessels."
        )
    if columns and not args.manifest:
        _refuse(f"{', '.join(columns)} chooses columns of a --manifest; there is none.")
    if not args.manifest and (args.probs is None or (wants_raters and args.raters is None)):
        templates = "--probs TEMPLATE and --raters TEMPLATE" if wants_raters else "--probs TEMPLATE"
        missing = "" if not given else f" (only {', '.join(given)} was given)"
        _refuse(f"say where the cases are: --manifest cases.csv, or {templates}{missing}.")
    from mrcalib.io import discover, read_manifest

    if args.manifest:
        cases = read_manifest(args.manifest, probs=args.probs_columns, raters=getattr(args, "rater_columns", None))
    else:
        extras = {name: getattr(args, name, None) for name in TEMPLATES[2:]}
        cases = discover(args.probs, getattr(args, "raters", None), **extras)
    if args.spacing is None:
        return cases
    return [replace(case, spacing=case.spacing or args.spacing) for case in cases]


def load_options_of(args: argparse.Namespace) -> LoadOptions:
    """How the options say that files are read."""
    from mrcalib.io import LoadOptions

    return LoadOptions(
        pooling=args.pooling,
        foreground=args.foreground,
        positive=getattr(args, "positive", None),
        check_agreement=not getattr(args, "no_agreement_check", False),
    )


def _refuse(message: str) -> NoReturn:
    raise UsageError(message)
