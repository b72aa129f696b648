"""Four radiologists' lung nodules (LIDC) and a flipped annotation: what must hold on data that nobody simulated."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from mrcalib import GeometryError, HardLabelCalibrator, MHRIsotonicCalibrator, PlattCalibrator, compare, tally_cases
from mrcalib.io import Case, read_manifest
from mrcalib.metrics import brier_score

SHARED = Path(os.environ.get("MRCALIB_SHARED", Path(__file__).parents[2] / "shared"))
LIDC = SHARED / "data" / "lidc_cases"
FLIPPED = SHARED / "data" / "wrong_orientation"

needs_lidc = pytest.mark.skipif(
    not (LIDC / "cases.csv").exists(), reason=f"LIDC cases are not in {LIDC}; set MRCALIB_SHARED to the shared folder"
)
needs_flipped = pytest.mark.skipif(
    not FLIPPED.exists(), reason=f"the flipped annotation is not in {FLIPPED}; set MRCALIB_SHARED to the shared folder"
)


@pytest.fixture(scope="module")
def cases():
    """Every third nodule; their probabilities are the mean of three networks."""
    return read_manifest(LIDC / "cases.csv", probs="prob_[0-9]")[::3]


@pytest.fixture(scope="module")
def cohort(cases):
    return tally_cases(cases, n_jobs=2)


@pytest.fixture(scope="module")
def study(cohort):
    return compare(
        cohort, ["none", "single-rater", "hard-label", "MHR", "temperature", "Platt", "beta"], n_resamples=500
    )


@needs_lidc
def test_cases_are_grouped_by_patient_and_have_four_raters(cases, cohort):
    assert cohort.raters == ("1", "2", "3", "4")
    assert all(case.id.startswith(f"{case.group}_") for case in cases)
    assert len(set(cohort.groups)) < len(cohort)
    assert cohort.n_voxels.min() >= 64 * 64


@needs_lidc
def test_calibration_to_the_mean_response_more_than_halves_its_error(study):
    table = study.table("pooled")["MR-ECE"]
    assert table["MHR"] < table["none"] / 2
    assert table["MHR"] < table["Platt"] < table["none"]


@needs_lidc
def test_it_makes_probabilities_better_by_proper_scores_too(study):
    told = study.differences(kind="pooled").set_index(["method", "metric"])["verdict"]
    assert told["MHR", "brier"] == told["MHR", "log_loss"] == told["MHR", "mr_ece"] == "better"
    table = study.table("pooled")
    assert table.loc["MHR", "Brier"] < table.loc["none", "Brier"]


@needs_lidc
def test_hard_labels_and_the_mean_response_differ_little(study):
    """METHODS section 5: the target makes no great difference."""
    at = np.linspace(0, 1, 501)
    gap = np.abs(study.calibrators["MHR"](at) - study.calibrators["hard-label"](at))
    assert gap.max() < 0.05


@needs_lidc
def test_networks_trained_with_soft_dice_are_overconfident(study):
    assert study.calibrators["temperature"].temperature_ > 1.5
    assert study.calibrators["MHR"](np.array([0.999]))[0] < 0.99


@needs_lidc
def test_the_exact_fit_over_files_is_close_to_the_tallies_and_at_least_as_good(cases, cohort):
    few = cases[:15]
    exact = MHRIsotonicCalibrator("exact").fit_cases(few, n_jobs=2)
    grid = MHRIsotonicCalibrator().fit_cases(few)
    loaded = [case.load() for case in few]
    probs = np.concatenate([one.probs.ravel() for one in loaded])
    raters = [np.concatenate([one.raters[r].ravel() for one in loaded]) for r in range(4)]
    assert brier_score(exact(probs), raters) <= brier_score(grid(probs), raters) + 1e-9
    assert np.abs(exact(probs) - grid(probs)).mean() < 1e-3
    assert PlattCalibrator().fit_cases(few).map_.slope == pytest.approx(
        PlattCalibrator().fit(probs, raters).map_.slope, rel=1e-9
    )


@needs_lidc
def test_threads_and_checkpoints_change_nothing(cases, tmp_path):
    few = cases[:6]
    plain = tally_cases(few)
    for options in ({"n_jobs": 3}, {"checkpoints": tmp_path}, {"checkpoints": tmp_path}):
        again = tally_cases(few, **options)
        assert all(a == b for a, b in zip(plain.tallies, again.tallies, strict=True))


@needs_lidc
def test_volume_is_preserved_on_the_fitting_set(cohort):
    pooled = cohort.pooled()
    prob, weight, response = pooled.mean_response()
    for method in (MHRIsotonicCalibrator(), HardLabelCalibrator()):
        fitted = method.fit_tally(cohort)
        assert weight @ fitted(prob) == pytest.approx(weight @ response, rel=1e-3)
    assert weight @ MHRIsotonicCalibrator().fit_tally(cohort)(prob) == pytest.approx(weight @ response, rel=1e-12)


@needs_flipped
def test_an_annotation_that_is_stored_flipped_is_refused():
    import nibabel as nib

    masks = [FLIPPED / f"seg_{r}.nii.gz" for r in (1, 2, 3)]
    shape = nib.load(masks[0]).shape
    case = Case("flipped", np.full(shape, 0.5, np.float32), {"1": masks[0], "2": masks[1]})
    with pytest.raises(GeometryError, match=r"seg_2\.nii\.gz|'2'|rater 2"):
        tally_cases([case])
