"""The errors and warnings that mrcalib defines beyond Python's own."""

__all__ = ["GeometryError", "SaturationWarning"]


class GeometryError(ValueError):
    """Two images that must lie on the same voxels do not."""


class SaturationWarning(UserWarning):
    """A fitted map cannot reach the high responses that the raters gave."""
