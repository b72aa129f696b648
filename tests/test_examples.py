"""The examples run as they are, without a warning, and come to what they are there to show."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The package under test is found whether it is installed or not, and no thread pool fights for two cores."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def run(name, *arguments, cwd):
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_every_example_is_run_here():
    names = {p.name for p in EXAMPLES.iterdir() if p.suffix in (".py", ".ipynb")}
    assert names == {"quickstart.ipynb", "nnunet_recipe.py", "sklearn_recipe.py"}


def test_nnunet_recipe(tmp_path):
    import mrcalib
    from mrcalib.io import read_volume

    text = run("nnunet_recipe.py", tmp_path, cwd=tmp_path)
    assert "8 cases in 8 groups, 5 raters" in text
    assert re.search(r"^MHR +0\.\d+[* ]\+", text, re.MULTILINE)  # significantly better than none
    calibrator = mrcalib.load(tmp_path / "calibrated" / "calibrator.json")
    (npz,) = (tmp_path / "predicted").glob("*.npz")
    calibrated = read_volume(tmp_path / "calibrated" / f"{npz.stem}.nii.gz")
    segmentation = read_volume(npz.with_suffix(".nii.gz"))
    assert (calibrated.geometry.affine == segmentation.geometry.affine).all()
    assert (calibrated.data == calibrator(read_volume(npz).data[..., 1])).all()


def test_sklearn_recipe(tmp_path):
    text = run("sklearn_recipe.py", cwd=tmp_path)
    before, after = map(float, re.search(r"MR-ECE (0\.\d+) before, (0\.\d+) after", text).groups())
    assert after < before / 5
    before, after = map(float, re.search(r"Brier +(0\.\d+) before, (0\.\d+) after", text).groups())
    assert after < before
    assert len(re.findall(r"-0\.\d+ +0\.\d+$", text, re.MULTILINE)) == 6


@pytest.fixture(scope="module")
def notebook():
    nbformat = pytest.importorskip("nbformat")
    return nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)


def test_the_notebook_is_committed_without_outputs(notebook):
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert not cell.get("execution_count")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the Jupyter machinery
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_notebook_runs_and_shows_its_pictures(notebook, tmp_path):
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    client = nbclient.NotebookClient(
        notebook.copy(), timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    done = client.execute()
    outputs = [output for cell in done.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    text = "".join(output.get("text", "") for output in outputs if output.get("name") == "stdout")
    before, after = (float(re.search(rf"MR-ECE {when}: (0\.\d+)", text)[1]) for when in ("before", "after"))
    assert after < before / 2
    assert "best, + better and - worse than none" in text
    assert "True" in outputs[-1]["data"]["text/plain"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert (tmp_path / "calibrator.json").exists()
