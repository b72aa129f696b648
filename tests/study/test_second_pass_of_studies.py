"""TwinTrack in a study is TwinTrack of `fit`: methods with a second pass read the voxels of a study's cases, each once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from mrcalib import Case, HardLabelCalibrator, MHRIsotonicCalibrator, SingleRaterCalibrator, compare
from mrcalib.calibrators import IdentityCalibrator
from mrcalib.exceptions import SaturationWarning
from mrcalib.io import LoadOptions
from mrcalib.scale import tally_cases
from mrcalib.study import _kept_voxels
from mrcalib.study._folds import fitted_by_fold
from mrcalib.study._kept_voxels import KeptVoxels

METHODS = {
    "none": IdentityCalibrator(),
    "mass": MHRIsotonicCalibrator("equal-mass", 20),
    "votes": MHRIsotonicCalibrator("equal-votes", 15),
    "exact": MHRIsotonicCalibrator("exact"),
    "exact, cases equal": MHRIsotonicCalibrator("exact", case_weight="equal"),
    "mass, cases equal": MHRIsotonicCalibrator("equal-mass", 20, case_weight="equal"),
    "mass, zeros kept": MHRIsotonicCalibrator("equal-mass", 20, keep_zero=True),
    "each rater": HardLabelCalibrator("equal-mass", 20),
    "one rater": SingleRaterCalibrator(1, "exact"),
}
pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def cases(request):
    """Seven cases of four patients: a rater is missing in one, there are zeros, and some have a region of interest."""
    rng = np.random.default_rng(3)
    made = []
    for i in range(7):
        shape = (9, 8, 5 + i)
        probs = rng.random(shape) ** 3
        probs[rng.random(shape) < 0.2] = 0
        masks = {str(r): (rng.random(shape) < probs).astype(np.uint8) for r in range(3)}
        if i == 4:
            masks["1"] = None
        roi = (rng.random(shape) < 0.8).astype(np.uint8) if i % 2 else None
        made.append(Case(f"c{i}", probs.astype(request.param), masks, group=f"p{i // 2}", roi=roi))
    return made


def same(one, other, method):
    """Equal to the bit where sums are whole numbers on one grid; else but for the rounding of sums in another order."""
    if method.needs.voxels or method.case_weight != "voxels":
        return np.abs(np.subtract([one.x, one.y], [other.x, other.y])).max() < 1e-13
    return one == other


def test_maps_of_a_study_are_those_of_fit_cases_to_the_bit(cases):
    study = compare(cases, METHODS, n_resamples=10)
    for name, method in METHODS.items():
        in_study, again = study.calibrators[name].map_, clone(method).fit_cases(cases).map_
        assert same(in_study, again, method), name


def test_maps_of_each_fold_are_those_of_the_other_cases_to_the_bit(cases):
    cohort = tally_cases(cases)
    folds = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5]), np.array([6])]
    kept = KeptVoxels(cases, cohort, LoadOptions())
    for _, fold, fitted in fitted_by_fold(cohort, METHODS, folds, in_sample=False, voxels=kept):
        others = [case for i, case in enumerate(cases) if i not in fold]
        for name, method in METHODS.items():
            again = clone(method).fit_cases(others).map_
            assert same(fitted[name].map_, again, method), name


def test_voxels_are_read_once_more_whatever_the_number_of_folds_and_methods(cases, monkeypatch):
    read = []
    monkeypatch.setattr(
        _kept_voxels, "voxels_of_case", lambda case, **how: (read.append(case.id), original(case, **how))[1]
    )
    compare(cases, METHODS, n_resamples=10)
    assert sorted(read) == sorted(case.id for case in cases)
    read.clear()
    compare(cases, ["none", "MHR"], n_resamples=10)
    assert read == []


original = _kept_voxels.voxels_of_case


def test_voxels_too_many_for_memory_lie_in_a_temporary_file(cases, monkeypatch):
    in_memory = compare(cases, METHODS, n_resamples=10)
    monkeypatch.setattr(_kept_voxels, "IN_MEMORY", 0)
    on_disk = compare(cases, METHODS, n_resamples=10)
    for name in METHODS:
        assert on_disk.calibrators[name].map_ == in_memory.calibrators[name].map_


def test_a_cohort_takes_the_cases_it_was_tallied_from(cases):
    cohort = tally_cases(cases)
    study = compare(cohort, {"exact": MHRIsotonicCalibrator("exact")}, cases=cases, n_resamples=10)
    exact = MHRIsotonicCalibrator("exact")
    assert same(study.calibrators["exact"].map_, clone(exact).fit_cases(cases).map_, exact)
    with pytest.raises(
        ValueError, match=r"'exact' reads the voxels twice, .* give the cases it was tallied from as cases="
    ):
        compare(cohort, {"exact": MHRIsotonicCalibrator("exact")}, n_resamples=10)
    with pytest.raises(ValueError, match=r"'exact' reads the voxels twice"):
        compare(cohort, {"exact": MHRIsotonicCalibrator("exact")}, cases=cases[1:], n_resamples=10)


def test_saturation_of_the_second_pass_is_still_warned_of():
    rng = np.random.default_rng(0)
    rare = [Case(f"{i}", np.float32(rng.random(4000) ** 40), [rng.random(4000) < 0.002]) for i in range(3)]
    for case in rare:
        case.probs[np.asarray(case.raters[0]).astype(bool)] = 0.99
    with pytest.warns(SaturationWarning, match="The map saturates"):
        compare(rare, {"mass": MHRIsotonicCalibrator("equal-mass", 20)}, n_resamples=10)
