"""``mrcalib compare``: methods against metrics on one's own cases, cross-validated by patient."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mrcalib.cli._cases import tally, tell_groups
from mrcalib.cli._console import Console
from mrcalib.cli._exit import BAD_DATA, OK
from mrcalib.cli._figures import HOW_TO_GET_THEM, have_matplotlib
from mrcalib.cli._files import file_name, to_json, write_command, write_csv, write_json
from mrcalib.cli._inputs import add_inputs, add_reading, cases_of, load_options_of
from mrcalib.cli._names import METHODS, METRICS
from mrcalib.cli._options import add_common, add_invalid, add_jobs, command, count, fraction, name_of

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Case
    from mrcalib.study import Study

__all__ = ["Comparison", "add_parser", "draw", "perform", "report", "run"]

KINDS: tuple[Literal["mean"], Literal["pooled"]] = ("mean", "pooled")
_DESCRIPTION = """\
Compare methods of calibration on your own cases. Each case is scored by maps that were fitted to the other patients
only; intervals come from resampling patients. Files are read once, into small tallies that are kept in OUT/tallies: a
second run, with other methods or metrics, reads only what has changed.
"""
_EXAMPLES = r"""
  # a table that lists the files
  mrcalib compare --manifest cases.csv --out results

  # files by name: an ensemble of three, four raters, several nodules a patient
  mrcalib compare --probs 'cases/{case}/prob_[1-3].nii.gz' --raters 'cases/{case}/annotation_{rater}.nii.gz' \
      --group '(P\d+)_' --out results

  # two methods, five folds, inside an organ
  mrcalib compare --probs 'preds/{case}.nii.gz' --raters 'masks/{case}_{rater}.nii.gz' --roi 'organs/{case}.nii.gz' \
      --methods none MHR --cv 5

