"""Calibrators as JSON: what is saved, what comes back, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mrcalib
from mrcalib import calibrators
from mrcalib.maps import BetaMap, LogitMap, PiecewiseLinearMap, StepMap

NAMES = sorted({method.kind.__name__ for _, method in calibrators.CALIBRATORS.items()})
AT = np.linspace(0, 1, 1001)


def fitted(name="MHRIsotonicCalibrator", **parameters):
    rng = np.random.default_rng(0)
    probs = rng.random(5000)
    return getattr(calibrators, name)(**parameters).fit(probs, rng.random((3, 5000)) < probs**2)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_equals_what_was_saved(tmp_path, name):
    saved = fitted(name, keep_zero=True) if name != "IdentityCalibrator" else fitted(name)
    saved.save(tmp_path / "it.json")
    again = mrcalib.load(tmp_path / "it.json")
    assert type(again) is type(saved)
    assert again.get_params() == saved.get_params()
    assert again.map_ == saved.map_
    assert np.array_equal(again(AT), saved(AT))
    told = ("raters_", "reachable_", "n_voxels_", "n_features_in_", "provenance_")
    assert {k: getattr(again, k) for k in told} == {k: getattr(saved, k) for k in told}
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "it.json").read_text()


@pytest.mark.parametrize(
    ("name", "learned"),
    [
        ("TemperatureScalingCalibrator", ["temperature_"]),
        ("PlattCalibrator", ["slope_", "offset_"]),
        ("BetaCalibrator", ["a_", "b_", "c_"]),
        ("HardLabelCalibrator", ["rater_maps_"]),
    ],
)
def test_documented_attributes_come_back(tmp_path, name, learned):
    saved = fitted(name)
    saved.save(tmp_path / "it.json")
    again = mrcalib.load(tmp_path / "it.json")
    for attribute in learned:
        assert getattr(again, attribute) == getattr(saved, attribute)


def test_parameters_survive(tmp_path):
    weight = np.array([1.0, 2.5])
    cohort = mrcalib.Cohort([mrcalib.tally(np.array([0.2, 0.7]), np.array([0, 1]))] * 2, ids=["a", "b"])
    saved = mrcalib.MHRIsotonicCalibrator("equal-votes", np.int64(9), case_weight=weight).fit_tally(cohort)
    saved.save(tmp_path / "it.json")
    again = mrcalib.load(tmp_path / "it.json")
    assert (again.binning, again.n_bins, list(again.case_weight)) == ("equal-votes", 9, [1.0, 2.5])
    assert again.provenance_["cases"] == ["a", "b"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20, unique=True), st.data())
def test_knots_survive_to_the_last_bit(tmp_path_factory, x, data):
    y = sorted(data.draw(st.lists(st.floats(0, 1), min_size=len(x), max_size=len(x))))
    saved = fitted()
    saved.map_ = PiecewiseLinearMap(sorted(x), y)
    path = tmp_path_factory.mktemp("knots") / "it.json"
    saved.save(path)
    again = mrcalib.load(path).map_
    assert again.x.tobytes() == saved.map_.x.tobytes()
    assert again.y.tobytes() == saved.map_.y.tobytes()


@pytest.mark.parametrize(
    "made", [LogitMap(0.1 + 0.2, -1 / 3), BetaMap(1e-9, 3.3, 1e3), StepMap([0.1, 0.7], [0.9, 1 / 3])]
)
def test_every_kind_of_map_survives(tmp_path, made):
    saved = fitted()
    saved.map_ = made
    saved.save(tmp_path / "it.json")
    assert mrcalib.load(tmp_path / "it.json").map_ == made


def test_the_file_is_plain_json_with_schema_version_and_provenance(tmp_path):
    fitted().save(tmp_path / "it.json")
    content = json.loads((tmp_path / "it.json").read_text(), parse_constant=pytest.fail)
    assert list(content) == ["schema", "mrcalib_version", "calibrator", "map", "state", "raters", "provenance"]
    assert content["schema"] == 1
    assert content["mrcalib_version"] == mrcalib.__version__
    assert content["calibrator"] == "MHRIsotonicCalibrator"
    assert len(content["provenance"]["data_sha256"]) == 64


def test_an_infinite_temperature_is_still_json(tmp_path):
    saved = mrcalib.TemperatureScalingCalibrator().fit(np.array([0.2, 0.8]), np.array([1, 0]))
    assert saved.temperature_ == np.inf
    saved.save(tmp_path / "it.json")
    json.loads((tmp_path / "it.json").read_text(), parse_constant=pytest.fail)
    assert mrcalib.load(tmp_path / "it.json")(np.array([0.9])) == pytest.approx([0.5])


def test_nothing_is_left_when_saving_fails(tmp_path):
    path = tmp_path / "it.json"
    fitted().save(path)
    before = path.read_text()
    broken = fitted()
    broken.provenance_ = {"cases": object()}
    with pytest.raises(TypeError):
        broken.save(path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["it.json"]


def test_a_folder_is_made_if_need_be(tmp_path):
    fitted().save(tmp_path / "models" / "it.json")
    assert (tmp_path / "models" / "it.json").exists()


def test_an_unfitted_calibrator_is_not_saved(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError, match="is not fitted yet"):
        mrcalib.MHRIsotonicCalibrator().save(tmp_path / "it.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "no json", "[]", "3", '{"schema": 1}', '{"calibrator": "PlattCalibrator"}'])
def test_a_file_that_is_no_calibrator_is_refused(tmp_path, text):
    path = tmp_path / "it.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"it\.json is not a calibrator written by mrcalib"):
        mrcalib.load(path)


def changed(tmp_path, **values):
    path = tmp_path / "it.json"
    fitted().save(path)
    content = json.loads(path.read_text())
    for key, value in values.items():
        if value is None:
            del content[key]
        else:
            content[key] = value
    path.write_text(json.dumps(content))
    return path


def test_a_later_schema_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"has calibrator schema 2; this mrcalib reads up to 1\. Upgrade mrcalib"):
        mrcalib.load(changed(tmp_path, schema=2))


@pytest.mark.parametrize("name", ["NextCalibrator", "load", "__class__"])
def test_an_unknown_class_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"holds a {name}, which this mrcalib does not know"):
        mrcalib.load(changed(tmp_path, calibrator=name))


@pytest.mark.parametrize(
    "values",
    [
        {"map": None},
        {"provenance": None},
        {"raters": None},
        {"schema": "1"},
        {"map": {"kind": "logit"}},
        {"map": {"kind": "next"}},
        {"map": {"kind": "piecewise-linear", "x": [0.5, 0.2], "y": [0, 1], "keep_zero": False}},
        {"provenance": {"parameters": {"next": 1}, "n_voxels": 1}},
        {"calibrator": "Calibrator"},
    ],
    ids=str,
)
def test_a_damaged_file_is_refused_by_name(tmp_path, values):
    path = changed(tmp_path, **values)
    with pytest.raises(ValueError, match=r"it\.json"):
        mrcalib.load(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        mrcalib.load(tmp_path / "none.json")
