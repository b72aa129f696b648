"""What a comparison found, as it is written, printed and drawn; with a protocol also the tables and figures of its papers."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mrcalib.cli._console import Console, UsageError
from mrcalib.cli._files import (
    HOW_TO_GET_THEM,
    file_name,
    have_matplotlib,
    write_command,
    write_csv,
    write_json,
    write_text,
)
from mrcalib.cli._inputs import classes_of, load_options_of

if TYPE_CHECKING:
    from mrcalib.cohort import Cohort
    from mrcalib.io import Case
    from mrcalib.study import Study

__all__ = [
    "CASES_SHOWN",
    "Comparison",
    "check_cases_shown",
    "draw",
    "note_protocol",
    "report",
    "save_classes",
    "write_paper_tables",
    "write_study",
]

KINDS: tuple[Literal["mean"], Literal["pooled"]] = ("mean", "pooled")
CASES_SHOWN = 3
TABLES = (("table1", False), ("table2", True))


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison found.

    Parameters
    ----------
    study : Study
    folder : Path
        Where its tables, calibrators and tallies are.
    cases : list of Case
        Those that are scored, whether they could be or not.
    failures : dict of str to Exception
        Of the cases that could not be used.
    n_cases : int
        All that were asked for.
    cohort : Cohort
        Of the cases that are scored.
    scored : Study or None
        By a protocol.
    reference : str
        The method that the protocol's tables measure against.
    """

    study: Study
    folder: Path
    cases: list[Case]
    failures: dict[str, Exception]
    n_cases: int
    cohort: Cohort
    scored: Study | None = None
    reference: str = ""


def write_study(study: Study, folder: Path, words: Sequence[str]) -> None:
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


def save_classes(done: Mapping[str, Comparison], args: argparse.Namespace) -> list[str]:
    """Save each method, fitted to all cases, with all classes in one file; return the names of the files."""
    from sklearn.base import clone

    from mrcalib.calibrators import OneVsRestCalibrator

    classes = classes_of(args)
    labels = {one.name: one.label for one in classes}
    methods = next(iter(done.values())).study.methods
    for method in methods:
        fitted = {name: one.study.calibrators[method] for name, one in done.items()}
        together = OneVsRestCalibrator(clone(fitted[classes[0].name]), labels)
        together.hold(fitted, labels, {one.name: one.position for one in classes})
        together.save(args.out / "calibrators" / f"{file_name(method)}.json")
    write_command(args.out / "command.txt", args.words)
    return [file_name(method) for method in methods]


def report(done: Comparison, console: Console) -> None:
    """Print the tables, what is won and lost, and where everything is."""
    study, folder = done.study, done.folder
    if done.scored is not None:
        report_paper_tables(done.scored, console, done.reference)
    console.show(study.description)
    for kind in KINDS:
        console.show(f"\n{study.to_text(kind)}")
    show_trade_offs(study, "mean over cases", console)
    console.show(f"\nWritten to {folder}:")
    console.show("  table_mean.csv table_pooled.csv intervals.csv differences.csv per_case.csv study.json command.txt")
    console.show(f"  calibrators/{{{','.join(file_name(name) for name in study.methods)}}}.json")
    if (folder / "tallies").exists():
        console.show("  tallies/ (cases that have not changed are not read again)")
    if done.scored is not None:
        console.show(
            "  table1.csv table1.tex table2.csv table2.tex" + (" and _corrected" if done.scored.disputes else "")
        )
        console.show("  protocol_per_case.csv protocol_differences.csv protocol.json disputes.csv")
        console.show("  scores/ (cases and maps that have not changed are not scored again)")


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
    drawn = save_study_figures(done.study, folder, formats=args.formats)
    if done.scored is None:
        return [*drawn, *_draw_case(done, args, folder)]
    return drawn + draw_paper_figures(
        done.scored, done.cases, done.cohort, args, reference=done.reference, folder=folder
    )


