"""STAPLE: SimpleITK's answer where it has one, and a sound one where it has none."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import ball
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mrcalib import fusion
from mrcalib.fusion import staple

EMPTY = np.zeros((12, 12), np.uint8)
DISC = ball((12, 12), 4)


def itk(masks, confidence_weight=1.0):
    """Probability, sensitivity and specificity as SimpleITK has them."""
    sitk = pytest.importorskip("SimpleITK")
    program = sitk.STAPLEImageFilter()
    program.SetForegroundValue(1)
    program.SetConfidenceWeight(confidence_weight)
    image = program.Execute([sitk.GetImageFromArray(np.asarray(mask, np.uint8)) for mask in masks])
    return sitk.GetArrayFromImage(image), np.array(program.GetSensitivity()), np.array(program.GetSpecificity())


def check_equal(result, expected):
    for mine, theirs in zip((result.probability, result.sensitivity, result.specificity), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("n_raters", [1, 2, 3, 5])
@pytest.mark.parametrize("confidence_weight", [1.0, 0.5])
def test_it_is_simpleitks(five, n_raters, confidence_weight):
    masks = five[:n_raters]
    result = staple(masks, confidence_weight=confidence_weight)
    check_equal(result, itk(masks, confidence_weight))
    assert result.converged
    assert result.prior == pytest.approx(masks.mean() * confidence_weight)
    assert result.n_voxels == masks[0].size


@pytest.mark.parametrize(
    "masks",
    [
        [DISC, ball((12, 12), 3, 1), EMPTY],
        [DISC, EMPTY, EMPTY],
        [DISC, 1 - EMPTY, ball((12, 12), 3)],
        [ball((12, 12), 2, 2), ball((12, 12), 2, -2), EMPTY],
        [DISC, 1 - DISC],
    ],
    ids=["one empty", "two empty", "one full", "disjoint", "opposite"],
)
def test_it_is_simpleitks_for_odd_raters(masks):
    result, expected = staple(masks), itk(masks)
    assert np.isfinite(expected[0]).all()
    check_equal(result, expected)


def test_two_empty_raters_of_three_leave_a_third():
    np.testing.assert_allclose(staple([DISC, EMPTY, EMPTY]).probability, DISC / 3, atol=1e-12)


@pytest.mark.parametrize("value", [0, 1])
def test_where_simpleitk_has_nan_all_agree(value):
    masks = [np.full((4, 3), value)] * 3
    assert np.isnan(itk(masks)[0]).all()
    result = staple(masks)
    np.testing.assert_array_equal(result.probability, np.full((4, 3), float(value)))
    np.testing.assert_array_equal(result.sensitivity, 1)
    np.testing.assert_array_equal(result.specificity, 1)
    assert (result.prior, result.converged) == (value, True)


def voxelwise(masks, passes):
    """EM over voxels, in NumPy, as METHODS section 2 writes it; NaN in masks are left out of all sums."""
    votes = np.array(masks, float).reshape(len(masks), -1)
    known = ~np.isnan(votes)
    votes = np.where(known, votes, 0)
    posterior = votes.sum(0) / known.sum(0)
    prior = posterior.mean()
    for _ in range(passes):
        p = (posterior * votes).sum(1) / (posterior * known).sum(1)
        q = ((1 - posterior) * (known - votes)).sum(1) / ((1 - posterior) * known).sum(1)
        a, b = np.full(posterior.size, prior), np.full(posterior.size, 1 - prior)
        for r in range(len(votes)):
            a *= np.where(known[r], np.where(votes[r] == 1, p[r], 1 - p[r]), 1)
            b *= np.where(known[r], np.where(votes[r] == 1, 1 - q[r], q[r]), 1)
        posterior = a / (a + b)
    return posterior, p, q


def test_each_pass_is_the_textbooks_with_voxels_missing_too(five, rng):
    masks = five.astype(float)
    masks[rng.random(masks.shape) < 0.1] = np.nan
    masks[0] = five[0]
    for passes in (1, 2, 7):
        with pytest.warns(UserWarning, match=f"did not converge in {passes} passes"):
            result = staple(masks, max_iter=passes, tol=0.0)
        assert (result.n_iter, result.converged) == (passes, False)
        posterior, p, q = voxelwise(masks, passes)
        np.testing.assert_allclose(result.probability.ravel(), posterior, atol=1e-10)
        np.testing.assert_allclose(result.sensitivity, p, atol=1e-10)
        np.testing.assert_allclose(result.specificity, q, atol=1e-10)


def test_a_missing_rater_is_left_out_and_an_empty_one_is_not(five):
    result, without = staple([*five[:3], None, five[4]]), staple(five[[0, 1, 2, 4]])
    np.testing.assert_array_equal(result.probability, without.probability)
    np.testing.assert_array_equal(np.isnan(result.sensitivity), [False, False, False, True, False])
    np.testing.assert_array_equal(result.specificity[[0, 1, 2, 4]], without.specificity)
    empty = staple([*five[:3], np.zeros_like(five[0]), five[4]])
    assert empty.sensitivity[3] == pytest.approx(0, abs=1e-6)
    assert empty.specificity[3] == 1
    assert empty.prior < without.prior


def test_nobody_answered_is_nan_and_does_not_count(five):
    masks = five.astype(float)
    masks[:, :2] = np.nan
    result = staple(masks)
    assert np.isnan(result.probability[:2]).all()
    np.testing.assert_array_equal(result.probability[2:], staple(five[:, 2:]).probability)
    assert result.n_voxels == five[0, 2:].size


def test_the_field_of_view_is_the_regions(five):
    roi = np.zeros(five[0].shape, bool)
    roi[3:14, 2:12, 2:9] = True
    result = staple(five, roi=roi)
    cropped = staple(five[:, 3:14, 2:12, 2:9])
    np.testing.assert_allclose(result.probability[3:14, 2:12, 2:9], cropped.probability, atol=1e-12)
    np.testing.assert_allclose(result.sensitivity, cropped.sensitivity, atol=1e-12)
    assert (result.prior, result.n_voxels) == (pytest.approx(cropped.prior), int(roi.sum()))
    assert result.prior > staple(five).prior
    assert np.isfinite(result.probability).all()
    assert staple(five, roi=roi, prior=0.1).prior == 0.1


def test_votes_seen_outside_the_region_only_have_a_probability_too():
    masks = np.array([[0, 1, 0, 1, 1, 1], [0, 1, 0, 1, 0, 1]])
    result = staple(masks, roi=[1, 1, 1, 1, 0, 0])  # they agree inside: rater 0 alone is impossible either way
    np.testing.assert_array_equal(result.probability, [0, 1, 0, 1, 0.5, 1])


def test_an_outlier_is_believed_less():
    shape = (30, 24, 20)
    good = [ball(shape, 6), ball(shape, 6, 0.5), ball(shape, 5.5), ball(shape, 6.5)]
    elsewhere = ball(shape, 4, (9, 7, 6))
    result = staple([*good, elsewhere])
    assert result.sensitivity[4] < 0.01
    assert result.sensitivity[:4].min() > 0.7
    alone = (elsewhere == 1) & (np.sum(good, axis=0) == 0)
    assert alone.any()
    assert (result.probability[alone] < 0.01).all()


def test_many_raters_do_not_underflow(rng):
    truth = rng.random(400) < 0.3
    masks = np.where(rng.random((30, 400)) < 0.08, ~truth, truth)
    result = staple(masks)
    assert result.converged
    np.testing.assert_array_equal(result.probability > 0.5, truth)
    np.testing.assert_allclose(result.sensitivity, masks[:, truth].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(result.specificity, 1 - masks[:, ~truth].mean(axis=1), atol=1e-6)


@settings(max_examples=25)
@given(arrays(np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 24)), elements=st.integers(0, 1)), st.randoms())
def test_order_of_raters_does_not_matter_and_nothing_is_nan(masks, random):
    order = list(range(len(masks)))
    random.shuffle(order)
    with np.errstate(all="raise"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(fusion._staple, "warn_caller", lambda *_: None)
        result = staple(list(masks), max_iter=60)
        other = staple(list(masks[order]), max_iter=60)
    np.testing.assert_allclose(other.probability, result.probability, atol=1e-7)
    np.testing.assert_allclose(other.sensitivity, result.sensitivity[order], atol=1e-7)
    for found in (result.probability, result.sensitivity, result.specificity):
        assert ((found >= 0) & (found <= 1)).all()


@given(arrays(np.uint8, st.integers(1, 30), elements=st.integers(0, 1)), st.integers(1, 4))
def test_identical_raters_are_believed(mask, n_raters):
    result = staple([mask] * n_raters)
    np.testing.assert_allclose(result.probability, mask, atol=1e-12)
    np.testing.assert_allclose(result.sensitivity, 1, atol=1e-12)
    np.testing.assert_allclose(result.specificity, 1, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prior": 1.2}, "prior must be a number from 0 to 1"),
        ({"prior": np.nan}, "prior must be a number from 0 to 1"),
        ({"confidence_weight": 0.0}, "confidence_weight must be a positive, finite number"),
        ({"confidence_weight": 9.0}, r"prior \* confidence_weight must lie in \[0, 1\]; got 0.5 \* 9"),
        ({"max_iter": 0}, "max_iter must be a whole number"),
        ({"tol": -1.0}, "tol must be a number of at least 0"),
        ({"roi": [1, 0]}, "roi must have the shape of the masks"),
        ({"roi": [3, 0, 0]}, "roi must hold 0 and 1 only"),
        ({"roi": [0, 0, 0]}, "roi holds no voxel that a rater answered"),
    ],
)
def test_it_refuses(options, told):
    with pytest.raises(ValueError, match=told):
        staple([[0, 1, 1], [0, 0, 1]], **options)
