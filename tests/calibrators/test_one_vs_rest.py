"""Several classes, each against the rest: what reduces to one class, what the maps say together, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold

import mrcalib
from mrcalib import MHRIsotonicCalibrator, OneVsRestCalibrator
from mrcalib._simplex import decide, with_background
from mrcalib.calibrators import IdentityCalibrator, PlattCalibrator
from mrcalib.metrics import brier_score

ORGANS = {"pancreas": 1, "kidney": 2, "liver": 3}


def study(shape=(6, 7, 40), labels=(1, 2, 3), n_raters=3, seed=0):
    """Softmax with classes first, and label maps whose classes are rarer than the softmax says."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet([3.0, *[1.0] * len(labels)], size=shape)
    true = probs**1.5
    true[..., 0] = 1 - true[..., 1:].sum(axis=-1)
    edges = np.cumsum(true, axis=-1)
    drawn = (rng.random((n_raters, *shape, 1)) > edges).sum(axis=-1).clip(max=len(labels))
    return np.moveaxis(probs, -1, 0).copy(), np.array([0, *labels])[drawn]


def fitted(**options):
    probs, labels = study()
    return OneVsRestCalibrator(classes=ORGANS, **options).fit(probs, labels)


def test_each_class_is_the_binary_calibrator_of_its_channel_and_label():
    probs, labels = study()
    together = OneVsRestCalibrator(classes=ORGANS).fit(probs, labels)
    kept = together.transform(probs)
    for channel, (name, label) in enumerate(ORGANS.items(), start=1):
        alone = MHRIsotonicCalibrator().fit(probs[channel], labels == label)
        assert together.calibrators_[name].map_ == alone.map_
        assert np.array_equal(kept[channel], alone(probs[channel]))
    assert together.raters_ == ("0", "1", "2")
    assert (together.n_features_in_, together.channels_) == (4, ORGANS)


@pytest.mark.parametrize("normalize", [False, True])
def test_two_classes_are_the_binary_calibrator_exactly(normalize):
    probs, labels = study(labels=(1,))
    alone = MHRIsotonicCalibrator().fit(probs[1], labels)
    calibrated = OneVsRestCalibrator(normalize=normalize).fit(probs, labels).transform(probs)
    assert np.array_equal(calibrated[1], alone(probs[1]))
    assert np.array_equal(calibrated[0], 1 - alone(probs[1]))


def test_renormalised_channels_sum_to_one_and_change_only_where_the_kept_ones_exceed_it():
    probs, _ = study()
    calibrator = fitted()
    for one in calibrator.calibrators_.values():
        one.map_ = mrcalib.maps.PiecewiseLinearMap([0.0, 0.4, 1.0], [0.0, 0.7, 1.0])
    kept, renormalised = calibrator(probs), calibrator(probs, normalize=True)
    total = kept[1:].sum(axis=0)
    beyond = total > 1
    assert 0 < beyond.sum() < beyond.size
    assert renormalised.sum(axis=0) == pytest.approx(np.ones(total.shape), abs=1e-12)
    assert np.array_equal(renormalised[:, ~beyond], kept[:, ~beyond])
    assert renormalised[1:, beyond] == pytest.approx((kept[1:] / total)[:, beyond])
    assert not renormalised[0, beyond].any()
    assert not kept[0, beyond].any()
    assert kept[0, ~beyond] == pytest.approx(1 - total[~beyond], abs=1e-12)


def test_the_parameter_normalize_is_what_transform_does_by_default():
    probs, _ = study()
    calibrator = fitted(normalize=True)
    assert np.array_equal(calibrator(probs), calibrator(probs, normalize=True))
    assert np.array_equal(calibrator(probs, normalize=False), clone(calibrator).set_params(normalize=False).fit(
        *study()).transform(probs))  # fmt: skip


