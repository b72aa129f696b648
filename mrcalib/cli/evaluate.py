"""``mrcalib evaluate``: exact scores of probability maps against the raters; nothing is fitted."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._cases import each_case, note_groups
from mrcalib.cli._console import BAD_DATA, GATE_FAILED, OK, Console, UsageError
from mrcalib.cli._evaluation import CALIBRATED, GIVEN, Evaluation, Score
from mrcalib.cli._files import to_json
from mrcalib.cli._inputs import add_inputs, add_reading, cases_of, load_options_of, warn_of_differences
from mrcalib.cli._options import (
    add_bootstrap,
    add_common,
    add_invalid,
    add_jobs,
    add_named,
    command,
    known_name,
    vessel_labels,
)
from mrcalib.cli._protocol import Calibrator, ProtocolScores, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Case
    from mrcalib.metrics import Metric
    from mrcalib.responses import Responses

__all__ = ["add_parser", "run"]


_DESCRIPTION = """\
Score probability maps against the raters, voxel by voxel: exact, one case at a time, nothing fitted. With --calibrator,
before and after. Values are means over cases; intervals come from resampling patients. With --max and --min it is a
gate for a pipeline: the exit code is 4 if a value is beyond its limit.
"""
_EXAMPLES = r"""
  mrcalib evaluate --probs 'preds/{case}.nii.gz' --raters 'masks/{case}/annotation_{rater}.nii.gz' --out scores

  # before and after calibration, on cases that the calibrator was not fitted to
  mrcalib evaluate --manifest test.csv --calibrator calibrator.json

  # a gate
  mrcalib evaluate --manifest test.csv --calibrator calibrator.json --max mr_ece=0.02 --min tdsc=0.7

  # as the CURVAS-PDACVI challenge scores, vascular invasion included; and the file that its platform reads
  mrcalib evaluate --manifest test.csv --protocol curvas-pdacvi --vessel-labels PORTA=1,SMV=2,AORTA=3 \
      --metrics-json metrics.json

A protocol's scores are those of the challenge's program, faults included. Where a fault matters, the corrected value is
beside it, with the reason; --corrected shows all of them. Both are always in the files that are written.

