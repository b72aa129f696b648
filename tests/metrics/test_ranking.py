"""The area under the ROC curve."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mrcalib.inputs import voxel_responses
from mrcalib.metrics import auc


def test_auc_of_pairs_equals_that_of_the_expanded_pairs(partial):
    p, y = partial.pairs
    assert auc(partial.probs, partial.answers) == pytest.approx(roc_auc_score(y, p), rel=1e-12)


def test_auc_of_the_majority_equals_that_of_the_voxels(partial):
    mean = np.nanmean(partial.answers, axis=0)
    for tie, label in (("background", mean > 0.5), ("foreground", mean >= 0.5)):
        got = auc(partial.probs, partial.answers, target="majority", tie=tie)
        assert got == pytest.approx(roc_auc_score(label, partial.probs), rel=1e-12)


def test_ties_count_half(complete):
    coarse = np.round(complete.probs, 1)
    assert auc(np.full(4, 0.3), [0, 1, 0, 1]) == 0.5
    expected = roc_auc_score(complete.answers.ravel(), np.tile(coarse, 4))
    assert auc(coarse, complete.answers) == pytest.approx(expected, rel=1e-12)


def test_sample_weight_equals_repetition(partial):
    weight = np.random.default_rng(2).integers(0, 4, partial.probs.size)
    repeated = auc(np.repeat(partial.probs, weight), np.repeat(partial.answers, weight, axis=1))
    assert auc(partial.probs, partial.answers, sample_weight=weight) == pytest.approx(repeated)


def test_one_class_has_no_area():
    assert np.isnan(auc([0.1, 0.9], [[0, 0], [0, 0]]))
    assert np.isnan(auc([0.1, 0.9], [[1, 1], [1, 1]]))


@pytest.mark.parametrize("label", ["pairs", "majority"])
def test_the_metric_is_close_to_the_exact_area(partial, label):
    binned = auc.with_options(target=label)(voxel_responses(partial.probs, partial.answers))
    assert binned == pytest.approx(auc(partial.probs, partial.answers, target=label), abs=1e-4)


def test_the_metric_tells_extreme_probabilities_apart():
    probs = np.array([0.0, 1e-9, 1e-6, 1 - 1e-6, 1.0])
    for k in range(1, 5):
        assert auc(voxel_responses(probs, np.arange(5) >= k)) == 1.0


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="target must be one of 'pairs', 'majority'; got 'mean'"):
        auc([0.5], [1], target="mean")
    with pytest.raises(ValueError, match="tie must be one of"):
        auc.with_options(tie="up")
    with pytest.raises(ValueError, match="There is no voxel to score"):
        auc([0.5], [1], roi=[0])
