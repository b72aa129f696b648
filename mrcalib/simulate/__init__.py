"""Phantoms: ambiguous lesions, the raters who disagree about them and the segmenters that are too sure of them.

Every phantom knows the probability it was drawn from, so a calibrator can be held against the truth instead of against
more data. This room knows nothing of calibration: it makes cases, and writes them the way real ones lie on disk.
"""

from mrcalib.simulate._files import write_curvas_pdacvi, write_dataset
from mrcalib.simulate._phantom import Phantom, phantoms

__all__ = ["Phantom", "phantoms", "write_curvas_pdacvi", "write_dataset"]