def identity(classes):
    """A calibrator that leaves the classes, without background, as they are."""
    calibrator = OneVsRestCalibrator(IdentityCalibrator(), classes, background=False, class_axis=0)
    return calibrator.fit(np.eye(len(classes)), [list(classes.values())])


@given(st.lists(st.tuples(*[st.floats(0, 1, width=32)] * 3), min_size=1, max_size=8))
def test_any_kept_probabilities_renormalise_to_the_simplex_without_nan(rows):
    foreground = list(np.array(rows).T)
    background, parts = with_background(foreground, normalize=True)
    assert background + sum(parts) == pytest.approx(np.ones(len(rows)), abs=1e-12)
    assert min(background.min(), *(part.min() for part in parts)) >= 0
    left, kept = with_background(foreground, normalize=False)
    assert np.array_equal(kept, foreground)
    assert np.array_equal(left, background)
    assert np.array_equal(decide(left, kept) == 0, left >= np.max(kept, axis=0))


def test_nothing_anywhere_is_background_and_never_nan():
    calibrator = fitted()
    for name in ORGANS:
        calibrator.calibrators_[name].map_ = mrcalib.maps.PiecewiseLinearMap([0.0, 1.0], [0.0, 0.0])
    probs = np.array([0.4, 0.3, 0.2, 0.1])
    for normalize in (False, True):
        assert calibrator(np.tile(probs, (5, 1)), normalize=normalize).tolist() == [[1, 0, 0, 0]] * 5
    assert calibrator.predict(np.tile(probs, (5, 1))).tolist() == [0] * 5


def test_classes_named_in_another_order_are_the_same_classes():
    probs, labels = study()
    one = OneVsRestCalibrator(classes=ORGANS).fit(probs, labels)
    other = OneVsRestCalibrator(classes=dict(reversed(ORGANS.items()))).fit(probs, labels)
    assert other.classes_ == one.classes_
    assert np.array_equal(other(probs), one(probs))


def test_permuting_classes_permutes_results():
    probs, labels = study()
    order = [0, 3, 1, 2]  # the new channel and label k is the old one order[k]
    new_label = np.argsort(order)
    one = OneVsRestCalibrator().fit(probs, labels)
    other = OneVsRestCalibrator().fit(probs[order], new_label[labels])
    for normalize in (False, True):
        assert other(probs[order], normalize=normalize) == pytest.approx(
            one(probs, normalize=normalize)[order], abs=1e-12
        )


def test_labels_with_gaps_have_channels_in_ascending_order():
    probs, labels = study()
    gaps = np.array([0, 4, 10, 200])
    one = OneVsRestCalibrator(classes=ORGANS).fit(probs, labels)
    other = OneVsRestCalibrator(classes=[200, 10, 4]).fit(probs, gaps[labels])
    assert other.classes_ == {"4": 4, "10": 10, "200": 200}
    assert np.array_equal(other(probs), one(probs))
    assert np.array_equal(other.predict(probs), gaps[one.predict(probs)])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_first_and_last_agree_and_keep_shape_and_dtype(dtype):
    probs, labels = study()
    probs = probs.astype(dtype)
    first = OneVsRestCalibrator().fit(probs, labels)
    last = OneVsRestCalibrator().fit(np.moveaxis(probs, 0, -1), np.moveaxis(labels, 0, -1))
    assert first(probs).dtype == dtype
    assert first(probs).shape == probs.shape
    assert np.array_equal(np.moveaxis(last(np.moveaxis(probs, 0, -1)), -1, 0), first(probs))
    assert np.array_equal(last.predict(np.moveaxis(probs, 0, -1)), first.predict(probs))


def test_an_open_shape_needs_the_axis_of_classes():
    probs, labels = study(shape=(4,))[0], [[0, 1, 2, 3], [1, 1, 2, 3]]
    with pytest.raises(ValueError, match="class_axis=0 or class_axis=-1"):
        OneVsRestCalibrator().fit(probs, labels)
    one = OneVsRestCalibrator(class_axis=0).fit(probs, labels)
    other = OneVsRestCalibrator(class_axis=-1).fit(probs.T, labels)
    assert np.array_equal(one(probs), other(probs.T).T)


