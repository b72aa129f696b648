"""``mrcalib detect evaluate``: scores of detectors against raters, and how far raters agree."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import BAD_DATA, OK, Console, number, table
from mrcalib.cli._files import HOW_TO_GET_THEM, have_matplotlib, to_json, write_command, write_csv, write_json
from mrcalib.cli._options import add_common, count
from mrcalib.detection.commands.inputs import (
    action,
    add_bootstrap,
    add_matching,
    add_raters,
    images_of,
    named,
    read_models,
    read_raters,
    tell_failures,
)
from mrcalib.detection.commands.scores import row_of, scores_of

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers
    from mrcalib.detection.agreement import RaterAgreement
    from mrcalib.detection.images import DetectionImage
    from mrcalib.detection.scores import DetectionScore

__all__ = ["AGREEMENT_IOUS", "add_parser", "add_scoring", "draw_agreement", "most", "run"]

_DESCRIPTION = """\
Score detectors against raters: D-ECE (is a score of 0.7 right in 7 of 10 detections?) at each --iou, over (detection,
rater) pairs where there are several raters, and as the mean of each rater's own; mAP and mAR as COCO defines them; LaECE0;
the LRP error. Intervals are of a bootstrap over images. Several raters are compared with each other as well (precision,
recall and F1 over thresholds of overlap, objects in an image); without --detections that is all.
"""
_EXAMPLES = """\
  mrcalib detect evaluate --raters ann.json bo.json --detections model.json
  mrcalib detect evaluate --raters consensus.json --detections LSE=lse.json RSE=rse.json --out results
  mrcalib detect evaluate --raters boxes.csv --rater gt --detections model.json --score-floor 0.05 --json
  mrcalib detect evaluate --raters 'test/{case}/{case}_{rater}.json' --out agreement
