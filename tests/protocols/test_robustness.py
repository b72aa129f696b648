"""Whatever a case holds, every protocol answers, in its range, and never a perfect score without a reason."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.protocols import curvas_2024, curvas_pdacvi, qubiq

PERFECT = {"tdsc": 1.0, "dice_majority": 1.0, "crps": 0.0}


@st.composite
def readings(draw, n_classes=1):
    """Probabilities of a small image and its raters: missing, empty, full, at the border, or anything."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=3, max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    kinds = draw(st.lists(st.sampled_from(["missing", "empty", "full", "corner", "random"]), min_size=1, max_size=5))
    raters = []
    for kind in kinds:
        mask = np.zeros(shape, dtype=np.uint8)
        if kind == "full":
            mask[:] = rng.integers(1, n_classes + 1)
        elif kind == "corner":
            mask[0, 0, 0] = rng.integers(1, n_classes + 1)
        elif kind == "random":
            mask[:] = rng.integers(0, n_classes + 1, shape)
        raters.append(None if kind == "missing" else mask)
    if all(mask is None for mask in raters):
        raters[0] = np.zeros(shape, dtype=np.uint8)
    kind = draw(st.sampled_from(["zero", "one", "random", "rounded"]))
    probs = rng.random((n_classes, *shape)) / n_classes
    if kind == "zero":
        probs[:] = 0
    elif kind == "one":
        probs[:] = 0
        probs[0] = 1
    elif kind == "rounded":
        probs = np.round(probs, 1)
    probs = probs.astype(draw(st.sampled_from([np.float32, np.float64])))
    return (probs if n_classes > 1 else probs[0]), raters


def check_range(name, value):
    assert math.isnan(value) or value >= 0, name
    if not name.startswith("crps"):
        assert math.isnan(value) or value <= 1 + 1e-6, name


@pytest.mark.parametrize("strict", [True, False])
@given(case=readings())
def test_pdacvi_answers(strict, case):
    probs, raters = case
    scores = curvas_pdacvi(probs, raters, strict=strict)
    there = [mask for mask in raters if mask is not None]
    for name in ("tdsc", "dice_majority", "ece", "crps"):
        check_range(name, scores[name])
        if math.isnan(scores[name]):
            assert scores["notes"], name
    for name, best in PERFECT.items():
        if scores[name] == best and not any(mask.any() for mask in there):
            assert any("marked nothing" in note for note in scores["notes"])
    if scores["crps"] == 0 and not math.isclose(probs.sum(), np.mean([m.sum() for m in there]), abs_tol=1e-3):
        assert strict
        assert any("the program answers 0 whatever the prediction" in note for note in scores["notes"])
    missing = [r for r, mask in enumerate(raters) if mask is None]
    assert [math.isnan(e) for e in scores["ece_per_rater"]].count(False) <= len(there)
    for r in missing:
        assert math.isnan(scores["ece_per_rater"][r])
        assert f"Rater {r} is missing and left out." in scores["notes"]


@given(case=readings())
def test_pdacvi_does_not_depend_on_the_order_of_raters(case):
    probs, raters = case
    for strict in (True, False):
        one, other = (curvas_pdacvi(probs, list(rs), strict=strict) for rs in (raters, raters[::-1]))
        np.testing.assert_allclose(one["ece_per_rater"], other["ece_per_rater"][::-1])
        for name in ("tdsc", "ece", "crps"):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-9)


@given(case=readings())
def test_sound_scores_are_mirror_invariant(case):
    probs, raters = case
    scores = curvas_pdacvi(probs, raters, strict=False)
    for axis in range(3):
        mirrored = [None if mask is None else np.flip(mask, axis) for mask in raters]
        other = curvas_pdacvi(np.flip(probs, axis), mirrored, strict=False)
        for name in ("tdsc", "crps", "dice_majority"):
            np.testing.assert_allclose(other[name], scores[name], rtol=1e-6)
    # images of at most 6 voxels lie within the box's margin on all sides
    for axis in range(3):
        mirrored = [None if mask is None else np.flip(mask, axis) for mask in raters]
        np.testing.assert_allclose(
            curvas_pdacvi(np.flip(probs, axis), mirrored, strict=False)["ece"], scores["ece"], atol=1e-9
        )


@pytest.mark.parametrize("strict", [True, False])
@given(case=readings(n_classes=3))
def test_curvas_2024_answers(strict, case):
    probs, raters = case
    scores = curvas_2024(probs, raters, strict=strict)
    check_range("ece", scores["ece"])
    for name in ("dice", "confidence", "crps"):
        for organ, value in scores[name].items():
            check_range(name, value)
            if math.isnan(value):
                assert any(organ in note for note in scores["notes"])
    there = [one for one in raters if one is not None]
    for label, (organ, dice) in enumerate(scores["dice"].items(), start=1):
        if not any((one == label).any() for one in there):
            assert f"No rater marked the {organ}." in scores["notes"]
            assert math.isnan(dice) or dice == 0
    if strict:
        corrected = curvas_2024(probs, raters, strict=False)
        assert np.isfinite(list(corrected["crps"].values())).all()


@pytest.mark.parametrize("strict", [True, False])
@given(case=readings())
def test_qubiq_answers(strict, case):
    probs, raters = case
    scores = qubiq(probs, raters, strict=strict)
    check_range("dice", scores["dice"])
    assert not math.isnan(scores["dice"])
    if scores["dice"] == 1.0 and not any(mask is not None and mask.any() for mask in raters):
        assert any("both_empty is their Dice" in note for note in scores["notes"])


@pytest.mark.parametrize("strict", [True, False])
def test_a_lesion_at_each_border(strict):
    for axis in range(3):
        for at in (0, -1):
            masks = np.zeros((5, 30, 30, 30), dtype=np.uint8)
            where = [slice(None), slice(10, 15), slice(10, 15), slice(10, 15)]
            where[axis + 1] = at
            masks[tuple(where)] = 1
            scores = curvas_pdacvi(masks.mean(axis=0) * 0.9, masks, strict=strict)
            assert scores["box_wraps"] == strict
            assert ("wraps around" in " ".join(scores["notes"])) == strict
            if not strict:
                assert scores["ece"] > 0
