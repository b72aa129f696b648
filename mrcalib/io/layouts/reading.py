"""From a folder to the cases of a data set: which layout it is, and what it holds."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from mrcalib.io.case import Case
from mrcalib.io.layouts import curvas_2024, curvas_pdacvi, lidc, qubiq, refuge
from mrcalib.io.layouts.model import LayoutCase, LayoutFolder, LayoutInfo
from mrcalib.io.layouts.tree import Folder, split_named, walk
from mrcalib.io.patterns import natural, some_of

__all__ = ["layout_info", "read_layout", "recognise_layout", "scan_layout"]

_LAYOUTS = (curvas_2024, curvas_pdacvi, qubiq, lidc, refuge)
LAYOUTS: tuple[str, ...] = tuple(layout.INFO.name for layout in _LAYOUTS)
"""The names of the layouts."""
_INFOS: dict[str, LayoutInfo] = {layout.INFO.name: layout.INFO for layout in _LAYOUTS}
_FINDERS: dict[str, Callable[[Iterable[Folder]], list[LayoutCase]]] = {
    layout.INFO.name: layout.find for layout in _LAYOUTS
}


def layout_info(name: str) -> LayoutInfo:
    """What is known of a data set: its raters, classes, vessel labels, protocol and known faults.

    Parameters
    ----------
    name : {"curvas-2024", "curvas-pdacvi", "qubiq", "lidc", "refuge"}
        The layout.

    Returns
    -------
    LayoutInfo

    Raises
    ------
    ValueError
        If there is no such layout; lists them.

    Examples
    --------
    >>> layout_info("curvas-pdacvi").raters
    ('PANORAMA', '2', '3', '4', '5')
    """
    if name not in _INFOS:
        msg = f"There is no layout {name!r}; expected one of {', '.join(_INFOS)}."
        raise ValueError(msg)
    return _INFOS[name]


def recognise_layout(folder: str | Path) -> str:
    """The name of the published data set that lies in a folder, by the names of its files.

    Parameters
    ----------
    folder : str or Path
        The unpacked data set, a part of it, or a folder above. Hidden files and ``__MACOSX`` are ignored.

    Returns
    -------
    str
        The name of the layout, as `layout_info` takes it.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If no layout fits (says what was looked for and what is there), or several do.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     case = Path(folder) / "brain-growth" / "Training" / "case01"
    ...     case.mkdir(parents=True)
    ...     (case / "task01_seg01.nii.gz").touch()
    ...     recognise_layout(folder)
    'qubiq'
    """
    root = Path(folder).expanduser()
    return _recognise(root, walk(root))


def scan_layout(
    folder: str | Path, layout: str | None = None, *, split: str | None = None, task: str | None = None
) -> LayoutFolder:
    """Find the cases of a published data set: images, raters' masks, vessels; no predictions needed, nothing read.

    Parameters
    ----------
    folder : str or Path
        As for `recognise_layout`.
    layout : str or None
        As for `layout_info`; None: recognised.
    split : {"training", "validation", "testing"} or None
        Cases of one split only; None: of all that are there.
    task : str or None
        Of a data set with several, such as "prostate" or "prostate/task02". None: the only one.

    Returns
    -------
    LayoutFolder
        Cases in natural order; raters without any mask are left out, the others are None where they gave none.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the layout is unknown or not that of the folder, a case is there twice, there are several tasks and none is
        chosen, or no case is of the split or the task.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     case = Path(folder) / "training_set" / "CURVASPDAC_00003"
    ...     case.mkdir(parents=True)
    ...     for name in ("image", "annotation_1", "annotation_2", "annotation_staple"):
    ...         (case / f"{name}.nii.gz").touch()
    ...     scan_layout(folder).describe()[0]
    'curvas-pdacvi, CURVAS-PDACVI 2025: 1 cases (1 training), 2 raters (PANORAMA, 2)'
    """
    root = Path(folder).expanduser()
    tree = walk(root)
    name = _recognise(root, tree) if layout is None else layout
    info = layout_info(name)
    cases = _FINDERS[name](tree)
    if not cases:
        msg = f"{root} has not the layout {name!r}: {_looked_for(info)}; {_found(root, tree)}.{_pickles(name, tree)}"
        raise ValueError(msg)
    cases = _of_task(_of_split(cases, split), task)
    _refuse_doubles(cases)
    used = {rater for case in cases for rater, path in case.raters.items() if path}
    names = [rater for rater in sorted({r for case in cases for r in case.raters}, key=_order(info)) if rater in used]
    alike = [replace(case, raters={rater: case.raters.get(rater) for rater in names}) for case in cases]
    return LayoutFolder(root, info, tuple(sorted((_known_faults(c) for c in alike), key=lambda case: natural(case.id))))


def read_layout(
    folder: str | Path,
    layout: str | None = None,
    *,
    probs: str | None = None,
    coarse: str | None = None,
    roi: str | None = None,
    split: str | None = None,
    task: str | None = None,
    raters: bool = True,
) -> list[Case]:
    """Read the cases of a published data set, as it lies on disk, with a model's predictions.

    The layouts: ``curvas-2024``, ``curvas-pdacvi``, ``qubiq``, ``lidc``, ``refuge``; `layout_info` describes each.
    A rater without a file is missing (None), never empty; consensus files are no raters. Patients are the groups.

    Parameters
    ----------
    folder : str or Path
        The unpacked data set, a part of it, or a folder above.
    layout : str or None
        None: recognised by the names of the files.
    probs : str or None
        Template of the probability maps: ``"preds/{case}.nii.gz"``, or ``"preds/{case}_{member}.nii.gz"`` for an
        ensemble. None: the data set holds them itself (of these layouts, only ``lidc``'s nodule volumes may).
    coarse, roi : str or None
        Templates that give one file for every case: a coarse mask, a region of interest.
    split : {"training", "validation", "testing"} or None
        Cases of one split only; None: of all that are there.
    task : str or None
        Of several, such as QUBIQ's "prostate/task02" or REFUGE's "cup"; None: the only one.
    raters : bool
        Whether a case needs a rater. False: the cases have none, as to apply a calibrator.

    Returns
    -------
    list of Case
        In natural order of their names. Labels are as published: `LayoutFolder.positive` and `LayoutInfo.classes` say
        what `LoadOptions` needs.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If the folder is not recognised, has another layout, or the predictions are missing or fit no case; see
        `scan_layout` and `LayoutFolder.with_predictions`.

    Warns
    -----
    UserWarning
        If cases have no prediction or no rater, or predictions no case; they are left out.

    Examples
    --------
    >>> import tempfile
    >>> from mrcalib.simulate import phantoms, write_curvas_pdacvi
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_curvas_pdacvi(folder, phantoms(2, (16, 16, 8), n_members=2, rng=0))
    ...     cases = read_layout(folder, probs=f"{folder}/predictions/{{case}}_{{member}}.nii.gz")
    ...     [(case.id, len(case.members), case.rater_names) for case in cases][0]
    ('CURVASPDAC_00001', 2, ('PANORAMA', '2', '3', '4', '5'))
    """
    found = scan_layout(folder, layout, split=split, task=task)
    return found.with_predictions(probs, coarse=coarse, roi=roi, raters=raters)


def _recognise(root: Path, tree: list[Folder]) -> str:
    fitting = {name: cases for name, find in _FINDERS.items() if (cases := find(tree))}
    if len(fitting) == 1:
        return next(iter(fitting))
    if fitting:
        listed = ", ".join(f"{name} ({len(cases)} cases, such as {cases[0].id})" for name, cases in fitting.items())
        msg = f"{root} holds {len(fitting)} data sets: {listed}. Say which: layout={next(iter(fitting))!r}, or name its folder."
        raise ValueError(msg)
    looked_for = "; ".join(f"{info.name}: {info.looked_for}" for info in _INFOS.values())
    msg = (
        f"{root} has none of the known layouts. Looked for {looked_for}. {_found(root, tree)}.{lidc.refusal(tree)} "
        "For other layouts, use a manifest or templates."
    )
    raise ValueError(msg)


def _looked_for(info: LayoutInfo) -> str:
    return f"looked for {info.looked_for}"


def _found(root: Path, tree: list[Folder]) -> str:
    files = ((folder.path / name).relative_to(root).as_posix() for folder in tree for name in folder.files)
    some = list(islice(files, 6))
    if not some:
        return "Found no files there"
    return f"Found {sum(len(folder.files) for folder in tree)} files in {len(tree)} folders, such as {', '.join(some)}"


def _pickles(name: str, tree: list[Folder]) -> str:
    return lidc.refusal(tree) if name == "lidc" else ""


def _of_split(cases: list[LayoutCase], split: str | None) -> list[LayoutCase]:
    if split is None:
        return cases
    wanted = split_named(split)
    chosen = [case for case in cases if case.split == wanted]
    if not wanted or not chosen:
        there = ", ".join(f"{name or 'no split'} ({n} cases)" for name, n in Counter(c.split for c in cases).items())
        msg = f"split must be 'training', 'validation' or 'testing', and be in the folder; got {split!r}, there is {there}."
        raise ValueError(msg)
    return chosen


def _of_task(cases: list[LayoutCase], task: str | None) -> list[LayoutCase]:
    there = sorted({case.task for case in cases})
    if task is not None:
        matching = [name for name in there if name and (name == task or name.startswith(f"{task}/"))]
        if not matching:
            msg = f"There is no task {task!r}; there is {', '.join(filter(None, there)) or 'only one, without a name'}."
            raise ValueError(msg)
        there = matching
    if len(there) > 1:
        msg = (
            f"There are several tasks, {', '.join(there)}: other organs, other raters, not to be calibrated as one. "
            f"Choose one: task={there[0]!r}."
        )
        raise ValueError(msg)
    return [case for case in cases if case.task == there[0]]


def _refuse_doubles(cases: list[LayoutCase]) -> None:
    doubles = {case: n for case, n in Counter(case.id for case in cases).items() if n > 1}
    if doubles:
        case = next(iter(doubles))
        places = [str(_place(other)) for other in cases if other.id == case]
        msg = (
            f"{len(doubles)} names of cases are there more than once ({some_of(doubles)}); {case!r} is in "
            f"{' and in '.join(places)}. Name one of these folders, or choose a split."
        )
        raise ValueError(msg)


def _place(case: LayoutCase) -> Path | None:
    files = [case.image, *case.raters.values()]
    return next((path.parent for path in files if path is not None), None)


def _order(info: LayoutInfo) -> Callable[[str], tuple[int, list[tuple[int, int, str]]]]:
    """Raters in the order of the data set, any others by name."""
    known = {name: number for number, name in enumerate(info.raters)}
    return lambda name: (known.get(name, len(known)), natural(name))


def _known_faults(case: LayoutCase) -> LayoutCase:
    return replace(case, index_aligned=tuple(name for name in case.index_aligned if case.raters.get(name)))
