"""Cases with a coarse first stage: the region of interest, what lies outside, and how much of the raters it holds."""

import warnings

import numpy as np
import pytest

from mrcalib.io import Case, LoadOptions
from mrcalib.roi import dilate

rng = np.random.default_rng(5)
SHAPE = (8, 9, 6)
PROBS = rng.random(SHAPE, dtype=np.float32)
COARSE = np.zeros(SHAPE, np.uint8)
COARSE[3:5, 4, 2:4] = 1
MASK = np.zeros(SHAPE, np.uint8)
MASK[3:7, 4, 2:4] = 1
SPACING = (1.0, 2.0, 3.0)
ROI = np.zeros(SHAPE, np.uint8)
ROI[:5] = 1


def case(**options):
    return Case("A", PROBS, {"ann": MASK, "bo": None}, **{"spacing": SPACING, "coarse": COARSE} | options)


def load(options=None, **fields):
    return case(**fields).load(options=LoadOptions(**options or {}))


def test_the_dilated_coarse_mask_is_the_region():
    loaded = load({"margin_mm": 2.0})
    np.testing.assert_array_equal(loaded.roi, dilate(COARSE, 2.0, SPACING))
    assert loaded.region is loaded.roi
    np.testing.assert_array_equal(loaded.probs, PROBS)
    np.testing.assert_array_equal(load().roi, COARSE > 0)


def test_roi_and_coarse_mask_must_both_say_so():
    np.testing.assert_array_equal(load({"margin_mm": 2.0}, roi=ROI).roi, dilate(COARSE, 2.0, SPACING) & (ROI > 0))


def test_outside_zero_makes_zeros_that_count():
    probs = PROBS.copy()
    probs[0, 0, 0] = np.nan  # outside nobody looks
    loaded = Case("A", probs, [MASK], spacing=SPACING, coarse=COARSE).load(
        options=LoadOptions(margin_mm=2.0, outside="zero")
    )
    region = dilate(COARSE, 2.0, SPACING)
    assert loaded.roi is None
    np.testing.assert_array_equal(loaded.region, region)
    np.testing.assert_array_equal(loaded.probs, np.where(region, PROBS, np.float32(0)))
    assert loaded.probs.dtype == np.float32
    assert np.isnan(probs[0, 0, 0])


def test_a_calibrated_map_is_zero_outside_whatever_the_map_says_of_zero():
    def lift(probs):
        return probs * np.float32(0.5) + np.float32(0.1)

    zero, ignore = (load({"outside": outside}) for outside in ("zero", "ignore"))
    np.testing.assert_array_equal(zero.calibrated_by(lift), np.where(COARSE, lift(PROBS), np.float32(0)))
    np.testing.assert_array_equal(ignore.calibrated_by(lift), lift(PROBS))


def test_recall_is_of_the_union_and_of_each_rater():
    second = np.zeros(SHAPE, np.uint8)
    second[4, 4, 2] = second[7, 8, 5] = 1
    loaded = Case("A", PROBS, [MASK, None, second], coarse=COARSE).load()
    assert loaded.roi_recall == pytest.approx(4 / 9)
    np.testing.assert_array_equal(loaded.rater_recalls, [4 / 8, np.nan, 1 / 2])
    assert load({"margin_mm": 2.0}).roi_recall == 1.0


def test_recall_is_not_told_where_there_is_nothing_to_tell():
    assert Case("A", PROBS, [MASK]).load().roi_recall is None
    loaded = Case("A", PROBS, {}, coarse=COARSE).load()
    assert (loaded.roi_recall, loaded.rater_recalls) == (None, None)
    assert np.isnan(Case("A", PROBS, [np.zeros_like(MASK)], coarse=COARSE).load().roi_recall)


def test_a_coarse_probability_map_is_thresholded():
    coarse = np.linspace(0, 1, PROBS.size, dtype=np.float32).reshape(SHAPE)
    np.testing.assert_array_equal(load(coarse=coarse).roi, coarse > 0.5)
    np.testing.assert_array_equal(load({"coarse_threshold": 0.9}, coarse=coarse).roi, coarse > 0.9)


def test_a_coarse_file_of_two_classes_gives_the_second(save):
    foreground = PROBS > 0.7
    both = np.stack([~foreground, foreground], axis=-1).astype(np.float32)
    loaded = Case("A", save("p.nii.gz", PROBS), [], coarse=save("c.nii.gz", both)).load()
    np.testing.assert_array_equal(loaded.roi, foreground)


def test_margins_are_measured_in_the_header_s_millimetres(save):
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    files = [save(f"{name}.nii.gz", data, affine) for name, data in (("p", PROBS), ("m", MASK), ("c", COARSE))]
    loaded = Case("A", files[0], [files[1]], coarse=files[2]).load(options=LoadOptions(margin_mm=2.0))
    np.testing.assert_array_equal(loaded.roi, dilate(COARSE, 2.0, SPACING))


def test_a_coarse_file_on_other_voxels_is_refused(save):
    with pytest.raises(ValueError, match=r"coarse segmentation \(.*c\.nii\.gz\) of case 'A'"):
        Case("A", save("p.nii.gz", PROBS), [], coarse=save("c.nii.gz", COARSE[:4])).load()