def test_without_background_the_classes_alone_are_given():
    probs, labels = study()
    whole = OneVsRestCalibrator(classes=ORGANS).fit(probs, labels)
    alone = OneVsRestCalibrator(classes=ORGANS, background=False).fit(probs[1:], labels)
    assert np.array_equal(alone(probs[1:]), whole(probs)[1:])
    assert np.array_equal(alone.predict(probs[1:]), whole.predict(probs))
    assert alone.n_features_in_ == 3


def test_a_missing_rater_is_not_one_who_found_nothing():
    probs, labels = study()
    missing = OneVsRestCalibrator().fit(probs, [labels[0], None, labels[2]])
    empty = OneVsRestCalibrator().fit(probs, [labels[0], np.zeros_like(labels[0]), labels[2]])
    two = OneVsRestCalibrator().fit(probs, labels[[0, 2]])
    assert np.array_equal(missing(probs), two(probs))
    assert not np.array_equal(empty(probs), two(probs))


def test_nan_in_a_label_map_is_a_missing_answer():
    probs, labels = study()
    holes = labels.astype(np.float32)
    holes[1, :3] = np.nan
    masked = np.ma.MaskedArray(labels, np.isnan(holes))
    by_hand = OneVsRestCalibrator().fit(probs, holes)
    for name, label in by_hand.classes_.items():
        votes = np.where(np.isnan(holes), np.nan, holes == label)
        assert by_hand.calibrators_[name].map_ == MHRIsotonicCalibrator().fit(probs[label], votes).map_
    assert np.array_equal(OneVsRestCalibrator().fit(probs, masked)(probs), by_hand(probs))


def test_a_class_that_nobody_marked_is_told_and_stays_zero():
    probs, labels = study()
    labels = np.where(labels == 2, 0, labels)
    with pytest.warns(UserWarning, match="No rater marked class 'kidney'"):
        calibrator = OneVsRestCalibrator(classes=ORGANS).fit(probs, labels)
    calibrated = calibrator(probs)
    assert not calibrated[2].any()
    assert np.isfinite(calibrated).all()
    assert 2 not in calibrator.predict(probs)


def test_predict_is_the_argmax_and_ties_go_to_background_then_the_smallest_label():
    probs = np.array([[0.5, 0, 0], [0.4, 0.4, 0], [0, 0.45, 0.45], [0.2, 0.2, 0.2], [0.9, 0.95, 0.0]]).T
    assert fitted().labels_of(list(probs)).tolist() == [0, 1, 2, 0, 2]
    organs = fitted()
    probs, _ = study()
    for normalize in (False, True):
        assert np.array_equal(organs.predict(probs), organs(probs, normalize=normalize).argmax(axis=0))


def test_predict_needs_numbers_and_transform_keeps_nan():
    calibrator = identity(ORGANS)
    probs = np.array([[0.5, np.nan], [0.2, 0.2], [0.1, 0.1]])
    assert np.isnan(calibrator(probs)).tolist() == [[False, True], [False, False], [False, False]]
    with pytest.raises(ValueError, match="1 voxels are NaN"):
        calibrator.predict(probs)


