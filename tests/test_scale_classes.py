"""Several classes are counted and fitted in one reading, each as it would be against the rest alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from mrcalib import Case, MHRIsotonicCalibrator, OneVsRestCalibrator, tally_cases
from mrcalib.io import ImageClass, LoadOptions, slabs
from mrcalib.scale import each_class, for_each_class, one_case

SHAPE = (7, 6, 5)
CLASSES = (ImageClass("kidney", 1), ImageClass("liver", 3, 2))
OPTIONS = LoadOptions(channel_axis=0, check_agreement=False)


@pytest.fixture(autouse=True)
def small_slabs(monkeypatch):
    monkeypatch.setattr(slabs, "SLAB", 60)


@pytest.fixture
def cases(tmp_path):
    found = []
    for i in range(3):
        rng = np.random.default_rng(i)
        probs = rng.dirichlet([3, 1, 1], SHAPE).astype(np.float32)
        np.save(tmp_path / f"p{i}.npy", np.moveaxis(probs, -1, 0))
        raters = {}
        for r in range(2):
            raters[f"r{r}"] = tmp_path / f"r{i}{r}.npy"
            labels = np.array([0, 1, 3], np.uint8)
            np.save(raters[f"r{r}"], labels[(rng.random(SHAPE)[..., None] > probs.cumsum(-1)).sum(-1).clip(max=2)])
        found.append(Case(f"c{i}", tmp_path / f"p{i}.npy", raters))
    return found


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_each_class_is_counted_as_it_is_alone(cases, n_jobs):
    together = tally_cases(cases, options=OPTIONS, classes=CLASSES, n_jobs=n_jobs)
    assert list(together) == ["kidney", "liver"]
    for one in CLASSES:
        alone = tally_cases(cases, options=one.options(OPTIONS))
        assert list(together[one.name].tallies) == list(alone.tallies)
        assert together[one.name].ids == alone.ids


def test_a_region_counts_for_every_class(cases, tmp_path):
    roi = np.zeros(SHAPE, np.uint8)
    roi[2:5, 1:4, 2:4] = 1
    np.save(tmp_path / "roi.npy", roi)
    inside = [replace(case, roi=tmp_path / "roi.npy") for case in cases]
    recalls = {}
    together = tally_cases(inside, options=OPTIONS, classes=CLASSES, recalls=recalls)
    for one in CLASSES:
        alone = tally_cases(inside, options=one.options(OPTIONS))
        assert list(together[one.name].tallies) == list(alone.tallies)
    marked = np.load(cases[0].masks["r0"]) > 0
    assert recalls["c0"].per_rater[0] == pytest.approx((marked & (roi > 0)).sum() / marked.sum())


def test_all_classes_are_kept_and_found_again(cases, tmp_path):
    folder = tmp_path / "tallies"
    first = tally_cases(cases, options=OPTIONS, classes=CLASSES, checkpoints=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["kidney", "liver"]
    status = {}
    again = tally_cases(cases, options=OPTIONS, classes=CLASSES, checkpoints=folder, progress=status.__setitem__)
    assert set(status.values()) == {"unchanged"}
    assert [list(again[name].tallies) for name in again] == [list(first[name].tallies) for name in first]
    one_class = tally_cases(cases, options=CLASSES[0].options(OPTIONS), checkpoints=folder / "kidney")
    assert list(one_class.tallies) == list(first["kidney"].tallies)
    (folder / "liver" / "c1.npz").unlink()
    tally_cases(cases, options=OPTIONS, classes=CLASSES, checkpoints=folder, progress=status.__setitem__)
    assert status == {"c0": "unchanged", "c1": "tallied", "c2": "unchanged"}


def test_what_is_no_class_is_refused_with_counts_over_the_whole_case(cases):
    labels = np.load(cases[1].masks["r1"])
    labels[0, 0, 0], labels[6, 5, 4] = 2, 5
    np.save(cases[1].masks["r1"], labels)
    probs = np.load(cases[2].probs)
    probs[:, 0, 0, 0], probs[:, 6, 5, 4] = 0.5, 0.7
    np.save(cases[2].probs, probs)
    failures = {}
    found = tally_cases(cases, options=OPTIONS, classes=CLASSES, failures=failures)
    assert found["liver"].ids == ("c0",)
    assert "rater 'r1'" in str(failures["c1"])
    assert "holds 2, 5, which no class names" in str(failures["c1"])
    assert "do not sum to 1 at 2 of 210 voxels (1.5 at the first)" in str(failures["c2"])


def test_invalid_probabilities_name_the_case_and_count(cases):
    probs = np.load(cases[0].probs)
    probs[1, 3, 3, 3], probs[2, 3, 3, 3] = -0.5, 1.4
    probs[0, 3, 3, 3] = 0.1
    np.save(cases[0].probs, probs)
    with pytest.raises(ValueError, match=r"\(case 'c0'\): 1 of 210 voxels are not, 0 of them NaN"):
        tally_cases(cases, options=OPTIONS, classes=CLASSES)
    dropped = tally_cases(cases, options=OPTIONS, classes=CLASSES, invalid="drop")
    assert [cohort.tallies[0].refused for cohort in dropped.values()] == [1, 1]


@pytest.mark.parametrize(("binning", "n_readings"), [("grid", 1), ("exact", 2), ("equal-mass", 2)])
@pytest.mark.filterwarnings("ignore::mrcalib.SaturationWarning")
def test_classes_are_fitted_with_one_reading_more_for_a_second_pass(cases, monkeypatch, binning, n_readings):
    read = Counter()
    opened = slabs.OpenCase

    def counted(case, *args, **kwargs):
        read[case.id] += 1
        return opened(case, *args, **kwargs)

    monkeypatch.setattr(one_case, "OpenCase", counted)
    monkeypatch.setattr("mrcalib.io.loaded.OpenCase", counted)
    method = MHRIsotonicCalibrator(binning)
    together = OneVsRestCalibrator(method, {"kidney": 1, "liver": 3})
    together.fit_cases(cases, channels={"kidney": 1, "liver": 2}, options=OPTIONS)
    assert read == dict.fromkeys(("c0", "c1", "c2"), n_readings)
    for one in CLASSES:
        alone = MHRIsotonicCalibrator(binning).fit_cases(cases, options=one.options(OPTIONS))
        assert together.calibrators_[one.name].map_ == alone.map_
        assert together.channels_[one.name] == one.position


def test_threads_that_need_other_cases_do_not_wait_for_ever(cases):
    order = {"kidney": [0, 1, 2, 0], "liver": [2, 1]}

    def work(one, own):
        return [own[i].load().probs.sum() for i in order[one.name]]

    sums = for_each_class(cases, CLASSES, work, options=OPTIONS)
    for one in CLASSES:
        alone = [cases[i].load(options=one.options(OPTIONS)).probs.sum() for i in order[one.name]]
        assert sums[one.name] == alone


def test_an_error_of_one_class_or_of_a_case_ends_the_work(cases, monkeypatch):
    def work(one, own):
        own[0].load()
        if one.name == "liver":
            msg = "liver"
            raise KeyError(msg)
        return own[1].load()

    with pytest.raises(KeyError, match="liver"):
        for_each_class(cases, CLASSES, work, options=OPTIONS)

    def fail(*_):
        msg = "unreadable"
        raise ValueError(msg)

    monkeypatch.setattr(each_class, "load_each_class", fail)
    with pytest.raises(ValueError, match="unreadable"):
        for_each_class(cases, CLASSES, lambda _, own: own[0].load(), options=OPTIONS)
