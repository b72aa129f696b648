"""A study: methods of calibration against metrics, cross-validated by group, with intervals. Nearly all of it from tallies.

``compare`` makes it; with a challenge's protocol it also scores voxels, and ``Study`` writes the tables of its papers.
"""

from mrcalib.study._compare import compare
from mrcalib.study._methods import default_methods, paper_methods
from mrcalib.study._protocol import Dispute
from mrcalib.study._study import Study

__all__ = ["Dispute", "Study", "compare", "default_methods", "paper_methods"]
