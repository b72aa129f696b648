"""The errors and warnings that mrcalib defines beyond Python's own."""

import sys
import warnings

__all__ = ["GeometryError", "SaturationWarning", "warn_caller"]


class GeometryError(ValueError):
    """Two images that must lie on the same voxels do not."""


class SaturationWarning(UserWarning):
    """A fitted map cannot reach the high responses that the raters gave."""


def warn_caller(message: str, category: type[Warning]) -> None:
    """Warn at the line outside mrcalib that called into it, however deep the cause is."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("mrcalib", "sklearn"):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)
