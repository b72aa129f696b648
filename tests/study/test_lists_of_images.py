"""A comparison on lists of images is the comparison on the cases that they are."""

import numpy as np
import pytest

from mrcalib import Case, Cohort, compare, tally

RNG = np.random.default_rng(5)
PROBS = [RNG.random(shape).astype(np.float32) for shape in ((12, 10, 8), (9, 10, 11), (20, 6, 8), (7, 9, 13))]
MASKS = [{"ann": RNG.random(p.shape) < p**2, "bo": RNG.random(p.shape) < p**2, "cy": None} for p in PROBS]
FAST = {"metrics": ["mr_ece", "dice"], "n_resamples": 20}
METHODS = ["none", "MHR"]


def cases(groups=(None,) * 4):
    parts = zip(PROBS, MASKS, groups, strict=True)
    return [Case(str(i), probs, masks, group=group) for i, (probs, masks, group) in enumerate(parts)]


@pytest.mark.parametrize(
    "study",
    [
        lambda: compare(PROBS, MASKS, **FAST),
        lambda: compare(iter(PROBS), raters=iter(MASKS), **FAST),
        lambda: compare(list(zip(PROBS, MASKS, strict=True)), **FAST),
        lambda: compare(cases(), **FAST),
    ],
)
def test_lists_and_pairs_and_cases_are_the_same(study):
    cohort = Cohort(
        [
            tally(p, [m["ann"], m["bo"], None], rater_names=["ann", "bo", "cy"])
            for p, m in zip(PROBS, MASKS, strict=True)
        ]
    )
    whole = compare(cohort, cases=cases(), **FAST)
    assert study().table().equals(whole.table())
    bare = compare(cohort, **FAST)  # without voxels TwinTrack's bins end where bins of the tally do
    differ = (bare.table() != whole.table()).any(axis=1)
    assert differ.index[differ].tolist() == ["TwinTrack"]


def test_methods_are_chosen_beside_lists():
    study = compare(PROBS, METHODS, raters=MASKS, groups=["a", "a", "b", "c"], **FAST)
    assert study.methods == ("none", "MHR")
    assert study.groups == ("a", "a", "b", "c")
    assert study.table().equals(compare(cases("aabc"), METHODS, **FAST).table())
    assert compare(cases(), METHODS, groups="aabc", **FAST).groups == ("a", "a", "b", "c")


def test_regions_leave_voxels_out():
    regions = [p > 0.5 for p in PROBS]
    study = compare(PROBS, METHODS, raters=MASKS, roi=regions, **FAST)
    inside = [Case(str(i), p, m, roi=r) for i, (p, m, r) in enumerate(zip(PROBS, MASKS, regions, strict=True))]
    assert study.table().equals(compare(inside, METHODS, **FAST).table())


def test_voxels_that_a_rater_did_not_answer_are_missing():
    holes = [
        {**masks, "cy": np.where(probs > 0.6, np.nan, masks["bo"])} for probs, masks in zip(PROBS, MASKS, strict=True)
    ]
    cohort = Cohort([tally(probs, masks) for probs, masks in zip(PROBS, holes, strict=True)])
    hidden = [{**masks, "cy": np.ma.masked_invalid(masks["cy"])} for masks in holes]
    expected = compare(cohort, METHODS, **FAST).table()
    assert compare(PROBS, METHODS, raters=holes, **FAST).table().equals(expected)
    assert compare(PROBS, METHODS, raters=hidden, **FAST).table().equals(expected)


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ((PROBS[0], [MASKS[0]["ann"]]), {}, "A comparison needs several cases.* got one ndarray"),
        ((PROBS,), {}, "A list of images needs raters"),
        ((PROBS, METHODS), {"raters": MASKS[:2]}, "raters must have one entry for each of them; got 2"),
        ((cases(),), {"raters": MASKS}, "raters must be left out"),
        ((cases(),), {"groups": "ab"}, "groups must have one entry for each of the 4 cases; got 2"),
        ((Cohort([tally(PROBS[0], PROBS[0] > 0.5)]),), {"groups": "a"}, "groups must be left out"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, words):
    with pytest.raises(ValueError, match=words):
        compare(*arguments, **options, **FAST)


def test_raters_methods_and_metrics_come_by_position_or_by_name():
    right = compare(PROBS, raters=MASKS, methods=METHODS, metrics=["brier"], n_resamples=5).table()
    for study in (
        compare(PROBS, MASKS, methods=METHODS, metrics=["brier"], n_resamples=5),
        compare(PROBS, MASKS, METHODS, ["brier"], n_resamples=5),
        compare(cases(), METHODS, ["brier"], n_resamples=5),
        compare(PROBS, METHODS, ["brier"], raters=MASKS, n_resamples=5),
    ):
        assert study.table().equals(right)
    with pytest.raises(TypeError, match="compare got methods twice"):
        compare(cases(), METHODS, methods=METHODS)
    with pytest.raises(TypeError, match="by position, all else by keyword; got 5 arguments"):
        compare(PROBS, MASKS, METHODS, ["brier"], 5)
