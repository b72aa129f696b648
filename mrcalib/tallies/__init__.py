"""Tallies: one pass over the voxels of a case, kept as whole numbers that merge exactly.

``tally(a ++ b) == tally(a) + tally(b)``, to the bit and in any order. What is fitted and measured afterwards is computed from
this small table, whatever the number of voxels.
"""

from mrcalib.tallies._cells import Cells, Columns, equal_rows
from mrcalib.tallies._counting import CountTable
from mrcalib.tallies._tally import MAX_STUDY_RATERS, SCHEMA, Tally
from mrcalib.tallies._tallying import RunningTally, tally, tally_voxels
from mrcalib.tallies._votes import VoteCounts, thinned, thinning

__all__ = [
    "MAX_STUDY_RATERS",
    "SCHEMA",
    "Cells",
    "Columns",
    "CountTable",
    "RunningTally",
    "Tally",
    "VoteCounts",
    "equal_rows",
    "tally",
    "tally_voxels",
    "thinned",
    "thinning",
]
