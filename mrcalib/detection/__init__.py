"""Detection: matched boxes as votes, so that whatever works on voxels works on detections; and ensembles of detectors.

The image is the case, a detection a voxel, its score the probability, and a rater's box that it matches the rater's vote.
Files of boxes are read and written by ``mrcalib.detection.files``, pictures are in ``mrcalib.detection.plots``, and the
commands of ``mrcalib detect`` in ``mrcalib.detection.commands``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mrcalib.detection.agreement import RaterAgreement, rater_agreement
    from mrcalib.detection.average_precision import average_precision, average_recall, lrp
    from mrcalib.detection.boxes import Boxes, iou
    from mrcalib.detection.calibration import detection_calibration, detection_ece, laece0
    from mrcalib.detection.cohort import detection_cohort, detection_tally
    from mrcalib.detection.ensembles import LabelSamplingEnsemble, RaterSpecificEnsemble
    from mrcalib.detection.grouping import BoxGroups, group_boxes
    from mrcalib.detection.images import DetectionImage
    from mrcalib.detection.matching import Matches, match, votes
    from mrcalib.detection.scores import DetectionScore

_HOME = {
    "BoxGroups": "grouping",
    "Boxes": "boxes",
    "DetectionImage": "images",
    "DetectionScore": "scores",
    "LabelSamplingEnsemble": "ensembles",
    "Matches": "matching",
    "RaterAgreement": "agreement",
    "RaterSpecificEnsemble": "ensembles",
    "average_precision": "average_precision",
    "average_recall": "average_precision",
    "detection_calibration": "calibration",
    "detection_cohort": "cohort",
    "detection_ece": "calibration",
    "detection_tally": "cohort",
    "group_boxes": "grouping",
    "iou": "boxes",
    "laece0": "calibration",
    "lrp": "average_precision",
    "match": "matching",
    "rater_agreement": "agreement",
    "votes": "matching",
}

__all__ = [
    "BoxGroups",
    "Boxes",
    "DetectionImage",
    "DetectionScore",
    "LabelSamplingEnsemble",
    "Matches",
    "RaterAgreement",
    "RaterSpecificEnsemble",
    "average_precision",
    "average_recall",
    "detection_calibration",
    "detection_cohort",
    "detection_ece",
    "detection_tally",
    "group_boxes",
    "iou",
    "laece0",
    "lrp",
    "match",
    "rater_agreement",
    "votes",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"mrcalib.detection.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    msg = f"module 'mrcalib.detection' has no attribute {name!r}"
    raise AttributeError(msg)
