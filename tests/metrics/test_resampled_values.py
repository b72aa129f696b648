"""What resampling computes by a shorter way is the value of the summed statistics."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib.cohort import Cohort
from mrcalib.metrics import auc, default_metrics, get_metric, maximum_calibration_error
from mrcalib.resampling import bootstrap_counts, weighted_values
from mrcalib.responses import Responses
from mrcalib.tallies import tally

OTHERS = (
    "mr_ace",
    "mr_mce",
    "mr_top_label_ece",
    "tdsc_qubiq",
    "auc_majority",
    "rps",
    "vote_coverage_bias",
    "pit_deviation",
)


@pytest.fixture
def cohort(rng):
    """Seven cases; one rater is missing in two of them, and one case has no foreground."""
    cases = []
    for i in range(7):
        probs = np.where(rng.random(600) < 0.3, 0, rng.random(600)).astype(np.float32)
        masks = list((rng.random((3, 600)) < (0 if i == 4 else probs**2)).astype(np.uint8))
        cases.append(tally(probs, [None, *masks[1:]] if i in (1, 4) else masks))
    return Cohort(cases)


@pytest.mark.parametrize(
    "metric",
    [*default_metrics(), *map(get_metric, OTHERS), maximum_calibration_error.with_options(target=0)],
    ids=lambda m: m.name,
)
def test_values_of_resamples_are_those_of_the_pooled_statistics(cohort, metric):
    statistics = np.stack([metric.sums(rows) for rows in map(cohort.responses, range(7))])
    counts = bootstrap_counts(cohort.groups, 400, 0)
    counts[0], counts[1] = 0, 1
    counts[2] = np.eye(7)[4]  # the case without foreground alone: some scores are not defined
    expected = metric.value(np.stack([(row[:, np.newaxis] * statistics).sum(axis=0) for row in counts]))
    np.testing.assert_allclose(
        weighted_values(metric.value, statistics, counts, resampler=metric.resampler), expected, rtol=1e-11, atol=1e-15
    )
    assert np.isnan(expected[0])


def test_area_under_many_more_cases_than_pays_is_summed_by_bins(rng):
    statistics = np.zeros((600, 2048))
    statistics[np.arange(600), rng.integers(0, 2048, 600)] = rng.integers(1, 9, 600)
    counts = rng.integers(0, 3, (700, 600)).astype(float)
    metric = auc
    np.testing.assert_allclose(
        weighted_values(metric.value, statistics, counts, resampler=metric.resampler),
        metric.value(counts @ statistics),
        rtol=1e-12,
    )


def bare(rows: Responses) -> Responses:
    """The same rows, of which none is known to share its probability with another."""
    names = ("prob", "count", "answers", "votes", "n_raters", "present", "marked", "voxel_volume", "count_probs")
    return Responses(**{name: getattr(rows, name) for name in names})


@pytest.mark.parametrize("metric", [*default_metrics(), *map(get_metric, OTHERS)], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "function",
    [np.copy, np.square, lambda p: 1 - p, lambda p: np.round(p, 1), lambda p: np.sin(40 * p) ** 2],
    ids=["as it is", "rising", "falling", "ties", "neither"],
)
def test_sums_by_level_are_sums_over_rows(cohort, metric, function):
    for case in (0, 1):
        rows = cohort.responses(case)
        assert rows.distinct().prob.size < rows.n_rows
        mapped = rows.map(function)
        np.testing.assert_array_equal(mapped.prob, function(rows.prob))
        np.testing.assert_allclose(metric.sums(mapped), metric.sums(bare(mapped)), rtol=1e-11, atol=1e-11)
