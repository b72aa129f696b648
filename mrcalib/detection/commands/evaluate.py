"""``mrcalib detect evaluate``: scores of detectors against raters, and how far raters agree."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import BAD_DATA, OK, Console, number, table
from mrcalib.cli._files import HOW_TO_GET_THEM, have_matplotlib, to_json, write_command, write_csv, write_json
from mrcalib.detection.commands.inputs import as_texts, images_of, read_models, read_raters
from mrcalib.detection.commands.options import action, add_matching, add_output, add_raters, add_scoring
from mrcalib.detection.commands.scores import row_of, scores_of

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers
    from mrcalib.detection.agreement import RaterAgreement
    from mrcalib.detection.images import DetectionImage
    from mrcalib.detection.scores import DetectionScore

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Score detectors against raters. The scores are: D-ECE (are 7 of 10 detections with a score of 0.7 right?) at each --iou, over
all pairs of a detection and a rater, and the mean of each rater's own D-ECE; mAP and mAR as in COCO; LaECE0; the LRP error.
Their intervals come from a bootstrap over images. Where there are several raters, each pair of them is compared too:
precision, recall and F1 over thresholds of overlap, and the number of objects in an image. Without --detections this is all.
"""
_EXAMPLES = """\
  mrcalib detect evaluate --raters ann.json bo.json --detections model.json
  mrcalib detect evaluate --raters consensus.json --detections LSE=lse.json RSE=rse.json --out results
  mrcalib detect evaluate --raters boxes.csv --rater gt --detections model.json --score-floor 0.05 --json
  mrcalib detect evaluate --raters 'test/{case}/{case}_{rater}.json' --out agreement
"""
_AGREEMENT_IOUS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
_PRINTED_IOUS = (0.3, 0.5, 0.75)
_LISTED_PAIRS = 10
_HIGHER_IS_BETTER = ("mAP", "mAR")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = action(
        subparsers,
        "evaluate",
        run=run,
        usage="--raters FILE... [--detections FILE...]",
        summary="score detectors against raters, and raters against each other",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    add_raters(parser, detections="several")
    add_matching(parser)
    add_scoring(parser, 1000)
    writes = (
        "for scores.csv, bins.csv, agreement.csv, objects.csv, evaluation.json and figures (default: none is written)"
    )
    add_output(parser, "--out", required=False, writes=writes)


def run(args: argparse.Namespace) -> int:
    """Read, score, write and print."""
    from mrcalib.detection.files import detection_images

    console: Console = args.console
    inputs = read_raters(args)
    read_models(inputs, args.detections, args)
    by_model = images_of(inputs, args)  # first, for it finds the images that cannot be used
    images = detection_images(inputs.raters, group=args.group, skip=inputs.failures)
    agreement = _agreement(images)
    if images and not args.detections and agreement is None:
        console.complain(
            "There is nothing to score: one rater and no --detections, or no image that two raters looked at."
        )
        return BAD_DATA
    rows, curves = _scores(by_model, args) if images else ([], {})
    results = {
        "n_images": len(images),
        "raters": list(inputs.raters.sources),
        "scores": rows,
        "agreement": [] if agreement is None else agreement.table(),
        "objects": [] if agreement is None else agreement.objects_table(),
        "failures": as_texts(inputs.failures),
    }
    written = _write(results, curves, agreement, args) if args.out is not None and images else []
    if args.json:
        console.show(to_json(results | {"written": written}))
    elif images:
        _report(results, agreement, written, args)
    console.failures(inputs.failures, len(inputs.raters.images), "images")
    return BAD_DATA if inputs.failures or not images else OK


def _agreement(images: Sequence[DetectionImage]) -> RaterAgreement | None:
    """How far raters agree; None where no two looked at the same image."""
    from mrcalib.detection.agreement import rater_agreement

    if not any(sum(boxes is not None for boxes in image.raters.values()) > 1 for image in images):
        return None
    return rater_agreement(images, iou_thresholds=_AGREEMENT_IOUS)


def _scores(
    by_model: Mapping[str, Sequence[DetectionImage]], args: argparse.Namespace
) -> tuple[list[dict[str, Any]], dict[str, list[DetectionScore]]]:
    """The rows of the table of scores, and each model's calibration errors with their bins."""
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[DetectionScore]] = {}
    for done, (model, images) in enumerate(by_model.items(), start=1):
        scores, curves[model] = scores_of(images, args)
        rows += [row_of(model, against, score) for against, score in scores]
        args.console.step(done, len(by_model), f"{model} scored")
    return rows, curves