def _draw_case(done: Comparison, args: argparse.Namespace, folder: Path) -> list[Path]:
    """The case of middle rank in the first metric: neither the best nor the worst."""
    import numpy as np

    from mrcalib.plots import CaseDisplay

    study = done.study
    order = np.argsort(study.case_values(study.methods[0], study.metrics[0]), kind="stable")
    middle = study.ids[order[(len(order) - 1) // 2]]
    case = next(case for case in done.cases if case.id == middle)
    if case.image is None:
        return []
    calibrator = study.calibrators["MHR" if "MHR" in study.methods else study.methods[-1]]
    display = CaseDisplay.from_case(case, calibrator, options=load_options_of(args)).plot()
    return [display.save(folder / f"case_{file_name(case.id)}.png")]


# The tables and figures of a challenge's papers -----------------------------------------------------------------------


def check_cases_shown(args: argparse.Namespace, cases: Sequence[Case]) -> None:
    """UsageError for a case to be shown that is not there, or has no image; before hours of work, not after them."""
    known = {case.id: case for case in cases}
    for name in args.cases_shown or ():
        if name not in known:
            msg = (
                f"--cases-shown: there is no case {name!r} among those that are scored, such as {next(iter(known))!r}."
            )
            raise UsageError(msg)
        if known[name].image is None:
            msg = f"--cases-shown: case {name!r} has no image (--image, or a column 'image' of the manifest)."
            raise UsageError(msg)


def note_protocol(name: str, cases: Sequence[Case], console: Console) -> None:
    """Say what a protocol does not score, or not as one may think."""
    from mrcalib.protocols import get_protocol

    protocol = get_protocol(name)
    if protocol.needs_vessels and all(case.vessels is None for case in cases):
        console.note("No vessels are given (--vessels, or a column 'vessels'): vascular invasion is not scored.")
    if any(case.roi is not None or case.coarse is not None for case in cases):
        console.note(f"{protocol.title} scores whole images: outside the region of interest every method predicts 0.")


def write_paper_tables(study: Study, folder: Path, reference: str) -> None:
    """Tables 1 and 2 as CSV and LaTeX, the corrected ones too where the two part, and all values by case."""
    import pandas as pd

    corrected = study.corrected if study.disputes else None
    for name, intervals in TABLES:
        for suffix, shown in (("", study), ("_corrected", corrected)):
            paths = [folder / f"{name}{suffix}.{kind}" for kind in ("csv", "tex")]
            if shown is None:
                for path in paths:
                    path.unlink(missing_ok=True)  # of an earlier run: it would be taken for one of this
                continue
            write_csv(paths[0], shown.paper_table(intervals=intervals, reference=reference), index=True)
            write_text(paths[1], shown.to_latex(intervals=intervals, reference=reference))
    both = {"program": study} | ({} if study.corrected is None else {"corrected": study.corrected})
    write_csv(
        folder / "protocol_per_case.csv",
        pd.concat([shown.per_case().assign(scored=name) for name, shown in both.items()]),
    )
    write_csv(
        folder / "protocol_differences.csv",
        pd.concat(
            [shown.differences(reference).assign(reference=reference, scored=name) for name, shown in both.items()]
        ),
    )
    disputes = pd.DataFrame([d._asdict() for d in study.disputes], columns=["case", "method", "measure", "sentence"])
    write_csv(folder / "disputes.csv", disputes)
    content = study.to_dict()
    content.pop("tallied", None)  # study.json has it
    write_json(folder / "protocol.json", content)


def report_paper_tables(study: Study, console: Console, reference: str) -> None:
    """Print both tables, where the program's values are not to be trusted, and what is won and lost."""
    from mrcalib.study._tables import dispute_lines, partly_defined

    console.show(study.description)
    for _, intervals in TABLES:
        console.show(f"\n{study.to_paper_text(intervals=intervals, reference=reference)}")
    for shown, whose in ((study, ""), (study.corrected if study.disputes else None, " (corrected)")):
        for label, n in ({} if shown is None else partly_defined(shown)).items():
            console.show(f"  {label}{whose} is defined in {n} of {len(study.ids)} cases: the mean is over these.")
    if study.disputes:
        console.show("\nWhere the program's value and the corrected one differ enough to matter:")
        for line in dispute_lines(study):
            console.show(f"  {line}")
        console.show("  All of them are in disputes.csv.")
    for shown, whose in ((study, "the program's values"), (study.corrected, "corrected values")):
        if shown is not None and (shown is study or study.disputes):
            show_trade_offs(shown, f"{whose}, mean over cases", console)
    console.show("")


def draw_paper_figures(
    study: Study, cases: Sequence[Case], cohort: Cohort, args: argparse.Namespace, *, reference: str, folder: Path
) -> list[Path]:
    """Figures 2 and 3: reliability before and after, and cases with their maps."""
    from mrcalib.plots import ReliabilityDisplay
    from mrcalib.plots._save import binned_error

    assert study.tallied is not None
    shown = tuple(dict.fromkeys((study.methods[0], reference)))
    reliability = ReliabilityDisplay.from_study(study.tallied, shown, metric=binned_error(study.tallied)).plot()
    written = [reliability.save(folder / f"figure2_reliability.{kind}") for kind in args.formats]
    rows = _rows(study, cases, cohort, args, reference)
    if rows:
        from mrcalib.plots import CasesDisplay

        caption = (
            f"calibrated: {reference}, each case by the map fitted without its patient; "
            "slices where the raters disagree most"
        )
        display = CasesDisplay(rows, caption=caption).plot()
        written += [display.save(folder / f"figure3_cases.{kind}") for kind in args.formats]
    return written


def _rows(study: Study, cases: Sequence[Case], cohort: Cohort, args: argparse.Namespace, reference: str) -> list[Any]:
    """A display of each case that is shown; a case that cannot be drawn is warned of, and left out."""
    import numpy as np

    from mrcalib.plots import CaseDisplay, choose_cases

    by_id = {case.id: case for case in cases}
    drawable = [i for i, name in enumerate(cohort.ids) if name in set(study.ids) and by_id[name].image is not None]
    if not drawable:
        args.console.note("no picture of cases: their images are not known (--image, or a column 'image')")
        return []
    chosen = args.cases_shown or choose_cases(cohort.subset(np.array(drawable)), CASES_SHOWN)
    rows = []
    for name in chosen:
        try:
            display = CaseDisplay.from_case(
                by_id[name], study.held_out[name][reference], options=load_options_of(args), whole_image=True
            )
            rows.append(display)
        except (ValueError, OSError, KeyError) as error:
            args.console.complain(f"warning: case {name} is not in figure 3: {error}")
    return rows


def show_trade_offs(study: Study, whose: str, console: Console) -> None:
    """Print what methods win and what it costs, with what is safe to choose, and warn that there are any."""
    sentences, base = study.trade_offs(), study.methods[0]
    if not sentences:
        return
    console.show(f"\nWhat is won, and what it costs ({whose}):")
    for sentence in sentences:
        console.show(f"  {sentence}")
    safe = ", ".join(study.unharmed())
    console.show(f"  Better than {base} on some metric and significantly worse on none: {safe or 'no method'}.")
    if any(metric.name == "soft_dice" for metric in study.metrics):
        console.show("  Soft Dice rewards overconfidence, so that it falls under any honest calibration.")
    who = f"{len(sentences)} methods win" if len(sentences) > 1 else "a method wins"
    console.note(
        f"warning: {who} on some metrics at a significant cost on others ({whose}); "
        "see 'What is won, and what it costs' before choosing."
    )
