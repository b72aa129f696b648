"""Bins of equal mass or votes from tallies alone: the map says how far it can be from that of the voxels, and is no further."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mrcalib
from mrcalib import Cohort, HardLabelCalibrator, MHRIsotonicCalibrator, SingleRaterCalibrator, compare, tally

pytestmark = pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")
LOOKED_AT = np.linspace(0, 1, 1001)


def voxels(seed, n=None):
    """Probabilities of many kinds: spread, near 0 or 1, rounded, many zeros."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(20, 2000)) if n is None else n
    probs = rng.random(n) ** rng.choice([0.3, 1, 3, 8, 20])
    kind = seed % 4
    if kind == 1:
        probs = np.round(probs, 2)
    elif kind == 2:
        probs[rng.random(n) < 0.7] = 0
    elif kind == 3:
        probs = 1 - probs * 1e-3
    probs = probs.astype(np.float32)
    masks = (rng.random((int(rng.integers(1, 5)), n)) < probs ** rng.choice([0.5, 1, 2])).astype(np.uint8)
    masks[0, 0] = 1
    return probs, list(masks)


def distance(one, other):
    at = np.concatenate([LOOKED_AT, one.x, other.x])
    return np.abs(one(at) - other(at)).max()


@pytest.mark.parametrize("method", [MHRIsotonicCalibrator, SingleRaterCalibrator, HardLabelCalibrator])
@given(
    seed=st.integers(0, 10_000),
    binning=st.sampled_from(["equal-mass", "equal-votes"]),
    n_bins=st.sampled_from([2, 5, 20, 100]),
    keep_zero=st.booleans(),
)
def test_the_map_of_a_tally_is_no_further_from_that_of_the_voxels_than_it_says(
    method, seed, binning, n_bins, keep_zero
):
    probs, masks = voxels(seed)
    calibrator = method(binning=binning, n_bins=n_bins, keep_zero=keep_zero)
    try:
        exact = calibrator.fit(probs, masks)
    except ValueError:
        return  # all zeros, which are kept
    assert exact.max_error_ == 0
    assert "max_error" not in exact.provenance_
    right = exact.map_
    tallied = method(binning=binning, n_bins=n_bins, keep_zero=keep_zero).fit_tally(tally(probs, masks))
    assert distance(right, tallied.map_) <= tallied.max_error_ + 1e-12


def test_the_bound_is_small_where_there_are_many_voxels_a_bin():
    probs, masks = voxels(0, 200_000)
    tallied = MHRIsotonicCalibrator("equal-mass", 20).fit_tally(tally(probs, masks))
    assert 0 < tallied.max_error_ < 0.05


def test_partial_fit_has_no_voxels_to_read_again_and_says_so():
    probs, masks = voxels(4, 3000)
    calibrator = MHRIsotonicCalibrator("equal-mass", 20)
    calibrator.partial_fit(probs[:1000], [mask[:1000] for mask in masks])
    calibrator.partial_fit(probs[1000:], [mask[1000:] for mask in masks])
    whole = MHRIsotonicCalibrator("equal-mass", 20).fit(probs, masks)
    assert distance(whole.map_, calibrator.map_) <= calibrator.max_error_


def test_the_bound_is_saved_and_a_study_tells_it(tmp_path):
    cases = [tally(*voxels(4 * i, 800)[:1], [voxels(4 * i, 800)[1][0]]) for i in range(4)]
    fitted = MHRIsotonicCalibrator("equal-mass", 20).fit_tally(Cohort(cases))
    fitted.save(tmp_path / "c.json")
    assert mrcalib.load(tmp_path / "c.json").max_error_ == fitted.max_error_ > 0
    study = compare(Cohort(cases), {"none": mrcalib.IdentityCalibrator(), "mass": fitted}, n_resamples=5)
    assert (
        f"bins of mass (off by at most {fitted.max_error_:.2g}) start where those of the tallies do"
        in study.description
    )