OUT then holds
  table_mean.csv, table_pooled.csv   methods by metrics: mean over cases, and all voxels pooled
  intervals.csv, differences.csv     with intervals; differences are to the first method, paired by case
  per_case.csv, study.json           everything by case; everything in the tables as JSON
  calibrators/*.json                 each method fitted to all cases, for mrcalib apply
  figures/*.png, tallies/*.npz       pictures; what was read of the files
  command.txt                        the command line, date and versions
""".removeprefix("\n")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "compare",
        run=run,
        usage="(--manifest CSV | --probs TEMPLATE --raters TEMPLATE)",
        summary="compare calibration methods on your cases, by cross-validation",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_inputs(parser)
    add_reading(parser)
    study = parser.add_argument_group("what is compared")
    study.add_argument(
        "--methods",
        nargs="+",
        type=name_of("method", METHODS),
        metavar="METHOD",
        help=f"the first one is the baseline (default: all): {'; '.join(METHODS)}",
    )
    study.add_argument(
        "--metrics",
        nargs="+",
        type=name_of("metric", METRICS),
        metavar="METRIC",
        help=f"(default: the first eleven) {' '.join(METRICS)}",
    )
    study.add_argument(
        "--cv",
        type=_folds,
        default="leave-one-group-out",
        metavar="FOLDS",
        help="leave-one-group-out, a number of folds, or none: fit and score on the same cases (default: %(default)s)",
    )
    study.add_argument(
        "--resamples",
        type=count,
        default=5000,
        metavar="N",
        help="bootstrap resamples of patients (default: %(default)s)",
    )
    study.add_argument(
        "--interval",
        choices=("percentile", "bca"),
        default="percentile",
        help="kind of interval (default: %(default)s)",
    )
    study.add_argument(
        "--level", type=fraction, default=0.95, metavar="P", help="level of intervals (default: %(default)s)"
    )
    study.add_argument("--seed", type=int, default=0, metavar="N", help="of resamples and folds (default: %(default)s)")
    add_invalid(study)
    add_jobs(study)
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "--out",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="folder, made if need be (default: %(default)s)",
    )
    output.add_argument("--no-figures", action="store_true", help="draw no pictures")
    add_common(parser)


def _folds(text: str) -> str | int | None:
    if text in ("none", "leave-one-group-out"):
        return None if text == "none" else text
    try:
        return int(text)
    except ValueError:
        msg = f"expected leave-one-group-out, a number of folds or none; got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


def run(args: argparse.Namespace) -> int:
    """Compare, write, print the tables, and draw."""
    done = perform(args)
    console: Console = args.console
    if args.json:
        console.show(to_json(done.study.to_dict()))
    else:
        report(done, console)
    for figure in draw(done, args):
        if not args.json:
            console.show(f"  {figure}")
    console.failures(done.failures, len(done.cases))
    return BAD_DATA if done.failures else OK


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Parameters
    ----------
    study : Study
    folder : Path
        Where its tables, calibrators and tallies are.
    cases : list of Case
        All that were asked for.
    failures : dict of str to Exception
        Of the cases that could not be used.
    """

    study: Study
    folder: Path
    cases: list[Case]
    failures: dict[str, Exception]


def perform(args: argparse.Namespace) -> Comparison:
    """Read, compare and write."""
    cases = cases_of(args)
    from mrcalib.study import compare

    console: Console = args.console
    tell_groups(cases, console)
    cohort, failures = tally(cases, args, checkpoints=args.out / "tallies")
    study = compare(
        cohort,
        args.methods,
        args.metrics,
        cv=args.cv,
        n_resamples=args.resamples,
        level=args.level,
        interval=args.interval,
        random_state=args.seed,
        progress=_Folds(console),
    )
    console.note(f"resampling {args.resamples} times")
    _write(study, args.out, args.words)
    return Comparison(study, args.out, cases, failures)


class _Folds:
    """Tells of every quarter of the folds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._quarter = 0

    def __call__(self, done: int, total: int) -> None:
        if 4 * done // total > self._quarter:
            self._quarter = 4 * done // total
            self._console.step(done, total, "folds fitted")


def _write(study: Study, folder: Path, words: Sequence[str]) -> None:
    import pandas as pd

    for kind in KINDS:
        write_csv(folder / f"table_{kind}.csv", study.table(kind), index=True)
    write_csv(folder / "intervals.csv", pd.concat([study.intervals(kind) for kind in KINDS]))
    write_csv(folder / "differences.csv", pd.concat([study.differences(kind=kind) for kind in KINDS]))
    write_csv(folder / "per_case.csv", study.per_case())
    write_json(folder / "study.json", study.to_dict())
    for name, calibrator in study.calibrators.items():
        calibrator.save(folder / "calibrators" / f"{file_name(name)}.json")
    write_command(folder / "command.txt", words)


def report(done: Comparison, console: Console) -> None:
    """Print the tables, what is won and lost, and where everything is."""
    study, folder = done.study, done.folder
    console.show(study.description)
    for kind in KINDS:
        console.show(f"\n{study.to_text(kind)}")
    trade_offs = study.trade_offs()
    if trade_offs:
        console.show("\nWhat is won, and what it costs (mean over cases):")
        for sentence in trade_offs:
            console.show(f"  {sentence}")
    console.show(f"\nWritten to {folder}:")
    console.show("  table_mean.csv table_pooled.csv intervals.csv differences.csv per_case.csv study.json command.txt")
    console.show(f"  calibrators/{{{','.join(file_name(name) for name in study.methods)}}}.json")
    console.show("  tallies/ (cases that have not changed are not read again)")


def draw(done: Comparison, args: argparse.Namespace) -> list[Path]:
    """Draw the study, and one case where images are known; none without matplotlib."""
    if args.no_figures:
        return []
    if not have_matplotlib():
        args.console.note(HOW_TO_GET_THEM)
        return []
    from mrcalib.plots import save_study_figures

    args.console.note("drawing")
    folder = done.folder / "figures"
    return [*save_study_figures(done.study, folder, formats=("png",)), *_draw_case(done, args, folder)]


def _draw_case(done: Comparison, args: argparse.Namespace, folder: Path) -> list[Path]:
    """The case of middle rank in the first metric: neither the best nor the worst."""
    import numpy as np

    from mrcalib._files import atomic_write
    from mrcalib.io import read_volume
    from mrcalib.plots import CaseDisplay

    study = done.study
    order = np.argsort(study.case_values(study.methods[0], study.metrics[0]), kind="stable")
    middle = study.ids[order[(len(order) - 1) // 2]]
    case = next(case for case in done.cases if case.id == middle)
    if case.image is None:
        return []
    loaded = case.load(options=load_options_of(args))
    image = case.image if isinstance(case.image, np.ndarray) else read_volume(case.image).data
    calibrator = study.calibrators["MHR" if "MHR" in study.methods else study.methods[-1]]
    display = CaseDisplay.from_arrays(
        image,
        loaded.probs,
        list(loaded.raters),
        calibrated=calibrator(loaded.probs),
        spacing=loaded.spacing,
        roi=loaded.roi,
        rater_names=loaded.rater_names,
        title=case.id,
    ).plot()
    path = folder / f"case_{file_name(case.id)}.png"
    with atomic_write(path) as temporary:
        display.figure_.savefig(temporary, dpi=150)
    return [path]
