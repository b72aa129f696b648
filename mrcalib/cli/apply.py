"""``mrcalib apply``: probability maps in, calibrated maps out."""

from __future__ import annotations

import argparse
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__
from mrcalib.cli._cases import each_case
from mrcalib.cli._classes import add_classes
from mrcalib.cli._console import Console
from mrcalib.cli._exit import BAD_DATA, OK, UsageError
from mrcalib.cli._files import file_name, to_json, write_json
from mrcalib.cli._inputs import add_inputs, add_reading, cases_of, check_region, load_options_of
from mrcalib.cli._options import add_common, add_compression, add_jobs, command, threads_for
from mrcalib.cli._reading import tell_differences

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator
    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Case

__all__ = ["add_parser", "run"]

_DESCRIPTION = """\
Calibrate probability maps. The outputs are float32 with the geometry of their inputs; inputs are never overwritten.
Beside each map NAME.nii.gz lies NAME.json, which says what it was made of: a map whose inputs, calibrator and options
have not changed is not made again, and a file that mrcalib did not make is not replaced without --overwrite.
"""
_EXAMPLES = """\
  # a few files, into a folder
  mrcalib apply calibrator.json new/*.nii.gz -o calibrated

  # one file, to one file
  mrcalib apply calibrator.json case7.mha -o case7_calibrated.mha

  # an ensemble of nnU-Net exports, pooled as it was for the fit; 0 outside the organ
  mrcalib apply calibrator.json --probs 'fold_{member}/{case}.npz' --roi 'organs/{case}.nii.gz' --outside zero -o calibrated

  # a two-stage segmenter: 0 beyond 20 mm from its coarse segmentation (column 'coarse' of the table)
  mrcalib apply calibrator.json --manifest new.csv --margin 20 --outside zero -o calibrated

  # several organs: a map for each class, and a label map
  mrcalib apply organs.json new/*.npz -o calibrated --argmax
"""
_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd", ".npy", ".npz")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "apply",
        run=run,
        usage="CALIBRATOR (INPUT... | --probs TEMPLATE | --manifest CSV) -o OUT",
        summary="calibrate probability maps with a saved calibrator",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    parser.add_argument("calibrator", type=Path, metavar="CALIBRATOR", help="JSON file from fit or compare")
    parser.add_argument(
        "inputs",
        type=Path,
        nargs="*",
        metavar="INPUT",
        help="probability maps, each a case; or use --probs or --manifest",
    )
    add_inputs(parser, raters=False)
    add_reading(parser, raters=False)
    add_several(parser)
    how = parser.add_argument_group("how they are calibrated")
    how.add_argument(
        "--invalid",
        choices=("raise", "keep"),
        default="raise",
        help="probabilities that are NaN or outside [0, 1]: refuse the case, or write NaN there (default: %(default)s)",
    )
    add_jobs(how)
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder; or, for one case, a file with a suffix of images",
    )
    output.add_argument(
        "--suffix",
        choices=_SUFFIXES,
        help="of files in the folder, which are named {case}SUFFIX (default: .nii.gz; .npy and .npz, which have no "
        "geometry, stay what they are)",
    )
    add_compression(output)
    output.add_argument(
        "--overwrite", action="store_true", help="make every map again, and replace files that mrcalib did not make"
    )
    add_common(parser)


