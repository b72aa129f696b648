"""Things that a user adds without editing the package: a metric, a calibrator, a file format and an option.

The recipes of CONTRIBUTING.md are executed as they stand there: in this process, and as an installed plugin in another one.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mrcalib
from mrcalib.calibrators import CALIBRATORS
from mrcalib.cli import main
from mrcalib.io import FORMATS
from mrcalib.metrics import METRICS
from mrcalib.options import add_options, options_from

ROOT = Path(__file__).parents[1]
RECIPES = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)


@pytest.fixture
def toys():
    """The things of the recipes, registered for one test."""
    module = type(sys)("toys_of_contributing")
    sys.modules[module.__name__] = module
    try:
        for recipe in RECIPES:
            exec(recipe, module.__dict__)
        yield module
    finally:
        METRICS.unregister("mean_gap")
        CALIBRATORS.unregister("half-way")
        FORMATS.unregister(".toy")
        del sys.modules[module.__name__]


def write_toy(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(" ".join(map(str, array.shape)).encode() + b"\n" + np.asarray(array, np.float32).tobytes())


def read_toy(path):
    shape, _, voxels = path.read_bytes().partition(b"\n")
    return np.frombuffer(voxels, np.float32).reshape([int(edge) for edge in shape.split()])


@pytest.fixture
def arrays():
    """Four cases: probabilities, and the masks of three raters."""
    rng = np.random.default_rng(0)
    probs = [rng.random((6, 7, 8)).astype(np.float32) for _ in range(4)]
    return probs, [rng.random((3, 6, 7, 8)) < p**2 for p in probs]


@pytest.fixture
def files(arrays, tmp_path, monkeypatch):
    """The cases as files of the toy format, in the working folder; the options that name them."""
    for number, (probs, raters) in enumerate(zip(*arrays, strict=True)):
        write_toy(tmp_path / f"preds/c{number}.toy", probs)
        for rater, mask in enumerate(raters):
            write_toy(tmp_path / f"masks/c{number}_{rater}.toy", mask)
    monkeypatch.chdir(tmp_path)
    return ["--probs", "preds/{case}.toy", "--raters", "masks/{case}_{rater}.toy"]


def mean_gap(probs, raters, power=2.0):
    """The metric by hand, of one case."""
    return np.mean(np.abs(probs.astype(float) - raters) ** power)


def half_way(probs, raters):
    """The calibrator by hand, fitted to one case."""
    return 0.5 * raters.mean() + 0.5 * probs.astype(float)


def test_a_metric_is_one_number_for_arrays_cases_and_a_study(toys, arrays):
    probs, raters = arrays
    expected = [mean_gap(p, r) for p, r in zip(probs, raters, strict=True)]
    metric = mrcalib.metrics.get_metric("Mean-Gap")
    assert metric(probs[0], raters[0]) == pytest.approx(expected[0])
    assert metric(probs[0], raters[0], power=1) == pytest.approx(mean_gap(probs[0], raters[0], 1))
    assert metric(probs, raters) == pytest.approx(np.mean(expected))
    study = mrcalib.compare(
        probs, raters=raters, methods=["none", "half-way"], metrics=["mean gap", "brier"], n_resamples=20
    )
    assert study.table().loc["none", "Mean gap"] == pytest.approx(np.mean(expected), rel=0.02)
    assert "Mean gap" in study.to_text()
    mrcalib.plots.MetricDisplay.from_study(study, "mean_gap").plot()


def test_a_calibrator_fits_saves_loads_and_is_drawn(toys, arrays, tmp_path):
    probs, raters = arrays
    fitted = mrcalib.calibrators.get_method("Half Way").fit(probs[0], raters[0])
    assert fitted(probs[0]) == pytest.approx(half_way(probs[0], raters[0]), abs=1e-6)
    fitted.save(tmp_path / "c.json")
    again = mrcalib.load(tmp_path / "c.json")
    assert type(again) is toys.HalfWay
    assert np.array_equal(again(probs[0]), fitted(probs[0]))
    mrcalib.plots.CalibrationMapDisplay.from_calibrators({"half-way": fitted}).plot()
    several = mrcalib.calibrators.get_method("half-way").fit(probs, raters)
    assert several.raters_ == fitted.raters_


def test_help_names_what_was_added(toys, capsys):
    for command, names in (
        ("compare", ("half-way", "mean_gap")),
        ("fit", ("half-way",)),
        ("evaluate", ("mean_gap",)),
        ("apply", (".toy",)),
    ):
        assert main([command, "--help"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        for name in names:
            assert name in said


def test_compare_takes_them_all_on_the_command_line(toys, files, arrays, tmp_path, capsys):
    words = ["compare", *files, "--methods", "none", "HALF_WAY", "--metrics", "Mean gap", "brier", "--resamples", "20"]
    assert main([*words, "--no-agreement-check", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "Mean gap" in out
    assert "half-way" in out
    table = pd.read_csv(tmp_path / "results/table_mean.csv", index_col="method")
    expected = np.mean([mean_gap(p, r) for p, r in zip(*arrays, strict=True)])
    assert table.loc["none", "Mean gap"] == pytest.approx(expected, rel=0.02)
    by_case = pd.read_csv(tmp_path / "results/per_case.csv")
    assert set(by_case["metric"]) == {"mean_gap", "brier"}
    assert (tmp_path / "results/figures/metrics.png").exists()
    assert type(mrcalib.load(tmp_path / "results/calibrators/half-way.json")) is toys.HalfWay


def test_fit_apply_and_evaluate_take_them(toys, files, arrays, tmp_path, capsys):
    probs, raters = arrays
    assert main(["fit", *files, "--method", "half way", "--no-agreement-check", "-o", "c.json", "-q"]) == 0
    assert main(["apply", "c.json", *files[:2], "-o", "out", "--suffix", ".toy", "-q"]) == 0
    calibrator = mrcalib.load(tmp_path / "c.json")
    for number, p in enumerate(probs):
        assert np.array_equal(read_toy(tmp_path / f"out/c{number}.toy"), calibrator(p))
    capsys.readouterr()
    words = ["evaluate", *files, "--metrics", "MEAN-GAP", "--max", "Mean Gap=0.0001", "--no-agreement-check", "--json"]
    assert main([*words, "--resamples", "20", "-q"]) == 4
    (row,) = json.loads(capsys.readouterr().out)["summary"]
    assert row["metric"] == "mean_gap"
    assert row["mean"] == pytest.approx(np.mean([mean_gap(p, r) for p, r in zip(probs, raters, strict=True)]))


def test_a_field_of_the_options_is_a_flag_with_help_checks_and_a_record(toys, capsys):
    parser = argparse.ArgumentParser()
    add_options(parser, toys.LoadOptions)
    assert "probabilities below this become 0" in parser.format_help()
    options = options_from(toys.LoadOptions, parser.parse_args(["--least", "0.25", "--margin", "5"]))
    assert (options.least, options.margin_mm, options.to_dict()["least"]) == (0.25, 5.0, 0.25)
    with pytest.raises(ValueError, match=r"least must be a number of at least 0 and below 1; got 2\."):
        toys.LoadOptions(least=2)
    with pytest.raises(SystemExit):
        parser.parse_args(["--least", "2"])
    assert "expected a number of at least 0 and below 1; got '2'" in capsys.readouterr().err


def test_an_installed_package_brings_its_plugins_by_an_entry_point(files, tmp_path):
    site = tmp_path / "site"
    info = site / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy_plugin.py").write_text("\n".join(RECIPES), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[mrcalib.plugins]\ntoys = toy_plugin\n", encoding="utf-8")

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "mrcalib", *words],
            env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    said = run("compare", "--help")
    assert "half-way" in said
    assert "mean_gap" in said
    words = ["--methods", "none", "half-way", "--metrics", "mean_gap", "--resamples", "20", "--no-figures"]
    assert "Mean gap" in run("compare", *files, "--no-agreement-check", *words)
