"""No calibration is one of the methods."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib import IdentityCalibrator


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_come_back_to_the_bit(dtype):
    probs = np.random.default_rng(0).random((3, 4, 5)).astype(dtype)
    calibrated = IdentityCalibrator().fit(probs, np.zeros((3, 4, 5), int))(probs)
    assert calibrated.dtype == dtype
    assert np.array_equal(calibrated, probs)
