"""``mrcalib fit --classes``: one calibrator of several classes."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mrcalib.cli._cases import tally_classes
from mrcalib.cli._classes import check_class_options, classes_of
from mrcalib.cli._console import Console
from mrcalib.cli._exit import BAD_DATA, OK
from mrcalib.cli._files import to_json
from mrcalib.cli._inputs import cases_of, load_options_of
from mrcalib.cli._tables import table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mrcalib.calibrators import Calibrator, OneVsRestCalibrator
    from mrcalib.io import Case

__all__ = ["run_classes"]


def run_classes(
    args: argparse.Namespace,
    unfitted: Callable[[Sequence[str]], Calibrator],
    summary: Callable[[Calibrator, int], dict[str, Any]],
) -> int:
    """Fit each class against the rest, save all in one file, and print the maps side by side."""
    check_class_options(args)
    console: Console = args.console
    cases = cases_of(args)
    method = unfitted(cases[0].rater_names)
    calibrator, failures = _fit(method, cases, args)
    calibrator.save(args.output)
    if args.figure:
        _draw(calibrator, args)
    n_cases = len(cases) - len(failures)
    told = {name: summary(one, n_cases) for name, one in calibrator.calibrators_.items()}
    if args.json:
        written = [path for path in (args.output, args.figure) if path]
        console.show(to_json({"classes": told, "channels": calibrator.channels_, "written": written}))
    else:
        _report(calibrator, told, args, n_cases)
    console.failures(failures, len(cases))
    return BAD_DATA if failures else OK


def _fit(
    method: Calibrator, cases: Sequence[Case], args: argparse.Namespace
) -> tuple[OneVsRestCalibrator, dict[str, Exception]]:
    from mrcalib.calibrators import OneVsRestCalibrator

    classes = classes_of(args)
    for one in classes:
        args.console.note(f"class {one.name}: label {one.label}, channel {one.position}, against the rest")
    cohorts, failures = tally_classes(cases, args, classes, checkpoints=args.tallies, grid=method.needs.grid)
    good = [case for case in cases if case.id not in failures]
    together = OneVsRestCalibrator(method, {one.name: one.label for one in classes})
    channels = {one.name: one.position for one in classes}
    return together.fit_tally(cohorts, cases=good, channels=channels, options=load_options_of(args)), failures


def _report(
    calibrator: OneVsRestCalibrator, told: dict[str, dict[str, Any]], args: argparse.Namespace, n_cases: int
) -> None:
    console: Console = args.console
    console.show(
        f"{args.method}, each class against the rest; fitted to {n_cases} cases, {len(calibrator.raters_)} raters"
    )
    for name, label in calibrator.classes_.items():
        low, high = told[name]["reachable"]
        console.show(
            f"{name}: label {label}, channel {calibrator.channels_[name]}; calibrated between {low:.3g} and {high:.6g}"
        )
    names = list(told)
    rows = [
        [f"{lines[0]['p']:g}", *(f"{line['calibrated']:.6f}" for line in lines)]
        for lines in zip(*(told[name]["map"] for name in names), strict=True)
    ]
    console.show("\n" + table(["p", *names], rows))
    console.show(f"\nWritten to {args.output}{f' and {args.figure}' if args.figure else ''}. To use it:")
    console.show(f"  mrcalib apply {args.output} new/*.nii.gz -o calibrated --argmax")


def _draw(calibrator: OneVsRestCalibrator, args: argparse.Namespace) -> None:
    from mrcalib._files import atomic_write
    from mrcalib.plots import CalibrationMapDisplay

    display = CalibrationMapDisplay.from_calibrators(calibrator.calibrators_).plot()
    with atomic_write(args.figure) as temporary:
        display.figure_.savefig(temporary, dpi=150)
