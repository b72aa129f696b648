"""Inputs: the one place where arrays enter, and where their kinds, axes, labels, missing values and units are checked.

`check_voxels` takes a map of probabilities with its raters and gives `Voxels`, which all statistics are counted from;
`split_cases` recognises a list of cases. Values are checked where they are read, a run of voxels at a time.
"""

from mrcalib.inputs.arguments import (
    check_choice,
    check_count,
    check_groups,
    check_labels,
    check_n_bins,
    check_number,
    check_positive,
    check_spacing,
    check_voxel_volume,
)
from mrcalib.inputs.arrays import TOLERANCE, as_array, check_probs, is_array, refuse_classes
from mrcalib.inputs.cases import InputCase, case_items, case_probs, split_cases
from mrcalib.inputs.chunks import CHUNK, Chunk, Order, Voxels, bit_masks
from mrcalib.inputs.classes import (
    Classes,
    against_rest,
    named_classes,
    require_exclusive,
    require_named,
    split_channels,
    split_labels,
)
from mrcalib.inputs.messages import ProbabilityRange, of_case, refuse_labels, refuse_probs
from mrcalib.inputs.raters import MAX_RATERS, find_rater_axis, names_of_raters, split_missing, split_raters
from mrcalib.inputs.voxels import check_masks, check_roi, check_voxels, responses_by_chunk, voxel_responses

__all__ = [
    "CHUNK",
    "MAX_RATERS",
    "TOLERANCE",
    "Chunk",
    "Classes",
    "InputCase",
    "Order",
    "ProbabilityRange",
    "Voxels",
    "against_rest",
    "as_array",
    "bit_masks",
    "case_items",
    "case_probs",
    "check_choice",
    "check_count",
    "check_groups",
    "check_labels",
    "check_masks",
    "check_n_bins",
    "check_number",
    "check_positive",
    "check_probs",
    "check_roi",
    "check_spacing",
    "check_voxel_volume",
    "check_voxels",
    "find_rater_axis",
    "is_array",
    "named_classes",
    "names_of_raters",
    "of_case",
    "refuse_classes",
    "refuse_labels",
    "refuse_probs",
    "require_exclusive",
    "require_named",
    "responses_by_chunk",
    "split_cases",
    "split_channels",
    "split_labels",
    "split_missing",
    "split_raters",
    "voxel_responses",
]