def _write(
    results: Mapping[str, Any],
    curves: Mapping[str, Sequence[DetectionScore]],
    agreement: RaterAgreement | None,
    args: argparse.Namespace,
) -> list[Path]:
    import pandas as pd

    out: Path = args.out
    tables = {name: results[name] for name in ("scores", "agreement", "objects")} | {"bins": _bins(curves)}
    written = [write_csv(out / f"{name}.csv", pd.DataFrame(rows)) for name, rows in tables.items() if rows]
    written += [write_json(out / "evaluation.json", results), write_command(out / "command.txt", args.words)]
    if args.no_figures:
        return written
    if not have_matplotlib():
        args.console.complain(f"no pictures: {HOW_TO_GET_THEM}, or give --no-figures")
        return written
    from mrcalib.detection.plots import DetectionCalibrationDisplay, RaterAgreementDisplay

    if curves:
        written.append(DetectionCalibrationDisplay.from_scores(curves).plot().save(out / "calibration.png"))
    if agreement is not None:
        written.append(RaterAgreementDisplay(agreement).plot().save(out / "agreement.png"))
    return written


def _bins(curves: Mapping[str, Sequence[DetectionScore]]) -> list[dict[str, Any]]:
    """The bins that the picture of calibration draws."""
    rows = []
    for model, scores in curves.items():
        for score in scores:
            curve = score.curve
            if curve is None:
                continue
            for b in range(curve.count.size):
                rows.append(
                    {
                        "model": model,
                        "iou": score.iou_thresholds[0],
                        "low": curve.edges[b],
                        "high": curve.edges[b + 1],
                        "n_votes": curve.count[b],
                        "mean_score": curve.mean_prob[b],
                        "precision": curve.response[b],
                    }
                )
    return rows


def _report(
    results: Mapping[str, Any], agreement: RaterAgreement | None, written: Sequence[Path], args: argparse.Namespace
) -> None:
    console: Console = args.console
    rows = results["scores"]
    if rows:
        console.show(
            f"{results['n_images']} images, {len(results['raters'])} raters; {args.matching} matching for D-ECE in {args.bins} "
            f"bins, scores from {args.score_floor:g}; {args.level:.0%} interval of {args.resamples} resamples\n"
        )
        console.show(table(["model", "score", "against", "value"], [_line(row) for row in rows]))
        first = rows[0]
        console.show(
            f"\n{first['n_duplicates']} duplicates of {first['n_detections']} detections of {first['model']!r}."
        )
    if agreement is not None:
        title = "Raters against each other (boxes paired one to one; F1 over all images, and mean of images):"
        console.show(f"\n{title}" if rows else title)
        header = ["raters", "IoU", "precision", "recall", "F1", "image F1"]
        console.show(table(header, _agreement_lines(results["agreement"], len(agreement.pairs))))
    if written:
        console.show(f"\nWritten to {args.out}: {', '.join(path.name for path in written)}")


def _line(row: Mapping[str, Any]) -> list[str]:
    interval = "" if row["low"] != row["low"] else f" [{number(row['low'], 3)}, {number(row['high'], 3)}]"
    at = f" at IoU {row['iou']}" if row["score"] != "LaECE0" else ""
    arrow = "↑" if row["score"] in _HIGHER_IS_BETTER else "↓"
    return [row["model"], f"{row['score']}{at} {arrow}", row["against"], f"{number(row['value'], 3)}{interval}"]


def _agreement_lines(rows: Sequence[Mapping[str, Any]], n_pairs: int) -> list[list[str]]:
    """A line for each pair and threshold; many pairs are shown as their mean."""
    columns = ("precision", "recall", "f1", "mean_image_f1")
    if n_pairs <= _LISTED_PAIRS:
        return [
            [
                f"{row['first']}, {row['second']}",
                f"{row['iou_threshold']:g}",
                *(number(row[name], 3) for name in columns),
            ]
            for row in rows
            if row["iou_threshold"] in _PRINTED_IOUS
        ]
    import pandas as pd

    means = pd.DataFrame(rows).groupby("iou_threshold")[list(columns)].mean().to_dict("index")
    return [
        [f"mean of {n_pairs} pairs", f"{t:g}", *(number(means[t][name], 3) for name in columns)] for t in _PRINTED_IOUS
    ]
