"""``mrcalib compare``: methods against metrics on one's own cases, cross-validated by patient."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mrcalib.cli._cases import CaseCounter, note_groups, with_workers
from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError
from mrcalib.cli._files import (
    to_json,
)
from mrcalib.cli._inputs import (
    TEMPLATES,
    add_classes,
    add_inputs,
    add_reading,
    cases_of,
    choose_classes,
    classes_of,
    load_options_of,
    record_reading,
    tally,
)
from mrcalib.cli._options import (
    add_bootstrap,
    add_common,
    add_invalid,
    add_jobs,
    add_named,
    add_scheduler,
    command,
    vessel_labels,
)
from mrcalib.cli._results import (
    CASES_SHOWN,
    Comparison,
    check_cases_shown,
    draw,
    note_protocol,
    report,
    save_classes,
    write_paper_tables,
    write_study,
)
from mrcalib.cli._together import report_together, score_together

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers
    from mrcalib.cohort import Cohort
    from mrcalib.io import Case
    from mrcalib.study import Study

__all__ = ["add_parser", "compare_cases", "run"]

EACH_GROUP = "leave-one-group-out"
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

  # a two-stage segmenter: 0 beyond 20 mm from its coarse segmentation, and no voxel there enters a fit
  mrcalib compare --probs 'preds/{case}_{member}.nii.gz' --raters 'masks/{case}_{rater}.nii.gz' \
      --coarse 'coarse/{case}.nii.gz' --margin 20 --outside zero --out results

  # two methods, five folds, inside an organ
  mrcalib compare --probs 'preds/{case}.nii.gz' --raters 'masks/{case}_{rater}.nii.gz' --roi 'organs/{case}.nii.gz' \
      --methods none MHR --cv 5

  # a challenge's own scores: the tables and figures of its papers, strict, with corrected values where the two part
  mrcalib compare --manifest cases.csv --protocol curvas-pdacvi --out results
  mrcalib compare --manifest train.csv --test-manifest test.csv --protocol curvas-pdacvi --formats pdf

  # on a Dask cluster that sees the same folders; without --dask-address: on eight processes of this machine
  mrcalib compare --manifest cases.csv --scheduler dask --dask-address tcp://10.0.0.1:8786 --out results
  mrcalib compare --manifest cases.csv --scheduler dask --jobs 8 --out results

  # several organs of one multi-class segmenter (all channels in each file), and label maps of three raters
  mrcalib compare --probs 'preds/{case}.npz' --raters 'labels/{case}/annotation_{rater}.nii.gz' \
      --classes pancreas=1,kidney=2,liver=3 --out organs

OUT then holds
  table_mean.csv, table_pooled.csv   methods by metrics: mean over cases, and all voxels pooled
  intervals.csv, differences.csv     with intervals; differences are to the first method, paired by case
  per_case.csv, study.json           everything by case; everything in the tables as JSON
  calibrators/*.json                 each method fitted to all cases, for mrcalib apply
  figures/*.png, tallies/*.npz       pictures; what was read of the files
  command.txt                        the command line, date and versions
and with --classes each class has all of this but the tallies in OUT/NAME, and OUT holds
  classes.csv, classes_per_case.csv  all classes: maps as they are, and divided by their sum where that exceeds 1
  calibrators/*.json                 each method for all classes, for mrcalib apply

and with --protocol also
  table1.csv/.tex, table2.csv/.tex   bootstrap means; means with intervals; LaTeX for a manuscript
  table1_corrected.*, table2_corrected.*
                                     the same as they should be, if the program's values are off; disputes.csv says where
  protocol_per_case.csv, protocol_differences.csv, protocol.json
  figures/figure2_reliability.*, figures/figure3_cases.*, scores/*.json (a rerun scores only what has changed)
""".removeprefix("\n")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "compare",
        run=run,
        usage="(--manifest CSV | --probs TEMPLATE --raters TEMPLATE)",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_inputs(parser)
    add_reading(parser)
    study = parser.add_argument_group("what is compared")
    add_classes(
        study,
        more=". Each class is compared in OUT/NAME; OUT/classes.csv scores all together, by maps as they are and renormalised, "
        "which reads the voxels again",
    )
    add_named(
        study,
        "--methods",
        "method",
        "the first one is the baseline (default: %(usual)s; with --protocol none, MHR, and those of 250 bins); also: "
        "%(others)s",
        nargs="+",
        metavar="METHOD",
    )
    add_named(
        study,
        "--metrics",
        "metric",
        "names or labels (default: %(usual)s); also: %(others)s",
        nargs="+",
        metavar="METRIC",
    )
    study.add_argument(
        "--cv",
        type=_folds,
        default=EACH_GROUP,
        metavar="FOLDS",
        help="leave-one-group-out, a number of folds, or none: fit and score on the same cases (default: %(default)s)",
    )
    study.add_argument(
        "--test-manifest",
        metavar="CSV",
        help="fit to all cases, and score those of this table instead of cross-validating",
    )
    add_named(
        study,
        "--protocol",
        "protocol of masks",
        "score the voxels of each held-out case as this challenge does, and write the tables and figures of its papers: "
        "%(names)s",
        metavar="PROTOCOL",
    )
    study.add_argument(
        "--vessel-labels",
        type=vessel_labels,
        metavar="NAME=LABEL,...",
        help="with --protocol: labels of the vessels, such as PORTA=1,SMV=2 (default: the challenge's)",
    )
    add_named(
        study,
        "--reference",
        "method",
        "with --protocol: methods significantly worse than this one are marked in its tables (default: TwinTrack, else MHR, "
        "else the first)",
        metavar="METHOD",
    )
    study.add_argument(
        "--interval",
        choices=("percentile", "bca"),
        default="percentile",
        help="kind of interval (default: %(default)s)",
    )
    add_bootstrap(study, what="resamples and folds")
    add_invalid(study)
    add_jobs(study)
    add_scheduler(study)
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "--out",
        type=Path,
        default=Path("results"),
        metavar="FOLDER",
        help="folder, made if need be (default: %(default)s)",
    )
    output.add_argument("--no-figures", action="store_true", help="draw no pictures")
    output.add_argument(
        "--formats",
        nargs="+",
        choices=("png", "svg", "pdf"),
        metavar="TYPE",
        help="of pictures: png, svg, pdf (default: png; with --protocol png svg)",
    )
    output.add_argument(
        "--cases-shown",
        nargs="+",
        metavar="ID",
        help=f"with --protocol: cases in figure 3 (default: {CASES_SHOWN}, spread over how much raters disagree)",
    )
    add_common(parser)


