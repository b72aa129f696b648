"""Bins of a tally are taken apart into the probabilities that occur in them: the second pass, as methods ask for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mrcalib.calibrators._data import CalibrationData
from mrcalib.calibrators._partition import Partition
from mrcalib.calibrators._second_pass import Reader, count_pieces, look_into, two_points
from mrcalib.responses import PooledResponses

__all__ = ["MOST_PIECES", "open_bins"]

FloatArray = NDArray[np.float64]
Choice = Callable[[FloatArray, FloatArray], tuple[NDArray[np.bool_], NDArray[np.bool_]]]
PIECE = 8  # voxels in a piece into which bins are cut, about, within the next bounds
FEWEST_PIECES, MOST_PIECES = 1 << 12, 1 << 17
FEW, MANY = 1 << 16, 1 << 26  # voxels: so few are taken apart at once; so many are if reading again means loading again
SHARE, SHARE_POOLED = 64, 16  # of voxels in memory, one in so many is taken apart at once


def open_bins(
    data: CalibrationData,
    choose: Choice,
    *,
    rater_weight: FloatArray | None = None,
    pool: bool = False,
    most_pieces: int = MOST_PIECES,
) -> PooledResponses:
    """The sums over raters with some bins taken apart: the second pass.

    Where the bins to take apart hold many voxels, they are cut into smaller cells first, of which few need be taken apart.

    Parameters
    ----------
    data : CalibrationData
        Without voxels that can be read again, its bins stay as they are.
    choose : callable
        Of the weight and the votes of each cell, to two arrays of bool: the cells to take apart into the different
        probabilities that occur in them; and those of which only the smallest and the largest probability matter, each of
        which gets half of the cell's sums.
    rater_weight : ndarray of shape (n_raters,), optional
        Voxels that no rater of positive weight answered do not count.
    pool : bool, default=False
        Whether violators of isotonic regression may be pooled as they are found, which changes no isotonic fit.
    most_pieces : int, optional
        Into how many cells bins are cut at most, at a time.

    Returns
    -------
    PooledResponses
        Of one rater.
    """
    cells = Partition.of_bins(data.pooled, data.grid, rater_weight)
    if data.voxels is None:
        return _as_pooled(cells.mean, cells.weight, cells.prob_sum, cells.votes)
    share = data.n_voxels / max(cells.weight.sum(), np.finfo(float).tiny)
    most = max(FEW, data.n_voxels / (SHARE_POOLED if pool else SHARE) if data.in_memory else MANY)
    n_before = np.inf
    while True:
        inside, border = _chosen(cells, choose)
        n_inside = share * cells.weight[inside].sum()
        if n_inside <= most or n_inside > 0.8 * n_before:
            break
        wanted = int(min(max(n_inside / PIECE, FEWEST_PIECES), most_pieces))
        pieces = count_pieces(_readers(data, rater_weight), cells.where(inside), wanted)
        cells, n_before = cells.where(~inside) + pieces, n_inside
    border &= ~inside
    readers = _readers(data, rater_weight) if inside.any() or border.any() else iter(())
    points, lowest, highest = look_into(readers, cells, inside, border, pool=pool)
    closed, halved = cells.where(~inside & ~border), cells.where(border)
    halves = two_points(lowest, highest, halved.weight, halved.votes)
    return _as_pooled(
        np.concatenate([closed.mean, halves.prob, points.prob]),
        np.concatenate([closed.weight, halves.weight, points.weight]),
        np.concatenate([closed.prob_sum, halves.weight * halves.prob, points.weight * points.prob]),
        np.concatenate([closed.votes, halves.votes, points.votes]),
    )


def _readers(data: CalibrationData, rater_weight: FloatArray | None) -> Iterator[Reader]:
    assert data.voxels is not None
    return (Reader(voxels, rater_weight, float(factor)) for voxels, factor in data.voxels())


def _chosen(cells: Partition, choose: Choice) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    inside, border = choose(cells.weight, cells.votes)
    apart = cells.starts != 0  # what the bin of exact zeros holds besides lies below 2**-133
    return inside & apart, border & apart


def _as_pooled(prob: FloatArray, *sums: FloatArray) -> PooledResponses:
    """Sums as those of one rater, in the order of probability."""
    order = np.argsort(prob, kind="stable")
    return PooledResponses(np.arange(order.size), *(values[np.newaxis, order] for values in sums))
