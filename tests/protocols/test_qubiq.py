"""The QUBIQ score: by hand, against threshold Dice, and where the organisers leave it open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mrcalib.metrics import threshold_dice
from mrcalib.metrics.overlap import THRESHOLDS
from mrcalib.protocols import get_protocol, qubiq

MASKS = np.array([[1, 1, 0, 0], [1, 0, 0, 0]], dtype=np.uint8)


def test_by_hand():
    scores = qubiq([0.95, 0.35, 0.15, 0.0], MASKS)
    # t = 0.1: 3 predicted, 2 given; 0.2 and 0.3: 2 and 2; 0.4: 1 and 2; then 1 and 1.
    expected = [2 * 2 / 5, 1.0, 1.0, 2 / 3, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert scores["per_threshold"] == pytest.approx(expected, rel=1e-12)
    assert scores["dice"] == pytest.approx(np.mean(expected), rel=1e-12)
    assert scores["thresholds"] == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert scores["notes"] == []


@pytest.mark.parametrize("preset", ["qubiq", "mrnet", "curvas"])
@pytest.mark.parametrize("strict", [True, False])
@given(data=st.data())
def test_presets_are_those_of_threshold_dice(preset, strict, data):
    votes = data.draw(hnp.arrays(np.uint8, (5, 7), elements=st.integers(0, 1)))
    probs = data.draw(hnp.arrays(np.float64, 7, elements=st.sampled_from([0.0, 0.1, 0.2, 0.35, 0.6, 0.8, 0.9, 1.0])))
    scores = qubiq(probs, votes, thresholds=preset, strict=strict)
    assert scores["thresholds"] == list(THRESHOLDS[preset])
    assert scores["dice"] == pytest.approx(threshold_dice(probs, votes, thresholds=preset, strict=strict), rel=1e-12)
    assert scores["dice"] == scores["dice_strict" if strict else "dice_inclusive"]
    other = qubiq(probs, votes, thresholds=preset, strict=not strict)
    assert (other["dice_strict"], other["dice_inclusive"]) == (scores["dice_strict"], scores["dice_inclusive"])


def test_a_value_equal_to_a_threshold_is_either():
    scores = qubiq([0.9, 0.5, 0.0, 0.0], MASKS)
    assert scores["dice_strict"] == pytest.approx(8 / 9)  # nothing exceeds 0.9
    assert scores["dice_inclusive"] == 1.0
    protocol = get_protocol("qubiq")
    strict, corrected = (protocol.score([0.9, 0.5, 0.0, 0.0], MASKS, strict=rule) for rule in (True, False))
    assert (strict, corrected) == ({"qubiq": scores["dice_strict"]}, {"qubiq": 1.0})
    (sentence,) = protocol.disagreements(strict, corrected)
    assert sentence.startswith("QUBIQ Dice: 0.8889 with > at the thresholds, 1 with >=; the organisers do not say")
    assert protocol.disagreements(strict, strict) == []


def test_three_of_five_votes_equal_the_threshold_exactly():
    masks = np.zeros((5, 3), dtype=np.uint8)
    masks[:3] = 1
    scores = qubiq(np.full(3, 0.65), masks, thresholds=[0.6])
    assert (scores["dice_strict"], scores["dice_inclusive"]) == (0.0, 1.0)


@pytest.mark.parametrize(("rule", "expected"), [(1.0, 1.0), (0.0, 0.0), (np.nan, np.nan)])
def test_the_rule_for_two_empty_sides(rule, expected):
    scores = qubiq(np.zeros(4), np.zeros((2, 4), np.uint8), both_empty=rule)
    assert scores["dice"] == pytest.approx(expected, nan_ok=True)
    assert scores["notes"][-1] == "At 9 of 9 thresholds neither side has a voxel; both_empty is their Dice."
    assert len([note for note in scores["notes"] if "marked nothing" in note]) == 2


@pytest.mark.parametrize(("rule", "expected"), [(0.0, 4 / 9), (0.5, (4 + 5 * 0.5) / 9), (np.nan, 1.0)])
def test_the_rule_for_one_empty_side(rule, expected):
    masks = np.array([[1, 1, 0], [0, 0, 0]], dtype=np.uint8)
    scores = qubiq(np.array([1.0, 1.0, 0.0]), masks, one_empty=rule)  # from 0.5 on, no rater exceeds it
    assert scores["dice"] == pytest.approx(expected, rel=1e-12)


def test_missing_raters_are_left_out():
    probs = np.array([0.95, 0.35, 0.15, 0.0])
    scores = qubiq(probs, [MASKS[0], None, MASKS[1]])
    assert scores["dice"] == qubiq(probs, MASKS)["dice"]
    assert scores["notes"] == ["Rater 1 is missing and left out."]


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="thresholds must be one of"):
        qubiq([0.5], [[1]], thresholds="all")
    with pytest.raises(ValueError, match=r"numbers in \[0, 1\]"):
        qubiq([0.5], [[1]], thresholds=[1.5])
    with pytest.raises(ValueError, match="probs must lie in"):
        qubiq(np.array([0.5, np.nan]), np.array([[1, 0]]))
