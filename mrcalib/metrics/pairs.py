"""Any metric of probabilities and binary labels, over all pairs of a voxel and a rater."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from mrcalib.metrics.base import rows_by_case
from mrcalib.metrics.bins import concatenated

__all__ = ["multirater"]

Value = TypeVar("Value")


def multirater(metric: Callable[..., Value], *, labels_first: bool = False) -> Callable[..., Value]:
    """Make a metric of one annotation one of several, by repeating each voxel for every rater who answered there.

    Parameters
    ----------
    metric : callable
        ``metric(probs, labels, **options)`` on one-dimensional arrays.
    labels_first : bool, default=False
        Call ``metric(labels, probs, **options)`` instead, as scikit-learn's metrics want it.

    Returns
    -------
    callable
        ``f(probs, raters, *, roi=None, rater_axis=None, **options)``, of one image or of all voxels of several cases, as in
        `Metric`. Missing pairs are dropped; ValueError if none is left, or if raters are not told apart (an averaged target).

    References
    ----------
    .. [1] "Multi-rater calibration error", UNSURE 2025, OpenReview N1l6bUMfDL.

    Examples
    --------
    >>> from sklearn.metrics import brier_score_loss
    >>> multirater(brier_score_loss, labels_first=True)([0.5, 1.0], [[0, 1], [1, 1]])
    0.125
    """

    @wraps(metric)
    def over_pairs(
        probs: Any, raters: Any = None, *, roi: Any = None, rater_axis: int | None = None, **options: Any
    ) -> Value:
        responses = concatenated(rows_by_case(probs, raters, roi=roi, rater_axis=rater_axis))
        rows = [responses.rater(r) for r in range(responses.n_raters)]
        prob = np.concatenate([row.prob for row in rows])
        label = np.concatenate([row.votes for row in rows]).astype(np.int64)
        return metric(label, prob, **options) if labels_first else metric(prob, label, **options)

    return over_pairs
