"""``mrcalib apply`` with a calibrator of several classes: a map for each class, and the labels that they decide for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__
from mrcalib.cli._cases import each_case
from mrcalib.cli._classes import check_class_options
from mrcalib.cli._console import Console
from mrcalib.cli._exit import BAD_DATA, OK, UsageError
from mrcalib.cli._files import file_name, to_json, write_json
from mrcalib.cli._inputs import load_options_of
from mrcalib.cli._options import threads_for
from mrcalib.cli._reading import tell_differences

if TYPE_CHECKING:
    from mrcalib.calibrators import OneVsRestCalibrator
    from mrcalib.io import Case, ImageClass

__all__ = ["Tools", "run_classes"]

_IMAGES = (".nii.gz", ".nii", ".mha", ".nrrd")


@dataclass(frozen=True, slots=True)
class Tools:
    """What ``mrcalib apply`` does alike for one class and for several."""

    files: Callable[[Case], list[Path]]
    read_sidecar: Callable[[Path], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class _Job:
    """A case and the files that it becomes: by class, by class renormalised, and the labels."""

    case: Case
    kept: dict[str, Path]
    normalized: dict[str, Path]
    labels: Path | None
    sidecar: Path

    @property
    def targets(self) -> list[Path]:
        return [*self.kept.values(), *self.normalized.values(), *([self.labels] if self.labels else [])]


def run_classes(
    args: argparse.Namespace, calibrator: OneVsRestCalibrator, digest: str, cases: Sequence[Case], tools: Tools
) -> int:
    """Calibrate all classes of each case."""
    check_class_options(args)
    console: Console = args.console
    classes = _classes_of(args, calibrator)
    jobs = {job.case.id: job for job in _jobs(args, calibrator, cases, tools)}
    tell_differences(calibrator.provenance_, cases, args, console)

    def work(case: Case) -> tuple[str, str]:
        status = _make(jobs[case.id], calibrator, classes, digest, args, tools)
        return status, status

    results, failures = each_case(cases, work, console=console, jobs=args.jobs)
    if args.json:
        rows = [
            {
                "case": name,
                "output": job.kept,
                "normalized": job.normalized,
                "labels": job.labels,
                "status": results.get(name, "failed"),
                "error": str(failures.get(name, "")) or None,
            }
            for name, job in jobs.items()
        ]
        console.show(to_json(rows))
    else:
        for name in results:
            for target in jobs[name].targets:
                console.show(str(target))
    console.failures(failures, len(jobs))
    return BAD_DATA if failures else OK


def _classes_of(args: argparse.Namespace, calibrator: OneVsRestCalibrator) -> tuple[ImageClass, ...]:
    """The calibrator's classes, at the channels of --classes, else at those that it was fitted to."""
    from mrcalib.io import ImageClass

    channels = dict(calibrator.channels_)
    if args.classes:
        given = {name: label for name, label, _ in args.classes}
        if given != calibrator.classes_:
            fitted = ",".join(f"{name}={label}" for name, label in calibrator.classes_.items())
            msg = f"--classes names others than {args.calibrator} was fitted to, which are {fitted}; only channels may differ."
            raise UsageError(msg)
        channels = {name: channel for name, _, channel in args.classes}
    return tuple(ImageClass(name, label, channels[name]) for name, label in calibrator.classes_.items())


