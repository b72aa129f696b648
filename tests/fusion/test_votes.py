"""Soft, majority, median, one rater at random, and the smoothed maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import convolve, gaussian_filter

from mrcalib import fusion

stacks = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


@given(stacks)
def test_votes_are_numpys(stack):
    mean, masks = stack.mean(axis=0), list(stack)
    np.testing.assert_array_equal(fusion.soft(masks), stack.sum(axis=0) / len(stack))
    np.testing.assert_array_equal(fusion.median(masks), np.median(stack, axis=0))
    np.testing.assert_array_equal(fusion.majority(masks), mean > 0.5)
    np.testing.assert_array_equal(fusion.majority(masks, tie="foreground"), mean >= 0.5)


def test_soft_is_an_exact_quotient():
    """4 of 5 is not more than 0.8, which a float32 mean would make it."""
    assert fusion.soft([[1], [1], [1], [1], [0]])[0] == 0.8
    assert fusion.majority([[1], [0]]).dtype == np.uint8


def test_median_counts_who_answered():
    stack = np.array([[1, 1, np.nan, 0], [1, 0, np.nan, np.nan], [0, np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(fusion.median(stack), [1, 0.5, np.nan, 0])


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="tie must be one of 'background', 'foreground'; got 'half'"):
        fusion.majority([[1], [0]], tie="half")


def test_random_rater_draws_everybody_alike_and_nobody_who_is_missing():
    masks = [np.array([0, 1]), None, np.array([1, 0]), np.array([1, 1])]
    rng = np.random.default_rng(0)
    drawn = [tuple(fusion.random_rater(masks, rng)) for _ in range(600)]
    assert set(drawn) == {(0, 1), (1, 0), (1, 1)}
    assert all(150 < drawn.count(mask) < 250 for mask in set(drawn))  # 200 expected, standard deviation 11.5
    assert [tuple(fusion.random_rater(masks, 7)) for _ in range(3)] == [tuple(fusion.random_rater(masks, 7))] * 3


def test_random_rater_is_a_copy_and_holes_are_filled_by_others():
    mask = np.array([0, 1], np.uint8)
    fusion.random_rater([mask], 0)[:] = 9
    np.testing.assert_array_equal(mask, [0, 1])
    masks = [[np.nan, 1.0, 0.0], [1.0, 0.0, np.nan]]
    rng = np.random.default_rng(0)
    assert {tuple(fusion.random_rater(masks, rng)) for _ in range(50)} == {(1, 1, 0), (1, 0, 0)}


def test_random_rater_checks_the_mask_that_it_uses():
    with pytest.raises(ValueError, match="hold 0 and 1 only"):
        fusion.random_rater([[0, 3]], 0)


@pytest.mark.parametrize("shape", [(9,), (9, 8), (7, 6, 5)])
def test_soft_gaussian_is_scipys(rng, shape):
    stack = rng.random((3, *shape)) < 0.4
    expected = gaussian_filter(stack.mean(axis=0), 1.3, mode="nearest", truncate=4.0)
    np.testing.assert_allclose(fusion.soft_gaussian(stack, 1.3, unit="voxels"), expected, atol=1e-12)


def test_soft_gaussian_in_mm_is_narrower_in_voxels_along_long_edges(rng):
    stack = rng.random((3, 9, 8, 7)) < 0.4
    given_ = fusion.soft_gaussian(stack, 2.0, unit="mm", spacing=(0.5, 1.0, 4.0))
    np.testing.assert_array_equal(given_, fusion.soft_gaussian(stack, (4.0, 2.0, 0.5), unit="voxels"))


def test_soft_gaussian_of_width_0_is_soft_and_keeps_flat_fields(five):
    np.testing.assert_array_equal(fusion.soft_gaussian(five, 0.0, unit="voxels"), fusion.soft(five))
    flat = fusion.soft_gaussian(np.ones((2, 8, 8)), 3.0, unit="voxels")
    np.testing.assert_allclose(flat, 1.0, atol=1e-12)
    assert flat.max() <= 1


def test_soft_gaussian_weighs_only_voxels_that_were_answered():
    """One-dimensional: the unanswered voxel has no share in its neighbours' means."""
    stack = np.array([[1.0, np.nan, 0.0]])
    side, far = np.exp(-0.5), np.exp(-2.0)
    # the border voxel is repeated: voxel 0 sees itself at -4 ... 0, the hole at 1, voxel 2 from 2 to 4
    weight = {k: np.exp(-0.5 * k * k) for k in range(-4, 5)}
    zero = sum(weight[k] for k in range(-4, 1))
    two = sum(weight[k] for k in range(2, 5))
    assert side == weight[1]
    assert far == weight[2]
    smoothed = fusion.soft_gaussian(stack, 1.0, unit="voxels")
    np.testing.assert_allclose(smoothed, [zero / (zero + two), np.nan, two / (zero + two)], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sigma": -1.0, "unit": "voxels"}, "sigma must be one number of at least 0"),
        ({"sigma": np.nan, "unit": "voxels"}, "sigma must be"),
        ({"sigma": (1.0, 1.0, 1.0), "unit": "voxels"}, "for each of 2 axes"),
        ({"sigma": 1.0, "unit": "mm"}, "unit='mm' needs spacing, a voxel edge in mm for each of 2 axes"),
        ({"sigma": 1.0, "unit": "mm", "spacing": (1.0, 0.0)}, "spacing must be positive"),
        ({"sigma": 1.0, "unit": "mm", "spacing": (1.0, 1.0, 1.0)}, "for each of 2 axes"),
        ({"sigma": 1.0, "unit": "cm"}, "unit must be one of 'mm', 'voxels'"),
        ({"sigma": 1.0, "unit": "voxels", "truncate": 0.0}, "truncate must be a positive, finite number"),
    ],
)
def test_soft_gaussian_refuses(options, told):
    with pytest.raises(ValueError, match=told):
        fusion.soft_gaussian(np.ones((2, 4, 4)), **options)


