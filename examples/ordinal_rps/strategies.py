"""What each strategy makes of the raters' masks; the fusion is mrcalib's."""

import numpy as np

from mrcalib import fusion
from mrcalib.metrics import orc_labels

ORDINAL = "RPS"
SMOOTHED = ("Soft Consensus-G", "SVLS")
"""Strategies with a kernel width, which is chosen on the validation patients."""


STRATEGIES = (
    "Random Sampling",
    "Median Consensus",
    "Soft Consensus",
    "Soft Consensus-G",
    "SIMPLE",
    "STAPLE",
    "SVLS",
    ORDINAL,
)


def target_of(strategy, masks, rng, *, sigma=1.0, tie="foreground"):
    """The training target of one image: fractions in [0, 1], or for ``ORDINAL`` the numbers of votes.

    ``masks`` are the raters' masks, None where a rater is missing; ``rng`` draws the rater of Random Sampling. ``tie`` is
    what half of the raters are to Median Consensus and SIMPLE. STAPLE's posterior is cut at 1/2, so that it is a hard target
    like SIMPLE's; ``sigma`` is in pixels.
    """
    match strategy:
        case "Random Sampling":
            fused = fusion.random_rater(masks, rng)
        case "Median Consensus":
            fused = fusion.majority(masks, tie=tie)
        case "Soft Consensus":
            fused = fusion.soft(masks)
        case "Soft Consensus-G":
            fused = fusion.soft_gaussian(masks, sigma, unit="voxels")
        case "SIMPLE":
            fused = fusion.simple(masks, tie=tie).mask
        case "STAPLE":
            fused = fusion.staple(masks).probability >= 0.5
        case "SVLS":
            fused = fusion.svls(masks, sigma=sigma)
        case "RPS":
            return orc_labels(masks)
        case _:
            raise ValueError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    return np.asarray(fused, dtype=np.float32)
