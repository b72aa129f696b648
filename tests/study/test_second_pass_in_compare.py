"""In a comparison of cases, methods with a second pass are fitted to the voxels, as they are by ``fit``."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from mrcalib import Case, Cohort, HardLabelCalibrator, MHRIsotonicCalibrator, SingleRaterCalibrator, compare, tally
from mrcalib.calibrators import _kept_voxels
from mrcalib.io import LoadOptions
from mrcalib.scale import tally_cases
from mrcalib.study._folds import fitted_by_fold, voxels_to_reread

pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
METHODS = {
    "TwinTrack": MHRIsotonicCalibrator("equal-mass", 40),
    "votes": MHRIsotonicCalibrator("equal-votes", 15),
    "equal": MHRIsotonicCalibrator("equal-mass", 40, case_weight="equal"),
    "single": SingleRaterCalibrator(1, "equal-mass", 30),
    "hard": HardLabelCalibrator("equal-mass", 30),
    "exact": MHRIsotonicCalibrator("exact"),
    "no zeros": MHRIsotonicCalibrator("equal-mass", 40, keep_zero=True),
}


@pytest.fixture(scope="module", params=["float32", "float64", "a rater missing"])
def cases(request):
    rng = np.random.default_rng(3)
    made = []
    for i, size in enumerate([400, 900, 150, 700, 2000]):
        probs = rng.random(size) ** 4
        probs[rng.random(size) < 0.1] = 0
        probs = probs.astype("float64" if request.param == "float64" else "float32")
        masks = {name: (rng.random(size) < probs**1.5 * 0.9).astype(np.uint8) for name in "abc"}
        if request.param == "a rater missing" and i % 2:
            masks["c"] = None
        made.append(Case(str(i), probs, masks))
    return made


@pytest.mark.parametrize("in_memory", [1 << 30, 5000], ids=["in memory", "in files"])
@pytest.mark.parametrize("name", METHODS)
def test_the_map_of_each_fold_is_that_of_fit_on_its_other_cases(cases, name, in_memory, monkeypatch):
    monkeypatch.setattr(_kept_voxels, "IN_MEMORY", in_memory)
    method = METHODS[name]
    cohort = tally_cases(cases)
    folds = [np.array([i]) for i in range(len(cases))]
    voxels = voxels_to_reread(cohort, {name: method}, folds, cases, LoadOptions(), n_jobs=2)
    at = np.unique(np.concatenate([case.probs for case in cases]).astype(float))
    for _, (held_out,), fitted in fitted_by_fold(cohort, {name: method}, folds, in_sample=False, voxels=voxels):
        expected = clone(method).fit_cases([case for i, case in enumerate(cases) if i != held_out])
        if name == "TwinTrack" and cases[0].probs.dtype == np.float32:
            assert fitted[name].map_ == expected.map_
        np.testing.assert_allclose(fitted[name](at), expected(at), atol=1e-9)


def test_compare_fits_to_voxels_and_says_where_it_cannot(cases):
    study = compare(cases, METHODS, ["brier"], cv=3, n_resamples=20)
    for name, method in METHODS.items():
        at = np.linspace(0.001, 1, 500)
        np.testing.assert_allclose(study.calibrators[name](at), clone(method).fit_cases(cases)(at), atol=1e-9)
    assert "no voxels to read again" not in study.description
    cohort = tally_cases(cases)
    by_voxels = {name: method for name, method in METHODS.items() if name != "exact"}
    told = compare(cohort, by_voxels, ["brier"], cv=3, n_resamples=20).description
    assert "bins of TwinTrack, votes, equal, single, hard, no zeros start where those of the tallies do" in told
    again = compare(cohort, METHODS, ["brier"], cv=3, n_resamples=20, cases=cases)
    assert again.table().equals(study.table())


def test_each_case_is_read_twice_and_only_once_where_no_method_asks_for_more(cases, monkeypatch):
    read = []
    real = Case.load

    def counting(self, *args, **options):
        read.append(self.id)
        return real(self, *args, **options)

    monkeypatch.setattr(Case, "load", counting)
    compare(cases, METHODS, ["brier"], cv=3, n_resamples=20)
    assert sorted(read) in (["0", "1", "2", "3", "4"], sorted([*"01234"] * 2))  # in memory, tallies need no load
    read.clear()
    compare(cases, ["none", "MHR"], ["brier"], cv=3, n_resamples=20)
    assert len(read) <= 5


def test_exact_needs_the_voxels_in_a_comparison_too():
    cohort = Cohort([tally(np.array([0.1, 0.9]), [[0, 1]]) for _ in range(3)])
    with pytest.raises(ValueError, match=r"binning='exact' needs the voxels.*Give the cases instead of a Cohort"):
        compare(cohort, {"e": MHRIsotonicCalibrator("exact")}, n_resamples=10)
