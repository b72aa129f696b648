"""Calibration errors against plain float64 code on the expanded pairs, and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrcalib.inputs import voxel_responses
from mrcalib.metrics import (
    average_calibration_error,
    calibration,
    expected_calibration_error,
    get_metric,
    maximum_calibration_error,
    mean_rater_ece,
    multirater_ece,
)
from mrcalib.metrics.bins import equal_mass_edges
from mrcalib.responses import Responses
from mrcalib.tallies import tally


def gaps(p, y, edges, weight=None):
    """Weight and gap of the occupied bins, in float64 by digitize and bincount."""
    weight = np.ones(p.size) if weight is None else weight
    index = np.digitize(p, edges)
    n, a, b = (np.bincount(index, v, len(edges) + 1) for v in (weight, weight * p, weight * y))
    return n[n > 0], np.abs(a - b)[n > 0] / n[n > 0]


def plain_ece(p, y, n_bins=50, weight=None):
    n, gap = gaps(p, y, np.float32(np.arange(1, n_bins) / n_bins), weight)
    return float(n @ gap / n.sum())


def raters_of(voxels):
    known = ~np.isnan(voxels.answers)
    return [(voxels.probs[k], a[k]) for a, k in zip(voxels.answers, known, strict=True)]


@pytest.mark.parametrize("n_bins", [1, 2, 10, 15, 50])
def test_mr_ece_equals_plain_ece_of_the_expanded_pairs(partial, n_bins):
    assert expected_calibration_error(partial.probs, partial.answers, n_bins=n_bins) == pytest.approx(
        plain_ece(*partial.pairs, n_bins), abs=1e-14
    )


def test_mr_ece_is_the_error_against_the_mean_response_where_all_answered(complete):
    mean = complete.answers.mean(axis=0)
    expected = plain_ece(complete.probs, mean)
    assert expected_calibration_error(complete.probs, complete.answers) == pytest.approx(expected, abs=1e-14)
    assert expected_calibration_error(complete.probs, complete.answers, weighting="voxels") == pytest.approx(expected)
    assert expected_calibration_error(complete.probs, mean) == pytest.approx(expected)


def test_voxel_weighting_counts_each_voxel_once(partial):
    mean = np.nanmean(partial.answers, axis=0)
    got = expected_calibration_error(partial.probs, partial.answers, weighting="voxels")
    assert got == pytest.approx(plain_ece(partial.probs, mean), abs=1e-14)
    assert got != pytest.approx(expected_calibration_error(partial.probs, partial.answers), abs=1e-6)


def test_each_rater_has_an_ece_of_their_own_and_the_mean_is_that_of_per_rater(partial):
    own = [plain_ece(p, y) for p, y in raters_of(partial)]
    for r, expected in enumerate(own):
        assert expected_calibration_error(partial.probs, partial.answers, target=r) == pytest.approx(expected)
    assert mean_rater_ece(partial.probs, partial.answers) == pytest.approx(np.mean(own))


def test_a_rater_who_is_missing_is_left_out_and_one_who_found_nothing_is_not(complete):
    masks = list(complete.answers.astype(np.uint8))
    two = mean_rater_ece(complete.probs, masks[:2])
    assert mean_rater_ece(complete.probs, [*masks[:2], None]) == pytest.approx(two)
    assert mean_rater_ece(complete.probs, [*masks[:2], np.zeros_like(masks[0])]) != pytest.approx(two)


def test_top_label_ece_equals_plain_ece_of_confidence_and_agreement(partial):
    def confident(p, y):
        return np.maximum(p, 1 - p), np.where(p > 0.5, y, 1 - y)

    own = [plain_ece(*confident(p, y)) for p, y in raters_of(partial)]
    assert mean_rater_ece(partial.probs, partial.answers, kind="top-label") == pytest.approx(np.mean(own))
    pooled = expected_calibration_error(partial.probs, partial.answers, kind="top-label")
    assert pooled == pytest.approx(plain_ece(*confident(*partial.pairs)))


def test_top_label_error_cancels_what_foreground_error_sees():
    probs = np.repeat([0.7, 0.3], 10)
    mask = np.r_[np.arange(10) < 6, np.arange(10) < 2].astype(int)
    assert expected_calibration_error(probs, mask, n_bins=10, kind="top-label") == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(probs, mask, n_bins=10) == pytest.approx(0.1)


def test_maximum_and_average_are_those_of_the_occupied_bins(partial):
    _, gap = gaps(*partial.pairs, np.float32(np.arange(1, 50) / 50))
    assert maximum_calibration_error(partial.probs, partial.answers) == pytest.approx(gap.max())
    assert average_calibration_error(partial.probs, partial.answers) == pytest.approx(gap.mean())


def test_a_hand_computed_example():
    # bin [0, .5): pairs .2 .2 .4 .4 with answers 0 1 0 0: |1.2 - 1|; bin [.5, 1]: .9 .9 with 1 0: |1.8 - 1|
    probs, masks = [0.2, 0.4, 0.9], [[0, 0, 1], [1, 0, 0]]
    assert expected_calibration_error(probs, masks, n_bins=2) == pytest.approx((0.2 + 0.8) / 6)
    assert maximum_calibration_error(probs, masks, n_bins=2) == pytest.approx(0.4)
    assert average_calibration_error(probs, masks, n_bins=2) == pytest.approx((0.05 + 0.4) / 2)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bins_are_closed_on_the_left_and_one_is_in_the_last(dtype):
    probs = np.array([0.3, 0.29, 0.9, 1.0], dtype=dtype)
    # .3 opens a bin and .29 closes another: neither gap can cancel the other; .9 and 1 share a bin and do cancel.
    assert expected_calibration_error(probs, [1, 0, 1, 0], n_bins=10) == pytest.approx((0.7 + 0.29 + 0.9) / 4)


def test_equal_mass_bins_hold_equal_numbers_where_nothing_ties():
    rng = np.random.default_rng(1)
    probs, mask = rng.permutation(np.linspace(0, 1, 1000, dtype=np.float32)), rng.integers(0, 2, 1000)
    responses = voxel_responses(probs, mask)
    edges = equal_mass_edges(responses, 8)
    assert np.bincount(np.digitize(probs, edges)).tolist() == [125] * 8
    n, gap = gaps(probs.astype(np.float64), mask, edges)
    assert expected_calibration_error(probs, mask, n_bins=8, strategy="equal-mass") == pytest.approx(n @ gap / 1000)
    assert average_calibration_error(probs, mask, n_bins=8, strategy="equal-mass") == pytest.approx(gap.mean())


def test_equal_mass_bins_never_split_ties():
    probs = np.repeat([0.0, 0.4, 0.6], [90, 5, 5])
    mask = np.zeros(100, dtype=int)
    assert equal_mass_edges(voxel_responses(probs, mask), 10) == tuple(np.float32([0.4]).astype(float))
    shuffled = np.random.default_rng(0).permutation(100)
    ece = expected_calibration_error(probs, mask, n_bins=10, strategy="equal-mass")
    assert ece == expected_calibration_error(probs[shuffled], mask, n_bins=10, strategy="equal-mass")


def test_equal_mass_of_one_rater_bins_that_rater_only(partial):
    p, y = raters_of(partial)[2]
    expected = expected_calibration_error(p, y, n_bins=20, strategy="equal-mass", kind="top-label")
    got = expected_calibration_error(
        partial.probs, partial.answers, n_bins=20, strategy="equal-mass", kind="top-label", target=2
    )
    assert got == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["foreground", "top-label"])
@pytest.mark.parametrize("target", ["mhr", "per-rater", 1])
@pytest.mark.parametrize("n_bins", [3, 15, 50])
def test_the_tally_gives_what_rows_of_voxels_give(partial, monkeypatch, kind, target, n_bins):
    edges = np.float32(np.arange(n_bins + 1) / n_bins)
    above, below = np.nextafter(edges, np.float32(2)), np.nextafter(edges, np.float32(-1))
    critical = np.concatenate([f(e) for e in (edges, above, below) for f in (lambda x: x, lambda x: np.float32(1) - x)])
    critical = critical[((critical > 1e-5) | (critical == 0)) & (critical <= 1)]
    probs = partial.probs.astype(np.float32)
    probs = np.where(probs < 1e-5, np.float32(0), probs)
    probs[100 : 100 + critical.size] = critical
    options = {"kind": kind, "target": target, "n_bins": n_bins}
    values = []
    for big in (0, probs.size):
        monkeypatch.setattr(calibration, "_BIG", big)
        values.append(expected_calibration_error(probs, partial.answers, **options))
    assert values[0] == pytest.approx(values[1], rel=0, abs=1e-12)


def test_a_bin_counts_beyond_what_float32_can():
    one = np.ones(2)
    many = Responses(
        np.array([0.25, 0.75]), one * 2.0**25, one, np.array([0.0, 1.0]), 1, one.astype(int), one.astype(int)
    )
    assert expected_calibration_error.with_options(n_bins=1)(many) == 0.0
    assert expected_calibration_error.with_options(n_bins=2)(many) == 0.25


def test_the_roi_is_what_counts(partial):
    roi = partial.probs > 0.3
    inside = expected_calibration_error(partial.probs[roi], partial.answers[:, roi])
    assert expected_calibration_error(partial.probs, partial.answers, roi=roi) == pytest.approx(inside)


def test_sample_weight_equals_repetition(partial):
    weight = np.random.default_rng(2).integers(0, 4, partial.probs.size)
    repeated = np.repeat(partial.probs, weight), np.repeat(partial.answers, weight, axis=1)
    for options in ({}, {"target": "per-rater"}, {"strategy": "equal-mass", "n_bins": 7}, {"weighting": "voxels"}):
        weighted = expected_calibration_error(partial.probs, partial.answers, sample_weight=weight, **options)
        assert weighted == pytest.approx(expected_calibration_error(*repeated, **options))


def test_multirater_ece_has_fifty_bins_wherever_it_is_computed(partial):
    expected = expected_calibration_error(partial.probs, partial.answers, n_bins=50)
    assert multirater_ece(partial.probs, partial.answers) == expected
    assert get_metric("MR-ECE")(partial.probs, partial.answers) == expected


probabilities = arrays(np.float32, 40, elements=st.floats(0, 1, width=32))
stacks = arrays(np.uint8, (3, 40), elements=st.integers(0, 1))


@given(probabilities, stacks, st.sampled_from([1, 5, 50]), st.sampled_from(["foreground", "top-label"]))
def test_mr_ece_is_at_most_the_mean_rater_ece_of_the_same_bins(probs, masks, n_bins, kind):
    pooled = expected_calibration_error(probs, masks, n_bins=n_bins, kind=kind)
    assert pooled <= mean_rater_ece(probs, masks, n_bins=n_bins, kind=kind) + 1e-12
    assert 0 <= pooled <= 1


@given(probabilities, stacks, st.permutations(range(3)), st.sampled_from(["mhr", "per-rater"]))
def test_the_order_of_raters_does_not_matter(probs, masks, order, target):
    ece = expected_calibration_error(probs, masks, target=target)
    assert ece == pytest.approx(expected_calibration_error(probs, masks[list(order)], target=target), abs=1e-14)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "mean"}, "target must be 'mhr', 'per-rater' or the index of a rater; got 'mean'"),
        ({"target": 4}, "rater must lie between 0 and 3; got 4"),
        ({"kind": "class"}, "kind must be one of 'foreground', 'top-label'"),
        ({"norm": "l2"}, "norm must be one of 'expected', 'average', 'maximum'"),
        ({"strategy": "quantile"}, "strategy must be one of 'uniform', 'logit', 'equal-mass'"),
        ({"weighting": "rater"}, "weighting must be one of 'pairs', 'voxels'"),
        ({"n_bins": 0}, "n_bins must be a whole number of at least 1; got 0"),
    ],
)
@pytest.mark.parametrize("big", [0, 1 << 16])
def test_unknown_options_are_refused(partial, monkeypatch, options, words, big):
    monkeypatch.setattr(calibration, "_BIG", big)
    with pytest.raises(ValueError, match=words):
        expected_calibration_error(partial.probs.astype(np.float32), partial.answers, **options)


@pytest.mark.parametrize("big", [0, 1 << 16])
def test_nothing_to_score_is_refused(complete, monkeypatch, big):
    monkeypatch.setattr(calibration, "_BIG", big)
    probs, nobody = complete.probs.astype(np.float32), np.zeros(complete.probs.size, dtype=bool)
    with pytest.raises(ValueError, match="There is no voxel to score"):
        expected_calibration_error(probs, complete.answers, roi=nobody)
    with pytest.raises(ValueError, match="Rater 1 answered at no voxel of the ROI"):
        expected_calibration_error(probs, [complete.answers[0], None], target=1)


def test_a_soft_target_has_no_raters(complete):
    with pytest.raises(ValueError, match="needs each rater's answers"):
        mean_rater_ece(complete.probs, complete.answers.mean(axis=0))


def test_the_value_of_no_voxels_is_nan():
    nothing = voxel_responses(np.empty(0), np.empty((3, 0)), rater_axis=0)
    for options in ({}, {"norm": "average"}, {"norm": "maximum"}, {"target": "per-rater"}, {"target": 2}):
        assert np.isnan(expected_calibration_error.with_options(**options)(nothing))


@pytest.mark.parametrize("target", ["mhr", "per-rater", 2])
def test_where_raters_are_missing_a_tally_is_off_by_no_more_than_the_docstring_says(target):
    """A rater who answers the upper ends of the grid's bins only has other mean probabilities than all voxels of a bin."""
    upper = np.arange(3000) % 2 == 1
    start = np.float32(0.25).view(np.int32) + (np.arange(3000) // 2 % 40 << 16)  # the grid keeps 7 bits of the mantissa
    probs = (start + np.where(upper, 0xFFFF, 0)).astype(np.int32).view(np.float32)
    answers = (np.random.default_rng(0).random((3, probs.size)) < probs).astype(float)
    answers[:2, upper], answers[2, ~upper] = np.nan, np.nan
    exact = expected_calibration_error(probs, answers, target=target)
    off = abs(expected_calibration_error(tally(probs, answers), target=target) - exact)
    assert 1e-6 < off <= 0.008 * np.minimum(probs, 1 - probs).astype(float).mean() * 1.01
