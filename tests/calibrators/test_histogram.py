"""Histogram binning against bincount."""

from __future__ import annotations

import numpy as np
import pytest

from mrcalib import HistogramBinningCalibrator, SaturationWarning


@pytest.mark.parametrize("n_bins", [1, 2, 7, 10, 15, 33])
@pytest.mark.parametrize("missing", [0, 0.3])
@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")  # one bin
def test_uniform_bins_equal_bincount(simulated, n_bins, missing):
    voxels = simulated(20_000, missing=missing, dtype=np.float32)
    probs, response, weight = voxels.rows()
    edges = np.float32(np.arange(1, n_bins) / n_bins)
    index = np.searchsorted(edges, probs, side="right")
    expected = np.bincount(index, weight * response, n_bins) / np.bincount(index, weight, n_bins)
    fitted = HistogramBinningCalibrator(n_bins).fit(voxels.probs, voxels.answers)
    assert np.abs(fitted(probs) - expected[index]).max() < 1e-12


def test_an_edge_belongs_to_the_bin_on_its_right():
    fitted = HistogramBinningCalibrator(4).fit(np.array([0.1, 0.25, 0.4, 0.9]), np.array([0, 1, 0, 1]))
    assert fitted(np.array([np.nextafter(np.float32(0.25), np.float32(0))])).tolist() == [0]
    assert fitted(np.array([0.25, 0.49])).tolist() == [0.5, 0.5]


def test_an_empty_bin_takes_the_value_of_the_bin_below_and_the_lowest_that_of_the_first():
    fitted = HistogramBinningCalibrator(10).fit(np.array([0.25, 0.25, 0.85]), np.array([0, 1, 1]))
    assert fitted(np.array([0.0, 0.15, 0.25, 0.5, 0.79, 0.81, 1.0])).tolist() == [0.5] * 5 + [1, 1]


def test_it_is_not_made_monotone():
    fitted = HistogramBinningCalibrator(2).fit(np.array([0.25, 0.75, 0.75]), np.array([1, 0, 1]))
    assert fitted(np.array([0.25, 0.75])).tolist() == [1, 0.5]
    assert fitted.reachable_ == (0.5, 1)


def test_fit_and_map_agree_on_the_bin_of_a_float64_at_an_edge():
    probs = np.array([0.75, 0.8])  # 0.8 is below the float32 that opens the ninth bin, and rounds to it
    assert HistogramBinningCalibrator(10).fit(probs, np.array([0, 1]))(probs).tolist() == [0, 1]


def test_volume_is_preserved_on_the_fitting_set(simulated):
    voxels = simulated(20_000, dtype=np.float32)
    probs, response, weight = voxels.rows()
    fitted = HistogramBinningCalibrator().fit(voxels.probs, voxels.answers)
    assert weight @ fitted(probs) == pytest.approx(weight @ response, rel=1e-12)


@pytest.mark.filterwarnings("ignore::mrcalib.exceptions.SaturationWarning")
def test_equal_mass_bins_hold_equally_many_voxels_to_the_grids_resolution():
    probs = np.random.default_rng(0).random(100_000).astype(np.float32)
    fitted = HistogramBinningCalibrator(20, "equal-mass").fit(probs, (probs > 0.5).astype(int))
    index = np.searchsorted(fitted.map_.edges, probs, side="right") - 1
    assert np.bincount(index) / 5000 == pytest.approx(np.ones(20), abs=0.03)


def test_equal_mass_bins_never_split_equal_probabilities():
    probs = np.array([0.25] * 6 + [0.5, 0.75])  # ranks 2, 4, 6 of 4 bins: 0.25, 0.25, 0.5
    fitted = HistogramBinningCalibrator(4, "equal-mass").fit(probs, np.array([0, 0, 0, 0, 0, 1, 1, 1]))
    assert fitted(np.array([0.25, 0.5, 0.75])) == pytest.approx([1 / 6, 1, 1])


def test_coarse_bins_saturate_and_say_so():
    rng = np.random.default_rng(0)
    probs = np.concatenate([rng.uniform(0, 0.05, 100_000), np.full(100, 0.055)])
    masks = np.concatenate([np.zeros(100_000, int), np.ones(100, int)])
    with pytest.warns(SaturationWarning, match=r"cannot exceed 0\.000999, though raters answer 1 on average"):
        HistogramBinningCalibrator(10).fit(probs, masks)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match="strategy must be one of 'uniform', 'equal-mass'; got 'x'"):
        HistogramBinningCalibrator(strategy="x").fit(np.array([0.5]), np.array([1]))


@pytest.mark.parametrize("n_bins", [0, -1, 2.5])
@pytest.mark.parametrize("strategy", ["uniform", "equal-mass"])
def test_a_wrong_number_of_bins_is_refused(n_bins, strategy):
    with pytest.raises(ValueError, match="n_bins must be a whole number"):
        HistogramBinningCalibrator(n_bins, strategy).fit(np.array([0.2, 0.7]), np.array([0, 1]))
