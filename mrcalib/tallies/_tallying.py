"""How voxels become a tally: all at once, or as they come in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from mrcalib.grid import ProbabilityGrid
from mrcalib.inputs import Voxels, check_choice, check_voxels
from mrcalib.tallies._counting import VoxelCounts, count_voxels
from mrcalib.tallies._tally import Tally

__all__ = ["RunningTally", "tally", "tally_voxels"]


def tally(
    probs: ArrayLike,
    raters: Any,
    *,
    grid: ProbabilityGrid | None = None,
    roi: ArrayLike | None = None,
    strata: ArrayLike | None = None,
    strata_names: Sequence[str] | None = None,
    rater_axis: int | None = None,
    rater_names: Sequence[str] | None = None,
    positive: int | Sequence[int] | None = None,
    invalid: str = "raise",
    case: str | None = None,
    n_jobs: int | None = None,
) -> Tally:
    """The tally of a map of probabilities and its raters' masks, made in one pass and bounded memory.

    Parameters
    ----------
    probs : array_like of float, shape S
        Foreground probabilities in [0, 1]; compared in float32.
    raters : array_like or sequence
        Masks, raters first ``(R, *S)`` or last ``(*S, R)``, or a list with None for a missing rater; NaN or masked entries
        are voxels that the rater did not answer. A rater whose mask is all 0 found nothing, and is not missing.
    grid : ProbabilityGrid, optional
        Bins of probability; ``ProbabilityGrid.standard()`` by default.
    roi : array_like of bool, shape S, optional
        Voxels to count; probabilities outside the region are not checked.
    strata : array_like of int, shape S, optional
        Stratum of each voxel, from 0.
    strata_names : sequence of str, optional
        Their names; "0", "1", ... by default.
    rater_axis : int, optional
        Axis of the raters where a stack fits both ways.
    rater_names : sequence of str, optional
        "0", "1", ... by default.
    positive : int or sequence of int, optional
        Label values that mark the structure.
    invalid : {"raise", "drop"}, default="raise"
        Whether NaN and values outside [0, 1] are an error, or are left out and counted in ``refused``.
    case : str, optional
        Name of the case, for errors.
    n_jobs : int, optional
        Threads; by default as many as there are processors, for large arrays. The result does not depend on it.

    Returns
    -------
    Tally
        With no voxels, the empty tally. Voxels that no rater answered are not counted.

    Raises
    ------
    ValueError
        For shapes that do not fit, masks that are not binary, or invalid probabilities.
    TypeError
        For probabilities that are not floating-point.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib import tally
    >>> probs = np.array([0.1, 0.8, 0.8])
    >>> t = tally(probs, [[0, 1, 0], [0, 1, 1]])
    >>> t.cells.voxels.tolist(), t.cells.marked.tolist()
    ([1, 1, 1], [0, 2, 3])
    """
    check_choice("invalid", invalid, ("raise", "drop"))
    voxels = check_voxels(
        probs,
        raters,
        roi=roi,
        strata=strata,
        rater_axis=rater_axis,
        positive=positive,
        soft=False,
        case=case,
        arguments=("roi", "rater_axis", "positive", "invalid"),
    )
    names = voxels.rater_names if rater_names is None else tuple(map(str, rater_names))
    if len(names) != voxels.n_raters or len(set(names)) != len(names):
        msg = f"rater_names must be {voxels.n_raters} different names; got {names}."
        raise ValueError(msg)
    n_strata = 1 if voxels.strata is None else int(voxels.strata.max(initial=0)) + 1
    layers = tuple(map(str, range(n_strata))) if strata_names is None else tuple(map(str, strata_names))
    if len(layers) < n_strata or len(set(layers)) != len(layers):
        msg = f"strata_names must be at least {n_strata} different names; got {layers}."
        raise ValueError(msg)
    grid = grid or ProbabilityGrid.standard()
    return tally_voxels(voxels, grid, names, layers, invalid=invalid, n_jobs=n_jobs)


def tally_voxels(
    voxels: Voxels,
    grid: ProbabilityGrid,
    raters: tuple[str, ...],
    strata: tuple[str, ...] = ("0",),
    *,
    invalid: str = "raise",
    n_jobs: int | None = None,
) -> Tally:
    """The tally of voxels that were checked already."""
    cells, refused = count_voxels(voxels, grid, n_jobs)
    _refuse(voxels, refused, invalid)
    return Tally(grid, raters, strata, cells, refused)


class RunningTally:
    """The tally of voxels that come in parts, such as the slabs of an image; it equals the tally of all of them at once.

    Parameters
    ----------
    grid : ProbabilityGrid
        Bins of probability.
    raters : tuple of str
        Names of the raters of every part.
    invalid : {"raise", "drop"}, default="raise"
        As for ``tally``.
    """

    def __init__(self, grid: ProbabilityGrid, raters: tuple[str, ...], *, invalid: str = "raise") -> None:
        self._grid, self._raters, self._invalid = grid, raters, invalid
        self._counts = VoxelCounts(grid, len(raters))

    @property
    def refused(self) -> int:
        """Voxels that were left out so far, because their probability was NaN or outside [0, 1]."""
        return self._counts.refused

    def add(self, voxels: Voxels) -> None:
        """Count a part; ValueError where it holds invalid probabilities and ``invalid`` is "raise"."""
        before = self._counts.refused
        self._counts.add(voxels)
        _refuse(voxels, self._counts.refused - before, self._invalid)

    def tally(self) -> Tally:
        """The tally of all parts so far."""
        return Tally(self._grid, self._raters, ("0",), self._counts.cells(), self._counts.refused)


def _refuse(voxels: Voxels, refused: int, invalid: str) -> None:
    """ValueError where probabilities were refused that must not be."""
    if refused and invalid == "raise":
        voxels.refuse_probs(refused)