def _folds(text: str) -> str | int | None:
    if text in ("none", "leave-one-group-out"):
        return None if text == "none" else text
    try:
        return int(text)
    except ValueError:
        msg = f"expected leave-one-group-out, a number of folds or none; got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None


@with_workers
def run(args: argparse.Namespace) -> int:
    """Compare, write, print the tables, and draw; several classes each on its own, then all of them together."""
    choose_classes(args)
    done = compare_cases(args)
    console: Console = args.console
    failures: dict[str, Exception] = {}
    for name, one in done.items():
        failures |= one.failures
        if name and not args.json:
            console.show(f"\n=== {name} ===")
        if not args.json:
            report(one, console)
        for figure in draw(one, args):
            if not args.json:
                console.show(f"  {figure}")
    together = None
    if args.classes:
        good = [case for case in next(iter(done.values())).cases if case.id not in failures]
        together, failed = score_together(good, classes_of(args), done, args)
        failures |= failed
        written = save_classes(done, args)
        if not args.json:
            report_together(together, next(iter(done.values())).study.volume_unit, console)
            console.show(f"\nWritten to {args.out}:")
            console.show(f"  {{{','.join(done)}}}/ (a comparison each) classes.csv classes_per_case.csv command.txt")
            console.show(f"  calibrators/{{{','.join(written)}}}.json (all classes in one, for mrcalib apply)")
            console.show("  tallies/ (cases that have not changed are not read again)")
    if args.json:
        found = {name: (one.scored or one.study).to_dict() for name, one in done.items()}
        classes = None if together is None else {"classes": found, "together": together.to_dict("records")}
        console.show(to_json(classes or found[""]))
    console.failures(failures, next(iter(done.values())).n_cases)
    return BAD_DATA if failures else OK


