"""``metrics.json`` as evalutils writes it: pandas' description of each column, in strict JSON."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.io import write_metrics_json


def refuse(constant):
    pytest.fail(f"{constant} is no JSON")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


SCORES = {
    "b/2": {"tdsc": 0.5, "crps": 12.0},
    "a": {"tdsc": 0.75, "crps": math.nan},
    "ü": {"tdsc": np.float32(0.25), "ece": np.int64(0)},
}


def test_it_reads_back_as_it_was_given(tmp_path):
    told = read(write_metrics_json(tmp_path / "output" / "metrics.json", SCORES))
    assert list(told) == ["case", "aggregates"]
    assert told["case"] == {
        "tdsc": {"b/2": 0.5, "a": 0.75, "ü": 0.25},
        "crps": {"b/2": 12.0, "a": None, "ü": None},
        "ece": {"b/2": None, "a": None, "ü": 0.0},
    }
    assert list(told["aggregates"]["tdsc"]) == ["mean", "std", "min", "25pc", "50pc", "75pc", "max", "count"]
    assert told["aggregates"]["tdsc"] == {
        "mean": 0.5, "std": 0.25, "min": 0.25, "25pc": 0.375, "50pc": 0.5, "75pc": 0.625, "max": 0.75, "count": 3,
    }  # fmt: skip
    assert told["aggregates"]["crps"]["std"] is None  # of one value
    assert [p.name for p in (tmp_path / "output").iterdir()] == ["metrics.json"]


@given(values=st.lists(st.one_of(st.just(math.nan), st.floats(-1e6, 1e6)), min_size=1, max_size=12))
def test_aggregates_are_those_of_pandas(tmp_path_factory, values):
    path = write_metrics_json(
        tmp_path_factory.mktemp("gc") / "m.json", {str(i): {"x": value} for i, value in enumerate(values)}
    )
    told = read(path)["aggregates"]["x"]
    expected = pd.Series(values, dtype=float).describe()
    for key, value in expected.items():
        got = told[key.replace("%", "pc")]
        if math.isnan(value):
            assert got is None
        else:
            assert got == pytest.approx(value, rel=1e-9, abs=1e-6)


def test_what_is_infinite_or_never_defined_is_null(tmp_path):
    told = read(write_metrics_json(tmp_path / "m.json", {"a": {"x": math.inf}, "b": {"x": -math.inf}}))
    assert told["case"]["x"] == {"a": None, "b": None}
    assert told["aggregates"]["x"] == {
        "mean": None, "std": None, "min": None, "25pc": None, "50pc": None, "75pc": None, "max": None, "count": 0,
    }  # fmt: skip


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.json"
    path.write_text("old")
    with pytest.raises(ValueError, match="at least one case"):
        write_metrics_json(path, {})
    with pytest.raises(TypeError, match=r"dice of case 'a' must be a number.*got '0\.5'"):
        write_metrics_json(path, {"a": {"dice": "0.5"}})
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
