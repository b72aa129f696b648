"""``mrcalib fit``: one calibrator, fitted to all cases."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._cases import tally
from mrcalib.cli._classes import add_classes
from mrcalib.cli._console import Console
from mrcalib.cli._data import choose_classes
from mrcalib.cli._exit import BAD_DATA, OK, UsageError
from mrcalib.cli._figures import require_matplotlib
from mrcalib.cli._files import to_json
from mrcalib.cli._inputs import add_inputs, add_reading, cases_of, load_options_of
from mrcalib.cli._names import METHODS
from mrcalib.cli._options import add_common, add_invalid, add_jobs, add_scheduler, command, count, name_of
from mrcalib.cli._scheduler import with_workers
from mrcalib.cli._tables import table

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Case
    from mrcalib.roi import RoiRecall

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Fit one calibrator to all cases and save it as JSON, for mrcalib apply. Which method to take, mrcalib compare tells; it
also saves each method fitted to all cases, so fit is for options that compare does not have.
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
        summary="fit one calibrator to all cases and save it",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_inputs(parser)
    add_reading(parser)
    method = parser.add_argument_group("what is fitted")
    add_classes(method, more=". All go into one file; with --tallies FOLDER each class's are in FOLDER/NAME")
    method.add_argument(
        "--method",
        type=name_of("method", METHODS),
        metavar="METHOD",
        help=f"(default: {BEST}, which was best or tied on most metrics where methods were compared; {PLAIN!r} if --binning or "
        f"--n-bins is given) {'; '.join(METHODS)}",
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
    if args.classes:
        from mrcalib.cli._classes_fit import run_classes

        return run_classes(args, partial(_unfitted, args), lambda one, n: _summary(one, args.method, n))
    cases = cases_of(args)
    console: Console = args.console
    recalls: dict[str, RoiRecall] = {}
    calibrator, failures = _fit(_unfitted(args, cases[0].rater_names), cases, args, recalls)
    calibrator.save(args.output)
    if args.figure:
        _draw(calibrator, args)
    n_cases = len(cases) - len(failures)
    if args.json:
        console.show(
            to_json(
                _summary(calibrator, args.method, n_cases)
                | {"written": [p for p in (args.output, args.figure) if p]}
                | {"roi_recall": {case: told.union for case, told in recalls.items()}}
            )
        )
    else:
        _report(calibrator, args, n_cases)
    console.failures(failures, len(cases))
    return BAD_DATA if failures else OK


def _unfitted(args: argparse.Namespace, raters: Sequence[str]) -> Calibrator:
    """The method with the options that were given; UsageError for one that it does not have."""
    from mrcalib.study import default_methods

    calibrator = default_methods(keep_zero=args.outside == "zero")[args.method]
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


def _fit(
    calibrator: Calibrator, cases: list[Case], args: argparse.Namespace, recalls: dict[str, RoiRecall]
) -> tuple[Calibrator, dict[str, Exception]]:
    cohort, failures = tally(cases, args, checkpoints=args.tallies, grid=calibrator.needs.grid, recalls=recalls)
    if calibrator.needs.second_pass:
        args.console.note("reading the voxels again for this binning")
    good = [case for case in cases if case.id not in failures]
    return calibrator.fit_tally(cohort, cases=good, options=load_options_of(args)), failures


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


def _report(calibrator: Calibrator, args: argparse.Namespace, n_cases: int) -> None:
    console: Console = args.console
    told = _summary(calibrator, args.method, n_cases)
    parameters = ", ".join(f"{name}={value}" for name, value in told["parameters"].items())
    console.show(f"{args.method}: {type(calibrator).__name__}({parameters})")
    console.show(f"fitted to {n_cases} cases, {len(told['raters'])} raters, {told['n_voxels']:,.0f} voxels")
    for name, value in told["coefficients"].items():
        meaning = ", above 1: the segmenter was overconfident" if name == "temperature" and value > 1 else ""
        console.show(f"{name} {value:.4g}{meaning}")
    low, high = told["reachable"]
    whose = "of a case of median volume; each case has its own map, " if calibrator.needs.cases else ""
    console.show(f"calibrated probabilities {whose}lie between {low:.3g} and {high:.6g}\n")
    console.show(table(["p", "calibrated"], [[f"{row['p']:g}", f"{row['calibrated']:.6f}"] for row in told["map"]]))
    console.show(f"\nWritten to {args.output}{f' and {args.figure}' if args.figure else ''}. To use it:")
    console.show(f"  mrcalib apply {args.output} new/*.nii.gz -o calibrated")


def _draw(calibrator: Calibrator, args: argparse.Namespace) -> None:
    from mrcalib._files import atomic_write
    from mrcalib.plots import CalibrationMapDisplay

    display = CalibrationMapDisplay.from_calibrators({args.method: calibrator}).plot()
    with atomic_write(args.figure) as temporary:
        display.figure_.savefig(temporary, dpi=150)
