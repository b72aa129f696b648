"""What a metric is: sums over voxels, then algebra.

So one definition gives the value of a case, of pooled cases, of weighted cases and of every bootstrap resample.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mrcalib.responses import FloatArray, Responses

__all__ = ["FloatArray", "Metric", "mean_defined", "ratio"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A score that is computed from sums over voxels.

    ``statistics`` adds: the statistics of two cases together are the sum of theirs. ``value`` turns sums into scores.

    Attributes
    ----------
    name : str
        What ``get_metric`` finds it by.
    label : str
        For tables and plots.
    better : {"lower", "higher", "zero"}
        Which way is better; "zero" for a signed bias.
    unit : str
        "mL" for volumes, "" for what has none.
    statistics : callable
        ``Responses -> ndarray of shape (k,)``, additive over voxels.
    value : callable
        ``ndarray of shape (..., k) -> ndarray of shape (...)``, over any leading axes; NaN where the score is not
        defined. If it has a method ``of_weights(statistics of cases)``, that returns a function from weights of the cases
        (n, n_cases) to the values of their sums: a quicker way for resampling, equal up to rounding.
    poolable : bool
        False where the voxels of several cases together mean nothing (volumes): only the mean over cases is reported.

    Examples
    --------
    >>> import numpy as np
    >>> from mrcalib.metrics import brier_metric
    >>> from mrcalib.responses import Responses
    >>> prob, count, answers, votes = np.array([[0.5], [8.0], [2.0], [1.0]])
    >>> case = Responses(prob, count, answers, votes, n_raters=2)
    >>> brier = brier_metric()
    >>> brier(case)
    0.25
    >>> brier.value(np.stack([brier.statistics(case), 3 * brier.statistics(case)]))
    array([0.25, 0.25])
    """

    name: str
    label: str
    better: Literal["lower", "higher", "zero"]
    unit: str
    statistics: Callable[[Responses], FloatArray]
    value: Callable[[FloatArray], FloatArray]
    poolable: bool = True

    def __call__(self, responses: Responses) -> float:
        """The score of these responses; NaN where it is not defined, as it is without voxels."""
        return float(self.value(self.statistics(responses)))


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``numerator / denominator``; NaN where the denominator is 0."""
    undefined: NDArray[np.float64] = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator != 0)


def mean_defined(values: FloatArray) -> FloatArray:
    """Mean over the last axis of what is not NaN; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))
