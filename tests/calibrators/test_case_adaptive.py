"""Maps that know the case: what they are with too few cases, which volume they leave, and that they stay honest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone

import mrcalib
from mrcalib import Case, Cohort, MHRIsotonicCalibrator, ProbabilityGrid, compare, tally
from mrcalib.calibrators import CaseAdaptiveCalibrator
from mrcalib.calibrators.case_adaptive import CaseMap, _histogram, _power_to_sum
from mrcalib.maps import PiecewiseLinearMap, mean_of_maps

AT = np.linspace(0, 1, 101)


def made(n_cases=40, *, seed=0, truth=lambda p, size: p**2, sizes=(0.05, 1.0), n=600):
    """Cases whose probabilities are spread up to a limit, the larger the limit the larger the structure."""
    rng = np.random.default_rng(seed)
    cases = []
    for _ in range(n_cases):
        size = rng.uniform(*sizes)
        probs = rng.random(n) * size
        cases.append((probs, (rng.random((4, n)) < truth(probs, size)).astype(np.uint8)))
    return cases


def cohort_of(cases, **options):
    return Cohort([tally(probs, masks) for probs, masks in cases], **options)


def volume_error(calibrated, cases):
    return np.array([c.sum() - masks.sum() / len(masks) for c, (_, masks) in zip(calibrated, cases, strict=True)])


# What it is when there is nothing to adapt to ---------------------------------------------------------------------------


def test_one_case_is_isotonic_regression():
    probs, masks = made(1)[0]
    plain = MHRIsotonicCalibrator().fit(probs, masks)
    adaptive = CaseAdaptiveCalibrator().fit(probs, masks)
    assert adaptive.map_ == plain.map_
    assert adaptive.volume_share_ == 0
    assert np.array_equal(adaptive(probs[:7]), plain(probs[:7]))


@pytest.mark.parametrize("case_weight", ["voxels", "equal"])
def test_one_size_and_the_map_s_own_volume_is_isotonic_regression(case_weight):
    cases = made(30)
    cases[0] = tuple(a[..., :100] for a in cases[0])
    plain = MHRIsotonicCalibrator(case_weight=case_weight).fit_tally(cohort_of(cases))
    adaptive = CaseAdaptiveCalibrator(1, "map", case_weight=case_weight).fit_tally(cohort_of(cases))
    assert np.abs(adaptive(AT) - plain(AT)).max() < 1e-12


@pytest.mark.parametrize(("n_cases", "expected"), [(9, 1), (19, 1), (20, 2), (30, 3), (40, 3)])
def test_each_typical_size_has_ten_cases(n_cases, expected):
    fitted = CaseAdaptiveCalibrator().fit_tally(cohort_of(made(n_cases)))
    assert len(fitted.sizes_) == len(fitted.maps_) == expected


def test_cases_of_one_size_share_one_map():
    probs, masks = made(1)[0]
    fitted = CaseAdaptiveCalibrator().fit_tally(cohort_of([(probs, masks)] * 30))
    assert len(fitted.maps_) == 1
    assert fitted.sizes_[0] == pytest.approx(probs.sum(), rel=1e-6)


# The volume ---------------------------------------------------------------------------------------------------------------


def with_right_volumes(n_cases=30):
    """The sum of probabilities is the volume in every case, though what 0.1 means differs: 0 here, 0.05 there."""
    cases = []
    for i in range(n_cases):
        n = 100 + 20 * i
        probs = np.repeat([0.9, 0.1], [n, 2 * n if i % 2 else n])
        marked = np.arange(probs.size) < (n + n // 10 if i % 2 else n)
        cases.append((probs, np.tile(marked.astype(np.uint8), (4, 1))))
    return cases


def test_a_segmenter_with_the_right_volumes_keeps_them():
    cases = with_right_volumes()
    fitted = CaseAdaptiveCalibrator(n_sizes=1).fit_tally(cohort_of(cases))
    assert fitted.volume_share_ == pytest.approx(1)
    adaptive = volume_error([fitted(probs) for probs, _ in cases], cases)
    plain = volume_error([fitted.map_(probs) for probs, _ in cases], cases)
    assert np.abs(adaptive).max() < 1e-3 * 100
    assert np.abs(plain).max() > 10


def test_a_segmenter_whose_volumes_are_off_follows_the_map():
    cases = made(40)  # raters mark p**2: the sum of p is far too large
    fitted = CaseAdaptiveCalibrator().fit_tally(cohort_of(cases))
    assert fitted.volume_share_ < 0.1
    bias = volume_error([fitted(p) for p, _ in cases], cases).mean()
    assert abs(bias) < 0.05 * np.mean([p.sum() - m.mean(axis=0).sum() for p, m in cases])


@given(share=st.floats(0.02, 0.98))
def test_the_share_is_found_where_volumes_are_a_mixture(share):
    predicted = np.linspace(10, 100, 12)
    own = predicted[::-1] * 0.7
    found = CaseAdaptiveCalibrator()._share(predicted, own, share * predicted + (1 - share) * own)
    assert found == pytest.approx(share)


def test_the_share_has_the_least_absolute_error(rng):
    predicted, own, marked = rng.uniform(10, 100, (3, 31))
    found = CaseAdaptiveCalibrator()._share(predicted, own, marked)
    tried = np.linspace(0, 1, 1001)
    errors = [np.abs(t * predicted + (1 - t) * own - marked).mean() for t in tried]
    assert np.abs(found * predicted + (1 - found) * own - marked).mean() <= min(errors) + 1e-12


@pytest.mark.parametrize(("volume", "share"), [("segmenter", 1), ("map", 0)])
def test_the_share_can_be_given(volume, share):
    cases = made(12)
    fitted = CaseAdaptiveCalibrator(volume=volume).fit_tally(cohort_of(cases))
    assert fitted.volume_share_ == share
    if share:
        assert fitted(cases[0][0]).sum() == pytest.approx(cases[0][0].sum(), rel=1e-3)


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=30), st.floats(0.3, 3))
def test_powers_are_found(values, power):
    values = np.array(values)
    found = _power_to_sum(values, np.ones(values.size), float((values**power).sum()))
    assert (values**found).sum() == pytest.approx((values**power).sum(), rel=1e-9)


@pytest.mark.parametrize("target", [0.0, 1e9])
def test_a_sum_out_of_reach_stops_at_a_bound(target):
    power = _power_to_sum(np.array([0.0, 0.5, 1.0]), np.ones(3), target)
    assert power == pytest.approx(64.0 if target == 0 else 1 / 64)


def test_a_case_of_zeros_stays_empty_where_the_segmenter_s_volume_counts():
    fitted = CaseAdaptiveCalibrator(volume="segmenter").fit_tally(cohort_of(made(30)))
    empty = fitted(np.zeros((8, 8)))
    assert np.isfinite(empty).all()
    assert empty.sum() < 1e-6


def test_a_case_of_no_voxels_is_an_empty_array():
    fitted = CaseAdaptiveCalibrator(volume="segmenter").fit_tally(cohort_of(made(12)))
    assert fitted(np.zeros((0, 3), np.float32)).shape == (0, 3)


# The size -------------------------------------------------------------------------------------------------------------------


def test_small_and_large_structures_have_maps_of_their_own():
    """Of small structures raters mark p / 2, of large ones all of p."""
    rng = np.random.default_rng(0)
    cases = []
    for i in range(60):
        probs = np.where(np.arange(4000) < (100 if i % 2 else 2000), rng.random(4000), 0.0)
        cases.append((probs, (rng.random((4, 4000)) < probs * (0.5 if i % 2 else 1)).astype(np.uint8)))
    fitted = CaseAdaptiveCalibrator(2, "map").fit_tally(cohort_of(cases))
    small, large = fitted.map_of_case(AT, np.full(101, 1.0)), fitted.map_of_case(AT, np.full(101, 20.0))
    middle = (AT > 0.1) & (AT < 0.9)
    assert np.abs(small(AT) - AT / 2)[middle].max() < 0.06
    assert np.abs(large(AT) - AT)[middle].max() < 0.06


def test_between_two_sizes_the_map_is_their_mean_and_outside_the_nearest():
    fitted = CaseAdaptiveCalibrator(2, "map").fit_tally(cohort_of(made(30, truth=lambda p, size: p * size)))
    low, high = fitted.sizes_
    half = float(np.sqrt(low * high))
    between = fitted.map_of_case(np.array([1.0]), np.array([half]))
    assert np.abs(between(AT) - mean_of_maps(fitted.maps_)(AT)).max() < 1e-12
    assert fitted.map_of_case(np.array([1.0]), np.array([low / 9])) == fitted.maps_[0]
    assert fitted.map_of_case(np.array([1.0]), np.array([high * 9])) == fitted.maps_[1]


def test_a_case_s_order_of_probabilities_is_kept(rng):
    fitted = CaseAdaptiveCalibrator(volume="segmenter").fit_tally(cohort_of(made(30)))
    calibrated = fitted(np.sort(rng.random(5000)))
    assert (np.diff(calibrated) >= 0).all()
    assert calibrated.min() >= 0
    assert calibrated.max() <= 1


# Ways of fitting and applying -------------------------------------------------------------------------------------------


def arrays_of(cases):
    probs = np.concatenate([p for p, _ in cases])
    masks = np.concatenate([m for _, m in cases], axis=1)
    return probs, masks, np.repeat(np.arange(len(cases)), [p.size for p, _ in cases])


def test_arrays_with_groups_tallies_cases_and_pieces_give_one_calibrator():
    cases = made(24)
    probs, masks, groups = arrays_of(cases)
    expected = CaseAdaptiveCalibrator().fit(probs, masks, groups=groups)
    pieces = CaseAdaptiveCalibrator()
    for p, m in reversed(cases):
        pieces.partial_fit(p, m)
    others = [
        CaseAdaptiveCalibrator().fit_tally(cohort_of(cases)),
        CaseAdaptiveCalibrator().fit_cases(
            [Case(str(i), p.reshape(20, 30), list(m.reshape(4, 20, 30))) for i, (p, m) in enumerate(cases)]
        ),
        pieces,
        CaseAdaptiveCalibrator().partial_fit(probs, masks, groups=groups),
    ]
    for other in others:
        assert other.sizes_ == pytest.approx(expected.sizes_, rel=1e-12)
        assert other.volume_share_ == pytest.approx(expected.volume_share_, abs=1e-9)
        assert np.abs(other(cases[0][0]) - expected(cases[0][0])).max() < 1e-9


def test_groups_along_the_first_axis_and_a_region_are_understood():
    cases = made(20)
    probs = np.stack([p.reshape(20, 30) for p, _ in cases])
    masks = np.stack([m.reshape(4, 20, 30) for _, m in cases], axis=1)
    roi = np.zeros(probs.shape, bool)
    roi[:, :12] = True
    inside = CaseAdaptiveCalibrator().fit(probs, masks, groups=np.arange(20), roi=roi)
    cut = [(p.reshape(20, 30)[:12], m.reshape(4, 20, 30)[:, :12]) for p, m in cases]
    expected = CaseAdaptiveCalibrator().fit_tally(cohort_of(cut))
    assert inside.sizes_ == pytest.approx(expected.sizes_)
    assert np.abs(inside(probs[0]) - expected(probs[0])).max() < 1e-12


def test_a_missing_rater_is_not_one_who_found_nothing():
    cases = made(20)
    some = [(p, [*m[:3], None] if i % 2 else list(m)) for i, (p, m) in enumerate(cases)]
    silent = [(p, [*m[:3], 0 * m[3]] if i % 2 else list(m)) for i, (p, m) in enumerate(cases)]
    whole, missing, empty = (
        CaseAdaptiveCalibrator(volume="map").fit_tally(cohort_of(c)) for c in (cases, some, silent)
    )
    assert missing.sizes_ == pytest.approx(whole.sizes_, rel=1e-9)
    assert np.abs(missing(AT) - whole(AT)).max() < 0.1
    assert empty(AT).sum() < 0.95 * whole(AT).sum()


def test_one_rater_s_weight_fits_to_that_rater():
    cases = made(20)
    alone = [(p, m[2:3]) for p, m in cases]
    fitted = CaseAdaptiveCalibrator().fit_tally(cohort_of(cases), rater_weight=[0, 0, 1, 0])
    assert fitted.maps_ == CaseAdaptiveCalibrator().fit_tally(cohort_of(alone)).maps_


def test_a_case_of_no_weight_is_left_out():
    cases = made(25)
    part = CaseAdaptiveCalibrator().fit_tally(cohort_of(cases[:20]), case_weight=np.ones(20))
    whole = CaseAdaptiveCalibrator().fit_tally(cohort_of(cases), case_weight=np.append(np.ones(20), np.zeros(5)))
    assert whole.sizes_ == pytest.approx(part.sizes_)
    assert np.abs(whole(AT) - part(AT)).max() < 1e-9


def test_zeros_that_are_kept_change_nothing():
    cases = made(24)
    padded = [(np.append(p, np.zeros(300)), np.append(m, np.ones((4, 300), np.uint8), axis=1)) for p, m in cases]
    fitted = CaseAdaptiveCalibrator(keep_zero=True).fit_tally(cohort_of(cases))
    with_zeros = CaseAdaptiveCalibrator(keep_zero=True).fit_tally(cohort_of(padded))
    assert with_zeros.maps_ == fitted.maps_
    assert with_zeros.volume_share_ == pytest.approx(fitted.volume_share_)
    assert with_zeros(padded[0][0])[-300:].tolist() == [0.0] * 300
    by_groups = CaseAdaptiveCalibrator(keep_zero=True).fit(*arrays_of(padded)[:2], groups=arrays_of(padded)[2])
    assert np.abs(by_groups(AT) - fitted(AT)).max() < 1e-9


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shape_dtype_nan_and_masks_are_kept(dtype):
    fitted = CaseAdaptiveCalibrator(volume="segmenter").fit_tally(cohort_of(made(20)))
    case = np.asfortranarray(made(1)[0][0].reshape(20, 30).astype(dtype))
    calibrated = fitted(case)
    assert (calibrated.dtype, calibrated.shape) == (dtype, case.shape)
    assert calibrated.sum(dtype=np.float64) == pytest.approx(case.sum(dtype=np.float64), rel=2e-3)
    broken = np.append(case, dtype(np.nan))
    assert np.isnan(fitted(broken)[-1])
    assert np.array_equal(fitted(broken)[:-1], fitted(case.ravel()))
    hidden = np.ma.MaskedArray(np.append(case, dtype(1)), np.append(np.zeros(600, bool), True))
    told = fitted(hidden)
    assert told.mask.sum() == 1
    assert np.array_equal(told.data[:-1], fitted(case.ravel()))


def test_a_map_raised_to_a_power_does_not_change_its_input():
    probs = np.array([0.25, 0.5])
    assert CaseMap(PiecewiseLinearMap([0.0, 1.0], [0.0, 1.0]), 2.0)(probs).tolist() == [0.0625, 0.25]
    assert probs.tolist() == [0.25, 0.5]


def test_the_histogram_of_a_case_is_that_of_its_tally(rng):
    probs = rng.random(3000).astype(np.float32) ** 3
    prob, count = _histogram(probs)
    rows = tally(probs, [np.zeros(3000, np.uint8)], grid=ProbabilityGrid.standard()).responses()
    assert count.tolist() == rows.count.tolist()
    assert prob == pytest.approx(rows.prob, rel=1e-6, abs=1e-9)  # below 2**-32 a tally keeps no sums


def test_it_survives_a_file(tmp_path):
    cases = with_right_volumes()
    fitted = CaseAdaptiveCalibrator(2, keep_zero=True).fit_tally(cohort_of(cases))
    assert 0 < fitted.volume_share_ <= 1
    fitted.save(tmp_path / "c.json")
    again = mrcalib.load(tmp_path / "c.json")
    assert (again.sizes_, again.maps_, again.volume_share_) == (fitted.sizes_, fitted.maps_, fitted.volume_share_)
    assert again.get_params() == fitted.get_params()
    assert np.array_equal(again(cases[0][0]), fitted(cases[0][0]))


def test_a_file_changed_by_hand_is_refused(tmp_path):
    path = tmp_path / "c.json"
    CaseAdaptiveCalibrator().fit_tally(cohort_of(made(20))).save(path)
    path.write_text(path.read_text().replace('"volume_share": ', '"volume_share": 7'))
    with pytest.raises(ValueError, match="damaged"):
        mrcalib.load(path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": np.zeros(5)}, "groups must have the shape"),
        ({"groups": np.zeros(600), "sample_weight": np.ones(600)}, "count of voxels"),
        ({"groups": np.zeros(600), "roi": np.ones(5, bool)}, "roi must have the shape"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options, said):
    probs, masks = made(1)[0]
    with pytest.raises(ValueError, match=said):
        CaseAdaptiveCalibrator().fit(probs, masks, **options)


def test_unknown_options_and_lost_sums_are_refused(tmp_path):
    cases = made(12)
    with pytest.raises(ValueError, match="volume must be"):
        CaseAdaptiveCalibrator(volume="large").fit(*cases[0])
    with pytest.raises(ValueError, match="n_sizes"):
        CaseAdaptiveCalibrator(0).fit(*cases[0])
    loaded = CaseAdaptiveCalibrator().fit_tally(cohort_of(cases))
    loaded.save(tmp_path / "loaded.json")
    with pytest.raises(ValueError, match="cannot go on"):
        mrcalib.load(tmp_path / "loaded.json").partial_fit(*cases[0])


# In a comparison ------------------------------------------------------------------------------------------------------------


def test_compare_scores_a_case_as_transform_calibrates_it():
    cases = made(24, truth=lambda p, size: p * size)
    cohort = cohort_of(cases, groups=[str(i // 4) for i in range(24)])
    method = CaseAdaptiveCalibrator(volume="segmenter")
    study = compare(cohort, {"none": mrcalib.IdentityCalibrator(), "adaptive": method}, ["brier"], n_resamples=10)
    found = study.case_values("adaptive", study.metrics[0])
    for fold in range(6):
        mine = np.arange(24) // 4 == fold
        fitted = clone(method).fit_tally(cohort.subset(~mine))
        for i in np.flatnonzero(mine):
            probs, masks = cases[i]
            assert found[i] == pytest.approx(mrcalib.metrics.brier_score(fitted(probs), masks), rel=2e-3)


def test_a_volume_that_is_kept_is_neither_better_nor_worse():
    cohort = cohort_of(made(24))
    methods = {"none": mrcalib.IdentityCalibrator(), "kept": CaseAdaptiveCalibrator(volume="segmenter")}
    study = compare(cohort, methods, ["volume_crps", "volume_error"], cv=5, n_resamples=50)
    told = study.differences()
    assert told["verdict"].tolist() == ["", ""]
    assert 0 < told["difference"].abs().max() < 1e-6  # but for rounding
