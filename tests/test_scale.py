"""From cases to tallies: skipped where unchanged, equal over threads, and one bad case does not lose the others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from mrcalib import Case, Cohort, ProbabilityGrid, tally, tally_cases
from mrcalib.io import LoadOptions
from mrcalib.scale import one_case, reading_of, tally_case


def volume(seed):
    rng = np.random.default_rng(seed)
    return rng.random((6, 5, 4), dtype=np.float32), rng.integers(0, 2, (3, 6, 5, 4), dtype=np.uint8)


def case(seed, *, probs=None, masks=None, **options):
    p, m = volume(seed)
    return Case(f"case{seed}", p if probs is None else probs, list(m if masks is None else masks), **options)


@pytest.fixture
def on_disk(tmp_path):
    """Three cases as files, so that they can be changed."""
    cases = []
    for seed in range(3):
        probs, masks = volume(seed)
        folder = tmp_path / f"case{seed}"
        folder.mkdir()
        np.save(folder / "probs.npy", probs)
        for r, mask in enumerate(masks):
            np.save(folder / f"{r}.npy", mask)
        raters = {f"rater{r}": folder / f"{r}.npy" for r in range(3)}
        cases.append(Case(f"case{seed}", folder / "probs.npy", raters, group=f"p{seed // 2}", spacing=(1.0, 1.0, 2.0)))
    return cases


class Log:
    """What became of each case."""

    def __init__(self):
        self.seen = {}

    def __call__(self, name, status):
        self.seen[name] = status


def equal(one, other):
    return all(a == b for a, b in zip(one.tallies, other.tallies, strict=True)) and (
        one.ids,
        one.groups,
        one.voxel_volume,
    ) == (other.ids, other.groups, other.voxel_volume)


# One case and many ----------------------------------------------------------------------------------------------------------


def test_a_case_is_tallied_as_its_arrays_are():
    probs, masks = volume(1)
    counted, volume_ml = tally_case(case(1, spacing=(1.0, 2.0, 5.0)))
    assert counted == tally(probs, masks, rater_names=["1", "2", "3"])
    assert volume_ml == pytest.approx(0.01)


def test_order_ids_and_groups_are_those_of_the_cases(on_disk):
    cohort = tally_cases(on_disk)
    assert cohort.ids == ("case0", "case1", "case2")
    assert cohort.groups == ("p0", "p0", "p1")
    assert cohort.voxel_volume == pytest.approx((0.002,) * 3)


@pytest.mark.parametrize("n_jobs", [2, 5])
def test_threads_change_nothing(n_jobs):
    cases = [case(seed) for seed in range(12)]
    assert equal(tally_cases(cases, n_jobs=n_jobs), tally_cases(cases))


def test_cases_may_come_from_a_generator():
    assert equal(tally_cases(case(s) for s in range(3)), tally_cases([case(s) for s in range(3)]))


def test_options_reach_the_files_and_the_tally():
    masks = volume(0)[1] * 7
    members = (volume(0)[0], volume(1)[0])
    counted = tally_cases(
        [Case("a", members, list(masks))],
        options=LoadOptions(pooling="logit-mean", positive=(7,)),
        grid=ProbabilityGrid(5),
    ).tallies[0]
    from scipy.special import expit, logit

    expected = expit(np.mean([logit(m.astype(float)) for m in members], axis=0)).astype(np.float32)
    reference = tally(expected, masks, positive=7, grid=ProbabilityGrid(5), rater_names=["1", "2", "3"])
    assert counted.grid == ProbabilityGrid(5)
    assert counted.n_voxels == reference.n_voxels
    assert np.abs(counted.pooled().prob_sum.sum(axis=1) - reference.pooled().prob_sum.sum(axis=1)).max() < 1e-4


# Checkpoints ----------------------------------------------------------------------------------------------------------------


def test_unchanged_cases_are_not_read_again(on_disk, tmp_path, monkeypatch):
    folder = tmp_path / "tallies"
    first, log = tally_cases(on_disk, checkpoints=folder, progress=Log()), Log()
    monkeypatch.setattr(Case, "load", lambda *_, **__: pytest.fail("a case was read again"))
    monkeypatch.setattr(one_case, "OpenCase", lambda *_, **__: pytest.fail("a case was read again"))
    assert equal(tally_cases(on_disk, checkpoints=folder, progress=log), first)
    assert log.seen == {"case0": "unchanged", "case1": "unchanged", "case2": "unchanged"}


def test_what_does_not_change_the_counts_does_not_tally_again(on_disk, tmp_path):
    folder = tmp_path / "tallies"
    first = tally_cases(on_disk, checkpoints=folder)
    np.save(tmp_path / "image.npy", np.zeros((2, 2)))
    np.save(tmp_path / "vessels.npy", np.zeros(np.load(on_disk[0].probs).shape, np.uint8))
    others = [replace(one, image=tmp_path / "image.npy", vessels=tmp_path / "vessels.npy") for one in on_disk]
    log = Log()
    again = tally_cases(others, checkpoints=folder, options=LoadOptions(check_agreement=False), progress=log)
    assert equal(again, first)
    assert set(log.seen.values()) == {"unchanged"}


def test_a_tally_that_was_made_without_a_check_is_made_again_with_it(on_disk, tmp_path):
    folder = tmp_path / "tallies"
    tally_cases(on_disk, checkpoints=folder, options=LoadOptions(check_agreement=False))
    log = Log()
    tally_cases(on_disk, checkpoints=folder, progress=log)
    assert set(log.seen.values()) == {"tallied"}


def changes():
    def probabilities(folder):
        probs = np.load(folder / "probs.npy")
        probs[0, 0, 0] = 0.123
        np.save(folder / "probs.npy", probs)

    def mask(folder):
        np.save(folder / "1.npy", 1 - np.load(folder / "1.npy"))

    return {"probabilities": probabilities, "mask": mask}


@pytest.mark.parametrize("what", changes())
def test_a_changed_case_is_tallied_again_and_only_that(on_disk, tmp_path, what):
    folder = tmp_path / "tallies"
    first = tally_cases(on_disk, checkpoints=folder)
    changes()[what](tmp_path / "case1")
    log = Log()
    again = tally_cases(on_disk, checkpoints=folder, progress=log)
    assert log.seen == {"case0": "unchanged", "case1": "tallied", "case2": "unchanged"}
    assert again.tallies[1] != first.tallies[1]
    assert equal(again, tally_cases(on_disk))


@pytest.mark.parametrize(
    "options",
    [
        {"grid": ProbabilityGrid(5)},
        {"grid": ProbabilityGrid(edges=(0.3,))},
        {"options": LoadOptions(positive=(1,))},
        {"options": LoadOptions(weights=(1.0,))},
        {"options": LoadOptions(merge="max")},
        {"options": LoadOptions(coarse_threshold=0.25)},
        {"invalid": "drop"},
    ],
    ids=str,
)
def test_cases_are_tallied_again_when_it_is_done_otherwise(on_disk, tmp_path, options):
    tally_cases(on_disk, checkpoints=tmp_path / "tallies")
    log = Log()
    again = tally_cases(on_disk, checkpoints=tmp_path / "tallies", progress=log, **options)
    assert set(log.seen.values()) == {"tallied"}
    assert equal(again, tally_cases(on_disk, **options))


def with_coarse(cases, folder):
    """The cases with a coarse mask of the first half of the volume."""
    coarse = np.zeros((6, 5, 4), np.uint8)
    coarse[:3] = 1
    np.save(folder / "coarse.npy", coarse)
    return [replace(case, coarse=folder / "coarse.npy") for case in cases]


def test_recalls_are_the_same_when_nothing_is_read_again(on_disk, tmp_path):
    cases = with_coarse(on_disk, tmp_path)
    options = LoadOptions(margin_mm=1.0, outside="zero")
    first, again, log = {}, {}, Log()
    tally_cases(cases, options=options, checkpoints=tmp_path / "tallies", recalls=first)
    tally_cases(cases, options=options, checkpoints=tmp_path / "tallies", recalls=again, progress=log)
    assert set(log.seen.values()) == {"unchanged"}
    assert first == again
    masks = volume(1)[1]
    union = masks.any(axis=0)
    assert first["case1"].union == union[:4].sum() / union.sum()
    assert first["case1"].per_rater == tuple(m[:4].sum() / m.sum() for m in masks)


def test_cases_without_a_region_have_no_recall(on_disk, tmp_path):
    for _ in range(2):
        recalls = {}
        tally_cases(on_disk, checkpoints=tmp_path / "tallies", recalls=recalls)
        assert recalls == {}


@pytest.mark.parametrize(
    "options", [{"margin_mm": 1.0}, {"outside": "zero"}, {"coarse_threshold": 0.9}, {"pooling": "logit-mean"}], ids=str
)
def test_regions_made_otherwise_are_tallied_again(on_disk, tmp_path, options):
    cases = with_coarse(on_disk, tmp_path)
    tally_cases(cases, checkpoints=tmp_path / "tallies")
    log = Log()
    again = tally_cases(cases, checkpoints=tmp_path / "tallies", progress=log, options=LoadOptions(**options))
    assert set(log.seen.values()) == {"tallied"}
    assert equal(again, tally_cases(cases, options=LoadOptions(**options)))


def test_how_cases_were_read_is_told_as_json():
    told = reading_of([case(0), case(1, roi=np.ones((6, 5, 4), np.uint8))], LoadOptions(foreground=(1, 2), merge="max"))
    assert json.loads(json.dumps(told)) == {
        "pooling": "mean",
        "weights": None,
        "values": "probabilities",
        "foreground": [1, 2],
        "merge": "max",
        "coarse_threshold": 0.5,
        "margin_mm": 0.0,
        "outside": "ignore",
        "channel_axis": None,
        "members": [1],
        "roi": True,
        "coarse": False,
    }


def test_a_file_that_moved_is_still_the_same_case(on_disk, tmp_path):
    tally_cases(on_disk, checkpoints=tmp_path / "tallies")
    (tmp_path / "case0").rename(tmp_path / "elsewhere")
    moved = Case(
        "case0",
        tmp_path / "elsewhere" / "probs.npy",
        {f"rater{r}": tmp_path / "elsewhere" / f"{r}.npy" for r in range(3)},
        spacing=(1.0, 1.0, 2.0),
    )
    log = Log()
    tally_cases([moved], checkpoints=tmp_path / "tallies", progress=log)
    assert log.seen == {"case0": "unchanged"}


@pytest.mark.parametrize("damage", ["truncate", "garbage"])
def test_a_damaged_checkpoint_is_replaced(on_disk, tmp_path, damage):
    folder = tmp_path / "tallies"
    first = tally_cases(on_disk, checkpoints=folder)
    path = folder / "case1.npz"
    path.write_bytes(path.read_bytes()[:100] if damage == "truncate" else b"garbage")
    log = Log()
    assert equal(tally_cases(on_disk, checkpoints=folder, progress=log), first)
    assert log.seen["case1"] == "tallied"
    assert equal(tally_cases(on_disk, checkpoints=folder), first)


def test_ids_that_are_no_file_names_do_not_collide_or_escape(tmp_path):
    folder = tmp_path / "tallies"
    probs, masks = volume(0)
    others, answers = volume(1)
    cases = [Case("a/b", probs, list(masks)), Case("a_b", others, list(answers)), Case("../x", probs, list(masks))]
    first = tally_cases(cases, checkpoints=folder)
    assert equal(tally_cases(cases, checkpoints=folder), first)
    assert first.tallies[0] != first.tallies[1]
    assert {p.parent for p in tmp_path.rglob("*.npz")} == {folder}


def test_checkpoints_are_a_cohort_on_disk(on_disk, tmp_path):
    cohort = tally_cases(on_disk, checkpoints=tmp_path / "tallies")
    assert equal(Cohort.load(tmp_path / "tallies"), cohort)


def test_checkpoints_are_a_cohort_on_disk_where_the_spacing_is_not_known(tmp_path):
    cohort = tally_cases([case(0), case(1)], checkpoints=tmp_path / "tallies")
    assert equal(Cohort.load(tmp_path / "tallies"), cohort)


def test_finished_cases_are_kept_when_a_later_one_fails(on_disk, tmp_path):
    (tmp_path / "case2" / "probs.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"probs\.npy"):
        tally_cases(on_disk, checkpoints=tmp_path / "tallies")
    assert sorted(p.name for p in (tmp_path / "tallies").iterdir()) == ["case0.npz", "case1.npz"]


# One bad case -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [None, 3])
def test_one_bad_case_keeps_the_others(n_jobs):
    bad = case(1, probs=volume(1)[0] * 3)
    failures, log = {}, Log()
    cohort = tally_cases([case(0), bad, case(2)], failures=failures, progress=log, n_jobs=n_jobs)
    assert equal(cohort, tally_cases([case(0), case(2)]))
    assert list(failures) == ["case1"]
    with pytest.raises(ValueError, match=r"probs must lie in \[0, 1\] \(case 'case1'\)"):
        raise failures["case1"]
    assert log.seen == {"case0": "tallied", "case1": "failed", "case2": "tallied"}


@pytest.mark.parametrize("n_jobs", [None, 3])
def test_without_a_place_for_failures_the_first_is_raised(n_jobs):
    bad = case(1, probs=volume(1)[0] * 3)
    with pytest.raises(ValueError, match="case 'case1'"):
        tally_cases([case(0), bad, case(2)], n_jobs=n_jobs)


def test_no_case_left_says_why():
    failures = {}
    with pytest.raises(
        ValueError, match=r"None of the 2 cases could be tallied\. The first, 'case0': probs must lie in"
    ):
        tally_cases([case(s, probs=volume(s)[0] * 3) for s in range(2)], failures=failures)
    assert list(failures) == ["case0", "case1"]
    with pytest.raises(ValueError, match="None of the 0 cases"):
        tally_cases([])


def test_invalid_voxels_are_dropped_on_demand():
    probs = volume(0)[0].copy()
    probs[0, 0, :2] = np.nan
    part = tally_cases([case(0, probs=probs)], invalid="drop").tallies[0]
    assert (part.n_voxels, part.refused) == (118, 2)


def test_repeated_ids_are_refused():
    with pytest.raises(ValueError, match="Case ids must be different; repeated: case1"):
        tally_cases([case(1), case(2), case(1)])


def test_mixed_known_and_unknown_spacing_is_refused():
    with pytest.raises(ValueError, match=r"The voxel volume of case 'case1' is not known, that of others is"):
        tally_cases([case(0, spacing=(1.0, 1.0, 1.0)), case(1)])
    assert tally_cases([case(0), case(1)]).voxel_volume == (1.0, 1.0)
    assert tally_cases([case(0, spacing=(10.0, 10.0, 10.0)), case(1, spacing=(1.0, 1.0, 1.0))]).voxel_volume == (
        1.0,
        1e-3,
    )


def test_raters_that_a_case_does_not_name_are_missing_there():
    probs, masks = volume(0)
    cohort = tally_cases(
        [Case("a", probs, {"ann": masks[0], "bo": masks[1]}), Case("b", probs, {"bo": masks[1], "cy": masks[2]})]
    )
    assert cohort.raters == ("ann", "bo", "cy")
    answered = [part.pooled().weight.sum(axis=1).tolist() for part in cohort.tallies]
    assert answered == [[120, 120, 0], [0, 120, 120]]


def test_a_progress_callback_that_happens_to_be_empty_is_called_too():
    class Statuses(list):
        def __call__(self, name, status):
            self.append((name, status))

    statuses = Statuses()
    tally_cases([case(0)], progress=statuses)
    assert statuses == [("case0", "tallied")]
