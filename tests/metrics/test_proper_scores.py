"""Brier score, log loss and the CORP decomposition against other libraries on the expanded pairs."""

from __future__ import annotations

import numpy as np
import pytest
from model_diagnostics.scoring import SquaredError, decompose
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from mrcalib.inputs import voxel_responses
from mrcalib.metrics import CorpDecomposition, brier_score, corp_decomposition, log_loss


def test_brier_score_equals_that_of_the_expanded_pairs(partial):
    p, y = partial.pairs
    assert brier_score(partial.probs, partial.answers) == pytest.approx(brier_score_loss(y, p), rel=1e-13)


def test_log_loss_equals_that_of_the_expanded_pairs(partial):
    p, y = partial.pairs
    clipped = np.clip(p, 2.0**-24, 1 - 2.0**-24)
    assert log_loss(partial.probs, partial.answers) == pytest.approx(sklearn_log_loss(y, clipped), rel=1e-12)
    assert log_loss(partial.probs, partial.answers, eps=1e-3) == pytest.approx(
        sklearn_log_loss(y, np.clip(p, 1e-3, 1 - 1e-3)), rel=1e-12
    )


@pytest.mark.parametrize("score", [brier_score, log_loss])
def test_sample_weight_equals_repetition(partial, score):
    weight = np.random.default_rng(2).integers(0, 4, partial.probs.size)
    repeated = score(np.repeat(partial.probs, weight), np.repeat(partial.answers, weight, axis=1))
    assert score(partial.probs, partial.answers, sample_weight=weight) == pytest.approx(repeated)


@pytest.mark.parametrize("score", [brier_score, log_loss])
def test_a_soft_target_scores_as_its_raters_do(complete, score):
    soft = score(complete.probs, complete.answers.mean(axis=0))
    assert soft == pytest.approx(score(complete.probs, complete.answers))


@pytest.mark.parametrize("score", [brier_score, log_loss])
def test_the_mean_response_scores_best(complete, score):
    mean = complete.answers.mean(axis=0)
    best = score(mean, complete.answers)
    assert best < score(np.clip(mean + 0.01, 0, 1), complete.answers)
    assert best < score(np.clip(mean - 0.01, 0, 1), complete.answers)


def test_hand_computed_scores():
    assert brier_score([0.25, 1.0], [[0, 1], [1, np.nan]]) == pytest.approx((0.0625 + 0.5625) / 3)
    assert log_loss([0.25], [[0], [1]]) == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert log_loss([0.0], [1]) == pytest.approx(24 * np.log(2))


def test_an_eps_that_clips_everything_is_refused():
    with pytest.raises(ValueError, match=r"eps must lie between 0 and 1/2; got 0.5"):
        log_loss([0.5], [1], eps=0.5)


@pytest.mark.parametrize("score", [brier_score, log_loss, corp_decomposition])
def test_nothing_to_score_is_refused(score):
    with pytest.raises(ValueError, match="There is no voxel to score"):
        score([0.5, 0.5], [0, 1], roi=[False, False])


def reference(y, p, weights=None):
    table = decompose(y_obs=y, y_pred=p, weights=weights, scoring_function=SquaredError())
    return [float(table[name].item()) for name in ("miscalibration", "discrimination", "uncertainty", "score")]


def parts(corp):
    return [corp.miscalibration, corp.discrimination, corp.uncertainty, corp.score]


def test_corp_equals_model_diagnostics_on_the_expanded_pairs(partial):
    p, y = partial.pairs
    assert parts(corp_decomposition(partial.probs, partial.answers)) == pytest.approx(reference(y, p), rel=1e-9)


def test_corp_of_the_mean_response_differs_by_the_variance_within_voxels_only(complete):
    mean = complete.answers.mean(axis=0)
    corp = corp_decomposition(complete.probs, complete.answers)
    soft = reference(mean, complete.probs)
    within = np.mean(mean * (1 - mean))
    assert parts(corp) == pytest.approx([soft[0], soft[1], soft[2] + within, soft[3] + within], rel=1e-9)


def test_corp_parts_add_up_to_the_brier_score(partial):
    corp = corp_decomposition(partial.probs, partial.answers)
    assert corp.score == pytest.approx(brier_score(partial.probs, partial.answers))
    assert corp.score == pytest.approx(corp.miscalibration - corp.discrimination + corp.uncertainty)
    assert corp.miscalibration > 0
    assert corp.discrimination > 0


def test_corp_leaves_voxels_of_no_weight_out(partial):
    weight = np.random.default_rng(2).integers(0, 3, partial.probs.size)
    weighted = corp_decomposition(partial.probs, partial.answers, sample_weight=weight)
    repeated = corp_decomposition(np.repeat(partial.probs, weight), np.repeat(partial.answers, weight, axis=1))
    assert parts(weighted) == pytest.approx(parts(repeated))


def test_corp_of_no_voxels_is_nan():
    nothing = voxel_responses(np.empty(0), np.empty((3, 0)), rater_axis=0)
    assert np.isnan(parts(CorpDecomposition.from_responses(nothing))).all()
