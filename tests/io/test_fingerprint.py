import shutil

import numpy as np
import pytest

from mrcalib.io import Case

PROBS = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
MASK = (PROBS > 0.5).astype(np.uint8)
BASE = Case("A", PROBS, {"1": MASK, "2": None})


def test_the_value_is_stable_across_versions():
    assert BASE.fingerprint() == Case("B", PROBS.copy(), {"1": MASK, "2": None}).fingerprint()
    assert len(BASE.fingerprint()) == 64


@pytest.mark.parametrize(
    "other",
    [
        Case("A", PROBS + 1e-7, {"1": MASK, "2": None}),
        Case("A", PROBS.astype(np.float64), {"1": MASK, "2": None}),
        Case("A", PROBS.reshape(4, 3, 5), {"1": MASK, "2": None}),
        Case("A", (PROBS, PROBS), {"1": MASK, "2": None}),
        Case("A", PROBS, {"1": MASK, "2": np.zeros_like(MASK)}),
        Case("A", PROBS, {"1": None, "2": MASK}),
        Case("A", PROBS, {"1": MASK, "3": None}),
        Case("A", PROBS, {"1": MASK}),
        Case("A", PROBS, {"1": MASK, "2": None}, roi=MASK),
        Case("A", PROBS, {"1": MASK, "2": None}, coarse=MASK),
        Case("A", PROBS, {"1": MASK, "2": None}, vessels=MASK),
        Case("A", PROBS, {"1": MASK, "2": None}, spacing=(1, 1, 1)),
    ],
)
def test_any_change_of_an_input_changes_it(other):
    assert other.fingerprint() != BASE.fingerprint()


def test_the_content_of_a_file_counts_not_its_place(save, tmp_path):
    path = save("m.nii", MASK)
    moved = tmp_path / "moved.nii"
    shutil.copy(path, moved)
    before = Case("A", PROBS, [path]).fingerprint()
    assert Case("A", PROBS, [moved]).fingerprint() == before
    save("m.nii", 1 - MASK)
    assert Case("A", PROBS, [path]).fingerprint() != before


def test_memory_order_does_not_count():
    assert Case("A", np.asfortranarray(PROBS), {"1": MASK, "2": None}).fingerprint() == BASE.fingerprint()


def test_the_segmentation_beside_an_export_counts(save, tmp_path):
    np.savez(tmp_path / "c.npz", probabilities=np.zeros((2, 5, 4, 3), np.float32))
    save("c.nii.gz", MASK)
    before = Case("A", tmp_path / "c.npz", []).fingerprint()
    save("c.nii.gz", 1 - MASK)
    assert Case("A", tmp_path / "c.npz", []).fingerprint() != before


def test_the_data_file_of_a_two_file_image_counts(tmp_path):
    (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = a.raw\n")
    (tmp_path / "a.raw").write_bytes(b"one")
    before = Case("A", tmp_path / "a.mhd", []).fingerprint()
    (tmp_path / "a.raw").write_bytes(b"two")
    assert Case("A", tmp_path / "a.mhd", []).fingerprint() != before


def test_a_missing_file_names_the_case(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Case 'A', rater 1: .*gone\.nii"):
        Case("A", PROBS, [tmp_path / "gone.nii"]).fingerprint()
