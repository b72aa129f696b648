"""``mrcalib detect fit``: a calibrator of detectors' scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError, table
from mrcalib.cli._files import require_matplotlib, to_json
from mrcalib.cli._options import add_common, add_named
from mrcalib.detection.commands.inputs import as_texts, images_of, read_models, read_raters
from mrcalib.detection.commands.options import action, add_matching, add_raters
from mrcalib.detection.commands.scores import matching_of, raters_in

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.cli._options import Subparsers
    from mrcalib.detection.images import DetectionImage

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Fit a calibrator to a detector's scores. A calibrated score is the expected fraction of raters who have an object there. The
methods are those of mrcalib fit. The file records how detections were matched, since calibrated scores hold for this matching
only. Fit the calibrator to other images than those that you evaluate it on.
"""
_EXAMPLES = """\
  mrcalib detect fit --raters ann.json bo.json --detections model.json -o calibrator.json
  mrcalib detect fit --raters consensus.json --detections model.json --method beta --iou 0.75 -o beta.json --figure map.png
"""
_AT = (0.0, 0.01, 0.05, *(k / 10 for k in range(1, 10)), 0.95, 0.99, 1.0)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = action(
        subparsers,
        "fit",
        run=run,
        usage="--raters FILE... --detections FILE -o FILE",
        summary="fit a calibrator of scores",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_raters(parser, detections="one")
    add_matching(parser, several=False)
    method = parser.add_argument_group("what is fitted")
    add_named(
        method,
        "--method",
        "method",
        "one of %(names)s (default: %(default)s)",
        default="MHR",
        metavar="METHOD",
    )
    method.add_argument("--rater", metavar="NAME", help="calibrate to this rater alone (default: to all)")
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the calibrator, such as calibrator.json"
    )
    output.add_argument("--figure", type=Path, metavar="FILE", help="also draw the map, into a file such as map.png")
    add_common(parser)


def run(args: argparse.Namespace) -> int:
    """Fit, save, and print the map."""
    if args.output.is_dir():
        msg = f"-o {args.output} is a folder; name a file in it, such as {args.output / 'calibrator.json'}."
        raise UsageError(msg)
    if args.figure:
        require_matplotlib("--figure")
    console: Console = args.console
    inputs = read_raters(args)
    found = read_models(inputs, [args.detections], args)
    if len(found) != 1:
        msg = f"{args.detections[1]} holds detections of {len(found)} models ({', '.join(found)}); fit one at a time."
        raise UsageError(msg)
    (images,) = images_of(inputs, args).values()
    if images:
        calibrator, results = _fit(images, args)
        if args.json:
            written = [path for path in (args.output, args.figure) if path]
            console.show(to_json(results | {"failures": as_texts(inputs.failures), "written": written}))
        else:
            _report(calibrator, results, args)
    console.failures(inputs.failures, len(inputs.raters.images), "images")
    return OK if images and not inputs.failures else BAD_DATA


def _fit(images: list[DetectionImage], args: argparse.Namespace) -> tuple[Calibrator, dict[str, Any]]:
    import numpy as np

    from mrcalib.calibrators import get_method
    from mrcalib.detection.cohort import detection_cohort
    from mrcalib.detection.images import DetectionImage

    raters = raters_in(images, args.rater)
    chosen = [
        DetectionImage(one.id, one.group, one.size, one.detections, {name: one.raters.get(name) for name in raters})
        for one in images
    ]
    calibrator = get_method(args.method)
    cohort = detection_cohort(chosen, args.iou, args.matching, args.score_floor, grid=calibrator.needs.grid)
    calibrator.fit_tally(cohort)
    matched = {"iou_threshold": args.iou, **matching_of(args)}
    calibrator.provenance_["detection"] = matched
    calibrator.save(args.output)
    if args.figure:
        from mrcalib.plots import CalibrationMapDisplay

        CalibrationMapDisplay.from_calibrators({args.method: calibrator}).plot().save(args.figure)
    return calibrator, {
        "method": args.method,
        "parameters": calibrator.provenance_["parameters"],
        "detection": matched,
        "n_images": len(images),
        "n_detections": int(cohort.n_voxels.sum()),
        "raters": calibrator.raters_,
        "reachable": calibrator.reachable_,
        "map": [{"score": p, "calibrated": float(q)} for p, q in zip(_AT, calibrator(np.array(_AT)), strict=True)],
    }


def _report(calibrator: Calibrator, results: dict[str, Any], args: argparse.Namespace) -> None:
    console: Console = args.console
    console.show(
        f"{args.method}: {type(calibrator).__name__}, fitted to {results['n_detections']} detections in {results['n_images']} "
        f"images, {len(results['raters'])} raters"
    )
    console.show(f"{args.matching} matching at IoU {args.iou:g}, scores from {args.score_floor:g}")
    low, high = results["reachable"]
    console.show(f"calibrated scores lie between {low:.3g} and {high:.6g}\n")
    console.show(
        table(["score", "calibrated"], [[f"{row['score']:g}", f"{row['calibrated']:.4f}"] for row in results["map"]])
    )
    console.show(f"\nWritten to {args.output}{f' and {args.figure}' if args.figure else ''}. To use it:")
    console.show(f"  mrcalib detect apply {args.output} new.json -o calibrated")
