"""Pictures of predicted numbers of votes."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib import Cohort, OrdinalCalibrator, tally
from mrcalib.metrics import count_responses, pit_histogram, vote_interval_coverage
from mrcalib.plots import CountReliabilityDisplay, PITDisplay, VoteCoverageDisplay

K = 3
PATIENTS = np.repeat([f"p{i}" for i in range(8)], 250)


@pytest.fixture(scope="module")
def votes():
    """Distributions, masks drawn from them, and the patient of each voxel."""
    rng = np.random.default_rng(0)
    dist = rng.dirichlet(np.full(K + 1, 0.7), PATIENTS.size)
    counts = (rng.random((len(dist), 1)) > np.cumsum(dist, axis=1)[:, :-1]).sum(axis=1)
    order = rng.permuted(np.tile(np.arange(K), (len(dist), 1)), axis=1)
    return dist, (order < counts[:, np.newaxis]).T.astype(np.uint8)


def test_each_level_has_a_line_at_its_observed_frequencies(votes):
    dist, masks = votes
    display = CountReliabilityDisplay.from_predictions(dist, masks, groups=PATIENTS, n_bins=4).plot()
    assert list(display.lines_) == [f"at least {k} of 3" for k in (1, 2, 3)]
    curve = display.diagram.curves["at least 2 of 3"]
    predicted, reached = dist[:, 2:].sum(axis=1), masks.sum(axis=0) >= 2
    for low in (0.0, 0.25, 0.5, 0.75):
        here = (predicted >= low) & (predicted < low + 0.25)
        found = np.flatnonzero(np.isclose(curve.mean_prob, predicted[here].mean()))
        assert curve.response[found] == pytest.approx([reached[here].mean()])
    assert set(display.diagram.bands) == set(display.lines_)
    assert display.diagram.caption == "8 cases in 8 groups, 2,000 voxels answered by all 3 raters"


def test_voxels_with_missing_raters_tell_nothing_of_levels(votes):
    dist, masks = votes
    answers = masks.astype(float)
    answers[0, :500] = np.nan
    display = CountReliabilityDisplay.from_predictions(dist, answers)
    assert display.diagram.curves["at least 1 of 3"].count.sum() == 1500
    with pytest.raises(ValueError, match="No voxel was answered by all 3 raters"):
        CountReliabilityDisplay.from_predictions(dist, [masks[0], masks[1], None])


def test_the_histogram_is_that_of_the_metric_with_patients_resampled(votes, tmp_path):
    dist, masks = votes
    display = PITDisplay.from_predictions(dist, masks, groups=PATIENTS, certainty=0.8).plot()
    assert display.density == pytest.approx(pit_histogram(dist, masks, certainty=0.8))
    assert ((display.low <= display.density) & (display.density <= display.high)).all()
    assert [bar.get_height() for bar in display.bars_] == pytest.approx(display.density.tolist())
    few = PITDisplay.from_predictions(dist[:500], masks[:, :500], groups=PATIENTS[:500])
    assert np.isnan(few.low).all()
    assert display.save(tmp_path / "pit.png").stat().st_size > 0


def test_coverage_is_told_by_patient_and_the_mean_has_an_interval(votes):
    dist, masks = votes
    display = VoteCoverageDisplay.from_predictions(dist, masks, groups=PATIENTS, nominal=0.8).plot()
    assert sorted(display.names) == sorted(set(PATIENTS))
    for name, observed, claimed, n in zip(
        display.names, display.observed, display.claimed, display.n_voxels, strict=True
    ):
        here = name == PATIENTS
        own = vote_interval_coverage(dist[here], masks[:, here], 0.8, certainty=0.9)
        assert (observed, claimed, n) == pytest.approx((own.observed, own.claimed, own.n_voxels))
    assert (np.diff(display.observed) >= 0).all()
    assert display.mean == pytest.approx(display.observed.mean())
    assert display.interval[0] < display.mean < display.interval[1]
    assert display.points_.get_ydata() == pytest.approx(display.observed)


def test_cases_of_a_patient_are_put_together(votes):
    dist, masks = votes
    cases = [count_responses(dist[s], masks[:, s]) for s in np.array_split(np.arange(2000), 16)]
    groups = [f"p{i // 2}" for i in range(16)]
    by_case = VoteCoverageDisplay.from_responses(cases, groups=groups)
    whole = VoteCoverageDisplay.from_predictions(dist, masks, groups=PATIENTS)
    assert by_case.names == whole.names
    assert by_case.observed == pytest.approx(whole.observed)
    assert by_case.interval == pytest.approx(whole.interval)


def test_they_draw_the_rows_of_a_calibrator(votes):
    _, masks = votes
    probs = np.random.default_rng(1).random(2000)
    cohort = Cohort([tally(probs[s], masks[:, s]) for s in np.array_split(np.arange(2000), 8)])
    rows = OrdinalCalibrator().fit_tally(cohort).count_responses(cohort)
    for display in (CountReliabilityDisplay, PITDisplay, VoteCoverageDisplay):
        assert display.from_responses(rows).plot().figure_ is not None


def test_what_cannot_be_shown_is_refused(votes):
    dist, masks = votes
    rows = count_responses(dist, masks)
    for display in (PITDisplay, VoteCoverageDisplay):
        with pytest.raises(ValueError, match="There is no voxel whose most probable number"):
            display.from_responses([rows], certainty=0.01)
        with pytest.raises(ValueError, match="groups must have one entry for each of the 1 cases; got 2"):
            display.from_responses([rows], groups=["a", "b"])
        with pytest.raises(ValueError, match="There is no case to show"):
            display.from_responses([])
    with pytest.raises(ValueError, match="Every case needs predicted counts"):
        CountReliabilityDisplay.from_responses([rows.map(lambda p: p)])
