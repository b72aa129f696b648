"""``mrcalib fit``: one calibrator, fitted to all cases; of several classes each against the rest."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._cases import with_workers
from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError, table
from mrcalib.cli._files import require_matplotlib, to_json
from mrcalib.cli._inputs import (
    add_classes,
    add_inputs,
    add_reading,
    cases_of,
    choose_classes,
    classes_of,
    load_options_of,
    tally,
)
from mrcalib.cli._options import add_common, add_invalid, add_jobs, add_named, add_scheduler, command, count

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator, OneVsRestCalibrator
    from mrcalib.cli._options import Subparsers
    from mrcalib.cohort import Cohort
    from mrcalib.io import Case
    from mrcalib.roi import RoiRecall

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Fit one calibrator to all cases and save it as JSON, for mrcalib apply. mrcalib compare shows which method
to take; it also saves each method fitted to all cases, so fit is for options that compare does not have.
"""
_EXAMPLES = """\
  mrcalib fit --manifest cases.csv -o calibrator.json
  mrcalib fit --manifest cases.csv --method MHR --binning exact --case-weight equal -o exact.json --figure map.png
  mrcalib fit --probs 'preds/{case}.nii.gz' --raters 'masks/{case}_{rater}.nii.gz' --method temperature -o t.json

  # several organs of one multi-class segmenter: all channels in each probability file, all labels in each mask
  mrcalib fit --manifest organs.csv --classes pancreas=1,kidney=2,liver=3 -o organs.json
"""
BEST, PLAIN = "case-adaptive", "MHR-equal"
_AT = (0.0, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "fit",
        run=run,
        usage="(--manifest CSV | --probs TEMPLATE --raters TEMPLATE) -o FILE",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_inputs(parser)
    add_reading(parser)
    method = parser.add_argument_group("what is fitted")
    add_classes(method, more=". All go into one file; with --tallies FOLDER each class's are in FOLDER/NAME")
    add_named(
        method,
        "--method",
        "method",
        f"one of %(names)s (default: {BEST}, which was best or tied on most metrics where methods were compared; {PLAIN} if "
        "--binning or --n-bins is given)",
        metavar="METHOD",
    )
    method.add_argument(
        "--binning",
        choices=("grid", "exact", "equal-mass", "equal-votes"),
        help="of isotonic methods: bins of the tally, the voxels themselves (a second pass), or bins with equally many "
        "voxels or votes (default: the method's own)",
    )
    method.add_argument("--n-bins", type=count, metavar="N", help="bins of equal mass or votes, or of the histogram")
    method.add_argument(
        "--rater", metavar="RATER", help="of single-rater: name, or position from 0 (default: the first)"
    )
    method.add_argument(
        "--keep-zero",
        action="store_true",
        help="an exact 0 stays 0 and does not enter the fit: not looked at (default: only with --outside zero)",
    )
    method.add_argument(
        "--case-weight",
        choices=("voxels", "equal"),
        help="how cases count: by their voxels, or equally (default: the method's own, voxels but for 'MHR-equal' "
        "and 'case-adaptive')",
    )
    add_invalid(method)
    method.add_argument(
        "--tallies",
        type=Path,
        metavar="FOLDER",
        help="keep what was read of the files there, or take it from there (compare's OUT/tallies)",
    )
    add_jobs(method)
    add_scheduler(method)
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the calibrator, such as calibrator.json"
    )
    output.add_argument("--figure", type=Path, metavar="FILE", help="a picture of the map, such as map.png")
    add_common(parser)


@with_workers
def run(args: argparse.Namespace) -> int:
    """Fit, save, and print the map."""
    if args.output.is_dir():
        msg = f"-o {args.output} is a folder; name a file in it, such as {args.output / 'calibrator.json'}."
        raise UsageError(msg)
    if args.figure:
        require_matplotlib("--figure")
    if args.method is None:
        args.method = PLAIN if args.binning or args.n_bins else BEST
    choose_classes(args)
    cases = cases_of(args)
    console: Console = args.console
    method = _unfitted(args, _rater_names(args, cases[0]))
    recalls: dict[str, RoiRecall] = {}
    cohorts, failures = tally(cases, args, checkpoints=args.tallies, grid=method.needs.grid, recalls=recalls)
    if method.needs.second_pass:
        console.note("reading the voxels again for this binning")
    good = [case for case in cases if case.id not in failures]
    calibrator = _fitted(method, good, cohorts, args)
    calibrator.save(args.output)
    fitted = calibrator.calibrators_ if args.classes else {"": calibrator}
    if args.figure:
        _draw({name or args.method: one for name, one in fitted.items()}, args.figure)
    found = {name: _summary(one, args.method, len(good)) for name, one in fitted.items()}
    if args.json:
        several = {"classes": found, "channels": calibrator.channels_} if args.classes else found[""]
        written = {"written": [path for path in (args.output, args.figure) if path]}
        console.show(to_json(several | written | {"roi_recall": {case: one.union for case, one in recalls.items()}}))
    elif args.classes:
        _report_classes(calibrator, found, args, len(good))
    else:
        _report(calibrator, found[""], args)
    console.failures(failures, len(cases))
    return BAD_DATA if failures else OK