def test_tallies_and_arrays_give_the_same_maps():
    probs, labels = study()
    tallies = {
        name: mrcalib.Cohort([mrcalib.tally(probs[label], labels == label)], ids=["one"])
        for name, label in ORGANS.items()
    }
    one = OneVsRestCalibrator(classes=ORGANS).fit_tally(tallies)
    assert np.array_equal(one(probs), fitted()(probs))
    assert one.provenance_["cases"] == ["one"]
    with pytest.raises(ValueError, match="must be those of the classes pancreas, kidney, liver; got pancreas"):
        OneVsRestCalibrator(classes=ORGANS).fit_tally({"pancreas": tallies["pancreas"]})
    with pytest.raises(ValueError, match="fit_tally needs the labels"):
        OneVsRestCalibrator().fit_tally(tallies)
    other = mrcalib.Cohort(tallies["kidney"].tallies, ids=["two"])
    with pytest.raises(ValueError, match="same raters and cases; 'kidney' differs from 'pancreas'"):
        OneVsRestCalibrator(classes=ORGANS).fit_tally(tallies | {"kidney": other})


def test_options_of_the_fit_reach_every_class():
    probs, labels = study()
    roi = np.zeros(probs.shape[1:], dtype=bool)
    roi[1:4] = True
    one = OneVsRestCalibrator().fit(probs, labels, roi=roi, rater_weight=[1, 0, 2])
    for name, label in one.classes_.items():
        alone = MHRIsotonicCalibrator().fit(probs[label], labels == label, roi=roi, rater_weight=[1, 0, 2])
        assert one.calibrators_[name].map_ == alone.map_


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y: (p[:3], y), "have 4 channels"),
        (lambda p, y: (p * 1.5, y), "sum to other than 1 at 1,680 of 1,680 voxels"),
        (
            lambda p, y: (p, np.where(y == 2, 7, y)),
            "rater 0 holds 7, which no class names.*pancreas=1, kidney=2, liver=3",
        ),
        (lambda p, y: (p, -y), "which no class names"),
        (lambda p, y: (p, y + 0.5), "which no class names"),
        (lambda p, y: (p, y[:, 1:]), "shape"),
        (lambda p, y: (p, [None, None]), "must have annotated"),
        (lambda p, y: (np.ma.MaskedArray(p, False), y), "plain array"),
        (lambda p, y: (p.astype(int), y), "floating-point"),
        (lambda p, y: (p, None), "target y is None"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_words(change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        OneVsRestCalibrator(classes=ORGANS).fit(*change(*study()))


def test_regions_without_background_are_refused():
    probs, labels = study()
    with pytest.raises(ValueError, match=r"sum to more than 1 at .* regions that may overlap"):
        OneVsRestCalibrator(classes=ORGANS, background=False).fit(np.clip(probs[1:] * 3, 0, 1), labels)


@pytest.mark.parametrize(
    ("classes", "error"),
    [
        ({}, ValueError),
        ([0, 1], ValueError),
        ([1, 1], ValueError),
        ({"a": True}, ValueError),
        ("ab", TypeError),
        (3, TypeError),
    ],
)
def test_classes_must_be_different_labels_from_one_on(classes, error):
    with pytest.raises(error, match="classes must"):
        OneVsRestCalibrator(classes=classes).fit(*study())


def test_other_probabilities_than_those_of_the_fit_are_refused():
    calibrator = fitted()
    probs, _ = study()
    with pytest.raises(ValueError, match="have 4 channels"):
        calibrator(probs[:3])
    with pytest.raises(ValueError, match="sum to other than 1"):
        calibrator(np.clip(probs * 2, 0, 1))
    with pytest.raises(NotFittedError):
        OneVsRestCalibrator()(probs)
    with pytest.raises(TypeError, match="must be a calibrator of one foreground"):
        OneVsRestCalibrator(OneVsRestCalibrator()).fit(*study())


def test_scikit_learn_s_contract():
    calibrator = OneVsRestCalibrator(MHRIsotonicCalibrator("equal-votes"), ORGANS, normalize=True)
    again = clone(calibrator).set_params(calibrator__n_bins=7)
    assert again.get_params()["calibrator__n_bins"] == 7
    assert calibrator.get_params()["calibrator__n_bins"] == 250
    assert repr(OneVsRestCalibrator(classes=[1])) == "OneVsRestCalibrator(classes=[1])"
    probs, labels = study()
    inner = calibrator.calibrator
    assert calibrator.fit(probs, labels) is calibrator
    assert calibrator.calibrator is inner
    assert not hasattr(inner, "map_")
    assert np.array_equal(calibrator.fit_transform(probs, labels), calibrator.transform(probs))


def test_grid_search_scores_by_the_brier_score_of_all_classes():
    probs, labels = study(shape=(300,))
    table, votes = probs.T, labels.T
    patient = np.arange(300) % 6
    search = GridSearchCV(
        OneVsRestCalibrator(PlattCalibrator()), {"calibrator__clip": [1e-7, 0.1]}, cv=GroupKFold(3)
    ).fit(table, votes, groups=patient)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_
    calibrated = best.transform(table)
    expected = sum(brier_score(calibrated[:, k], [rater == k for rater in labels]) for k in range(4))
    assert best.score(table, votes) == pytest.approx(-expected)


def test_what_is_loaded_equals_what_was_saved(tmp_path):
    probs, _ = study()
    saved = fitted(calibrator=PlattCalibrator(clip=0.01, keep_zero=True), normalize=True)
    saved.save(tmp_path / "it.json")
    again = mrcalib.load(tmp_path / "it.json")
    assert type(again) is OneVsRestCalibrator
    assert np.array_equal(again(probs), saved(probs))
    assert np.array_equal(again(probs, normalize=False), saved(probs, normalize=False))
    for what in ("classes_", "channels_", "raters_", "n_features_in_", "provenance_"):
        assert getattr(again, what) == getattr(saved, what)
    assert again.get_params(deep=False).keys() == saved.get_params(deep=False).keys()
    assert again.calibrator.get_params() == saved.calibrator.get_params()
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "it.json").read_text()


def test_damaged_later_and_unfitted_files_of_classes_are_refused(tmp_path):
    path = tmp_path / "it.json"
    with pytest.raises(NotFittedError):
        OneVsRestCalibrator().save(path)
    fitted().save(path)
    content = json.loads(path.read_text(), parse_constant=pytest.fail)

    def refused(match, **values):
        path.write_text(json.dumps({k: v for k, v in (content | values).items() if v is not None}))
        with pytest.raises(ValueError, match=match):
            mrcalib.load(path)

    refused("calibrator of classes schema 2; this mrcalib reads up to 1", classes_schema=2)
    refused("calibrator schema 2", schema=2)
    refused("is not a calibrator", classes_schema=None)
    refused(r"it\.json is damaged", classes=None)
    refused(r"it\.json is damaged", parameters={"next": 1})
    inner = [content["classes"][0] | {"calibrator": "OneVsRestCalibrator"}, *content["classes"][1:]]
    refused("does not know", classes=inner)


def test_the_roi_is_where_channels_must_be_exclusive_and_of_their_shape():
    probs, labels = study()
    roi = np.zeros(probs.shape[1:], dtype=bool)
    roi[:2] = True
    spoiled = np.where(roi, probs, 0.9)
    inside = OneVsRestCalibrator().fit(spoiled, labels, roi=roi)
    assert np.array_equal(inside(probs), OneVsRestCalibrator().fit(probs[:, :2], labels[:, :2])(probs))
    with pytest.raises(ValueError, match="roi must have the shape of probs"):
        OneVsRestCalibrator().fit(probs, labels, roi=roi[:2])


def test_a_map_that_depends_on_the_case_is_used_as_such():
    probs, labels = study(shape=(30, 40))
    case = np.repeat(np.arange(30), 40)
    together = OneVsRestCalibrator(mrcalib.CaseAdaptiveCalibrator()).fit(
        probs.reshape(4, -1), labels.reshape(3, -1), groups=case
    )
    one = probs[:, :3].reshape(4, -1)
    for channel, name in enumerate(together.classes_, start=1):
        assert np.array_equal(together(one)[channel], together.calibrators_[name](one[channel]))