"""
AGREEMENT_IOUS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)
_BETTER = {"mAP": "↑", "mAR": "↑"}


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
    add_raters(parser)
    parser.add_argument(
        "--detections",
        type=named,
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="what detectors found, each a model: COCO results, COCO JSON or CSV with scores",
    )
    add_matching(parser)
    add_scoring(parser, 1000)
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="scores.csv, bins.csv, agreement.csv, evaluation.json and pictures (default: nothing is written)",
    )
    output.add_argument("--no-figures", action="store_true", help="leave the pictures out")
    add_common(parser)


def most(text: str) -> int | None:
    """A whole number from 1 on, or "all"."""
    return None if text == "all" else count(text)


def add_scoring(parser: argparse.ArgumentParser, n_resamples: int) -> None:
    """How scores are taken."""
    group = parser.add_argument_group("scores")
    group.add_argument(
        "--rater", metavar="NAME", help="score against this rater alone, such as a consensus (default: all)"
    )
    group.add_argument("--bins", type=count, default=20, metavar="N", help="bins of D-ECE (default: %(default)s)")
    group.add_argument(
        "--max-detections",
        type=most,
        default=100,
        metavar="N",
        help="detections of an image and class that count for mAP and mAR, those of highest score, or all (default: "
        "%(default)s, as COCO)",
    )
    add_bootstrap(group, n_resamples)


def run(args: argparse.Namespace) -> int:
    """Score, print and write."""
    console: Console = args.console
    inputs = read_raters(args)
    read_models(inputs, args.detections, args)
    by_model = images_of(inputs, args)
    n_images = len(inputs.raters.images)
    images = _images(inputs, args)
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[DetectionScore]] = {}
    for done, (model, mine) in enumerate(by_model.items(), start=1):
        if not mine:
            break
        scores, curves[model] = scores_of(mine, args)
        rows += [row_of(model, whom, score) for whom, score in scores]
        console.step(done, len(by_model), f"{model} scored")
    agreement = _agreement(images)
    failures = inputs.failures
    if not args.detections and agreement is None and images:
        console.complain(
            "There is nothing to score: one rater and no --detections, or no image that two raters looked at."
        )
        return BAD_DATA
    told = {
        "n_images": len(images),
        "raters": list(inputs.raters.sources),
        "scores": rows,
        "agreement": [] if agreement is None else agreement.table(),
        "objects": _objects(agreement),
        "failures": {image: str(error) for image, error in failures.items()},
    }
    written = [] if args.out is None or not images else _write(args, told, curves, agreement)
    if args.json:
        console.show(to_json(told | {"written": written}))
    elif images:
        _report(console, args, told, agreement)
        if written:
            console.show(f"\nWritten to {args.out}: {', '.join(path.name for path in written)}")
    tell_failures(console, failures, n_images)
    return BAD_DATA if failures or not images else OK


def _images(inputs: Any, args: argparse.Namespace) -> list[DetectionImage]:
    from mrcalib.detection.files import detection_images

    return detection_images(inputs.raters, group=args.group, skip=inputs.failures)


def _agreement(images: Sequence[DetectionImage]) -> RaterAgreement | None:
    """How far raters agree; None where no two looked at the same image."""
    from mrcalib.detection.agreement import rater_agreement

    if not any(sum(boxes is not None for boxes in image.raters.values()) > 1 for image in images):
        return None
    return rater_agreement(images, iou_thresholds=AGREEMENT_IOUS)


def _objects(agreement: RaterAgreement | None) -> list[dict[str, Any]]:
    """Mean and standard deviation over images of the objects of each rater."""
    import numpy as np

    rows = []
    for rater, found in zip(*((agreement.raters, agreement.n_objects) if agreement else ((), ())), strict=True):
        known = found[~np.isnan(found)]
        rows.append(
            {
                "rater": rater,
                "n_images": int(known.size),
                "mean": float(known.mean()) if known.size else float("nan"),
                "sd": float(known.std(ddof=1)) if known.size > 1 else float("nan"),
            }
        )
    return rows


def _write(
    args: argparse.Namespace,
    told: Mapping[str, Any],
    curves: Mapping[str, Sequence[DetectionScore]],
    agreement: RaterAgreement | None,
) -> list[Path]:
    import pandas as pd

    out: Path = args.out
    written = [
        write_csv(out / f"{name}.csv", pd.DataFrame(rows))
        for name, rows in (
            ("scores", told["scores"]),
            ("bins", _bins(curves)),
            ("agreement", told["agreement"]),
            ("objects", told["objects"]),
        )
        if rows
    ]
    written += [write_json(out / "evaluation.json", told), write_command(out / "command.txt", args.words)]
    if args.no_figures:
        return written
    if not have_matplotlib():
        args.console.complain(f"no pictures: {HOW_TO_GET_THEM}, or give --no-figures")
        return written
    if curves:
        from mrcalib.detection.plots import DetectionCalibrationDisplay

        written.append(DetectionCalibrationDisplay.from_scores(curves).plot().save(out / "calibration.png"))
    if agreement is not None:
        written.append(draw_agreement(agreement, out))
    return written


def draw_agreement(agreement: RaterAgreement, folder: Path) -> Path:
    """Write the picture of objects and F1."""
    from mrcalib.detection.plots import RaterAgreementDisplay

    return RaterAgreementDisplay(agreement).plot().save(folder / "agreement.png")


def _bins(curves: Mapping[str, Sequence[DetectionScore]]) -> list[dict[str, Any]]:
    """What the pictures of calibration show."""
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
    console: Console, args: argparse.Namespace, told: Mapping[str, Any], agreement: RaterAgreement | None
) -> None:
    rows = told["scores"]
    if rows:
        first = rows[0]
        console.show(
            f"{told['n_images']} images, {len(told['raters'])} raters; {args.matching} matching for D-ECE in {args.bins} bins, "
            f"scores from {args.score_floor:g}; {args.level:.0%} interval of {args.resamples} resamples\n"
        )
        lines = []
        for row in rows:
            interval = "" if row["low"] != row["low"] else f" [{number(row['low'], 3)}, {number(row['high'], 3)}]"
            at = f" at IoU {row['iou']}" if row["score"] != "LaECE0" else ""
            name = f"{row['score']}{at} {_BETTER.get(row['score'], '↓')}"
            lines.append([row["model"], name, row["against"], f"{number(row['value'], 3)}{interval}"])
        console.show(table(["model", "score", "against", "value"], lines))
        console.show(
            f"\n{first['n_duplicates']} duplicates of {first['n_detections']} detections of {first['model']!r}."
        )
    if agreement is not None:
        _report_agreement(console, told, several=len(agreement.pairs) > _LISTED_PAIRS, after=bool(rows))


_LISTED_PAIRS = 10


def _report_agreement(console: Console, told: Mapping[str, Any], *, several: bool, after: bool) -> None:
    if after:
        console.show()
    console.show("Raters against each other (boxes paired one to one; F1 over all images, and mean of images):")
    rows = [row for row in told["agreement"] if row["iou_threshold"] in (0.3, 0.5, 0.75)]
    if several:
        import pandas as pd

        means = pd.DataFrame(rows).groupby("iou_threshold")[["precision", "recall", "f1", "mean_image_f1"]].mean()
        pairs = len(rows) // 3
        lines = [[f"mean of {pairs} pairs", f"{t:g}", *(number(v, 3) for v in means.loc[t])] for t in means.index]
    else:
        lines = [
            [
                f"{row['first']}, {row['second']}",
                f"{row['iou_threshold']:g}",
                *(number(row[name], 3) for name in ("precision", "recall", "f1", "mean_image_f1")),
            ]
            for row in rows
        ]
    console.show(table(["raters", "IoU", "precision", "recall", "F1", "image F1"], lines))