@pytest.mark.parametrize(
    ("options", "fields", "words"),
    [
        ({"margin_mm": 3.0}, {"spacing": None}, "spacing of case 'A' is not known, so margin_mm=3 cannot be measured"),
        ({"margin_mm": 3.0}, {"coarse": None}, "'A' has no coarse segmentation to dilate by margin_mm=3"),
        ({"outside": "zero"}, {"coarse": None}, "'A' has neither roi= nor coarse=: outside='zero'"),
        (
            {},
            {"coarse": np.zeros(SHAPE)},
            "'A': the coarse segmentation is empty .*coarse_threshold=0.5.*outside='zero'",
        ),
        ({}, {"roi": 1 - COARSE}, "'A': coarse segmentation and ROI have no voxel in common"),
        ({}, {"coarse": PROBS * 7 - 3}, "Case 'A', the coarse segmentation: .* real numbers from -"),
    ],
)
def test_what_cannot_be_a_region_is_refused_by_name(options, fields, words):
    with pytest.raises(ValueError, match=words):
        load(options, **fields)


def test_an_empty_coarse_mask_is_warned_of_where_outside_is_zero():
    with pytest.warns(UserWarning, match="'A': the coarse segmentation is empty .* all its probabilities become 0"):
        loaded = load({"outside": "zero"}, coarse=np.zeros(SHAPE, bool))
    assert not loaded.probs.any()
    assert loaded.roi is None
    assert loaded.roi_recall == 0.0


def test_without_margin_no_spacing_is_needed():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load(spacing=None).roi, COARSE > 0)


def test_flat_images_have_regions_too():
    loaded = Case("A", PROBS[..., 2], [MASK[..., 2]], coarse=COARSE[..., 2], spacing=(1.0, 2.0)).load(
        options=LoadOptions(margin_mm=2.0)
    )
    np.testing.assert_array_equal(loaded.roi, dilate(COARSE[..., 2], 2.0, (1.0, 2.0)))


# Options --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "median"}, "pooling must be 'mean' or 'logit-mean'; got 'median'"),
        ({"outside": "calibrated"}, "outside must be 'ignore' or 'zero'"),
        ({"values": "scores"}, "values must be 'probabilities' or 'logits'"),
        ({"merge": "mean"}, "merge must be 'sum' or 'max'"),
        ({"coarse_threshold": 1.0}, "coarse_threshold must be a number of at least 0 and below 1"),
        ({"margin_mm": -1.0}, "margin_mm must be a number of at least 0"),
        ({"margin_mm": float("inf")}, "margin_mm must be"),
        ({"weights": ()}, "weights must be numbers above 0"),
        ({"weights": (1.0, 0.0)}, r"weights must be numbers above 0; got \(1.0, 0.0\). Leave a member out"),
        ({"weights": (1.0, float("nan"))}, "weights must be numbers above 0"),
    ],
)
def test_options_out_of_range_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        LoadOptions(**options)


def test_weights_are_of_the_members_in_order():
    members = (np.full((2, 2), 0.2), np.full((2, 2), 0.6))
    assert Case("A", members, []).load(options=LoadOptions(weights=(3, 1))).probs == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"case 'A' has 2 members, weights=\(1.0, 1.0, 1.0\)"):
        Case("A", members, []).load(options=LoadOptions(weights=(1, 1, 1)))


# Logits ---------------------------------------------------------------------------------------------------------------------


def expit(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_become_probabilities(dtype):
    logits = np.array([[-30.0, -3.0], [0.0, 12.0]], dtype)
    loaded = Case("A", logits, []).load(options=LoadOptions(values="logits"))
    assert loaded.probs.dtype == (np.float64 if dtype == np.float64 else np.float32)
    np.testing.assert_allclose(loaded.probs, expit(logits), rtol=1e-6)


def test_logits_of_members_are_pooled_as_probabilities_or_as_logits():
    members = (np.array([[-4.0, 2.0]]), np.array([[-2.0, 3.0]]))
    mean = Case("A", members, []).load(options=LoadOptions(values="logits")).probs
    assert mean == pytest.approx(np.mean([expit(m) for m in members], axis=0))
    of_logits = Case("A", members, []).load(options=LoadOptions("logit-mean", values="logits")).probs
    assert of_logits == pytest.approx(expit([[-3.0, 2.5]]))


def test_probabilities_said_to_be_logits_are_refused(save):
    for source in (PROBS, save("p.nii.gz", PROBS)):
        with pytest.raises(
            ValueError, match=r"Case 'A'.* all its values lie in \[0, 1\]: they are probabilities already"
        ):
            Case("A", source, []).load(options=LoadOptions(values="logits"))


def test_logits_that_are_no_numbers_stay_so():
    loaded = Case("A", np.array([[np.nan, np.inf, -np.inf, 2.0]]), []).load(options=LoadOptions(values="logits"))
    np.testing.assert_array_equal(np.isnan(loaded.probs), [[True, False, False, False]])
    assert loaded.probs[0, 1:3].tolist() == [1.0, 0.0]