OUT, if given, then holds summary.csv, per_case.csv, evaluation.json and command.txt.
""".removeprefix("\n")


@dataclass(frozen=True, slots=True)
class _Gate:
    """A limit of the mean of a score."""

    name: str
    limit: float
    at_most: bool

    def broken_by(self, value: float, better: str) -> bool:
        """Whether a mean is beyond the limit; an undefined one is, and a bias counts by its size."""
        size = abs(value) if better == "zero" else value
        return math.isnan(size) or (size > self.limit if self.at_most else size < self.limit)

    def __str__(self) -> str:
        return f"{self.name} must be {'at most' if self.at_most else 'at least'} {self.limit:g}"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "evaluate",
        run=run,
        usage="(--manifest CSV | --probs TEMPLATE --raters TEMPLATE)",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_inputs(parser)
    add_reading(parser)
    scores = parser.add_argument_group("what is scored")
    scores.add_argument("--calibrator", type=Path, metavar="FILE", help="score the calibrated maps too, and the change")
    add_named(
        scores,
        "--metrics",
        "metric",
        "names or labels (default: %(usual)s); also: %(others)s",
        nargs="+",
        metavar="METRIC",
    )
    add_named(
        scores,
        "--protocol",
        "protocol",
        "score as this challenge's program does, instead of --metrics: %(names)s; curvas-2024 reads 4 channels (background, "
        "pancreas, kidney, liver) and label maps",
        metavar="PROTOCOL",
    )
    scores.add_argument(
        "--corrected",
        action="store_true",
        help="with --protocol: show all corrected values too, not only those that differ enough to matter",
    )
    scores.add_argument("--sound", action="store_true", help=argparse.SUPPRESS)  # what --corrected was called in 0.1
    scores.add_argument(
        "--vessel-labels",
        type=vessel_labels,
        metavar="NAME=LABEL,...",
        help="with --protocol: labels of --vessels, such as PORTA=1,SMV=2 (default: the challenge's)",
    )
    add_bootstrap(scores)
    add_invalid(scores)
    add_jobs(scores)
    gates = parser.add_argument_group(
        "gates", "of the calibrated maps if there is a calibrator; the size of a bias counts"
    )
    for option, at_most, word in (("--max", True, "above"), ("--min", False, "below")):
        gates.add_argument(
            option,
            type=_gate(at_most=at_most),
            action="append",
            default=[],
            metavar="METRIC=VALUE",
            help=f"exit with 4 if the mean over cases is {word} this; may be repeated",
        )
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "--out", type=Path, metavar="FOLDER", help="summary.csv, per_case.csv ... (default: nothing is written)"
    )
    output.add_argument(
        "--metrics-json",
        type=Path,
        metavar="FILE",
        help="scores of cases and their aggregates as grand-challenge.org reads them (of the calibrated maps if there is "
        "a calibrator)",
    )
    add_common(parser)


def _gate(*, at_most: bool) -> Callable[[str], _Gate]:
    def parse(text: str) -> _Gate:
        name, _, value = text.partition("=")
        try:
            limit = float(value)
        except ValueError:
            msg = f"expected METRIC=VALUE such as mr_ece=0.02; got {text!r}"
            raise argparse.ArgumentTypeError(msg) from None
        return _Gate(name, limit, at_most)

    return parse


def run(args: argparse.Namespace) -> int:
    """Score each case, summarise, and check the gates."""
    console: Console = args.console
    if args.sound or any(gate.name.endswith("_sound") for gate in args.max + args.min):
        console.complain("warning: sound values are now called corrected; the old name goes in the next version")
        args.corrected = True
        for limits in (args.max, args.min):
            limits[:] = [replace(gate, name=gate.name.replace("_sound", "_corrected")) for gate in limits]
    _refuse_what_does_not_go_together(args)
    gates: list[_Gate] = args.max + args.min
    if not args.protocol:
        gates = [_named_gate(gate) for gate in gates]
    cases = cases_of(args)
    scorer = ProtocolScores(args, cases) if args.protocol else _Metrics(args, gates)
    if isinstance(scorer, ProtocolScores):
        _check_gates(gates, scorer.gated)
    note_groups(cases, console)
    maps = _maps(args)
    if CALIBRATED in maps:
        scorer.check(maps[CALIBRATED])
    _warn_of_seen(cases, maps, console)
    if CALIBRATED in maps:
        warn_of_differences(maps[CALIBRATED].provenance_, cases, args, console)
    scorer.announce(console)

    def work(case: Case) -> tuple[Scores, str]:
        return scorer(case, maps), "scored"

    by_case, failures = each_case(cases, work, console=console, jobs=args.jobs)
    if not by_case:
        first, error = next(iter(failures.items()))
        msg = f"None of the {len(cases)} cases could be scored. The first, {first!r}: {error}"
        raise ValueError(msg)
    scores = [Score(m.name, m.label, m.better, m.unit, shown) for m, shown in scorer.measures(by_case)]
    found = Evaluation(cases, by_case, scores, args, scorer if isinstance(scorer, ProtocolScores) else None)
    broken = [
        (gate, value) for gate in gates if gate.broken_by(value := found.mean(gate.name), found.better(gate.name))
    ]
    if args.out:
        found.write(args.out, args.words)
    if args.metrics_json:
        found.write_metrics_json(args.metrics_json)
    if args.json:
        console.show(to_json(found.to_dict() | {"gates": [_outcome(gate, found, broken) for gate in gates]}))
    else:
        found.report(console)
    for gate, value in broken:
        console.complain(f"gate failed: {gate}; the {found.maps[-1]} maps have {value:.6g}")
    console.failures(failures, len(cases))
    return BAD_DATA if failures else GATE_FAILED if broken else OK


def _refuse_what_does_not_go_together(args: argparse.Namespace) -> None:
    if args.protocol and args.invalid == "drop":
        msg = "--invalid drop does not go with --protocol, which scores whole images."
        raise UsageError(msg)
    for option, given in (("--corrected", args.corrected), ("--vessel-labels", args.vessel_labels)):
        if given and not args.protocol:
            msg = f"{option} goes with --protocol only."
            raise UsageError(msg)


def _outcome(gate: _Gate, found: Evaluation, broken: Sequence[tuple[_Gate, float]]) -> dict[str, Any]:
    return {
        "metric": gate.name,
        "max" if gate.at_most else "min": gate.limit,
        "value": found.mean(gate.name),
        "passed": gate not in [failed for failed, _ in broken],
    }


def _maps(args: argparse.Namespace) -> dict[str, Calibrator]:
    if not args.calibrator:
        return {GIVEN: None}
    from mrcalib.persistence import load

    return {GIVEN: None, CALIBRATED: load(args.calibrator)}


def _warn_of_seen(cases: Sequence[Case], maps: Mapping[str, Calibrator], console: Console) -> None:
    """Warn of cases that the calibrator was fitted to, as far as their names tell."""
    calibrator = maps.get(CALIBRATED)
    if calibrator is None:
        return
    fitted_to: Any = calibrator.provenance_["cases"]
    seen = {case.id for case in cases} & set(fitted_to)
    if seen:
        console.complain(
            f"warning: the calibrator was fitted to {len(seen)} of these {len(cases)} cases (by their names): "
            "the calibrated scores are too good. mrcalib compare scores each case by maps fitted to others."
        )


class _Metrics:
    """Scores a case by the metrics that were asked for, or that a gate needs."""

    def __init__(self, args: argparse.Namespace, gates: Sequence[_Gate]) -> None:
        from mrcalib.metrics import default_metrics, get_metric

        chosen = args.metrics or [metric.name for metric in default_metrics()]
        wanted = [*chosen, *(gate.name for gate in gates)]
        self._metrics = [get_metric(name) for name in dict.fromkeys(wanted)]
        self._drop = args.invalid == "drop"

        self._options = load_options_of(args)

    def check(self, calibrator: Calibrator) -> None:
        """UsageError for a calibrator of several classes."""
        if hasattr(calibrator, "background"):
            msg = "The calibrator was fitted to several classes; metrics are of one. Score the files of mrcalib apply."
            raise UsageError(msg)

    def announce(self, console: Console) -> None:
        """Nothing is to be said beforehand."""

    def measures(self, by_case: Mapping[str, Scores]) -> list[tuple[Metric, bool]]:  # noqa: ARG002
        """What the values are; all are shown."""
        return [(metric, True) for metric in self._metrics]

    def __call__(self, case: Case, maps: Mapping[str, Calibrator]) -> Scores:
        import numpy as np

        from mrcalib.inputs import voxel_responses

        loaded = case.load(options=self._options)
        dtype = loaded.probs.dtype
        volume = loaded.voxel_volume_ml or 1.0
        roi = loaded.roi
        if self._drop:
            valid = (loaded.probs >= 0) & (loaded.probs <= 1)
            roi = valid if roi is None else roi & valid

        def rows_of(probs: NDArray[np.floating]) -> Responses:
            return voxel_responses(
                probs, list(loaded.raters), roi=roi, voxel_volume=volume, arguments=("roi", "invalid")
            )

        def calibrated(calibrator: Calibrator) -> Responses:
            """In the dtype of the file, as ``mrcalib apply`` calibrates."""
            if self._options.outside == "zero":
                return rows_of(loaded.calibrated_by(lambda p: calibrator(np.where((p >= 0) & (p <= 1), p, np.nan))))
            return rows.map(lambda p: calibrator(p.astype(dtype)))

        rows = rows_of(loaded.probs)
        scores = {}
        for name, calibrator in maps.items():
            shown = rows if calibrator is None else calibrated(calibrator)
            scores[name] = {metric.name: metric(shown) for metric in self._metrics}
        return scores


def _named_gate(gate: _Gate) -> _Gate:
    """A gate with the library's name of its metric; UsageError if there is none."""
    try:
        return replace(gate, name=known_name("metric", gate.name))
    except argparse.ArgumentTypeError as error:
        msg = f"--{'max' if gate.at_most else 'min'}: {error}"
        raise UsageError(msg) from None


def _check_gates(gates: Sequence[_Gate], names: Sequence[str]) -> None:
    for gate in gates:
        if gate.name not in names:
            msg = (
                f"--{'max' if gate.at_most else 'min'}: there is no score {gate.name!r}; there are {', '.join(names)}."
            )
            raise UsageError(msg)
