"""Files of boxes: COCO JSON, tables, napari's rectangles. What raters drew and what detectors found, image by image.

Nothing is guessed: a rater who did not look at an image differs from one who found nothing, and invalid boxes are refused with
the file, the image and the box.
"""

from mrcalib.detection.files.box_sets import BoxSet, ImageEntry, detection_images, merge_boxes
from mrcalib.detection.files.coco import read_coco
from mrcalib.detection.files.napari import read_napari, write_napari
from mrcalib.detection.files.reading import read_boxes
from mrcalib.detection.files.table import read_box_csv, write_box_csv
from mrcalib.detection.files.writing import rescore, write_coco, write_coco_results

__all__ = [
    "BoxSet",
    "ImageEntry",
    "detection_images",
    "merge_boxes",
    "read_box_csv",
    "read_boxes",
    "read_coco",
    "read_napari",
    "rescore",
    "write_box_csv",
    "write_coco",
    "write_coco_results",
    "write_napari",
]
