"""``mrcalib detect ensemble``: the detections of several models as those of one, and how that depends on their number."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError, number, table
from mrcalib.cli._files import HOW_TO_GET_THEM, have_matplotlib, to_json, write_command, write_csv, write_json
from mrcalib.cli._options import count
from mrcalib.detection.commands.inputs import Inputs, as_texts, images_of, read_models, read_raters
from mrcalib.detection.commands.options import action, add_matching, add_output, add_raters, add_scoring, iou, named
from mrcalib.detection.commands.scores import calibration, mean_over_raters, ranking_options, raters_in

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers
    from mrcalib.detection.images import DetectionImage
    from mrcalib.detection.scores import DetectionScore

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Pool the detections of several models. Boxes of different models that overlap are one object: its box is their mean, and its
score the sum of theirs over the number of models, so that a model that did not find it counts as 0. --rater-models makes a
rater-specific ensemble (RSE) of models that were each trained on the boxes of one rater; --models makes a label-sampling
ensemble (LSE) of models that were trained on the boxes of all raters, mixed. List the best models first: an ensemble of
--sizes takes the first ones.
"""
_EXAMPLES = """\
  mrcalib detect ensemble --models ls_*.json --images test.json -o ensembles
  mrcalib detect ensemble --rater-models ann rs1_*.json --rater-models bo rs2_*.json --images test.json -o ensembles

  # with the raters' boxes: mAP and mAR of the models, D-ECE and mAP of ensembles by size, with pictures
  mrcalib detect ensemble --models ls_*.json --rater-models ann rs1_*.json --rater-models bo rs2_*.json \\
      --raters consensus.json --sizes 2 4 8 20 -o ensembles
"""
LSE, RSE = "LSE", "RSE"
_Scores = dict[str, dict[int, list["DetectionScore"]]]


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = action(
        subparsers,
        "ensemble",
        run=run,
        usage="(--models FILE... | --rater-models RATER FILE...) -o FOLDER",
        summary="pool the detections of several models",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    models = parser.add_argument_group("the models, best first")
    models.add_argument(
        "--models",
        type=named,
        nargs="+",
        default=[],
        metavar="[NAME=]FILE",
        help="the models trained on mixed labels (LSE)",
    )
    models.add_argument(
        "--rater-models",
        nargs="+",
        action="append",
        default=[],
        metavar=("RATER", "FILE"),
        help="the name of a rater, then the files of the models trained on this rater's boxes; once for each rater (RSE)",
    )
    add_raters(parser, required=False)
    how = parser.add_argument_group("how boxes are pooled")
    how.add_argument(
        "--grouping",
        choices=("clique", "bsas", "wbf"),
        default="clique",
        help="clique: all boxes of a group overlap each other, at most one of each model; bsas: they overlap the mean box of "
        "the group, at most one of each model; wbf: weighted boxes fusion (default: %(default)s)",
    )
    how.add_argument(
        "--grouping-iou",
        type=iou,
        default=0.5,
        metavar="T",
        help="intersection over union that boxes of a group exceed (default: %(default)s)",
    )
    how.add_argument(
        "--score",
        choices=("ensemble-size", "group-size"),
        default="ensemble-size",
        help="divide the sum of a group's scores by the number of all models, or by that of its boxes (default: %(default)s)",
    )
    how.add_argument(
        "--sizes",
        type=count,
        nargs="+",
        default=[],
        metavar="N",
        help="score ensembles of these numbers of models, the first ones of each rater in equal parts (needs --raters)",
    )
    add_matching(parser)
    add_scoring(parser, 100)
    writes = "for LSE.json and RSE.json (COCO JSON); with --raters also for models.csv, sizes.csv and figures"
    add_output(parser, "-o", "--out", required=True, writes=writes)


def run(args: argparse.Namespace) -> int:
    """Pool, score and write."""
    _check(args)
    console: Console = args.console
    inputs = read_raters(args)
    plan = _plan(inputs, args)
    by_model = images_of(inputs, args)
    n_images = len(next(iter(by_model.values())))
    results: dict[str, Any] = {
        "n_images": n_images,
        "ensembles": {kind: {rater: list(models) for rater, models in plan[kind].items()} for kind in plan},
        "grouping": {"method": args.grouping, "iou_threshold": args.grouping_iou, "score": args.score},
        "failures": as_texts(inputs.failures),
    }
    written: list[Path] = []
    if n_images:
        fused = {kind: _combined(kind, plan[kind], by_model, None, args) for kind in plan}
        written += [_write_coco(args.out / f"{kind}.json", images, inputs, kind) for kind, images in fused.items()]
        if args.raters:
            tables, by_size = _scores(plan, by_model, fused, args)
            results |= tables
            written += _write_tables(tables, args.out)
            if not args.no_figures:
                written += _draw(by_size, fused, args)
        written.append(write_json(args.out / "ensemble.json", results))
        written.append(write_command(args.out / "command.txt", args.words))
        _report(results, written, args)
    console.failures(inputs.failures, len(inputs.raters.images), "images")
    return OK if n_images and not inputs.failures else BAD_DATA


def _check(args: argparse.Namespace) -> None:
    if not args.models and not args.rater_models:
        msg = "name the models: --models FILE..., or --rater-models RATER FILE... for each rater."
        raise UsageError(msg)
    if args.out.exists() and not args.out.is_dir():
        msg = f"-o {args.out} is a file; name a folder."
        raise UsageError(msg)
    for words in args.rater_models:
        if len(words) < 2 or Path(words[0]).is_file():
            msg = f"--rater-models {' '.join(words[:2])}: expected a rater's name, then files."
            raise UsageError(msg)
    raters = [words[0] for words in args.rater_models]
    if len(set(raters)) != len(raters):
        msg = "--rater-models: each rater once, with all files of its models."
        raise UsageError(msg)
    if args.sizes and not args.raters:
        msg = "--sizes scores ensembles, which needs --raters."
        raise UsageError(msg)


def _plan(inputs: Inputs, args: argparse.Namespace) -> dict[str, dict[str, list[str]]]:
    """The models of each kind of ensemble by rater, best first; those of mixed labels have the rater ''."""
    plan: dict[str, dict[str, list[str]]] = {}
    if args.models:
        plan[LSE] = {"": list(read_models(inputs, args.models, args))}
    for rater, *files in args.rater_models:
        found = read_models(inputs, [named(file) for file in files], args)
        plan.setdefault(RSE, {})[rater] = list(found)
    for size in args.sizes:
        for kind, by_rater in plan.items():
            fewest = min(len(models) for models in by_rater.values())
            if size % len(by_rater) or size // len(by_rater) > fewest:
                msg = (
                    f"--sizes {size}: {kind} needs a multiple of {len(by_rater)} up to {len(by_rater) * fewest}, equal parts "
                    "of each rater's models."
                )
                raise UsageError(msg)
    return plan


def _combined(
    kind: str,
    by_rater: Mapping[str, Sequence[str]],
    by_model: Mapping[str, Sequence[DetectionImage]],
    size: int | None,
    args: argparse.Namespace,
) -> list[DetectionImage]:
    """The images with the detections of an ensemble."""
    from mrcalib.detection.ensembles import LabelSamplingEnsemble, RaterSpecificEnsemble

    options: dict[str, Any] = {
        "iou_threshold": args.grouping_iou,
        "score": args.score,
        "method": args.grouping,
        "size": size,
    }
    first = next(iter(by_model.values()))
    images = []
    for position, image in enumerate(first):
        found = {rater: [by_model[model][position].found() for model in models] for rater, models in by_rater.items()}
        if kind == LSE:
            boxes = LabelSamplingEnsemble(**options).combine(found[""])
        else:
            boxes = RaterSpecificEnsemble(**options).combine(found)
        images.append(image.with_detections(boxes))
    return images


def _write_coco(path: Path, images: Sequence[DetectionImage], inputs: Inputs, kind: str) -> Path:
    """The detections with the ids of the images that were read."""
    from mrcalib.detection.files import BoxSet, write_coco
    from mrcalib.detection.files.box_sets import merge_listings

    known = merge_listings([inputs.raters, *inputs.models.values()])
    here = {image.id: known.images[image.id] for image in images}
    found = BoxSet(here, {kind: {image.id: image.detections for image in images}}, known.categories)
    write_coco(path, found)
    return path


def _scores(
    plan: Mapping[str, Mapping[str, Sequence[str]]],
    by_model: Mapping[str, Sequence[DetectionImage]],
    fused: Mapping[str, Sequence[DetectionImage]],
    args: argparse.Namespace,
) -> tuple[dict[str, list[dict[str, Any]]], _Scores]:
    """The tables of scores of models, of groups of models and of ensembles by size; and the scores of the last ones."""
    console: Console = args.console
    models = []
    total = len(by_model) + len(plan) * max(1, len(args.sizes))
    done = 0
    for kind, by_rater in plan.items():
        for rater, names in by_rater.items():
            for rank, model in enumerate(names, start=1):
                row = {"kind": kind, "rater": rater, "rank": rank, "model": model}
                models.append(row | _ranking_scores(by_model[model], args))
                done += 1
                console.step(done, total, f"{model} scored")
    by_size: _Scores = {}
    for kind, by_rater in plan.items():
        n_models = sum(map(len, by_rater.values()))
        for size in sorted(set(args.sizes)) or [n_models]:
            images = fused[kind] if size == n_models else _combined(kind, by_rater, by_model, size, args)
            by_size.setdefault(kind, {})[size] = _ensemble_scores(images, args)
            done += 1
            console.step(done, total, f"{kind} of {size} scored")
    sizes = [
        _size_row(kind, size, score) for kind in by_size for size in by_size[kind] for score in by_size[kind][size]
    ]
    return {"models": models, "model_groups": _model_groups(models), "sizes": sizes}, by_size


def _write_tables(tables: Mapping[str, Sequence[Mapping[str, Any]]], folder: Path) -> list[Path]:
    import pandas as pd

    return [write_csv(folder / f"{name}.csv", pd.DataFrame(rows)) for name, rows in tables.items()]


def _ranking_scores(images: Sequence[DetectionImage], args: argparse.Namespace) -> dict[str, float]:
    """mAP and mAR of a model, with their intervals."""
    from mrcalib.detection.average_precision import average_precision, average_recall

    raters = raters_in(images, args.rater)
    row: dict[str, float] = {}
    for score in (average_precision, average_recall):
        mean, _ = mean_over_raters(score, images, raters, **ranking_options(args))
        row |= {mean.name: mean.value, f"{mean.name}_low": mean.low, f"{mean.name}_high": mean.high}
    return row


def _ensemble_scores(images: Sequence[DetectionImage], args: argparse.Namespace) -> list[DetectionScore]:
    """D-ECE at the first threshold, and mAP."""
    from mrcalib.detection.average_precision import average_precision

    raters = raters_in(images, args.rater)
    precision, _ = mean_over_raters(average_precision, images, raters, **ranking_options(args))
    return [calibration(images, args.iou[0], args), precision]


def _size_row(kind: str, size: int, score: DetectionScore) -> dict[str, Any]:
    import numpy as np

    known = score.samples[~np.isnan(score.samples)]
    return {
        "kind": kind,
        "size": size,
        "score": score.name,
        "iou": score.iou_thresholds[0] if len(score.iou_thresholds) == 1 else "0.5-0.95",
        "value": score.value,
        "low": score.low,
        "high": score.high,
        "resampled_mean": float(known.mean()) if known.size else float("nan"),
        "resampled_sd": float(known.std(ddof=1)) if known.size > 1 else float("nan"),
        "n_resamples": int(known.size),
        "matching": score.matching,
        "score_floor": score.score_floor,
        "n_images": score.n_images,
        "n_detections": score.n_detections,
    }


def _model_groups(models: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation over models, as in the paper's Table 1."""
    import numpy as np

    rows = []
    for kind, rater in dict.fromkeys((row["kind"], row["rater"]) for row in models):
        own = [row for row in models if (row["kind"], row["rater"]) == (kind, rater)]
        group: dict[str, Any] = {"models": f"RS ({rater})" if kind == RSE else "LS", "n_models": len(own)}
        for name in ("mAP", "mAR"):
            values = np.array([row[name] for row in own])
            group[name] = float(values.mean())
            group[f"{name}_sd"] = float(values.std(ddof=1)) if values.size > 1 else float("nan")
        rows.append(group)
    return rows


def _draw(by_size: _Scores, fused: Mapping[str, Sequence[DetectionImage]], args: argparse.Namespace) -> list[Path]:
    if not have_matplotlib():
        args.console.complain(f"no pictures: {HOW_TO_GET_THEM}, or give --no-figures")
        return []
    from mrcalib.detection.plots import DetectionCalibrationDisplay, EnsembleSizeDisplay

    panels = {kind: [calibration(images, at, args) for at in args.iou] for kind, images in fused.items()}
    drawn = [DetectionCalibrationDisplay.from_scores(panels).plot().save(args.out / "calibration.png")]
    resampled = all(score.samples.size > 1 for sizes in by_size.values() for found in sizes.values() for score in found)
    if args.sizes and resampled:
        drawn.append(EnsembleSizeDisplay.from_scores(by_size).plot().save(args.out / "sizes.png"))
    elif args.sizes:
        args.console.complain("no picture of sizes: raters looked at different images, so mAP has no resamples.")
    return drawn


def _report(results: Mapping[str, Any], written: Sequence[Path], args: argparse.Namespace) -> None:
    console: Console = args.console
    if args.json:
        console.show(to_json({**results, "written": list(written)}))
        return
    for kind, by_rater in results["ensembles"].items():
        parts = ", ".join(f"{len(models)}{f' of {rater}' if rater else ''}" for rater, models in by_rater.items())
        console.show(f"{kind}: {parts} models in {results['n_images']} images")
    if "model_groups" in results:
        lines = [
            [
                row["models"],
                str(row["n_models"]),
                *(f"{number(row[m], 3)} ± {number(row[m + '_sd'], 4)}" for m in ("mAP", "mAR")),
            ]
            for row in results["model_groups"]
        ]
        console.show("\n" + table(["models", "n", "mAP ± sd of models", "mAR ± sd of models"], lines))
        lines = [
            [
                f"{row['kind']} of {row['size']}",
                row["score"],
                number(row["value"], 3),
                f"{number(row['resampled_mean'], 3)} ± {number(row['resampled_sd'], 3)}",
            ]
            for row in results["sizes"]
        ]
        console.show("\n" + table(["ensemble", "score", "value", f"{args.resamples} resamples"], lines))
    console.show(f"\nWritten to {args.out}: {', '.join(path.name for path in written)}")
