"""The wrapper that makes a metric of one annotation one of several."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from mrcalib.metrics import auc, brier_score, expected_calibration_error, multirater


@pytest.mark.parametrize("metric", [brier_score_loss, roc_auc_score])
def test_it_scores_the_expanded_pairs(partial, metric):
    ours = {brier_score_loss: brier_score, roc_auc_score: auc}[metric]
    wrapped = multirater(metric, labels_first=True)
    assert wrapped(partial.probs, partial.answers) == pytest.approx(ours(partial.probs, partial.answers), rel=1e-12)
    assert wrapped(partial.probs, partial.answers) == pytest.approx(metric(*partial.pairs[::-1]), rel=1e-12)


def test_our_own_metrics_are_unchanged_by_it(partial):
    wrapped = multirater(expected_calibration_error)
    expected = expected_calibration_error(partial.probs, partial.answers, n_bins=7)
    assert wrapped(partial.probs, partial.answers, n_bins=7) == pytest.approx(expected)


def test_options_and_the_roi_are_passed_on(partial):
    wrapped = multirater(log_loss, labels_first=True)
    roi = partial.probs > 0.2
    expected = wrapped(partial.probs[roi], partial.answers[:, roi], normalize=False)
    assert wrapped(partial.probs, partial.answers, roi=roi, normalize=False) == pytest.approx(expected)
    assert wrapped(partial.probs, partial.answers.T, rater_axis=-1) == pytest.approx(
        wrapped(partial.probs, partial.answers)
    )


def test_it_keeps_the_name():
    assert multirater(roc_auc_score).__name__ == "roc_auc_score"


def test_no_pairs_and_soft_targets_are_refused(complete):
    wrapped = multirater(lambda p, _: float(np.mean(p)))
    with pytest.raises(ValueError, match="There is no voxel to score"):
        wrapped([0.5], [1], roi=[0])
    with pytest.raises(ValueError, match="needs each rater's answers"):
        wrapped(complete.probs, complete.answers.mean(axis=0))
