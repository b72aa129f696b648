"""What is missing is missing everywhere: None for a rater, NaN and masked entries for a voxel."""

import numpy as np
import pytest

from mrcalib import MHRIsotonicCalibrator, fusion, metrics, tally
from mrcalib.inputs import split_missing
from mrcalib.roi import roi_recall

P = np.linspace(0.05, 0.95, 40, dtype=np.float32)
MASKS = np.array([P > 0.3, P > 0.5, P > 0.7], dtype=np.uint8)
UNKNOWN = np.zeros(MASKS.shape, dtype=bool)
UNKNOWN[1, 10:30] = UNKNOWN[2, 5:20] = True

NAN = np.where(UNKNOWN, np.nan, MASKS)
MASKED = np.ma.masked_array(np.where(UNKNOWN, 7, MASKS), UNKNOWN)  # what lies below a mask is never looked at
BOTH = np.ma.masked_array(np.where(UNKNOWN & (P < 0.4), np.nan, MASKS), UNKNOWN & (P >= 0.4))


@pytest.mark.parametrize(
    "raters", [MASKED, BOTH, list(NAN), list(MASKED), list(BOTH), dict(zip("012", MASKED, strict=True))]
)
@pytest.mark.parametrize(
    "statistic",
    [
        tally,
        metrics.brier_score,
        lambda p, r: MHRIsotonicCalibrator().fit(p, r)(p).tolist(),
        lambda p, r: fusion.soft(r).tolist(),
        lambda p, r: fusion.staple(r).probability.tolist(),
        lambda p, r: metrics.orc_labels(r, missing="mask").tolist(),
        lambda p, r: roi_recall(p > 0.6, r),
    ],
)
def test_nan_and_masked_entries_are_the_same_everywhere(statistic, raters):
    found, expected = statistic(P, raters), statistic(P, NAN)
    if isinstance(expected, list | float):
        np.testing.assert_array_equal(np.array(found, float), np.array(expected, float))
    else:
        assert found == expected


@pytest.mark.parametrize("statistic", [tally, metrics.brier_score, lambda p, r: fusion.soft(r).tolist()])
def test_a_rater_who_answered_nowhere_is_a_missing_rater(statistic):
    nowhere = [MASKS[0], np.full(P.shape, np.nan), MASKS[2]]
    assert statistic(P, nowhere) == statistic(P, [MASKS[0], None, MASKS[2]])


def test_values_and_presence_are_told_apart():
    values, known = split_missing(NAN[1])
    np.testing.assert_array_equal(known, ~UNKNOWN[1])
    np.testing.assert_array_equal(values, np.where(UNKNOWN[1], 0, MASKS[1]))
    whole, everywhere = split_missing(MASKS[0])
    np.testing.assert_array_equal(whole, MASKS[0])
    assert everywhere is None
    assert split_missing(np.ma.masked_array(MASKS[0], False))[1] is None
    assert split_missing(np.ma.masked_array(MASKS[0] > 0, UNKNOWN[1]))[0].dtype == bool
