"""``mrcalib fuse``: one reference made of several raters' masks."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__
from mrcalib.cli._cases import each_case
from mrcalib.cli._console import Console
from mrcalib.cli._data import add_data, check_data
from mrcalib.cli._exit import BAD_DATA, OK, UsageError
from mrcalib.cli._files import file_name, to_json, write_csv, write_json
from mrcalib.cli._options import (
    add_common,
    add_compression,
    add_jobs,
    add_labels,
    command,
    count,
    fraction,
    name_of,
    spacing,
    threads_for,
)
from mrcalib.cli._tables import number, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Annotations, Geometry, LayoutFolder, LoadedAnnotations

__all__ = ["add_parser", "run"]

_METHODS: dict[str, tuple[str, ...]] = {
    "soft": ("threshold",),
    "soft-gaussian": ("sigma", "unit", "threshold"),
    "svls": ("sigma", "threshold"),
    "median": ("threshold",),
    "majority": ("tie",),
    "staple": ("prior", "confidence_weight", "max_iter", "tol", "threshold"),
    "simple": ("alpha", "min_raters", "tie"),
    "random": ("seed",),
}
"""The methods, and the options that each of them has."""
_OPTIONS = tuple(dict.fromkeys(option for options in _METHODS.values() for option in options))
_TABLED = ("staple", "simple")
_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd", ".npy")
_TABLE = "raters.csv"

_DESCRIPTION = """\
Make one reference of several raters' masks. Probabilities of a segmenter are not needed.

maps (float32)   soft           fraction of raters who marked the voxel
                 soft-gaussian  the same, smoothed by a Gaussian (--sigma, --unit)
                 svls           the same, mixed half and half with the voxel's direct neighbours
                 median         0, 1/2 or 1: the majority, and 1/2 where raters are split evenly
                 staple         posterior probability of one hidden truth, given the sensitivity and specificity of each
                                rater, which are estimated with it. Nearly always 0 or 1: it is no fraction of raters
masks (uint8)    majority       more than half of the raters (--tie)
                 simple         vote weighted by agreement with the consensus, without raters who agree least
                 random         one rater, drawn for each case

The geometry is that of the masks; inputs are never overwritten. Beside each NAME.nii.gz lies NAME.json, which says what it
was made of: what has not changed is not made again, and a file that mrcalib did not make is not replaced without
--overwrite. A missing rater (no file, an empty cell) is left out; an empty mask is an answer: nothing there.
"""
_EXAMPLES = """\
  # how many of the raters who annotated a case marked each voxel
  mrcalib fuse --method soft --raters 'masks/{case}_{rater}.nii.gz' -o fused

  # STAPLE as a mask, with each rater's sensitivity and specificity in staple/raters.csv
  mrcalib fuse --method staple --threshold 0.5 --manifest cases.csv -o staple

  # a majority of an even number of raters: say what becomes of ties
  mrcalib fuse --method majority --tie foreground --manifest cases.csv -o majority

  mrcalib fuse --method soft-gaussian --sigma 1.5 --unit mm --data QUBIQ/ --task prostate/task02 -o smooth