def _rater_names(args: argparse.Namespace, case: Case) -> tuple[str, ...]:
    """The raters' names, for which a file that holds all raters is opened where --rater chooses one of them."""
    if args.rater is None or args.rater_axis is None:
        return case.rater_names
    with case.open(options=load_options_of(args), classes=classes_of(args) or None) as opened:
        return opened.rater_names


def _unfitted(args: argparse.Namespace, raters: Sequence[str]) -> Calibrator:
    """The method with the options that were given; UsageError for one that it does not have."""
    from mrcalib.calibrators import get_method

    calibrator = get_method(args.method)
    if args.outside == "zero" and "keep_zero" in calibrator.get_params():
        calibrator.set_params(keep_zero=True)
    rater = args.rater
    if rater is not None and rater not in raters:
        if not (rater.isdecimal() and int(rater) < len(raters)):
            msg = f"--rater: there is no rater {rater!r}; there are {', '.join(raters)}."
            raise UsageError(msg)
        rater = int(rater)
    given = {
        "binning": args.binning,
        "n_bins": args.n_bins,
        "rater": rater,
        "keep_zero": args.keep_zero or None,
        "case_weight": args.case_weight,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    for name in chosen:
        if name not in calibrator.get_params():
            msg = f"--{name.replace('_', '-')} does not go with --method {args.method!r}."
            raise UsageError(msg)
    calibrator.set_params(**chosen)
    return calibrator


def _fitted(method: Calibrator, cases: list[Case], cohorts: Mapping[str, Cohort], args: argparse.Namespace) -> Any:
    """The method fitted to the only foreground, or to each class against the rest."""
    classes = {one.name: one for one in classes_of(args)}
    if not classes:
        return method.fit_tally(cohorts[""], cases=cases, options=load_options_of(args))
    from mrcalib.calibrators import OneVsRestCalibrator

    together = OneVsRestCalibrator(method, {name: one.label for name, one in classes.items()})
    channels = {name: one.position for name, one in classes.items()}
    return together.fit_tally(cohorts, cases=cases, channels=channels, options=load_options_of(args))


def _summary(calibrator: Calibrator, method: str, n_cases: int) -> dict[str, Any]:
    import numpy as np

    return {
        "method": method,
        "parameters": calibrator.provenance_["parameters"],
        "n_cases": n_cases,
        "raters": calibrator.raters_,
        "n_voxels": calibrator.n_voxels_,
        "reachable": calibrator.reachable_,
        "coefficients": calibrator.coefficients_,
        "map": [{"p": p, "calibrated": float(q)} for p, q in zip(_AT, calibrator.map_(np.array(_AT)), strict=True)],
    }


def _report(calibrator: Calibrator, found: Mapping[str, Any], args: argparse.Namespace) -> None:
    console: Console = args.console
    parameters = ", ".join(f"{name}={value}" for name, value in found["parameters"].items())
    console.show(f"{args.method}: {type(calibrator).__name__}({parameters})")
    console.show(f"fitted to {found['n_cases']} cases, {len(found['raters'])} raters, {found['n_voxels']:,.0f} voxels")
    for name, value in found["coefficients"].items():
        meaning = ", above 1: the segmenter was overconfident" if name == "temperature" and value > 1 else ""
        console.show(f"{name} {value:.4g}{meaning}")
    low, high = found["reachable"]
    whose = "of a case of median volume; each case has its own map, " if calibrator.needs.cases else ""
    console.show(f"calibrated probabilities {whose}lie between {low:.3g} and {high:.6g}\n")
    _show_maps({"calibrated": found}, args, "")


def _report_classes(
    calibrator: OneVsRestCalibrator, found: Mapping[str, Mapping[str, Any]], args: argparse.Namespace, n_cases: int
) -> None:
    console: Console = args.console
    console.show(
        f"{args.method}, each class against the rest; fitted to {n_cases} cases, {len(calibrator.raters_)} raters"
    )
    for name, label in calibrator.classes_.items():
        low, high = found[name]["reachable"]
        console.show(
            f"{name}: label {label}, channel {calibrator.channels_[name]}; calibrated between {low:.3g} and {high:.6g}"
        )
    console.show()
    _show_maps(found, args, " --argmax")


def _show_maps(found: Mapping[str, Mapping[str, Any]], args: argparse.Namespace, how_to_apply: str) -> None:
    """The maps side by side, and how they are used."""
    rows = [
        [f"{lines[0]['p']:g}", *(f"{line['calibrated']:.6f}" for line in lines)]
        for lines in zip(*(one["map"] for one in found.values()), strict=True)
    ]
    args.console.show(table(["p", *found], rows))
    args.console.show(f"\nWritten to {args.output}{f' and {args.figure}' if args.figure else ''}. To use it:")
    args.console.show(f"  mrcalib apply {args.output} new/*.nii.gz -o calibrated{how_to_apply}")


def _draw(calibrators: Mapping[str, Calibrator], path: Path) -> None:
    from mrcalib.plots import CalibrationMapDisplay

    CalibrationMapDisplay.from_calibrators(calibrators).plot().save(path)
