"""The tally of one image that is larger than memory, or than a machine: by blocks, their tallies merged as a tree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from mrcalib.grid import ProbabilityGrid, shared_grid
from mrcalib.inputs import check_choice, check_probs, find_rater_axis, of_case
from mrcalib.scale.cluster import Scheduler, any_size_of_graph, require_dask, workers
from mrcalib.tallies import Cells, Columns, Tally, tally

__all__ = ["tally_blocks"]

Slices = tuple[slice, ...]
FIRST_MASK = 3  # in the list of arrays, after the probabilities, the region of interest and the strata


def tally_blocks(
    probs: Any,
    raters: Any,
    *,
    grid: ProbabilityGrid | None = None,
    roi: Any = None,
    strata: Any = None,
    strata_names: Sequence[str] | None = None,
    rater_axis: int | None = None,
    rater_names: Sequence[str] | None = None,
    positive: int | Sequence[int] | None = None,
    invalid: str = "raise",
    case: str | None = None,
    block_voxels: int = 1 << 24,
    split_every: int = 16,
    scheduler: Scheduler = "threads",
    dask_address: str | None = None,
    n_jobs: int | None = None,
) -> Tally:
    """Tally one image that lies in Dask or Zarr arrays; equal (``==``) to ``tally`` of the same voxels in memory.

    Every block is read, or computed, and counted by one task in one thread, and only tallies leave it. Sixteen at a time
    they are merged into one, and these again, so that nobody holds many.

    Parameters
    ----------
    probs : dask.array.Array, zarr.Array or the like, shape S
        Foreground probabilities in [0, 1]. A Dask array is worked on in its own chunks; what is stored (anything that has a
        shape, a dtype and slices, and can be pickled) in blocks of whole chunks.
    raters : array or sequence of arrays
        Masks of shape S, with None for a missing rater; or one array, raters first ``(R, *S)`` or last ``(*S, R)``.
        They are cut as the probabilities are: chunks of another size are read, or computed, more than once where they lie
        in several blocks.
    grid, positive, invalid
        As for ``tally``; with ``invalid="raise"`` the first block found with such a voxel ends the run.
    roi : array of bool, shape S, optional
        Voxels that count.
    strata : array of int, shape S, optional
        Stratum of each voxel; ``strata_names`` must then name all of them, since no block sees all.
    strata_names, rater_names
        As for ``tally``.
    rater_axis : int, optional
        0 or -1, where one array of masks fits both ways.
    case : str, optional
        Name of the image, for errors, which also name the block.
    block_voxels : int, default=2**24
        Voxels that a task reads at most, where ``probs`` is stored, unless one chunk holds more; it needs about 5 bytes a
        voxel and one for each rater.
    split_every : int, default=16
        Tallies that one task merges.
    scheduler : "threads", "dask" or distributed.Client, default="threads"
        Who does it, as for ``tally_cases``: ``n_jobs`` threads of this process, or the workers of a cluster.
    dask_address : str, optional
        With ``scheduler="dask"``: of the cluster's scheduler; without it ``n_jobs`` processes of this machine are started.
    n_jobs : int, optional
        Blocks in memory at the same time where this machine does it; 1 by default.

    Returns
    -------
    Tally
        With no voxels, the empty tally.

    Raises
    ------
    TypeError
        For NumPy arrays, which ``tally`` takes, and for probabilities that are not floating-point.
    ValueError
        For shapes that do not fit, chunks of unknown size, and what ``tally`` refuses in a block.
    ImportError
        If Dask is not installed.

    Notes
    -----
    A worker that dies takes the tallies it holds with it; Dask computes those blocks again, and no others.

    Examples
    --------
    >>> import dask.array as da
    >>> rng = np.random.default_rng(0)
    >>> probs, masks = rng.random((30, 20)), rng.integers(0, 2, (3, 30, 20), dtype=np.uint8)
    >>> blocks = tally_blocks(da.from_array(probs, chunks=(8, 20)), da.from_array(masks, chunks=(1, 30, 7)))
    >>> blocks == tally(probs, masks)
    True
    """
    check_choice("invalid", invalid, ("raise", "drop"))
    require_dask("tally_blocks")
    if block_voxels < 1 or split_every < 2:
        msg = f"block_voxels must be at least 1 and split_every at least 2; got {block_voxels} and {split_every}."
        raise ValueError(msg)
    _check_array("probs", probs, case)
    check_probs(np.empty(0, probs.dtype), case=case)
    masks, stack_axis = _listed(raters, tuple(probs.shape), rater_axis, case)
    _check_shapes(probs, {"roi": roi, "strata": strata}, case)
    n_raters = len(masks) if stack_axis is None else int(masks[0].shape[stack_axis])
    names = tuple(map(str, range(n_raters))) if rater_names is None else tuple(map(str, rater_names))
    if len(names) != n_raters or len(set(names)) != len(names):
        msg = f"rater_names must be {n_raters} different names; got {names}."
        raise ValueError(msg)
    if strata is not None and strata_names is None:
        msg = "strata_names must name all strata of the image, since no block sees all of them; got None."
        raise ValueError(msg)
    layers = ("0",) if strata_names is None else tuple(map(str, strata_names))
    grid = grid or ProbabilityGrid.standard()
    if 0 in probs.shape:
        return Tally.empty(grid, names, layers)
    rules = _Rules(grid.mantissa_bits, grid.edges, stack_axis, names, layers, positive, invalid, case)
    blocks = _tasks([probs, roi, strata, *masks], rules, block_voxels)
    with workers(scheduler, dask_address, n_jobs) as engine:
        columns, refused = _computed(_tree(list(blocks), split_every), engine, n_jobs)
    return Tally(grid, names, layers, Cells.widened(columns), refused)


class _Rules(NamedTuple):
    """How a block is tallied."""

    mantissa_bits: int
    edges: tuple[float, ...]
    stack_axis: int | None
    names: tuple[str, ...]
    layers: tuple[str, ...]
    positive: int | Sequence[int] | None
    invalid: str
    case: str | None


class _Image:
    """What all blocks share, sent to a worker once: the arrays that are stored, and the rules."""

    def __init__(self, stored: Sequence[Any], rules: _Rules) -> None:
        self.stored = tuple(stored)
        self.rules = rules


Counted = tuple[Columns, int]


def _tally_block(image: _Image, block: Slices, computed: Sequence[Any]) -> Counted:
    """Tally one block on a worker: of each array what was computed, or what is read of it here."""
    rules = image.rules
    where = ", ".join(f"{part.start}:{part.stop}" for part in block)
    name = f"{'image' if rules.case is None else rules.case}, block [{where}]"
    probs, roi, strata, *votes = (
        np.asarray(source[_with_raters(block, slice(None), rules) if place >= FIRST_MASK else block])
        if given is None and source is not None
        else given
        for place, (source, given) in enumerate(zip(image.stored, computed, strict=True))
    )
    counted = tally(
        probs,
        votes if rules.stack_axis is None else votes[0],
        grid=shared_grid(rules.mantissa_bits, rules.edges),
        roi=roi,
        strata=strata,
        strata_names=rules.layers,
        rater_axis=rules.stack_axis,
        rater_names=rules.names,
        positive=rules.positive,
        invalid=rules.invalid,
        case=name,
        n_jobs=1,
    )
    return counted.cells.narrowed(), counted.refused


def _with_raters(of_block: tuple[Any, ...], all_raters: Any, rules: _Rules) -> tuple[Any, ...]:
    """What is said of a block's axes, with what is said of the raters' axis where there is one."""
    if rules.stack_axis is None:
        return of_block
    return (all_raters, *of_block) if rules.stack_axis == 0 else (*of_block, all_raters)


def _merge_blocks(parts: Sequence[Counted]) -> Counted:
    """On a worker: one merge for all parts."""
    return Cells.merge([Cells.widened(columns) for columns, _ in parts]).narrowed(), sum(
        refused for _, refused in parts
    )


def _tasks(sources: Sequence[Any], rules: _Rules, block_voxels: int) -> Iterator[Any]:
    """A Dask task for each block, that reads what is stored and takes what other tasks compute."""
    from dask import delayed

    chunks = _chunks(sources[0], block_voxels)
    starts = [[0, *accumulate(sizes)] for sizes in chunks]
    n_raters = (len(rules.names),)
    pieces = [
        source.rechunk(_with_raters(chunks, n_raters, rules) if place >= FIRST_MASK else chunks).to_delayed()
        if source is not None and _is_dask(source)
        else None
        for place, source in enumerate(sources)
    ]
    stored = [source if piece is None else None for source, piece in zip(sources, pieces, strict=True)]
    image = delayed(_Image(stored, rules), pure=False, traverse=False)
    count = delayed(_tally_block, pure=False)
    for place in product(*(range(len(sizes)) for sizes in chunks)):
        block = tuple(slice(edges[i], edges[i + 1]) for edges, i in zip(starts, place, strict=True))
        computed = [
            None if piece is None else piece[_with_raters(place, 0, rules) if i >= FIRST_MASK else place]
            for i, piece in enumerate(pieces)
        ]
        yield count(image, block, computed)


def _chunks(probs: Any, block_voxels: int) -> tuple[tuple[int, ...], ...]:
    """How the image is cut: by its own chunks, or where it is stored by as many whole chunks as a block may hold."""
    chunks: tuple[tuple[int, ...], ...]
    if _is_dask(probs):
        chunks = probs.chunks
        return chunks
    shape = tuple(map(int, probs.shape))
    stored = getattr(probs, "shards", None) or getattr(probs, "chunks", None) or (1,) * len(shape)
    block = [min(edge, size) for edge, size in zip(stored, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        block[axis] = min(shape[axis], block[axis] * max(1, block_voxels // prod(block)))
    return tuple(
        (edge,) * (size // edge) + ((size % edge,) if size % edge else ())
        for edge, size in zip(block, shape, strict=True)
    )


def _tree(parts: list[Any], split_every: int) -> Any:
    """One task that ends in the sum of all; no task merges more than ``split_every``."""
    from dask import delayed

    merge = delayed(_merge_blocks, pure=False)
    while len(parts) > 1:
        parts = [merge(parts[i : i + split_every]) for i in range(0, len(parts), split_every)]
    return parts[0]


def _computed(total: Any, engine: Scheduler, n_jobs: int | None) -> Counted:
    import dask

    done: Counted
    if isinstance(engine, str):
        (done,) = dask.compute(total, scheduler="threads", num_workers=n_jobs or 1)
    else:
        with any_size_of_graph():
            done = engine.compute(total).result()
    return done


def _is_dask(array: Any) -> bool:
    import dask

    return bool(dask.is_dask_collection(array))


def _check_array(what: str, array: Any, case: str | None) -> None:
    if isinstance(array, np.ndarray) or not all(hasattr(array, name) for name in ("shape", "dtype", "__getitem__")):
        msg = (
            f"{what} must be a Dask or Zarr array, or another that is read by slices; got {type(array).__name__}"
            f"{of_case(case)}. For arrays in memory there is mrcalib.tally."
        )
        raise TypeError(msg)
    if _is_dask(array) and any(not size >= 0 for sizes in array.chunks for size in sizes):
        msg = f"{what} has chunks of unknown size{of_case(case)}; call compute_chunk_sizes() on it first."
        raise ValueError(msg)


def _check_shapes(probs: Any, arrays: dict[str, Any], case: str | None) -> None:
    for what, array in arrays.items():
        if array is None:
            continue
        _check_array(what, array, case)
        if tuple(array.shape) != tuple(probs.shape):
            msg = f"{what} must have the shape of probs, {tuple(probs.shape)}; got {tuple(array.shape)}{of_case(case)}."
            raise ValueError(msg)


def _listed(
    raters: Any, shape: tuple[int, ...], rater_axis: int | None, case: str | None
) -> tuple[list[Any], int | None]:
    """The masks, and the axis of the raters where they are one array."""
    if isinstance(raters, list | tuple):
        masks = list(raters)
        if not masks or all(mask is None for mask in masks):
            msg = f"At least one rater must have annotated{of_case(case)}; all {len(masks)} are missing (None)."
            raise ValueError(msg)
        for index, mask in enumerate(masks):
            if mask is None:
                continue
            _check_array(f"the mask of rater {index}", mask, case)
            if tuple(mask.shape) != shape:
                got = tuple(mask.shape)
                msg = f"Each mask must have the shape of probs, {shape}; rater {index}{of_case(case)} has {got}."
                raise ValueError(msg)
        return masks, None
    _check_array("raters", raters, case)
    axis = find_rater_axis(tuple(raters.shape), shape, rater_axis, case)
    if axis not in (None, 0, -1):
        msg = f"The raters of an array of blocks must be first or last (rater_axis=0 or -1); got rater_axis={axis}."
        raise ValueError(msg)
    return [raters], axis