"""
_HELP = """\
Say where the masks are by --raters, by --manifest, or, for a published data set, by --data. In a template {case} and
{rater} stand for a part of a file or folder name; *, ? and [1-3] match as in a shell (put templates in quotes).
Formats: .nii.gz .nii .mha .mhd .nrrd .npy .npz .png.
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "fuse",
        run=run,
        usage="--method METHOD (--raters TEMPLATE | --manifest CSV | --data FOLDER) -o OUT",
        summary="make one reference of several raters' masks",
        description=_DESCRIPTION,
        examples=_EXAMPLES,
    )
    _add_inputs(parser)
    _add_method(parser)
    output = parser.add_argument_group("what is written")
    output.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="OUT",
        help=f"folder of {{case}}SUFFIX; of staple and simple also {_TABLE}, a row a case and rater",
    )
    output.add_argument(
        "--suffix",
        choices=_SUFFIXES,
        help="of the files (default: .nii.gz, or .npy where masks have no geometry)",
    )
    add_compression(output)
    output.add_argument(
        "--overwrite", action="store_true", help="make everything again, and replace files that mrcalib did not make"
    )
    add_common(parser)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("where the masks are", _HELP)
    group.add_argument("--raters", metavar="TEMPLATE", help="such as 'masks/{case}/annotation_{rater}.nii.gz'")
    group.add_argument(
        "--manifest",
        metavar="CSV",
        help="table with columns case, rater_1, rater_2 ... and, if there, spacing; other columns, such as prob, are left "
        "alone; paths are relative to the table",
    )
    group.add_argument(
        "--rater-columns", metavar="PATTERN", help="columns of the manifest to take as raters, such as 'annotation_*'"
    )
    add_data(group, predictions=False)
    add_labels(group)
    group.add_argument(
        "--spacing",
        type=spacing,
        metavar="MM",
        help="voxel edges in mm, such as 0.7,0.7,2.5, of files without a header",
    )
    add_jobs(group)


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how they are fused")
    group.add_argument(
        "--method", type=name_of("method", tuple(_METHODS)), required=True, metavar="METHOD", help=", ".join(_METHODS)
    )
    group.add_argument(
        "--threshold",
        type=fraction,
        metavar="P",
        help="of maps: write a mask of what is at least this (default: the map itself)",
    )
    group.add_argument(
        "--tie",
        choices=("background", "foreground"),
        help="of majority and simple: what a voxel is that exactly half of the votes are for (default: background)",
    )
    group.add_argument(
        "--sigma",
        type=_positive,
        metavar="NUMBER",
        help="standard deviation of soft-gaussian (no default) and svls (default: 1 voxel)",
    )
    group.add_argument("--unit", choices=("mm", "voxels"), help="of soft-gaussian's --sigma (no default)")
    group.add_argument(
        "--prior",
        type=fraction,
        metavar="P",
        help="of staple: probability of foreground before the votes (default: the mean vote, which depends on how much "
        "background the field of view holds)",
    )
    group.add_argument(
        "--confidence-weight", type=_positive, metavar="NUMBER", help="of staple: factor on the prior (default: 1)"
    )
    group.add_argument("--max-iter", type=count, metavar="N", help="of staple: most iterations (default: 10000)")
    group.add_argument(
        "--tol",
        type=_positive,
        metavar="NUMBER",
        help="of staple: stop when no sensitivity or specificity changes by more (default: 1e-7)",
    )
    group.add_argument(
        "--alpha",
        type=_positive,
        metavar="NUMBER",
        help="of simple: standard deviations below the mean Dice at which a rater is left out (default: 1)",
    )
    group.add_argument(
        "--min-raters", type=count, metavar="N", help="of simple: as few may stay (default: half of them, at least 2)"
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="of random: with the case's name decides who is drawn (default: 0)"
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A case and the file that it becomes."""

    case: Annotations
    target: Path

    @property
    def sidecar(self) -> Path:
        suffix = next(known for known in _SUFFIXES if self.target.name.endswith(known))
        return self.target.with_name(self.target.name.removesuffix(suffix) + ".json")


def run(args: argparse.Namespace) -> int:
    """Fuse the masks of each case."""
    console: Console = args.console
    parameters = _parameters(args)
    jobs = {job.case.id: job for job in _jobs(args)}

    def work(case: Annotations) -> tuple[dict[str, Any], str]:
        return _make(jobs[case.id], parameters, args)

    results, failures = each_case([job.case for job in jobs.values()], work, console=console, jobs=args.jobs)
    rows = [row for name, content in results.items() for row in _rater_rows(name, content)]
    if rows and args.method in _TABLED:
        import pandas as pd

        write_csv(args.out / _TABLE, pd.DataFrame(rows))
    if args.json:
        told = [_told(job, results.get(name), failures.get(name)) for name, job in jobs.items()]
        console.show(to_json({"method": args.method, "parameters": parameters, "cases": told}))
    else:
        for name in results:
            console.show(str(jobs[name].target))
        _report(rows, args)
    console.failures(failures, len(jobs))
    return BAD_DATA if failures else OK


def _parameters(args: argparse.Namespace) -> dict[str, Any]:
    """The method's options that were given; UsageError for one that it does not have, or needs."""
    given = {name: getattr(args, name) for name in _OPTIONS if getattr(args, name) is not None}
    for name in given:
        if name not in _METHODS[args.method]:
            takes = [method for method, options in _METHODS.items() if name in options]
            msg = f"--{name.replace('_', '-')} does not go with --method {args.method}; it is of {', '.join(takes)}."
            raise UsageError(msg)
    if args.method == "soft-gaussian":
        missing = [f"--{name}" for name in ("sigma", "unit") if name not in given]
        if missing:
            msg = f"--method soft-gaussian needs {' and '.join(missing)}: no width is right for all data."
            raise UsageError(msg)
    return given


def _cases(args: argparse.Namespace) -> list[Annotations]:
    given = [f"--{name}" for name in ("raters", "manifest", "data") if getattr(args, name)]
    check_data(args)
    if len(given) != 1:
        told = f"{' and '.join(given)} exclude each other" if given else "say where the masks are"
        msg = f"{told}: --raters TEMPLATE, --manifest CSV or --data FOLDER."
        raise UsageError(msg)
    if args.rater_columns and not args.manifest:
        msg = "--rater-columns chooses columns of a --manifest; there is none."
        raise UsageError(msg)
    from mrcalib.io import discover_annotations, read_annotations, scan_layout

    if args.data:
        cases = _in_data(scan_layout(args.data, args.layout, split=args.split, task=args.task), args)
    elif args.manifest:
        cases = read_annotations(args.manifest, raters=args.rater_columns)
    else:
        cases = discover_annotations(args.raters)
    return [case if args.spacing is None else replace(case, spacing=case.spacing or args.spacing) for case in cases]


def _in_data(found: LayoutFolder, args: argparse.Namespace) -> list[Annotations]:
    """The annotated cases of a data set; labels are read as it has them, unless told otherwise."""
    from mrcalib.io import Annotations

    for line in found.describe():
        args.console.note(line)
    if args.positive is None:
        args.positive = found.positive
    return [
        Annotations(case.id, case.raters, index_aligned=case.index_aligned) for case in found.cases if case.annotated
    ]


def _jobs(args: argparse.Namespace) -> list[_Job]:
    """What is to be made; UsageError where outputs would meet inputs or each other."""
    if args.out.is_file():
        msg = f"-o {args.out} is a file; name a folder."
        raise UsageError(msg)
    cases = _cases(args)
    jobs = [_Job(case, args.out / f"{file_name(case.id)}{args.suffix or _suffix_like(case)}") for case in cases]
    inputs = {path.resolve() for case in cases for path in _files(case)}
    inputs |= {Path(args.manifest).resolve()} if args.manifest else set()
    _check_table(args)
    taken: dict[Path, str] = {}
    for job in jobs:
        for path in (job.target, job.sidecar, args.out / _TABLE):
            if path.resolve() in inputs:
                msg = f"{path} would overwrite an input; give another folder."
                raise UsageError(msg)
        for path in (job.target, job.sidecar):
            if path in taken:
                msg = f"Cases {taken[path]!r} and {job.case.id!r} would both become {path}; rename one of them."
                raise UsageError(msg)
        taken |= {job.target: job.case.id, job.sidecar: job.case.id}
    return jobs


def _check_table(args: argparse.Namespace) -> None:
    """UsageError where the table of raters would replace a file that is no such table."""
    path = args.out / _TABLE
    if args.method not in _TABLED or args.overwrite or not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if not file.readline().startswith("case,rater,"):
            msg = f"{path} exists, and mrcalib fuse did not make it. Give --overwrite, or another folder."
            raise UsageError(msg)


def _files(case: Annotations) -> list[Path]:
    """What a case is read from."""
    from mrcalib.io.formats import companions

    named = [Path(source) for source in case.masks.values() if source is not None]  # type: ignore[arg-type]
    return named + [other for path in named if path.is_file() for other in companions(path)]


def _suffix_like(case: Annotations) -> str:
    """NIfTI, unless no mask has a geometry to write."""
    from mrcalib.io.formats import companions

    def bare(path: Path) -> bool:
        suffix = path.suffix.lower()
        return suffix in (".npy", ".png") or (suffix == ".npz" and path.is_file() and not companions(path))

    masks = [Path(source) for source in case.masks.values() if source is not None]  # type: ignore[arg-type]
    return ".npy" if all(map(bare, masks)) else ".nii.gz"


def _make(job: _Job, parameters: Mapping[str, Any], args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Fuse one case, unless it is there and made of the same; what the sidecar says, and what became of it."""
    check_agreement = not args.no_agreement_check
    made_of = {
        "inputs_sha256": job.case.fingerprint(),
        "method": args.method,
        "parameters": dict(parameters),
        "positive": None if args.positive is None else list(args.positive),
        "check_agreement": check_agreement,
        "mrcalib_version": __version__,
    }
    if not args.overwrite and (job.target.exists() or job.sidecar.exists()):
        before = _read_sidecar(job.sidecar)
        if before is None or before.get("fused") != job.target.name:
            found = job.target if job.target.exists() else job.sidecar
            msg = f"{found} exists, and mrcalib fuse did not make it. Give --overwrite, or another folder."
            raise ValueError(msg)
        if before.get("made_of") == made_of and job.target.exists():
            return before, "unchanged"
    rater_axis = getattr(args, "rater_axis", None)
    loaded = job.case.load(positive=args.positive, check_agreement=check_agreement, rater_axis=rater_axis)
    fused, result = _fuse(loaded, args.method, dict(parameters))
    job.sidecar.unlink(missing_ok=True)
    _write(job.target, fused, loaded.geometry, args)
    content = {
        "fused": job.target.name,
        "case": job.case.id,
        "raters": dict(job.case.masks),
        "method": args.method,
        "parameters": dict(parameters),
        "result": result,
        "made_of": made_of,
    }
    write_json(job.sidecar, content)
    return json.loads(to_json(content)), "fused"


def _read_sidecar(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _fuse(
    loaded: LoadedAnnotations, method: str, parameters: dict[str, Any]
) -> tuple[NDArray[np.generic], dict[str, Any]]:
    """The fused map or mask, and what else the method tells; per-rater numbers are under "raters", by name."""
    from mrcalib import fusion

    threshold = parameters.pop("threshold", None)
    result: dict[str, Any] = {}
    fused: NDArray[Any]
    if method == "staple":
        told = fusion.staple(loaded.raters, **parameters)
        fused = told.probability
        result = {"prior": told.prior, "n_voxels": told.n_voxels, "n_iter": told.n_iter, "converged": told.converged}
        result["raters"] = _by_rater(loaded, sensitivity=told.sensitivity, specificity=told.specificity)
    elif method == "simple":
        chosen = fusion.simple(loaded.raters, **parameters)
        fused, result = chosen.mask, {"n_iter": chosen.n_iter}
        result["raters"] = _by_rater(loaded, selected=chosen.selected, dice=chosen.dice)
    elif method == "random":
        fused = fusion.random_rater(loaded.raters, _generator(loaded.id, parameters.get("seed", 0)))
    elif method == "soft-gaussian":
        if parameters["unit"] == "mm" and loaded.spacing is None:
            msg = f"Case {loaded.id!r}: --unit mm needs voxel edges, and no mask has a header; give --spacing or --unit voxels."
            raise ValueError(msg)
        fused = fusion.soft_gaussian(loaded.raters, spacing=loaded.spacing, **parameters)
    else:
        plain = {"soft": fusion.soft, "median": fusion.median, "majority": fusion.majority, "svls": fusion.svls}
        fused = plain[method](loaded.raters, **parameters)  # type: ignore[operator]
    return (fused if threshold is None else fused >= threshold), result


def _generator(case: str, seed: int) -> np.random.Generator:
    """Random numbers of a case: the same whichever other cases there are, in any order."""
    import hashlib

    import numpy as np

    named = hashlib.sha256(f"{seed} {case}".encode()).digest()
    return np.random.default_rng(int.from_bytes(named[:16], "big"))


def _by_rater(loaded: LoadedAnnotations, **columns: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """The numbers of each rater who annotated."""
    return {
        name: {column: values[index] for column, values in columns.items()}
        for index, name in enumerate(loaded.rater_names)
        if loaded.raters[index] is not None
    }


def _write(path: Path, fused: NDArray[Any], geometry: Geometry | None, args: argparse.Namespace) -> None:
    """Write a mask as uint8, and a map as float32."""
    import numpy as np

    from mrcalib.io import atomic_write, write_labels, write_probability

    compression, n_jobs = args.compression, threads_for(args.jobs)
    if fused.dtype.kind == "f":
        write_probability(path, fused, geometry, compression=compression, n_jobs=n_jobs)
        return
    mask = fused.astype(np.uint8)
    if path.suffix == ".npy":
        with atomic_write(path) as temporary:
            np.save(temporary, mask)
    elif geometry is None:
        msg = f"{path}: the masks have no header that says where their voxels lie; give --suffix .npy."
        raise ValueError(msg)
    else:
        write_labels(path, mask, geometry, compression=compression, n_jobs=n_jobs)


def _rater_rows(case: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each rater of a case, the missing ones with empty cells."""
    result = dict(content["result"])
    by_rater = result.pop("raters", None)
    if by_rater is None:
        return []
    empty = dict.fromkeys(next(iter(by_rater.values())))
    return [{"case": case, "rater": name, **by_rater.get(name, empty), **result} for name in content["raters"]]


def _told(job: _Job, content: Mapping[str, Any] | None, error: Exception | None) -> dict[str, Any]:
    return {
        "case": job.case.id,
        "output": job.target if content else None,
        "result": content["result"] if content else None,
        "error": None if error is None else str(error),
    }


def _report(rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> None:
    """Say what the method found of the raters, as means over cases."""
    if not rows:
        return
    columns = ("sensitivity", "specificity") if args.method == "staple" else ("selected", "dice")
    lines = []
    for rater in dict.fromkeys(row["rater"] for row in rows):
        own = [row for row in rows if row["rater"] == rater and row[columns[0]] is not None]
        means = [sum(row[column] for row in own) / len(own) if own else math.nan for column in columns]
        lines.append([str(rater), *(number(mean, 4) for mean in means), str(len(own))])
    args.console.note(f"\nmean over cases; each case is in {args.out / _TABLE}")
    args.console.note(table(["rater", *columns, "cases"], lines))


def _positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        msg = f"expected a positive number; got {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value
