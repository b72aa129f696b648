"""The simulated organoids are what they are said to be: raters with habits that an image shows, and whims that none does."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import ndtri
from scipy.stats import multivariate_normal

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "detector_ensembles"))
from organoids import OrganoidImage, organoids

sys.path.pop(0)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pairwise intersection over union, on its own."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    return shared / (areas[0][:, None] + areas[1] - shared)


def agreement(a: np.ndarray, b: np.ndarray, threshold: float) -> float:
    """F1 of a one-to-one matching with the most pairs."""
    close = overlaps(a, b) >= threshold
    pairs = close[linear_sum_assignment(close, maximize=True)].sum()
    return float(2 * pairs / (len(a) + len(b)))


@pytest.fixture(scope="module")
def shown() -> list[OrganoidImage]:
    return list(organoids(24, rng=3))


def test_a_seed_gives_the_same_images_and_the_first_are_the_same_however_many_are_asked_for():
    one, again, other = (list(organoids(n, (96, 80), n_objects=9, rng=seed)) for n, seed in ((1, 7), (2, 7), (1, 8)))
    np.testing.assert_array_equal(one[0].image, again[0].image)
    np.testing.assert_array_equal(one[0].consensus, again[0].consensus)
    assert not np.array_equal(one[0].image, other[0].image)
    assert not np.array_equal(again[0].image, again[1].image)
    assert [sample.id for sample in again] == ["image001", "image002"]


def test_two_raters_mark_sixty_and_forty_and_agree_as_in_the_paper(shown):
    counts = np.mean([[len(boxes) for boxes in sample.raters] for sample in shown], axis=0)
    assert counts == pytest.approx([60, 40], rel=0.06)
    at_half, at_ninety = (np.mean([agreement(*sample.raters, t) for sample in shown]) for t in (0.5, 0.9))
    assert at_half == pytest.approx(0.63, abs=0.02)
    assert at_ninety < 0.1


def test_raters_mark_as_often_as_the_truth_says(shown):
    truth = np.concatenate([sample.truth for sample in shown])
    marked = np.concatenate([sample.marked for sample in shown])
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        here = (truth >= low) & (truth < low + 0.2)
        error = marked[here].mean() - truth[here].mean()
        assert abs(error) < 4 * np.sqrt(0.25 / here.sum())


def test_rates_and_joint_rate_are_those_of_a_bivariate_normal(shown):
    """Leanings have variance 1 + 0.35**2 and covariance cos(44 degrees): an independent way to the agreement."""
    marked = np.concatenate([sample.marked for sample in shown])
    correlation = np.cos(np.radians(44)) / (1 + 0.35**2)
    both = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf(ndtri([1 / 2, 1 / 3]))
    assert marked.mean(axis=0) == pytest.approx([1 / 2, 1 / 3], abs=0.04)
    assert marked.all(axis=1).mean() == pytest.approx(both, abs=0.03)


def test_what_all_mark_is_agreed_and_what_nobody_marks_is_not(shown):
    for sample in shown:
        assert sample.agreed[sample.marked.all(axis=1)].all()
        assert not sample.agreed[~sample.marked.any(axis=1)].any()
        assert len(sample.consensus) == sample.agreed.sum()


def test_boxes_have_area_lie_in_the_image_and_are_drawn_around_their_organoid(shown):
    for sample in shown:
        for boxes in (sample.organoids, sample.consensus, *sample.raters):
            assert (boxes[:, 2:] > boxes[:, :2] + 1).all()
            assert (boxes >= 0).all()
            assert (boxes <= 256).all()
        for r, boxes in enumerate(sample.raters):
            drawn = np.diag(overlaps(boxes, sample.organoids[sample.marked[:, r]]))
            assert drawn.min() > 0.4
            assert 0.75 < drawn.mean() < 0.95


def test_health_can_be_seen(shown):
    """The core of a box is the brighter, the brighter the cue of the core; the rim the darker, the clearer its cue."""
    grey, cues = [], []
    for sample in shown[:8]:
        for (x0, y0, x1, y1), cue in zip(sample.organoids, sample.cues, strict=True):
            x, y = int((x0 + x1) / 2), int((y0 + y1) / 2)
            rim = [sample.image[y, int(x0 + 1)], sample.image[y, int(x1 - 1)], sample.image[int(y0 + 1), x]]
            grey.append((sample.image[y - 1 : y + 2, x - 1 : x + 2].mean(), np.mean(rim)))
            cues.append(cue)
    core, rim = (np.corrcoef(np.array(grey)[:, k], np.array(cues)[:, k])[0, 1] for k in (0, 1))
    assert core > 0.8
    assert rim < -0.5


def test_images_are_rows_and_columns():
    sample = next(organoids(1, (120, 40), n_objects=10, rng=0))
    assert sample.image.shape == (40, 120)
    assert sample.image.dtype == np.float32
    assert sample.organoids[:, 2].max() > 45
    assert sample.organoids[:, 3].max() <= 40


def test_disagreement_scales_from_none_to_more():
    def between(disagreement: float) -> float:
        images = organoids(4, disagreement=disagreement, rates=(0.4, 0.4), rng=1)
        return float(np.mean([agreement(*sample.raters, 0.5) for sample in images]))

    low, mid, high = (between(d) for d in (1e-6, 0.5, 1.8))
    assert low == 1
    assert low > mid > high


def test_one_rater_is_the_consensus_and_five_are_possible():
    alone = next(organoids(1, rates=[0.4], rng=0))
    np.testing.assert_array_equal(alone.raters[0], alone.consensus)
    panel = next(organoids(1, rates=np.linspace(0.3, 0.6, 5), rng=0))
    assert len(panel.raters) == len(panel.rater_names) == panel.truth.shape[1] == 5


def test_an_image_without_organoids_has_empty_boxes():
    empty = next(sample for sample in organoids(40, (32, 32), n_objects=1, rng=0) if not len(sample.organoids))
    assert [boxes.shape for boxes in (*empty.raters, empty.consensus, empty.organoids)] == [(0, 4)] * 4
    assert np.isfinite(empty.image).all()


def test_arrays_are_read_only():
    sample = next(organoids(1, (64, 64), n_objects=5, rng=0))
    with pytest.raises(ValueError, match="read-only"):
        sample.image[0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        sample.raters[0][...] = 1


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"n_images": 0}, "n_images must be at least 1"),
        ({"size": (31, 64)}, "at least 32 pixels"),
        ({"size": (64,)}, "two numbers"),
        ({"n_objects": 0}, "n_objects"),
        ({"rates": (0.5, 1.0)}, r"in \(0, 1\) a rater"),
        ({"rates": ()}, r"in \(0, 1\) a rater"),
        ({"rates": (0.5, float("nan"))}, r"in \(0, 1\) a rater"),
        ({"disagreement": 0.0}, "disagreement"),
        ({"disagreement": float("nan")}, "disagreement"),
        ({"rng": -1}, "non-negative"),
    ],
)
def test_wrong_arguments_are_told_at_the_call(wrong, told):
    with pytest.raises(ValueError, match=told):
        organoids(**wrong)


def test_a_count_that_is_no_integer_is_a_type_error():
    with pytest.raises(TypeError, match="n_images"):
        organoids(2.5)
