"""The peer: official degrees by scipy on whole slices, one mask, vessel, plane and slice after the other."""

import numpy as np
from scipy import ndimage as ndi

TAPS = [np.array(k) for k in ([[1, 1]], [[1], [1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]])]


def slice_degrees(tumour, vessel):
    """Contact of one slice; not limited to 360."""
    dilated = ndi.binary_dilation(tumour)
    edge = vessel & ~ndi.binary_erosion(vessel)
    near, rest = (dilated & ~edge).astype(np.uint8), edge & ~dilated
    more = sum(((ndi.convolve(near, taps) > 0) & rest).sum() for taps in TAPS)
    return ((edge & dilated).sum() + more) / edge.sum() * 360


def volume_degrees(tumour, vessel, axis):
    """The largest of the slices along ``axis`` that hold both."""
    pairs = zip(np.moveaxis(tumour, axis, 0), np.moveaxis(vessel, axis, 0), strict=True)
    return max((slice_degrees(t, v) for t, v in pairs if t.any() and v.any()), default=0.0)
