"""``mrcalib demo``: simulated cases on disk, and the whole way through."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mrcalib.cli import compare
from mrcalib.cli._console import OK, Console, UsageError
from mrcalib.cli._options import Parser, add_common, command, count
from mrcalib.cli._results import draw, report

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers
    from mrcalib.study import Study

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
See what mrcalib does before you have data at hand: writes simulated scans with a lesion, the masks of five raters who
disagree, and the probabilities of three overconfident segmenters as NIfTI files; compares all methods on them, draws
pictures, and ends with the commands that do the same with your own files. Takes seconds.
"""
_EXAMPLES = """\
  mrcalib demo
  mrcalib demo --out /tmp/demo --cases 30 --seed 1
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "demo",
        run=run,
        usage="",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    group = parser.add_argument_group("demo")
    group.add_argument(
        "--out",
        type=Path,
        default=Path("mrcalib-demo"),
        metavar="FOLDER",
        help="folder, made if need be (default: %(default)s)",
    )
    group.add_argument(
        "--cases", type=count, default=12, metavar="N", help="simulated cases, at least 2 (default: %(default)s)"
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="another seed, other cases (default: %(default)s)"
    )
    group.add_argument("--no-figures", action="store_true", help="draw no pictures")
    add_common(parser, json=False)


def run(args: argparse.Namespace) -> int:
    """Simulate, compare and explain."""
    if args.cases < 2:
        msg = "--cases must be at least 2: methods are scored on cases that they were not fitted to."
        raise UsageError(msg)
    data, results = args.out / "data", args.out / "results"
    if args.out.exists() and not (data / "manifest.csv").exists() and any(args.out.iterdir()):
        msg = f"{args.out} holds other files; give an empty or a new folder with --out."
        raise UsageError(msg)
    from mrcalib.simulate import phantoms, write_dataset

    console: Console = args.console
    console.note(f"simulating {args.cases} cases with five raters and three segmenters in {data}")
    manifest = write_dataset(data, phantoms(args.cases, rng=args.seed))

    words = ["compare", "--manifest", str(manifest), "--out", str(results)]
    parser = Parser(prog="mrcalib")
    compare.add_parser(parser.add_subparsers(dest="command"))
    arguments = parser.parse_args([*words, *(["--no-figures"] if args.no_figures else [])])
    arguments.console, arguments.words, arguments.workers = console, words, "threads"
    done = compare.compare_cases(arguments)[""]
    report(done, console)
    for figure in draw(done, arguments):
        console.show(f"  {figure.relative_to(results)}")
    console.show(f"\n{_reading(done.study)}")
    console.show(
        _HOW_TO_GO_ON.format(compare=shlex.join(["mrcalib", *words]), results=results, data=data, out=args.out)
    )
    return OK


def _reading(study: Study) -> str:
    """The table in words, from its numbers."""
    means = {(row["method"], row["metric"]): row["estimate"] for row in study.intervals().to_dict("records")}
    verdicts = {(row["method"], row["metric"]): row for row in study.differences().to_dict("records")}
    change = verdicts["MHR", "mr_ece"]
    surely = "more than chance explains" if change["verdict"] == "better" else "which may be chance in so few cases"
    return _READING.format(
        before=means["none", "mr_ece"],
        after=means["MHR", "mr_ece"],
        surely=surely,
        dice=verdicts["MHR", "soft_dice"]["difference"],
        level=study.level,
        difference=change["difference"],
        low=change["low"],
        high=change["high"],
    )


_READING = """\
How to read this. MR-ECE is the gap between a probability and the fraction of raters who mark such voxels: {before:.4f} for
the segmenters as they are, {after:.4f} after isotonic regression to the mean human response (MHR) that was fitted to
other patients. The change of {difference:+.4f} has the {level:.0%} interval {low:+.4f} to {high:+.4f}, {surely}.
Soft Dice changes by {dice:+.3f}: it rewards overconfidence, which honest probabilities give up."""

_HOW_TO_GO_ON = """
The comparison above was this command:
  {compare}

With your own files:
  mrcalib compare --probs 'preds/{{case}}.nii.gz' --raters 'masks/{{case}}/rater_{{rater}}.nii.gz' --out results
  mrcalib apply results/calibrators/MHR.json new_case.nii.gz -o calibrated
  mrcalib evaluate --manifest other_cases.csv --calibrator results/calibrators/MHR.json

Try it here:
  mrcalib apply {results}/calibrators/MHR.json --manifest {data}/manifest.csv -o {out}/calibrated"""
