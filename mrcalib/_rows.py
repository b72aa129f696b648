"""Responses of single voxels: what statistics are computed from that must be exact and are not binned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mrcalib._refusals import refuse_probs
from mrcalib._validation import check_voxels
from mrcalib._voxels import bit_masks
from mrcalib.responses import Responses

__all__ = ["responses_by_chunk", "voxel_responses"]


def responses_by_chunk(
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None = None,
    rater_axis: int | None = None,
    sample_weight: ArrayLike | None = None,
    positive: int | Sequence[int] | None = None,
    soft: bool | None = None,
    voxel_volume: float = 1.0,
) -> Iterator[Responses]:
    """One row of ``Responses`` for each voxel of the ROI that a rater answered, a chunk at a time."""
    voxels = check_voxels(
        probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, positive=positive, soft=soft
    )
    for chunk in voxels.chunks():
        if not np.all((chunk.probs >= 0) & (chunk.probs <= 1)):
            flat = voxels.probs if voxels.roi is None else voxels.probs[voxels.roi]
            refuse_probs(flat, int(np.count_nonzero(~((flat >= 0) & (flat <= 1)))), voxels.case)
        present, marked = bit_masks(voxels, chunk)
        known = present != 0
        prob = chunk.probs[known].astype(np.float64)
        count = np.ones(prob.size) if chunk.sample_weight is None else chunk.sample_weight[known]
        if chunk.soft is not None:
            yield Responses(prob, count, np.ones(prob.size), chunk.soft[known], 1, voxel_volume=voxel_volume)
            continue
        present, marked = present[known], marked[known]
        answers, votes = (np.bitwise_count(bits).astype(np.float64) for bits in (present, marked))
        yield Responses(prob, count, answers, votes, voxels.n_raters, present, marked, voxel_volume)


def voxel_responses(probs: ArrayLike, raters: Any, **options: Any) -> Responses:
    """All rows of ``responses_by_chunk`` together, about 50 bytes a voxel; for statistics that need them at once."""
    parts = list(responses_by_chunk(probs, raters, **options))
    if not parts:
        voxels = check_voxels(probs, raters, **{k: v for k, v in options.items() if k != "voxel_volume"})
        none, bits = np.empty(0), None if voxels.soft is not None else np.empty(0, np.int64)
        return Responses(none, none, none, none, voxels.n_raters, bits, bits, options.get("voxel_volume", 1.0))

    def together(name: str) -> Any:
        columns = [getattr(part, name) for part in parts]
        return None if columns[0] is None else np.concatenate(columns)

    prob, count, answers, votes, present, marked = map(
        together, ("prob", "count", "answers", "votes", "present", "marked")
    )
    return Responses(prob, count, answers, votes, parts[0].n_raters, present, marked, parts[0].voxel_volume)