def compare_cases(args: argparse.Namespace) -> dict[str, Comparison]:
    """Read the cases once, and compare and write each class; "" stands for the only one."""
    _check(args)
    cases = cases_of(args)
    to_score = _test_cases_of(args) if args.test_manifest else cases
    check_cases_shown(args, to_score)
    console: Console = args.console
    note_groups(cases, console)
    if args.test_manifest:
        note_groups(to_score, console)
    if args.protocol:
        note_protocol(args.protocol, to_score, console)
    cohorts, failures = tally(cases, args, checkpoints=args.out / "tallies")
    test = None
    if args.test_manifest:
        tests, failed = tally(to_score, args, checkpoints=args.out / "test-tallies")
        test = tests[""]
        failures |= {f"{case} (test)" if case in failures else case: error for case, error in failed.items()}
    n_cases = len(cases) + (len(to_score) if args.test_manifest else 0)
    done = {}
    for name, cohort in cohorts.items():
        if name:
            console.note(f"comparing {name}")
        study = _compared(cohort, test, to_score, failures, args)
        for calibrator in study.calibrators.values():
            record_reading(calibrator.provenance_, [case for case in cases if case.id not in failures], args, name)
        tallied = study.tallied or study
        folder = args.out / name
        console.note(f"resampling {args.n_resamples} times")
        write_study(tallied, folder, args.words)
        reference = args.reference or study.reference()
        scored = study if args.protocol else None
        if scored is not None:
            write_paper_tables(scored, folder, reference)
        done[name] = Comparison(tallied, folder, to_score, failures, n_cases, test or cohort, scored, reference)
    return done


def _compared(
    cohort: Cohort, test: Cohort | None, to_score: list[Case], failures: dict[str, Exception], args: argparse.Namespace
) -> Study:
    """The comparison of one class; errors of cases are added to ``failures``."""
    from mrcalib.study import compare

    counter = CaseCounter(args.console, len(cohort if test is None else test)) if args.protocol else None
    study = compare(
        cohort,
        args.methods,
        args.metrics,
        cv=args.cv,
        test_cases=test,
        protocol=args.protocol,
        cases=None if args.classes else to_score,
        options=load_options_of(args),
        vessel_labels=args.vessel_labels,
        checkpoints=args.out,
        failures=failures,
        n_resamples=args.n_resamples,
        level=args.level,
        interval=args.interval,
        random_state=args.random_state,
        n_jobs=args.jobs,
        progress=_Folds(args.console),
        case_progress=counter,
        scheduler=args.workers,
    )
    if counter is not None:
        counter.summarise()
    return study


def _check(args: argparse.Namespace) -> None:
    """Raise UsageError for options that do not go together; and fill in what depends on others."""
    if not args.protocol:
        given = [
            f"--{name.replace('_', '-')}"
            for name in ("vessel_labels", "reference", "cases_shown")
            if getattr(args, name)
        ]
        if given:
            msg = f"{given[0]} goes with --protocol."
            raise UsageError(msg)
    if args.test_manifest and args.cv != EACH_GROUP:
        msg = "--cv does not go with --test-manifest, whose cases are scored by maps that are fitted once."
        raise UsageError(msg)
    if args.reference and args.methods and args.reference not in args.methods:
        msg = f"--reference {args.reference!r} is not among --methods."
        raise UsageError(msg)
    args.formats = tuple(args.formats or (("png", "svg") if args.protocol else ("png",)))


def _test_cases_of(args: argparse.Namespace) -> list[Case]:
    """The cases of the test table, read as the others."""
    nothing = dict.fromkeys(name for name in TEMPLATES if hasattr(args, name))
    return cases_of(argparse.Namespace(**vars(args) | nothing | {"manifest": args.test_manifest}))


class _Folds:
    """Shows every quarter of the folds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._quarter = 0

    def __call__(self, done: int, total: int) -> None:
        if 4 * done // total > self._quarter:
            self._quarter = 4 * done // total
            self._console.step(done, total, "folds fitted")
