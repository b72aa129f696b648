"""Label fusion: one reference made of several raters' masks, in seven ways.

Maps: `soft` (fraction of raters), `soft_gaussian`, `svls`, `staple` (posterior), `median`. Masks: `majority`, `simple`,
`random_rater`. All take any number of masks of any shape. None in a list is a rater who did not annotate, which is never an
empty mask; NaN and masked entries are voxels that a rater did not answer. What depends on the votes of a voxel alone is
computed once for each of the few different vote patterns, not for each voxel.
"""

from mrcalib.fusion._simple import SimpleResult, simple
from mrcalib.fusion._smoothing import soft_gaussian, svls
from mrcalib.fusion._staple import StapleResult, staple
from mrcalib.fusion._votes import majority, median, random_rater, soft

__all__ = [
    "SimpleResult",
    "StapleResult",
    "majority",
    "median",
    "random_rater",
    "simple",
    "soft",
    "soft_gaussian",
    "staple",
    "svls",
]
