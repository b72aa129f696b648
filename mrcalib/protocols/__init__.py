"""Official challenge scores to the letter, quirks included, each quirk named; and the sound values beside them.

Written from the programs' behaviour. Nothing here is reused by the metrics, which are defined as they should be.
"""

from mrcalib.protocols.pdacvi import curvas_pdacvi

__all__ = ["curvas_pdacvi"]
