"""The reliability curve."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib.inputs import voxel_responses
from mrcalib.metrics import ReliabilityCurve, expected_calibration_error, reliability_curve
from mrcalib.tallies import tally


@pytest.mark.parametrize("strategy", ["uniform", "equal-mass"])
@pytest.mark.parametrize("kind", ["foreground", "top-label"])
def test_its_weighted_gap_is_the_expected_calibration_error(partial, strategy, kind):
    curve = reliability_curve(partial.probs, partial.answers, strategy=strategy, kind=kind)
    gap = np.nansum(curve.count * np.abs(curve.mean_prob - curve.response)) / curve.count.sum()
    options = {"n_bins": 15, "strategy": strategy, "kind": kind}
    assert gap == pytest.approx(expected_calibration_error(partial.probs, partial.answers, **options))
    assert curve.edges[0] == 0
    assert curve.edges[-1] == 1
    assert curve.edges.size == curve.count.size + 1


def test_each_rater_has_a_curve_and_together_they_make_the_whole(partial):
    curve = reliability_curve(partial.probs, partial.answers)
    np.testing.assert_allclose(curve.rater_count.sum(axis=0), curve.count)
    np.testing.assert_allclose(
        np.nansum(curve.rater_count * curve.rater_response, axis=0), curve.count * curve.response
    )
    alone = reliability_curve(partial.probs, partial.answers[1])
    np.testing.assert_allclose(curve.rater_response[1], alone.response)


def test_empty_bins_are_nan():
    curve = reliability_curve([0.1, 0.9], [0, 1], n_bins=3)
    np.testing.assert_array_equal(curve.mean_prob, [0.1, np.nan, 0.9])
    np.testing.assert_array_equal(curve.response, [0, np.nan, 1])
    np.testing.assert_array_equal(curve.count, [1, 0, 1])


def test_cases_pool_to_the_curve_of_their_voxels(complete):
    edges = (0.25, 0.5, 0.75)
    halves = [voxel_responses(complete.probs[k], complete.answers[:, k]) for k in (slice(0, 900), slice(900, None))]
    pooled = ReliabilityCurve.from_responses(*halves, edges=edges)
    whole = reliability_curve(complete.probs, complete.answers, n_bins=4)
    np.testing.assert_allclose(pooled.response, whole.response)
    np.testing.assert_allclose(pooled.rater_response, whole.rater_response)
    np.testing.assert_allclose(pooled.mean_prob, whole.mean_prob)


def test_a_tally_gives_the_curve_of_its_voxels(complete):
    cells = ReliabilityCurve.from_responses(
        tally(complete.probs, complete.answers).responses(), edges=tuple(k / 10 for k in range(1, 10))
    )
    exact = reliability_curve(complete.probs, complete.answers, n_bins=10)
    np.testing.assert_array_equal(cells.count, exact.count)
    np.testing.assert_allclose(cells.mean_prob, exact.mean_prob, rtol=1e-9)
    np.testing.assert_allclose(cells.response, exact.response)


def test_a_soft_target_has_a_curve_but_no_raters(complete):
    curve = reliability_curve(complete.probs, complete.answers.mean(axis=0))
    assert curve.rater_response.shape == (0, 15)
    np.testing.assert_allclose(curve.response, reliability_curve(complete.probs, complete.answers).response)


def test_what_makes_no_sense_is_refused(complete):
    with pytest.raises(ValueError, match="strategy must be one of"):
        reliability_curve([0.5], [1], strategy="quantile")
    with pytest.raises(ValueError, match="kind must be one of"):
        reliability_curve([0.5], [1], kind="class")
    with pytest.raises(ValueError, match="n_bins must be a whole number of at least 1; got 0"):
        reliability_curve([0.5], [1], n_bins=0)
    with pytest.raises(ValueError, match="There is no voxel to score"):
        reliability_curve([0.5], [1], roi=[0])
    with pytest.raises(ValueError, match="at least one case, and the same number of raters"):
        ReliabilityCurve.from_responses(edges=(0.5,))
