"""What every metric promises: sums that add, values over any leading axes, and the catalogue."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcalib.metrics as room
from mrcalib.inputs import voxel_responses
from mrcalib.metrics import (
    auc,
    brier_score,
    default_metrics,
    expected_calibration_error,
    get_metric,
    log_loss,
    majority_dice,
    mean_rater_ece,
    soft_dice,
    threshold_dice,
    volume_bias,
    volume_crps,
)
from mrcalib.tallies import tally

OTHERS = ("mr_ace", "mr_mce", "mr_top_label_ece", "tdsc_qubiq", "tdsc_mrnet", "volume_crps_empirical", "volume_error")
METRICS = [*default_metrics(), *map(get_metric, OTHERS), get_metric("auc_majority")]
EVERY = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def rows(responses, keep):
    """Those rows of the responses alone."""
    arrays = {f.name: getattr(responses, f.name) for f in fields(responses)}
    return replace(responses, **{k: a[keep] for k, a in arrays.items() if isinstance(a, np.ndarray)})


@EVERY
@given(seed=st.integers(0, 2**32 - 1))
def test_statistics_add_over_any_split_of_the_voxels(metric, simulated, seed):
    rng = np.random.default_rng(seed)
    voxels = simulated(n=200, seed=seed % 7)
    whole = voxel_responses(voxels.probs, voxels.answers)
    part = rng.random(whole.n_rows) < rng.random()
    total = metric.sums(rows(whole, part)) + metric.sums(rows(whole, ~part))
    np.testing.assert_allclose(total, metric.sums(whole), rtol=1e-12, atol=1e-12)


@EVERY
def test_values_run_over_leading_axes(metric, complete):
    whole = voxel_responses(complete.probs, complete.answers)
    parts = [metric.sums(rows(whole, np.arange(whole.n_rows) % 6 == k)) for k in range(6)]
    stacked = np.array(parts).reshape(2, 3, -1)
    one_by_one = [float(metric.value(part)) for part in parts]
    assert metric.value(stacked).shape == (2, 3)
    np.testing.assert_allclose(metric.value(stacked).ravel(), one_by_one, rtol=1e-13)
    assert np.isfinite(one_by_one).all()


@EVERY
def test_no_voxels_have_no_value(metric):
    assert np.isnan(metric(voxel_responses(np.empty(0), np.empty((3, 0)), rater_axis=0)))


@EVERY
def test_raters_who_found_nothing_are_no_error(metric, complete):
    value = metric(voxel_responses(complete.probs, np.zeros((3, complete.probs.size), np.uint8)))
    assert np.isfinite(value) or metric.name in ("auc", "auc_majority", "volume_error")


@EVERY
def test_metrics_survive_pickling(metric, complete):
    responses = voxel_responses(complete.probs, complete.answers)
    assert pickle.loads(pickle.dumps(metric))(responses) == metric(responses)


@EVERY
def test_the_cells_of_a_tally_give_nearly_what_voxels_give(metric, complete):
    exact = metric(voxel_responses(complete.probs, complete.answers))
    cells = metric(tally(complete.probs, complete.answers).responses())
    assert cells == pytest.approx(exact, rel=1e-4, abs=1e-6)


@EVERY
def test_the_order_of_raters_does_not_matter(metric, complete):
    values = [
        metric(voxel_responses(complete.probs, complete.answers[order])) for order in ([0, 1, 2, 3], [2, 0, 3, 1])
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("mr_ece", expected_calibration_error),
        ("mean_rater_ece", mean_rater_ece),
        ("mean_rater_top_label_ece", lambda p, y: mean_rater_ece(p, y, kind="top-label")),
        ("brier", brier_score),
        ("log_loss", log_loss),
        ("tdsc", threshold_dice),
        ("dice", majority_dice),
        ("soft_dice", soft_dice),
        ("volume_crps", volume_crps),
        ("volume_bias", volume_bias),
        ("auc", auc),
    ],
)
def test_the_default_metrics_are_the_functions_of_the_same_meaning(complete, name, function):
    assert name in [metric.name for metric in default_metrics()]
    value = get_metric(name)(voxel_responses(complete.probs, complete.answers))
    assert value == pytest.approx(function(complete.probs, complete.answers), rel=1e-4 if name == "auc" else 1e-12)


def test_names_are_unique_and_directions_known():
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.label for metric in METRICS}) == len(METRICS)
    assert {metric.better for metric in METRICS} == {"lower", "higher", "zero"}
    assert [m.name for m in METRICS if not m.poolable] == [m.name for m in METRICS if m.name.startswith("volume")]


def test_an_unknown_metric_is_answered_with_the_names():
    with pytest.raises(
        ValueError, match=r"no metric 'brir'. Did you mean 'brier'.* Known: mr_ece, mean_rater_ece, .*rps, "
    ):
        get_metric("brir")


def test_the_room_shows_what_it_lists():
    assert all(hasattr(room, name) for name in room.__all__)