def _jobs(args: argparse.Namespace, calibrator: OneVsRestCalibrator, cases: Sequence[Case], tools: Tools) -> list[_Job]:
    """What is to be made; UsageError where outputs would meet inputs or each other."""
    suffix = args.suffix or ".nii.gz"
    if suffix not in _IMAGES:
        msg = f"--suffix {suffix} does not go with several classes; expected one of {', '.join(_IMAGES)}."
        raise UsageError(msg)
    if args.out.name.lower().endswith(_IMAGES) and not args.out.is_dir():
        msg = f"-o {args.out} is one file, but {args.calibrator} makes one for each of its classes; give a folder."
        raise UsageError(msg)
    names = list(calibrator.classes_)
    jobs = []
    for case in cases:
        stem = file_name(case.id)
        jobs.append(
            _Job(
                case,
                {name: args.out / f"{stem}_{name}{suffix}" for name in names},
                {name: args.out / f"{stem}_{name}_normalized{suffix}" for name in names if args.normalize},
                args.out / f"{stem}_labels{suffix}" if args.argmax else None,
                args.out / f"{stem}_classes.json",
            )
        )
    inputs = {path.resolve() for case in cases for path in tools.files(case)} | {args.calibrator.resolve()}
    taken: dict[Path, str] = {}
    for job in jobs:
        for target in (*job.targets, job.sidecar):
            if target.resolve() in inputs:
                msg = f"{target} would overwrite an input; give another folder or --suffix."
                raise UsageError(msg)
            if target in taken:
                msg = f"{target} would be made twice, of case {taken[target]!r} and of {job.case.id!r}; use different folders."
                raise UsageError(msg)
            taken[target] = job.case.id
    return jobs


def _make(  # noqa: PLR0917 - one case's work
    job: _Job,
    calibrator: OneVsRestCalibrator,
    classes: Sequence[ImageClass],
    digest: str,
    args: argparse.Namespace,
    tools: Tools,
) -> str:
    """Write the maps of a case, unless they are there and made of the same; what became of it."""
    from mrcalib._simplex import with_background
    from mrcalib.io import load_classes, write_labels, write_probability
    from mrcalib.scale.applying import checked

    made_of = {
        "inputs_sha256": job.case.fingerprint(),
        "calibrator_sha256": digest,
        "reading": load_options_of(args).to_dict(),
        "channels": {one.name: one.position for one in classes},
        "maps": [target.name for target in job.targets],
        "invalid": args.invalid,
    }
    before = tools.read_sidecar(job.sidecar) or {}
    ours = {*before.get("maps", ()), *before.get("earlier", ())}
    if not args.overwrite:
        strange = next((t for t in job.targets if t.exists() and t.name not in ours), None)
        if strange is not None:
            msg = f"{strange} exists, and mrcalib apply did not make it. Give --overwrite, or another folder."
            raise ValueError(msg)
        if before.get("made_of") == made_of and all(target.exists() for target in job.targets):
            return "unchanged"
    loaded = load_classes(job.case, classes, load_options_of(args))
    foreground = []
    for one, probs in zip(classes, loaded.probs, strict=True):
        good = checked(probs, job.case.id, args.invalid)
        seen = good if loaded.case.roi is None else good[loaded.case.roi]
        values = calibrator.calibrators_[one.name].map_for(seen)(good)
        if args.outside == "zero" and loaded.case.region is not None:
            values[~loaded.case.region] = 0
        foreground.append(values)
    labels = calibrator.labels_of(foreground) if job.labels else None
    job.sidecar.unlink(missing_ok=True)
    packing = {"compression": args.compression, "n_jobs": threads_for(args.jobs)}
    for target, values in zip(job.kept.values(), foreground, strict=True):
        write_probability(target, values, loaded.geometry, **packing)
    if job.normalized:
        _, parts = with_background(foreground, normalize=True)
        for target, values in zip(job.normalized.values(), parts, strict=True):
            write_probability(target, values, loaded.geometry, **packing)
    if job.labels and labels is not None and loaded.geometry is not None:
        write_labels(job.labels, labels, loaded.geometry, **packing)
    maps = [target.name for target in job.targets]
    content = {
        "maps": maps,
        "earlier": sorted(ours - set(maps)),
        "classes": calibrator.classes_,
        "inputs": [str(path) for path in tools.files(job.case)],
        "calibrator": str(args.calibrator),
        "method": type(next(iter(calibrator.calibrators_.values()))).__name__,
        "mrcalib_version": __version__,
        "made_of": made_of,
    }
    write_json(job.sidecar, content)
    return "calibrated"
