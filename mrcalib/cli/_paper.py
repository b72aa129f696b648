"""The tables and figures of a challenge paper: what ``mrcalib compare --protocol`` writes and prints besides the rest."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import UsageError
from mrcalib.cli._files import write_csv, write_json, write_text
from mrcalib.cli._inputs import load_options_of

if TYPE_CHECKING:
    from mrcalib.cli._console import Console
    from mrcalib.cohort import Cohort
    from mrcalib.io import Case
    from mrcalib.study import Study

__all__ = [
    "CASES_SHOWN",
    "check_cases_shown",
    "draw_paper_figures",
    "note_protocol",
    "report_paper_tables",
    "show_trade_offs",
    "write_paper_tables",
]

CASES_SHOWN = 3
TABLES = (("table1", False), ("table2", True))


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
        for suffix, told in (("", study), ("_corrected", corrected)):
            paths = [folder / f"{name}{suffix}.{kind}" for kind in ("csv", "tex")]
            if told is None:
                for path in paths:
                    path.unlink(missing_ok=True)  # of an earlier run: it would be taken for one of this
                continue
            write_csv(paths[0], told.paper_table(intervals=intervals, reference=reference), index=True)
            write_text(paths[1], told.to_latex(intervals=intervals, reference=reference))
    both = {"program": study} | ({} if study.corrected is None else {"corrected": study.corrected})
    write_csv(
        folder / "protocol_per_case.csv",
        pd.concat([told.per_case().assign(scored=name) for name, told in both.items()]),
    )
    write_csv(
        folder / "protocol_differences.csv",
        pd.concat(
            [told.differences(reference).assign(reference=reference, scored=name) for name, told in both.items()]
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
    for told, whose in ((study, ""), (study.corrected if study.disputes else None, " (corrected)")):
        for label, n in ({} if told is None else partly_defined(told)).items():
            console.show(f"  {label}{whose} is defined in {n} of {len(study.ids)} cases: the mean is over these.")
    if study.disputes:
        console.show("\nWhere the program's value and the corrected one differ enough to matter:")
        for line in dispute_lines(study):
            console.show(f"  {line}")
        console.show("  All of them are in disputes.csv.")
    for told, whose in ((study, "the program's values"), (study.corrected, "corrected values")):
        if told is not None and (told is study or study.disputes):
            show_trade_offs(told, f"{whose}, mean over cases", console)
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
    """A display of each case that is shown; a case that cannot be drawn is told of, and left out."""
    import numpy as np

    from mrcalib.plots import choose_cases

    by_id = {case.id: case for case in cases}
    drawable = [i for i, name in enumerate(cohort.ids) if name in set(study.ids) and by_id[name].image is not None]
    if not drawable:
        args.console.note("no picture of cases: their images are not known (--image, or a column 'image')")
        return []
    chosen = args.cases_shown or choose_cases(cohort.subset(np.array(drawable)), CASES_SHOWN)
    rows = []
    for name in chosen:
        try:
            rows.append(_row(by_id[name], study.held_out[name][reference], args))
        except (ValueError, OSError, KeyError) as error:
            args.console.complain(f"warning: case {name} is not in figure 3: {error}")
    return rows


def _row(case: Case, calibrator: Any, args: argparse.Namespace) -> Any:
    import numpy as np

    from mrcalib.io import read_volume
    from mrcalib.plots import CaseDisplay
    from mrcalib.study._protocol import calibrated_inside

    assert case.image is not None
    loaded = case.load(options=load_options_of(args))
    before = loaded.probs if loaded.region is None else np.where(loaded.region, loaded.probs, 0)
    return CaseDisplay.from_arrays(
        case.image if isinstance(case.image, np.ndarray) else read_volume(case.image).data,
        before,
        list(loaded.raters),
        calibrated=calibrated_inside(calibrator, loaded),
        spacing=loaded.spacing,
        title=case.id,
        affine=None if loaded.geometry is None else loaded.geometry.affine,
    )


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
