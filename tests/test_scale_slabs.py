"""Cases in files are tallied slab by slab: the same tally, to the bit, and the same words for what is wrong."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mrcalib import Case, ProbabilityGrid, tally, tally_cases
from mrcalib.exceptions import GeometryError
from mrcalib.io import LoadOptions, OpenCase, slabs, sources
from mrcalib.scale import tally_case
from mrcalib.scale.one_case import tally_files
from mrcalib.tallies import RunningTally

SHAPE = (9, 6, 11)
SUFFIXES = (".nii.gz", ".nii", ".npy", ".npz")


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", 100)


def write(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, probs=array)
    else:
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return path


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    probs = rng.random(SHAPE, dtype=np.float32)
    probs[rng.random(SHAPE) < 0.6] = 0
    base = rng.random(SHAPE) < 0.4
    return probs, [(base ^ (rng.random(SHAPE) < 0.05)).astype(np.uint8) for _ in range(3)]


def files(folder, suffix, name="A", seed=0):
    probs, masks = arrays(seed)
    raters = {str(r): write(folder / f"{name}-{r}{suffix}", mask) for r, mask in enumerate(masks)}
    spacing = None if suffix.startswith(".nii") else (1.0, 1.0, 1.0)
    return Case(name, write(folder / f"{name}-p{suffix}", probs), raters, spacing=spacing)


def in_memory(case, options=None):
    """The case with its sources as arrays, which are tallied whole."""
    loaded = case.load(options=options or LoadOptions())
    return tally(loaded.probs, list(loaded.raters), roi=loaded.roi, rater_names=loaded.rater_names)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("n_jobs", [None, 1, 3])
def test_the_tally_of_slabs_is_that_of_the_whole(tmp_path, suffix, n_jobs):
    case = files(tmp_path, suffix)
    counted, volume = tally_case(case, n_jobs=n_jobs)
    assert counted == in_memory(case) == tally(*arrays(), rater_names=["0", "1", "2"])
    assert volume == pytest.approx(1e-3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("outside", ["ignore", "zero"])
def test_with_a_region_members_and_a_missing_rater(tmp_path, suffix, outside):
    case = files(tmp_path, suffix)
    roi = np.zeros(SHAPE, np.uint8)
    roi[1:5, 2:4, 3:9] = 1
    case = Case(
        "A",
        (case.probs, write(tmp_path / f"q{suffix}", arrays(1)[0])),
        {**case.masks, "gone": None},
        roi=write(tmp_path / f"roi{suffix}", roi),
    )
    options = LoadOptions(outside=outside, weights=(1.0, 3.0))
    found = tally_files(case, grid=ProbabilityGrid(5), options=options, invalid="raise", n_jobs=2)
    loaded = case.load(options=options)
    expected = tally(
        loaded.probs, list(loaded.raters), roi=loaded.roi, rater_names=loaded.rater_names, grid=ProbabilityGrid(5)
    )
    assert found.tallies == (expected,)
    assert found.recall is not None
    assert found.recall.union == loaded.roi_recall
    np.testing.assert_equal(found.recall.per_rater, loaded.rater_recalls)


def test_an_empty_region_gives_the_empty_tally(tmp_path, monkeypatch):
    case = files(tmp_path, ".npy")
    case = Case("A", case.probs, case.raters, roi=write(tmp_path / "roi.npy", np.zeros(SHAPE, np.uint8)))
    expected = in_memory(case)
    monkeypatch.setattr(OpenCase, "whole", lambda *_: pytest.fail("the case was loaded whole"))
    counted, _ = tally_case(case)
    assert counted.n_voxels == 0
    assert counted == expected


def test_dropped_voxels_are_counted(tmp_path):
    case = files(tmp_path, ".nii.gz")
    probs = arrays()[0]
    probs[0, 0, :4] = np.nan
    write(case.probs, probs)
    counted, _ = tally_case(case, invalid="drop")
    assert counted == tally(probs, arrays()[1], rater_names=["0", "1", "2"], invalid="drop")
    assert counted.refused == 4


def test_a_case_that_is_wrong_is_told_of_as_a_whole(tmp_path):
    probs = arrays()[0]
    probs[0, 0, ::2] = np.nan
    case = files(tmp_path, ".nii.gz")
    write(case.probs, probs)
    with pytest.raises(ValueError, match=r"\(case 'A'\): 6 of 594 voxels are not, 6 of them NaN"):
        tally_case(case)
    labels = arrays()[1][1].astype(np.uint8)
    labels[0, 0, 10], labels[0, 0, 0] = 7, 4
    case = files(tmp_path, ".npy")
    write(case.masks["1"], labels)
    with pytest.raises(ValueError, match="holds the labels 0, 1, 4, 7; expected 0 and 1"):
        tally_case(case)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_case_that_is_wrong_is_not_loaded_whole(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(OpenCase, "whole", lambda *_: pytest.fail("the case was loaded whole"))
    probs = arrays()[0]
    probs[0, 0, 0], probs[8, 5, 10] = 1.5, -1.0
    case = files(tmp_path, suffix)
    write(case.probs, probs)
    words = r"probs must lie in \[0, 1\] \(case 'A'\): 2 of 594 voxels are not, 0 of them NaN, all others between -1 and 1\.5"
    with pytest.raises(ValueError, match=words):
        tally_case(case)


def test_an_error_in_reading_slabs_is_not_hidden_by_another_way_of_reading(tmp_path, monkeypatch):
    def fail(*_, **__):
        msg = "a bug"
        raise ValueError(msg)

    monkeypatch.setattr(RunningTally, "add", fail)
    with pytest.raises(ValueError, match="a bug"):
        tally_case(files(tmp_path, ".nii.gz"))


@pytest.mark.parametrize("invalid", ["raise", "drop"])
def test_a_flipped_rater_is_refused(tmp_path, invalid):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:4, 1:5, 2:6] = 1
    raters = [write(tmp_path / f"{r}.nii", m) for r, m in enumerate((mask, mask, mask[::-1]))]
    case = Case("A", write(tmp_path / "p.nii", np.zeros(SHAPE, np.float32)), raters)
    with pytest.raises(GeometryError, match=r"at 1\.00 after flipping axis 0"):
        tally_case(case, invalid=invalid)
    counted, _ = tally_case(case, invalid=invalid, options=LoadOptions(check_agreement=False))
    assert counted.n_voxels == np.prod(SHAPE)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_are_not_loaded_whole(tmp_path, suffix, monkeypatch):
    case = files(tmp_path, suffix)
    expected = in_memory(case)
    monkeypatch.setattr(OpenCase, "whole", lambda *_: pytest.fail("the case was loaded whole"))
    assert tally_case(case)[0] == expected


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_cases_over_threads_are_the_same(tmp_path, n_jobs):
    cases = [files(tmp_path, suffix, name=f"c{i}", seed=i) for i, suffix in enumerate(SUFFIXES)]
    cohort = tally_cases(cases, n_jobs=n_jobs)
    assert list(cohort.tallies) == [in_memory(case) for case in cases]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_checkpoints_are_made_in_one_reading_of_the_files(tmp_path, suffix, monkeypatch):
    case = files(tmp_path, suffix)
    roi = np.zeros(SHAPE, np.uint8)
    roi[2:4, 2:4, 2:4] = 1
    case = Case("A", case.probs, case.raters, roi=write(tmp_path / f"roi{suffix}", roi), spacing=case.spacing)
    with monkeypatch.context() as once:
        once.setattr(sources, "_file_digest", lambda path: pytest.fail(f"{path} was read a second time"))
        first = tally_cases([case], checkpoints=tmp_path / "tallies")
    found = []
    again = tally_cases([case], checkpoints=tmp_path / "tallies", progress=lambda _, status: found.append(status))
    assert found == ["unchanged"]
    assert list(again.tallies) == list(first.tallies) == [in_memory(case)]
