"""The CRPS of the CURVAS programs: of a truncated table of a normal distribution, integrated over part of the line."""

from __future__ import annotations

import numpy as np

__all__ = ["truncated_crps"]

_N_POINTS = 100


def truncated_crps(value: float, mean: float, std: float) -> float:
    """CRPS over mean ± 3 std only; it saturates at 2.44 std, and is 0 where std is 0, whatever the value.

    The distribution function is tabulated at 100 points between its 1 % and 99 % quantiles and is 0 or 1 beyond; the
    integral is adaptive quadrature across the jumps, as in the program: off by 0.1 % on average, and by up to 1.2 %.
    """
    from scipy.integrate import quad
    from scipy.special import ndtr, ndtri

    if std == 0:
        return 0.0
    points = np.linspace(mean + std * ndtri(0.01), mean + std * ndtri(0.99), _N_POINTS)
    table = ndtr((points - mean) / std)

    def integrand(x: float) -> float:
        predicted = np.heaviside(x - value, 0.5)
        return float((np.interp(x, points, table, left=0.0, right=1.0) - predicted) ** 2)

    # full_output keeps quad from warning of the jumps.
    return float(quad(integrand, mean - 3 * std, mean + 3 * std, full_output=1)[0])
