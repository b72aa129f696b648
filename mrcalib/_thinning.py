"""What some of the raters say of how many of all the raters mark a voxel: counting without replacement."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["thinned", "thinning"]

FloatArray = NDArray[np.float64]


@lru_cache(maxsize=256)
def thinning(n_all: int, n_some: int) -> FloatArray:
    """``P(m of n_some marked | c of n_all marked)``, hypergeometric; shape (n_all + 1, n_some + 1), rows sum to 1.

    ``n_some`` of the raters are drawn without regard to what they marked. Read-only.

    Examples
    --------
    >>> thinning(2, 1).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    from scipy.special import comb

    c, m = np.arange(n_all + 1)[:, np.newaxis], np.arange(n_some + 1)
    table: FloatArray = comb(c, m) * comb(n_all - c, n_some - m) / comb(n_all, n_some)
    table.flags.writeable = False
    return table


def thinned(count_probs: FloatArray, n_raters: int) -> FloatArray:
    """Distributions over the votes of all raters, (..., K + 1), as those over the votes of ``n_raters`` <= K of them.

    Examples
    --------
    >>> thinned(np.array([0.0, 1.0, 0.0]), 1).tolist()
    [0.5, 0.5]
    """
    n_all = count_probs.shape[-1] - 1
    return count_probs if n_raters == n_all else count_probs @ thinning(n_all, n_raters)
