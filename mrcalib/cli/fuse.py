"""``mrcalib fuse``: one reference made of several raters' masks."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__
from mrcalib.cli._cases import each_case
from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError, number, table
from mrcalib.cli._files import (
    Product,
    check_products,
    file_name,
    finished,
    to_json,
    write_csv,
    write_json,
)
from mrcalib.cli._inputs import add_data, add_spacing, check_data, scan_data
from mrcalib.cli._options import (
    add_common,
    add_compression,
    add_jobs,
    add_named,
    add_overwrite,
    command,
    count,
    fraction,
    positive,
    threads_for,
)
from mrcalib.options import LoadOptions, add_options
from mrcalib.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Annotations, Geometry, LoadedAnnotations

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
    add_named(
        output,
        "--suffix",
        "file format",
        "of the files: %(names)s (default: .nii.gz, or .npy where masks have no geometry)",
        metavar="SUFFIX",
    )
    add_compression(output)
    add_overwrite(output)
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
    add_options(group, LoadOptions, of="raters")
    add_spacing(group)
    add_jobs(group)


def _method(text: str) -> str:
    """The method that a text names in any spelling."""
    known: Registry[None] = Registry("method of fusion")
    for name in _METHODS:
        known.register(name, None)
    try:
        return known.canonical(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_method(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how they are fused")
    group.add_argument("--method", type=_method, required=True, metavar="METHOD", help=", ".join(_METHODS))
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
        type=positive,
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
        "--confidence-weight", type=positive, metavar="NUMBER", help="of staple: factor on the prior (default: 1)"
    )
    group.add_argument("--max-iter", type=count, metavar="N", help="of staple: most iterations (default: 10000)")
    group.add_argument(
        "--tol",
        type=positive,
        metavar="NUMBER",
        help="of staple: stop when no sensitivity or specificity changes by more (default: 1e-7)",
    )
    group.add_argument(
        "--alpha",
        type=positive,
        metavar="NUMBER",
        help="of simple: standard deviations below the mean Dice at which a rater is left out (default: 1)",
    )
    group.add_argument(
        "--min-raters", type=count, metavar="N", help="of simple: as few may stay (default: half of them, at least 2)"
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="of random: with the case's name decides who is drawn (default: 0)"
    )


def run(args: argparse.Namespace) -> int:
    """Fuse the masks of each case."""
    console: Console = args.console
    parameters = _parameters(args)
    products = {product.case.id: product for product in _products(args)}

    def work(case: Annotations) -> tuple[dict[str, Any], str]:
        return _make(products[case.id], parameters, args)

    results, failures = each_case(
        [product.case for product in products.values()], work, console=console, jobs=args.jobs
    )
    rows = [row for name, content in results.items() for row in _rater_rows(name, content)]
    if rows and args.method in _TABLED:
        import pandas as pd

        write_csv(args.out / _TABLE, pd.DataFrame(rows))
    if args.json:
        cases = [_as_json(product, results.get(name), failures.get(name)) for name, product in products.items()]
        console.show(to_json({"method": args.method, "parameters": parameters, "cases": cases}))
    else:
        for name in results:
            console.show(str(products[name].images[""]))
        _report(rows, args)
    console.failures(failures, len(products))
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
        said = f"{' and '.join(given)} exclude each other" if given else "say where the masks are"
        msg = f"{said}: --raters TEMPLATE, --manifest CSV or --data FOLDER."
        raise UsageError(msg)
    if args.rater_columns and not args.manifest:
        msg = "--rater-columns chooses columns of a --manifest; there is none."
        raise UsageError(msg)
    from mrcalib.io import Annotations, discover_annotations, read_annotations

    if args.data:
        cases = [
            Annotations(case.id, case.raters, index_aligned=case.index_aligned)
            for case in scan_data(args).cases
            if case.annotated
        ]
    elif args.manifest:
        cases = read_annotations(args.manifest, raters=args.rater_columns)
    else:
        cases = discover_annotations(args.raters)
    return [case if args.spacing is None else replace(case, spacing=case.spacing or args.spacing) for case in cases]


def _products(args: argparse.Namespace) -> list[Product]:
    """What is to be made; UsageError where files would replace inputs or each other."""
    if args.out.is_file():
        msg = f"-o {args.out} is a file; name a folder."
        raise UsageError(msg)
    from mrcalib.io.formats import has_header, stem_of

    products = []
    for case in _cases(args):
        masks = [Path(source) for source in case.masks.values() if source is not None]
        suffix = args.suffix or (".nii.gz" if any(map(has_header, masks)) else ".npy")
        path = args.out / f"{file_name(case.id)}{suffix}"
        products.append(Product(case, {"": path}, path.with_name(stem_of(path) + ".json")))
    _check_table(args)
    check_products(products, [Path(args.manifest)] if args.manifest else [], [args.out / _TABLE])
    return products


def _check_table(args: argparse.Namespace) -> None:
    """UsageError where the table of raters would replace a file that is no such table."""
    path = args.out / _TABLE
    if args.method not in _TABLED or args.overwrite or not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        if not file.readline().startswith("case,rater,"):
            msg = f"{path} exists, and mrcalib fuse did not make it. Give --overwrite, or another folder."
            raise UsageError(msg)


def _make(product: Product, parameters: Mapping[str, Any], args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    """Fuse one case, unless it is there and made of the same; what the sidecar says, and what became of it."""
    case, target = product.case, product.images[""]
    made_of = {
        "inputs_sha256": case.fingerprint(),
        "method": args.method,
        "parameters": dict(parameters),
        "positive": None if args.positive is None else list(args.positive),
        "check_agreement": args.check_agreement,
        "mrcalib_version": __version__,
    }
    before = finished(product, lambda: made_of, overwrite=args.overwrite, command="fuse")
    if before is not None:
        return before, "unchanged"
    loaded = case.load(positive=args.positive, check_agreement=args.check_agreement, rater_axis=args.rater_axis)
    fused, result = _fuse(loaded, args.method, dict(parameters))
    product.sidecar.unlink(missing_ok=True)
    _write(target, fused, loaded.geometry, args)
    content = {
        "fused": target.name,
        "case": case.id,
        "raters": dict(case.masks),
        "method": args.method,
        "parameters": dict(parameters),
        "result": result,
        "made_of": made_of,
    }
    write_json(product.sidecar, content)
    return json.loads(to_json(content)), "fused"


def _fuse(
    loaded: LoadedAnnotations, method: str, parameters: dict[str, Any]
) -> tuple[NDArray[np.generic], dict[str, Any]]:
    """The fused map or mask, and what else the method tells; per-rater numbers are under "raters", by name."""
    from mrcalib import fusion

    threshold = parameters.pop("threshold", None)
    result: dict[str, Any] = {}
    fused: NDArray[Any]
    if method == "staple":
        estimate = fusion.staple(loaded.raters, **parameters)
        fused = estimate.probability
        result = {
            "prior": estimate.prior,
            "n_voxels": estimate.n_voxels,
            "n_iter": estimate.n_iter,
            "converged": estimate.converged,
        }
        result["raters"] = _by_rater(loaded, sensitivity=estimate.sensitivity, specificity=estimate.specificity)
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

    from mrcalib.io import write_labels, write_probability

    compression, n_jobs = args.compression, threads_for(args.jobs)
    if fused.dtype.kind == "f":
        write_probability(path, fused, geometry, compression=compression, n_jobs=n_jobs)
        return
    write_labels(path, fused.astype(np.uint8), geometry, compression=compression, n_jobs=n_jobs)


def _rater_rows(case: str, content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each rater of a case, the missing ones with empty cells."""
    result = dict(content["result"])
    by_rater = result.pop("raters", None)
    if by_rater is None:
        return []
    empty = dict.fromkeys(next(iter(by_rater.values())))
    return [{"case": case, "rater": name, **by_rater.get(name, empty), **result} for name in content["raters"]]


def _as_json(product: Product, content: Mapping[str, Any] | None, error: Exception | None) -> dict[str, Any]:
    return {
        "case": product.case.id,
        "output": product.images[""] if content else None,
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