def add_several(parser: argparse.ArgumentParser) -> None:
    """The options of calibrators of several classes."""
    group = parser.add_argument_group(
        "several classes",
        "A calibrator of fit --classes makes {case}_{class}SUFFIX of each multi-channel map: the expected fraction of raters\n"
        "who give the voxel this label. Fractions of all classes may exceed 1 together where their maps contradict each other.",
    )
    add_classes(group, more=" (default: as fitted; needed only where channels differ from those)")
    group.add_argument(
        "--normalize",
        action="store_true",
        help="also write {case}_{class}_normalizedSUFFIX: divided by the sum of classes where that exceeds 1",
    )
    group.add_argument(
        "--argmax",
        action="store_true",
        help="also write {case}_labelsSUFFIX: the label that is most probable (background 0 is what classes leave of 1)",
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A case and the file that it becomes."""

    case: Case
    target: Path

    @property
    def sidecar(self) -> Path:
        return self.target.with_name(_stem(self.target) + ".json")


def run(args: argparse.Namespace) -> int:
    """Calibrate each case."""
    from mrcalib.calibrators import OneVsRestCalibrator
    from mrcalib.persistence import load

    console: Console = args.console
    calibrator = load(args.calibrator)
    digest = hashlib.sha256(args.calibrator.read_bytes()).hexdigest()
    if isinstance(calibrator, OneVsRestCalibrator):
        from mrcalib.cli._classes_apply import Tools, run_classes

        return run_classes(args, calibrator, digest, _cases(args), Tools(_files, _read_sidecar))
    given = [f"--{name}" for name in ("classes", "normalize", "argmax") if getattr(args, name)]
    if given:
        msg = f"{given[0]} needs a calibrator of several classes; {args.calibrator} is of one. Fit it with --classes."
        raise UsageError(msg)
    jobs = {job.case.id: job for job in _jobs(args)}
    tell_differences(calibrator.provenance_, [job.case for job in jobs.values()], args, console)

    def work(case: Case) -> tuple[str, str]:
        status = _make(jobs[case.id], calibrator, digest, args)
        return status, status

    results, failures = each_case([job.case for job in jobs.values()], work, console=console, jobs=args.jobs)
    if args.json:
        rows = [
            {
                "case": name,
                "output": job.target,
                "status": results.get(name, "failed"),
                "error": str(failures.get(name, "")) or None,
            }
            for name, job in jobs.items()
        ]
        console.show(to_json(rows))
    else:
        for name in results:
            console.show(str(jobs[name].target))
    console.failures(failures, len(jobs))
    return BAD_DATA if failures else OK


def _cases(args: argparse.Namespace) -> list[Case]:
    cases = (
        _input_files(args)
        if args.inputs
        else [replace(case, raters={}, image=None, vessels=None) for case in cases_of(args)]
    )
    check_region(cases, args)
    return cases


def _jobs(args: argparse.Namespace) -> list[_Job]:
    """What is to be made; UsageError where outputs would meet inputs or each other."""
    cases = _cases(args)
    if args.out.name.lower().endswith(_SUFFIXES) and not args.out.is_dir():
        if len(cases) != 1:
            msg = f"-o {args.out} is one file, but there are {len(cases)} cases; give a folder."
            raise UsageError(msg)
        jobs = [_Job(cases[0], args.out)]
    else:
        jobs = [_Job(case, args.out / f"{file_name(case.id)}{args.suffix or _suffix_like(case)}") for case in cases]
    inputs = {path.resolve() for case in cases for path in _files(case)} | {args.calibrator.resolve()}
    taken: dict[Path, Path] = {}
    for job in jobs:
        if {job.target.resolve(), job.sidecar.resolve()} & inputs:
            msg = f"{job.target} would overwrite an input; give another folder or --suffix."
            raise UsageError(msg)
        source = _files(job.case)[0]
        if job.target in taken:
            msg = f"{taken[job.target]} and {source} would both become {job.target}; use different folders."
            raise UsageError(msg)
        taken[job.target] = source
    return jobs


def _input_files(args: argparse.Namespace) -> list[Case]:
    """A case for each file, named after it."""
    others = [f"--{name}" for name in ("manifest", "data", "probs") if getattr(args, name)]
    if others:
        msg = f"INPUT files and {', '.join(others)} exclude each other."
        raise UsageError(msg)
    from mrcalib.io import Case

    def case(path: Path) -> Case:
        name = _stem(path)
        roi, coarse = (
            Path(template.replace("{case}", name)) if template else None for template in (args.roi, args.coarse)
        )
        return Case(name, path, {}, roi=roi, coarse=coarse, spacing=args.spacing)

    return [case(path) for path in args.inputs]


def _files(case: Case) -> list[Path]:
    """What a case is read from."""
    from mrcalib.io.formats import companions

    named = [Path(source) for source in (*case.members, case.roi, case.coarse) if source is not None]  # type: ignore[arg-type]
    return named + [other for path in named if path.is_file() for other in companions(path)]


def _stem(path: Path) -> str:
    """The file's name without the suffix of its format."""
    suffix = next((known for known in (*_SUFFIXES, ".mhd") if path.name.lower().endswith(known)), path.suffix)
    return path.name[: len(path.name) - len(suffix)] or path.name


def _suffix_like(case: Case) -> str:
    """NIfTI, unless the input has no geometry to write."""
    from mrcalib.io.formats import companions

    first = Path(case.members[0])  # type: ignore[arg-type]
    suffix = first.suffix.lower()
    bare = suffix == ".npy" or (suffix == ".npz" and first.is_file() and not companions(first))
    return suffix if bare else ".nii.gz"


def _make(job: _Job, calibrator: Calibrator, digest: str, args: argparse.Namespace) -> str:
    """Write one map, unless it is there and made of the same; what became of it."""
    from mrcalib.scale import apply_case

    def made_of(inputs: str) -> dict[str, Any]:
        return {
            "inputs_sha256": inputs,
            "calibrator_sha256": digest,
            "reading": load_options_of(args).to_dict(),
            "invalid": args.invalid,
        }

    if not args.overwrite and job.target.exists():
        before = _read_sidecar(job.sidecar)
        if before is None or before.get("map") != job.target.name:
            msg = f"{job.target} exists, and mrcalib apply did not make it. Give --overwrite, or another folder."
            raise ValueError(msg)
        if before.get("made_of") == made_of(job.case.fingerprint()):
            return "unchanged"
    with ThreadPoolExecutor(1) as beside:
        inputs = beside.submit(job.case.fingerprint)
        apply_case(
            job.case,
            calibrator,
            job.target,
            options=load_options_of(args),
            invalid=args.invalid,
            compression=args.compression,
            n_jobs=threads_for(args.jobs),
            before_replace=lambda: job.sidecar.unlink(missing_ok=True),
        )
    content = {
        "map": job.target.name,
        "inputs": [str(path) for path in _files(job.case)],
        "calibrator": str(args.calibrator),
        "method": type(calibrator).__name__,
        "mrcalib_version": __version__,
        "made_of": made_of(inputs.result()),
    }
    write_json(job.sidecar, content)
    return "calibrated"


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
