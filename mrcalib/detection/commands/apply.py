"""``mrcalib detect apply``: files of detections with calibrated scores, all else as it was."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__
from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError
from mrcalib.cli._files import to_json, write_json
from mrcalib.cli._options import add_common
from mrcalib.detection.commands.options import action

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.cli._options import Subparsers

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Calibrate the scores in files of detections: COCO results, COCO JSON with scores, or CSV with a column score. Everything else
in a file stays as it is, order and ids included, and an input is never overwritten. A file NAME.provenance.json beside each
output records the input and the calibrator.
"""
_EXAMPLES = """\
  mrcalib detect apply calibrator.json new.json -o calibrated
  mrcalib detect apply calibrator.json a.json b.json -o calibrated --overwrite
  mrcalib detect apply calibrator.json new.json -o new_calibrated.json
"""
_SUFFIXES = (".json", ".csv")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = action(
        subparsers,
        "apply",
        run=run,
        usage="CALIBRATOR FILE... -o OUT",
        summary="calibrate the scores in files of detections",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("calibrator", type=Path, metavar="CALIBRATOR", help="JSON file from mrcalib detect fit")
    parser.add_argument("inputs", type=Path, nargs="+", metavar="FILE", help="file of detections with scores")
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="a folder; or, for a single input, a .json or .csv file",
    )
    output.add_argument("--overwrite", action="store_true", help="replace files that are there already")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Calibrate each file."""
    from mrcalib.persistence import load

    console: Console = args.console
    targets = _targets(args)
    calibrator: Any = load(args.calibrator)
    matched = getattr(calibrator, "provenance_", {}).get("detection")
    if matched is None:
        console.complain(
            f"warning: {args.calibrator} was not fitted by mrcalib detect fit: its probabilities are not those of detections."
        )
    digest = hashlib.sha256(args.calibrator.read_bytes()).hexdigest()
    origin = {"file": args.calibrator, "sha256": digest, "method": calibrator.provenance_["method"]}
    written: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    for done, (path, target) in enumerate(targets, start=1):
        try:
            result = _apply(calibrator, path, target, overwrite=args.overwrite)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            about = {"input_sha256": digest, "calibrator": origin, "detection": matched}
            write_json(_sidecar(target), {"mrcalib": __version__, **result, **about})
            lowest, floor = result["lowest_score"], (matched or {}).get("score_floor", 0.0)
            if result["n_detections"] and lowest < floor:
                console.complain(
                    f"warning: {path} has scores from {lowest:g}, below the floor of the fit, {floor:g}: their calibrated "
                    "scores are extrapolated."
                )
            written.append(result)
            status = "calibrated"
        except (ValueError, TypeError, OSError) as error:
            failures[str(path)] = console.in_options(error)
            status = "failed"
        console.step(done, len(targets), f"{path} {status}")
    if args.json:
        console.show(to_json({"detection": matched, "written": written, "failures": failures}))
    elif written:
        n = sum(one["n_detections"] for one in written)
        console.show(f"{n} detections in {len(written)} files calibrated, written to {args.out}.")
    if failures:
        console.complain(f"{len(failures)} of {len(targets)} files could not be calibrated:")
        for path_text, reason in failures.items():
            console.complain(f"  {reason}" if path_text in reason else f"  {path_text}: {reason}")
    return BAD_DATA if failures else OK


def _targets(args: argparse.Namespace) -> list[tuple[Path, Path]]:
    """Each input with its output; UsageError where they are the same, or two outputs are."""
    out: Path = args.out
    if out.suffix.lower() in _SUFFIXES and not out.is_dir():
        if len(args.inputs) > 1:
            msg = f"-o {out} is one file for {len(args.inputs)} inputs; name a folder."
            raise UsageError(msg)
        if out.suffix.lower() != args.inputs[0].suffix.lower():
            msg = f"-o {out}: the output stays of the input's kind, {args.inputs[0].suffix}."
            raise UsageError(msg)
        targets = [out]
    else:
        targets = [out / path.name for path in args.inputs]
    if len(set(targets)) != len(targets):
        msg = "two inputs have the same name; their outputs would be one file. Calibrate them into different folders."
        raise UsageError(msg)
    return list(zip(args.inputs, targets, strict=True))


def _apply(calibrator: Calibrator, path: Path, target: Path, *, overwrite: bool) -> dict[str, Any]:
    from mrcalib.detection.files import rescore

    if target.exists() and target.samefile(path):
        msg = f"{target} is the input; inputs are never overwritten. Name another folder."
        raise ValueError(msg)
    for made in (target, _sidecar(target)):
        if made.exists() and not overwrite:
            msg = f"{made} is there already; give --overwrite to replace it."
            raise ValueError(msg)
    before = rescore(path, target, calibrator.transform)
    return {"input": path, "output": target, "n_detections": before.size, "lowest_score": before.min(initial=1.0)}


def _sidecar(target: Path) -> Path:
    return target.with_name(f"{target.stem}.provenance.json")
