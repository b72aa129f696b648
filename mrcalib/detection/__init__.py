"""Detection: matched boxes as votes, so that whatever works on voxels works on detections; and ensembles of detectors.

The image is the case, a detection a voxel, its score the probability, and a rater's box that it matches the rater's vote.
"""

from mrcalib.boxes import Boxes, DetectionImage, Matches, iou, match, votes
from mrcalib.detection._cohort import detection_cohort, detection_tally
from mrcalib.detection._ensembles import LabelSamplingEnsemble, RaterSpecificEnsemble
from mrcalib.detection._groups import BoxGroups, group_boxes

__all__ = [
    "BoxGroups",
    "Boxes",
    "DetectionImage",
    "LabelSamplingEnsemble",
    "Matches",
    "RaterSpecificEnsemble",
    "detection_cohort",
    "detection_tally",
    "group_boxes",
    "iou",
    "match",
    "votes",
]
