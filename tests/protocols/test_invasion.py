"""Vascular invasion: the official program's numbers and quirks, and the corrected form under the same keys."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from scipy.stats import norm, wasserstein_distance

from mrcalib.metrics import vascular_invasion
from mrcalib.metrics.overlap import THRESHOLDS
from mrcalib.protocols import curvas_pdacvi
from mrcalib.protocols._invasion import OFFICIAL_VESSELS, PLANES, official_invasion, official_wasserstein

SHARED = Path(os.environ.get("MRCALIB_SHARED", Path(__file__).parents[3] / "shared"))
OFFICIAL = SHARED / "parity" / "pdacvi_official.json"
CASES = ["case_100", "case_101", "case_102", "case_103"]
KEYS = {
    "rater_mean": "vi_rater_mean",
    "rater_std": "vi_rater_std",
    "prediction_mean": "vi_pred_mean",
    "prediction_std": "vi_pred_std",
}
TAPS = [np.array(k) for k in ([[1, 1]], [[1], [1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]])]


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
            return probs, bits.reshape(5, *probs.shape), file[f"{case}_vessels"]

    return read


def plain_degrees(tumour, vessel):
    """Contact in one slice, by scipy on the whole slice."""
    dilated = ndi.binary_dilation(tumour)
    edge = vessel & ~ndi.binary_erosion(vessel)
    near, rest = (dilated & ~edge).astype(int), edge & ~dilated
    more = sum(((ndi.convolve(near, taps) > 0) & rest).sum() for taps in TAPS)
    return ((edge & dilated).sum() + more) / edge.sum() * 360


def slice_degrees(tumour, vessel):
    """What the package says of one slice: a mask that every rater gave, in a volume of that slice."""
    scores = official_invasion(np.zeros((*tumour.shape, 1)), [tumour[..., None]], vessel[..., None] * 5)
    return scores["vi_detail"]["SMA"]["ax"]["rater_mean"]


def disc(row, column, radius, size=61):
    at = np.arange(size)
    return (at[:, None] - row) ** 2 + (at - column) ** 2 <= radius**2


@pytest.mark.parametrize("case", CASES)
def test_every_number_is_that_of_the_official_program(official, load, case):
    probs, masks, vessels = load(case)
    scores, expected = curvas_pdacvi(probs, masks, vessels), official[case]
    assert scores["vi"] == pytest.approx(expected["vi_wasserstein"], rel=1e-9, abs=1e-9)
    assert set(scores["vi_detail"]) == set(OFFICIAL_VESSELS)
    for vessel, planes in scores["vi_detail"].items():
        for plane in PLANES:
            for key, theirs in KEYS.items():
                assert planes[plane][key] == pytest.approx(expected[theirs][vessel][plane], rel=1e-12, abs=1e-12)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 7))
def test_degrees_of_a_slice_are_those_of_a_scan_of_the_whole_slice(seed, rows, columns):
    rng = np.random.default_rng(seed)
    tumour, vessel = (rng.random((rows, columns)) < rng.random() for _ in range(2))
    if vessel.any() and tumour.any():
        assert slice_degrees(tumour, vessel) == pytest.approx(plain_degrees(tumour, vessel))


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_a_volume_is_the_largest_slice_of_each_plane(seed):
    rng = np.random.default_rng(seed)
    vessels = rng.integers(0, 6, (6, 7, 8)) * (rng.random((6, 7, 8)) < 0.5)
    masks = (ndi.gaussian_filter(rng.standard_normal((2, 6, 7, 8)), (0, 1, 1, 1)) > 0.3).astype(np.uint8)
    probs = rng.random(vessels.shape)
    detail = official_invasion(probs, [masks[0], None, masks[1]], vessels)["vi_detail"]
    for (name, label), (axis, plane) in ((v, p) for v in OFFICIAL_VESSELS.items() for p in enumerate(PLANES)):

        def largest(tumour, axis=axis, label=label):
            pairs = zip(np.moveaxis(tumour, axis, 0), np.moveaxis(vessels == label, axis, 0), strict=True)
            return max([plain_degrees(t, v) for t, v in pairs if t.any() and v.any()], default=0.0)

        raters = [largest(mask > 0) for mask in masks]
        predicted = [largest(probs > t) for t in np.linspace(0.1, 0.8, 6)]
        found = detail[name][plane]
        assert found["rater_mean"] == pytest.approx(np.mean(raters))
        assert found["rater_std"] == pytest.approx(np.std(raters) + 1e-6)
        assert found["prediction_mean"] == pytest.approx(np.mean(predicted))
        assert found["prediction_std"] == pytest.approx(np.std(predicted) + 1e-6)


def test_the_same_disc_counts_on_the_right_and_below_but_not_on_the_left_and_above():
    vessel = disc(30, 30, 8)
    found = {
        (a, b): slice_degrees(disc(30 + 18 * a, 30 + 18 * b, 8), vessel) for a, b in [(0, 1), (1, 0), (0, -1), (-1, 0)]
    }
    assert found[0, 1] == found[1, 0] == pytest.approx(360 * 2 / 44)
    assert round(found[0, 1], 1) == 16.4
    assert found[0, -1] == found[-1, 0] == 0


def test_encasement_is_360_and_more_than_that_happens():
    vessel = disc(30, 30, 8)
    assert slice_degrees(disc(30, 30, 12) & ~vessel, vessel) == 360
    loose = disc(30, 30, 20) & ~disc(30, 30, 9)  # a pixel of fat in between
    assert slice_degrees(loose, vessel) > 360


def test_thresholds_ask_for_1_2_2_3_4_and_5_of_five_votes():
    mean = np.array([[r < k for r in range(5)] for k in range(6)], dtype=np.uint8).mean(axis=1)
    assert [int((mean <= t).sum()) for t in THRESHOLDS["curvas"]] == [1, 2, 2, 3, 4, 5]
    assert np.linspace(0.1, 0.8, 6).tolist() == list(THRESHOLDS["curvas"])


@given(st.floats(0, 400), st.floats(0.5, 150), st.floats(0, 400), st.floats(0.5, 150))
def test_the_distance_of_two_normals_is_scipy_s_on_the_program_s_grid(mean_p, std_p, mean_q, std_q):
    x = np.linspace(0, 360, 1000)
    p, q = norm.pdf(x, mean_p, std_p), norm.pdf(x, mean_q, std_q)
    distance, proper = official_wasserstein(mean_p, std_p, mean_q, std_q)
    if min(p.sum(), q.sum()) > 1e-7:
        assert proper
        assert distance == pytest.approx(wasserstein_distance(x, x, p, q), abs=1e-7)


@pytest.mark.parametrize(
    ("raters", "prediction", "expected"),
    [
        ((90.0, 1e-6), (200.0, 1e-6), 360.0),  # 110 apart, of which only 200 is on the grid
        ((200.0, 1e-6), (90.0, 1e-6), 200.0),
        ((90.0, 1e-6), (100.0, 1e-6), 0.0),
        ((90.0, 1e-6), (0.0, 1e-6), 0.0),
        ((0.0, 1e-6), (90.0, 1e-6), 0.0),
        ((393.1, 198.9), (509.1, 22.94), 360.0),  # beyond the grid but for 1e-10
        ((500.0, 5.0), (100.0, 30.0), 360.0),
        ((500.0, 5.0), (900.0, 5.0), 0.0),
    ],
)
def test_distributions_without_weight_on_the_grid_have_a_fixed_distance(raters, prediction, expected):
    distance, proper = official_wasserstein(*raters, *prediction)
    assert not proper
    assert distance == pytest.approx(expected, abs=1e-6)


def case(n_raters=5):
    """A vessel along the last axis in a lesion around it, beside a second vessel that is far away."""
    vessels = np.zeros((30, 30, 12), dtype=np.uint8)
    vessels[8:14, 8:14] = 5
    vessels[24:28, 24:28] = 3
    masks = np.zeros((n_raters, *vessels.shape), dtype=np.uint8)
    for r, mask in enumerate(masks):
        mask[5:17, 5 : 12 + r, 4:9] = 1
    return masks.mean(axis=0).astype(np.float32), masks, vessels


@pytest.mark.parametrize("strict", [True, False])
def test_a_missing_rater_is_left_out_and_an_empty_one_sees_no_contact(strict):
    probs, masks, vessels = case()
    spacing = (1.0, 1.0, 2.0)
    some = curvas_pdacvi(probs, list(masks[:4]), vessels, spacing, strict=strict)
    missing = curvas_pdacvi(probs, [*masks[:4], None], vessels, spacing, strict=strict)
    empty = curvas_pdacvi(probs, [*masks[:4], 0 * masks[0]], vessels, spacing, strict=strict)
    assert missing["vi"]["SMA"] == some["vi"]["SMA"]
    for plane, told in some["vi_detail"]["SMA"].items():
        expected = pytest.approx(0.8 * told["rater_mean"], nan_ok=True)
        assert empty["vi_detail"]["SMA"][plane]["rater_mean"] == expected


def test_a_vessel_that_is_not_there_is_perfect_in_the_program_and_not_defined_in_the_sound_form():
    probs, masks, vessels = case()
    strict = curvas_pdacvi(probs, masks, vessels)
    corrected = curvas_pdacvi(probs, masks, vessels, (1, 1, 2), strict=False)
    assert strict["vi"]["SMV"] == 0.0
    assert "not in the labels" in strict["vi_detail"]["SMV"]["ax"]["note"]
    assert math.isnan(corrected["vi"]["SMV"])
    assert strict["vi"]["AORTA"] == corrected["vi"]["AORTA"] == 0.0
    assert strict["vi_detail"]["AORTA"]["ax"]["note"] is None
    assert any("SMV" in note for note in strict["notes"])
    assert any("SMV" in note for note in corrected["notes"])


def test_no_tumour_at_all_is_no_contact():
    probs, masks, vessels = case()
    strict = official_invasion(0 * probs, list(0 * masks), vessels)
    assert strict["vi"]["SMA"] == 0.0
    corrected = curvas_pdacvi(0 * probs, 0 * masks, vessels, (1, 1, 1), strict=False)
    assert corrected["vi"]["SMA"] == 0.0
    tumour_only_predicted = curvas_pdacvi(probs, 0 * masks, vessels, (1, 1, 1), strict=False)
    assert tumour_only_predicted["vi"]["SMA"] > 100


@pytest.mark.parametrize("strict", [True, False])
def test_vessels_have_any_names(strict):
    probs, masks, vessels = case()
    named = curvas_pdacvi(probs, masks, vessels, (1, 1, 1), vessel_labels={"artery": 5, "again": 5}, strict=strict)
    usual = curvas_pdacvi(probs, masks, vessels, (1, 1, 1), strict=strict)
    assert named["vi"] == {"artery": usual["vi"]["SMA"], "again": usual["vi"]["SMA"]}
    with pytest.raises(ValueError, match="vessel_labels must give each vessel a whole number"):
        curvas_pdacvi(probs, masks, vessels, vessel_labels={"artery": "5"}, strict=strict)


def test_the_sound_form_is_the_metric_under_the_same_keys():
    probs, masks, vessels = case()
    affine = np.diag([0.8, -0.7, 3.0, 1.0])
    corrected = curvas_pdacvi(probs, masks, vessels, affine=affine, strict=False)
    metric = vascular_invasion(probs, masks, vessels, affine=affine, vessel_labels={"SMA": 5})
    assert corrected["vi"]["SMA"] == metric.wasserstein["SMA"]
    assert set(corrected["vi_detail"]["SMA"]) == set(PLANES)
    axial = metric.per_plane["SMA"]["axial"]
    told = corrected["vi_detail"]["SMA"]["ax"]
    assert told["rater_mean"] == pytest.approx(axial.degrees_raters.mean())
    assert told["prediction_std"] == pytest.approx(axial.degrees_prediction.std())
    assert told["wasserstein"] == axial.wasserstein
    assert told["note"] is None
    scalar = curvas_pdacvi(probs, masks, vessels, 1.68, affine=affine, strict=False)
    assert scalar["vi"] == pytest.approx(corrected["vi"], nan_ok=True)


def test_the_sound_form_asks_for_edges_and_says_what_it_takes_for_them():
    probs, masks, vessels = case()
    with pytest.raises(ValueError, match="needs the edges of a voxel"):
        curvas_pdacvi(probs, masks, vessels, 2.0, strict=False)
    cubes = curvas_pdacvi(probs, masks, vessels, strict=False)
    assert list(cubes["vi_detail"]["SMA"]) == ["axis 0", "axis 1", "axis 2"]
    assert "taken for cubes" in cubes["vi_detail"]["SMA"]["axis 2"]["note"]


def test_a_plane_along_a_vessel_is_left_out_and_says_so_in_the_detail_only():
    probs, masks, vessels = case()
    corrected = curvas_pdacvi(probs, masks, vessels, (1, 1, 2), strict=False)
    left_out = corrected["vi_detail"]["SMA"]["axis 0"]
    assert math.isnan(left_out["rater_mean"])
    assert "plane is left out" in left_out["note"]
    assert not any("left out" in note for note in corrected["notes"])
    assert corrected["vi"]["SMA"] == corrected["vi_detail"]["SMA"]["axis 2"]["wasserstein"]


def test_the_program_s_scores_are_of_volumes():
    with pytest.raises(ValueError, match="The program scores volumes"):
        curvas_pdacvi(np.zeros((4, 4)), np.zeros((5, 4, 4)), np.zeros((4, 4), dtype=int))
    with pytest.raises(ValueError, match="at least one rater"):
        official_invasion(np.zeros((4, 4, 4)), [None], np.zeros((4, 4, 4), dtype=int))
    with pytest.raises(ValueError, match="vessels must have the shape of the masks"):
        official_invasion(np.zeros((4, 4, 4)), [np.zeros((4, 4, 4))], np.zeros((4, 4), dtype=int))


def test_many_raters_are_counted_in_turns():
    probs, masks, vessels = case()
    few = official_invasion(probs, list(masks), vessels)["vi_detail"]["SMA"]
    many = official_invasion(probs, list(masks) * 8, vessels)["vi_detail"]["SMA"]
    for plane in PLANES:
        assert many[plane]["prediction_mean"] == few[plane]["prediction_mean"]
        assert many[plane]["rater_mean"] == pytest.approx(few[plane]["rater_mean"])
