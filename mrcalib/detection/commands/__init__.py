"""``mrcalib detect``, with its commands evaluate, ensemble, fit and apply, one file each."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mrcalib.cli._options import Parser
from mrcalib.detection.commands import apply, ensemble, evaluate, fit

if TYPE_CHECKING:
    from mrcalib.cli._options import Subparsers

__all__ = ["add_parser"]

_DESCRIPTION = """\
Evaluate, pool and calibrate object detectors where raters draw different boxes. A detection takes the place of a voxel: its
score is the probability, and a rater has voted for it who drew a box that it matches. An image takes the place of a case.
"""
_EXAMPLES = """\
examples:
  # are the scores calibrated? raters' boxes and a detector's, as COCO JSON
  mrcalib detect evaluate --raters ann.json bo.json --detections model.json --out results

  # how far do raters agree? boxes may be in CSV tables, napari's rectangles or COCO JSON
  mrcalib detect evaluate --raters boxes.csv --out agreement

  # compare a rater-specific ensemble with one trained on mixed labels, for several numbers of models
  mrcalib detect ensemble --rater-models ann rs1_*.json --rater-models bo rs2_*.json --models ls_*.json \\
      --raters consensus.json --sizes 2 4 8 20 -o ensembles

  # calibrate a detector's scores to the raters, then the scores of new detections
  mrcalib detect fit --raters ann.json bo.json --detections model.json -o calibrator.json
  mrcalib detect apply calibrator.json new.json -o calibrated

Each command explains its options, with examples: mrcalib detect evaluate --help
"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the commands and their options."""
    parser = subparsers.add_parser(
        "detect",
        usage="mrcalib detect (evaluate | ensemble | fit | apply) [options]",
        help="boxes of detectors and raters: evaluate, ensemble, fit, apply",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    own = parser.add_subparsers(
        metavar="COMMAND", title="commands", required=True, prog="mrcalib detect", parser_class=Parser
    )
    for part in (evaluate, ensemble, fit, apply):
        part.add_parser(own)
