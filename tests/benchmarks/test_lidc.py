"""The benchmark of remedies runs on a few phantoms, and its own code agrees with the library where both say the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lidc():
    """The benchmark's modules; matplotlib is only there with the extra of plots."""
    pytest.importorskip("matplotlib").use("Agg")
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.lidc import data, remedies, run, scoring
    finally:
        sys.path.remove(str(ROOT))
    return data, remedies, run, scoring


@pytest.fixture(scope="module")
def out(lidc, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc")
    _, _, run, _ = lidc
    assert run.main(["--preset", "small", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def world(lidc):
    data, _, _, scoring = lidc
    cohort = data.cohort_of(data.simulated(8, shape=(32, 32, 8), lesion_fraction=0.05), 0.001)
    return scoring.World.of("phantoms", cohort, n_folds=2, n_resamples=50, seed=0)


def test_the_smallest_preset_writes_every_table_and_picture(lidc, out):
    _, _, run, _ = lidc
    table = pd.read_csv(out / "remedies.csv")
    assert tuple(dict.fromkeys(table["method"])) == run.SMALL
    itself = table[table["method"] == "none"]
    assert (itself[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table["low"] <= table["difference"] + 1e-9).mean() > 0.95
    lost = pd.read_csv(out / "losses.csv")
    places = lost[lost["what"] == "volume bias by place (mL)"].pivot_table(
        index="method", columns="where", values="value"
    )
    parts = places.drop(columns="everywhere").sum(axis=1)
    assert parts.to_numpy() == pytest.approx(places["everywhere"].to_numpy(), abs=1e-5)
    oracle = lost[(lost["method"] == "mean response itself") & (lost["where"] == "tdsc")]
    assert oracle["value"].tolist() == [1.0]
    assert json.loads((out / "run.json").read_text())["command"].startswith("python benchmarks/lidc/run.py")
    assert all((out / name).stat().st_size > 10_000 for name in ("remedies.png", "losses.png"))


def test_the_benchmark_s_isotonic_map_is_the_library_s(lidc, world):
    _, remedies, _, _ = lidc
    everyone = np.arange(len(world.rows))
    library = remedies.REMEDIES["MHR-equal"](world, everyone)
    curve = remedies.isotonic_of(world, everyone, world.equal)
    for i in everyone:
        assert np.abs(curve(world.rows[i].prob) - library(i)).max() < 1e-9


def test_a_case_is_never_scored_by_a_map_of_its_patient(lidc, world):
    _, _, _, scoring = lidc
    seen = []

    def fit(world, train):
        groups = {world.cohort.groups[i] for i in train}
        return lambda i: seen.append(world.cohort.groups[i] in groups) or world.rows[i].prob

    scoring.held_out(world, fit)
    assert seen == [False] * len(world.rows)


def test_places_are_distances_from_the_predicted_boundary(lidc):
    data, _, _, _ = lidc
    probs, mask = np.zeros((21, 21, 1)), np.zeros((1, 21, 21, 1), np.uint8)
    probs[5:16, 5:16], mask[0, 5:16, 5:16] = 1, 1
    place = data.strata_of(probs, mask)[10, :, 0]
    assert [data.STRATA[k].split(", ")[0] for k in place[[0, 1, 3, 4, 5, 10]]] == [
        "near",
        "near",
        "outer rim",
        "outer rim",
        "inner rim",
        "core",
    ]
    assert [data.STRATA[k].split(", ")[1] for k in place[[1, 2, 7, 8]]] == [
        "elsewhere",
        "boundary",
        "boundary",
        "elsewhere",
    ]
