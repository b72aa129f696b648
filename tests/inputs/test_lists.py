"""Lists of cases go through fit, transform and metrics as their cases would one by one."""

import numpy as np
import pytest

from mrcalib import Case, CaseAdaptiveCalibrator, MHRIsotonicCalibrator, metrics

RNG = np.random.default_rng(3)
PROBS = [RNG.random(shape).astype(np.float32) for shape in ((9, 8, 7), (12, 5, 6), (4, 20, 10))]
MASKS = [(RNG.random((3, *p.shape)) < p**2).astype(np.uint8) for p in PROBS]


@pytest.mark.parametrize("calibrator", [MHRIsotonicCalibrator(), CaseAdaptiveCalibrator()])
@pytest.mark.parametrize("wrap", [list, iter])
def test_a_list_is_transformed_case_by_case(calibrator, wrap):
    calibrator.fit(PROBS, [list(masks) for masks in MASKS], groups=["a", "b", "c"])
    for given in (
        wrap(PROBS),
        wrap([Case(str(i), p, list(m)) for i, (p, m) in enumerate(zip(PROBS, MASKS, strict=True))]),
    ):
        found = calibrator(given)
        for calibrated, probs in zip(found, PROBS, strict=True):
            np.testing.assert_array_equal(calibrated, calibrator(probs))


def test_classes_are_not_transformed_as_an_image():
    calibrator = MHRIsotonicCalibrator().fit(PROBS[0], MASKS[0])
    with pytest.raises(ValueError, match="hold 2 classes"):
        calibrator(np.stack([1 - PROBS[0], PROBS[0]]))


def test_a_batch_of_a_case_adaptive_map_says_which_cases_it_holds():
    batch = np.stack([PROBS[0], PROBS[0] / 2])
    calibrator = CaseAdaptiveCalibrator().fit(PROBS, [list(masks) for masks in MASKS])
    with pytest.warns(UserWarning, match="calibrated as one case.* a list of cases, or groups="):
        calibrator(batch)
    expected = [calibrator(probs) for probs in batch]
    np.testing.assert_array_equal(calibrator.transform(batch, groups=["x", "y"]), expected)
    np.testing.assert_array_equal(calibrator(list(batch)), expected)
    with pytest.raises(ValueError, match="groups must have the shape of probs"):
        calibrator.transform(batch, groups=["x", "y", "z"])
    with pytest.raises(ValueError, match="a list has its cases apart"):
        calibrator.transform(list(batch), groups=["x", "y"])


def test_metrics_of_a_list_are_the_mean_of_the_cases():
    masks = [list(m) for m in MASKS]
    found = metrics.brier_score(PROBS, masks)
    assert found == pytest.approx(np.mean([metrics.brier_score(p, m) for p, m in zip(PROBS, masks, strict=True)]))


def test_displays_show_a_list_as_its_cases():
    plots = pytest.importorskip("mrcalib.plots")
    masks = [list(m) for m in MASKS]
    found = plots.ReliabilityDisplay.from_predictions(PROBS, masks, groups=["a", "b", "b"], n_bins=10, n_resamples=50)
    rows = [metrics.base.rows_by_case(p, m)[0] for p, m in zip(PROBS, masks, strict=True)]
    expected = plots.ReliabilityDisplay.from_responses(rows, groups=["a", "b", "b"], n_bins=10, n_resamples=50)
    (one,), (other,) = found.bands.values(), expected.bands.values()
    np.testing.assert_array_equal(one.low, other.low)
    np.testing.assert_array_equal(one.n_groups, other.n_groups)
    counts = [metrics.binomial_count_probs(p, 3) for p in PROBS]
    listed = plots.CountReliabilityDisplay.from_predictions(counts, masks, n_resamples=50)
    rows = [metrics.count_responses(c, m) for c, m in zip(counts, masks, strict=True)]
    assert listed.diagram.caption == plots.CountReliabilityDisplay.from_responses(rows, n_resamples=50).diagram.caption