def published_kernel(n_axes, sigma):
    """The kernel as published: the centre of a normalised Gaussian becomes the sum of the others; all over 1 - centre."""
    offsets = np.indices([3] * n_axes) - 1
    kernel = np.exp(-(offsets**2).sum(axis=0) / (2 * sigma**2))
    kernel /= kernel.sum()
    centre = (1,) * n_axes
    others = 1 - kernel[centre]
    kernel[centre] = others
    return kernel / others


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("shape", [(9, 8), (7, 6, 5), (6, 5, 1)])
def test_svls_is_the_mean_of_published_convolutions(rng, shape, sigma):
    stack = rng.random((3, *shape)) < 0.4
    kernel = published_kernel(len(shape), sigma)
    one_by_one = [convolve(mask.astype(float), kernel, mode="nearest") / kernel.sum() for mask in stack]
    assert kernel.sum() == pytest.approx(2)
    np.testing.assert_allclose(fusion.svls(stack, sigma), np.mean(one_by_one, axis=0), atol=1e-12)


def test_svls_keeps_flat_fields_and_half_of_the_centre(rng):
    for full in (0, 1):
        np.testing.assert_allclose(fusion.svls(np.full((2, 5, 6, 4), full)), full, atol=1e-12)
    mask = rng.random((12, 11)) < 0.5
    smoothed = fusion.svls([mask])
    assert smoothed[mask].min() >= 0.5
    assert smoothed[~mask].max() <= 0.5
    lone = np.zeros((5, 5), int)
    lone[2, 2] = 1
    side = np.exp(-0.5)
    around = 4 * side + 4 * side**2
    np.testing.assert_allclose(
        fusion.svls([lone])[1:3, 1:3], [[side**2, side], [side, around]] / (2 * around), atol=1e-12
    )


def test_svls_is_linear_in_masks(five):
    mixed = np.mean([fusion.svls([mask]) for mask in five], axis=0)
    np.testing.assert_allclose(fusion.svls(five), mixed, atol=1e-12)


def test_svls_refuses():
    with pytest.raises(ValueError, match="two or three axes"):
        fusion.svls([[0, 1, 1]])
    with pytest.raises(ValueError, match="sigma must be a positive, finite number"):
        fusion.svls(np.ones((1, 3, 3)), 0.0)
