"""Boxes in images: what detectors found and what raters drew, their overlaps, and which detection is which object.

It knows no tallies, so that files of boxes can be read without them; ``mrcalib.detection`` goes on from here.
"""

from mrcalib.boxes._boxes import Boxes
from mrcalib.boxes._image import DetectionImage
from mrcalib.boxes._matching import Matches, match
from mrcalib.boxes._overlap import iou
from mrcalib.boxes._votes import votes

__all__ = ["Boxes", "DetectionImage", "Matches", "iou", "match", "votes"]
