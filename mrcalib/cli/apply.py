"""``mrcalib apply``: probability maps in, calibrated maps out."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mrcalib._version import __version__
from mrcalib.cli._cases import each_case
from mrcalib.cli._console import BAD_DATA, OK, Console, UsageError
from mrcalib.cli._files import (
    Product,
    check_products,
    file_name,
    files_of,
    finished,
    images_in,
    read_sidecar,
    to_json,
    write_json,
)
from mrcalib.cli._inputs import (
    add_classes,
    add_inputs,
    add_reading,
    cases_of,
    check_region,
    load_options_of,
    refuse_with_classes,
    warn_of_differences,
)
from mrcalib.cli._options import add_common, add_compression, add_jobs, add_named, add_overwrite, command, threads_for

if TYPE_CHECKING:
    from mrcalib.calibrators import Calibrator, OneVsRestCalibrator
    from mrcalib.cli._options import Subparsers
    from mrcalib.io import Case, ImageClass

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


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its options."""
    parser = command(
        subparsers,
        "apply",
        run=run,
        usage="CALIBRATOR (INPUT... | --probs TEMPLATE | --manifest CSV) -o OUT",
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
    _add_several(parser)
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
    add_named(
        output,
        "--suffix",
        "file format",
        "of files in the folder, which are named {case}SUFFIX: %(names)s (default: .nii.gz; .npy and .npz, which have no "
        "geometry, stay what they are)",
        metavar="SUFFIX",
    )
    add_compression(output)
    add_overwrite(output)
    add_common(parser)


def _add_several(parser: argparse.ArgumentParser) -> None:
    """Add the options of calibrators of several classes."""
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


def run(args: argparse.Namespace) -> int:
    """Calibrate each case."""
    from mrcalib.calibrators import OneVsRestCalibrator
    from mrcalib.persistence import load

    console: Console = args.console
    calibrator = load(args.calibrator)
    cases = _cases(args)
    made_by: dict[str, Any] = {"calibrator_sha256": hashlib.sha256(args.calibrator.read_bytes()).hexdigest()}
    make: Callable[[Product], None]
    about: dict[str, Any] = {}
    if isinstance(calibrator, OneVsRestCalibrator):
        refuse_with_classes(args)
        classes = _classes_of(args, calibrator)
        products = _products_of_classes(args, cases, [one.name for one in classes])
        made_by["channels"] = {one.name: one.position for one in classes}
        make = partial(_make_classes, args, calibrator, classes)
        method = next(iter(calibrator.calibrators_.values()))
        about = {"classes": calibrator.classes_}
    else:
        given = [f"--{name}" for name in ("classes", "normalize", "argmax") if getattr(args, name)]
        if given:
            msg = (
                f"{given[0]} needs a calibrator of several classes; {args.calibrator} is of one. Fit it with --classes."
            )
            raise UsageError(msg)
        products = _products(args, cases)
        make = partial(_make, args, calibrator)
        method = calibrator
    check_products(products, [args.calibrator])
    warn_of_differences(calibrator.provenance_, cases, args, console)
    about = about | {
        "calibrator": str(args.calibrator),
        "method": type(method).__name__,
        "mrcalib_version": __version__,
    }
    by_case = {product.case.id: product for product in products}

    def work(case: Case) -> tuple[str, str]:
        status = _make_unless_finished(args, by_case[case.id], make, made_by, about)
        return status, status

    results, failures = each_case(cases, work, console=console, jobs=args.jobs)
    if args.json:
        console.show(to_json([_as_json(product, results, failures) for product in products]))
    else:
        for name in results:
            for path in by_case[name].images.values():
                console.show(str(path))
    console.failures(failures, len(products))
    return BAD_DATA if failures else OK


def _as_json(product: Product, results: Mapping[str, str], failures: Mapping[str, Exception]) -> dict[str, Any]:
    """What --json says of a case."""
    name, images = product.case.id, dict(product.images)
    status = {"status": results.get(name, "failed"), "error": str(failures.get(name, "")) or None}
    if "" in images:
        return {"case": name, "output": images[""]} | status
    labels = images.pop("labels of the classes", None)
    normalized = {key.removesuffix(" normalized"): path for key, path in images.items() if key.endswith(" normalized")}
    output = {key: path for key, path in images.items() if not key.endswith(" normalized")}
    return {"case": name, "output": output, "normalized": normalized, "labels": labels} | status


# What is to be made -----------------------------------------------------------------------------------------------------


def _cases(args: argparse.Namespace) -> list[Case]:
    if args.inputs:
        cases = _input_files(args)
    else:
        cases = [replace(case, raters={}, image=None, vessels=None) for case in cases_of(args)]
    check_region(cases, args)
    return cases


def _input_files(args: argparse.Namespace) -> list[Case]:
    """A case for each file, named after it."""
    others = [f"--{name}" for name in ("manifest", "data", "probs") if getattr(args, name)]
    if others:
        msg = f"INPUT files and {', '.join(others)} exclude each other."
        raise UsageError(msg)
    from mrcalib.io import Case
    from mrcalib.io.formats import stem_of

    def case(path: Path) -> Case:
        name = stem_of(path)
        roi, coarse = (
            Path(template.replace("{case}", name)) if template else None for template in (args.roi, args.coarse)
        )
        return Case(name, path, {}, roi=roi, coarse=coarse, spacing=args.spacing)

    return [case(path) for path in args.inputs]


def _is_file(args: argparse.Namespace, suffixes: tuple[str, ...]) -> bool:
    """Whether --out names a file, not a folder."""
    return bool(args.out.name.lower().endswith(suffixes)) and not args.out.is_dir()


def _suffix_like(case: Case) -> str:
    """NIfTI, unless the input has no geometry to write."""
    from mrcalib.io.formats import has_header, suffix_of

    first = Path(case.members[0])
    return ".nii.gz" if has_header(first) else suffix_of(first)


def _products(args: argparse.Namespace, cases: Sequence[Case]) -> list[Product]:
    """A map of each case."""
    from mrcalib.io.formats import stem_of, writable

    if not _is_file(args, writable()):
        paths = [args.out / f"{file_name(case.id)}{args.suffix or _suffix_like(case)}" for case in cases]
    elif len(cases) == 1:
        paths = [args.out]
    else:
        msg = f"-o {args.out} is one file, but there are {len(cases)} cases; give a folder."
        raise UsageError(msg)
    return [
        Product(case, {"": path}, path.with_name(stem_of(path) + ".json"))
        for case, path in zip(cases, paths, strict=True)
    ]


def _products_of_classes(args: argparse.Namespace, cases: Sequence[Case], names: Sequence[str]) -> list[Product]:
    """A map of each case and class, and what else is asked for."""
    from mrcalib.io.formats import writable

    if _is_file(args, writable()):
        msg = f"-o {args.out} is one file, but {args.calibrator} makes one for each of its classes; give a folder."
        raise UsageError(msg)
    products = []
    for case in cases:
        stem, suffix = args.out / file_name(case.id), args.suffix or _suffix_like(case)
        images = {name: stem.with_name(f"{stem.name}_{name}{suffix}") for name in names}
        if args.normalize:
            images |= {f"{name} normalized": stem.with_name(f"{stem.name}_{name}_normalized{suffix}") for name in names}
        if args.argmax:
            images["labels of the classes"] = stem.with_name(f"{stem.name}_labels{suffix}")
        products.append(Product(case, images, stem.with_name(f"{stem.name}_classes.json")))
    return products


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


# Making it --------------------------------------------------------------------------------------------------------------


def _make_unless_finished(
    args: argparse.Namespace,
    product: Product,
    make: Callable[[Product], None],
    made_by: Mapping[str, Any],
    about: Mapping[str, Any],
) -> str:
    """Write the images of a case, unless they are there and made of the same; what became of it."""
    images = [path.name for path in product.images.values()]

    def made_of(inputs: str) -> dict[str, Any]:
        kept = {} if "" in product.images else {"maps": images}
        reading = {"reading": load_options_of(args).to_dict(), "invalid": args.invalid}
        return {"inputs_sha256": inputs} | dict(made_by) | reading | kept

    if finished(product, lambda: made_of(product.case.fingerprint()), overwrite=args.overwrite, command="apply"):
        return "unchanged"
    earlier = images_in(read_sidecar(product.sidecar))
    with ThreadPoolExecutor(1) as beside:
        inputs = beside.submit(product.case.fingerprint)
        make(product)
        digest = inputs.result()
    named = {"map": images[0]} if "" in product.images else {"maps": images, "earlier": sorted(earlier - set(images))}
    content = {"inputs": [str(path) for path in files_of(product.case)], **about, "made_of": made_of(digest)}
    write_json(product.sidecar, named | content)
    return "calibrated"


def _make(args: argparse.Namespace, calibrator: Calibrator, product: Product) -> None:
    from mrcalib.scale import apply_case

    apply_case(
        product.case,
        calibrator,
        product.images[""],
        options=load_options_of(args),
        invalid=args.invalid,
        compression=args.compression,
        n_jobs=threads_for(args.jobs),
        before_replace=lambda: product.sidecar.unlink(missing_ok=True),
    )


def _make_classes(
    args: argparse.Namespace, calibrator: OneVsRestCalibrator, classes: Sequence[ImageClass], product: Product
) -> None:
    from mrcalib._simplex import with_background
    from mrcalib.io import load_classes, write_labels, write_probability
    from mrcalib.scale.applying import checked

    loaded = load_classes(product.case, classes, load_options_of(args))
    roi, region = loaded.case.roi, loaded.case.region
    foreground = []
    for one, probs in zip(classes, loaded.probs, strict=True):
        good = checked(probs, product.case.id, args.invalid)
        values = calibrator.calibrators_[one.name].map_for(good if roi is None else good[roi])(good)
        if args.outside == "zero" and region is not None:
            values[~region] = 0
        foreground.append(values)
    maps = {one.name: values for one, values in zip(classes, foreground, strict=True)}
    if args.normalize:
        _, parts = with_background(foreground, normalize=True)
        maps |= {f"{one.name} normalized": values for one, values in zip(classes, parts, strict=True)}
    product.sidecar.unlink(missing_ok=True)
    packing = {"compression": args.compression, "n_jobs": threads_for(args.jobs)}
    for name, values in maps.items():
        write_probability(product.images[name], values, loaded.geometry, **packing)
    if args.argmax:
        labels = calibrator.labels_of(foreground)
        write_labels(product.images["labels of the classes"], labels, loaded.geometry, **packing)
