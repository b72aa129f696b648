"""From the arrays of a public function to the value of its metric."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from mrcalib.inputs import responses_by_chunk, voxel_responses
from mrcalib.metrics._metric import FloatArray, Metric
from mrcalib.responses import Responses

__all__ = ["require_voxels", "responses_of", "score_arrays"]


def score_arrays(metric: Metric, probs: ArrayLike, raters: Any, **options: Any) -> float:
    """The metric of every voxel, summed a chunk at a time; ``options`` as for `responses_of`.

    Raises
    ------
    ValueError
        If there is no voxel to score.
    """
    total: FloatArray | None = None
    n_voxels = 0.0
    for responses in responses_by_chunk(probs, raters, **options):
        statistics = metric.statistics(responses)
        total = statistics if total is None else total + statistics
        n_voxels += float(responses.count.sum())
    require_voxels(n_voxels)
    assert total is not None
    return float(metric.value(total))


def responses_of(
    probs: ArrayLike,
    raters: Any,
    *,
    roi: ArrayLike | None,
    rater_axis: int | None,
    sample_weight: ArrayLike | None = None,
    voxel_volume: float = 1.0,
) -> Responses:
    """One row a voxel, all at once; ValueError if there is none."""
    responses = voxel_responses(
        probs, raters, roi=roi, rater_axis=rater_axis, sample_weight=sample_weight, voxel_volume=voxel_volume
    )
    require_voxels(float(responses.count.sum()))
    return responses


def require_voxels(n_voxels: float) -> None:
    """Raise ValueError unless there is something to score."""
    if not n_voxels > 0:
        msg = "There is no voxel to score: no rater answered inside the ROI, or every sample_weight is 0."
        raise ValueError(msg)
