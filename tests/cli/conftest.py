"""A small data set on disk, and the command line called in this process."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mrcalib.cli import main
from mrcalib.simulate import phantoms, write_dataset


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str


Run = Callable[..., Answer]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases of three patients, three raters, two members; not to be changed."""
    folder = tmp_path_factory.mktemp("pristine")
    write_dataset(folder, phantoms(6, (20, 20, 8), n_raters=3, n_members=2, cases_per_group=2, rng=0))
    return folder


@pytest.fixture
def data(pristine: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; the working folder is beside it."""
    return Path(shutil.copytree(pristine, tmp_path / "data"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call ``mrcalib`` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MRCALIB_DEBUG", raising=False)

    def _run(*words: str | Path) -> Answer:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return _run


@pytest.fixture
def templates(data: Path) -> list[str]:
    """The data set by templates: one member, all raters."""
    return [
        "--probs", f"{data}/preds/{{case}}_1.nii.gz",
        "--raters", f"{data}/labels/{{case}}/annotation_{{rater}}.nii.gz",
    ]  # fmt: skip
