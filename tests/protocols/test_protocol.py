"""The protocols by name, and where their strict and corrected values part."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcalib.protocols import PROTOCOLS, curvas_2024, curvas_pdacvi, get_protocol, qubiq
from mrcalib.protocols._protocol import Disagreement


def case(start=25, shape=(60, 50, 50)):
    """Five readings of a cube, the last with a voxel less, and vessels beside it."""
    masks = np.zeros((5, *shape), dtype=np.uint8)
    masks[:, start : start + 6, 22:28, 22:28] = 1
    masks[4, start, 22, 22] = 0
    vessels = np.zeros(shape, dtype=np.uint8)
    vessels[:, 28:32, 23:27], vessels[:, 10:14, 10:14] = 4, 5
    return masks.mean(axis=0).astype(np.float32), masks, vessels


def class_case():
    labels = np.zeros((3, 10, 8, 4), dtype=np.uint8)
    labels[:, 1:3], labels[:, 4:6], labels[:, 7:9] = 1, 2, 3
    labels[2, 8] = 0
    return np.stack([labels == c for c in (1, 2, 3)]).mean(axis=1).astype(np.float32), labels


def test_the_names_are_those_that_there_are():
    assert PROTOCOLS == ("curvas-pdacvi", "curvas-2024", "qubiq")
    assert [get_protocol(name).name for name in PROTOCOLS] == list(PROTOCOLS)
    assert get_protocol("CURVAS-PDACVI 2025") is get_protocol("Curvas_PDACVI") is get_protocol("curvas-pdacvi")
    with pytest.raises(ValueError, match=r"no protocol 'CURVAS'\. Did you mean 'curvas-2024' or 'curvas-pdacvi'"):
        get_protocol("CURVAS")


def test_the_columns_are_those_of_the_paper():
    protocol = get_protocol("curvas-pdacvi")
    assert [m.label for m in protocol.measures] == ["TDSC", "ECE", "CRPS", "PORTA", "SMV", "AORTA", "CELIAC", "SMA"]
    assert [m.name for m in protocol.measures_for(vessels=True)] == [m.name for m in protocol.measures]
    assert [m.name for m in protocol.measures_for(vessels=False)] == ["tdsc", "ece", "crps"]
    assert [m.better for m in protocol.measures] == ["higher", *["lower"] * 7]
    assert (protocol.needs_vessels, protocol.needs_classes) == (True, False)
    assert (get_protocol("curvas-2024").needs_vessels, get_protocol("curvas-2024").needs_classes) == (False, True)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_measure_is_one_number_a_case(name):
    for m in get_protocol(name).measures:
        np.testing.assert_array_equal(m.value(np.array([[0.25], [np.nan], [3.0]])), [0.25, np.nan, 3.0])
        assert not m.poolable
        with pytest.raises(TypeError, match=r"Protocol\.score computes it"):
            m.sums(None)


@pytest.mark.parametrize("strict", [True, False])
def test_scores_are_those_of_the_functions(strict):
    probs, masks, vessels = case()
    protocol = get_protocol("curvas-pdacvi")
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    options = {"vessels": vessels, "spacing": (1.0, 2.0, 3.0), "affine": affine, "strict": strict}
    told, scores = curvas_pdacvi(probs, masks, **options), protocol.score(probs, masks, **options)
    expected = {name: told[name] for name in ("tdsc", "ece", "crps")}
    expected |= {f"vi_{name.split()[0]}": value for name, value in told["vi"].items()}
    assert set(expected) == {m.name for m in protocol.measures}
    np.testing.assert_equal({name: scores[name] for name in expected}, expected)
    assert scores["vi_CELIAC"] == told["vi"]["CELIAC TRUNK"]
    assert set(scores) - set(expected) == (set() if strict else {"ece_foreground"})
    assert protocol.detail(probs, masks, **options)["notes"] == told["notes"]


def test_without_vessels_invasion_is_not_defined():
    probs, masks, _ = case()
    scores = get_protocol("curvas-pdacvi").score(probs, masks)
    assert {name for name, value in scores.items() if math.isnan(value)} == {
        "vi_PORTA", "vi_SMV", "vi_AORTA", "vi_CELIAC", "vi_SMA",
    }  # fmt: skip


def test_vessels_of_other_names_are_scored_beside_the_measures():
    probs, masks, vessels = case()
    protocol = get_protocol("curvas-pdacvi")
    scores = protocol.score(probs, masks, vessels=vessels, vessel_labels={"HEPATIC": 4})
    assert math.isnan(scores["vi_PORTA"])
    assert scores["vi_HEPATIC"] >= 0
    apart = protocol.disagreements({"vi_HEPATIC": 300.0}, {"vi_HEPATIC": 3.0})
    assert [sentence.split(":")[0] for sentence in apart] == ["HEPATIC"]


@pytest.mark.parametrize("strict", [True, False])
def test_the_numbers_of_the_others(strict):
    probs, labels = class_case()
    told = curvas_2024(probs, labels, 2.0, strict=strict)
    scores = get_protocol("curvas-2024").score(probs, labels, spacing=2.0, strict=strict)
    assert set(scores) == {m.name for m in get_protocol("curvas-2024").measures}
    assert scores["ece"] == told["ece"]
    for organ in ("pancreas", "kidney", "liver"):
        for name in ("dice", "confidence", "crps"):
            assert scores[f"{name}_{organ}"] == told[name][organ]
    assert get_protocol("qubiq").score(probs[2], labels == 3, strict=strict) == {
        "qubiq": qubiq(probs[2], labels == 3, strict=strict)["dice"]
    }


def test_strict_and_sound_agree_on_a_plain_case():
    probs, masks, _ = case()
    protocol = get_protocol("curvas-pdacvi")
    rng = np.random.default_rng(0)
    masks[1, 24] = masks[0, 25]
    masks[2, 31:33] = masks[0, 26]
    smooth = np.clip(masks.mean(axis=0) + rng.normal(0, 0.02, probs.shape), 0.001, 0.999).astype(np.float32)
    strict, corrected = (protocol.score(smooth, masks, strict=rule) for rule in (True, False))
    assert strict["tdsc"] == pytest.approx(corrected["tdsc"], abs=1e-6)
    near = smooth * np.float32(0.01) + np.float32(0.99) * masks.mean(axis=0).astype(np.float32)
    strict, corrected = (protocol.score(near, masks, strict=rule) for rule in (True, False))
    assert protocol.disagreements(strict, corrected) == []


def test_a_box_that_wraps_is_told():
    probs, masks, _ = case(start=3)
    protocol = get_protocol("curvas-pdacvi")
    probs = 0.1 + probs * 0.7
    strict, corrected = (protocol.score(probs, masks, strict=rule) for rule in (True, False))
    assert math.isnan(strict["ece"])
    (sentence,) = [s for s in protocol.disagreements(strict, corrected) if s.startswith("ECE: not defined")]
    assert "box holds no voxel" in sentence


def test_raters_who_agree_and_a_saturated_crps_are_told():
    probs, masks, _ = case()
    protocol = get_protocol("curvas-pdacvi")
    empty = np.zeros_like(probs)
    far = [protocol.score(empty, masks, strict=rule) for rule in (True, False)]
    assert any("CRPS" in s and "saturates" in s for s in protocol.disagreements(*far))
    assert protocol.differing(*far) == ["crps"]
    masks[4] = masks[0]
    agreed = [protocol.score(empty, masks, strict=rule) for rule in (True, False)]
    (sentence,) = [s for s in protocol.disagreements(*agreed) if s.startswith("CRPS")]
    assert sentence.startswith("CRPS: 0 by the program, 216 corrected; the raters give one volume")


def test_errors_that_cancel_in_the_top_label_are_told():
    rng = np.random.default_rng(0)
    shape = (41, 41, 41)
    high = rng.random(shape) < 0.5
    masks = (rng.random((5, *shape)) < np.where(high, 0.6, 0.2)).astype(np.uint8)
    probs = np.where(high, 0.7, 0.3).astype(np.float32)  # 0.1 too much everywhere: PEERS 4a, row 5
    protocol = get_protocol("curvas-pdacvi")
    strict, corrected = (protocol.score(probs, masks, strict=rule) for rule in (True, False))
    assert corrected["ece"] < 0.005
    assert corrected["ece_foreground"] == pytest.approx(0.1, abs=0.005)
    assert any("errors of either half cancel" in s for s in protocol.disagreements(strict, corrected))


def test_an_undefined_overlap_is_told():
    protocol = get_protocol("curvas-pdacvi")
    probs, masks = np.zeros((4, 4, 4), np.float32), np.zeros((5, 4, 4, 4), np.uint8)
    strict, corrected = (protocol.score(probs, masks, strict=rule) for rule in (True, False))
    told = protocol.disagreements(strict, corrected)
    assert any(s.startswith("TDSC: 1 by the program, not defined corrected; neither side has a voxel") for s in told)
    assert any(s.startswith("ECE: not defined by the program, 0 corrected") for s in told)


@given(a=st.floats(-1e3, 1e3), b=st.floats(-1e3, 1e3))
def test_both_gaps_must_be_exceeded(a, b):
    rule = Disagreement(5.0, 0.1, lambda strict, corrected: "")
    gap = abs(a - b)
    assert rule.matters(a, b) == rule.matters(b, a) == (gap > 5 and gap > 0.1 * max(abs(a), abs(b)))
    assert rule.matters(a, math.nan)
    assert rule.matters(math.nan, a)
    assert not rule.matters(math.nan, math.nan)
    assert not rule.matters(a, a)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_there_is_a_sentence_for_every_measure(name):
    protocol = get_protocol(name)
    low, high = ({m.name: v for m in protocol.measures} for v in (1.0, 100.0))
    undefined = {m.name: math.nan for m in protocol.measures}
    for strict, corrected in ((low, high), (high, low), (low, undefined), (undefined, low)):
        told = protocol.disagreements(strict, corrected)
        assert [s.split(":")[0] for s in told] == [m.label for m in protocol.measures]
        assert all(s.endswith(".") and protocol.readings[0] in s for s in told)
