"""CURVAS-PDACVI scores: what the official program answers, its quirks, and the corrected values beside them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr

from mrcalib.metrics import (
    expected_calibration_error,
    gaussian_crps,
    majority_dice,
    mean_rater_ece,
    threshold_dice,
    volume_crps,
)
from mrcalib.protocols import curvas_pdacvi
from mrcalib.protocols._official import annotation_box, official_top_label_ece, truncated_crps, wraps

SHARED = Path(os.environ.get("MRCALIB_SHARED", Path(__file__).parents[3] / "shared"))
OFFICIAL = SHARED / "parity" / "pdacvi_official.json"
CASES = ["case_100", "case_101", "case_102", "case_103"]


@pytest.fixture(scope="module")
def official():
    if not OFFICIAL.exists():
        pytest.skip(f"the official program's answers are not at {OFFICIAL}; set MRCALIB_SHARED to their folder")
    return json.loads(OFFICIAL.read_text())


@pytest.fixture(scope="module")
def load(official):
    del official  # skips where there is no data

    def read(case):
        with np.load(OFFICIAL.with_name("pdacvi_cases.npz")) as file:
            probs = file[f"{case}_prob"].astype(np.float32)
            bits = np.unpackbits(file[f"{case}_raters"], axis=1)[:, : probs.size]
        return probs, bits.reshape(5, *probs.shape)

    return read


@pytest.mark.parametrize("case", CASES)
def test_strict_scores_are_those_of_the_official_program(official, load, case):
    probs, masks = load(case)
    scores, expected = curvas_pdacvi(probs, masks), official[case]
    assert scores["tdsc"] == pytest.approx(expected["tdsc"], rel=1e-9)
    assert scores["crps"] == pytest.approx(expected["crps"], rel=1e-9)
    assert scores["ece_per_rater"] == pytest.approx(expected["ece_per_rater"], rel=1e-6)
    assert scores["ece"] == pytest.approx(np.mean(expected["ece_per_rater"]), rel=1e-6)
    assert scores["dice_majority"] == pytest.approx(expected["dice_majority"], rel=1e-12)
    assert scores["vi"] is None
    assert not scores["box_wraps"]
    empty = [r for r, mask in enumerate(masks) if not mask.any()]
    assert [f"Rater {r} marked nothing" in " ".join(scores["notes"]) for r in empty] == [True] * len(empty)
    assert len(scores["notes"]) == len(empty)


@pytest.mark.parametrize("case", CASES)
def test_the_estimator_is_the_official_one_on_the_whole_volume(official, load, case):
    probs, masks = load(case)
    got = [official_top_label_ece(probs, mask) for mask in masks]
    assert got == pytest.approx(official[case]["ece_full_per_rater"], rel=1e-6)
    assert majority_dice(probs, masks) == pytest.approx(official[case]["dice_majority"], rel=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_sound_scores_are_those_of_the_metrics_and_near_the_official_ones(official, load, case):
    probs, masks = load(case)
    scores, expected = curvas_pdacvi(probs, masks, strict=False), official[case]
    box = tuple(slice(*ends) for ends in scores["box"])
    inside = probs[box], masks[:, *box]
    assert scores["tdsc"] == pytest.approx(threshold_dice(probs, masks), rel=1e-12)
    assert scores["ece"] == pytest.approx(mean_rater_ece(*inside, kind="top-label"), rel=1e-9)
    assert scores["ece_foreground"] == pytest.approx(mean_rater_ece(*inside), rel=1e-9)
    assert scores["mr_ece"] == pytest.approx(expected_calibration_error(*inside), rel=1e-9)
    assert scores["crps"] == pytest.approx(volume_crps(probs, masks), rel=1e-9)
    assert scores["tdsc"] == pytest.approx(expected["tdsc"], rel=1e-6)
    assert scores["crps"] == pytest.approx(expected["crps"], rel=5e-3)


def lesion(start, shape=(40, 50, 60), n_raters=5):
    """A cube of 6 voxels at ``start`` of the first axis that all raters marked, the last without one voxel."""
    masks = np.zeros((n_raters, *shape), dtype=np.uint8)
    masks[:, start : start + 6, 25:31, 25:31] = 1
    masks[-1, start, 25, 25] = 0
    return masks.mean(axis=0).astype(np.float32), masks


def test_a_lesion_near_the_low_edge_is_left_out_and_flagged_in_strict_mode_only():
    probs, masks = lesion(5)
    strict, corrected = curvas_pdacvi(probs, masks), curvas_pdacvi(probs, masks, strict=False)
    assert strict["box"][0] == (-15, 30)
    assert strict["box_wraps"]
    wrong = (slice(25, 30), slice(5, 50), slice(5, 50))  # what slice(-15, 30) takes of 40 slices
    assert masks[:, *wrong].sum() == 0
    assert strict["ece_per_rater"] == [official_top_label_ece(probs[wrong], mask[wrong]) for mask in masks]
    assert corrected["box"] == ((0, 30), (5, 50), (5, 50))
    assert not corrected["box_wraps"]
    assert corrected["ece"] > 0


def test_a_box_that_wraps_to_nothing_has_no_ece():
    probs, masks = lesion(1, shape=(60, 50, 60))
    scores = curvas_pdacvi(probs, masks)
    assert scores["box"][0] == (-19, 26)
    assert np.isnan(scores["ece"])
    assert scores["tdsc"] > 0.999


def test_the_box_spans_twenty_below_and_nineteen_beyond():
    annotated = np.zeros((80, 80), dtype=bool)
    annotated[30:40, 50] = True
    assert annotation_box(annotated, clamp=False) == ((10, 59), (30, 70))
    annotated[70, 5] = True
    assert annotation_box(annotated, clamp=False) == ((10, 90), (-15, 70))
    assert annotation_box(annotated, clamp=True) == ((10, 80), (0, 70))
    assert annotation_box(np.zeros((3, 3)), clamp=True) is None
    assert not wraps(None)


def test_no_annotation_at_all_has_no_box():
    probs = np.zeros((8, 8, 8), dtype=np.float32)
    masks = np.zeros((5, 8, 8, 8), dtype=np.uint8)
    strict = curvas_pdacvi(probs, masks)
    assert strict["tdsc"] == 1.0
    assert strict["box"] is None
    assert np.isnan(strict["ece"])
    corrected = curvas_pdacvi(probs, masks, strict=False)
    assert (corrected["ece"], corrected["crps"]) == (0.0, 0.0)
    assert np.isnan([corrected["tdsc"], corrected["dice_majority"]]).all()
    assert strict["dice_majority"] == 0.0
    assert strict["notes"][-2:] == [
        "No rater marked a voxel: the program stops with an error, and ece is not defined.",
        "Neither the prediction nor the raters' mean exceeds any threshold: tdsc is 1, and dice_majority 0.",
    ]
    assert corrected["notes"][-2:] == [
        "No rater marked a voxel: ece is that of the whole volume.",
        "Neither the prediction nor the raters' mean exceeds any threshold: tdsc is not defined.",
    ]
    false_alarm = curvas_pdacvi(probs + np.float32(0.9), masks, strict=False)
    assert false_alarm["tdsc"] == 0.0


def test_confidence_one_has_a_bin_of_its_own():
    probs = np.float32([0.99, 1.0])
    mask = np.array([1, 0])
    assert official_top_label_ece(probs, mask) == pytest.approx((0.01 + 1.0) / 2, rel=1e-5)
    corrected = expected_calibration_error(probs, mask, kind="top-label")
    assert corrected == pytest.approx((0.99 + 1 - 1) / 2, rel=1e-5)


def test_zero_is_a_confidence_of_one_too_and_a_half_is_background():
    assert official_top_label_ece(np.float32([0.0, 1.0]), np.array([1, 0])) == 1.0
    assert official_top_label_ece(np.float32([0.5, 0.5]), np.array([0, 0])) == pytest.approx(0.5)
    assert np.isnan(official_top_label_ece(np.empty(0, np.float32), np.empty(0)))


@pytest.mark.parametrize("value", [0.0, 1200.0, 5000.0])
def test_the_official_crps_saturates(value):
    assert truncated_crps(value, 1000.0, 50.0) == pytest.approx(122.12, abs=0.5)


@given(z=st.floats(3.0, 1e4), mean=st.floats(-1e4, 1e6), std=st.floats(0.1, 1e4), sign=st.sampled_from([-1, 1]))
def test_the_official_crps_saturates_at_two_and_a_half_standard_deviations(z, mean, std, sign):
    assert truncated_crps(mean + sign * z * std, mean, std) == pytest.approx(2.4425 * std, rel=5e-3)


@given(z=st.floats(-5.0, 5.0), std=st.floats(0.1, 1e3))
def test_the_closed_form_is_the_integral(z, std):
    def integrand(x):
        return (ndtr(x) - (x >= z)) ** 2

    integral = quad(integrand, -12, z, epsabs=1e-10)[0] + quad(integrand, z, 12, epsabs=1e-10)[0]
    assert gaussian_crps(100 + z * std, 100.0, std) == pytest.approx(std * integral, rel=1e-6)


@given(z=st.floats(-3.0, 3.0), std=st.floats(1.0, 1e3))
def test_the_official_crps_is_within_two_percent_of_the_closed_form_where_it_does_not_saturate(z, std):
    assert truncated_crps(500 + z * std, 500.0, std) == pytest.approx(float(gaussian_crps(z, 0.0, 1.0)) * std, rel=0.02)


def test_thresholds_ask_for_one_two_two_three_four_and_five_votes():
    masks = np.tril(np.ones((5, 5), np.uint8))[::-1].T  # voxel k has 5 - k votes
    votes = masks.sum(axis=0)
    least = []
    for t in np.linspace(0.1, 0.8, 6):
        probs = np.where(votes >= np.arange(1, 6)[:, None], 1.0, 0.0)
        dice = [threshold_dice(p, masks, thresholds=[t], rater_axis=0) for p in probs]
        least.append(int(np.argmax(dice)) + 1)
        assert max(dice) == 1.0
    assert least == [1, 2, 2, 3, 4, 5]


def test_the_official_crps_is_near_the_closed_form_inside_and_zero_for_agreement():
    assert truncated_crps(1000.0, 1000.0, 50.0) == pytest.approx(50 * 0.23369, rel=5e-3)
    assert truncated_crps(8000.0, 100.0, 0.0) == 0.0


def test_raters_who_agree_about_the_volume_hide_any_prediction_in_strict_mode():
    probs, masks = lesion(25)
    masks[-1] = masks[0]
    assert curvas_pdacvi(0 * probs, masks)["crps"] == 0.0
    assert curvas_pdacvi(0 * probs, masks, strict=False)["crps"] == 216.0


@pytest.mark.parametrize("strict", [True, False])
def test_missing_raters_are_left_out_and_any_number_counts_alike(strict):
    probs, masks = lesion(25, n_raters=4)
    with_gap = curvas_pdacvi(probs, [masks[0], None, *masks[1:]], strict=strict)
    without = curvas_pdacvi(probs, masks, strict=strict)
    assert np.isnan(with_gap["ece_per_rater"][1])
    assert with_gap["box"] == without["box"]
    for key in ("tdsc", "ece", "crps"):
        assert with_gap[key] == pytest.approx(without[key])


@pytest.mark.parametrize("strict", [True, False])
def test_layout_and_dtype_do_not_matter(strict):
    probs, masks = lesion(25)
    scores = curvas_pdacvi(probs, masks, strict=strict)
    last = curvas_pdacvi(np.asfortranarray(probs), np.moveaxis(masks, 0, -1).astype(bool), strict=strict)
    assert last == scores
    half = curvas_pdacvi(probs.astype(np.float16), masks, strict=strict)
    assert half["tdsc"] == pytest.approx(scores["tdsc"], abs=0.2)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("spacing", [(0.5, 2.0, 3.0), 3.0])
def test_the_crps_is_in_cubic_millimetres_of_the_spacing(strict, spacing):
    probs, masks = lesion(25)
    in_voxels = curvas_pdacvi(probs, masks, strict=strict)["crps"]
    assert curvas_pdacvi(probs, masks, spacing=spacing, strict=strict)["crps"] == pytest.approx(3 * in_voxels)


def test_what_cannot_be_scored_is_refused():
    probs, masks = lesion(25)
    partly = masks.astype(np.float32)
    partly[2, 0] = np.nan
    with pytest.raises(ValueError, match="Rater 2 annotated part of the voxels only"):
        curvas_pdacvi(probs, partly)
    with pytest.raises(ValueError, match="There is no voxel to score"):
        curvas_pdacvi(probs[:0], masks[:, :0])
